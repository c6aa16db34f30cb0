//! The pass over real recordings: what must hold of any, and the stall test against its reference.

#![expect(clippy::print_stdout, reason = "what was not checked is said loudly")]

mod common;
mod said;
mod sharded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Float64Type;
use common::{Key, Row, int, text};
use flate2::read::GzDecoder;
use said::{said, said_together};
use serde_json::Value;
use sharded::sharded;
use timesink_facts::{Facts, PassOptions, Silence, StallTest, Stretch, Verdict};
use timesink_otlp::{ReadOptions, read};

const IN_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");

/// All 100 recordings, where the checkout stands beside them.
const BESIDE_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/traces");

const NOW: i64 = 2_000_000_000_000_000_000;

struct Recording {
    /// The file's name.
    name: String,
    facts: Facts,
}

/// Returns every recording, as far as they are there, with the facts of its spans.
fn recordings() -> &'static [Recording] {
    static RECORDINGS: OnceLock<Vec<Recording>> = OnceLock::new();
    RECORDINGS.get_or_init(|| {
        if Path::new(BESIDE_REPOSITORY).is_dir() {
            let recordings = folder(BESIDE_REPOSITORY);
            assert!(recordings.len() >= 100, "{} recordings", recordings.len());
            return recordings;
        }
        assert!(std::env::var_os("CI").is_none(), "{BESIDE_REPOSITORY} is missing");
        println!("NOT CHECKED: {BESIDE_REPOSITORY} is missing, only the repository's are");
        folder(IN_REPOSITORY)
    })
}

fn folder(folder: &str) -> Vec<Recording> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let is_recording = |path: &PathBuf| path.to_string_lossy().ends_with(".jsonl.gz");
    let mut paths: Vec<PathBuf> = paths.filter(is_recording).collect();
    paths.sort();
    let recording = |path: PathBuf| {
        let file = std::fs::File::open(&path).expect("a readable recording");
        let content = read(file, &ReadOptions::new(NOW)).expect("a recording");
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        println!("{name}");
        Recording { name, facts: common::check(&content.decoded.spans) }
    };
    paths.into_iter().map(recording).collect()
}

/// Tilings add up, parts are within their wholes, gaps lie where nothing covers: `common::check`.
#[test]
fn facts_and_gaps_of_every_recording_hold() {
    let spans: usize = recordings().iter().map(|recording| spans(&recording.facts)).sum();
    assert!(recordings().len() >= 12 && spans > 5000, "{} recordings", recordings().len());
}

/// *Scenario*: a recording is gone through shard by shard.
/// *Guarantee*: every fact and gap is that of one pass, victims of stalls and clocks included.
#[test]
fn shards_of_every_recording_say_what_one_pass_says() {
    let mut stalled = 0;
    for Recording { name, facts } in recordings() {
        // Together, one by one, and in slices down to a few requests.
        for spans_max in [100_000, 500, 40] {
            let sharded = sharded(&facts.spans, 3, spans_max, &PassOptions::default());
            assert!(said_together(&sharded) == said(facts), "{name}, {spans_max} spans");
        }
        let is_stalled = |batch: &RecordBatch| {
            (0..batch.num_rows()).any(|at| int(batch, "stalled_nanos", at) > Some(0))
        };
        stalled += usize::from(facts.facts.iter().any(is_stalled));
    }
    assert!(stalled > 0, "no recording of a blocked event loop");
}

fn spans(facts: &Facts) -> usize {
    facts.facts.iter().map(RecordBatch::num_rows).sum()
}

/// Where a candidate of the stall test lies: the span, and start and length within it.
type Place = (String, i64, i64);

fn reference() -> BTreeMap<String, BTreeMap<Place, Verdict>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stall_reference.json.gz");
    let file = GzDecoder::new(std::fs::File::open(path).expect("the reference's verdicts"));
    let value: Value = serde_json::from_reader(file).expect("JSON");
    let recordings = value["recordings"].as_object().expect("an object").iter();
    let candidate = |candidate: &Value| {
        let nanos = |at: usize| candidate[at].as_i64().expect("nanoseconds");
        let verdict = match candidate[3].as_str() {
            Some("b") => Verdict::Blocked,
            Some("c") => Verdict::Clear,
            Some("u") => Verdict::Unknown,
            other => panic!("verdict {other:?}"),
        };
        let span = candidate[0].as_str().expect("a span id").to_owned();
        ((span, nanos(1), nanos(2)), verdict)
    };
    recordings
        .map(|(name, of)| {
            let candidates = of.as_array().expect("a list").iter();
            (name.clone(), candidates.map(candidate).collect())
        })
        .collect()
}

/// Returns what the reference looks at too: leaf spans, and gaps of SERVER and CONSUMER spans.
fn verdicts(facts: &Facts) -> BTreeMap<Place, Verdict> {
    let rows = common::rows(facts);
    let is_entry = |key: &Key| matches!(rows[key].kind.as_str(), "SERVER" | "CONSUMER");
    let mut verdicts = BTreeMap::new();
    for batch in &facts.facts {
        for at in 0..batch.num_rows() {
            let key = key(batch, at);
            let nanos = rows[&key].end - rows[&key].start;
            if !is_entry(&key)
                && let Some(verdict) = judge(batch, at, nanos, Stretch::Span)
            {
                verdicts.insert((key.1, 0, nanos), verdict);
            }
        }
    }
    for at in 0..facts.gaps.num_rows() {
        let key = key(&facts.gaps, at);
        let required = |column| int(&facts.gaps, column, at).expect("required");
        let (start, nanos) = (required("start_time_unix_nano"), required("nanos"));
        if is_entry(&key)
            && let Some(verdict) = judge(&facts.gaps, at, nanos, Stretch::Gap)
        {
            let start = start - rows[&key].start;
            verdicts.insert((key.1, start, nanos), verdict);
        }
    }
    verdicts
}

fn key(batch: &RecordBatch, at: usize) -> Key {
    let required = |column| text(batch, column, at).expect("required");
    (required("trace_id"), required("span_id"))
}

/// Judges a row with measures, if it is as long as the reference asks for.
fn judge(batch: &RecordBatch, at: usize, nanos: i64, stretch: Stretch) -> Option<Verdict> {
    let test = StallTest::default();
    let silence_nanos = int(batch, "silence_nanos", at)?;
    if nanos < test.silence_nanos_min {
        return None;
    }
    let required = |column| int(batch, column, at).expect("measured together");
    let expected_edges = &batch["expected_edges"];
    assert!(expected_edges.is_valid(at));
    let silence = Silence {
        silence_nanos,
        expected_edges: expected_edges.as_primitive::<Float64Type>().value(at),
        foreign_edges: required("foreign_edges") as u32,
        concurrent_traces: required("concurrent_traces") as u32,
        waiting_nanos: required("waiting_nanos"),
    };
    Some(test.judge(&silence, nanos, stretch))
}

/// The ASGI messages of each span: where they lie in it, and whether they are sends.
struct Messages {
    of_span: BTreeMap<String, Vec<Message>>,
}

struct Message {
    start: i64,
    end: i64,
    is_send: bool,
}

impl Messages {
    fn of(facts: &Facts) -> Self {
        let rows: BTreeMap<Key, Row> = common::rows(facts);
        let mut of_span: BTreeMap<String, Vec<Message>> = BTreeMap::new();
        for batch in &facts.spans {
            for at in 0..batch.num_rows() {
                let Some(event_type) = text(batch, "asgi_event_type", at) else { continue };
                let row = &rows[&key(batch, at)];
                let Some(parent) = &row.parent else { continue };
                let Some(of) = rows.get(parent) else { continue };
                of_span.entry(parent.1.clone()).or_default().push(Message {
                    start: row.start - of.start,
                    end: row.end - of.start,
                    is_send: event_type.starts_with("http.response."),
                });
            }
        }
        Self { of_span }
    }

    fn of_span(&self, span: &str) -> &[Message] {
        self.of_span.get(span).map_or(&[], Vec::as_slice)
    }

    /// Whether only the reference can see such a gap: it begins or ends at a receive, or comes
    /// after the first send.
    fn are_cover_of(&self, (span, start, nanos): &Place) -> bool {
        let messages = self.of_span(span);
        let end = start + nanos;
        let first_send = messages.iter().filter(|of| of.is_send).map(|of| of.start).min();
        let touches = |of: &Message| !of.is_send && (of.start == end || of.end == *start);
        first_send.is_some_and(|send| send < end && send <= *start) || messages.iter().any(touches)
    }

    /// Whether only we can see such a gap: a receive lies in it or right before it.
    fn lie_in(&self, (span, start, nanos): &Place) -> bool {
        let within = |of: &Message| !of.is_send && *start <= of.end && of.end <= start + nanos;
        self.of_span(span).iter().any(within)
    }
}

/// Every candidate is judged as the reference judges it.
///
/// The two see other candidates only where the reference counts ASGI messages as cover: after the
/// first `http send` and around `http receive`.
#[test]
fn stalls_are_judged_as_by_the_reference() {
    let mut reference = reference();
    let (mut compared, mut blocked) = (0, 0);
    for Recording { name, facts } in recordings() {
        let expected = reference.remove(name).unwrap_or_default();
        let found = verdicts(facts);
        let messages = Messages::of(facts);
        for (place, verdict) in &expected {
            match found.get(place) {
                Some(ours) => assert_eq!(ours, verdict, "{name}: {place:?}"),
                None => assert!(messages.are_cover_of(place), "{name}: {place:?} is not seen"),
            }
        }
        for (place, verdict) in &found {
            let is_explained = expected.contains_key(place) || messages.lie_in(place);
            assert!(is_explained, "{name}: {place:?} is {verdict:?} to us alone");
            compared += usize::from(expected.contains_key(place));
            blocked += usize::from(expected.get(place) == Some(&Verdict::Blocked));
        }
        println!("{name}: {} candidates, {} of the reference", found.len(), expected.len());
    }
    let is_complete = Path::new(BESIDE_REPOSITORY).is_dir();
    println!("{compared} candidates judged alike, {blocked} of them blocked");
    let at_least = if is_complete { (6000, 700) } else { (400, 40) };
    assert!(compared >= at_least.0 && blocked >= at_least.1, "{compared} compared, {blocked}");
    assert!(!is_complete || reference.is_empty(), "not seen: {:?}", reference.keys());
}
