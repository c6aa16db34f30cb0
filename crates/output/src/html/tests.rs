//! The page: what it says, that it stays small, and that spans cannot make it do anything.

use timesink_model::{Finding, Severity};

use super::{CARDS_MAX, ROWS_MAX, guide_html};
use crate::Format;
use crate::test_support::{
    HOSTILE, example, finding, hostile, rule, rules, steers, written, written_with,
};

/// Asserts that texts are in a page, in which a slash is an entity.
fn check_contains(page: &str, expected: &[&str]) {
    let page = page.replace("&#x2f;", "/");
    for text in expected {
        assert!(page.contains(text), "`{text}` is not in the page");
    }
}

#[test]
fn a_finding_is_said_first_and_in_full() {
    let finding = finding();
    let trace = example(&finding);
    let page = written_with(Format::Html, &[finding], &[trace], |_| {});
    check_contains(
        &page,
        &[
            "<title>25 queries of one shape in one request: timesink report</title>",
            "1 finding in 977 spans of 40 traces, 1 service",
            "2026-11-23 11:00:00 to 2026-11-23 11:00:00 UTC",
            "<h1>25 queries of one shape in one request</h1>",
            "<dd>75 ms</dd>",
            "<dd>31 of 40</dd>",
            "<p class=\"price\">75 ms a request</p>",
            "<b>certain</b>: the statements differ in their literals",
            "<code>shop/views.py:12</code>",
            "<a href=\"https://example.org/loading\" rel=\"noreferrer\">",
            "<tr><th scope=\"row\">statements in a request</th><td>25</td></tr>",
            "<tr><th scope=\"row\">share of pauses</th><td>25 %</td></tr>",
            "<dt>cannot tell</dt><dd>c-rule: one client only (checkout GET /cart)</dd>",
            &format!("<dt>found</dt><dd>{}</dd>", rule()),
            &format!("href=\"#guide-{}-how-to-fix-it\"", rule()),
            &format!("id=\"guide-{}-how-to-fix-it\"", rule()),
        ],
    );
}

#[test]
fn a_loop_is_one_row_with_its_bars_marked() {
    let finding = finding();
    let trace = example(&finding);
    let page = written_with(Format::Html, &[finding], &[trace], |_| {});
    let rows: Vec<&str> = page.split("<th scope=\"row\" class=\"name\"").skip(1).collect();
    assert_eq!(rows.len(), 2);
    check_contains(rows[0], &["GET /cart", "class=\"path\" style=\"left:60.00%;width:40.00%"]);
    let row = rows[1].split("</tr>").next().unwrap();
    check_contains(row, &["<b>3 ×</b>", "what this finding is about", ">60 ms<"]);
    assert_eq!(row.matches("class=\"bar c0\"").count(), 3);
    assert_eq!(page.matches("<tr class=\"culprit\">").count(), 1);
}

/// Scenario: every text of a finding, of its trace and of the notices tries to be markup.
/// Guarantee: the page has the elements that it has for plain text, no other, and no address but
/// ours.
#[test]
fn no_span_text_is_markup() {
    let page = |finding: Finding, text: &str| {
        let mut trace = example(&finding);
        for span in &mut trace.spans {
            span.name.push_str(text);
            span.kind.push_str(text);
        }
        written_with(Format::Html, &[finding], &[trace], |report| {
            report.notices = vec![format!("refused{text}")];
        })
    };
    let (plain, page) = (page(finding(), ""), page(hostile(), HOSTILE));
    assert!(!page.contains(steers));
    for element in
        ["<script", "<img", "<iframe", "<a ", "<style", "</style", "<details", "<p", "<i "]
    {
        assert_eq!(page.matches(element).count(), plain.matches(element).count(), "{element}");
    }
    for (at, _) in page.match_indices(" href=\"") {
        let address = &page[at + " href=\"".len()..];
        let is_ours = ["#", "https:", "data:,"].iter().any(|start| address.starts_with(start));
        assert!(is_ours, "{}", &address[..80]);
    }
    check_contains(&page, &["&lt;script&gt;alert(1)", "{{ 7 * 7 }}", r"\u{202e}"]);
}

#[test]
fn an_address_that_is_no_page_is_not_linked() {
    let mut finding = finding();
    finding.remediation.references = vec!["javascript:alert(1)".to_owned()];
    let page = written(Format::Html, &[finding]);
    check_contains(&page, &["<code>javascript:alert(1)</code>"]);
    assert!(!page.contains("href=\"javascript"));
}

#[test]
fn many_findings_are_listed_and_those_left_out_are_counted() {
    let findings: Vec<Finding> = (0..ROWS_MAX + 20)
        .map(|number| Finding {
            subject: "x".repeat(1 << 14),
            title: number.to_string(),
            ..finding()
        })
        .collect();
    let page = written(Format::Html, &findings);
    assert_eq!(page.matches("<article class=\"card\"").count(), CARDS_MAX);
    assert_eq!(page.matches("<td class=\"number rank\">").count(), ROWS_MAX);
    check_contains(&page, &["20 findings left out here.", "The first 50 are described below."]);
    assert!(page.len() < 1 << 20, "{} bytes", page.len());
}

#[test]
fn no_findings_and_notes_alone_have_a_page_too() {
    check_contains(&written(Format::Html, &[]), &["<h1>No findings</h1>", "<dt>clean</dt>"]);
    let note = Finding { severity: Severity::Info, ..finding() };
    check_contains(&written(Format::Html, &[note]), &["<h1>Nothing to fix first</h1>"]);
}

#[test]
fn the_same_report_gives_the_same_page() {
    for format in Format::ALL {
        assert_eq!(written(format, &[hostile()]), written(format, &[hostile()]), "{format}");
    }
}

#[test]
fn a_guide_is_a_page_with_its_thresholds() {
    for rule in rules().rules() {
        let page = guide_html(rule, "0.1.0").unwrap();
        check_contains(&page, &["<h2 id=\"how-to-fix-it\">", "<h2 id=\"thresholds\">"]);
        assert!(!page.contains("README.md\""), "{}", rule.name());
        assert!(!page.contains("<script") && !page.contains("<img"), "{}", rule.name());
    }
}
