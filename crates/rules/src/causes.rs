//! One culprit, one finding: which finding is a symptom of which.
//!
//! A rule names the rules whose findings explain its own (`symptom_of` in `rule.toml`), and where
//! they are. One does where its rows lie in the same traces, at the same time, and waste at least
//! half of what the symptom's rows waste; one of another service lies below the symptom's span,
//! behind the service that the symptom is about. A note explains no warning.

use std::cmp::Reverse;

use arrow::array::RecordBatch;
use hashbrown::{HashMap, HashSet};
use timesink_facts::packed::Text;
use timesink_model::Finding;

use crate::Error;
use crate::columns::text;
use crate::manifest::Where;
use crate::rule::RuleSet;

/// Of the time that a symptom wastes its cause explains at least one part of so many.
const EXPLAINED_PARTS: i64 = 2;

/// Spans above one another that are looked at: deeper ones are a cycle or no call.
const DEPTH_MAX: usize = 1_000;

/// A row of a finding: where and when it is, ns by the clock of the trace's root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) trace_id: &'a str,
    pub(crate) span_id: &'a str,
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

/// The places of a finding in one trace, by their start.
type OfTrace<'a> = Vec<&'a Place<'a>>;

/// Notes of each finding the one that causes it, if one does, and returns them.
///
/// # Errors
///
/// [`Error::Internal`] when the spans lack a column.
pub(crate) fn linked(
    rules: &RuleSet,
    all: Vec<Found<'_>>,
    spans: &[RecordBatch],
) -> Result<Vec<Finding>, Error> {
    let causes = {
        let found = Indexed::of(&all);
        let above = Above::read(spans, &found.traces_below(rules))?;
        let cause = |number| found.cause(rules, &above, number);
        let causes: Vec<Option<usize>> = (0..all.len()).map(cause).collect();
        let id = |number: usize| all[number].finding.finding_id.clone();
        without_circles(&all, causes.into_iter().map(|cause| cause.map(id)).collect())
    };
    let findings = all.into_iter().map(|found| found.finding);
    Ok(findings.zip(causes).map(|(f, caused_by)| Finding { caused_by, ..f }).collect())
}

/// Findings by their rules and traces.
struct Indexed<'a> {
    all: &'a [Found<'a>],
    /// Of each finding its places by trace.
    traces: Vec<HashMap<&'a str, OfTrace<'a>>>,
    /// The findings of a rule in a trace, by number.
    of_rule: HashMap<(&'a str, &'a str), Vec<usize>>,
}

impl<'a> Indexed<'a> {
    fn of(all: &'a [Found<'a>]) -> Self {
        let mut of_rule: HashMap<(&str, &str), Vec<usize>> = HashMap::new();
        let mut traces = Vec::with_capacity(all.len());
        for (number, found) in all.iter().enumerate() {
            let mut by_trace: HashMap<&str, OfTrace<'_>> = HashMap::new();
            for place in &found.places {
                by_trace.entry(place.trace_id).or_default().push(place);
            }
            for (trace_id, places) in &mut by_trace {
                places.sort_by_key(|place| place.start);
                of_rule.entry((&found.finding.rule, *trace_id)).or_default().push(number);
            }
            traces.push(by_trace);
        }
        Self { all, traces, of_rule }
    }

    /// Returns the traces in which causes are looked for in other services.
    fn traces_below(&self, rules: &RuleSet) -> HashSet<&'a str> {
        let mut traces = HashSet::new();
        for (found, by_trace) in self.all.iter().zip(&self.traces) {
            let Ok(rule) = rules.get(&found.finding.rule) else { continue };
            let below = rule.manifest.symptom_of.iter().filter(|of| of.place == Where::Below);
            for name in below.flat_map(|of| &of.rules) {
                let is_of_rule = |id: &&&str| self.of_rule.contains_key(&(name.as_str(), **id));
                traces.extend(by_trace.keys().filter(is_of_rule));
            }
        }
        traces
    }

    /// Returns the finding that explains most of another one, if one explains enough.
    fn cause(&self, rules: &RuleSet, above: &Above<'_>, number: usize) -> Option<usize> {
        let symptom = &self.all[number];
        let rule = rules.get(&symptom.finding.rule).ok()?;
        let mut explained: HashMap<usize, i64> = HashMap::new();
        for named in &rule.manifest.symptom_of {
            for (name, (trace_id, places)) in pairs(&named.rules, &self.traces[number]) {
                for other in self.of_rule.get(&(name, trace_id)).into_iter().flatten() {
                    if !is_where(named.place, symptom, &self.all[*other]) {
                        continue;
                    }
                    let theirs = &self.traces[*other][trace_id];
                    let nanos = match named.place {
                        Where::Below => above.explained(symptom, places, theirs),
                        Where::Endpoint | Where::Service => explained_by(places, theirs),
                    };
                    let sum = explained.entry(*other).or_default();
                    *sum = sum.saturating_add(nanos);
                }
            }
        }
        let needed = total(&symptom.places).div_euclid(EXPLAINED_PARTS).max(1);
        let enough = explained.into_iter().filter(|(_, nanos)| *nanos >= needed);
        let id = |number: usize| &self.all[number].finding.finding_id;
        enough.min_by_key(|(number, nanos)| (Reverse(*nanos), id(*number))).map(|(n, _)| n)
    }
}

/// Returns each rule with each trace.
fn pairs<'a, 'p>(
    rules: &'a [String],
    traces: &'p HashMap<&'a str, OfTrace<'a>>,
) -> impl Iterator<Item = (&'a str, (&'a str, &'p OfTrace<'a>))> {
    rules.iter().flat_map(|name| traces.iter().map(move |(id, of)| (name.as_str(), (*id, of))))
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

fn total<'a>(places: impl IntoIterator<Item = &'a Place<'a>>) -> i64 {
    places.into_iter().fold(0, |sum, place| sum.saturating_add(place.wasted_nanos))
}

/// Returns how much of what a symptom wastes in a trace lies where and when a cause does, in
/// nanoseconds: not more than the cause wastes there, however many rows the symptom has.
fn explained_by(symptom: &[&Place<'_>], cause: &[&Place<'_>]) -> i64 {
    total(overlapping(symptom, cause)).min(total(overlapping(cause, symptom)))
}

/// Returns the places that overlap one of others; those are sorted by their start.
fn overlapping<'a, 'p>(
    places: &'p [&'a Place<'a>],
    others: &'p [&Place<'_>],
) -> impl Iterator<Item = &'a Place<'a>> + 'p {
    let mut last = i64::MIN;
    let ends = others.iter().map(move |other| {
        last = last.max(other.end);
        last
    });
    // The last end of all others up to each.
    let ends: Vec<i64> = ends.collect();
    places.iter().copied().filter(move |place| {
        let begun = others.partition_point(|other| other.start <= place.end);
        begun > 0 && ends[begun - 1] >= place.start
    })
}

/// The spans of some traces: what is above each, and whose it is.
struct Above<'a>(HashMap<(&'a str, &'a str), (Option<&'a str>, &'a str)>);

impl<'a> Above<'a> {
    fn read(spans: &'a [RecordBatch], traces: &HashSet<&str>) -> Result<Self, Error> {
        let mut above = HashMap::new();
        for batch in spans.iter().filter(|_| !traces.is_empty()) {
            let column = |name: &str| -> Result<Text<'a>, Error> { text(batch, name) };
            let (trace_id, span_id) = (column("trace_id")?, column("span_id")?);
            let (parent, service) = (column("parent_span_id")?, column("service_name")?);
            for row in (0..batch.num_rows()).filter(|row| traces.contains(trace_id.value(*row))) {
                let key = (trace_id.value(row), span_id.value(row));
                above.insert(key, (parent.get(row), service.value(row)));
            }
        }
        Ok(Self(above))
    }

    /// As [`explained_by`], of the places of a cause that lie below those of a symptom, behind the
    /// service that it is about.
    fn explained(&self, symptom: &Found<'_>, places: &[&Place<'_>], theirs: &[&Place<'_>]) -> i64 {
        let subject = symptom.finding.subject.as_str();
        // Of an edge `a -> b` it is the second.
        let subject = subject.rsplit(" -> ").next().unwrap_or(subject);
        let spans: HashSet<&str> = places.iter().map(|place| place.span_id).collect();
        let mut reached = HashSet::new();
        let below = theirs.iter().copied().filter(|place| {
            let above = self.reached(place, subject, &spans);
            reached.extend(above);
            above.is_some()
        });
        let below: Vec<&Place<'_>> = below.collect();
        let is_reached = |place: &&&Place<'_>| reached.contains(place.span_id);
        let symptoms: Vec<&Place<'_>> = places.iter().filter(is_reached).copied().collect();
        explained_by(&symptoms, &below)
    }

    /// Returns the first of some spans above a place, if a service lies between.
    fn reached<'s>(
        &self,
        place: &Place<'_>,
        service: &str,
        spans: &HashSet<&'s str>,
    ) -> Option<&'s str> {
        let (mut span_id, mut is_behind) = (place.span_id, false);
        for _ in 0..DEPTH_MAX {
            if let Some(found) = spans.get(span_id) {
                return is_behind.then_some(*found);
            }
            let (parent, of) = self.0.get(&(place.trace_id, span_id))?;
            is_behind |= *of == service;
            span_id = (*parent)?;
        }
        None
    }
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
    let is_kept = |found: &Found<'_>| cause_of.contains_key(found.finding.finding_id.as_str());
    let kept: Vec<bool> = all.iter().map(is_kept).collect();
    drop(cause_of);
    causes.into_iter().zip(kept).map(|(cause, is_kept)| cause.filter(|_| is_kept)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(start: i64, end: i64, wasted_nanos: i64) -> Place<'static> {
        Place { trace_id: "t", span_id: "s", start, end, wasted_nanos }
    }

    fn explained(symptom: &[Place<'_>], cause: &[Place<'_>]) -> i64 {
        explained_by(&symptom.iter().collect::<Vec<_>>(), &cause.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_cause_explains_what_it_wastes_once() {
        let parts: Vec<Place<'_>> = (0..10).map(|at| place(at * 20, at * 20 + 19, 19)).collect();
        assert_eq!(explained(&parts, &[place(0, 200, 10)]), 10);
        assert_eq!(explained(&parts, &[place(0, 200, 500)]), 190);
        assert_eq!(explained(&parts, &[place(50, 70, 500)]), 38);
        assert_eq!(explained(&parts, &[place(201, 300, 500)]), 0);
        assert_eq!(explained(&[], &[place(0, 1, 5)]), 0);
    }

    #[test]
    fn an_early_long_place_overlaps_a_late_one() {
        let cause = [place(0, 100, 7), place(10, 20, 7)];
        assert_eq!(explained(&[place(90, 95, 3)], &cause), 3);
        assert_eq!(explained(&[place(101, 102, 3)], &cause), 0);
    }
}
