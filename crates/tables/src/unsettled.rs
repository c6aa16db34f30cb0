//! [`Unsettled`]: spans that are in the log, and whose traces have no facts in the tables yet.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use timesink_store::{Place, gather, memory_bytes, trace_ids};

/// A trace of which spans come without a pause is walked once it is so many times as old as it
/// takes to settle.
const OVERDUE_TIMES: u32 = 6;

/// It waits no longer than this, whatever it takes to settle: after a crash as much is walked
/// again.
const OVERDUE_MAX: Duration = Duration::from_mins(10);

/// When a trace has all its spans, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// Once no span of it came for so long.
    After(Duration),
    /// At once: nothing comes any more, or there is no room to wait.
    AtOnce,
}

/// Spans by the record of the log that they came with.
#[derive(Debug, Default)]
pub(crate) struct Unsettled {
    chunks: Vec<Chunk>,
    traces: HashMap<u128, Waiting>,
    /// The last record of which spans came.
    last: u64,
}

#[derive(Debug)]
struct Chunk {
    /// The log is needed from behind this record on: its spans came with some of the next ones.
    after: u64,
    batch: RecordBatch,
    /// The trace of each row.
    traces: Vec<u128>,
    bytes: u64,
}

/// When spans of a trace came.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    first: Instant,
    last: Instant,
}

impl Unsettled {
    /// Takes the spans of all records up to one, behind those that came before; they came now.
    pub(crate) fn add(&mut self, record: u64, batches: Vec<RecordBatch>, now: Instant) {
        // What is read from the log again comes by its origin, which may lie before the last.
        let after = if record > self.last { self.last } else { record.saturating_sub(1) };
        for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
            let traces = trace_ids(&batch);
            for run in traces.chunk_by(|a, b| a == b) {
                let waiting =
                    self.traces.entry(run[0]).or_insert(Waiting { first: now, last: now });
                waiting.last = now;
            }
            let bytes = memory_bytes(&batch);
            self.chunks.push(Chunk { after, batch, traces, bytes });
        }
        self.last = self.last.max(record);
    }

    /// Returns the memory that they hold, about.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Returns the traces that have settled.
    pub(crate) fn due(&self, settle: Settle, now: Instant) -> HashSet<u128> {
        let is_due = |waiting: &Waiting| match settle {
            Settle::AtOnce => true,
            Settle::After(time) => {
                now.duration_since(waiting.last) >= time
                    || now.duration_since(waiting.first) >= overdue(time)
            }
        };
        let due = self.traces.iter().filter(|(_, waiting)| is_due(waiting));
        due.map(|(id, _)| *id).collect()
    }

    /// Returns the spans of some traces.
    pub(crate) fn spans(&self, traces: &HashSet<u128>) -> Result<Vec<RecordBatch>, ArrowError> {
        let spans = self.chunks.iter().map(|chunk| chunk.filtered(|id| traces.contains(id)));
        let spans: Vec<RecordBatch> = spans.collect::<Result<_, _>>()?;
        Ok(spans.into_iter().filter(|batch| batch.num_rows() > 0).collect())
    }

    /// Returns up to which record the log is not needed once some traces have facts.
    pub(crate) fn through_without(&self, traces: &HashSet<u128>) -> u64 {
        let is_left = |chunk: &&Chunk| chunk.runs().any(|run| !traces.contains(&run[0]));
        let left = self.chunks.iter().filter(is_left).map(|chunk| chunk.after);
        left.min().unwrap_or(self.last)
    }

    /// Returns up to which record the log is not needed.
    pub(crate) fn through(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.after).min().unwrap_or(self.last)
    }

    /// Lets spans go whose traces have facts.
    pub(crate) fn forget(&mut self, traces: &HashSet<u128>) -> Result<(), ArrowError> {
        self.traces.retain(|id, _| !traces.contains(id));
        let mut left = Vec::new();
        for chunk in self.chunks.drain(..) {
            let kept = chunk.runs().filter(|run| !traces.contains(&run[0]));
            let kept: usize = kept.map(<[u128]>::len).sum();
            if kept == chunk.traces.len() {
                left.push(chunk);
            } else if kept > 0 {
                left.push(chunk.without(traces)?);
            }
        }
        self.chunks = left;
        Ok(())
    }
}

fn overdue(settle: Duration) -> Duration {
    (settle * OVERDUE_TIMES).min(OVERDUE_MAX.max(settle))
}

impl Chunk {
    /// Returns the trace of each row, neighbours of one trace together.
    fn runs(&self) -> impl Iterator<Item = &[u128]> {
        self.traces.chunk_by(|a, b| a == b)
    }

    /// Says of each row whether its trace is asked for.
    fn are(&self, is_wanted: impl Fn(&u128) -> bool) -> Vec<bool> {
        let are = self.runs().flat_map(|run| std::iter::repeat_n(is_wanted(&run[0]), run.len()));
        are.collect()
    }

    /// Returns the rows of some traces; all of them are not copied.
    fn filtered(&self, is_wanted: impl Fn(&u128) -> bool) -> Result<RecordBatch, ArrowError> {
        let wanted = BooleanArray::from(self.are(is_wanted));
        match wanted.true_count() {
            all if all == self.traces.len() => Ok(self.batch.clone()),
            _ => filter_record_batch(&self.batch, &wanted),
        }
    }

    /// Returns the other rows, in memory of their own.
    fn without(&self, traces: &HashSet<u128>) -> Result<Self, ArrowError> {
        let is_left = self.are(|id| !traces.contains(id));
        let rows = is_left.iter().enumerate().filter(|(_, is_left)| **is_left);
        let rows: Vec<Place> = rows.map(|(row, _)| (0, row)).collect();
        let batch = gather(&self.batch.schema(), std::slice::from_ref(&self.batch), &rows)?;
        let left = rows.iter().map(|(_, row)| self.traces[*row]).collect();
        let bytes = memory_bytes(&batch);
        Ok(Self { after: self.after, batch, traces: left, bytes })
    }
}
