//! `github`: findings as workflow commands, which GitHub Actions shows beside the code.
//!
//! Source: GitHub's documentation, "Workflow commands for GitHub Actions"; the escapes are those of
//! its own toolkit (`@actions/core`, `command.ts`).

use std::io::Write;

use timesink_model::{Folded, Severity, folded};

use crate::words::{self, count, price};
use crate::{Error, Report, safe};

/// Annotations of one severity that GitHub shows for a step; it drops the rest without a word.
pub const ANNOTATIONS_MAX: usize = 10;

/// The longest message, in characters: GitHub shows a message in a box beside the code.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 255;

pub(crate) fn write(report: &Report<'_>, out: &mut dyn Write) -> Result<(), Error> {
    let causes = folded(report.findings);
    let mut left_out = Vec::new();
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        // They are ranked: the first ones cost most.
        let of_it = || causes.iter().filter(|cause| cause.finding.severity == severity);
        for cause in of_it().take(ANNOTATIONS_MAX) {
            write_command(out, &annotation(cause))?;
        }
        let more = of_it().count().saturating_sub(ANNOTATIONS_MAX);
        if more > 0 {
            left_out.push(count(more, noun(severity)));
        }
    }
    write_line(out, &report.headline())?;
    if !left_out.is_empty() {
        let shown = format!("GitHub shows {ANNOTATIONS_MAX} annotations of a severity for a step");
        write_line(out, &format!("not annotated: {}: {shown}", left_out.join(", ")))?;
    }
    for (label, text) in report.outcomes() {
        write_line(out, &format!("{label}: {text}"))?;
    }
    for remark in report.remarks() {
        write_line(out, &remark)?;
    }
    Ok(())
}

/// Writes a line of the log that is no command: those begin with `::`, or hold `##[` anywhere.
fn write_line(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    write_command(out, &format!("timesink: {}", safe::line(text)))
}

/// Writes a line with no command but the one that it begins with. The runner takes `##[` for the
/// begin of a command wherever in a line it stands (`ActionCommand.TryParse` of actions/runner).
fn write_command(out: &mut dyn Write, line: &str) -> Result<(), Error> {
    writeln!(out, "{}", line.replace("##[", "# #["))?;
    Ok(())
}

fn annotation(cause: &Folded<'_>) -> String {
    let finding = cause.finding;
    let mut properties = Vec::new();
    let code = finding.evidence.code_location.as_deref();
    if let Some(code) = code.or_else(|| words::test_file(finding)) {
        let (file, line) = split_code(code);
        properties.push(format!("file={}", property(file)));
        properties.extend(line.map(|line| format!("line={line}")));
    }
    let title = format!("{}: {}", finding.title, price(finding));
    let title = words::cut(&title, TITLE_CHARS_MAX);
    properties.push(format!("title={}", property(&title)));
    format!("::{} {}::{}", command(finding.severity), properties.join(","), data(&message(cause)))
}

/// Returns what is shown in the box: lines of ours, each with text that stays on it.
fn message(Folded { finding, symptoms }: &Folded<'_>) -> String {
    let mut lines = vec![
        format!("{} {}", finding.service_name, finding.endpoint),
        format!("subject: {}", words::cut(&finding.subject, MESSAGE_CHARS_MAX / 2)),
        format!("found: {}", finding.message),
        format!("wasted: {}", words::wasted(finding)),
        format!("sure: {}", words::certainty(finding)),
        format!("help: {} (timesink rules show {})", finding.remediation.summary, finding.rule),
    ];
    lines.extend(words::tests(finding).map(|tests| format!("test: {tests}")));
    lines.extend(symptoms.iter().map(|symptom| format!("causes: {}", words::symptom(symptom))));
    let lines = lines.iter().map(|line| safe::line(line));
    words::cut(&lines.collect::<Vec<_>>().join("\n"), MESSAGE_CHARS_MAX)
}

/// Returns the file and the line of a code location.
pub(crate) fn split_code(code: &str) -> (&str, Option<u64>) {
    match code.rsplit_once(':') {
        Some((file, line)) if !file.is_empty() => match line.parse() {
            Ok(line) if line > 0 => (file, Some(line)),
            _ => (code, None),
        },
        _ => (code, None),
    }
}

fn command(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    }
}

fn noun(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "note",
    }
}

/// Escapes a message, whose lines are ours.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property, which ends at a comma, and the command at `::`.
fn property(text: &str) -> String {
    data(&safe::line(text)).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use timesink_model::Finding;

    use super::*;
    use crate::Format;
    use crate::test_support::{HOSTILE, finding, hostile, rule, steers, written, written_with};

    #[test]
    fn a_finding_is_an_annotation_beside_its_code() {
        let text = written(Format::Github, &[finding()]);
        let expected = format!(
            "::warning file=shop/views.py,line=12,title=25 queries of one shape in one request%3A \
             75 ms wasted::checkout GET /cart%0Asubject: SELECT * FROM item WHERE id = ?%0Afound: \
             checkout GET /cart sends this statement 25 times.%0Awasted: 75 ms in a typical \
             request, 31 of 40 requests, 18 %25 of the endpoint's time, 2.33 s in all%0Asure: \
             certain: the statements differ in their literals%0Ahelp: load the rows in one query \
             (timesink rules show {})\n\
             timesink: 1 finding in 977 spans of 40 traces, 1 service\n",
            rule()
        );
        assert!(text.starts_with(&expected), "{text}");
    }

    #[test]
    fn code_locations_are_split_at_a_line_number() {
        assert_eq!(split_code("a/b.py:12"), ("a/b.py", Some(12)));
        assert_eq!(split_code("C:\\a\\b.py:12"), ("C:\\a\\b.py", Some(12)));
        for code in ["a/b.py", "C:\\a", "a:0", ":3", "a:-1", "a:99999999999999999999"] {
            assert_eq!(split_code(code), (code, None), "{code}");
        }
    }

    /// Scenario: spans hold workflow commands, on lines of their own and escaped.
    /// Guarantee: the runner sees one command a finding, with the properties that are ours.
    #[test]
    fn no_span_text_becomes_a_command() {
        let text = written(Format::Github, &[hostile()]);
        let commands: Vec<&str> = text.lines().filter(|line| line.starts_with("::")).collect();
        assert_eq!(commands.len(), 1, "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("timesink: ")), "{text}");
        assert!(!text.contains(steers), "{text}");
        // The runner looks for these anywhere in a line.
        assert!(!text.contains("##[") && text.contains("# #[stop-commands]"), "{text}");
        let (properties, message) = commands[0][2..].split_once("::").unwrap();
        let names = properties.strip_prefix("warning ").unwrap().split(',');
        let names: Vec<&str> = names.map(|part| part.split('=').next().unwrap()).collect();
        assert_eq!(names, ["file", "line", "title"]);
        // A percent sign of a span stays one.
        assert!(message.contains("%250A") && HOSTILE.contains("%0A"), "{message}");
    }

    #[test]
    fn a_huge_subject_is_cut() {
        let finding = Finding { subject: "x".repeat(1 << 20), ..finding() };
        let text = written(Format::Github, &[finding]);
        assert!(text.len() < 4_000, "{}", text.len());
        assert!(text.contains("%0Ahelp: load the rows"), "{text}");
    }

    #[test]
    fn what_github_would_drop_is_counted() {
        let many = vec![finding(); 12];
        let text = written(Format::Github, &many);
        assert_eq!(text.lines().filter(|line| line.starts_with("::warning ")).count(), 10);
        let left_out = "timesink: not annotated: 2 warnings: GitHub shows 10 annotations of a \
                        severity for a step\n";
        assert!(text.contains(left_out), "{text}");
    }

    #[test]
    fn without_code_it_is_about_the_run() {
        let mut finding = finding();
        finding.evidence.code_location = None;
        finding.severity = Severity::Info;
        let text = written(Format::Github, &[finding]);
        assert!(text.starts_with("::notice title=25 queries"), "{text}");
    }

    #[test]
    fn no_findings_are_said_too() {
        let text = written_with(Format::Github, &[], &[], |report| {
            report.notices = vec!["refused: 1 span: \n::error::x".to_owned()];
        });
        assert!(text.starts_with("timesink: no findings in 977 spans"), "{text}");
        assert!(text.ends_with("timesink: refused: 1 span: \\n::error::x\n"), "{text}");
    }
}
