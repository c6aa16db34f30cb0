//! Strings in all their quotes, and numbers.

use memchr::{memchr, memchr2, memmem};

use super::{Lexer, Token, is_name_part, is_name_start};
use crate::shape::keyword::{Role, keyword};
use crate::shape::system::Dialect;

/// What a backslash in a string means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslash {
    Itself,
    Escapes,
    /// The dialects disagree.
    Unknown,
}

impl<'a> Lexer<'a> {
    /// Reads the rest of a string, and those after it, which mean one string.
    pub(super) fn string(&mut self, backslash: Backslash) -> Token<'a> {
        match self.quote_end(self.at, b'\'', backslash) {
            Some(end) => self.at = end,
            None => return self.rest(),
        }
        loop {
            self.end = self.at;
            self.skip_blanks();
            if self.peek(0) != Some(b'\'') {
                return Token::Value;
            }
            match self.quote_end(self.at + 1, b'\'', backslash) {
                Some(end) => self.at = end,
                None => return self.rest(),
            }
        }
    }

    /// Reads a string right behind `word` when that is its prefix, as in `E'…'`.
    pub(super) fn prefixed_string(&mut self, word: &str) -> Option<Token<'a>> {
        let is = |prefix: &str| word.eq_ignore_ascii_case(prefix);
        if is("U") && self.peek(0) == Some(b'&') && self.peek(1) == Some(b'\'') {
            self.at += 2;
            return Some(self.string(Backslash::Itself));
        }
        let quote = self.peek(0)?;
        let opens_string = quote == b'\'' || quote == b'"' && self.dialect == Dialect::MySql;
        if !opens_string {
            return None;
        }
        let has_alternative_quotes = matches!(self.dialect, Dialect::Oracle | Dialect::Other);
        if quote == b'\'' && has_alternative_quotes && (is("Q") || is("NQ")) {
            return Some(self.alternative_quotes());
        }
        let is_charset = self.dialect == Dialect::MySql && word.starts_with('_');
        let is_prefix = ["N", "E", "X", "B", "R", "RB", "BR"].into_iter().any(is) || is_charset;
        is_prefix.then(|| {
            let escapes = is("E") && self.dialect != Dialect::Oracle;
            let backslash = if escapes { Backslash::Escapes } else { self.backslash() };
            if quote == b'"' {
                return self.double_quoted();
            }
            self.at += 1;
            self.string(backslash)
        })
    }

    /// Reads Oracle's `'[…]'` behind the `q`.
    fn alternative_quotes(&mut self) -> Token<'a> {
        let start = self.at + 1;
        let Some(open) = self.text[start..].chars().next() else {
            return self.rest();
        };
        let close = match open {
            '[' => ']',
            '{' => '}',
            '(' => ')',
            '<' => '>',
            other => other,
        };
        let mut closing = [0; 5];
        let length = close.encode_utf8(&mut closing).len();
        closing[length] = b'\'';
        let inside = start + open.len_utf8();
        match memmem::find(&self.bytes[inside..], &closing[..=length]) {
            Some(found) => self.at = inside + found + length + 1,
            None => return self.rest(),
        }
        Token::Value
    }

    /// Reads digits with what is glued to them: exponents, suffixes, the rest of a broken number.
    pub(super) fn number(&mut self) -> Token<'a> {
        let start = self.at;
        self.skip_number();
        let follows_dot = self.last == Some(Token::Dot);
        let may_be_name = follows_dot || self.dialect == Dialect::MySql;
        if !may_be_name || is_number(&self.text[start..self.at]) {
            return Token::Value;
        }
        if follows_dot {
            self.at = start;
            self.skip_name();
        }
        Token::Word(&self.text[start..self.at])
    }

    pub(super) fn skip_number(&mut self) {
        let start = self.at;
        // Whether all of it so far is digits, and whether there were dots between them.
        let (mut is_decimal, mut is_integer) = (true, true);
        while let Some(byte) = self.peek(0) {
            let next = self.peek(1);
            let next_is_digit = next.is_some_and(|b| b.is_ascii_digit());
            let goes_on = match byte {
                b'.' if next_is_digit => is_decimal,
                b'.' => is_integer && self.ends_number_with_dot(),
                b'+' | b'-' => {
                    let is_exponent = matches!(self.bytes[self.at - 1], b'e' | b'E');
                    let head = &self.bytes[start..self.at];
                    is_exponent && next_is_digit && is_mantissa(&head[..head.len() - 1])
                }
                _ => is_name_part(byte),
            };
            if !goes_on {
                break;
            }
            is_decimal &= is_mantissa(&[byte]);
            is_integer &= byte.is_ascii_digit();
            self.at += 1;
        }
        // `a = 1AND b = 2`
        let text = &self.text[start..self.at];
        let digits = text.bytes().take_while(|&b| is_mantissa(&[b])).count();
        if keyword(&text[digits..])
            .is_some_and(|keyword| !matches!(keyword.role, Role::Function | Role::Name))
        {
            self.at = start + digits;
        }
    }

    /// Whether the dot here belongs to the digits before it, as in `1.` and `1.e5`.
    fn ends_number_with_dot(&self) -> bool {
        match self.peek(1) {
            Some(b'e' | b'E') => self.peek(2).is_some_and(|b| b.is_ascii_digit()),
            Some(next) => next != b'.' && !is_name_start(next),
            None => true,
        }
    }

    /// Takes all that is left for a literal.
    pub(super) fn rest(&mut self) -> Token<'a> {
        self.at = self.bytes.len();
        self.end = self.at;
        Token::Value
    }

    /// Returns where the quotes that opened before `from` end, `None` when that cannot be told.
    pub(super) fn quote_end(&self, from: usize, quote: u8, backslash: Backslash) -> Option<usize> {
        // ESCAPE '\' is one backslash in every dialect that accepts it.
        if quote == b'\''
            && self.last_role() == Some(Role::Escape)
            && self.bytes[from..].starts_with(b"\\'")
            && self.bytes.get(from + 2) != Some(&b'\'')
        {
            return Some(from + 2);
        }
        let mut at = from;
        loop {
            at += if backslash == Backslash::Itself {
                memchr(quote, &self.bytes[at..])?
            } else {
                memchr2(quote, b'\\', &self.bytes[at..])?
            };
            if self.bytes[at] == quote {
                at += 1;
                if self.bytes.get(at) != Some(&quote) {
                    return Some(at);
                }
                at += 1;
                continue;
            }
            let run = self.bytes[at..].iter().take_while(|&&b| b == b'\\').count();
            let before_quote = self.bytes.get(at + run) == Some(&quote);
            at += run;
            if run % 2 == 1 && before_quote {
                if backslash == Backslash::Unknown {
                    return None;
                }
                at += 1;
            }
        }
    }

    pub(super) fn backslash(&self) -> Backslash {
        match self.dialect {
            Dialect::MySql => Backslash::Escapes,
            Dialect::Other => Backslash::Unknown,
            _ => Backslash::Itself,
        }
    }
}

fn is_mantissa(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
}

/// Whether text that starts with a digit is a number where a name could start with one too.
fn is_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_radix = |letters: &[u8; 2], digits: fn(&u8) -> bool| {
        bytes.len() > 2
            && bytes[0] == b'0'
            && letters.contains(&bytes[1])
            && bytes[2..].iter().all(digits)
    };
    let has_letter = bytes.iter().any(|&b| b.is_ascii_alphabetic() || b >= 0x80);
    let exponent = bytes.iter().position(|b| matches!(b, b'e' | b'E'));
    let has_exponent = exponent.is_some_and(|at| {
        let digits = bytes[at + 1..].strip_prefix(b"-").or(bytes[at + 1..].strip_prefix(b"+"));
        let digits = digits.unwrap_or(&bytes[at + 1..]);
        is_mantissa(&bytes[..at]) && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    });
    !has_letter
        || has_exponent
        || bytes.contains(&b'.')
        || is_radix(b"xX", u8::is_ascii_hexdigit)
        || is_radix(b"bB", |b| matches!(b, b'0' | b'1'))
}
