//! Placeholders of every style, and the operators that look like them.

use memchr::{memchr, memmem};

use super::{Lexer, Token, is_name_part, is_name_start};

/// How far to look for the end of `%(name)s` and `{name}`.
const PLACEHOLDER_BYTES_MAX: usize = 128;

impl<'a> Lexer<'a> {
    /// Reads `?` and `?1`.
    pub(super) fn question_mark(&mut self) -> Token<'a> {
        self.at += 1;
        self.skip_while(|b| b.is_ascii_digit());
        Token::Placeholder
    }

    /// Reads `$1`, `$name`, `$$text$$`, `$tag$text$tag$`.
    pub(super) fn dollar(&mut self) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        self.skip_while(|b| is_name_part(b) && b != b'$');
        let name = &self.bytes[start + 1..self.at];
        let is_tag = !name.first().is_some_and(u8::is_ascii_digit);
        if is_tag && self.peek(0) == Some(b'$') {
            self.at += 1;
            let tag = &self.bytes[start..self.at];
            match memmem::find(&self.bytes[self.at..], tag) {
                Some(found) => self.at += found + tag.len(),
                None => return self.rest(),
            }
            return Token::Value;
        }
        if name.is_empty() {
            return Token::Operator(&self.text[start..self.at]);
        }
        // An amount of money may have decimals.
        if name[0].is_ascii_digit() {
            self.at = start + 1;
            self.skip_number();
            let is_number = self.bytes[start + 1..self.at].iter().all(u8::is_ascii_digit);
            return if is_number { Token::Placeholder } else { Token::Value };
        }
        Token::Placeholder
    }

    /// Reads `:name`, `:1`, a cast, an assignment, or the colon of a slice, path or label.
    pub(super) fn colon(&mut self) -> Token<'a> {
        let follows_operand = self.last.is_some_and(|last| last.is_operand());
        let is_glued = self.at == self.end;
        match self.peek(1) {
            Some(b':') => {
                self.at += 2;
                Token::Tie("::")
            }
            Some(b'=') => self.operator(),
            Some(next) if is_name_part(next) && !(follows_operand && is_glued) => {
                self.at += 1;
                self.skip_name();
                Token::Placeholder
            }
            _ if follows_operand => self.single(Token::Tie(":")),
            _ => self.operator(),
        }
    }

    /// Reads `@name`, `@@name`, `@>` and the like, or the sign in `user@host`.
    pub(super) fn at_sign(&mut self) -> Token<'a> {
        let follows_operand = self.last.is_some_and(|last| last.is_operand());
        let is_glued = self.at == self.end;
        if self.operator_bytes().is_some() {
            let starts_expression = !follows_operand && !matches!(self.last, Some(Token::Tie(_)));
            let is_variable = self.peek(1) == Some(b'@') && self.peek(2).is_some_and(is_name_start);
            if starts_expression && is_variable {
                let start = self.at;
                self.at += 2;
                self.skip_name();
                return Token::Word(&self.text[start..self.at]);
            }
            return self.operator();
        }
        if follows_operand && is_glued {
            return self.single(Token::Tie("@"));
        }
        if self.peek(1).is_some_and(is_name_part) {
            self.at += 1;
            self.skip_name();
            return Token::Placeholder;
        }
        self.operator()
    }

    /// Reads `%s`, `%(name)s`, `%%`, or a remainder.
    pub(super) fn percent(&mut self) -> Token<'a> {
        let start = self.at;
        let mut at = start + 1;
        if self.bytes.get(at) == Some(&b'%') {
            self.at += 2;
            return Token::Operator("%");
        }
        if self.bytes.get(at) == Some(&b'(') {
            let near = &self.bytes[at..self.bytes.len().min(at + PLACEHOLDER_BYTES_MAX)];
            at += memchr(b')', near).map_or(0, |found| found + 1);
        }
        let is_format = matches!(self.bytes.get(at), Some(b's' | b'b' | b't' | b'd' | b'f'));
        if is_format && !self.bytes.get(at + 1).is_some_and(|&b| is_name_part(b)) {
            self.at = at + 1;
            return Token::Placeholder;
        }
        self.operator()
    }

    /// Reads `{}`, `{0}`, `{name}`, `{name:Type}`.
    pub(super) fn brace(&mut self) -> Token<'a> {
        let inside = &self.bytes[self.at + 1..];
        let inside = &inside[..inside.len().min(PLACEHOLDER_BYTES_MAX)];
        let is_part = |b: u8| is_name_part(b) || b == b'.' || b == b':';
        let length = inside.iter().take_while(|&&b| is_part(b)).count();
        if inside.get(length) == Some(&b'}') {
            self.at += length + 2;
            return Token::Placeholder;
        }
        self.operator()
    }

    /// Reads the dot between names, `.5`, or `..`.
    pub(super) fn dot(&mut self) -> Token<'a> {
        // A keyword before a dot would be a name.
        let follows_name = self.last.is_some_and(|last| last.is_operand() && last.role().is_none());
        match self.peek(1) {
            Some(b'.') => self.operator(),
            Some(b'0'..=b'9') if !follows_name => {
                self.at += 1;
                self.skip_number();
                Token::Value
            }
            _ => self.single(Token::Dot),
        }
    }

    pub(super) fn operator(&mut self) -> Token<'a> {
        let start = self.at;
        self.at += self.operator_bytes().unwrap_or(1);
        Token::Operator(&self.text[start..self.at])
    }

    /// Returns the length of the operator of several characters that stands here.
    fn operator_bytes(&self) -> Option<usize> {
        let here = &self.bytes[self.at..];
        let length = known_operator_bytes(here)?;
        // A comment may start in its last character.
        let last = here.get(length - 1..=length);
        let opens_comment = last.is_some_and(|last| last == b"--" || last == b"/*");
        (!opens_comment).then_some(length)
    }
}

/// Knows the operators of several characters; others are read character by character.
fn known_operator_bytes(here: &[u8]) -> Option<usize> {
    Some(match here {
        [b'!', b'~', b'~', b'*', ..] => 4,
        [b'-' | b'#', b'>', b'>', ..]
        | [b'<', b'=' | b'-' | b'#', b'>', ..]
        | [b'<', b'<', b'=', ..]
        | [b'>', b'>', b'=', ..]
        | [b'-', b'|', b'-', ..]
        | [b'!', b'~', b'*' | b'~', ..]
        | [b'~', b'~', b'*', ..] => 3,
        [b'-' | b'#' | b'@' | b'<' | b'=' | b'>' | b'&', b'>', ..]
        | [b'<' | b'>' | b'!' | b'=' | b'^' | b':' | b'+' | b'-' | b'*' | b'/', b'=', ..]
        | [b'<' | b'&', b'<', ..]
        | [b'<' | b'@', b'@', ..]
        | [b'!' | b'~', b'~', ..]
        | [b'~' | b'*', b'*', ..]
        | [b'|', b'|' | b'/', ..]
        | [b'#', b'-', ..]
        | [b'&', b'&', ..]
        | [b'.', b'.', ..] => 2,
        _ => return None,
    })
}
