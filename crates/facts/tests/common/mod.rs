//! What must hold of the facts and gaps of any spans, whatever they are.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use timesink_facts::packed::unpack_batch;
use timesink_facts::{Facts, PassOptions, PathSection, critical_path, run};
use timesink_model::{is_note, schema};

/// The limits that the pass sets to times: `rows.rs` says why.
const TIME_NANOS_MAX: i64 = 1 << 62;

/// A span is its trace and its id.
pub(crate) type Key = (String, String);

/// A span with what the pass says of it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) kind: String,
    pub(crate) parent: Option<Key>,
    pub(crate) asgi: bool,
    note: bool,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) skew: i64,
    pub(crate) process: i64,
    pub(crate) tiling: Key,
    entry: Key,
    root: Key,
    depth: i64,
    ints: BTreeMap<&'static str, Option<i64>>,
}

impl Row {
    fn duration(&self) -> i64 {
        self.end - self.start
    }

    fn int(&self, column: &'static str) -> i64 {
        self.ints[column].unwrap_or(0)
    }
}

/// Times of a span or a part of it: none is longer than the span.
const PARTS: [&str; 11] = [
    "self_nanos",
    "critical_nanos",
    "wire_critical_nanos",
    "wire_nanos",
    "wire_before_nanos",
    "wire_after_nanos",
    "own_nanos",
    "stalled_nanos",
    "silence_nanos",
    "foreign_edges",
    "concurrent_traces",
];

pub(crate) fn text(batch: &RecordBatch, column: &str, row: usize) -> Option<String> {
    let column = batch[column].as_string_view();
    column.is_valid(row).then(|| column.value(row).to_owned())
}

pub(crate) fn int(batch: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = batch[column].as_primitive::<Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}

/// Says whether a row only tells of other spans' time.
fn is_note_at(spans: &RecordBatch, row: usize) -> bool {
    let value = |column| text(spans, column, row).unwrap_or_default();
    is_note(&value("scope_name"), &value("name"), &value("kind"))
}

/// Returns every span with its facts.
pub(crate) fn rows(facts: &Facts) -> BTreeMap<Key, Row> {
    let batches = facts.spans.iter().zip(&facts.facts);
    batches.flat_map(|(spans, facts)| rows_of(spans, facts)).collect()
}

fn rows_of(spans: &RecordBatch, facts: &RecordBatch) -> Vec<(Key, Row)> {
    assert_eq!(facts.schema().as_ref(), &schema::facts::table().schema());
    assert_eq!(facts.num_rows(), spans.num_rows());
    let row = |row: usize| {
        let required = |batch, column| text(batch, column, row).expect("required");
        let key = (required(facts, "trace_id"), required(facts, "span_id"));
        assert_eq!(key, (required(spans, "trace_id"), required(spans, "span_id")));
        let in_trace = |id: String| (key.0.clone(), id);
        let time = |column| int(spans, column, row).expect("required");
        let start = time("start_time_unix_nano").clamp(0, TIME_NANOS_MAX);
        let longest = schema::quarantine::DURATION_NANOS_MAX;
        let found = Row {
            kind: required(spans, "kind"),
            parent: text(spans, "parent_span_id", row).map(in_trace),
            asgi: text(spans, "asgi_event_type", row).is_some(),
            note: is_note_at(spans, row),
            start,
            end: time("end_time_unix_nano").clamp(start, start + longest),
            skew: int(facts, "skew_nanos", row).expect("required"),
            process: int(facts, "process_id", row).expect("required"),
            tiling: in_trace(required(facts, "tiling_span_id")),
            entry: in_trace(required(facts, "entry_span_id")),
            root: in_trace(required(facts, "root_span_id")),
            depth: int(facts, "depth", row).expect("required"),
            ints: PARTS
                .into_iter()
                .chain(["pause_nanos", "waiting_nanos"])
                .map(|column| (column, int(facts, column, row)))
                .collect(),
        };
        (key, found)
    };
    (0..spans.num_rows()).map(row).collect()
}

/// Runs the pass and checks all that must hold of its result.
pub(crate) fn check(spans: &[RecordBatch]) -> Facts {
    let facts = run(spans.to_vec(), &PassOptions::default()).expect("batches of spans");
    let rows = rows(&facts);
    check_tilings(&rows);
    check_sections(&rows, &critical_path(spans, &PassOptions::default()).expect("as before"));
    for (key, row) in &rows {
        check_row(&rows, key, row);
    }
    check_gaps(&rows, &facts.gaps);
    check_packed(spans, &facts);
    facts
}

/// Packed, the same comes back: spans, facts and gaps.
fn check_packed(spans: &[RecordBatch], plain: &Facts) {
    let options = PassOptions { packed_spans_min: 0, ..PassOptions::default() };
    let packed = run(spans.to_vec(), &options).expect("as before");
    assert_eq!(packed.gaps, plain.gaps);
    for (packed, plain) in [(&packed.spans, &plain.spans), (&packed.facts, &plain.facts)] {
        assert_eq!(packed.len(), plain.len());
        for (packed, plain) in packed.iter().zip(plain) {
            let unpacked = unpack_batch(packed, plain.schema_ref()).expect("what was packed");
            assert_eq!(&unpacked, plain);
        }
    }
}

/// Critical shares and critical wires of a tiling add up to its head's duration.
fn check_tilings(rows: &BTreeMap<Key, Row>) {
    let mut sums: BTreeMap<&Key, i64> = BTreeMap::new();
    for row in rows.values() {
        let share = row.int("critical_nanos") + row.int("wire_critical_nanos");
        *sums.entry(&row.tiling).or_default() += share;
    }
    for (head, sum) in sums {
        assert_eq!(sum, rows[head].duration(), "shares of the tiling under {head:?}");
        assert_eq!(&rows[head].tiling, head, "a head heads its own tiling");
    }
}

/// The sections of a tiling cover its head exactly, one after the other.
fn check_sections(rows: &BTreeMap<Key, Row>, sections: &[PathSection]) {
    let same_tiling = |a: &PathSection, b: &PathSection| {
        (&a.trace_id, &a.tiling_span_id) == (&b.trace_id, &b.tiling_span_id)
    };
    for tiling in sections.chunk_by(same_tiling) {
        let head = (tiling[0].trace_id.clone(), tiling[0].tiling_span_id.clone());
        let row = &rows[&head];
        assert_eq!(tiling[0].start_unix_nano, row.start + row.skew, "{head:?}");
        assert_eq!(tiling[tiling.len() - 1].end_unix_nano, row.end + row.skew, "{head:?}");
        for pair in tiling.windows(2) {
            assert_eq!(pair[0].end_unix_nano, pair[1].start_unix_nano, "{head:?}");
        }
        for section in tiling {
            assert!(section.start_unix_nano < section.end_unix_nano);
            let of = &rows[&(head.0.clone(), section.span_id.clone())];
            assert_eq!(of.tiling, head);
            let (start, end) = (of.start + of.skew, of.end + of.skew);
            assert!(start <= section.start_unix_nano && section.end_unix_nano <= end);
        }
    }
}

fn check_row(rows: &BTreeMap<Key, Row>, key: &Key, row: &Row) {
    for part in ["self_nanos", "critical_nanos", "own_nanos", "stalled_nanos"] {
        let nanos = row.int(part);
        assert!((0..=row.duration()).contains(&nanos), "{part} {nanos} of {key:?}: {row:?}");
    }
    for part in ["wire_nanos", "wire_critical_nanos", "silence_nanos"] {
        let nanos = row.int(part);
        assert!((0..=row.duration()).contains(&nanos), "{part} {nanos} of {key:?}: {row:?}");
    }
    let halves = row.int("wire_before_nanos") + row.int("wire_after_nanos");
    assert_eq!(halves, row.int("wire_nanos"), "halves of the wire of {key:?}: {row:?}");
    for count in ["foreign_edges", "concurrent_traces", "waiting_nanos", "pause_nanos"] {
        assert!(row.int(count) >= 0, "{count} of {key:?}: {row:?}");
    }
    let root = &rows[&row.root];
    assert_eq!((&root.root, root.depth), (&row.root, 0), "the root of {key:?}");
    match row.parent.as_ref().and_then(|parent| rows.get(parent)) {
        Some(parent) if row.depth > 0 => assert_eq!(row.depth, parent.depth + 1, "{key:?}"),
        _ => assert_eq!(row.depth, 0, "{key:?}"),
    }
    if let Some(entry) = rows.get(&row.entry) {
        assert_eq!(entry.entry, row.entry, "the entry of {key:?} is its own");
    }
}

/// Gaps lie within their span, apart from each other, where no child in the process covers it.
fn check_gaps(rows: &BTreeMap<Key, Row>, gaps: &RecordBatch) {
    assert_eq!(gaps.schema().as_ref(), &schema::gaps::table().schema());
    let mut covers: BTreeMap<&Key, Vec<&Row>> = BTreeMap::new();
    for row in rows.values().filter(|row| row.depth > 0 && !row.asgi && !row.note) {
        let parent = row.parent.as_ref().expect("what has a depth has a parent");
        covers.entry(parent).or_default().push(row);
    }
    let mut last: Option<(Key, i64)> = None;
    for at in 0..gaps.num_rows() {
        let required = |column| text(gaps, column, at).expect("required");
        let key = (required("trace_id"), required("span_id"));
        let row = &rows[&key];
        let start = int(gaps, "start_time_unix_nano", at).expect("required");
        let nanos = int(gaps, "nanos", at).expect("required");
        assert!(nanos >= schema::gaps::GAP_NANOS_MIN, "{key:?}");
        assert!(row.start <= start && start + nanos <= row.end, "{key:?}: {row:?}");
        assert!(row.entry == key || (row.kind == "INTERNAL" && !row.asgi), "{key:?}: {row:?}");
        if let Some((_, end)) = last.as_ref().filter(|(before, _)| *before == key) {
            assert!(*end <= start, "gaps of {key:?} overlap");
        }
        for part in ["critical_nanos", "stalled_nanos", "silence_nanos"] {
            let part = int(gaps, part, at).unwrap_or(0);
            assert!((0..=nanos).contains(&part), "{key:?}");
        }
        let around = (text(gaps, "before", at).is_some(), text(gaps, "after", at).is_some());
        let expected = match around {
            (false, true) => "lead",
            (true, true) => "between",
            (true, false) => "tail",
            (false, false) => "whole",
        };
        assert_eq!(required("position"), expected, "{key:?}");
        for cover in covers.get(&key).into_iter().flatten().filter(|c| c.process == row.process) {
            let is_apart = cover.end <= start || start + nanos <= cover.start;
            assert!(is_apart, "{cover:?} covers a gap of {key:?}");
        }
        last = Some((key, start + nanos));
    }
}
