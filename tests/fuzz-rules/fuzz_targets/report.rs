//! Any text from spans in every format of a report: read back, it is text and nothing else.
//!
//! The texts stand one after the other, each behind a byte 0.
#![no_main]

#[expect(dead_code, reason = "shared with the tests of the crate")]
#[path = "../../../crates/output/src/test_support.rs"]
mod test_support;

use libfuzzer_sys::fuzz_target;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use serde_json::Value;
use test_support::{example, finding, written_with};
use timesink_model::{Finding, MeasureValue};
use timesink_output::{Format, Report, write};
use timesink_testkit::sarif;

/// What spans bring into a finding.
#[derive(Debug)]
struct Texts<'a> {
    service_name: &'a str,
    endpoint: &'a str,
    subject: &'a str,
    title: &'a str,
    message: &'a str,
    confidence_reason: &'a str,
    measure: &'a str,
    code_location: Option<&'a str>,
    version: &'a str,
    reference: &'a str,
    next_step: Option<&'a str>,
    notice: &'a str,
}

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split('\0');
    let mut text = || parts.next().unwrap_or_default();
    let texts = Texts {
        service_name: text(),
        endpoint: text(),
        subject: text(),
        title: text(),
        message: text(),
        confidence_reason: text(),
        measure: text(),
        version: text(),
        reference: text(),
        notice: text(),
        code_location: parts.next(),
        next_step: parts.next(),
    };
    // Empty and blank texts leave out what is made of them, in hostile and plain reports alike.
    let plain = |text: &str| match text.trim_matches(' ') {
        "" if text.is_empty() => "",
        "" => " ",
        _ => "a",
    };
    let plain = Texts {
        service_name: plain(texts.service_name),
        endpoint: plain(texts.endpoint),
        subject: plain(texts.subject),
        title: plain(texts.title),
        message: plain(texts.message),
        confidence_reason: plain(texts.confidence_reason),
        measure: plain(texts.measure),
        version: plain(texts.version),
        reference: if is_page(texts.reference) { "https://a" } else { plain(texts.reference) },
        notice: plain(texts.notice),
        code_location: texts.code_location.map(plain),
        next_step: texts.next_step.map(plain),
    };
    check_json(&texts);
    check_sarif(&texts);
    check_github(&texts);
    assert_eq!(markup(&texts), markup(&plain));
    assert_eq!(elements(&texts), elements(&plain));
    for format in Format::ALL {
        let text = report(format, &texts);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{format}: {text:?}");
    }
});

/// A reference to a page is a link, whatever else it says.
fn is_page(reference: &str) -> bool {
    reference.starts_with("https://") || reference.starts_with("http://")
}

fn hostile(texts: &Texts<'_>) -> Finding {
    let mut finding = finding();
    for (field, text) in [
        (&mut finding.service_name, texts.service_name),
        (&mut finding.endpoint, texts.endpoint),
        (&mut finding.subject, texts.subject),
        (&mut finding.title, texts.title),
        (&mut finding.message, texts.message),
        (&mut finding.confidence_reason, texts.confidence_reason),
        (&mut finding.remediation.references[0], texts.reference),
    ] {
        text.clone_into(field);
    }
    finding.remediation.next_step = texts.next_step.map(str::to_owned);
    finding.evidence.code_location = texts.code_location.map(str::to_owned);
    finding.evidence.measures[1].value = MeasureValue::Text(texts.measure.to_owned());
    finding.service_versions = vec![texts.version.to_owned()];
    finding
}

fn report(format: Format, texts: &Texts<'_>) -> String {
    let finding = hostile(texts);
    let mut trace = example(&finding);
    for span in &mut trace.spans {
        texts.title.clone_into(&mut span.name);
        texts.measure.clone_into(&mut span.kind);
    }
    written_with(format, &[finding], &[trace], |report| {
        report.notices = vec![texts.notice.to_owned()];
    })
}

fn check_json(texts: &Texts<'_>) {
    let expected = [texts.service_name, texts.subject, texts.title, texts.message];
    for format in [Format::Json, Format::Jsonl] {
        let document: Value = serde_json::from_str(&report(format, texts)).expect("JSON");
        let finding = if format == Format::Json { &document["findings"][0] } else { &document };
        let found = ["service_name", "subject", "title", "message"].map(|name| &finding[name]);
        assert_eq!(found, expected, "{format}");
    }
}

fn check_sarif(texts: &Texts<'_>) {
    let log: Value = serde_json::from_str(&report(Format::Sarif, texts)).expect("JSON");
    assert_eq!(sarif::faults(&log), Vec::<String>::new());
}

/// One command, with the properties that are ours.
fn check_github(texts: &Texts<'_>) {
    let text = report(Format::Github, texts);
    let mut lines = text.lines();
    let command = lines.next().and_then(|line| line.strip_prefix("::warning ")).expect("a command");
    assert!(lines.all(|line| line.starts_with("timesink: ")), "{text}");
    let (properties, _) = command.split_once("::").expect("a message");
    let name = |part: &'_ str| part.split('=').next().unwrap_or_default().to_owned();
    for name in properties.split(',').map(name) {
        assert!(["file", "line", "title"].contains(&name.as_str()), "{text}");
    }
}

/// What a reader of Markdown sees beside text and code.
fn markup(texts: &Texts<'_>) -> Vec<String> {
    let text = report(Format::Markdown, texts);
    for reference in ["@", "#"] {
        // GitHub looks for mentions and issues in what is neither code nor a link.
        let mut in_link = false;
        let mut outside = Parser::new_ext(&text, Options::all()).filter_map(|event| match event {
            Event::Start(Tag::Link { .. }) | Event::End(TagEnd::Link) => {
                in_link = !in_link;
                None
            }
            Event::Text(text) if !in_link => Some(text),
            _ => None,
        });
        let is_read = |text: &str| {
            let mut parts = text.split(reference);
            parts.next();
            parts.any(|part| part.starts_with(|c: char| c.is_ascii_alphanumeric()))
        };
        assert!(!outside.any(|text| is_read(&text)), "{reference}: {text}");
    }
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    Parser::new_ext(&text, options)
        .filter_map(|event| match event {
            Event::Start(Tag::Link { .. }) => Some("a link".to_owned()),
            Event::Start(tag) => Some(format!("{tag:?}")),
            Event::Html(html) | Event::InlineHtml(html) => Some(tags(&html)),
            _ => None,
        })
        .collect()
}

/// The elements of the page, without what is between them.
fn elements(texts: &Texts<'_>) -> Vec<String> {
    let page = report(Format::Html, texts);
    let names = page.split('<').skip(1).map(|part| {
        let end = part.find(|c: char| !c.is_ascii_alphanumeric() && !"/!-".contains(c));
        part[..end.unwrap_or(part.len())].to_owned()
    });
    names.collect()
}

/// The tags of a piece of HTML.
fn tags(html: &str) -> String {
    html.split('<').skip(1).map(|part| part.split(['>', ' ']).next().unwrap_or_default()).collect()
}
