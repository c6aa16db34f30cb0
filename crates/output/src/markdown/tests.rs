//! The comment: what it says, how long it gets, and what spans cannot do to it.

use timesink_model::Finding;

use super::MARKDOWN_CHARS_MAX;
use crate::Format;
use crate::test_support::{finding, hostile, rule, steers, written, written_with};

#[test]
fn a_finding_is_a_row_and_a_fold() {
    let text = written(Format::Markdown, &[finding()]);
    let expected = format!(
        "\
## timesink: 1 finding in 977 spans of 40 traces, 1 service

| | finding | where | a request | of its time | in all |
|---:|---|---|---:|---:|---:|
| 1 | 25 queries of one shape in one request | `checkout` `GET /cart` | 75 ms | 18 % | 2.33 s |

<details><summary>1. 25 queries of one shape in one request: 75 ms wasted <code>{0}</code></summary>

- **service** `checkout` `GET /cart`
- **subject** `SELECT * FROM item WHERE id = ?`
- **found** checkout GET /cart sends this statement 25 times.
- **wasted** 75 ms in a typical request, 31 of 40 requests, 18 % of the endpoint's time, \
         2.33 s in all
- **sure** certain: the statements differ in their literals
- **trace** `4bf92f3577b34da6a3ce929d0e0e4736`
- **code** `shop/views.py:12`
- **help** load the rows in one query (`timesink rules show {0}`) <https://example.org/loading>
- **next** `set echo=True on the engine`

</details>

<details><summary>What the other rules say</summary>

- **clean** b-rule
- **cannot tell** c-rule: one client only (checkout GET /cart)
- **skipped** d-rule: no span carries \\`db.query.text\\`
- **failed** e-rule: too many rows
- **switched off** f-rule

</details>
",
        rule()
    );
    assert_eq!(text, expected);
}

/// Scenario: every text of a finding tries to be markup, a mention, a link, the end of a fold.
/// Guarantee: lines, folds and cells are ours, and no text is outside of code or escapes.
#[test]
fn no_span_text_is_markup() {
    let text = written(Format::Markdown, &[hostile()]);
    assert!(!text.contains(steers), "{text}");
    let mut plain = finding();
    plain.evidence.test_cases = vec!["tests/test_cart.py::test_total".to_owned()];
    let plain = written(Format::Markdown, &[plain]);
    assert_eq!(text.lines().count(), plain.lines().count(), "{text}");
    let row = text.lines().find(|line| line.starts_with("| 1 |")).unwrap();
    let bars = row.replace("\\|", "").matches('|').count();
    assert_eq!(bars, 7, "{row}");
    let lines = text.lines().filter(|line| !line.starts_with("| 1 |"));
    for line in lines {
        let outside = without_code(line);
        // An address is read to its end, as what it is.
        let outside = outside.split("<https://example.org/").next().unwrap_or(&outside);
        for markup in ["<script", "</details></", "<!--", "@octocat", "#123", "www.e", "://", "**b"]
        {
            // GitHub reads no Markdown in a line of HTML.
            let is_read = markup != "**b" || !line.starts_with("<details>");
            assert!(!is_read || !outside.contains(markup), "{markup} in {line}");
        }
    }
    assert_eq!(text.matches("</details>\n").count(), 2);
}

/// Returns a line without its stretches of code.
fn without_code(line: &str) -> String {
    let mut outside = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`').filter(|&at| !rest[..at].ends_with('\\')) {
        outside.push_str(&rest[..at]);
        let fence = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let ticks = "`".repeat(fence);
        let body = &rest[at + fence..];
        let Some(end) = body.find(&ticks) else { break };
        rest = &body[end + fence..];
    }
    outside + rest
}

#[test]
fn a_comment_fits_the_limit_and_says_what_was_left_out() {
    let wide = |number: usize| Finding {
        subject: format!("SELECT {number} {}", "`column`, ".repeat(1 << 17)),
        ..finding()
    };
    let findings: Vec<Finding> = (0..500).map(wide).collect();
    let text = written(Format::Markdown, &findings);
    assert!(text.chars().count() <= MARKDOWN_CHARS_MAX, "{}", text.chars().count());
    assert!(text.chars().count() > MARKDOWN_CHARS_MAX / 2);
    assert!(text.contains("\nand 480 more findings\n"));
    assert!(text.contains(" left out: a comment holds 65536 characters."), "{text}");
    assert!(text.ends_with("</details>\n"));
}

#[test]
fn no_findings_are_said_in_a_line() {
    let text = written_with(Format::Markdown, &[], &[], |report| {
        report.provisional = true;
        report.notices = vec!["refused: 1 span: span is <b>".to_owned()];
    });
    let expected = "## timesink: no findings in 977 spans of 40 traces, 1 service\n\n\
                    > provisional: traces were still arriving, so findings may change\n\n\
                    > refused: 1 span: span is &lt;b&gt;\n\n";
    assert!(text.starts_with(expected), "{text}");
    assert!(!text.contains("| finding |"));
}
