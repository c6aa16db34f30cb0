//! SQL statements: tokens laid out in one way, with lists of any length made one element long.

use super::keyword::{Keyword, Role, keyword};
use super::lexer::{Lexer, Token, has_lower};
use super::output::{Kind, Output, split_mark};
use super::system::Dialect;

/// Returns the shape of SQL text: no literals, no comments, one layout.
///
/// Literals and placeholders of every style become `?`; lists after IN and ANY, arrays, rows of
/// VALUES, arms of CASE and statements keep the first of equal neighbours; keywords are in
/// capitals; white space, and quotes that change nothing, go. A text that breaks off inside quotes
/// ends in `?`, and one that breaks off inside a list reads as if the list had ended with its last
/// whole element. The shape of a shape is itself, and at most
/// [`SHAPE_BYTES_MAX`](super::SHAPE_BYTES_MAX) long.
///
/// ```
/// use timesink_facts::shape::{Dialect, sql_shape};
///
/// let text = "select * from item where id in (1, 2, 3) and name = 'bob' -- of the cart";
/// let shape = "SELECT * FROM item WHERE id IN (?) AND name = ?";
/// assert_eq!(sql_shape(text, Dialect::PostgreSql), shape);
/// ```
pub fn sql_shape(text: &str, dialect: Dialect) -> String {
    let (text, mark) = split_mark(text);
    let mut writer = Writer::new(text.len());
    for token in Lexer::new(text, dialect) {
        writer.write(token);
        if writer.output.is_full() {
            break;
        }
    }
    writer.output.finish(mark)
}

/// What was written last, as far as it matters to what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    /// A name: a parenthesis stands close to it.
    Name,
    /// The name of a table to make or fill: its columns stand apart.
    Table,
    Value,
    Keyword(Role),
    Open,
    Close,
    CloseBracket,
    Comma,
    /// A dot, and whether it followed an operand.
    Dot(bool),
    Tie,
    Operator,
    /// A plus or minus without a left side.
    Sign,
}

impl Last {
    fn is_operand(self) -> bool {
        matches!(self, Self::Name | Self::Table | Self::Value | Self::Close | Self::CloseBracket)
            || matches!(self, Self::Keyword(Role::Operand | Role::End))
    }
}

#[derive(Debug)]
struct Writer {
    output: Output,
    last: Last,
    /// Where the first of the signs before a value stands, and what stood before it.
    signs: (usize, Last),
    /// A semicolon to be written if anything follows.
    owes_semicolon: bool,
    /// The last keyword names a table to make or fill.
    names_table: bool,
}

impl Writer {
    fn new(bytes: usize) -> Self {
        Self {
            output: Output::new(bytes),
            last: Last::Nothing,
            signs: (0, Last::Nothing),
            owes_semicolon: false,
            names_table: false,
        }
    }

    fn write(&mut self, token: Token<'_>) {
        if token == Token::Semicolon {
            return self.end_statement();
        }
        if self.output.kind() == Kind::Rows && !belongs_to_rows(token) {
            self.output.close();
        }
        if self.owes_semicolon {
            self.owes_semicolon = false;
            self.output.push_separator();
        }
        match token {
            Token::Word(word) => self.word(token, word),
            Token::Quoted(name) => self.name(token, |output| output.push(name)),
            Token::Function(name) => {
                self.names_table = false;
                self.name(token, |output| output.push(name));
            }
            Token::Keyword(keyword) => self.keyword(token, keyword),
            Token::Value => self.value(),
            Token::Open => self.open(token),
            Token::Close => self.close(token, ")", [Kind::Plain, Kind::List], Last::Close),
            Token::CloseBracket => {
                self.close(token, "]", [Kind::Bracket, Kind::Bracket], Last::CloseBracket);
            }
            Token::OpenBracket => {
                self.push(token, "[", Last::Open);
                self.output.open(Kind::Bracket);
            }
            Token::Comma => {
                self.output.comma();
                self.last = Last::Comma;
            }
            Token::Dot => self.push(token, ".", Last::Dot(self.last.is_operand())),
            Token::Tie(text) => self.push(token, text, Last::Tie),
            Token::Operator(text) => self.operator(token, text),
            Token::Semicolon => {}
        }
    }

    fn push(&mut self, token: Token<'_>, text: &str, last: Last) {
        self.output.begin(self.needs_space(token));
        self.output.push(text);
        self.last = last;
    }

    fn word(&mut self, token: Token<'_>, word: &str) {
        let is_mixed = has_lower(word) && word.bytes().any(|b| b.is_ascii_uppercase());
        if has_lower(word) && !(is_mixed && keyword(word).is_some()) {
            self.name(token, |output| output.push(word));
        } else {
            self.name(token, |output| output.push_lower(word));
        }
    }

    fn name(&mut self, token: Token<'_>, push: impl FnOnce(&mut Output)) {
        self.output.begin(self.needs_space(token));
        push(&mut self.output);
        self.last = if self.names_table { Last::Table } else { Last::Name };
    }

    fn keyword(&mut self, token: Token<'_>, keyword: &Keyword) {
        let in_case = self.output.kind() == Kind::Arms;
        if in_case && matches!(keyword.role, Role::When | Role::Else | Role::End) {
            self.output.end_element();
        }
        if in_case && keyword.role == Role::End {
            self.output.close();
        }
        let ends_case = self.last == Last::Keyword(Role::End);
        self.push(token, keyword.text, Last::Keyword(keyword.role));
        match keyword.role {
            Role::Values => self.output.open(Kind::Rows),
            // END CASE of a procedure opens nothing.
            Role::Case if !ends_case => self.output.open(Kind::Arms),
            // A query in place of a list: its columns all count.
            Role::Select => self.output.list_is_query(),
            _ => {}
        }
        self.names_table = matches!(keyword.role, Role::Into | Role::Object | Role::With);
    }

    fn value(&mut self) {
        if self.last == Last::Sign {
            let (start, before) = self.signs;
            self.output.truncate(start);
            self.last = before;
        }
        // A driver may write the whole list for one placeholder.
        if self.last == Last::Keyword(Role::In) {
            return self.push(Token::Value, "(?)", Last::Close);
        }
        self.push(Token::Value, "?", Last::Value);
    }

    fn open(&mut self, token: Token<'_>) {
        let is_list = matches!(self.last, Last::Keyword(Role::In | Role::Any));
        self.push(token, "(", Last::Open);
        self.output.open(if is_list { Kind::List } else { Kind::Plain });
        self.names_table = false;
    }

    fn close(&mut self, token: Token<'_>, text: &str, kinds: [Kind; 2], last: Last) {
        self.output.close_innermost(kinds);
        self.push(token, text, last);
    }

    fn operator(&mut self, token: Token<'_>, text: &str) {
        let is_sign = matches!(text, "+" | "-") && !self.last.is_operand();
        if is_sign && self.last != Last::Sign {
            self.signs = (self.output.len(), self.last);
        }
        self.push(token, text, if is_sign { Last::Sign } else { Last::Operator });
    }

    fn end_statement(&mut self) {
        self.output.close_all();
        self.owes_semicolon = !self.output.is_empty();
        self.names_table = false;
        self.last = Last::Nothing;
    }

    /// Whether a space separates the token from what stands before it.
    #[expect(clippy::match_same_arms, reason = "the first arm that fits decides")]
    fn needs_space(&self, token: Token<'_>) -> bool {
        match (self.last, token) {
            (Last::Nothing, _) => true,
            (_, Token::Comma | Token::Close | Token::CloseBracket) | (Last::Open, _) => false,
            (Last::Dot(_), Token::Operator(text)) => text != "*",
            (Last::Dot(ties), Token::Word(word)) => {
                !ties && word.starts_with(|c: char| c.is_ascii_digit())
            }
            (Last::Dot(_), _) => !matches!(token, Token::Quoted(_) | Token::Value),
            (Last::Tie, Token::Tie(_) | Token::Operator(_) | Token::Dot) => true,
            (Last::Operator | Last::Sign, Token::Tie(_)) => true,
            (Last::Tie, _) | (_, Token::Tie(_)) => false,
            (last, Token::Dot) => !last.is_operand(),
            (last, Token::OpenBracket) => !last.is_operand() && last != Last::Keyword(Role::Array),
            (Last::Name | Last::Keyword(Role::Operand), Token::Open) => false,
            _ => true,
        }
    }
}

/// Whether the token can stand between VALUES and the end of its rows.
fn belongs_to_rows(token: Token<'_>) -> bool {
    matches!(token, Token::Open | Token::Close | Token::Comma | Token::Value)
        || matches!(token, Token::Operator("+" | "-"))
        || token.role() == Some(Role::Row)
}
