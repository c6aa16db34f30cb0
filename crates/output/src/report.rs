//! [`Report`]: everything a report is made of.

use timesink_model::{ExampleTrace, Finding};
use timesink_rules::{Mute, RuleRun, RuleSet};

use crate::words;

/// Everything a report is made of.
#[derive(Debug)]
pub struct Report<'a> {
    /// Ranked, and already cut to what was asked for.
    pub findings: &'a [Finding],
    /// How many there were before the cut.
    pub findings_total: usize,
    /// How many of those are no symptom of another one.
    pub causes_total: usize,
    /// Those that are muted, ranked.
    pub muted: &'a [Finding],
    /// What was muted until a day that is over, and was found again.
    pub mutes_over: &'a [Mute],
    /// One for each rule, by name.
    pub runs: &'a [RuleRun],
    pub spans: usize,
    pub traces: usize,
    pub services: usize,
    /// What of the input was refused, mended or damaged, in plain sentences.
    pub notices: Vec<String>,
    /// Traces to draw; empty for formats that draw none.
    pub examples: &'a [ExampleTrace],
    /// The rules whose guides are quoted.
    pub rules: &'a RuleSet,
    /// Whether traces were still arriving, so that findings may change.
    pub provisional: bool,
    /// Of timesink.
    pub version: &'a str,
}

/// What a provisional report says of itself.
pub(crate) const PROVISIONAL: &str =
    "provisional: traces were still arriving, so findings may change";

impl Report<'_> {
    /// Returns what was found, and in what.
    pub(crate) fn headline(&self) -> String {
        let found = words::Found {
            findings: self.findings,
            total: self.causes_total,
            spans: self.spans,
            traces: self.traces,
            services: self.services,
        };
        found.headline()
    }

    /// Returns the runs that had something to look at: without spans no rule is clean or skipped.
    pub(crate) fn runs(&self) -> &[RuleRun] {
        if self.spans > 0 { self.runs } else { &[] }
    }

    /// Returns what is muted, and how the rules fared that found nothing.
    pub(crate) fn outcomes(&self) -> Vec<words::Line> {
        let muted = words::muted(self.muted, self.mutes_over);
        muted.into_iter().chain(words::outcomes(self.runs())).collect()
    }

    /// Returns what a reader has to know about the report itself.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let provisional = self.provisional.then(|| PROVISIONAL.to_owned());
        provisional.into_iter().chain(self.notices.iter().cloned()).collect()
    }
}
