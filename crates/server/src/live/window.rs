//! [`Window`]: the spans of the last minutes, and which of their traces have settled.

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use hashbrown::HashMap;
use timesink_store::{Place, gather, join, trace_ids};

use super::gone::Gone;

/// A batch with fewer rows and bytes is joined with others of its kind. One full message of an SDK
/// is no such batch: under load its rows would be copied for little.
const SMALL_ROWS: usize = 512;
const SMALL_BYTES: u64 = 16 << 20;

/// So many small batches are joined into one: seldom, so that a row is copied few times.
const SMALL_BATCHES_MAX: usize = 16;

/// Where traces are gone, a chunk is copied once less than this share of it is left.
const COMPACT_BELOW: f64 = 0.5;

/// The same where memory is short. Traces that came together go together, so that most chunks go
/// whole: to copy one for a few rows would cost more than it frees.
const SHRINK_BELOW: f64 = 0.9;

/// Memory of a trace's entry and of a row's trace id, bytes, about.
const TRACE_BYTES: u64 = 96;
const ROW_BYTES: u64 = 16;

/// A trace of which spans come without a pause is analyzed once it is so many times as old as it
/// takes to settle, and as often from then on.
const OVERDUE_TIMES: u32 = 6;

/// Spans, by the time they came.
#[derive(Debug)]
pub(crate) struct Window {
    chunks: Vec<Chunk>,
    traces: HashMap<u128, Trace>,
    gone: Gone,
    quarantine: VecDeque<Quarantined>,
}

/// A batch of `spans`.
#[derive(Debug, Clone)]
struct Chunk {
    batch: RecordBatch,
    /// The trace of each row.
    traces: Arc<[u128]>,
    bytes: u64,
}

/// A batch of `quarantine`.
#[derive(Debug)]
struct Quarantined {
    batch: RecordBatch,
    arrival: Instant,
    bytes: u64,
}

#[derive(Debug)]
struct Trace {
    /// When the first of its spans came that no analysis had; none of them were before.
    since: Instant,
    last_arrival: Instant,
    /// Whether an analysis had all of its spans.
    is_analyzed: bool,
    /// Whether an analysis had any of its spans: it stays among those that are analyzed.
    was_analyzed: bool,
}

/// Which traces go where memory is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shed {
    /// Those that were analyzed with all their spans, the oldest first.
    Analyzed,
    /// All of them, because they are kept elsewhere; each time the same, by a hash of when they
    /// began to come: so that some stay until they have settled, and their neighbours with them.
    Any,
}

/// The spans of traces that are to be analyzed, and those traces.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) spans: Vec<RecordBatch>,
    pub(crate) traces: Vec<u128>,
    /// When they were taken from the window.
    pub(crate) at: Instant,
    /// When the last span came of the trace that waited longest for its analysis, if one waited.
    pub(crate) oldest_new: Option<Instant>,
}

impl Window {
    /// A window that may hold so many bytes.
    pub(crate) fn new(bytes_max: u64) -> Self {
        let (chunks, traces) = (Vec::new(), HashMap::new());
        Self { chunks, traces, gone: Gone::new(bytes_max), quarantine: VecDeque::new() }
    }

    /// Adds spans that came now and hold about so many bytes.
    pub(crate) fn add(
        &mut self,
        spans: Vec<RecordBatch>,
        quarantined: Vec<RecordBatch>,
        bytes: u64,
        now: Instant,
    ) -> Result<(), ArrowError> {
        let rows: usize = spans.iter().chain(&quarantined).map(RecordBatch::num_rows).sum();
        for batch in spans {
            let bytes = share(bytes, batch.num_rows(), rows) + ROW_BYTES * batch.num_rows() as u64;
            let traces = trace_ids(&batch);
            self.note(&traces, now);
            self.chunks.push(Chunk { batch, traces: traces.into(), bytes });
        }
        for batch in quarantined {
            let bytes = share(bytes, batch.num_rows(), rows);
            self.quarantine.push_back(Quarantined { batch, arrival: now, bytes });
        }
        self.join_small()
    }

    /// Spans of traces that went before get no entry: they go with their chunk.
    fn note(&mut self, traces: &[u128], now: Instant) {
        for run in traces.chunk_by(|a, b| a == b) {
            if self.gone.comes_again(run[0]) {
                continue;
            }
            let trace = self.traces.entry(run[0]).or_insert(Trace {
                since: now,
                last_arrival: now,
                is_analyzed: false,
                was_analyzed: false,
            });
            trace.last_arrival = now;
            if std::mem::take(&mut trace.is_analyzed) {
                // What comes late has to settle, too.
                trace.since = now;
            }
        }
    }

    /// Returns the bytes that the spans hold, about.
    pub(crate) fn bytes(&self) -> u64 {
        let spans: u64 = self.chunks.iter().map(|chunk| chunk.bytes).sum();
        let quarantine: u64 = self.quarantine.iter().map(|quarantined| quarantined.bytes).sum();
        spans + quarantine + TRACE_BYTES * self.traces.len() as u64
    }

    /// Returns how many spans are held, also those that are not looked at any more.
    pub(crate) fn spans(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.batch.num_rows()).sum()
    }

    pub(crate) fn traces(&self) -> usize {
        self.traces.len()
    }

    /// Returns how many traces wait for an analysis of all their spans.
    pub(crate) fn unanalyzed(&self) -> usize {
        self.traces.values().filter(|trace| !trace.is_analyzed).count()
    }

    /// Returns whether a trace has settled, or waited long enough, that was not analyzed with all
    /// its spans.
    pub(crate) fn is_due(&self, now: Instant, settle: Duration) -> bool {
        self.traces.values().any(|trace| trace.is_due(now, settle))
    }

    /// Returns the spans to analyze: of all traces that are due, or were analyzed before.
    pub(crate) fn settled(&self, now: Instant, settle: Duration) -> Result<Settled, ArrowError> {
        let is_wanted = |trace: &&Trace| trace.was_analyzed || trace.is_due(now, settle);
        let due = self.traces.values().filter(|trace| trace.is_due(now, settle));
        let oldest_new = due.map(|trace| trace.last_arrival).min();
        let has_settled = |id: &u128| self.traces.get(id).as_ref().is_some_and(is_wanted);
        let spans = self.chunks.iter().map(|chunk| chunk.filtered(has_settled));
        let traces = self.traces.iter().filter(|(_, trace)| is_wanted(trace)).map(|(id, _)| *id);
        Ok(Settled {
            traces: traces.collect(),
            at: now,
            oldest_new,
            spans: spans.filter(has_rows).collect::<Result<_, _>>()?,
        })
    }

    /// Notes that traces were analyzed with the spans that the window had of them at a time: what
    /// came since has to settle, too.
    pub(crate) fn analyzed(&mut self, traces: &[u128], at: Instant) {
        for id in traces {
            if let Some(trace) = self.traces.get_mut(id) {
                trace.is_analyzed = trace.last_arrival <= at;
                // One that went and came again has none of its spans in the analysis.
                trace.was_analyzed |= trace.since <= at;
                if !trace.is_analyzed {
                    trace.since = trace.since.max(at);
                }
            }
        }
    }

    /// Returns the batches in which spans of a trace may be; they are not copied.
    pub(crate) fn trace(&self, id: u128) -> TraceSpans {
        let is_known = self.traces.contains_key(&id);
        let chunks = self.chunks.iter().filter(|chunk| is_known && chunk.traces.contains(&id));
        TraceSpans { id, chunks: chunks.cloned().collect() }
    }

    /// Returns the spans that are kept out of every sum.
    pub(crate) fn quarantined(&self) -> Vec<RecordBatch> {
        self.quarantine.iter().map(|quarantined| quarantined.batch.clone()).collect()
    }

    /// Lets spans go that came longer ago than `age`: whole traces, by their last one. Returns how
    /// many traces went.
    pub(crate) fn expire(&mut self, now: Instant, age: Duration) -> Result<usize, ArrowError> {
        self.gone.expire(now);
        let before = self.traces.len();
        self.traces.retain(|_, trace| now.duration_since(trace.last_arrival) <= age);
        let is_old = |old: &Quarantined| now.duration_since(old.arrival) > age;
        while self.quarantine.front().is_some_and(is_old) {
            self.quarantine.pop_front();
        }
        let gone = before - self.traces.len();
        if gone > 0 {
            self.compact(COMPACT_BELOW)?;
        }
        Ok(gone)
    }

    /// Lets quarantined spans go, then traces, until the rest holds about `bytes_max`. What comes
    /// of them later goes, too: a part of a trace passes for a whole one. Returns how many traces
    /// went.
    pub(crate) fn shrink(&mut self, bytes_max: u64, shed: Shed) -> Result<usize, ArrowError> {
        while self.bytes() > bytes_max && self.quarantine.pop_front().is_some() {}
        let bytes = self.bytes();
        if bytes <= bytes_max {
            return Ok(0);
        }
        let mut going = self.may_go(shed);
        let excess = (bytes - bytes_max) as f64 / bytes as f64;
        going.truncate((self.traces.len() as f64 * excess).ceil() as usize);
        for id in &going {
            self.traces.remove(id);
            self.gone.add(*id);
        }
        self.compact(SHRINK_BELOW)?;
        Ok(going.len())
    }

    /// Returns traces in the order in which they go.
    fn may_go(&self, shed: Shed) -> Vec<u128> {
        let of_all = self.traces.iter();
        let mut going: Vec<(u64, Instant, u128)> = match shed {
            Shed::Analyzed => {
                let analyzed = of_all.filter(|(_, trace)| trace.is_analyzed);
                analyzed.map(|(id, trace)| (0, trace.last_arrival, *id)).collect()
            }
            Shed::Any => of_all.map(|(id, trace)| (hash(trace.since), trace.since, *id)).collect(),
        };
        going.sort_unstable();
        going.into_iter().map(|(_, _, id)| id).collect()
    }

    /// Frees the memory of rows whose traces are gone, in chunks of which less than this share is
    /// left.
    fn compact(&mut self, below: f64) -> Result<(), ArrowError> {
        let traces = &self.traces;
        let mut kept = Vec::with_capacity(self.chunks.len());
        for chunk in &self.chunks {
            let alive = chunk.count(|id| traces.contains_key(id));
            if alive as f64 >= chunk.traces.len() as f64 * below {
                kept.push(chunk.clone());
            } else if alive > 0 {
                kept.push(chunk.compacted(|id| traces.contains_key(id))?);
            }
        }
        self.chunks = kept;
        Ok(())
    }

    fn join_small(&mut self) -> Result<(), ArrowError> {
        let is_small = |chunk: &Chunk| chunk.traces.len() < SMALL_ROWS && chunk.bytes < SMALL_BYTES;
        if self.chunks.iter().filter(|chunk| is_small(chunk)).count() < SMALL_BATCHES_MAX {
            return Ok(());
        }
        let small: Vec<Chunk> = self.chunks.iter().filter(|c| is_small(c)).cloned().collect();
        let joined = Chunk::joined(&small)?;
        self.chunks.retain(|chunk| !is_small(chunk));
        self.chunks.push(joined);
        Ok(())
    }
}

/// Returns a number by which times are in no order, each time the same.
fn hash(time: Instant) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(time)
}

impl Trace {
    fn is_due(&self, now: Instant, settle: Duration) -> bool {
        let is_quiet = now.duration_since(self.last_arrival) >= settle;
        let is_overdue = now.duration_since(self.since) >= settle * OVERDUE_TIMES;
        !self.is_analyzed && (is_quiet || is_overdue)
    }
}

/// The spans of one trace, not yet picked out of their batches.
#[derive(Debug)]
pub(crate) struct TraceSpans {
    id: u128,
    chunks: Vec<Chunk>,
}

impl TraceSpans {
    /// Returns the spans, of which there may be none.
    pub(crate) fn picked(&self) -> Result<Vec<RecordBatch>, ArrowError> {
        let parts = self.chunks.iter().map(|chunk| chunk.filtered(|of| *of == self.id));
        parts.filter(has_rows).collect()
    }
}

impl Chunk {
    /// Returns the rows of some traces; all of them are not copied.
    fn filtered(&self, is_wanted: impl Fn(&u128) -> bool) -> Result<RecordBatch, ArrowError> {
        let wanted: BooleanArray = self.mask(is_wanted);
        if wanted.true_count() == self.traces.len() {
            return Ok(self.batch.clone());
        }
        filter_record_batch(&self.batch, &wanted)
    }

    /// Returns how many rows some traces have.
    fn count(&self, is_wanted: impl Fn(&u128) -> bool) -> usize {
        let runs = self.traces.chunk_by(|a, b| a == b);
        runs.filter(|run| is_wanted(&run[0])).map(<[u128]>::len).sum()
    }

    /// Decides once for neighbours of one trace.
    fn mask(&self, is_wanted: impl Fn(&u128) -> bool) -> BooleanArray {
        let runs = self.traces.chunk_by(|a, b| a == b);
        let values = runs.flat_map(|run| std::iter::repeat_n(is_wanted(&run[0]), run.len()));
        BooleanArray::from(values.collect::<Vec<bool>>())
    }

    /// Returns the rows of some traces in memory of their own.
    fn compacted(&self, is_wanted: impl Fn(&u128) -> bool) -> Result<Self, ArrowError> {
        let mask = self.mask(&is_wanted);
        let rows: Vec<Place> = mask.values().set_indices().map(|row| (0, row)).collect();
        let batch = gather(&self.batch.schema(), std::slice::from_ref(&self.batch), &rows)?;
        let traces: Arc<[u128]> = rows.iter().map(|(_, row)| self.traces[*row]).collect();
        let bytes = share(self.bytes, traces.len(), self.traces.len());
        Ok(Self { batch, traces, bytes })
    }

    fn joined(chunks: &[Self]) -> Result<Self, ArrowError> {
        let schema = chunks[0].batch.schema();
        let batches: Vec<RecordBatch> = chunks.iter().map(|chunk| chunk.batch.clone()).collect();
        Ok(Self {
            batch: join(&schema, &batches)?,
            traces: chunks.iter().flat_map(|chunk| chunk.traces.iter().copied()).collect(),
            bytes: chunks.iter().map(|chunk| chunk.bytes).sum(),
        })
    }
}

/// Returns the part of `bytes` that belongs to some of the rows.
fn share(bytes: u64, rows: usize, of: usize) -> u64 {
    (u128::from(bytes) * rows as u128 / of.max(1) as u128) as u64
}

fn has_rows(batch: &Result<RecordBatch, ArrowError>) -> bool {
    !batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0)
}

#[cfg(test)]
mod tests {
    use timesink_otlp::{Decoder, DecoderOptions};

    use super::*;

    const SETTLE: Duration = Duration::from_secs(10);

    /// Spans of traces with these numbers, one each.
    fn spans(traces: &[u128]) -> Vec<RecordBatch> {
        let mut decoder = Decoder::new(DecoderOptions::new(1_800_000_000_000_000_000));
        for (number, trace) in traces.iter().enumerate() {
            let json = format!(
                r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"service.name",
                "value":{{"stringValue":"shop"}}}}]}},"scopeSpans":[{{"spans":[{{
                "traceId":"{trace:032x}","spanId":"{:016x}","name":"GET /"}}]}}]}}]}}"#,
                number + 1
            );
            decoder.json(json.as_bytes()).unwrap();
        }
        decoder.finish().spans
    }

    fn window(at: Instant, arrivals: &[(u64, &[u128])]) -> Window {
        let mut window = Window::new(4_000_000);
        for (seconds, traces) in arrivals {
            let now = at + Duration::from_secs(*seconds);
            window.add(spans(traces), Vec::new(), 100, now).unwrap();
        }
        window
    }

    /// Notes that traces were analyzed with all that came.
    fn analyzed(window: &mut Window, traces: &[u128]) {
        let last = window.traces.values().map(|trace| trace.last_arrival).max();
        window.analyzed(traces, last.unwrap());
    }

    fn settled(window: &Window, now: Instant) -> Option<Vec<u128>> {
        if !window.is_due(now, SETTLE) {
            return None;
        }
        let settled = window.settled(now, SETTLE).unwrap();
        let mut ids: Vec<u128> = settled.spans.iter().flat_map(trace_ids).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut traces = settled.traces;
        traces.sort_unstable();
        assert_eq!(ids, traces);
        Some(traces)
    }

    /// Scenario: spans come faster than traces settle, and there is no room for all.
    /// Guarantee: the same traces stay each time, so that some settle.
    #[test]
    fn under_pressure_some_traces_get_old_enough() {
        let at = Instant::now();
        let after = |seconds| at + Duration::from_secs(seconds);
        let all: Vec<u128> = (1..=200).collect();
        let mut window = Window::new(4_000_000);
        for seconds in 0..30 {
            let now: Vec<u128> = all.iter().map(|id| id + u128::from(seconds) * 1000).collect();
            window.add(spans(&now), Vec::new(), 20_000, after(seconds)).unwrap();
            window.shrink(200_000, Shed::Any).unwrap();
        }
        assert!(window.bytes() <= 200_000);
        let old = settled(&window, after(30)).unwrap_or_default();
        assert!(old.len() > 20, "{} traces have settled", old.len());
    }

    /// Scenario: the spans of a trace come in two exports, and it goes in between.
    /// Guarantee: what settles has all its spans; of the others nothing is analyzed.
    #[test]
    fn a_part_of_a_trace_is_not_analyzed() {
        let at = Instant::now();
        let after = |seconds| at + Duration::from_secs(seconds);
        let mut window = Window::new(4_000_000);
        let of = |seconds: u64| (1..=200).map(move |id| id + u128::from(seconds) * 1000);
        for seconds in 0..30 {
            let (first, second) = (of(seconds), of(seconds.saturating_sub(5)));
            let now: Vec<u128> = first.chain(second.filter(|_| seconds >= 5)).collect();
            window.add(spans(&now), Vec::new(), 400_000, after(seconds)).unwrap();
            window.shrink(4_000_000, Shed::Any).unwrap();
        }
        let settled = window.settled(after(30), SETTLE).unwrap();
        assert!(settled.traces.len() > 20, "{} traces have settled", settled.traces.len());
        let mut rows: HashMap<u128, usize> = HashMap::new();
        for id in settled.spans.iter().flat_map(trace_ids) {
            *rows.entry(id).or_default() += 1;
        }
        assert!(rows.values().all(|rows| *rows == 2), "{rows:?}");
    }

    /// Scenario: a trace goes, some of its rows with it, and a span of it comes late.
    /// Guarantee: rows that were left do not come back.
    #[test]
    fn what_went_does_not_come_back() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11])]);
        analyzed(&mut window, &[7]);
        assert_eq!(window.shrink(window.bytes() - 1, Shed::Analyzed).unwrap(), 1);
        window.add(spans(&[7]), Vec::new(), 100, at).unwrap();
        let others = (1..=11).filter(|id| *id != 7).collect();
        assert_eq!(settled(&window, at + SETTLE), Some(others));
        assert_eq!(window.trace(7).picked().unwrap(), []);
    }

    /// Scenario: a span comes while its trace is analyzed.
    /// Guarantee: the trace is analyzed again, with it.
    #[test]
    fn what_comes_during_an_analysis_is_analyzed_later() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1, 2])]);
        let taken = window.settled(at + SETTLE, SETTLE).unwrap();
        window.add(spans(&[1]), Vec::new(), 100, at + SETTLE + Duration::from_secs(1)).unwrap();
        window.analyzed(&taken.traces, taken.at);
        assert_eq!(window.unanalyzed(), 1);
        let late = at + SETTLE + Duration::from_secs(1);
        assert_eq!(settled(&window, late + SETTLE / 2), None, "it has to settle");
        assert_eq!(settled(&window, at + SETTLE * 3), Some(vec![1, 2]));
    }

    #[test]
    fn a_trace_settles_once_nothing_of_it_comes() {
        let at = Instant::now();
        let after = |seconds| at + Duration::from_secs(seconds);
        let mut window = window(at, &[(0, &[1, 2, 1]), (5, &[2])]);
        assert_eq!(settled(&window, after(9)), None);
        assert_eq!(settled(&window, after(10)), Some(vec![1]));
        assert_eq!(settled(&window, after(15)), Some(vec![1, 2]));
        assert_eq!(window.unanalyzed(), 2);
        analyzed(&mut window, &[1, 2]);
        assert_eq!(settled(&window, after(16)), None);
        assert_eq!(window.unanalyzed(), 0);
        window.add(spans(&[1]), Vec::new(), 100, after(20)).unwrap();
        assert_eq!(settled(&window, after(29)), None, "a late span: it has to settle again");
        assert_eq!(settled(&window, after(30)), Some(vec![1, 2]));
        analyzed(&mut window, &[1, 2]);
        window.add(spans(&[1]), Vec::new(), 100, after(1000)).unwrap();
        assert_eq!(settled(&window, after(1009)), None, "however late it is");
    }

    /// Scenario: a trace gets spans without end, before and after it was analyzed.
    /// Guarantee: it is analyzed with what it has, and does not leave the findings meanwhile.
    #[test]
    fn a_trace_that_never_settles_is_analyzed_all_the_same() {
        let at = Instant::now();
        let after = |seconds| at + Duration::from_secs(seconds);
        let mut window = window(at, &[]);
        for seconds in 0..60 {
            window.add(spans(&[1]), Vec::new(), 100, after(seconds)).unwrap();
            assert_eq!(settled(&window, after(seconds)), None, "{seconds}");
        }
        assert_eq!(settled(&window, after(60)), Some(vec![1]));
        analyzed(&mut window, &[1]);
        window.add(spans(&[1, 2]), Vec::new(), 100, after(61)).unwrap();
        window.add(spans(&[1]), Vec::new(), 100, after(70)).unwrap();
        assert_eq!(settled(&window, after(71)), Some(vec![1, 2]), "it comes with the other");
    }

    #[test]
    fn old_traces_go_and_their_memory_with_them() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1, 2, 3]), (60, &[3, 4])]);
        let before = window.bytes();
        assert_eq!((window.traces(), window.spans()), (4, 5));
        let now = at + Duration::from_secs(70);
        assert_eq!(window.expire(now, Duration::from_secs(30)).unwrap(), 2);
        assert_eq!((window.traces(), window.spans()), (2, 3));
        assert!(window.bytes() < before);
        assert_eq!(settled(&window, now), Some(vec![3, 4]));
    }

    #[test]
    fn under_pressure_only_what_was_analyzed_goes() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1]), (1, &[2]), (2, &[3]), (3, &[4])]);
        let half = window.bytes() / 2;
        assert_eq!(window.shrink(2 * half, Shed::Analyzed).unwrap(), 0);
        analyzed(&mut window, &[2, 3, 4]);
        assert_eq!(window.shrink(half, Shed::Analyzed).unwrap(), 2);
        assert!(window.bytes() <= half, "{} of {half}", window.bytes());
        assert_eq!(settled(&window, at + SETTLE + SETTLE), Some(vec![1, 4]));
        assert_eq!(window.shrink(half / 2, Shed::Any).unwrap(), 1, "it is kept elsewhere");
        assert_eq!(window.traces(), 1);
    }

    /// Scenario: spans that are quarantined come without end.
    /// Guarantee: they count, go with their age, and go first under pressure.
    #[test]
    fn quarantined_spans_count_and_go() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1])]);
        let good = window.bytes();
        // Any batch will do: the window does not look into it.
        window.add(Vec::new(), spans(&[2, 3]), 1000, at).unwrap();
        window.add(Vec::new(), spans(&[2, 3]), 1000, at + SETTLE).unwrap();
        assert_eq!(window.bytes(), good + 2000);
        window.expire(at + SETTLE, SETTLE / 2).unwrap();
        assert_eq!(window.bytes(), 1000);
        window.shrink(999, Shed::Analyzed).unwrap();
        assert_eq!((window.bytes(), window.quarantined().len()), (0, 0));
    }

    #[test]
    fn small_batches_are_joined() {
        let at = Instant::now();
        let arrivals: Vec<[u128; 1]> = (1..=40).map(|number| [number]).collect();
        let arrivals: Vec<(u64, &[u128])> = arrivals.iter().map(|a| (0, &a[..])).collect();
        let window = window(at, &arrivals);
        assert!(window.chunks.len() < SMALL_BATCHES_MAX, "{}", window.chunks.len());
        assert_eq!(settled(&window, at + SETTLE), Some((1..=40).collect()));
        let rows = |id| window.trace(id).picked().unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!((rows(7), rows(99)), (1_usize, 0_usize));
    }
}
