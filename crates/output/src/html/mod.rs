//! `html`: one page that needs nothing else, ranked findings first; and a rule's guide as a page.
//!
//! Every text goes through [`safe`] here and is escaped by the template; the guides alone are HTML
//! already, made by [`guide`]. The page forbids itself to load or run anything.

mod waterfall;

use std::io::Write;

use chrono::{DateTime, SecondsFormat};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::Serialize;
use timesink_model::{ExampleTrace, Finding, Folded, Severity, folded};
use timesink_rules::{Outcome, Rule, show, show_nanos};

use crate::guide::{self, Target, is_web};
use crate::report::Report;
use crate::words::{self, count, cut, percent, typical_waste};
use crate::{Error, safe};
use waterfall::Waterfall;

/// Findings with all there is to say of them.
const CARDS_MAX: usize = 50;

/// Findings in the table; the others are counted.
const ROWS_MAX: usize = 500;

/// The longest text of a finding, in characters: a statement can be a megabyte.
const TEXT_CHARS_MAX: usize = 2_000;

/// The longest name of a service or an endpoint.
const NAME_CHARS_MAX: usize = 200;

/// The longest subject in the table: one line of it.
const SUBJECT_CHARS_MAX: usize = 120;

/// Symptoms that a card names.
const SYMPTOMS_MAX: usize = 10;

/// Lines on rules and on the input.
const LINES_MAX: usize = 50;

/// The template of the report, and that of a guide.
const REPORT: &str = "report.html";
const GUIDE: &str = "guide.html";

pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let causes = folded(report.findings);
    let guides = guides(report, &causes);
    let numbered = || (1..).zip(&causes);
    let cards: Vec<Card> = numbered()
        .take(CARDS_MAX)
        .map(|(number, cause)| card(number, cause, report.examples, &guides))
        .collect();
    let rows: Vec<Row> =
        numbered().take(ROWS_MAX).map(|(number, cause)| row(number, cause.finding)).collect();
    let found = |run: &&timesink_rules::RuleRun| matches!(run.outcome, Outcome::Findings(_));
    let page = context! {
        version => report.version,
        headline => text(&report.headline()),
        remarks => texts(report.remarks().iter().take(LINES_MAX)),
        window => window(report),
        first => first(&causes),
        rows => Value::from(Serde(&rows)),
        rows_left_out => left_out(report, causes.len()),
        cards => Value::from(Serde(&cards)),
        cards_left_out => causes.len().saturating_sub(CARDS_MAX),
        found => report.runs().iter().filter(found).map(|run| text(&run.rule)).collect::<Vec<_>>(),
        outcomes => outcomes(report),
        guides => Value::from(Serde(&guides)),
    };
    render(REPORT, page, out)
}

/// Returns a rule's guide as a page of its own, with its thresholds.
///
/// # Errors
///
/// [`Error::Internal`] when the template is broken, which a test rules out.
pub fn guide_html(rule: &Rule, version: &str) -> Result<String, Error> {
    let address = |target: Target<'_>| match target {
        Target::Here(anchor) => Some(format!("#{anchor}")),
        Target::Guide(rule, "") => Some(rule.to_owned()),
        Target::Guide(rule, anchor) => Some(format!("{rule}#{anchor}")),
    };
    let page = guide::Page { anchor_prefix: "", levels_down: 0, address: &address };
    let params: Vec<Value> = rule.manifest.params.iter().map(param).collect();
    let page = context! {
        version => version,
        name => text(rule.name()),
        summary => text(&rule.manifest.summary),
        severity => rule.severity.as_str(),
        body => Value::from_safe_string(guide::to_html(&rule.guide, &page)),
        requires => texts(rule.manifest.requires.iter()),
        params => params,
    };
    let mut out = Vec::new();
    render(GUIDE, page, &mut out)?;
    String::from_utf8(out).map_err(|error| Error::Internal(error.to_string()))
}

fn param((name, param): (&String, &timesink_rules::Param)) -> Value {
    context! {
        name => text(name),
        default => number(&param.default),
        bounds => text(&format!("{} to {}", number(&param.min), number(&param.max))),
        unit => text(&param.unit),
        summary => text(&param.summary),
        reason => text(&param.reason),
    }
}

/// Thresholds are numbers: loading a rule checks it.
fn number(value: &toml::Value) -> String {
    match value {
        toml::Value::Integer(value) => value.to_string(),
        toml::Value::Float(value) => value.to_string(),
        _ => String::new(),
    }
}

fn render(template: &str, page: Value, out: &mut dyn Write) -> Result<(), Error> {
    let mut templates = Environment::new();
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    // A tag alone on its line leaves no line.
    templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    templates.add_template(REPORT, include_str!("report.html"))?;
    templates.add_template(GUIDE, include_str!("guide.html"))?;
    // Not as text of the page: its `<` and `>` are ours.
    let style = Value::from_safe_string(include_str!("style.css").to_owned());
    templates.add_global("style", style);
    let rendered = templates.get_template(template)?.render(page)?;
    out.write_all(rendered.as_bytes())?;
    Ok(())
}

/// A finding as the first thing on the page.
fn first(causes: &[Folded<'_>]) -> Option<Value> {
    let mut numbered = (1_usize..).zip(causes.iter().map(|cause| cause.finding));
    let (number, finding) = numbered.find(|(_, finding)| finding.severity > Severity::Info)?;
    Some(context! {
        number => number,
        title => sentence(&finding.title),
        service => named(&finding.service_name),
        endpoint => named(&finding.endpoint),
        subject => short(&finding.subject),
        typical => show_nanos(typical_waste(finding)),
        share => finding.wasted_share.map(percent),
        requests => requests(finding),
        total => show_nanos(finding.wasted_nanos),
        help => sentence(&finding.remediation.summary),
    })
}

/// A line of the table.
#[derive(Debug, Serialize)]
struct Row {
    number: usize,
    has_card: bool,
    severity: &'static str,
    title: String,
    rule: String,
    subject: String,
    service: String,
    endpoint: String,
    typical: String,
    share: Option<String>,
    share_percent: String,
    total: String,
}

fn row(number: usize, finding: &Finding) -> Row {
    let share = finding.wasted_share.unwrap_or(0.0).clamp(0.0, 1.0);
    Row {
        number,
        has_card: number <= CARDS_MAX,
        severity: finding.severity.as_str(),
        title: sentence(&finding.title),
        rule: short(&finding.rule),
        subject: text(&cut(&finding.subject, SUBJECT_CHARS_MAX)),
        service: named(&finding.service_name),
        endpoint: named(&finding.endpoint),
        typical: show_nanos(typical_waste(finding)),
        share: finding.wasted_share.map(percent),
        share_percent: format!("{:.1}", share * 100.0),
        total: show_nanos(finding.wasted_nanos),
    }
}

/// All there is to say of a finding.
#[derive(Debug, Serialize)]
struct Card {
    number: usize,
    finding_id: String,
    severity: &'static str,
    rule: String,
    title: String,
    typical: String,
    service: String,
    endpoint: String,
    subject: String,
    message: String,
    wasted: String,
    confidence: &'static str,
    confidence_reason: String,
    causes: Vec<String>,
    causes_left_out: usize,
    tests: Option<String>,
    code: Option<String>,
    help: String,
    guide: Option<String>,
    references: Vec<Reference>,
    next_step: Option<String>,
    measures: Vec<Measure>,
    trace_ids: Vec<String>,
    versions: Vec<String>,
    waterfall: Option<Waterfall>,
}

/// An address elsewhere; one that is no page on the web is shown only.
#[derive(Debug, Serialize)]
struct Reference {
    text: String,
    is_web: bool,
}

/// A line of evidence.
#[derive(Debug, Serialize)]
struct Measure {
    summary: String,
    name: String,
    value: String,
}

/// Example traces that are drawn for a finding.
pub const EXAMPLES_DRAWN: usize = 1;

fn card(
    number: usize,
    Folded { finding, symptoms }: &Folded<'_>,
    examples: &[ExampleTrace],
    guides: &[Guide],
) -> Card {
    let remediation = &finding.remediation;
    let evidence = &finding.evidence;
    let measure = |measure: &timesink_model::Measure| Measure {
        summary: short(&measure.summary),
        name: short(&measure.name),
        value: short(&show(&measure.name, &measure.value)),
    };
    let reference = |address: &String| Reference { text: short(address), is_web: is_web(address) };
    let mut ids = evidence.trace_ids.iter();
    let drawn = ids.find_map(|id| examples.iter().find(|trace| trace.trace_id == *id));
    Card {
        number,
        finding_id: short(&finding.finding_id),
        severity: finding.severity.as_str(),
        rule: short(&finding.rule),
        title: sentence(&finding.title),
        typical: show_nanos(typical_waste(finding)),
        service: named(&finding.service_name),
        endpoint: named(&finding.endpoint),
        subject: short(&finding.subject),
        message: short(&finding.message),
        wasted: short(&words::wasted(finding)),
        confidence: finding.confidence.as_str(),
        confidence_reason: short(&finding.confidence_reason),
        causes: symptoms
            .iter()
            .take(SYMPTOMS_MAX)
            .map(|symptom| short(&words::symptom(symptom)))
            .collect(),
        causes_left_out: symptoms.len().saturating_sub(SYMPTOMS_MAX),
        tests: words::tests(finding).map(|tests| short(&tests)),
        code: evidence.code_location.as_deref().map(short),
        help: sentence(&remediation.summary),
        guide: guides.iter().find(|g| g.rule == finding.rule).map(|guide| guide.fix.clone()),
        references: remediation.references.iter().map(reference).collect(),
        next_step: remediation.next_step.as_deref().map(short),
        measures: evidence.measures.iter().map(measure).collect(),
        trace_ids: evidence.trace_ids.iter().map(|id| short(id)).collect(),
        versions: finding.service_versions.iter().map(|version| short(version)).collect(),
        waterfall: drawn.map(|trace| waterfall::waterfall(trace, &finding.finding_id)),
    }
}

/// A rule's guide, in the page.
#[derive(Debug, Serialize)]
struct Guide {
    rule: String,
    anchor: String,
    /// The anchor of how to fix it.
    fix: String,
    html: Value,
}

/// Returns the guides of the findings with cards, in the order of the rules.
fn guides(report: &Report<'_>, causes: &[Folded<'_>]) -> Vec<Guide> {
    let cards = &causes[..causes.len().min(CARDS_MAX)];
    let is_quoted = |rule: &&Rule| cards.iter().any(|cause| cause.finding.rule == rule.name());
    let quoted: Vec<&Rule> = report.rules.rules().iter().filter(is_quoted).collect();
    let anchor = |rule: &str| format!("guide-{rule}");
    let prefix = |rule: &str| format!("guide-{rule}-");
    let guide = |rule: &&Rule| {
        let own = prefix(rule.name());
        let address = |target: Target<'_>| match target {
            Target::Here(heading) => Some(format!("#{own}{heading}")),
            Target::Guide(name, heading) if quoted.iter().any(|other| other.name() == name) => {
                let place = if heading.is_empty() { anchor(name) } else { prefix(name) + heading };
                Some(format!("#{place}"))
            }
            Target::Guide(..) => None,
        };
        let page = guide::Page { anchor_prefix: &own, levels_down: 2, address: &address };
        let html = guide::to_html(&rule.guide, &page);
        let fix = format!("{own}how-to-fix-it");
        let has_fix = html.contains(&format!("id=\"{fix}\""));
        Guide {
            rule: rule.name().to_owned(),
            anchor: anchor(rule.name()),
            fix: if has_fix { fix } else { anchor(rule.name()) },
            html: Value::from_safe_string(html),
        }
    };
    quoted.iter().map(guide).collect()
}

/// How the rules fared that found nothing.
fn outcomes(report: &Report<'_>) -> Vec<Value> {
    let line = |(label, line): words::Line| context! { label => label, text => short(&line) };
    report.outcomes().into_iter().take(LINES_MAX).map(line).collect()
}

/// Returns when the traces were recorded.
fn window(report: &Report<'_>) -> Option<String> {
    let finding = report.findings.first()?;
    let time = |nanos: i64| {
        let time = DateTime::from_timestamp_nanos(nanos);
        time.to_rfc3339_opts(SecondsFormat::Secs, true).replace('T', " ").replace('Z', "")
    };
    let (start, end) = (finding.window_start_unix_nano, finding.window_end_unix_nano);
    Some(format!("{} to {} UTC", time(start), time(end)))
}

fn requests(finding: &Finding) -> String {
    format!("{} of {}", finding.traces_affected, finding.traces_seen)
}

/// Returns what has no row: neither those cut before, nor those beyond the table.
fn left_out(report: &Report<'_>, causes: usize) -> Option<String> {
    let more = report.causes_total.saturating_sub(causes.min(ROWS_MAX));
    (more > 0).then(|| count(more, "finding"))
}

/// Returns text that is safe and not too long.
fn short(text: &str) -> String {
    safe::line(&cut(text, TEXT_CHARS_MAX)).into_owned()
}

/// Returns a name; what is longer is none that anybody gave.
fn named(name: &str) -> String {
    text(&cut(name, NAME_CHARS_MAX))
}

/// Returns text that begins with a capital letter, as titles do on a page.
fn sentence(text: &str) -> String {
    let text = short(text);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn text(text: &str) -> String {
    safe::line(text).into_owned()
}

fn texts<'a>(list: impl Iterator<Item = &'a String>) -> Vec<String> {
    list.map(|line| short(line)).collect()
}

#[cfg(test)]
mod tests;
