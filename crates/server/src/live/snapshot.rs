//! [`Snapshot`]: what the last analysis of the window found.

use timesink_model::ExampleTrace;
use timesink_model::Traffic;
use timesink_rules::Analysis;

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
            traffic: Traffic::default(),
            findings: Vec::new(),
            muted: Vec::new(),
            mutes_over: Vec::new(),
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
        self.analysis.runs.iter().any(|run| run.failure().is_some())
    }
}
