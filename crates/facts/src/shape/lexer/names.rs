//! Words and names in quotes: keyword, constant, function or name.

use super::literals::Backslash;
use super::{Lexer, Token, has_lower, is_name_part, is_name_start};
use crate::shape::keyword::{Role, keyword};
use crate::shape::system::Dialect;

/// Names that a library makes up anew for each connection or transaction.
const GENERATED_NAME: &str = "_django_curs_";

impl<'a> Lexer<'a> {
    pub(super) fn word(&mut self) -> Token<'a> {
        let start = self.at;
        self.skip_name();
        let word = &self.text[start..self.at];
        if let Some(value) = self.prefixed_string(word) {
            return value;
        }
        self.end = self.at;
        self.skip_blanks();
        self.classified(word)
    }

    /// Tells keywords and constants from names; the lexer stands on the next token.
    fn classified(&self, word: &'a str) -> Token<'a> {
        let is_by = word.eq_ignore_ascii_case("BY");
        if self.last_role() == Some(Role::HidesName) && !is_by || is_generated(word) {
            return Token::Placeholder;
        }
        if self.last == Some(Token::Dot) || self.is_at_dot() {
            return Token::Word(word);
        }
        let Some(keyword) = keyword(word) else {
            return Token::Word(word);
        };
        let last = self.last_role();
        match keyword.role {
            Role::Boolean => Token::Value,
            Role::Null if !matches!(last, Some(Role::Is | Role::Not | Role::Set)) => Token::Value,
            Role::Key if last != Some(Role::Keyed) => Token::Word(word),
            // A table to make or fill stands before the parenthesis of its columns.
            Role::Function if self.peek(0) != Some(b'(') || self.names_table() => Token::Word(word),
            Role::Function => Token::Function(keyword.text),
            Role::Name => Token::Word(word),
            _ => Token::Keyword(keyword),
        }
    }

    /// Reads a name between quotes of one kind; the quotes go where nothing depends on them.
    pub(super) fn quoted_name(&mut self, quote: u8, may_strip: bool) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        let Some(end) = self.quote_end(self.at, quote, Backslash::Itself) else {
            return self.rest();
        };
        self.at = end;
        let name = &self.text[start + 1..end - 1];
        if self.last_role() == Some(Role::HidesName) || is_generated(name) {
            Token::Placeholder
        } else if may_strip && reads_alike_bare(name) {
            Token::Word(name)
        } else {
            Token::Quoted(&self.text[start..end])
        }
    }

    pub(super) fn double_quoted(&mut self) -> Token<'a> {
        let is_name = match self.dialect {
            Dialect::MySql => false,
            Dialect::PostgreSql | Dialect::Oracle | Dialect::SqlServer => true,
            Dialect::Sqlite => !self.expects_value() || self.has_dot_after_quotes(),
            Dialect::Other => self.expects_name() || self.has_dot_after_quotes(),
        };
        if is_name {
            return self.quoted_name(b'"', true);
        }
        match self.quote_end(self.at + 1, b'"', self.backslash()) {
            Some(end) => self.at = end,
            None => return self.rest(),
        }
        Token::Value
    }

    /// Whether a string may stand here, where `SQLite` reads an unknown name as one.
    fn expects_value(&self) -> bool {
        let compares = match self.last {
            Some(Token::Operator(operator)) => {
                matches!(operator, "=" | "==" | "!=" | "<>" | "<" | ">" | "<=" | ">=")
            }
            _ => self.last_role() == Some(Role::Compares),
        };
        compares || self.lists & 1 == 1 || self.in_values
    }

    /// Whether only a name can stand here, in any dialect.
    fn expects_name(&self) -> bool {
        self.last == Some(Token::Dot)
            || self.last_role() == Some(Role::As)
            || self.last_role() == Some(Role::Join)
            || self.names_table()
            // TRIM(x FROM "text") stands in parentheses without a query of its own.
            || self.last_role() == Some(Role::From) && self.queries & 1 == 1
    }

    /// Whether the name of a table to make or fill stands here.
    fn names_table(&self) -> bool {
        matches!(self.last_role(), Some(Role::Into | Role::Update | Role::Object))
    }

    fn has_dot_after_quotes(&self) -> bool {
        let start = self.at + 1;
        let end = self.quote_end(start, b'"', Backslash::Itself);
        end.is_some_and(|end| {
            let has_dot =
                self.bytes.get(end) == Some(&b'.') && self.bytes.get(end + 1) != Some(&b'.');
            has_dot && !self.bytes[start..end].contains(&b'\\')
        })
    }

    pub(super) fn bracket(&mut self) -> Token<'a> {
        let is_name = match self.dialect {
            Dialect::SqlServer | Dialect::Sqlite => true,
            Dialect::Other => self.expects_name() && self.has_word_in_brackets(),
            _ => false,
        };
        if is_name {
            return self.quoted_name(b']', self.dialect != Dialect::Other);
        }
        self.single(Token::OpenBracket)
    }

    /// Reads a bracket that closes no name: right behind a name in brackets it would be part of it.
    pub(super) fn close_bracket(&mut self) -> Token<'a> {
        let has_bracket_names = matches!(self.dialect, Dialect::SqlServer | Dialect::Sqlite);
        let follows_one = matches!(self.last, Some(Token::Quoted(name)) if name.ends_with(']'));
        if has_bracket_names || follows_one {
            return self.operator();
        }
        self.single(Token::CloseBracket)
    }

    fn has_word_in_brackets(&self) -> bool {
        let inside = &self.bytes[self.at + 1..];
        let length = inside.iter().take_while(|&&b| is_name_part(b) || b == b' ').count();
        let is_closed = inside.get(length) == Some(&b']') && inside.get(length + 1) != Some(&b']');
        is_closed && inside.first().is_some_and(|&b| is_name_start(b))
    }
}

fn is_generated(name: &str) -> bool {
    let start = name.as_bytes().get(..GENERATED_NAME.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(GENERATED_NAME.as_bytes()))
}

/// Whether a quoted name means the same to us without its quotes.
fn reads_alike_bare(name: &str) -> bool {
    let bytes = name.as_bytes();
    let is_plain = bytes.first().is_some_and(|&b| is_name_start(b))
        && bytes.iter().all(|&b| b.is_ascii() && is_name_part(b));
    let has_upper = bytes.iter().any(u8::is_ascii_uppercase);
    let keeps_case = !has_upper || has_lower(name) && keyword(name).is_none();
    let is_name = |role| matches!(role, Role::Function | Role::Name);
    is_plain && keeps_case && keyword(name).is_none_or(|keyword| is_name(keyword.role))
}
