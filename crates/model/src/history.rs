//! [`History`]: what became of each finding, told once a [`Period`].
//!
//! Rows of the `findings` table are appended and never changed; the latest row of a finding says
//! how it stands. Which rows a period adds follows from the rows before it, from what the period's
//! last analysis found and from the traffic it looked at:
//!
//! | its latest row                 | found     | not found, enough traffic | too little |
//! |--------------------------------|-----------|---------------------------|------------|
//! | none                           | new       |                           |            |
//! | new, ongoing, regressed, muted | ongoing   | resolved                  | `not_seen` |
//! | `not_seen`                     | ongoing   | resolved                  | no row     |
//! | resolved                       | regressed | no row                    | no row     |
//!
//! What configuration or spans mute is `muted` whenever it is found. `gone.rs` says how much
//! traffic is enough. Finding things, and storing and loading rows, is left to others: nothing here
//! does I/O or knows the time.

mod gone;
mod known;
mod period;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use self::known::Known;
pub use self::period::Period;
pub use self::traffic::Traffic;
use crate::{Finding, NANOS_PER_SECOND, Status};

/// Findings that are remembered. A system has hundreds; an open one takes a few kilobytes, a
/// resolved one a few hundred bytes. Beyond it those resolved longest ago are forgotten first.
pub const FINDINGS_MAX: usize = 100_000;

/// A finding without a row for this long is forgotten, 90 days: found again, it is new. It was
/// resolved in a release that nobody remembers, or its endpoint is no longer called.
pub const FORGOTTEN_AFTER_NANOS: i64 = 90 * 24 * 3600 * NANOS_PER_SECOND;

/// How every known finding stands after the last period that was closed.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By finding id.
    known: BTreeMap<String, Known>,
    closed_until_unix_nano: Option<i64>,
}

impl History {
    /// Returns the history that these stored rows tell.
    ///
    /// For each finding its latest row is needed, and the latest one in which it was seen: without
    /// it the share of traces affected is unknown, and the finding is never resolved. More rows
    /// do no harm. Newest first: at [`FINDINGS_MAX`] findings, further ones are left out. Rows of
    /// periods that have not ended, left by a clock that was wrong, are the caller's to leave out.
    pub fn new(rows: impl IntoIterator<Item = Finding>) -> Self {
        let mut history = Self::default();
        for row in rows {
            let has_room = history.known.len() < FINDINGS_MAX;
            if has_room || history.known.contains_key(&row.finding_id) {
                history.learn(row);
            }
        }
        history.forget();
        history
    }

    /// Returns the end of the last period that was closed.
    pub fn closed_until_unix_nano(&self) -> Option<i64> {
        self.closed_until_unix_nano
    }

    /// Closes a period: returns the rows to append, by finding id, at most one a finding.
    ///
    /// `findings` is what the last analysis in the period found, `traffic` what it looked at; a
    /// period without an analysis that succeeded is not closed. The window of every row is the
    /// period, so that finding and window name one row.
    ///
    /// A period that ended when the last one did, or before, makes no rows and changes nothing:
    /// it was closed already, or the clock went back, and history waits until it has caught up.
    /// The rows are made once; the caller keeps them until they are stored.
    pub fn close(
        &mut self,
        period: Period,
        findings: &[Finding],
        traffic: &Traffic,
    ) -> Vec<Finding> {
        if self.closed_until_unix_nano.is_some_and(|until| period.end_unix_nano <= until) {
            return Vec::new();
        }
        let found = by_id(findings);
        let mut rows = Vec::with_capacity(found.len());
        for (id, known) in &mut self.known {
            if !found.contains_key(id.as_str()) {
                rows.extend(known.unseen(period, traffic));
            }
        }
        rows.extend(found.iter().map(|(id, finding)| seen(self.known.get(*id), finding, period)));
        rows.sort_by(|a, b| a.finding_id.cmp(&b.finding_id));
        for row in &rows {
            self.learn(row.clone());
        }
        self.closed_until_unix_nano = Some(period.end_unix_nano);
        self.forget();
        rows
    }

    /// Says of findings how they stand after the last period that was closed, and since when they
    /// are known. Their windows stay as they are.
    pub fn tell(&self, findings: &mut [Finding]) {
        for finding in findings {
            let known = self.known.get(&finding.finding_id);
            finding.status = status(known, finding);
            if let Some(known) = known {
                finding.first_seen_unix_nano = known.first_seen.min(finding.first_seen_unix_nano);
            }
        }
    }

    /// Takes a row in, from the store or just made: there is one way to know a finding.
    fn learn(&mut self, row: Finding) {
        self.closed_until_unix_nano =
            self.closed_until_unix_nano.max(Some(row.window_end_unix_nano));
        match self.known.get_mut(&row.finding_id) {
            Some(known) => known.learn(row),
            None => {
                self.known.insert(row.finding_id.clone(), Known::new(row));
            }
        }
    }

    fn forget(&mut self) {
        let Some(now) = self.closed_until_unix_nano else { return };
        let is_recent =
            |known: &Known| now.saturating_sub(known.told_until) <= FORGOTTEN_AFTER_NANOS;
        self.known.retain(|_, known| is_recent(known));
        shrink(&mut self.known, FINDINGS_MAX);
    }
}

/// Returns the findings by id. Ids are unique; should two be one, the dearer counts.
fn by_id(findings: &[Finding]) -> BTreeMap<&str, &Finding> {
    let mut found: BTreeMap<&str, &Finding> = BTreeMap::new();
    for finding in findings {
        let kept = found.entry(&finding.finding_id).or_insert(finding);
        if kept.wasted_nanos < finding.wasted_nanos {
            *kept = finding;
        }
    }
    found
}

/// Returns the row of a finding that was found.
fn seen(known: Option<&Known>, finding: &Finding, period: Period) -> Finding {
    let (first, last) = known::seen_times(finding);
    Finding {
        window_start_unix_nano: period.start_unix_nano,
        window_end_unix_nano: period.end_unix_nano,
        first_seen_unix_nano: known.map_or(first, |known| known.first_seen.min(first)),
        last_seen_unix_nano: known.map_or(last, |known| known.last_seen.max(last)),
        status: status(known, finding),
        ..finding.clone()
    }
}

/// Returns how a finding stands that was found.
fn status(known: Option<&Known>, finding: &Finding) -> Status {
    match (finding.status, known.map(|known| known.status)) {
        (Status::Muted, _) => Status::Muted,
        (_, None) => Status::New,
        (_, Some(Status::Resolved)) => Status::Regressed,
        (_, Some(_)) => Status::Ongoing,
    }
}

/// Drops all but `max` findings: those resolved longest ago first, then those not seen for
/// longest, then those seen longest ago.
fn shrink(known: &mut BTreeMap<String, Known>, max: usize) {
    let excess = known.len().saturating_sub(max);
    if excess == 0 {
        return;
    }
    let mut order: Vec<(&String, &Known)> = known.iter().collect();
    order.sort_by(|a, b| dispensable_first(a.1, b.1).then_with(|| a.0.cmp(b.0)));
    let dropped: Vec<String> = order[..excess].iter().map(|(id, _)| (*id).clone()).collect();
    for id in dropped {
        known.remove(&id);
    }
}

fn dispensable_first(a: &Known, b: &Known) -> Ordering {
    let key = |known: &Known| {
        let rank = match known.status {
            Status::Resolved => 0,
            Status::NotSeen => 1,
            Status::New | Status::Ongoing | Status::Regressed | Status::Muted => 2,
        };
        (rank, known.told_until, known.last_seen)
    };
    key(a).cmp(&key(b))
}
