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
    /// Whether this process saw the hour before the next one begin.
    has_begun: bool,
    /// Whether the hour has grown into the next.
    has_grown: bool,
}

/// What was found in an hour until now.
struct Hour {
    period: Period,
    /// By id, as they were found last.
    findings: BTreeMap<String, Finding>,
    traffic: Traffic,
    /// Whether this process saw it begin: else one before it may have been killed in it, and what
    /// that found nobody wrote.
    is_whole: bool,
}

impl Past {
    pub(crate) fn new(
        data: PathBuf,
        clock: fn() -> i64,
        tables: Sender<ToTables>,
        troubles: Option<SyncSender<String>>,
    ) -> Self {
        let (read_at, history, hour) = (Instant::now(), None, None);
        let (has_begun, has_grown) = (false, false);
        Self { data, clock, tables, troubles, history, read_at, hour, has_begun, has_grown }
    }

    /// Says what goes wrong.
    pub(super) fn tell(&self, error: &Error) {
        if let Some(troubles) = &self.troubles {
            // Full: whoever should read it does not.
            let _ = troubles.try_send(format!("failed to read what was found before: {error}"));
        }
    }

    /// Notes what an analysis found; when an hour is over, its findings go to the table.
    ///
    /// # Errors
    ///
    /// [`Error::Tables`] when the table cannot be read: that is tried again later. Where a file of
    /// it is damaged, the rest is known.
    pub(super) fn note(&mut self, analysis: &Analysis, runtime: &Runtime) -> Result<(), Error> {
        let read = if self.history.is_none() && Instant::now() >= self.read_at {
            self.read_at = Instant::now() + READ_AGAIN_AFTER;
            self.read(runtime).and_then(|(history, damage)| {
                self.history = Some(history);
                damage.map_or(Ok(()), |damage| Err(damage.into()))
            })
        } else {
            Ok(())
        };
        let period = Period::containing((self.clock)(), PERIOD_SECONDS);
        if self.hour.as_ref().is_some_and(|hour| hour.period != period) {
            self.close(None)?;
        }
        let hour = match &mut self.hour {
            Some(hour) => hour,
            none => none.insert(Hour {
                period,
                findings: BTreeMap::new(),
                traffic: Traffic::default(),
                is_whole: std::mem::replace(&mut self.has_begun, true),
            }),
        };
        hour.note(analysis);
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
        let Some(history) = &mut self.history else {
            self.has_grown = true;
            return Ok(());
        };
        let Some(hour) = self.hour.take() else { return Ok(()) };
        let Hour { mut period, findings, traffic, is_whole } = hour;
        period.end_unix_nano = end.unwrap_or(period.end_unix_nano);
        if period.end_unix_nano <= period.start_unix_nano {
            return Ok(());
        }
        let traffic = if is_whole { traffic } else { Traffic::default() };
        // The next one begins in its middle: its beginning went to this one.
        self.has_begun &= !std::mem::take(&mut self.has_grown);
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

    /// Reads the table, as far as it is not damaged.
    fn read(&self, runtime: &Runtime) -> Result<(History, Option<timesink_tables::Error>), Error> {
        let now = (self.clock)();
        let since = now.saturating_sub(FORGOTTEN_AFTER_NANOS);
        let failed = |error: String| Error::Internal(format!("failed to read `findings`: {error}"));
        let stored = runtime.block_on(timesink_tables::stored_findings(&self.data, since))?;
        let mut rows = Vec::new();
        for batch in stored.rows {
            let of_batch = timesink_output::findings_of(&batch);
            rows.extend(of_batch.map_err(|error| failed(error.to_string()))?);
        }
        // Of a clock that was ahead.
        rows.retain(|row| row.window_end_unix_nano <= now);
        rows.sort_by_key(|row| std::cmp::Reverse(row.window_end_unix_nano));
        Ok((History::new(rows), stored.damage))
    }
}

impl Hour {
    fn note(&mut self, analysis: &Analysis) {
        for finding in analysis.findings.iter().chain(&analysis.muted) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use timesink_model::{Confidence, Evidence, Remediation, Severity, Status};
    use tokio::runtime::Builder;

    use super::*;

    const HOUR: i64 = 3600 * NANOS_PER_SECOND;

    /// Hours since the epoch; one test has it.
    static NOW: AtomicI64 = AtomicI64::new(0);

    fn now() -> i64 {
        NOW.load(Ordering::Relaxed) * HOUR + HOUR / 2
    }

    fn finding(hour: i64) -> Finding {
        let text = str::to_owned;
        Finding {
            finding_id: text("7e5583e7a86047cb"),
            rule: text("rule"),
            severity: Severity::Warning,
            service_name: text("service"),
            endpoint: text("endpoint"),
            subject: text("subject"),
            title: text("title"),
            message: text("message"),
            window_start_unix_nano: hour * HOUR,
            window_end_unix_nano: hour * HOUR + 1,
            traces_affected: 20,
            traces_seen: 20,
            occurrences: 20,
            wasted_nanos: 1,
            wasted_nanos_estimated: None,
            wasted_share: None,
            confidence: Confidence::Certain,
            confidence_reason: text("it is said"),
            evidence: Evidence::default(),
            remediation: Remediation::default(),
            caused_by: None,
            first_seen_unix_nano: hour * HOUR,
            last_seen_unix_nano: hour * HOUR + 1,
            service_versions: Vec::new(),
            status: Status::New,
        }
    }

    /// An analysis of so many traces of the endpoint, in which it was found or not.
    fn analysis(hour: i64, traces: u64, is_found: bool) -> Analysis {
        let place = ("service".to_owned(), "endpoint".to_owned());
        let traffic = Traffic {
            traces: [(place, traces)].into(),
            rules: ["rule".to_owned()].into(),
            undecided: [].into(),
        };
        Analysis {
            findings: if is_found { vec![finding(hour)] } else { Vec::new() },
            muted: Vec::new(),
            mutes_over: Vec::new(),
            runs: Vec::new(),
            traffic,
            spans: 0,
            traces: 0,
            repeated_spans: 0,
        }
    }

    fn sent(tables: &Receiver<ToTables>) -> Vec<(i64, &'static str)> {
        let mut rows = Vec::new();
        while let Ok(sent) = tables.try_recv() {
            let ToTables::Findings(batch) = sent else { panic!("only findings are sent") };
            let of_batch = timesink_output::findings_of(&batch).expect("rows of the table");
            let row = |row: &Finding| (row.window_start_unix_nano / HOUR, row.status.as_str());
            rows.extend(of_batch.iter().map(row));
        }
        rows
    }

    /// Scenario: a server starts in the middle of an hour, and does not find what another had
    /// found; or the table was not known until then.
    /// Guarantee: that it is gone is said of the next hour: before the start it may have been
    /// found, and the process killed.
    #[test]
    fn an_hour_that_is_not_known_from_its_beginning_does_not_say_what_is_gone() {
        static HOURS: AtomicI64 = AtomicI64::new(0);
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let before =
            Finding { window_end_unix_nano: 11 * HOUR, status: Status::Ongoing, ..finding(10) };
        for (has_begun, known_at, expected) in [
            (false, 11, &[(11, "not_seen"), (12, "resolved")][..]),
            (true, 11, &[(11, "resolved")]),
            (false, 13, &[(11, "not_seen"), (14, "resolved")]),
        ] {
            let (sender, tables) = channel();
            let clock = || HOURS.load(Ordering::Relaxed) * HOUR + HOUR / 2;
            let mut past = Past::new(PathBuf::new(), clock, sender, None);
            past.read_at = Instant::now() + READ_AGAIN_AFTER;
            past.has_begun = has_begun;
            for hour in 11..16 {
                if hour == known_at {
                    past.history = Some(History::new([before.clone()]));
                }
                HOURS.store(hour, Ordering::Relaxed);
                past.note(&analysis(hour, 1000, false), &runtime).expect("it is not read");
            }
            assert_eq!(sent(&tables), expected);
        }
    }

    /// Scenario: a finding is there for some hours, is not, and comes back; a mute begins and ends.
    /// Guarantee: a row an hour says how it stands; that it is gone only once there was traffic
    /// enough to tell.
    #[test]
    fn each_hour_says_how_a_finding_stands() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let (sender, tables) = channel();
        let mut past = Past::new(folder.path().to_owned(), now, sender, None);
        let muted = |hour| {
            let mut analysis = analysis(hour, 20, true);
            analysis.muted = std::mem::take(&mut analysis.findings);
            analysis.muted[0].status = Status::Muted;
            analysis
        };
        for (hour, of_hour) in [
            (1, analysis(1, 20, true)),
            (2, analysis(2, 20, true)),
            (3, analysis(3, 0, false)),
            (4, analysis(4, 1000, false)),
            (5, analysis(5, 20, true)),
            (6, muted(6)),
            (7, analysis(7, 20, true)),
        ] {
            NOW.store(hour, Ordering::Relaxed);
            past.note(&of_hour, &runtime).expect("there is no table yet");
        }
        past.end();
        let expected = [
            (1, "new"),
            (2, "ongoing"),
            (3, "not_seen"),
            (4, "resolved"),
            (5, "regressed"),
            (6, "muted"),
            (7, "ongoing"),
        ];
        assert_eq!(sent(&tables), expected);
    }
}
