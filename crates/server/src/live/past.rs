//! [`Past`]: what is kept of the findings of each hour.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use timesink_model::{FORGOTTEN_AFTER_NANOS, Finding, History, NANOS_PER_SECOND, Period, Traffic};
use timesink_rules::Analysis;
use tokio::runtime::Runtime;

use crate::Error;
use crate::flush::ToTables;

/// Findings get a row for each hour in which they were found, or were found no more.
const PERIOD_SECONDS: NonZeroU32 = NonZeroU32::new(3600).expect("it is not zero");

/// A table that cannot be read is read again after so long.
const READ_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Gathers what is found in an hour, and sends what it means to the table `findings`.
pub(crate) struct Past {
    /// The data directory.
    data: PathBuf,
    /// Returns now, ns since the epoch.
    clock: fn() -> i64,
    tables: Sender<ToTables>,
    /// Where to say what goes wrong.
    troubles: Option<SyncSender<String>>,
    /// What the table says of the time before; read with the first analysis.
    history: Option<History>,
    /// When it may be read.
    read_at: Instant,
    hour: Option<Hour>,
}

/// What was found in an hour until now.
struct Hour {
    period: Period,
    /// By id, as they were found last.
    findings: BTreeMap<String, Finding>,
    traffic: Traffic,
}

impl Past {
    pub(crate) fn new(
        data: PathBuf,
        clock: fn() -> i64,
        tables: Sender<ToTables>,
        troubles: Option<SyncSender<String>>,
    ) -> Self {
        Self { data, clock, tables, troubles, history: None, read_at: Instant::now(), hour: None }
    }

    /// Says what goes wrong.
    pub(super) fn tell(&self, error: &Error) {
        if let Some(troubles) = &self.troubles {
            // Full: whoever should read it does not.
            let _ = troubles.try_send(format!("findings of the hour are not kept yet: {error}"));
        }
    }

    /// Notes what an analysis found; when an hour is over, its findings go to the table.
    ///
    /// # Errors
    ///
    /// [`Error::Tables`] when the table cannot be read: that is tried again later.
    pub(super) fn note(&mut self, analysis: &Analysis, runtime: &Runtime) -> Result<(), Error> {
        let read = if self.history.is_none() && Instant::now() >= self.read_at {
            self.read_at = Instant::now() + READ_AGAIN_AFTER;
            self.read(runtime).map(|history| self.history = Some(history))
        } else {
            Ok(())
        };
        let period = Period::containing((self.clock)(), PERIOD_SECONDS);
        if self.hour.as_ref().is_some_and(|hour| hour.period != period) {
            self.close(None)?;
        }
        let new = || Hour { period, findings: BTreeMap::new(), traffic: Traffic::default() };
        self.hour.get_or_insert_with(new).note(analysis);
        read
    }

    /// Says of findings how they stood when the last hour was over, once that is known.
    pub(super) fn say_how_they_stand(&self, findings: &mut [Finding]) {
        if let Some(history) = &self.history {
            history.tell(findings);
        }
    }

    /// Sends what was found in the hour that is not over: nothing is found any more.
    pub(super) fn end(&mut self) {
        let now = (self.clock)();
        let end = now - now.rem_euclid(NANOS_PER_SECOND);
        // It could not be made: the log has the spans.
        let _ = self.close(Some(end));
    }

    fn close(&mut self, end: Option<i64>) -> Result<(), Error> {
        // Until the table is known an hour grows into the next.
        let Some(history) = &mut self.history else { return Ok(()) };
        let Some(hour) = self.hour.take() else { return Ok(()) };
        let Hour { mut period, findings, traffic } = hour;
        period.end_unix_nano = end.unwrap_or(period.end_unix_nano);
        if period.end_unix_nano <= period.start_unix_nano {
            return Ok(());
        }
        let findings: Vec<Finding> = findings.into_values().collect();
        let rows = history.close(period, &findings, &traffic);
        if rows.is_empty() {
            return Ok(());
        }
        let rows = timesink_output::findings_batch(&rows);
        let rows = rows.map_err(|error| Error::Internal(error.to_string()))?;
        // It ends after this thread.
        let _ = self.tables.send(ToTables::Findings(rows));
        Ok(())
    }

    fn read(&self, runtime: &Runtime) -> Result<History, Error> {
        let now = (self.clock)();
        let since = now.saturating_sub(FORGOTTEN_AFTER_NANOS);
        let failed = |error: String| Error::Internal(format!("failed to read `findings`: {error}"));
        let batches = runtime.block_on(timesink_tables::stored_findings(&self.data, since));
        let mut rows = Vec::new();
        for batch in batches? {
            let of_batch = timesink_output::findings_of(&batch);
            rows.extend(of_batch.map_err(|error| failed(error.to_string()))?);
        }
        // Of a clock that was ahead.
        rows.retain(|row| row.window_end_unix_nano <= now);
        rows.sort_by_key(|row| std::cmp::Reverse(row.window_end_unix_nano));
        Ok(History::new(rows))
    }
}

impl Hour {
    fn note(&mut self, analysis: &Analysis) {
        for finding in &analysis.findings {
            self.findings.insert(finding.finding_id.clone(), finding.clone());
        }
        let Traffic { traces, rules, undecided } = &analysis.traffic;
        // Windows overlap: there were at least as many as in the largest.
        for (endpoint, traces) in traces {
            let known = self.traffic.traces.entry(endpoint.clone()).or_default();
            *known = (*known).max(*traces);
        }
        self.traffic.rules.extend(rules.iter().cloned());
        self.traffic.undecided.extend(undecided.iter().cloned());
    }
}
