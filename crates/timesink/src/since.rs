//! [`Since`]: how much of the past a command looks at.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use chrono::{DateTime, SecondsFormat};
use timesink_model::parse_duration_nanos;

/// A time, or how long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Ns since the epoch.
    Time(i64),
    /// Ns before now.
    Ago(i64),
}

impl Since {
    /// Reads `2026-11-23T11:00:00Z` or `15m`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(nanos) = parse_duration_nanos(text) {
            return Ok(Self::Ago(nanos));
        }
        let time = DateTime::parse_from_rfc3339(text).ok().and_then(|t| t.timestamp_nanos_opt());
        time.map(Self::Time).ok_or_else(|| {
            "expected a time such as 2026-11-23T11:00:00Z, or how long ago: 90s, 15m, 2h, 7d"
                .to_owned()
        })
    }

    /// Returns the time, ns since the epoch.
    pub(crate) fn time(self, now_unix_nano: i64) -> i64 {
        match self {
            Self::Time(time) => time,
            Self::Ago(nanos) => now_unix_nano.saturating_sub(nanos),
        }
    }

    /// Returns the spans of the traces that begin then or later.
    ///
    /// A trace is kept or left out whole: half of one would look like another.
    pub(crate) fn cut(self, spans: &[RecordBatch], now_unix_nano: i64) -> Result<Vec<RecordBatch>> {
        let kept = self.kept(spans.to_vec(), now_unix_nano)?;
        if kept.is_empty()
            && let Some((first, last)) = range(&starts(spans)?)
        {
            bail!(
                "no trace begins at {} or later (`--since`): the traces begin from {} to {}",
                self.at(now_unix_nano),
                rfc3339(first),
                rfc3339(last)
            );
        }
        Ok(kept)
    }

    /// As [`Since::cut`] of some of the traces: there may be none left.
    pub(crate) fn kept(
        self,
        spans: Vec<RecordBatch>,
        now_unix_nano: i64,
    ) -> Result<Vec<RecordBatch>> {
        let since = self.time(now_unix_nano);
        let starts = starts(&spans)?;
        if range(&starts).is_none_or(|(first, _)| first >= since) {
            return Ok(spans);
        }
        let mut kept = Vec::with_capacity(spans.len());
        for batch in &spans {
            let (trace_ids, _) = columns(batch)?;
            let is_kept = |id: Option<&str>| Some(starts.get(id?).is_some_and(|&s| s >= since));
            let is_kept: BooleanArray = trace_ids.iter().map(is_kept).collect();
            let batch = filter_record_batch(batch, &is_kept)?;
            if batch.num_rows() > 0 {
                kept.push(batch);
            }
        }
        Ok(kept)
    }

    /// Returns the time for people.
    pub(crate) fn at(self, now_unix_nano: i64) -> String {
        rfc3339(self.time(now_unix_nano))
    }
}

/// Returns when each trace begins.
fn starts(spans: &[RecordBatch]) -> Result<HashMap<&str, i64>> {
    let mut starts: HashMap<&str, i64> = HashMap::new();
    for batch in spans {
        let (trace_ids, times) = columns(batch)?;
        for (trace_id, &time) in trace_ids.iter().zip(times.values()) {
            let start = starts.entry(trace_id.unwrap_or_default()).or_insert(time);
            *start = time.min(*start);
        }
    }
    Ok(starts)
}

fn range(starts: &HashMap<&str, i64>) -> Option<(i64, i64)> {
    Some((starts.values().copied().min()?, starts.values().copied().max()?))
}

fn columns(batch: &RecordBatch) -> Result<(&StringViewArray, &Int64Array)> {
    let trace_ids = batch.column_by_name("trace_id").and_then(|c| c.as_string_view_opt());
    let times = batch.column_by_name("start_time_unix_nano");
    let times = times.and_then(|c| c.as_primitive_opt::<Int64Type>());
    trace_ids.zip(times).context("spans have no trace ids or times")
}

fn rfc3339(unix_nano: i64) -> String {
    DateTime::from_timestamp_nanos(unix_nano).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_and_durations() {
        assert_eq!(Since::parse("90s"), Ok(Since::Ago(90_000_000_000)));
        assert_eq!(Since::parse("2h"), Ok(Since::Ago(7_200_000_000_000)));
        assert_eq!(Since::parse("7d"), Ok(Since::Ago(604_800_000_000_000)));
        assert_eq!(Since::parse("1970-01-01T00:00:01Z"), Ok(Since::Time(1_000_000_000)));
        assert_eq!(Since::parse("1970-01-01T01:00:01+01:00"), Ok(Since::Time(1_000_000_000)));
        for text in ["", "m", "15", "-5m", "1w", "99999999999d", "yesterday", "2026-11-23"] {
            assert!(Since::parse(text).is_err(), "{text}");
        }
    }
}
