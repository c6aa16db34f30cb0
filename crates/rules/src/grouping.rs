//! From rows to findings: what is one problem becomes one finding, with its price and its words.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashSet;
use timesink_model::{
    Confidence, Evidence, Finding, Measure, MeasureValue, Remediation, Severity, Status,
};
use timesink_query::UNKNOWN_ENDPOINT;

use crate::causes::{Found, Place};
use crate::context::{Context, Endpoint, SpanFacts};
use crate::engine::Undecided;
use crate::instances::{Instance, Instances};
use crate::manifest::{Aggregate, RemediationText};
use crate::rule::Rule;
use crate::template::{fill, show, show_nanos};

/// The measure that every finding has beside those of its rule: the waste of a typical request.
pub const TYPICAL_WASTE: &str = "wasted_nanos_median";

/// Of the share of requests affected, the bounds within which that of all traffic lies.
pub const AFFECTED_LOW: &str = "affected_share_low";
pub const AFFECTED_HIGH: &str = "affected_share_high";

/// What stands for the process in the next command of a rule.
const PID: &str = "PID";

/// Traces that a finding names to look at, and tests.
const EXAMPLES_MAX: usize = 5;

/// Returns the findings of one rule, and where their rows are, in no order.
pub(crate) fn findings<'a>(
    rule: &Rule,
    instances: &'a Instances,
    context: &Context<'_>,
) -> Vec<Found<'a>> {
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&Instance>> = BTreeMap::new();
    for instance in &instances.rows {
        let endpoint = span_of(context, instance).map_or(UNKNOWN_ENDPOINT, |span| span.endpoint);
        groups.entry((&instance.service, endpoint, &instance.subject)).or_default().push(instance);
    }
    groups
        .into_iter()
        .map(|((service, endpoint, subject), rows)| {
            let places = rows.iter().filter_map(|row| place_of(context, row)).collect();
            let names = &instances.evidence;
            let group = Group { rule, names, context, service, endpoint, subject, rows };
            Found { finding: group.finding(), places }
        })
        .collect()
}

/// Returns the rows that point at spans which are not there.
pub(crate) fn astray<'a>(
    instances: &'a Instances,
    context: &Context<'_>,
) -> impl Iterator<Item = &'a Instance> {
    let rows = instances.rows.iter().chain(&instances.undecided);
    rows.filter(|row| span_of(context, row).is_none())
}

/// Returns the endpoints of which a rule cannot tell, by service and endpoint.
pub(crate) fn undecided(instances: &Instances, context: &Context<'_>) -> Vec<Undecided> {
    let mut endpoints: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in &instances.undecided {
        let endpoint = span_of(context, row).map_or(UNKNOWN_ENDPOINT, |span| span.endpoint);
        endpoints.entry((&row.service, endpoint)).or_default().push(&row.confidence_reason);
    }
    let undecided = |((service, endpoint), reasons): ((&str, &str), Vec<&str>)| Undecided {
        service_name: service.to_owned(),
        endpoint: endpoint.to_owned(),
        reason: most_frequent(reasons.into_iter()).unwrap_or_default().to_owned(),
    };
    endpoints.into_iter().map(undecided).collect()
}

/// The rows of one finding.
struct Group<'a> {
    rule: &'a Rule,
    names: &'a [String],
    context: &'a Context<'a>,
    service: &'a str,
    endpoint: &'a str,
    subject: &'a str,
    rows: Vec<&'a Instance>,
}

impl Group<'_> {
    fn finding(&self) -> Finding {
        let wasted_nanos = sum(self.rows.iter().map(|row| row.wasted_nanos));
        let occurrences = sum(self.rows.iter().map(|row| row.occurrences));
        let traces: HashSet<&str> = self.rows.iter().map(|row| row.trace_id.as_str()).collect();
        let traces_affected = traces.len() as i64;
        let known = self.context.endpoints.get(&(self.service, self.endpoint));
        let traces_seen = known.map_or(traces_affected, |e| e.traces.max(traces_affected));
        let measures = self.measures((traces_affected, traces_seen));
        let (confidence, confidence_reason) = self.confidence();
        let words = |name: &str| match name {
            "service_name" => Some(self.service.to_owned()),
            "endpoint" => Some(self.endpoint.to_owned()),
            "subject" => Some(self.subject.to_owned()),
            "occurrences" => Some(i64::to_string(&occurrences)),
            "traces_affected" => Some(traces_affected.to_string()),
            "traces_seen" => Some(traces_seen.to_string()),
            "wasted_nanos" => Some(show_nanos(wasted_nanos)),
            name => measures.iter().find(|m| m.name == name).map(|m| show(name, &m.value)),
        };
        let (first_seen, last_seen) = self.seen();
        Finding {
            finding_id: fingerprint([self.rule.name(), self.service, self.endpoint, self.subject]),
            rule: self.rule.name().to_owned(),
            severity: self.severity(confidence),
            service_name: self.service.to_owned(),
            endpoint: self.endpoint.to_owned(),
            subject: self.subject.to_owned(),
            title: fill(&self.rule.manifest.title, words),
            message: fill(&self.rule.manifest.message, words),
            window_start_unix_nano: self.context.window.0,
            window_end_unix_nano: self.context.window.1,
            traces_affected,
            traces_seen,
            occurrences,
            wasted_nanos,
            wasted_nanos_estimated: self.estimated(),
            wasted_share: known
                .filter(|_| !self.rule.manifest.wastes_others)
                .and_then(|endpoint| self.wasted_share(wasted_nanos, endpoint)),
            confidence,
            confidence_reason,
            remediation: self.remediation(),
            evidence: self.evidence(measures),
            caused_by: None,
            first_seen_unix_nano: first_seen,
            last_seen_unix_nano: last_seen,
            service_versions: self.versions(),
            status: Status::New,
        }
    }

    /// What is only possible is a note.
    fn severity(&self, confidence: Confidence) -> Severity {
        match confidence {
            Confidence::Possible => Severity::Info,
            Confidence::Likely | Confidence::Certain => self.rule.severity,
        }
    }

    /// The confidence of most rows, the lower of two that are equally frequent, and its reason.
    fn confidence(&self) -> (Confidence, String) {
        let mut counts: BTreeMap<Confidence, usize> = BTreeMap::new();
        for row in &self.rows {
            *counts.entry(row.confidence).or_default() += 1;
        }
        let most = counts.values().max().copied().unwrap_or(0);
        let chosen = counts.iter().find(|(_, count)| **count == most).map(|(c, _)| *c);
        let confidence = chosen.unwrap_or(Confidence::Possible);
        let of_it = self.rows.iter().filter(|row| row.confidence == confidence);
        let reason = most_frequent(of_it.map(|row| row.confidence_reason.as_str()));
        (confidence, reason.unwrap_or_default().to_owned())
    }

    fn measures(&self, (affected, seen): (i64, i64)) -> Vec<Measure> {
        let texts = &self.rule.manifest.evidence;
        let measure = |(at, name): (usize, &String)| {
            let text = texts.get(name);
            let values = self.rows.iter().filter_map(|row| row.evidence[at].as_ref());
            let value = aggregate(values, text.map(|text| text.aggregate).unwrap_or_default())?;
            let summary = text.map(|text| text.summary.clone()).unwrap_or_default();
            Some(Measure { name: name.clone(), summary, value })
        };
        let typical = Measure {
            name: TYPICAL_WASTE.to_owned(),
            summary: "time that a typical affected request wastes".to_owned(),
            value: MeasureValue::Integer(self.typical_waste()),
        };
        let bound = |name: &str, bound: &str, share: f64| Measure {
            name: name.to_owned(),
            summary: format!("{bound} of the share of requests affected (Wilson, 95 %)"),
            value: MeasureValue::Float(share),
        };
        // Where a sampler took some requests rather than others, their share says little.
        let interval = self.is_evenly_sampled().then(|| wilson(affected, seen)).flatten();
        let interval = interval.into_iter().flat_map(|(low, high)| {
            [bound(AFFECTED_LOW, "lower bound", low), bound(AFFECTED_HIGH, "upper bound", high)]
        });
        let own = self.names.iter().enumerate().filter_map(measure);
        own.chain([typical]).chain(interval).collect()
    }

    /// Whether each affected request stands for as many as the endpoint's do on average.
    fn is_evenly_sampled(&self) -> bool {
        let counts = self.spans().map(|span| span.adjusted_count);
        let counts: Vec<Option<f64>> = counts.collect();
        let is_one = counts.windows(2).all(|pair| pair[0] == pair[1]);
        let endpoint = self.context.endpoints.get(&(self.service, self.endpoint));
        let of_all = endpoint.and_then(|endpoint| {
            Some(endpoint.nanos_estimated? as f64 / endpoint.nanos.max(1) as f64)
        });
        let alike = |(count, of_all): (f64, f64)| (count - of_all).abs() <= of_all * 0.01;
        is_one && counts.first().copied().flatten().zip(of_all).is_none_or(alike)
    }

    /// The median over the affected requests of what each wastes, in nanoseconds: a trace may hold
    /// several, that of a session of tests above all. A sampled request counts as often as those
    /// that it stands for, where all of them tell.
    fn typical_waste(&self) -> i64 {
        let mut of_request: BTreeMap<(&str, &str), (i64, Option<f64>)> = BTreeMap::new();
        for row in &self.rows {
            let span = span_of(self.context, row);
            let entry = span.map_or(&*row.span_id, |span| span.entry_span_id);
            let count = span.and_then(|span| span.adjusted_count);
            let (wasted, _) = of_request.entry((&row.trace_id, entry)).or_insert((0, count));
            *wasted = wasted.saturating_add(row.wasted_nanos);
        }
        weighted_median(of_request.into_values().collect())
    }

    /// The share of the endpoint's time, of all the requests that those seen stand for if known.
    fn wasted_share(&self, wasted_nanos: i64, endpoint: &Endpoint) -> Option<f64> {
        match (self.estimated(), endpoint.nanos_estimated) {
            (Some(wasted), Some(all)) => share(wasted as f64, all as f64),
            _ => share(wasted_nanos as f64, endpoint.nanos as f64),
        }
    }

    fn evidence(&self, measures: Vec<Measure>) -> Evidence {
        let mut rows = self.rows.clone();
        rows.sort_by_key(|row| {
            (Reverse(row.wasted_nanos), row.trace_id.as_str(), row.span_id.as_str())
        });
        let mut seen = HashSet::new();
        rows.retain(|row| seen.insert(row.trace_id.as_str()));
        rows.truncate(EXAMPLES_MAX);
        Evidence {
            measures,
            trace_ids: rows.iter().map(|row| row.trace_id.clone()).collect(),
            span_ids: rows.iter().map(|row| row.span_id.clone()).collect(),
            code_location: most_frequent(self.rows.iter().filter_map(|row| row.code.as_deref()))
                .map(str::to_owned),
            test_cases: self.test_cases(),
            muted: None,
        }
    }

    /// The tests that showed it, those that showed it most first.
    fn test_cases(&self) -> Vec<String> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for row in &self.rows {
            if let Some(test_case) = self.context.test_case(&row.trace_id, &row.span_id) {
                *counts.entry(test_case).or_default() += 1;
            }
        }
        let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| Reverse(*count));
        counts.into_iter().take(EXAMPLES_MAX).map(|(test_case, _)| test_case.to_owned()).collect()
    }

    /// The first text whose libraries the service shows.
    fn remediation(&self) -> Remediation {
        let none = HashSet::new();
        let seen = self.context.libraries.get(self.service).unwrap_or(&none);
        let fits =
            |text: &&RemediationText| text.libraries.iter().all(|l| seen.contains(l.as_str()));
        let guide = format!("rules/{}#how-to-fix-it", self.rule.name());
        match self.rule.manifest.remediation.iter().find(fits) {
            Some(text) => Remediation {
                summary: text.summary.clone(),
                guide,
                references: vec![text.url.clone()],
                next_step: text.next_step.as_deref().map(|step| self.with_pid(step)),
            },
            None => Remediation { guide, ..Remediation::default() },
        }
    }

    /// Puts the process of most rows where a command has the word `PID`, if spans tell it.
    fn with_pid(&self, step: &str) -> String {
        let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
        for pid in self.spans().filter_map(|span| span.pid) {
            *counts.entry(pid).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(pid, count)| (*count, Reverse(*pid)));
        most.map_or_else(|| step.to_owned(), |(pid, _)| named(step, PID, &pid.to_string()))
    }

    /// The waste times how many requests each trace stands for; unknown if one of them is.
    fn estimated(&self) -> Option<i64> {
        let estimated = self.rows.iter().map(|row| {
            let count = span_of(self.context, row)?.adjusted_count?;
            Some((row.wasted_nanos as f64 * count).round() as i64)
        });
        estimated.collect::<Option<Vec<i64>>>().map(|all| sum(all.into_iter()))
    }

    fn seen(&self) -> (i64, i64) {
        let spans = self.spans();
        let first = spans.clone().map(|span| span.start).min();
        let last = spans.map(|span| span.end).max();
        let (start, end) = self.context.window;
        (first.unwrap_or(start), last.unwrap_or(end))
    }

    fn versions(&self) -> Vec<String> {
        let versions: BTreeSet<&str> = self.spans().filter_map(|span| span.version).collect();
        versions.into_iter().map(str::to_owned).collect()
    }

    fn spans(&self) -> impl Iterator<Item = &SpanFacts<'_>> + Clone {
        self.rows.iter().filter_map(|row| span_of(self.context, row))
    }
}

/// Returns where and when a row is: at the times that it gives, or those of its span.
fn place_of<'a>(context: &Context<'_>, row: &'a Instance) -> Option<Place<'a>> {
    let span = span_of(context, row)?;
    let (trace_id, span_id) = (row.trace_id.as_str(), row.span_id.as_str());
    let (start, end) = row.extent.unwrap_or((span.start, span.end));
    let [start, end] = [start, end].map(|time| time.saturating_add(span.skew));
    Some(Place { trace_id, span_id, start, end, wasted_nanos: row.wasted_nanos })
}

fn span_of<'a>(context: &'a Context<'_>, row: &'a Instance) -> Option<&'a SpanFacts<'a>> {
    context.spans.get(&(row.trace_id.as_str(), row.span_id.as_str()))
}

/// Returns the text with another word for each `word` of it.
fn named(text: &str, word: &str, other: &str) -> String {
    let words = text.split(' ').map(|part| match part.strip_prefix(word) {
        Some(rest) if !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
            format!("{other}{rest}")
        }
        _ => part.to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A rule's numbers are its author's: a sum of them stops at the largest there is.
fn sum(numbers: impl Iterator<Item = i64>) -> i64 {
    numbers.fold(0, i64::saturating_add)
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0 && part <= whole).then(|| part / whole)
}

/// Returns the lower median of values with their weights, each 1 unless all of them are known.
fn weighted_median(mut values: Vec<(i64, Option<f64>)>) -> i64 {
    values.sort_unstable_by_key(|(value, _)| *value);
    let weights: Option<Vec<f64>> = values.iter().map(|(_, weight)| *weight).collect();
    let weights = weights.unwrap_or_else(|| vec![1.0; values.len()]);
    let half = weights.iter().sum::<f64>() / 2.0;
    let mut below = 0.0;
    for ((value, _), weight) in values.iter().zip(weights) {
        below += weight;
        if below >= half {
            return *value;
        }
    }
    values.last().map_or(0, |(value, _)| *value)
}

/// Returns the interval in which the share of all requests lies of which those seen are a sample,
/// at a level of 95 % (Wilson's score interval; E. B. Wilson, 1927).
fn wilson(affected: i64, seen: i64) -> Option<(f64, f64)> {
    const Z: f64 = 1.959_963_984_540_054;
    if !(0 < seen && (0..=seen).contains(&affected)) {
        return None;
    }
    let (seen, share) = (seen as f64, affected as f64 / seen as f64);
    let centre = share + Z * Z / (2.0 * seen);
    let half = Z * (share * (1.0 - share) / seen + Z * Z / (4.0 * seen * seen)).sqrt();
    let scale = 1.0 + Z * Z / seen;
    let bound = |bound: f64| (bound / scale).clamp(0.0, 1.0);
    Some((bound(centre - half), bound(centre + half)))
}

/// Returns the most frequent text, the first in the alphabet of equally frequent ones.
fn most_frequent<'a>(texts: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    counts.into_iter().find(|(_, count)| *count == most).map(|(text, _)| text)
}

fn aggregate<'a>(
    values: impl Iterator<Item = &'a MeasureValue>,
    how: Aggregate,
) -> Option<MeasureValue> {
    let (mut ints, mut floats, mut texts, mut flags) = (vec![], vec![], vec![], vec![]);
    for value in values {
        match value {
            MeasureValue::Integer(value) => ints.push(*value),
            MeasureValue::Float(value) => floats.push(*value),
            MeasureValue::Text(value) => texts.push(value.as_str()),
            MeasureValue::Boolean(value) => flags.push(*value),
        }
    }
    ints.sort_unstable();
    floats.sort_unstable_by(f64::total_cmp);
    let pick = |length: usize| match how {
        Aggregate::Median => (length - 1) / 2,
        Aggregate::Min => 0,
        Aggregate::Max => length - 1,
    };
    if !ints.is_empty() {
        return Some(MeasureValue::Integer(ints[pick(ints.len())]));
    }
    if !floats.is_empty() {
        return Some(MeasureValue::Float(floats[pick(floats.len())]));
    }
    if !flags.is_empty() {
        return Some(MeasureValue::Boolean(flags.contains(&true)));
    }
    most_frequent(texts.into_iter()).map(|text| MeasureValue::Text(text.to_owned()))
}

/// Returns 16 hex digits that stay the same from run to run: FNV-1a over the parts, each ended by a
/// byte that no text holds.
fn fingerprint(parts: [&str; 4]) -> String {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0xff]));
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_tell_parts_apart_and_stay() {
        assert_eq!(fingerprint(["a", "b", "c", "d"]), fingerprint(["a", "b", "c", "d"]));
        assert_ne!(fingerprint(["ab", "", "c", "d"]), fingerprint(["a", "b", "c", "d"]));
        assert_eq!(fingerprint(["rule", "service", "endpoint", "subject"]), "7e5583e7a86047cb");
    }

    #[test]
    fn the_word_for_the_process_is_replaced_and_no_other() {
        let command = "py-spy dump --pid PID; PID, not PIDS or my_PID";
        assert_eq!(named(command, PID, "7"), "py-spy dump --pid 7; 7, not PIDS or my_PID");
    }

    #[test]
    fn a_median_weighs_what_each_stands_for() {
        assert_eq!(weighted_median(vec![]), 0);
        assert_eq!(weighted_median(vec![(3, None), (1, None), (2, None), (4, None)]), 2);
        assert_eq!(weighted_median(vec![(1, Some(1.0)), (9, Some(100.0)), (5, Some(1.0))]), 9);
        assert_eq!(weighted_median(vec![(1, Some(1.0)), (9, Some(100.0)), (5, None)]), 5);
    }

    /// Worked out apart from this code, in Python's floats.
    #[test]
    fn shares_lie_in_their_interval() {
        let close = |a: Option<(f64, f64)>, (low, high): (f64, f64)| {
            a.is_some_and(|a| (a.0 - low).abs() < 1e-6 && (a.1 - high).abs() < 1e-6)
        };
        assert!(close(wilson(31, 40), (0.624_969, 0.876_839)), "{:?}", wilson(31, 40));
        assert!(close(wilson(0, 10), (0.0, 0.277_533)), "{:?}", wilson(0, 10));
        assert!(close(wilson(1, 1), (0.206_549, 1.0)), "{:?}", wilson(1, 1));
        assert_eq!((wilson(0, 0), wilson(3, 2), wilson(-1, 2)), (None, None, None));
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        assert_eq!(sum([1, 2].into_iter()), 3);
        assert_eq!(sum([i64::MAX, i64::MAX, 1].into_iter()), i64::MAX);
    }

    #[test]
    fn the_most_frequent_text_wins_and_ties_go_by_alphabet() {
        assert_eq!(most_frequent(["b", "a", "b"].into_iter()), Some("b"));
        assert_eq!(most_frequent(["b", "a"].into_iter()), Some("a"));
    }
}
