//! [`Snapshot`]: what the last analysis of the window found.

use timesink_model::ExampleTrace;
use timesink_rules::{Analysis, Outcome};

/// The last analysis; readers keep it for as long as they answer.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) analysis: Analysis,
    /// Traces to draw, of the first findings: the spans themselves are not kept beside the window.
    pub(crate) examples: Vec<ExampleTrace>,
    /// Services among the spans.
    pub(crate) services: usize,
}

impl Default for Snapshot {
    fn default() -> Self {
        let analysis = Analysis {
            findings: Vec::new(),
            runs: Vec::new(),
            spans: 0,
            traces: 0,
            repeated_spans: 0,
        };
        Self { analysis, examples: Vec::new(), services: 0 }
    }
}

impl Snapshot {
    /// Returns whether a rule could not be run.
    pub(crate) fn has_failed_rules(&self) -> bool {
        self.failed_rules().next().is_some()
    }

    /// Returns a sentence for each rule that could not be run.
    pub(crate) fn failed_rules(&self) -> impl Iterator<Item = String> {
        self.analysis.runs.iter().filter_map(|run| match &run.outcome {
            Outcome::Failed { reason } => Some(format!("rule `{}` failed: {reason}", run.rule)),
            _ => None,
        })
    }
}
