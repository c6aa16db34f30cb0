//! [`Hours`]: in which files rows can be, by the hours that they begin in.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use timesink_store::trace_ids;

use crate::LiveFile;
use crate::file::{NANOS_PER_HOUR, hour_text, numbers};

/// From when to when the spans of a trace last, ns since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) start: i64,
    pub(crate) end: i64,
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
            let all = times.entry(trace).or_insert(Times { start, end });
            *all = Times { start: all.start.min(start), end: all.end.max(end) };
        }
    }
    Ok(times)
}

/// Some hours, by their texts, from one to another each.
#[derive(Debug, Default)]
pub(crate) struct Hours(Vec<(String, String)>);

impl Hours {
    /// Adds the hours of a time, and so many before and after it.
    pub(crate) fn add(&mut self, times: Times, around: i64) {
        let hour = |nanos: i64| nanos.div_euclid(NANOS_PER_HOUR);
        let hours = (hour(times.start) - around, hour(times.end) + around);
        let hours = (hour_text(hours.0), hour_text(hours.1));
        if !self.0.contains(&hours) {
            self.0.push(hours);
        }
    }

    /// Returns whether a file may have rows that begin in one of them.
    pub(crate) fn have(&self, file: &LiveFile) -> bool {
        let has =
            |hour: &str| self.0.iter().any(|(first, last)| (&first[..]..=last).contains(&hour));
        file.hour.as_deref().is_none_or(has)
    }
}
