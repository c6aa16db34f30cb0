//! [`Known`]: what is kept of a finding's rows.

use super::gone::is_gone;
use super::{Period, Traffic};
use crate::{Evidence, Finding, Status};

/// How one finding stands.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    /// That of its latest row.
    pub(super) status: Status,
    /// The end of its latest row's period.
    pub(super) told_until: i64,
    /// Its latest row in which it was seen, from which rows without it are made; failing that, the
    /// row that said `not_seen`. `None` once it is resolved: nothing more is told of it.
    last: Option<Box<Finding>>,
    /// Traces of its endpoint since it was last seen, in which it would have shown.
    traces_unseen: u64,
}

impl Known {
    pub(super) fn new(row: Finding) -> Self {
        let (first_seen, last_seen) = seen_times(&row);
        let mut known = Self {
            first_seen,
            last_seen,
            status: row.status,
            told_until: row.window_end_unix_nano,
            last: None,
            traces_unseen: 0,
        };
        known.stand(row);
        known
    }

    /// Takes in another row of the finding, older or newer than those before.
    pub(super) fn learn(&mut self, row: Finding) {
        let (first, last) = seen_times(&row);
        self.first_seen = self.first_seen.min(first);
        self.last_seen = self.last_seen.max(last);
        if self.told_until < row.window_end_unix_nano {
            self.status = row.status;
            self.told_until = row.window_end_unix_nano;
            self.stand(row);
        } else if self.status != Status::Resolved && self.improves(&row) {
            self.last = Some(Box::new(row));
        }
    }

    /// Stands as the latest row says.
    fn stand(&mut self, row: Finding) {
        self.traces_unseen = 0;
        match row.status {
            Status::Resolved => self.last = None,
            Status::NotSeen => {
                self.traces_unseen = u64::try_from(row.traces_seen).unwrap_or(0);
                if self.last.is_none() {
                    self.last = Some(Box::new(row));
                }
            }
            Status::New | Status::Ongoing | Status::Regressed | Status::Muted => {
                self.last = Some(Box::new(row));
            }
        }
    }

    /// Returns whether an older row shows the finding later than the one that is kept.
    fn improves(&self, row: &Finding) -> bool {
        let is_later = |last: &Finding| last.window_end_unix_nano < row.window_end_unix_nano;
        let last = self.last.as_deref();
        row.status.is_seen() && last.is_none_or(|last| !last.status.is_seen() || is_later(last))
    }

    /// Counts a period in which it was not found; returns the row that says so, unless the one
    /// before said it.
    pub(super) fn unseen(&mut self, period: Period, traffic: &Traffic) -> Option<Finding> {
        let last = self.last.as_deref()?;
        self.traces_unseen = self.traces_unseen.saturating_add(traffic.judged(last));
        let is_gone = is_gone(last.traces_affected, last.traces_seen, self.traces_unseen);
        let status = if is_gone { Status::Resolved } else { Status::NotSeen };
        if status == self.status {
            return None;
        }
        Some(Finding {
            window_start_unix_nano: period.start_unix_nano,
            window_end_unix_nano: period.end_unix_nano,
            traces_affected: 0,
            traces_seen: i64::try_from(self.traces_unseen).unwrap_or(i64::MAX),
            occurrences: 0,
            wasted_nanos: 0,
            wasted_nanos_estimated: last.wasted_nanos_estimated.map(|_| 0),
            wasted_share: last.wasted_share.map(|_| 0.0),
            first_seen_unix_nano: self.first_seen,
            last_seen_unix_nano: self.last_seen,
            evidence: Evidence { muted: None, ..last.evidence.clone() },
            status,
            ..last.clone()
        })
    }
}

/// Returns when a finding was first and last seen. Of a span that ends before it starts, that is
/// when it ends.
pub(super) fn seen_times(finding: &Finding) -> (i64, i64) {
    let last = finding.last_seen_unix_nano;
    (finding.first_seen_unix_nano.min(last), last)
}
