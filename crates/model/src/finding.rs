//! [`Finding`]: one place where time sinks, with its evidence, its price and its fix.

use std::fmt;

/// How loud a finding is. `Info` is a note: true, but no reason to act by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

impl Severity {
    /// Returns the word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }

    /// Returns the severity of that word, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Error].into_iter().find(|s| s.as_str() == word)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How sure a finding is; every finding says why in `confidence_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Spans hint at it and cannot tell it from something else.
    Possible,
    /// The evidence is indirect but separated culprits from their good twins.
    Likely,
    /// Spans show it directly.
    Certain,
}

impl Confidence {
    /// Returns the word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }

    /// Returns the confidence of that word, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Possible, Self::Likely, Self::Certain].into_iter().find(|c| c.as_str() == word)
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a finding stands against what was known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    New,
    Ongoing,
    Regressed,
    Resolved,
    /// Not found again, but there was too little traffic to call it resolved.
    NotSeen,
    Muted,
}

impl Status {
    /// Returns the word used in every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Ongoing => "ongoing",
            Self::Regressed => "regressed",
            Self::Resolved => "resolved",
            Self::NotSeen => "not_seen",
            Self::Muted => "muted",
        }
    }

    /// Returns the status of that word, or `None` for any other word.
    pub fn parse(word: &str) -> Option<Self> {
        use Status::{Muted, New, NotSeen, Ongoing, Regressed, Resolved};
        let all = [New, Ongoing, Regressed, Resolved, NotSeen, Muted];
        all.into_iter().find(|status| status.as_str() == word)
    }

    /// Returns whether a row of this status is about a finding that was there.
    pub fn is_seen(self) -> bool {
        match self {
            Self::New | Self::Ongoing | Self::Regressed | Self::Muted => true,
            Self::Resolved | Self::NotSeen => false,
        }
    }
}

/// One number or text behind a finding.
#[derive(Debug, Clone, PartialEq)]
pub enum MeasureValue {
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Text(String),
}

/// A named piece of evidence. A name that ends in `_nanos` is a time in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    pub name: String,
    /// What the measure says, in a few words, for people.
    pub summary: String,
    pub value: MeasureValue,
}

/// What stands behind a finding.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    pub measures: Vec<Measure>,
    /// Up to five traces to look at, the most expensive first. Lower-case hex.
    pub trace_ids: Vec<String>,
    /// For each of `trace_ids`, the span to look at. Lower-case hex.
    pub span_ids: Vec<String>,
    /// `code.file.path:code.line.number` of the spans behind it, where they carry one.
    pub code_location: Option<String>,
    /// Up to five tests that showed it (`test.case.name`), those that showed it most first.
    pub test_cases: Vec<String>,
    /// Who says that it is of no interest, where its status is [`Status::Muted`].
    pub muted: Option<Muted>,
}

/// Who says that a finding is of no interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Muted {
    /// The configuration, until the end of a day in UTC, written as `2027-01-31`.
    ByConfiguration { reason: String, until: String },
    /// Spans of its endpoint, whose attribute `timesink.mute.rules` names its rule.
    BySpans,
}

/// What to do about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remediation {
    /// The fix in one line, for the libraries seen in these spans.
    pub summary: String,
    /// The guide inside timesink, `rules/<rule>#how-to-fix-it`.
    pub guide: String,
    /// Authoritative pages elsewhere, for the libraries seen in these spans.
    pub references: Vec<String>,
    /// The next command to run where spans end, a profiler's for example.
    pub next_step: Option<String>,
}

/// One row of the `findings` table: see [`crate::schema::findings`] for each field's meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub finding_id: String,
    pub rule: String,
    pub severity: Severity,
    pub service_name: String,
    pub endpoint: String,
    pub subject: String,
    pub title: String,
    pub message: String,
    pub window_start_unix_nano: i64,
    pub window_end_unix_nano: i64,
    pub traces_affected: i64,
    pub traces_seen: i64,
    pub occurrences: i64,
    pub wasted_nanos: i64,
    pub wasted_nanos_estimated: Option<i64>,
    pub wasted_share: Option<f64>,
    pub confidence: Confidence,
    pub confidence_reason: String,
    pub evidence: Evidence,
    pub remediation: Remediation,
    pub caused_by: Option<String>,
    pub first_seen_unix_nano: i64,
    pub last_seen_unix_nano: i64,
    pub service_versions: Vec<String>,
    pub status: Status,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_back_from_its_word() {
        for word in ["new", "ongoing", "regressed", "resolved", "not_seen", "muted"] {
            assert_eq!(Status::parse(word).map(Status::as_str), Some(word));
        }
        assert_eq!(Status::parse("closed"), None);
    }
}
