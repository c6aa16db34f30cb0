//! [`Hours`]: in which files rows can be, by the hours that they begin in.

use std::collections::{BTreeSet, HashMap};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use timesink_store::trace_ids;

use crate::LiveFile;
use crate::file::{NANOS_PER_HOUR, hour_text, numbers};

/// When the spans of a trace last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times {
    /// When the first begins, ns since the epoch.
    pub(crate) start: i64,
    /// The hours of each, since the epoch, those of several once: clocks may be years apart.
    hours: BTreeSet<(i64, i64)>,
}

impl Times {
    /// Returns those of a span.
    pub(crate) fn of(start: i64, end: i64) -> Self {
        Self { start, hours: BTreeSet::from([hours_of(start, end)]) }
    }
}

fn hours_of(start: i64, end: i64) -> (i64, i64) {
    (start.div_euclid(NANOS_PER_HOUR), end.div_euclid(NANOS_PER_HOUR))
}

/// Returns the times of all traces that spans are of.
///
/// # Errors
///
/// They lack a column.
pub(crate) fn times_of(spans: &[RecordBatch]) -> Result<HashMap<u128, Times>, ArrowError> {
    let mut times: HashMap<u128, Times> = HashMap::new();
    for batch in spans {
        let starts = numbers(batch, "start_time_unix_nano")?.values();
        let ends = numbers(batch, "end_time_unix_nano")?.values();
        let rows = starts.iter().zip(ends);
        for (trace, (&start, &end)) in trace_ids(batch).into_iter().zip(rows) {
            let all = times.entry(trace).or_insert_with(|| Times::of(start, end));
            all.start = all.start.min(start);
            all.hours.insert(hours_of(start, end));
        }
    }
    Ok(times)
}

/// Some hours, by their texts, from one to another each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hours(BTreeSet<(String, String)>);

impl Hours {
    /// Adds the hours of a trace, and so many before and after.
    pub(crate) fn add(&mut self, times: &Times, before: i64, after: i64) {
        let hours = times.hours.iter();
        self.0.extend(
            hours.map(|(first, last)| (hour_text(first - before), hour_text(last + after))),
        );
    }

    /// Returns whether a file may have rows that begin in one of them.
    pub(crate) fn have(&self, file: &LiveFile) -> bool {
        let has =
            |hour: &str| self.0.iter().any(|(first, last)| (&first[..]..=last).contains(&hour));
        file.hour.as_deref().is_none_or(has)
    }
}
