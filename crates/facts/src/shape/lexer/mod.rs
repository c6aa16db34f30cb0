//! SQL text to tokens, with every literal already reduced to [`Token::Value`] and every placeholder
//! to [`Token::Placeholder`].
//!
//! What a character means depends on the dialect and on the token before it, not on the white space
//! around it (but in `user@host`, `a[1:2]`, `x: y` and `a .5`, where nothing else can tell). Text
//! that ends inside quotes ends in a value: a statement cut off by its sender must not leak the
//! literal.

mod blanks;
mod literals;
mod names;
mod signs;

use std::ops::Range;

use super::keyword::{Keyword, Role};
use super::system::Dialect;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An unquoted name, or a quoted one that means the same without its quotes.
    Word(&'a str),
    /// A name with its quotes.
    Quoted(&'a str),
    Keyword(&'static Keyword),
    /// A well-known function before its parenthesis.
    Function(&'static str),
    /// A literal; [`Lexer::last_text`] is its text.
    Value,
    /// A placeholder, or a name that is made up anew for each use.
    Placeholder,
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Semicolon,
    Dot,
    /// `::`, and `:` or `@` right behind an operand: stands close on both sides.
    Tie(&'static str),
    Operator(&'a str),
}

impl Token<'_> {
    /// Whether an operator after it has it as its left side.
    pub(super) fn is_operand(&self) -> bool {
        match self {
            Self::Keyword(keyword) => matches!(keyword.role, Role::Operand | Role::End),
            Self::Word(_) | Self::Quoted(_) | Self::Close | Self::CloseBracket => true,
            other => other.is_value(),
        }
    }

    pub(super) fn is_value(&self) -> bool {
        matches!(self, Self::Value | Self::Placeholder)
    }

    pub(super) fn role(&self) -> Option<Role> {
        match self {
            Self::Keyword(keyword) => Some(keyword.role),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where the last token started.
    start: usize,
    /// Where the last token ended.
    end: usize,
    dialect: Dialect,
    last: Option<Token<'a>>,
    /// One bit for each open parenthesis, innermost lowest: SELECT or DELETE stood directly in it.
    queries: u64,
    /// One bit for each open parenthesis, innermost lowest: it opened after IN.
    lists: u64,
    /// Between VALUES and what ends it.
    in_values: bool,
    /// Whether a comment can stand in a comment.
    comments_nest: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str, dialect: Dialect) -> Self {
        let mut lexer = Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            start: 0,
            end: 0,
            dialect,
            last: None,
            queries: 0,
            lists: 0,
            in_values: false,
            comments_nest: matches!(
                dialect,
                Dialect::PostgreSql | Dialect::SqlServer | Dialect::Other
            ),
        };
        lexer.skip_blanks();
        lexer
    }

    /// Returns the text from its first token on, blanks, comments and empty statements left out.
    pub(super) fn skip_empty(text: &'a str, dialect: Dialect) -> &'a str {
        let mut lexer = Self::new(text, dialect);
        while lexer.peek(0) == Some(b';') {
            lexer.next();
        }
        &lexer.text[lexer.at..]
    }

    /// Returns the last token as it is written.
    pub(super) fn last_text(&self) -> &'a str {
        &self.text[self.start..self.end]
    }

    /// Returns where the last token stands; between two tokens are blanks and comments.
    pub(super) fn last_range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Notes what the token says about those after it.
    fn note(&mut self, token: Token<'a>) {
        // IDENTIFIED BY: the name after BY is hidden.
        if self.last_role() == Some(Role::HidesName) && token.role() == Some(Role::Plain) {
            return;
        }
        match token {
            Token::Open => {
                let is_list = self.last_role() == Some(Role::In);
                self.queries <<= 1;
                self.lists = self.lists << 1 | u64::from(is_list);
            }
            Token::Close => {
                self.queries >>= 1;
                self.lists >>= 1;
            }
            Token::Semicolon => {
                (self.queries, self.lists, self.in_values) = (0, 0, false);
            }
            Token::Keyword(keyword) => match keyword.role {
                Role::Select | Role::Delete => {
                    self.queries |= 1;
                    self.lists &= !1;
                    self.in_values = false;
                }
                Role::Values => self.in_values = true,
                Role::On | Role::Set | Role::Returning => self.in_values = false,
                _ => {}
            },
            _ => {}
        }
        self.last = Some(token);
    }

    fn scan(&mut self) -> Option<Token<'a>> {
        let byte = *self.bytes.get(self.at)?;
        Some(match byte {
            b'\'' => {
                self.at += 1;
                self.string(self.backslash())
            }
            b'"' => self.double_quoted(),
            b'`' => self.quoted_name(b'`', true),
            b'[' => self.bracket(),
            b'0'..=b'9' => self.number(),
            b'(' => self.single(Token::Open),
            b')' => self.single(Token::Close),
            b']' => self.close_bracket(),
            b',' => self.single(Token::Comma),
            b';' => self.single(Token::Semicolon),
            b'.' => self.dot(),
            b'?' => self.question_mark(),
            b'$' => self.dollar(),
            b':' => self.colon(),
            b'@' => self.at_sign(),
            b'%' => self.percent(),
            b'{' => self.brace(),
            b'#' if self.starts_name(self.at) => self.word(),
            _ if is_name_start(byte) => self.word(),
            _ => self.operator(),
        })
    }

    fn single(&mut self, token: Token<'a>) -> Token<'a> {
        self.at += 1;
        token
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn last_role(&self) -> Option<Role> {
        self.last.and_then(|last| last.role())
    }

    /// Whether a dot comes next that is no range, nor a number's as in `LIMIT .5`.
    fn is_at_dot(&self) -> bool {
        let is_glued = self.at == self.end;
        let next = self.peek(1);
        self.peek(0) == Some(b'.')
            && next != Some(b'.')
            && (is_glued || !next.is_some_and(|b| b.is_ascii_digit()))
    }

    /// Whether `#` starts a name here, as of a temporary table.
    fn starts_name(&self, at: usize) -> bool {
        let next = if self.bytes.get(at + 1) == Some(&b'#') { at + 2 } else { at + 1 };
        matches!(self.dialect, Dialect::SqlServer | Dialect::Other)
            && self.bytes.get(next).is_some_and(|&b| is_name_start(b))
    }

    fn skip_name(&mut self) {
        self.skip_while(is_name_part);
        let has_hash =
            matches!(self.dialect, Dialect::Oracle | Dialect::SqlServer | Dialect::Other);
        if has_hash && self.peek(0) == Some(b'#') {
            self.skip_while(|b| is_name_part(b) || b == b'#');
        }
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        self.at += self.bytes[self.at..].iter().take_while(|&&b| wanted(b)).count();
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.start = self.at;
        let token = self.scan()?;
        // Words and strings have looked past the blanks behind them already.
        if self.end <= self.start {
            self.end = self.at;
            self.skip_blanks();
        }
        self.note(token);
        Some(token)
    }
}

fn is_name_start(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & NAME_START != 0
}

fn is_name_part(byte: u8) -> bool {
    CLASSES[usize::from(byte)] != 0
}

const NAME_START: u8 = 1;
const NAME_PART: u8 = 2;

/// What a byte can be of a name: most bytes of a statement are looked up here.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < classes.len() {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => NAME_START | NAME_PART,
            b'0'..=b'9' | b'$' => NAME_PART,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

/// Whether the word has a small letter; one without is shown in small letters.
pub(super) fn has_lower(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_lowercase())
}
