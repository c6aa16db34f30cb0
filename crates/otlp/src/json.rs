//! A pull parser for JSON over bytes that are valid UTF-8: no tree, no recursion, no copy of text
//! without escapes.
//!
//! It is strict about structure (commas, colons, brackets, literals) and tolerant about text:
//! control characters inside strings are taken, broken escapes become U+FFFD.

use std::borrow::Cow;

/// What is expected behind the one value of a text.
pub(crate) const END_EXPECTED: &str = "the end of the message";

/// Where the text stopped being JSON of the expected form, and what should have been there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syntax {
    pub(crate) offset: usize,
    pub(crate) expected: &'static str,
}

/// A string between its quotes, escapes still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Raw<'a> {
    pub(crate) bytes: &'a [u8],
    escaped: bool,
}

/// A value that is neither an array nor an object, or word that it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar<'a> {
    Null,
    Text(Raw<'a>),
    /// A number, `true` or `false`, unchecked.
    Token(&'a [u8]),
    /// An array or object, stepped over.
    Composite,
}

/// Whether an array or object is still before its first item.
#[derive(Debug)]
pub(crate) struct Items {
    first: bool,
}

/// A place in the text.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// Goes back, or forth, to a place where a value starts.
    pub(crate) fn jump(&mut self, offset: usize) {
        self.at = offset;
    }

    /// Returns the next byte that is not white space.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    pub(crate) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    pub(crate) fn expected<T>(&self, expected: &'static str) -> Result<T, Syntax> {
        Err(Syntax { offset: self.at, expected })
    }

    /// Enters an object: [`Cursor::member`] then gives its keys.
    #[inline]
    pub(crate) fn object(&mut self) -> Result<Items, Syntax> {
        self.open(b'{', "`{`")
    }

    /// Enters an array: [`Cursor::element`] then says whether there is another value.
    #[inline]
    pub(crate) fn array(&mut self) -> Result<Items, Syntax> {
        self.open(b'[', "`[`")
    }

    /// Steps to the next value of the object and returns its key; behind the object at its end.
    #[inline]
    pub(crate) fn member(&mut self, items: &mut Items) -> Result<Option<Cow<'a, [u8]>>, Syntax> {
        if !self.next_item(items, b'}', "`,` or `}`")? {
            return Ok(None);
        }
        let key = self.key()?;
        if !key.escaped {
            return Ok(Some(Cow::Borrowed(key.bytes)));
        }
        let mut text = Vec::new();
        unescape(key, &mut text);
        Ok(Some(Cow::Owned(text)))
    }

    /// Steps to the next value of the array; behind the array at its end.
    #[inline]
    pub(crate) fn element(&mut self, items: &mut Items) -> Result<bool, Syntax> {
        self.next_item(items, b']', "`,` or `]`")
    }

    /// Reads a string.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<Raw<'a>, Syntax> {
        if self.peek() != Some(b'"') {
            return self.expected("a string");
        }
        let start = self.at + 1;
        let Some((end, escaped)) = string_end(self.text, start) else {
            return self.expected("a string that ends");
        };
        self.at = end + 1;
        Ok(Raw { bytes: &self.text[start..end], escaped })
    }

    /// Steps over `text`, if exactly that is next.
    #[inline]
    pub(crate) fn take<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        let is_next = self.text.get(self.at..).and_then(<[u8]>::first_chunk::<N>) == Some(text);
        if is_next {
            self.at += N;
        }
        is_next
    }

    /// Reads up to the quote that ends a string without escapes, the cursor being behind the quote
    /// that opens it.
    #[inline]
    pub(crate) fn plain_text(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        match string_end(self.text, start) {
            Some((end, false)) => {
                self.at = end + 1;
                Some(&self.text[start..end])
            }
            _ => None,
        }
    }

    /// Reads any value; what is not a scalar is stepped over.
    #[inline]
    pub(crate) fn scalar(&mut self) -> Result<Scalar<'a>, Syntax> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::Text),
            Some(b'{' | b'[') => {
                self.skip_value()?;
                Ok(Scalar::Composite)
            }
            _ => match self.literal()? {
                b"null" => Ok(Scalar::Null),
                token => Ok(Scalar::Token(token)),
            },
        }
    }

    /// Steps over `null`, if that is the value.
    #[inline]
    pub(crate) fn null(&mut self) -> bool {
        if self.peek() != Some(b'n') {
            return false;
        }
        let start = self.at;
        let is_null = self.token() == b"null";
        if !is_null {
            self.at = start;
        }
        is_null
    }

    /// Steps over any value, and returns whether it was `null`.
    pub(crate) fn null_or_skip(&mut self) -> Result<bool, Syntax> {
        let is_null = self.null();
        if !is_null {
            self.skip_value()?;
        }
        Ok(is_null)
    }

    /// Reads what stands up to the next comma, bracket, quote, colon or white space.
    pub(crate) fn token(&mut self) -> &'a [u8] {
        let rest = &self.text[self.at..];
        let is_end =
            |b: &u8| matches!(b, b',' | b':' | b'"' | b'[' | b']' | b'{' | b'}' | 0..=b' ');
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Steps over any value, however deep: open brackets are kept on a stack, a byte each.
    pub(crate) fn skip_value(&mut self) -> Result<(), Syntax> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    let close = bracket + 2;
                    if self.peek() == Some(close) {
                        self.at += 1;
                    } else {
                        if close == b'}' {
                            self.key()?;
                        }
                        open.push(close);
                        continue;
                    }
                }
                _ => {
                    self.literal()?;
                }
            }
            if !self.after_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Closes what ends here; returns whether another value follows.
    fn after_value(&mut self, open: &mut Vec<u8>) -> Result<bool, Syntax> {
        while let Some(close) = open.last().copied() {
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if close == b'}' {
                        self.key()?;
                    }
                    return Ok(true);
                }
                Some(byte) if byte == close => {
                    self.at += 1;
                    open.pop();
                }
                _ if close == b'}' => return self.expected("`,` or `}`"),
                _ => return self.expected("`,` or `]`"),
            }
        }
        Ok(false)
    }

    /// Reads a key and its colon.
    #[inline]
    fn key(&mut self) -> Result<Raw<'a>, Syntax> {
        if self.peek() != Some(b'"') {
            return self.expected("a key");
        }
        let key = self.string()?;
        if self.peek() != Some(b':') {
            return self.expected("`:`");
        }
        self.at += 1;
        Ok(key)
    }

    /// Reads a number, `true`, `false` or `null`.
    fn literal(&mut self) -> Result<&'a [u8], Syntax> {
        let start = self.at;
        let token = self.token();
        let is_literal = match token {
            b"null" | b"true" | b"false" => true,
            [b'-' | b'0'..=b'9', rest @ ..] => {
                rest.iter().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
            }
            _ => false,
        };
        if !is_literal {
            self.at = start;
            return self.expected("a value");
        }
        Ok(token)
    }

    #[inline]
    fn open(&mut self, bracket: u8, expected: &'static str) -> Result<Items, Syntax> {
        if self.peek() != Some(bracket) {
            return self.expected(expected);
        }
        self.at += 1;
        Ok(Items { first: true })
    }

    #[inline]
    fn next_item(
        &mut self,
        items: &mut Items,
        close: u8,
        expected: &'static str,
    ) -> Result<bool, Syntax> {
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ if std::mem::replace(&mut items.first, false) => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => self.expected(expected),
        }
    }
}

/// Finds the quote that ends the string from `at` on, and whether there is an escape before it.
#[inline]
fn string_end(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut escaped = false;
    loop {
        while let Some(eight) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
            let hits = quotes_and_backslashes(u64::from_le_bytes(*eight));
            if hits != 0 {
                at += hits.trailing_zeros() as usize / 8;
                break;
            }
            at += 8;
        }
        match text.get(at)? {
            b'"' => return Some((at, escaped)),
            b'\\' => {
                escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// Sets the high bit of the first byte that is `"` or `\`, and perhaps of later ones.
#[inline]
fn quotes_and_backslashes(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let quotes = eight ^ (ONES * u64::from(b'"'));
    let backslashes = eight ^ (ONES * u64::from(b'\\'));
    let zero_bytes = |x: u64| x.wrapping_sub(ONES) & !x & (ONES << 7);
    zero_bytes(quotes) | zero_bytes(backslashes)
}

/// Appends the text of a string. Returns whether something in it had to be replaced by U+FFFD: a
/// lone surrogate or an escape that JSON does not know.
#[inline]
pub(crate) fn unescape(raw: Raw<'_>, out: &mut Vec<u8>) -> bool {
    if raw.escaped {
        return unescape_slow(raw.bytes, out);
    }
    out.extend_from_slice(raw.bytes);
    false
}

fn unescape_slow(mut rest: &[u8], out: &mut Vec<u8>) -> bool {
    let mut replaced = false;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..backslash]);
        let (character, length) = escape(&rest[backslash..]);
        let character = character.unwrap_or_else(|| {
            replaced = true;
            char::REPLACEMENT_CHARACTER
        });
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[backslash + length..];
    }
    out.extend_from_slice(rest);
    replaced
}

/// Reads the escape that `text` starts with: its character, if it has one, and its length.
fn escape(text: &[u8]) -> (Option<char>, usize) {
    let simple = match text.get(1) {
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(same @ (b'"' | b'\\' | b'/')) => char::from(*same),
        Some(b'u') => return unicode_escape(text),
        // The letter, which may be a part of a longer character, stays.
        _ => return (None, 1),
    };
    (Some(simple), 2)
}

fn unicode_escape(text: &[u8]) -> (Option<char>, usize) {
    const LENGTH: usize = 6;
    let Some(unit) = utf16_unit(text) else { return (None, 2) };
    if let Some(character) = char::from_u32(unit) {
        return (Some(character), LENGTH);
    }
    let low = (0xd800..0xdc00).contains(&unit).then(|| utf16_unit(&text[LENGTH..])).flatten();
    match low {
        Some(low @ 0xdc00..0xe000) => {
            (char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)), 2 * LENGTH)
        }
        _ => (None, LENGTH),
    }
}

/// Reads `\uXXXX`.
fn utf16_unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(json: &str) -> (String, bool) {
        let raw = Cursor::new(json.as_bytes()).string().expect("a string");
        let mut text = Vec::new();
        let replaced = unescape(raw, &mut text);
        (String::from_utf8(text).expect("UTF-8"), replaced)
    }

    #[test]
    fn unescapes_as_json_says() {
        let check = |json: &str, expected: &str| {
            assert_eq!(text_of(json), (expected.to_owned(), false), "{json}");
        };
        check(r#""plain""#, "plain");
        check(r#""a\"b\\c\/d\n\t\r\b\f""#, "a\"b\\c/d\n\t\r\u{8}\u{c}");
        check(r#""\u0041\u00e9\u20ac""#, "Aé€");
        check(r#""\ud83d\ude00 and \uD83D\uDE00""#, "😀 and 😀");
        check(r#""long enough to pass eight bytes \\""#, "long enough to pass eight bytes \\");
        check("\"raw\ncontrol\"", "raw\ncontrol");
    }

    #[test]
    fn replaces_what_is_not_text() {
        let check = |json: &str, expected: &str| {
            assert_eq!(text_of(json), (expected.to_owned(), true), "{json}");
        };
        check(r#""\ud83d""#, "\u{fffd}");
        check(r#""\ude00x""#, "\u{fffd}x");
        check(r#""\ud83d\u0041""#, "\u{fffd}A");
        check(r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀");
        check(r#""\x41""#, "\u{fffd}x41");
        check(r#""\é""#, "\u{fffd}é");
        check(r#""\u12""#, "\u{fffd}12");
    }

    #[test]
    fn finds_the_end_of_a_string_at_every_offset() {
        for length in 0..40 {
            let plain = "x".repeat(length);
            assert_eq!(text_of(&format!("\"{plain}\"tail of the text")).0, plain);
            let escaped = format!("\"{plain}\\\"{plain}\" tail");
            assert_eq!(text_of(&escaped).0, format!("{plain}\"{plain}"));
            assert_eq!(string_end(plain.as_bytes(), 0), None);
            assert_eq!(string_end(format!("{plain}\\").as_bytes(), 0), None);
        }
    }

    #[test]
    fn steps_over_any_value() {
        let values = ["1", "-1.5e+3", "true", "null", "\"a\\\"]\"", "[]", "{}", "[1,[],{}]"];
        for value in values.into_iter().chain(["{\"a\":[{\"b\":{}}],\"c\":1}", " [ 1 , 2 ] "]) {
            let text = format!("{value},");
            let mut cursor = Cursor::new(text.as_bytes());
            cursor.skip_value().expect(value);
            assert_eq!(cursor.peek(), Some(b','), "{value}");
        }
    }

    #[test]
    fn says_where_a_value_is_broken() {
        let check = |text: &str, offset, expected| {
            let syntax = Cursor::new(text.as_bytes()).skip_value().expect_err(text);
            assert_eq!(syntax, Syntax { offset, expected }, "{text}");
        };
        check("", 0, "a value");
        check("nul", 0, "a value");
        check("[1 2]", 3, "`,` or `]`");
        check("[1}", 2, "`,` or `]`");
        check("[1,]", 3, "a value");
        check("{\"a\"}", 4, "`:`");
        check("{\"a\":1,}", 7, "a key");
        check("{\"a\":1]", 6, "`,` or `}`");
        check("{1:1}", 1, "a key");
        check("\"abc", 0, "a string that ends");
    }

    #[test]
    fn a_million_brackets_do_not_overflow_the_stack() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(Cursor::new(deep.as_bytes()).skip_value().expect_err("cut").offset, 1_000_000);
        let whole = format!("{deep}{}", "]".repeat(1_000_000));
        Cursor::new(whole.as_bytes()).skip_value().expect("balanced");
    }
}
