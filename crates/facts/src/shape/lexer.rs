//! SQL text to tokens, with every literal and placeholder already reduced to [`Token::Value`].
//!
//! What a character means depends on the dialect and on the token before it, not on the white space
//! around it (but in `user@host`, `a[1:2]`, `x: y` and `a .5`, where nothing else can tell). Text
//! that ends inside quotes ends in a value: a statement cut off by its sender must not leak the
//! literal.

use memchr::memmem;
use memchr::{memchr, memchr2};

use super::keyword::{Keyword, Role, keyword};
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
    /// A literal or a placeholder.
    Value,
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
            Self::Word(_) | Self::Quoted(_) | Self::Value | Self::Close | Self::CloseBracket => {
                true
            }
            Self::Keyword(keyword) => matches!(keyword.role, Role::Operand | Role::End),
            _ => false,
        }
    }

    pub(super) fn role(&self) -> Option<Role> {
        match self {
            Self::Keyword(keyword) => Some(keyword.role),
            _ => None,
        }
    }
}

/// What a backslash in a string means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backslash {
    Itself,
    Escapes,
    /// The dialects disagree.
    Unknown,
}

/// Operators of several characters, longest first. Others are read character by character.
const OPERATORS: &[&str] = &[
    "!~~*", "->>", "#>>", "<=>", "<->", "<#>", "-|-", "!~*", "!~~", "~~*", "<<=", ">>=", "->",
    "#>", "#-", "@>", "<@", "@@", "||", "|/", "&&", "<=", ">=", "<>", "!=", "==", "^=", "~*", "!~",
    "~~", ":=", "<<", ">>", "=>", "..", "**", "&<", "&>", "+=", "-=", "*=", "/=",
];

/// How far to look for the end of `%(name)s` and `{name}`.
const PLACEHOLDER_BYTES_MAX: usize = 128;

/// Names that a library makes up anew for each connection or transaction.
const GENERATED_NAME: &str = "_django_curs_";

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
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

    /// Notes what the token says about those after it.
    fn note(&mut self, token: Token<'a>) {
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

    // Names.

    fn word(&mut self) -> Token<'a> {
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
        if self.last_role() == Some(Role::Savepoint) || is_generated(word) {
            return Token::Value;
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
            _ => Token::Keyword(keyword),
        }
    }

    /// Reads a name between quotes of one kind; the quotes go where nothing depends on them.
    fn quoted_name(&mut self, quote: u8, may_strip: bool) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        let Some(end) = self.quote_end(self.at, quote, Backslash::Itself) else {
            return self.rest();
        };
        self.at = end;
        let name = &self.text[start + 1..end - 1];
        if self.last_role() == Some(Role::Savepoint) || is_generated(name) {
            Token::Value
        } else if may_strip && reads_alike_bare(name) {
            Token::Word(name)
        } else {
            Token::Quoted(&self.text[start..end])
        }
    }

    fn double_quoted(&mut self) -> Token<'a> {
        let is_name = match self.dialect {
            Dialect::MySql => false,
            Dialect::PostgreSql | Dialect::Oracle | Dialect::SqlServer => true,
            Dialect::Sqlite => !self.expects_value() || self.has_dot_after_quotes(),
            Dialect::Other => self.expects_name() || self.has_dot_after_quotes(),
        };
        if is_name {
            return self.quoted_name(b'"', true);
        }
        let start = self.at;
        self.at += 1;
        match self.quote_end(self.at, b'"', self.backslash()) {
            Some(end) => self.at = end,
            None => return self.rest(),
        }
        debug_assert!(self.at > start + 1);
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

    fn bracket(&mut self) -> Token<'a> {
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
    fn close_bracket(&mut self) -> Token<'a> {
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
        inside.first().is_some_and(|&b| is_name_start(b)) && inside.get(length) == Some(&b']')
    }

    // Values.

    /// Reads the rest of a string, and those after it, which mean one string.
    fn string(&mut self, backslash: Backslash) -> Token<'a> {
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
    fn prefixed_string(&mut self, word: &str) -> Option<Token<'a>> {
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
    fn number(&mut self) -> Token<'a> {
        let start = self.at;
        if self.last == Some(Token::Dot) {
            self.skip_name();
        } else {
            self.skip_number();
        }
        let text = &self.text[start..self.at];
        let names = self.last == Some(Token::Dot) || self.dialect == Dialect::MySql;
        if names && !is_number(text) { Token::Word(text) } else { Token::Value }
    }

    fn skip_number(&mut self) {
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
        if keyword(&text[digits..]).is_some_and(|keyword| keyword.role != Role::Function) {
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
    fn rest(&mut self) -> Token<'a> {
        self.at = self.bytes.len();
        self.end = self.at;
        Token::Value
    }

    /// Returns where the quotes that opened before `from` end, `None` when that cannot be told.
    fn quote_end(&self, from: usize, quote: u8, backslash: Backslash) -> Option<usize> {
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

    fn backslash(&self) -> Backslash {
        match self.dialect {
            Dialect::MySql => Backslash::Escapes,
            Dialect::Other => Backslash::Unknown,
            _ => Backslash::Itself,
        }
    }

    // Placeholders and the operators that look like them.

    /// Reads `?` and `?1`.
    fn question_mark(&mut self) -> Token<'a> {
        self.at += 1;
        self.skip_while(|b| b.is_ascii_digit());
        Token::Value
    }

    /// Reads `$1`, `$name`, `$$text$$`, `$tag$text$tag$`.
    fn dollar(&mut self) -> Token<'a> {
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
        }
        Token::Value
    }

    /// Reads `:name`, `:1`, a cast, an assignment, or the colon of a slice, path or label.
    fn colon(&mut self) -> Token<'a> {
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
                Token::Value
            }
            _ if follows_operand => self.single(Token::Tie(":")),
            _ => self.operator(),
        }
    }

    /// Reads `@name`, `@@name`, `@>` and the like, or the sign in `user@host`.
    fn at_sign(&mut self) -> Token<'a> {
        let follows_operand = self.last.is_some_and(|last| last.is_operand());
        let is_glued = self.at == self.end;
        let is_operator =
            OPERATORS.iter().any(|op| self.bytes[self.at..].starts_with(op.as_bytes()));
        let names_after = |at: usize| self.bytes.get(at).is_some_and(|&b| is_name_start(b));
        if is_operator {
            let starts_expression = !follows_operand && !matches!(self.last, Some(Token::Tie(_)));
            if starts_expression && names_after(self.at + 2) && self.peek(1) == Some(b'@') {
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
            return Token::Value;
        }
        self.operator()
    }

    /// Reads `%s`, `%(name)s`, `%%`, or a remainder.
    fn percent(&mut self) -> Token<'a> {
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
            return Token::Value;
        }
        self.operator()
    }

    /// Reads `{}`, `{0}`, `{name}`, `{name:Type}`.
    fn brace(&mut self) -> Token<'a> {
        let inside = &self.bytes[self.at + 1..];
        let inside = &inside[..inside.len().min(PLACEHOLDER_BYTES_MAX)];
        let is_part = |b: u8| is_name_part(b) || b == b'.' || b == b':';
        let length = inside.iter().take_while(|&&b| is_part(b)).count();
        if inside.get(length) == Some(&b'}') {
            self.at += length + 2;
            return Token::Value;
        }
        self.operator()
    }

    /// Reads the dot between names, `.5`, or `..`.
    fn dot(&mut self) -> Token<'a> {
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

    fn operator(&mut self) -> Token<'a> {
        let here = &self.bytes[self.at..];
        let known = OPERATORS.iter().find(|op| here.starts_with(op.as_bytes()));
        let opens_comment =
            |end: usize| here.get(end - 1..=end).is_some_and(|pair| pair == b"--" || pair == b"/*");
        let start = self.at;
        self.at += known.map_or(1, |op| op.len()).max(1);
        if opens_comment(self.at - start) {
            self.at = start + 1;
        }
        Token::Operator(&self.text[start..self.at])
    }

    // Blanks and comments.

    fn skip_blanks(&mut self) {
        loop {
            self.skip_while(|b| b.is_ascii_whitespace() || b.is_ascii_control());
            if self.bytes[self.at..].starts_with(BYTE_ORDER_MARK) {
                self.at += BYTE_ORDER_MARK.len();
            } else if !self.skip_comment() {
                return;
            }
        }
    }

    fn skip_comment(&mut self) -> bool {
        let is_line = match (self.peek(0), self.peek(1)) {
            (Some(b'/'), Some(b'*')) => {
                self.at = self.comment_end();
                return true;
            }
            (Some(b'-'), Some(b'-')) => {
                // To MySQL `5--3` is a subtraction.
                let next = self.peek(2);
                self.dialect != Dialect::MySql || next.is_none_or(|b| b.is_ascii_whitespace())
            }
            (Some(b'/'), Some(b'/')) => {
                self.dialect == Dialect::Other && self.peek(2) != Some(b'*')
            }
            (Some(b'#'), next) => match self.dialect {
                Dialect::MySql => true,
                Dialect::Other => {
                    let is_operator = match next {
                        Some(b'-') => self.peek(2) != Some(b'-'),
                        next => next == Some(b'>'),
                    };
                    !self.starts_name(self.at) && !is_operator
                }
                _ => false,
            },
            _ => false,
        };
        if is_line {
            let rest = &self.bytes[self.at..];
            self.at += memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
        }
        is_line
    }

    fn comment_end(&mut self) -> usize {
        let inside = self.at + 2;
        let flat = || memmem::find(&self.bytes[inside..], b"*/").map(|found| inside + found + 2);
        if self.comments_nest {
            if let Some(end) = self.nested_comment_end() {
                return end;
            }
            // Then they do not nest here: trying again at each comment would take quadratic time.
            if self.dialect == Dialect::Other {
                let end = flat();
                self.comments_nest = false;
                return end.unwrap_or(self.bytes.len());
            }
            return self.bytes.len();
        }
        flat().unwrap_or(self.bytes.len())
    }

    fn nested_comment_end(&self) -> Option<usize> {
        let mut at = self.at + 2;
        let mut depth = 1;
        while depth > 0 {
            at += memchr2(b'*', b'/', &self.bytes[at..])?;
            let step = match (self.bytes[at], self.bytes.get(at + 1)) {
                (b'*', Some(b'/')) => -1,
                (b'/', Some(b'*')) => 1,
                _ => 0,
            };
            depth += step;
            at += if step == 0 { 1 } else { 2 };
        }
        Some(at)
    }

    // Small steps.

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
        let has_hash =
            matches!(self.dialect, Dialect::Oracle | Dialect::SqlServer | Dialect::Other);
        self.skip_while(|b| is_name_part(b) || has_hash && b == b'#');
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        self.at += self.bytes[self.at..].iter().take_while(|&&b| wanted(b)).count();
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let start = self.at;
        let token = self.scan()?;
        // Words and strings have looked past the blanks behind them already.
        if self.end <= start {
            self.end = self.at;
            self.skip_blanks();
        }
        self.note(token);
        Some(token)
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn is_name_part(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
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
    let is_folded = bytes.iter().any(u8::is_ascii_uppercase) && !has_lower(name);
    is_plain && !is_folded && keyword(name).is_none_or(|keyword| keyword.role == Role::Function)
}

/// Whether the word has a small letter; one without is shown in small letters.
pub(super) fn has_lower(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_lowercase())
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
