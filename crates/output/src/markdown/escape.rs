//! Text from spans in Markdown, as GitHub reads it: it shows, and does nothing.
//!
//! Source: GitHub Flavored Markdown, and what GitHub adds to it: mentions, references to issues.

use std::fmt::Write as _;

use crate::safe;

/// Breaks a mention or a reference: GitHub looks for them in the text that Markdown leaves, so
/// that no escape of Markdown hides one.
const BREAK: &str = "&#8203;";

/// Returns text that is none of Markdown, HTML, mention, reference or link.
pub(super) fn prose(text: &str) -> String {
    let text = safe::line(text);
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '|' | '$' => {
                escaped.push('\\');
                escaped.push(c);
            }
            _ => push_html(c, &mut escaped),
        }
    }
    break_words(&escaped)
}

/// Returns text for a place where HTML is read and Markdown is not.
pub(super) fn html(text: &str) -> String {
    let text = safe::line(text);
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_html(c, &mut escaped);
    }
    break_words(&escaped)
}

fn push_html(c: char, escaped: &mut String) {
    match c {
        '<' => escaped.push_str("&lt;"),
        '>' => escaped.push_str("&gt;"),
        '&' => escaped.push_str("&amp;"),
        '@' | '#' => {
            escaped.push(c);
            escaped.push_str(BREAK);
        }
        c => escaped.push(c),
    }
}

/// Breaks words that GitHub makes links of.
fn break_words(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, after) in [("www", "."), ("WWW", "."), (":", "//"), ("GH", "-"), ("gh", "-")] {
        text = text.replace(&format!("{before}{after}"), &format!("{before}{BREAK}{after}"));
    }
    text
}

/// Returns text as code. GitHub looks for nothing in it.
pub(super) fn code(text: &str) -> String {
    let text = safe::line(text);
    if text.trim().is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&text) + 1);
    // A backtick beside the fence would be part of it; one space on each side is not shown.
    let space = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Returns text as code in a cell, which a bar would end even there.
pub(super) fn code_in_table(text: &str) -> String {
    code(text).replace('|', "\\|")
}

fn longest_run(text: &str) -> usize {
    let runs = text.split(|c| c != '`').map(str::len);
    runs.max().unwrap_or(0)
}

/// Returns a link to a page, or the text when it is no address of one.
pub(super) fn link(address: &str) -> String {
    let is_page = address.starts_with("https://") || address.starts_with("http://");
    if !is_page {
        return code(address);
    }
    let mut target = String::with_capacity(address.len());
    for c in address.chars() {
        if c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\' | '|' | '`') {
            target.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(target, "%{byte:02X}");
            }
        }
    }
    format!("<{target}>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_no_markup() {
        assert_eq!(prose("a * b_c"), "a \\* b\\_c");
        assert_eq!(prose("<b>&"), "&lt;b&gt;&amp;");
        assert_eq!(prose("@me #1 GH-2"), "@&#8203;me #&#8203;1 GH&#8203;-2");
        assert_eq!(prose("[a](b) ![c](d)"), "\\[a\\](b) !\\[c\\](d)");
        assert_eq!(prose("https://e.org www.e.org"), "https:&#8203;//e.org www&#8203;.e.org");
        assert_eq!(prose("a\nb\u{202e}"), "a\\\\nb\\\\u{202e}");
    }

    #[test]
    fn code_holds_its_backticks() {
        assert_eq!(code("a"), "`a`");
        assert_eq!(code("`a`"), "`` `a` ``");
        assert_eq!(code("a```b"), "````a```b````");
        assert_eq!(code(" a "), "`  a  `");
        assert_eq!(code("<b> @me"), "`<b> @me`");
        assert_eq!(code(" "), "");
        assert_eq!(code_in_table("a|b"), "`a\\|b`");
    }

    #[test]
    fn only_pages_are_linked() {
        assert_eq!(link("https://e.org/a#b"), "<https://e.org/a#b>");
        assert_eq!(link("https://e.org/> <b"), "<https://e.org/%3E%20%3Cb>");
        assert_eq!(link("javascript:alert(1)"), "`javascript:alert(1)`");
    }
}
