//! The words of one line: cutting, quoting, and times.

use super::NotationError;

/// The longest time a line may name: 30 days, so that sums of few stay far from overflow.
const NANOS_MAX: i64 = 30 * 24 * 3600 * 1_000_000_000;

/// What is left of a line.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    line: usize,
    rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(line: usize, text: &'a str) -> Self {
        Self { line, rest: text.trim_end() }
    }

    /// Returns whether nothing but spaces is left.
    pub(super) fn is_done(&self) -> bool {
        self.rest.trim_start().is_empty()
    }

    /// Takes the leading spaces and returns how many there were.
    pub(super) fn indentation(&mut self) -> usize {
        let text = self.rest.trim_start_matches(' ');
        let count = self.rest.len() - text.len();
        self.rest = text;
        count
    }

    /// Returns the next word without taking it; empty at the end.
    pub(super) fn peek(&self) -> &'a str {
        self.rest.split_whitespace().next().unwrap_or("")
    }

    /// Takes the next word; empty at the end.
    pub(super) fn word(&mut self) -> &'a str {
        let word = self.peek();
        self.rest = &self.rest.trim_start()[word.len()..];
        word
    }

    /// Takes the text up to and including the next `=`, if the next word has one.
    pub(super) fn key(&mut self) -> Option<&'a str> {
        let (key, _) = self.peek().split_once('=')?;
        self.rest = &self.rest.trim_start()[key.len() + 1..];
        Some(key)
    }

    /// Takes quoted text if a quote comes next.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, NotationError> {
        let Some(inner) = self.rest.strip_prefix('"') else { return Ok(None) };
        let mut text = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = &inner[at + 1..];
                    return Ok(Some(text));
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, 'n')) => text.push('\n'),
                    _ => return Err(self.expected("`\\\"`, `\\\\` or `\\n` after a backslash")),
                },
                _ => text.push(char),
            }
        }
        Err(self.expected("a closing quote"))
    }

    /// Takes the words up to the first that is a time; spaces between them stay as they are.
    pub(super) fn until_time(&mut self) -> &'a str {
        self.rest = self.rest.trim_start();
        let all = self.rest;
        while !self.is_done() && parse_nanos(self.peek()).is_none() {
            self.word();
        }
        let taken = &all[..all.len() - self.rest.len()];
        taken.trim_end()
    }

    /// Takes a time.
    pub(super) fn nanos(&mut self, expected: &'static str) -> Result<i64, NotationError> {
        let nanos = parse_nanos(self.peek()).ok_or_else(|| self.expected(expected))?;
        self.word();
        Ok(nanos)
    }

    /// Skips spaces; what comes next is looked at character by character.
    pub(super) fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes the rest of a word that began before: up to the next space.
    pub(super) fn rest_of_word(&mut self) -> &'a str {
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// Returns the error of not finding `expected` here.
    pub(super) fn expected(&self, expected: &'static str) -> NotationError {
        self.found(expected, self.peek())
    }

    /// Returns the error of finding `found` instead of `expected` on this line.
    pub(super) fn found(&self, expected: &'static str, found: &str) -> NotationError {
        NotationError::Unexpected { line: self.line, expected, found: found.to_owned() }
    }
}

/// Reads `3s`, `1.5ms`, `-20us` or `7ns`; nothing finer than a nanosecond or longer than 30 days.
pub(super) fn parse_nanos(word: &str) -> Option<i64> {
    let digits_end = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = word.split_at(digits_end);
    let decimals = match unit {
        "ns" => 0,
        "us" => 3,
        "ms" => 6,
        "s" => 9,
        _ => return None,
    };
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |rest| (-1, rest));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (fraction.len() > decimals && fraction != "0") {
        return None;
    }
    let padded = format!("{whole}{fraction:0<decimals$}");
    let digits = if decimals == 0 { whole } else { padded.as_str() };
    let nanos: i64 = digits.parse().ok()?;
    (nanos <= NANOS_MAX).then_some(sign * nanos)
}
