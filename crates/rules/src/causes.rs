//! One culprit, one finding: which finding is a symptom of which.
//!
//! A rule names the rules whose findings explain its own (`symptom_of` in `rule.toml`). One does
//! where its rows lie in the same traces, at the same time, and waste at least half of what the
//! symptom's rows waste. A note explains no warning.

use std::cmp::Reverse;
use std::collections::HashMap;

use timesink_model::Finding;

use crate::manifest::Where;
use crate::rule::RuleSet;

/// Of the time that a symptom wastes its cause explains at least one part of so many.
const EXPLAINED_PARTS: i64 = 2;

/// A row of a finding: where and when it is, ns by the clock of the trace's root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) trace_id: &'a str,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) wasted_nanos: i64,
}

/// A finding and where its rows are.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) finding: Finding,
    pub(crate) places: Vec<Place<'a>>,
}

/// Notes of each finding the one that causes it, if one does, and returns them.
pub(crate) fn linked(rules: &RuleSet, all: Vec<Found<'_>>) -> Vec<Finding> {
    let mut by_rule: HashMap<&str, Vec<&Found<'_>>> = HashMap::new();
    for found in &all {
        by_rule.entry(&found.finding.rule).or_default().push(found);
    }
    let causes: Vec<Option<String>> =
        all.iter().map(|symptom| cause(rules, &by_rule, symptom)).collect();
    let causes = without_circles(&all, causes);
    let findings = all.into_iter().map(|found| found.finding);
    findings.zip(causes).map(|(finding, caused_by)| Finding { caused_by, ..finding }).collect()
}

/// Returns the finding that explains most of another one, if one explains enough.
fn cause(
    rules: &RuleSet,
    by_rule: &HashMap<&str, Vec<&Found<'_>>>,
    symptom: &Found<'_>,
) -> Option<String> {
    let rule = rules.get(&symptom.finding.rule).ok()?;
    let mut causes = Vec::new();
    for named in &rule.manifest.symptom_of {
        let of_rules = named.rules.iter().filter_map(|name| by_rule.get(name.as_str()));
        let fits = of_rules.flatten().filter(|cause| is_where(named.place, symptom, cause));
        causes.extend(fits.map(|cause| (explained(symptom, cause), &cause.finding.finding_id)));
    }
    let needed = total(symptom).div_euclid(EXPLAINED_PARTS).max(1);
    let enough = causes.into_iter().filter(|(nanos, _)| *nanos >= needed);
    enough.min_by_key(|(nanos, id)| (Reverse(*nanos), *id)).map(|(_, id)| id.clone())
}

fn is_where(place: Where, symptom: &Found<'_>, cause: &Found<'_>) -> bool {
    let (symptom, cause) = (&symptom.finding, &cause.finding);
    let is_same_service = symptom.service_name == cause.service_name;
    symptom.finding_id != cause.finding_id
        && symptom.severity <= cause.severity
        && match place {
            Where::Endpoint => is_same_service && symptom.endpoint == cause.endpoint,
            Where::Service => is_same_service,
            Where::Below => !is_same_service,
        }
}

fn total(found: &Found<'_>) -> i64 {
    found.places.iter().fold(0, |sum, place| sum.saturating_add(place.wasted_nanos))
}

/// Returns how much of what a symptom wastes lies where and when a cause does, in nanoseconds.
fn explained(symptom: &Found<'_>, cause: &Found<'_>) -> i64 {
    let mut of_trace: HashMap<&str, Vec<&Place<'_>>> = HashMap::new();
    for place in &cause.places {
        of_trace.entry(place.trace_id).or_default().push(place);
    }
    let explained = symptom.places.iter().map(|place| {
        let there = of_trace.get(place.trace_id).into_iter().flatten();
        let overlaps = there.filter(|of| of.start <= place.end && place.start <= of.end);
        let wasted = overlaps.fold(0_i64, |sum, of| sum.saturating_add(of.wasted_nanos));
        wasted.min(place.wasted_nanos)
    });
    explained.fold(0, i64::saturating_add)
}

/// A finding that is a symptom of its own symptom is none: the first of such a circle, by its id,
/// is its cause.
fn without_circles(all: &[Found<'_>], causes: Vec<Option<String>>) -> Vec<Option<String>> {
    let mut cause_of: HashMap<&str, &str> = HashMap::new();
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_unstable_by_key(|at| &all[*at].finding.finding_id);
    for at in order {
        let (id, Some(cause)) = (all[at].finding.finding_id.as_str(), &causes[at]) else {
            continue;
        };
        let chain = std::iter::successors(Some(cause.as_str()), |id| cause_of.get(id).copied());
        if chain.take(all.len()).all(|above| above != id) {
            cause_of.insert(id, cause);
        }
    }
    let kept: Vec<bool> =
        all.iter().map(|found| cause_of.contains_key(found.finding.finding_id.as_str())).collect();
    causes.into_iter().zip(kept).map(|(cause, is_kept)| cause.filter(|_| is_kept)).collect()
}
