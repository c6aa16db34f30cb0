//! [`Traffic`]: in how many traces a finding could have shown.

use std::collections::{HashMap, HashSet};

use crate::Finding;

/// What a period's analysis looked at. A rule that could not look found nothing, too: what it does
/// not say is no sign of a fix.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// Traces of each endpoint that were seen in the period, by service and endpoint.
    pub traces: HashMap<(String, String), u64>,
    /// Rules that were run. One that failed, is switched off, is gone or was skipped because no
    /// span carries what it requires is not among them.
    pub rules: HashSet<String>,
    /// Of which endpoints a rule could not tell: rule, service and endpoint.
    pub undecided: HashSet<(String, String, String)>,
}

impl Traffic {
    /// Returns the traces in which this finding would have been found, had it been there.
    pub(super) fn judged(&self, finding: &Finding) -> u64 {
        let rule = finding.rule.clone();
        let (service, endpoint) = (finding.service_name.clone(), finding.endpoint.clone());
        let is_judged = self.rules.contains(&rule)
            && !self.undecided.contains(&(rule, service.clone(), endpoint.clone()));
        let traces = self.traces.get(&(service, endpoint)).copied();
        traces.filter(|_| is_judged).unwrap_or(0)
    }
}
