//! [`Snapshot`]: what the last analysis of the window found.

use timesink_query::Database;
use timesink_rules::Analysis;

/// The last analysis; readers keep it for as long as they answer.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) analysis: Analysis,
    /// The spans that were analyzed, with what the trace pass knows of them; none before the first
    /// analysis.
    pub(crate) database: Option<Database>,
    /// Services among the spans.
    pub(crate) services: usize,
    /// Analyses so far.
    pub(crate) number: u64,
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
        Self { analysis, database: None, services: 0, number: 0 }
    }
}
