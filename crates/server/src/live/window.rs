//! [`Window`]: the spans of the last minutes, and which of their traces have settled.

use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::error::ArrowError;
use hashbrown::HashMap;

/// A batch with fewer rows is joined with others of its kind.
const SMALL_ROWS: usize = 4096;

/// So many small batches are joined into one: seldom, so that a row is copied few times.
const SMALL_BATCHES_MAX: usize = 16;

/// Spans, by the time they came.
#[derive(Debug, Default)]
pub(crate) struct Window {
    chunks: Vec<Chunk>,
    traces: HashMap<u128, Trace>,
    /// When a span of each service came last.
    services: HashMap<String, Instant>,
    quarantined: Vec<RecordBatch>,
}

/// A batch of `spans`.
#[derive(Debug, Clone)]
struct Chunk {
    batch: RecordBatch,
    /// The trace of each row.
    traces: Vec<u128>,
    bytes: u64,
}

#[derive(Debug)]
struct Trace {
    last_arrival: Instant,
    is_analyzed: bool,
}

/// The spans of traces that have settled, and those traces.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) spans: Vec<RecordBatch>,
    pub(crate) traces: Vec<u128>,
    /// When the last span came of the trace that waited longest for its first analysis.
    pub(crate) oldest_new: Option<Instant>,
}

impl Window {
    /// Adds spans that came now and hold about so many bytes.
    pub(crate) fn add(
        &mut self,
        spans: Vec<RecordBatch>,
        quarantined: Vec<RecordBatch>,
        bytes: u64,
        now: Instant,
    ) -> Result<(), ArrowError> {
        let rows: usize = spans.iter().map(RecordBatch::num_rows).sum();
        for batch in spans {
            let bytes = share(bytes, batch.num_rows(), rows);
            let traces = trace_ids(&batch);
            self.note(&batch, &traces, now);
            self.chunks.push(Chunk { batch, traces, bytes });
        }
        self.quarantined.extend(quarantined);
        self.join_small()
    }

    fn note(&mut self, batch: &RecordBatch, traces: &[u128], now: Instant) {
        for run in traces.chunk_by(|a, b| a == b) {
            let trace = Trace { last_arrival: now, is_analyzed: false };
            self.traces.insert(run[0], trace);
        }
        let services = column(batch, "service_name");
        let mut last = None;
        for row in 0..batch.num_rows() {
            let name = services.filter(|names| names.is_valid(row)).map(|names| names.value(row));
            if let Some(name) = name
                && last.replace(name) != Some(name)
            {
                match self.services.get_mut(name) {
                    Some(arrival) => *arrival = now,
                    None => drop(self.services.insert(name.to_owned(), now)),
                }
            }
        }
    }

    /// Returns the bytes that the spans hold, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    pub(crate) fn spans(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.batch.num_rows()).sum()
    }

    pub(crate) fn traces(&self) -> usize {
        self.traces.len()
    }

    /// Returns how many traces had a span within the last `settle`.
    pub(crate) fn unsettled(&self, now: Instant, settle: Duration) -> usize {
        self.traces.values().filter(|trace| !trace.has_settled(now, settle)).count()
    }

    /// Returns whether a span of the service came within the last `settle`.
    pub(crate) fn is_arriving(&self, service: &str, now: Instant, settle: Duration) -> bool {
        self.services.get(service).is_some_and(|&last| now.duration_since(last) < settle)
    }

    /// Returns the traces that have settled if one of them was not analyzed with all its spans.
    pub(crate) fn settled(
        &self,
        now: Instant,
        settle: Duration,
    ) -> Result<Option<Settled>, ArrowError> {
        let settled = |trace: &&Trace| trace.has_settled(now, settle);
        let new = self.traces.values().filter(settled).filter(|trace| !trace.is_analyzed);
        let Some(oldest_new) = new.map(|trace| trace.last_arrival).min() else { return Ok(None) };
        let has_settled = |id: &u128| self.traces.get(id).as_ref().is_some_and(settled);
        let spans = self.chunks.iter().map(|chunk| chunk.filtered(has_settled));
        let traces = self.traces.iter().filter(|(_, trace)| settled(trace)).map(|(id, _)| *id);
        Ok(Some(Settled {
            traces: traces.collect(),
            oldest_new: Some(oldest_new),
            spans: spans.filter(has_rows).collect::<Result<_, _>>()?,
        }))
    }

    /// Notes that traces were analyzed, but for those of which a span came since `began`.
    pub(crate) fn analyzed(&mut self, traces: &[u128], began: Instant) {
        for id in traces {
            if let Some(trace) = self.traces.get_mut(id) {
                trace.is_analyzed = trace.last_arrival <= began;
            }
        }
    }

    /// Returns the spans of one trace, if there are any.
    pub(crate) fn trace(&self, id: u128) -> Result<Option<RecordBatch>, ArrowError> {
        let parts = self.chunks.iter().map(|chunk| chunk.filtered(|of| *of == id));
        let parts: Vec<RecordBatch> = parts.filter(has_rows).collect::<Result<_, _>>()?;
        let schema = parts.first().map(RecordBatch::schema);
        schema.map(|schema| concat_batches(&schema, &parts)).transpose()
    }

    /// Returns the spans that are kept out of every sum.
    pub(crate) fn quarantined(&self) -> &[RecordBatch] {
        &self.quarantined
    }

    /// Lets traces go whose last span came longer ago than `age`. Returns how many.
    pub(crate) fn expire(&mut self, now: Instant, age: Duration) -> Result<usize, ArrowError> {
        let before = self.traces.len();
        self.traces.retain(|_, trace| now.duration_since(trace.last_arrival) <= age);
        self.services.retain(|_, last| now.duration_since(*last) <= age);
        let gone = before - self.traces.len();
        if gone > 0 {
            self.compact()?;
        }
        if self.traces.is_empty() {
            self.quarantined.clear();
        }
        Ok(gone)
    }

    /// Lets the traces go that were analyzed and came first, until the rest holds about
    /// `bytes_max`. Returns how many.
    pub(crate) fn shrink(&mut self, bytes_max: u64) -> Result<usize, ArrowError> {
        let bytes = self.bytes();
        if bytes <= bytes_max {
            return Ok(0);
        }
        let analyzed = self.traces.iter().filter(|(_, trace)| trace.is_analyzed);
        let mut by_age: Vec<(Instant, u128)> =
            analyzed.map(|(id, trace)| (trace.last_arrival, *id)).collect();
        by_age.sort_unstable();
        let excess = (bytes - bytes_max) as f64 / bytes as f64;
        by_age.truncate((self.traces.len() as f64 * excess).ceil() as usize);
        for (_, id) in &by_age {
            self.traces.remove(id);
        }
        self.quarantined.clear();
        self.compact()?;
        Ok(by_age.len())
    }

    /// Frees the memory of chunks of which most traces are gone.
    fn compact(&mut self) -> Result<(), ArrowError> {
        let traces = &self.traces;
        let mut kept = Vec::with_capacity(self.chunks.len());
        for chunk in self.chunks.drain(..) {
            let alive = chunk.traces.iter().filter(|id| traces.contains_key(*id)).count();
            if alive * 2 > chunk.traces.len() {
                kept.push(chunk);
            } else if alive > 0 {
                kept.push(chunk.compacted(|id| traces.contains_key(id))?);
            }
        }
        self.chunks = kept;
        Ok(())
    }

    fn join_small(&mut self) -> Result<(), ArrowError> {
        let is_small = |chunk: &Chunk| chunk.traces.len() < SMALL_ROWS;
        if self.chunks.iter().filter(|chunk| is_small(chunk)).count() < SMALL_BATCHES_MAX {
            return Ok(());
        }
        let (small, mut large): (Vec<Chunk>, Vec<Chunk>) =
            self.chunks.drain(..).partition(is_small);
        large.push(Chunk::joined(&small)?);
        self.chunks = large;
        Ok(())
    }
}

impl Trace {
    fn has_settled(&self, now: Instant, settle: Duration) -> bool {
        now.duration_since(self.last_arrival) >= settle
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

    /// Decides once for neighbours of one trace.
    fn mask(&self, is_wanted: impl Fn(&u128) -> bool) -> BooleanArray {
        let runs = self.traces.chunk_by(|a, b| a == b);
        let values = runs.flat_map(|run| std::iter::repeat_n(is_wanted(&run[0]), run.len()));
        BooleanArray::from(values.collect::<Vec<bool>>())
    }

    /// Returns the rows of some traces in memory of their own.
    fn compacted(&self, is_wanted: impl Fn(&u128) -> bool) -> Result<Self, ArrowError> {
        let batch = self.filtered(&is_wanted)?;
        let traces: Vec<u128> = self.traces.iter().copied().filter(&is_wanted).collect();
        let bytes = share(self.bytes, traces.len(), self.traces.len());
        Ok(Self { batch: own_texts(&batch)?, traces, bytes })
    }

    fn joined(chunks: &[Self]) -> Result<Self, ArrowError> {
        let schema = chunks[0].batch.schema();
        Ok(Self {
            batch: concat_batches(&schema, chunks.iter().map(|chunk| &chunk.batch))?,
            traces: chunks.iter().flat_map(|chunk| chunk.traces.iter().copied()).collect(),
            bytes: chunks.iter().map(|chunk| chunk.bytes).sum(),
        })
    }
}

/// Copies texts out of buffers that hold those of other rows as well.
fn own_texts(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(|column| match column.as_string_view_opt() {
        Some(texts) => std::sync::Arc::new(texts.gc()) as _,
        None => std::sync::Arc::clone(column),
    });
    RecordBatch::try_new(batch.schema(), columns.collect())
}

/// Returns the part of `bytes` that belongs to some of the rows.
fn share(bytes: u64, rows: usize, of: usize) -> u64 {
    (u128::from(bytes) * rows as u128 / of.max(1) as u128) as u64
}

fn has_rows(batch: &Result<RecordBatch, ArrowError>) -> bool {
    !batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0)
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StringViewArray> {
    batch.column_by_name(name).and_then(|column| column.as_string_view_opt())
}

/// Reads the trace id of each row; the decoder let only ids of 32 hex digits through.
fn trace_ids(batch: &RecordBatch) -> Vec<u128> {
    let ids = column(batch, "trace_id").into_iter().flat_map(|ids| ids.iter());
    ids.map(|id| parse_trace_id(id.unwrap_or_default()).unwrap_or_default()).collect()
}

/// Reads a trace id, 32 hex digits.
pub(crate) fn parse_trace_id(text: &str) -> Option<u128> {
    let is_whole = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_whole.then(|| u128::from_str_radix(text, 16).ok()).flatten()
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
        let mut window = Window::default();
        for (seconds, traces) in arrivals {
            let now = at + Duration::from_secs(*seconds);
            window.add(spans(traces), Vec::new(), 100, now).unwrap();
        }
        window
    }

    fn settled(window: &Window, now: Instant) -> Option<Vec<u128>> {
        let settled = window.settled(now, SETTLE).unwrap()?;
        let mut ids: Vec<u128> = settled.spans.iter().flat_map(trace_ids).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut traces = settled.traces;
        traces.sort_unstable();
        assert_eq!(ids, traces);
        Some(traces)
    }

    #[test]
    fn a_trace_settles_once_nothing_of_it_comes() {
        let at = Instant::now();
        let after = |seconds| at + Duration::from_secs(seconds);
        let mut window = window(at, &[(0, &[1, 2, 1]), (5, &[2])]);
        assert_eq!(settled(&window, after(9)), None);
        assert_eq!(settled(&window, after(10)), Some(vec![1]));
        assert_eq!(window.unsettled(after(10), SETTLE), 1);
        assert_eq!(settled(&window, after(15)), Some(vec![1, 2]));
        window.analyzed(&[1, 2], after(15));
        assert_eq!(settled(&window, after(16)), None);
        window.add(spans(&[1]), Vec::new(), 100, after(20)).unwrap();
        assert_eq!(settled(&window, after(29)), None, "a late span: it has to settle again");
        assert_eq!(settled(&window, after(30)), Some(vec![1, 2]));
        assert!(window.is_arriving("shop", after(29), SETTLE));
        assert!(!window.is_arriving("shop", after(30), SETTLE));
    }

    #[test]
    fn a_span_that_comes_during_an_analysis_is_analyzed_by_the_next() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1])]);
        let began = at + SETTLE;
        window.add(spans(&[1]), Vec::new(), 100, began + Duration::from_millis(1)).unwrap();
        window.analyzed(&[1], began);
        assert_eq!(settled(&window, began + SETTLE + SETTLE), Some(vec![1]));
    }

    #[test]
    fn old_traces_go_and_their_memory_with_them() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1, 2, 3]), (60, &[3, 4])]);
        assert_eq!((window.traces(), window.spans(), window.bytes()), (4, 5, 200));
        let now = at + Duration::from_secs(70);
        assert_eq!(window.expire(now, Duration::from_secs(30)).unwrap(), 2);
        assert_eq!((window.traces(), window.spans()), (2, 3));
        assert_eq!(window.bytes(), 133);
        assert_eq!(settled(&window, now), Some(vec![3, 4]));
    }

    #[test]
    fn under_pressure_only_what_was_analyzed_goes() {
        let at = Instant::now();
        let mut window = window(at, &[(0, &[1]), (1, &[2]), (2, &[3]), (3, &[4])]);
        assert_eq!(window.shrink(200).unwrap(), 0);
        window.analyzed(&[2, 3, 4], at + Duration::from_secs(5));
        assert_eq!(window.shrink(200).unwrap(), 2);
        assert_eq!(settled(&window, at + SETTLE + SETTLE), Some(vec![1, 4]));
    }

    #[test]
    fn small_batches_are_joined() {
        let at = Instant::now();
        let arrivals: Vec<[u128; 1]> = (1..=40).map(|number| [number]).collect();
        let arrivals: Vec<(u64, &[u128])> = arrivals.iter().map(|a| (0, &a[..])).collect();
        let window = window(at, &arrivals);
        assert!(window.chunks.len() < SMALL_BATCHES_MAX, "{}", window.chunks.len());
        assert_eq!(settled(&window, at + SETTLE), Some((1..=40).collect()));
        assert_eq!(window.trace(7).unwrap().map(|batch| batch.num_rows()), Some(1));
        assert!(window.trace(99).unwrap().is_none());
    }
}
