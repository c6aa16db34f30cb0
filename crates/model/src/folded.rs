//! Causes and their symptoms: what a reader is shown once, and in what order.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use crate::{Finding, Severity};

/// A finding that none of those beside it causes, and what it causes.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded<'a> {
    pub finding: &'a Finding,
    /// Its symptoms and theirs, in the order they had.
    pub symptoms: Vec<&'a Finding>,
}

/// Folds symptoms under their causes; the order stays.
///
/// A finding whose cause is not among them stands for itself.
pub fn folded(findings: &[Finding]) -> Vec<Folded<'_>> {
    let parents = parents(findings);
    let mut folded: Vec<Folded<'_>> = Vec::new();
    let mut place_of: HashMap<usize, usize> = HashMap::new();
    for (at, finding) in findings.iter().enumerate() {
        if parents[at].is_none() {
            place_of.insert(at, folded.len());
            folded.push(Folded { finding, symptoms: Vec::new() });
        }
    }
    for (at, finding) in findings.iter().enumerate() {
        let place = root(&parents, at).and_then(|root| place_of.get(&root));
        if let (Some(_), Some(&place)) = (parents[at], place) {
            folded[place].symptoms.push(finding);
        }
    }
    folded
}

/// Ranks findings: by the time they waste, notes last, and each symptom behind its cause.
pub fn rank(findings: &mut Vec<Finding>) {
    findings.sort_by(|a, b| {
        let key = |f: &Finding| (Reverse(f.severity > Severity::Info), Reverse(f.wasted_nanos));
        key(a).cmp(&key(b)).then_with(|| a.finding_id.cmp(&b.finding_id))
    });
    let parents = parents(findings);
    let mut order = Vec::with_capacity(findings.len());
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, parent) in parents.iter().enumerate() {
        if let Some(parent) = parent {
            children.entry(*parent).or_default().push(at);
        }
    }
    let roots = (0..findings.len()).filter(|at| parents[*at].is_none());
    for root in roots {
        let mut open = vec![root];
        while let Some(at) = open.pop() {
            order.push(at);
            open.extend(children.remove(&at).unwrap_or_default().into_iter().rev());
        }
    }
    let mut all: Vec<Option<Finding>> = std::mem::take(findings).into_iter().map(Some).collect();
    findings.extend(order.into_iter().filter_map(|at| all[at].take()));
}

/// Returns how many of the ranked findings are the first `causes` of them with their symptoms.
pub fn first_causes(ranked: &[Finding], causes: usize) -> usize {
    let parents = parents(ranked);
    let mut roots = (0..ranked.len()).filter(|at| parents[*at].is_none());
    roots.nth(causes).unwrap_or(ranked.len())
}

/// Returns of each finding where its cause is, if it is among them.
fn parents(findings: &[Finding]) -> Vec<Option<usize>> {
    let ids = findings.iter().enumerate().map(|(at, f)| (f.finding_id.as_str(), at));
    let place_of: HashMap<&str, usize> = ids.collect();
    let parent = |f: &Finding| f.caused_by.as_deref().and_then(|id| place_of.get(id)).copied();
    let parents: Vec<Option<usize>> = findings.iter().map(parent).collect();
    // A circle has no cause: rows that somebody else wrote can hold one.
    let has_root: Vec<bool> = (0..parents.len()).map(|at| root(&parents, at).is_some()).collect();
    parents.into_iter().zip(has_root).map(|(parent, has)| parent.filter(|_| has)).collect()
}

/// Returns the cause of the cause, and so on, unless that is a circle.
fn root(parents: &[Option<usize>], mut at: usize) -> Option<usize> {
    let mut seen = HashSet::new();
    while let Some(parent) = parents[at] {
        if !seen.insert(at) {
            return None;
        }
        at = parent;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::tests::found;

    /// A finding: its id, its cause's, what it wastes.
    fn finding(id: &str, caused_by: Option<&str>, wasted_nanos: i64) -> Finding {
        let finding_id = id.to_owned();
        let caused_by = caused_by.map(str::to_owned);
        Finding { finding_id, wasted_nanos, caused_by, ..found(id, 0) }
    }

    fn ids<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> String {
        let ids: Vec<&str> = findings.into_iter().map(|f| f.finding_id.as_str()).collect();
        ids.join(" ")
    }

    #[test]
    fn symptoms_stand_behind_their_causes() {
        let mut findings = vec![
            finding("symptom", Some("cause"), 90),
            finding("other", None, 50),
            finding("of-symptom", Some("symptom"), 95),
            finding("cause", None, 40),
            finding("far", Some("elsewhere"), 45),
        ];
        rank(&mut findings);
        assert_eq!(ids(&findings), "other far cause symptom of-symptom");
        let folded = folded(&findings);
        let causes: Vec<&Finding> = folded.iter().map(|folded| folded.finding).collect();
        assert_eq!(ids(causes), "other far cause");
        assert_eq!(ids(folded[2].symptoms.iter().copied()), "symptom of-symptom");
        assert_eq!([0, 1, 2, 3, 9].map(|n| first_causes(&findings, n)), [0, 1, 2, 5, 5]);
    }

    proptest! {
        /// Whatever is said to cause whatever: each finding is shown once.
        #[test]
        fn each_is_shown_once(
            causes in proptest::collection::vec((proptest::option::of(0..9_usize), 0..5_i64), 0..9),
        ) {
            let of = |(at, (cause, wasted)): (usize, &(Option<usize>, i64))| {
                finding(&at.to_string(), cause.map(|c| c.to_string()).as_deref(), *wasted)
            };
            let mut findings: Vec<Finding> = causes.iter().enumerate().map(of).collect();
            rank(&mut findings);
            prop_assert_eq!(findings.len(), causes.len());
            let shown = folded(&findings);
            let place = |id: &str| findings.iter().position(|f| f.finding_id == id);
            for (at, finding) in findings.iter().enumerate() {
                let cause = finding.caused_by.as_deref().and_then(place);
                let is_root = shown.iter().any(|folded| folded.finding == finding);
                // Behind its cause, unless it is in a circle or has none here.
                prop_assert!(is_root || cause.is_some_and(|cause| cause < at));
            }
            let mut all: Vec<&str> = shown
                .iter()
                .flat_map(|f| f.symptoms.iter().copied().chain([f.finding]))
                .map(|f| f.finding_id.as_str())
                .collect();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(all.len(), causes.len());
        }
    }
}
