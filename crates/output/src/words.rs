//! The words that are the same for every reader: what a finding costs, how sure it is, how rules
//! fared, what of the input was lost.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use arrow::array::{AsArray, RecordBatch};
use timesink_model::{Finding, Folded, MeasureValue, Muted, Severity, folded};
use timesink_otlp::{Counted, Rejected, Repair, Tally};
use timesink_rules::{
    AFFECTED_HIGH, AFFECTED_LOW, Mute, Outcome, RuleRun, TYPICAL_WASTE, show_nanos,
};

/// An example of a refused span, in characters.
const EXAMPLE_CHARS: usize = 60;

/// Endpoints that a line names of which a rule cannot tell.
const UNDECIDED_SHOWN: usize = 3;

/// So many clean rules are named; of more it is said how many they are.
const CLEAN_NAMED_MAX: usize = 8;

/// Muted findings that have a line.
const MUTED_SHOWN: usize = 5;

/// A line of a summary: what it is about, and what it says.
pub type Line = (&'static str, String);

/// What was found, and in what.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Those shown, ranked.
    pub findings: &'a [Finding],
    /// How many causes there are, those not shown included.
    pub total: usize,
    pub spans: usize,
    pub traces: usize,
    pub services: usize,
}

impl Found<'_> {
    /// Returns all of it in one line.
    pub fn headline(self) -> String {
        if self.spans == 0 {
            return "no spans: there is nothing to look at".to_owned();
        }
        format!(
            "{} in {} of {}, {}",
            self.findings(),
            count(self.spans, "span"),
            count(self.traces, "trace"),
            count(self.services, "service")
        )
    }

    fn findings(self) -> String {
        let causes = folded(self.findings);
        let shown = causes.len();
        if self.total > shown {
            let total = thousands(self.total);
            let costliest = if shown == 1 { "one".to_owned() } else { thousands(shown) };
            return format!("{total} findings and notes, the costliest {costliest} shown,");
        }
        let is_note = |cause: &&Folded<'_>| cause.finding.severity == Severity::Info;
        let notes = causes.iter().filter(is_note).count();
        let mut counted = match (shown - notes, notes) {
            (0, 0) => "no findings".to_owned(),
            (found, 0) => count(found, "finding"),
            (0, notes) => format!("no findings, {}", count(notes, "note")),
            (found, notes) => format!("{}, {}", count(found, "finding"), count(notes, "note")),
        };
        let symptoms = self.findings.len() - shown;
        if symptoms > 0 {
            let _ = write!(counted, ", {}", count(symptoms, "symptom"));
        }
        counted
    }
}

/// Returns what an affected request wastes, in a few words.
pub fn price(finding: &Finding) -> String {
    format!("{} wasted", show_nanos(typical_waste(finding)))
}

/// Returns what a typical affected request wastes, in nanoseconds.
pub fn typical_waste(finding: &Finding) -> i64 {
    let typical = finding.evidence.measures.iter().find(|m| m.name == TYPICAL_WASTE);
    match typical.map(|measure| &measure.value) {
        Some(MeasureValue::Integer(nanos)) => *nanos,
        _ => finding.wasted_nanos / finding.traces_affected.max(1),
    }
}

/// Returns between which shares of all requests are affected, if not all of those seen are.
fn affected_share(finding: &Finding) -> Option<(f64, f64)> {
    let bound = |name: &str| {
        let measures = &finding.evidence.measures;
        match measures.iter().find(|measure| measure.name == name)?.value {
            MeasureValue::Float(share) => Some(share),
            _ => None,
        }
    };
    let is_part = finding.traces_affected < finding.traces_seen;
    Some((bound(AFFECTED_LOW)?, bound(AFFECTED_HIGH)?)).filter(|_| is_part)
}

/// Returns what it costs: a request, of how many, of the endpoint's time, in all.
pub fn wasted(finding: &Finding) -> String {
    let mut text = format!(
        "{} in a typical request, {} of {} requests",
        show_nanos(typical_waste(finding)),
        finding.traces_affected,
        finding.traces_seen
    );
    if let Some((low, high)) = affected_share(finding) {
        let _ = write!(text, " ({:.0} to {:.0} % of all)", low * 100.0, high * 100.0);
    }
    if let Some(share) = finding.wasted_share {
        let _ = write!(text, ", {} of the endpoint's time", percent(share));
    }
    if finding.traces_affected > 1 {
        let _ = write!(text, ", {} in all", show_nanos(finding.wasted_nanos));
    }
    if let Some(estimated) = finding.wasted_nanos_estimated
        && estimated != finding.wasted_nanos
    {
        let _ = write!(text, " (about {} with unsampled ones)", show_nanos(estimated));
    }
    text
}

/// Returns a finding in a line, as those are told that another one causes.
pub fn symptom(finding: &Finding) -> String {
    let Finding { rule, title, service_name, endpoint, .. } = finding;
    format!("{rule}: {title}; {service_name} {endpoint}")
}

/// Returns the tests that showed a finding, if spans name any.
pub fn tests(finding: &Finding) -> Option<String> {
    let tests = &finding.evidence.test_cases;
    (!tests.is_empty()).then(|| tests.join(", "))
}

/// Returns the file of the test that showed a finding most, for readers that want a file where
/// spans carry no code: `tests/test_cart.py` of pytest's `tests/test_cart.py::test_total`.
pub fn test_file(finding: &Finding) -> Option<&str> {
    let (file, _) = finding.evidence.test_cases.first()?.split_once("::")?;
    std::path::Path::new(file).extension().is_some_and(|kind| kind == "py").then_some(file)
}

/// Returns how sure it is, and why.
pub fn certainty(finding: &Finding) -> String {
    format!("{}: {}", finding.confidence, finding.confidence_reason)
}

/// Returns a share in percent.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent < 1.0 => "under 1 %".to_owned(),
        percent => format!("{percent:.0} %"),
    }
}

/// Returns how the rules fared that found nothing; *clean* and *skipped* never look alike.
pub fn outcomes(runs: &[RuleRun]) -> Vec<Line> {
    let mut lines = Vec::new();
    let clean = names(runs, |outcome| *outcome == Outcome::Clean);
    if clean.len() > CLEAN_NAMED_MAX {
        lines.push(("clean", format!("{} of {} rules", clean.len(), runs.len())));
    } else if !clean.is_empty() {
        lines.push(("clean", clean.join(", ")));
    }
    lines.extend(cannot_tell(runs));
    lines.extend(skipped(runs));
    for run in runs {
        if let Outcome::Failed { reason } = &run.outcome {
            lines.push(("failed", format!("{}: {reason}", run.rule)));
        }
    }
    let off = names(runs, |outcome| *outcome == Outcome::Disabled);
    if !off.is_empty() {
        lines.push(("switched off", off.join(", ")));
    }
    lines
}

/// Returns which rules had nothing to look at, those that lack the same together.
fn skipped(runs: &[RuleRun]) -> Option<Line> {
    let mut by_missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for run in runs {
        if let Outcome::Skipped { missing } = &run.outcome {
            let missing: Vec<String> = missing.iter().map(|m| format!("`{m}`")).collect();
            by_missing.entry(missing.join(", ")).or_default().push(&run.rule);
        }
    }
    let told = by_missing.iter();
    let told =
        told.map(|(missing, rules)| format!("{}: no span carries {missing}", rules.join(", ")));
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| ("skipped", told.join("; ")))
}

/// Returns what is muted and what was, the costliest first.
pub fn muted(muted: &[Finding], over: &[Mute]) -> Vec<Line> {
    let line = |finding: &Finding| {
        let by = finding.evidence.muted.as_ref().map(muted_by).unwrap_or_default();
        ("muted", format!("{} ({by})", symptom(finding)))
    };
    let mut lines: Vec<Line> = muted.iter().take(MUTED_SHOWN).map(line).collect();
    let more = muted.len().saturating_sub(MUTED_SHOWN);
    lines.extend((more > 0).then(|| ("muted", format!("and {}", count(more, "more finding")))));
    lines.extend(over.iter().map(|mute| {
        let Mute { until, reason, .. } = mute;
        ("mute over", format!("what was muted until {until} is found again: {reason}"))
    }));
    lines
}

/// Returns who mutes a finding, and why.
pub fn muted_by(muted: &Muted) -> String {
    match muted {
        Muted::ByConfiguration { reason, until } => format!("until {until}: {reason}"),
        Muted::BySpans => "by its spans: `timesink.mute.rules`".to_owned(),
    }
}

/// Places that the spans of a run leave open, those of one reason in a line.
fn cannot_tell(runs: &[RuleRun]) -> Vec<Line> {
    let mut places: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for run in runs {
        for open in &run.undecided {
            let place = format!("{} {}", open.service_name, open.endpoint);
            places.entry((&run.rule, &open.reason)).or_default().push(place);
        }
    }
    let line = |((rule, reason), mut places): ((&str, &str), Vec<String>)| {
        let more = places.len().saturating_sub(UNDECIDED_SHOWN);
        places.truncate(UNDECIDED_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        ("cannot tell", format!("{rule}: {reason} ({}{more})", places.join(", ")))
    };
    places.into_iter().map(line).collect()
}

fn names(runs: &[RuleRun], is_so: impl Fn(&Outcome) -> bool) -> Vec<&str> {
    let runs = runs.iter().filter(|run| is_so(&run.outcome));
    runs.map(|run| run.rule.as_str()).collect()
}

/// Returns what of the input is not among the spans as it arrived, and why.
pub fn losses(
    rejected: &Rejected,
    quarantine: &[RecordBatch],
    repaired: &Tally<Repair>,
) -> Vec<Line> {
    let mut lines = tally("refused", "span", rejected);
    for (reason, spans) in quarantined(quarantine) {
        lines.push(("quarantined", format!("{}: {reason}", count(spans, "span"))));
    }
    lines.extend(tally("mended", "time", repaired));
    lines
}

/// Returns that spans arrived before, which is no loss, if some did.
pub fn repeats(spans: usize) -> Option<Line> {
    let text = format!("{} had arrived before and count once", count(spans, "span"));
    (spans > 0).then_some(("repeated", text))
}

fn tally<K: Ord + Copy + Display>(label: &'static str, noun: &str, tally: &Tally<K>) -> Vec<Line> {
    let line = |(key, counted): (K, &Counted)| {
        let example = match counted.example.as_str() {
            "" => String::new(),
            example => format!(" (for example {})", cut(example, EXAMPLE_CHARS)),
        };
        (label, format!("{}: {key}{example}", count(counted.count as usize, noun)))
    };
    tally.iter().map(line).collect()
}

fn quarantined(batches: &[RecordBatch]) -> BTreeMap<String, usize> {
    let columns = batches.iter().filter_map(|batch| batch.column_by_name("reason"));
    let mut counts = BTreeMap::new();
    for reason in columns.filter_map(|c| c.as_string_view_opt()).flatten().flatten() {
        *counts.entry(reason.to_owned()).or_default() += 1;
    }
    counts
}

/// Returns `1 span`, `2,000 spans`.
pub fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// Returns `2,000`.
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the text, cut with `…` if it is longer than `chars`.
pub fn cut(text: &str, chars: usize) -> String {
    // Counting stops early: a statement can be a megabyte.
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use timesink_model::Finding;

    use super::*;
    use crate::test_support::finding;

    #[test]
    fn numbers_are_grouped_and_nouns_agree() {
        assert_eq!(count(1, "span"), "1 span");
        assert_eq!(count(0, "trace"), "0 traces");
        assert_eq!(count(81_355, "span"), "81,355 spans");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn cuts_with_a_sign() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
    }

    #[test]
    fn the_headline_counts_notes_apart_and_says_what_is_not_shown() {
        let note = Finding { severity: Severity::Info, ..finding() };
        let headline = |findings: &[Finding], total: usize| {
            Found { findings, total, spans: 977, traces: 40, services: 1 }.headline()
        };
        let rest = "in 977 spans of 40 traces, 1 service";
        assert_eq!(headline(&[], 0), format!("no findings {rest}"));
        assert_eq!(headline(&[finding()], 1), format!("1 finding {rest}"));
        assert_eq!(headline(&[finding(), note], 2), format!("1 finding, 1 note {rest}"));
        assert_eq!(
            headline(&[finding()], 3),
            format!("3 findings and notes, the costliest one shown, {rest}")
        );
        let nothing = Found { findings: &[], total: 0, spans: 0, traces: 0, services: 0 };
        assert_eq!(nothing.headline(), "no spans: there is nothing to look at");
    }

    #[test]
    fn a_price_is_of_a_typical_request_and_in_all() {
        assert_eq!(price(&finding()), "75 ms wasted");
        assert_eq!(
            wasted(&finding()),
            "75 ms in a typical request, 31 of 40 requests, 18 % of the endpoint's time, 2.33 s \
             in all"
        );
        let sampled = Finding { wasted_nanos_estimated: Some(9_300_000_000), ..finding() };
        assert!(wasted(&sampled).ends_with("2.33 s in all (about 9.30 s with unsampled ones)"));
    }

    #[test]
    fn what_is_muted_says_by_whom_and_until_when() {
        let (reason, until) = ("rewritten in spring".to_owned(), "2027-01-31".to_owned());
        let mut muted_until = finding();
        muted_until.evidence.muted =
            Some(Muted::ByConfiguration { reason: reason.clone(), until: until.clone() });
        let what = format!("{}: {}; checkout GET /cart", muted_until.rule, muted_until.title);
        let line = |text: String| ("muted", text);
        let by_day = line(format!("{what} (until 2027-01-31: rewritten in spring)"));
        assert_eq!(muted(std::slice::from_ref(&muted_until), &[]), std::slice::from_ref(&by_day));

        let mut marked = finding();
        marked.evidence.muted = Some(Muted::BySpans);
        let by_spans = line(format!("{what} (by its spans: `timesink.mute.rules`)"));
        let mut many = vec![marked];
        many.extend(vec![muted_until; 6]);
        let lines = muted(&many, &[]);
        assert_eq!((&lines[0], &lines[1]), (&by_spans, &by_day));
        assert_eq!(lines.last(), Some(&line("and 2 more findings".to_owned())));

        let of_any = Mute {
            finding: None,
            rule: Some("a-rule".to_owned()),
            service: None,
            endpoint: None,
            subject: None,
            reason,
            until,
            end_unix_nano: 0,
        };
        let over = "what was muted until 2027-01-31 is found again: rewritten in spring";
        assert_eq!(muted(&[], &[of_any]), [("mute over", over.to_owned())]);
    }

    #[test]
    fn the_file_of_a_test_is_that_of_pytest() {
        let mut finding = crate::test_support::finding();
        assert_eq!((tests(&finding), test_file(&finding)), (None, None));
        for (test, file) in [
            ("tests/test_cart.py::test_total", Some("tests/test_cart.py")),
            ("tests/test_cart.py::TestCart::test_total[2]", Some("tests/test_cart.py")),
            ("CartTest.total", None),
        ] {
            finding.evidence.test_cases = vec![test.to_owned()];
            assert_eq!(test_file(&finding), file, "{test}");
            assert_eq!(tests(&finding).as_deref(), Some(test));
        }
    }
}
