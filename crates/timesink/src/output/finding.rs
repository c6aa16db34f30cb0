//! A finding as a diagnostic: what, where, how much, how sure, what to do.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use timesink_model::Finding;
use timesink_output::words::{certainty, cut, price, symptom, wasted};

use super::paint::Paint;
use super::wrap::wrap;
use super::{Console, safe};

/// Before the labels.
const INDENT: &str = "  ";

/// The width of the labels and what separates them from their text.
const LABEL_COLUMNS: usize = 9;

const SUBJECT: &str = "subject";

/// What a finding causes: other findings, which are not counted again.
const CAUSES: &str = "causes";

/// Lines of a subject; what is longer is cut. JSON lines hold it whole.
const SUBJECT_LINES_MAX: usize = 4;

/// How much is said of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Full,
    OneLine,
}

/// Writes one finding, and what it causes.
pub(crate) fn write_finding(
    console: &mut Console,
    finding: &Finding,
    symptoms: &[&Finding],
    detail: Detail,
) -> Result<()> {
    let (paint, columns) = (console.paint, console.columns);
    let text = match detail {
        Detail::Full => full(finding, symptoms, paint, columns),
        Detail::OneLine => {
            let mut text = one_line(finding, paint, columns);
            for of in symptoms {
                text.push_str(&labelled(CAUSES, &[symptom(of)], 1, paint, columns));
            }
            text
        }
    };
    Ok(console.out.write_all(text.as_bytes())?)
}

fn full(finding: &Finding, symptoms: &[&Finding], paint: Paint, columns: usize) -> String {
    let head = format!("{}: {}", safe::line(&finding.title), price(finding));
    let mut text = format!("{}: {}\n", name(finding, paint), paint.bold(&head));
    let causes: Vec<String> = symptoms.iter().map(|of| symptom(of)).collect();
    let causes = (!causes.is_empty()).then_some((CAUSES, causes));
    for (label, paragraphs) in fields(finding).into_iter().chain(causes) {
        let lines_max = if label == SUBJECT { SUBJECT_LINES_MAX } else { usize::MAX };
        text.push_str(&labelled(label, &paragraphs, lines_max, paint, columns));
    }
    text.push('\n');
    text
}

/// Returns a label and beside it the paragraphs, wrapped and cut.
pub(super) fn labelled(
    label: &str,
    paragraphs: &[String],
    lines_max: usize,
    paint: Paint,
    columns: usize,
) -> String {
    let columns = columns - INDENT.len() - LABEL_COLUMNS;
    let mut lines: Vec<String> =
        paragraphs.iter().flat_map(|text| wrap(&safe::line(text), columns)).collect();
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        let last = lines.pop().unwrap_or_default();
        lines.push(cut(&format!("{last:<columns$}…"), columns));
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let label = if number == 0 { label } else { "" };
        let label = paint.dim(&format!("{label:<LABEL_COLUMNS$}"));
        let _ = writeln!(text, "{INDENT}{label}{line}");
    }
    text
}

/// Returns the line that says what to fix, what it costs and where.
pub(crate) fn one_line(finding: &Finding, paint: Paint, columns: usize) -> String {
    let place = format!("{} {}", finding.service_name, finding.endpoint);
    let text = format!("{}: {}; {place}", finding.title, price(finding));
    let used = finding.severity.as_str().len() + finding.rule.len() + "[]: ".len();
    let text = cut(&safe::line(&text), columns.saturating_sub(used));
    format!("{}: {text}\n", name(finding, paint))
}

/// `warning[rule]`, in its colour.
pub(super) fn name(finding: &Finding, paint: Paint) -> String {
    let name = format!("{}[{}]", finding.severity, safe::line(&finding.rule));
    paint.severity(finding.severity, &name)
}

/// Returns each label with its paragraphs.
fn fields(finding: &Finding) -> Vec<(&'static str, Vec<String>)> {
    let remediation = &finding.remediation;
    let mut help = vec![format!("{} ({})", remediation.summary, remediation.guide)];
    help.extend(remediation.references.iter().cloned());
    let mut fields = vec![
        ("service", vec![format!("{}, {}", finding.service_name, finding.endpoint)]),
        (SUBJECT, vec![finding.subject.clone()]),
        ("found", vec![finding.message.clone()]),
        ("wasted", vec![wasted(finding)]),
        ("sure", vec![certainty(finding)]),
    ];
    let trace = finding.evidence.trace_ids.first().cloned();
    fields.extend(trace.map(|trace_id| ("trace", vec![trace_id])));
    let tests = &finding.evidence.test_cases;
    fields.extend((!tests.is_empty()).then(|| ("test", tests.clone())));
    fields.extend(finding.evidence.code_location.clone().map(|code| ("code", vec![code])));
    fields.push(("help", help));
    fields.extend(remediation.next_step.clone().map(|next| ("next", vec![next])));
    fields
}

#[cfg(test)]
mod tests {
    use timesink_model::{
        Confidence, Evidence, Measure, MeasureValue, Remediation, Severity, Status,
    };

    use super::*;

    fn finding() -> Finding {
        let measure =
            |name: &str, value| Measure { name: name.to_owned(), summary: String::new(), value };
        let nanos = 1_795_431_600_000_000_001;
        Finding {
            finding_id: "0123456789abcdef".to_owned(),
            rule: "a-rule".to_owned(),
            severity: Severity::Warning,
            service_name: "checkout".to_owned(),
            endpoint: "GET /cart".to_owned(),
            subject: "SELECT * FROM item WHERE id = ?".to_owned(),
            title: "25 queries of one shape in one request".to_owned(),
            message: "checkout GET /cart sends this statement 25 times.".to_owned(),
            window_start_unix_nano: nanos,
            window_end_unix_nano: nanos,
            traces_affected: 31,
            traces_seen: 40,
            occurrences: 775,
            wasted_nanos: 2_325_000_000,
            wasted_nanos_estimated: Some(2_325_000_000),
            wasted_share: Some(0.18),
            confidence: Confidence::Certain,
            confidence_reason: "the statements differ in their literals".to_owned(),
            evidence: Evidence {
                measures: vec![
                    measure("repeats", MeasureValue::Integer(25)),
                    measure("pauses_share", MeasureValue::Float(0.25)),
                ],
                trace_ids: vec!["4bf92f3577b34da6a3ce929d0e0e4736".to_owned()],
                span_ids: vec!["00f067aa0ba902b7".to_owned()],
                code_location: Some("shop/views.py:12".to_owned()),
                test_cases: Vec::new(),
                muted: None,
            },
            remediation: Remediation {
                summary: "load the rows in one query".to_owned(),
                guide: "rules/a-rule#how-to-fix-it".to_owned(),
                references: vec!["https://example.org/loading".to_owned()],
                next_step: Some("set echo=True on the engine".to_owned()),
            },
            caused_by: None,
            first_seen_unix_nano: nanos,
            last_seen_unix_nano: nanos,
            service_versions: vec!["1.2".to_owned()],
            status: Status::New,
        }
    }

    fn written(finding: &Finding, detail: Detail, columns: usize) -> String {
        match detail {
            Detail::Full => full(finding, &[], Paint::new(false), columns),
            Detail::OneLine => one_line(finding, Paint::new(false), columns),
        }
    }

    #[test]
    fn reads_as_a_diagnostic() {
        let expected = "\
warning[a-rule]: 25 queries of one shape in one request: 75 ms wasted
  service  checkout, GET /cart
  subject  SELECT * FROM item WHERE id = ?
  found    checkout GET /cart sends this statement 25 times.
  wasted   75 ms in a typical request, 31 of 40 requests, 18 % of the endpoint's time, 2.33 s in all
  sure     certain: the statements differ in their literals
  trace    4bf92f3577b34da6a3ce929d0e0e4736
  code     shop/views.py:12
  help     load the rows in one query (rules/a-rule#how-to-fix-it)
           https://example.org/loading
  next     set echo=True on the engine

";
        assert_eq!(written(&finding(), Detail::Full, 100), expected);
    }

    #[test]
    fn one_line_fits_the_width() {
        let line = written(&finding(), Detail::OneLine, 100);
        assert_eq!(
            line,
            "warning[a-rule]: 25 queries of one shape in one request: 75 ms wasted; checkout \
             GET /cart\n"
        );
        let narrow = written(&finding(), Detail::OneLine, 60);
        assert_eq!(narrow.chars().count(), 61);
        assert!(narrow.ends_with("…\n"), "{narrow}");
    }

    #[test]
    fn a_long_subject_is_cut() {
        let mut finding = finding();
        finding.subject = "SELECT ".to_owned() + &"column, ".repeat(200);
        let text = written(&finding, Detail::Full, 80);
        let start = text.find("  subject").unwrap();
        let subject: Vec<&str> =
            text[start..].lines().take_while(|line| !line.contains("found")).collect();
        assert_eq!(subject.len(), SUBJECT_LINES_MAX);
        assert!(subject[SUBJECT_LINES_MAX - 1].ends_with('…'), "{subject:?}");
        assert!(text.lines().skip(1).all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn no_span_text_reaches_the_terminal_raw() {
        let hostile = "\x1b]0;owned\x07\u{9b}2J\u{202e}";
        let mut finding = finding();
        for text in [
            &mut finding.service_name,
            &mut finding.endpoint,
            &mut finding.subject,
            &mut finding.title,
            &mut finding.message,
            &mut finding.confidence_reason,
            &mut finding.remediation.summary,
            &mut finding.evidence.trace_ids[0],
        ] {
            text.push_str(hostile);
        }
        finding.evidence.code_location = Some(hostile.to_owned());
        for detail in [Detail::Full, Detail::OneLine] {
            let text = written(&finding, detail, 100);
            let steers = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!text.contains(steers), "{text:?}");
        }
    }
}
