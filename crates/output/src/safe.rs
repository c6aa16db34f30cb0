//! Text from spans, made safe: what could steer a terminal, or hide, becomes visible.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a terminal would act on a character, or hide it, instead of showing it.
///
/// Control characters (C0, DEL, C1) start escape sequences; bidirectional controls reorder what is
/// read (CVE-2021-42574); line separators break lines; tags and the byte order mark are invisible.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Returns the text with hostile characters as visible escapes, on one line.
pub fn line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    Cow::Owned(safe)
}

/// Returns the text with hostile characters as visible escapes; lines and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_hostile(c) && c != '\n' && c != '\t') {
        return Cow::Borrowed(text);
    }
    let pieces = text.split_inclusive(['\n', '\t']).map(|piece| {
        let body = piece.trim_end_matches(['\n', '\t']);
        format!("{}{}", line(body), &piece[body.len()..])
    });
    Cow::Owned(pieces.collect())
}

/// Returns JSON with hostile characters as `\u` escapes, which mean the same to its reader.
///
/// In JSON they occur in strings only: between its tokens stand spaces and line ends, which stay.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_hostile = |c: char| is_hostile(c) && c != '\n';
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_becomes_visible() {
        assert_eq!(line("\x1b[31mred\x1b]0;title\x07"), r"\u{1b}[31mred\u{1b}]0;title\u{7}");
        assert_eq!(line("\u{9b}2J and \u{7f}"), r"\u{9b}2J and \u{7f}");
        assert_eq!(line("user\u{202e}txt.exe\u{2066}"), r"user\u{202e}txt.exe\u{2066}");
        assert_eq!(line("a\r\nb\tc"), r"a\r\nb\tc");
    }

    #[test]
    fn plain_text_of_any_language_stays() {
        for text in ["", "GET /übung/ü", "日本語 👩‍🚀", "{\"a\": 'b'}"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text));
            assert!(matches!(json(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn lines_and_tabs_can_stay() {
        assert_eq!(lines("SELECT\n\t1\n"), "SELECT\n\t1\n");
        assert_eq!(lines("SELECT\n\t\x1b1\r\n"), "SELECT\n\t\\u{1b}1\\r\n");
    }

    #[test]
    fn json_means_the_same_as_before() {
        let value = serde_json::json!("\u{1b}[0m \u{9b} \u{202e} \u{e0041} ü\n");
        let written = value.to_string();
        let safe = json(&written);
        assert!(safe.chars().all(|c| !is_hostile(c)), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
    }
}
