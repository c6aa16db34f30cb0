//! SQL statements: tokens laid out in one way, with lists of any length made one element long.

use super::Statement;
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
    read_sql(text, dialect).shape
}

/// Reads SQL text.
pub(super) fn read_sql(text: &str, dialect: Dialect) -> Statement {
    let (text, mark) = split_mark(text);
    let mut writer = Writer::new(text.len());
    let mut tokens = Lexer::new(text, dialect);
    while let Some(token) = tokens.next() {
        writer.write(token, tokens.last_text());
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
    /// A bracket where a name may stand, which would be one right before a word.
    OpenApart,
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

/// What the list after IN, ANY or ALL says of its elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Wanted,
    /// Nothing stands behind the parenthesis of ANY yet: an array may, as long as it likes.
    WantedAsArray,
    /// NOT IN, `<> ALL`.
    Excluded,
}

impl List {
    fn new(is_wanted: bool) -> Self {
        if is_wanted { Self::Wanted } else { Self::Excluded }
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
    list: List,
}

impl Writer {
    fn new(bytes: usize) -> Self {
        Self {
            output: Output::new(bytes),
            last: Last::Nothing,
            signs: (0, Last::Nothing),
            owes_semicolon: false,
            names_table: false,
            list: List::Wanted,
        }
    }

    /// Writes a token; `text` is how it was written.
    fn write(&mut self, token: Token<'_>, text: &str) {
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
        if self.asks_for_many(token) {
            self.output.is_batch();
        }
        match token {
            Token::Word(word) => self.word(token, word),
            Token::Quoted(name) => self.name(token, |output| output.push(name)),
            Token::Function(name) => {
                self.names_table = false;
                self.name(token, |output| output.push(name));
            }
            Token::Keyword(keyword) => self.keyword(token, keyword),
            Token::Value => self.literal(text),
            Token::Placeholder => self.value(),
            Token::Open => self.open(token),
            Token::Close => self.close(token, ")", [Kind::Plain, Kind::List], Last::Close),
            Token::CloseBracket => {
                self.close(token, "]", [Kind::Bracket, Kind::Bracket], Last::CloseBracket);
            }
            Token::OpenBracket => {
                let last = if self.may_name() { Last::OpenApart } else { Last::Open };
                self.push(token, "[", last);
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
        match keyword.role {
            Role::In => self.list = List::new(self.last != Last::Keyword(Role::Not)),
            Role::Any => self.list = List::new(keyword.text != "ALL"),
            _ => {}
        }
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

    fn literal(&mut self, text: &str) {
        let is_signed = self.last == Last::Sign;
        let minus = is_signed && self.output.count_from(self.signs.0, '-') % 2 == 1;
        self.value();
        self.output.literal(if minus { "-" } else { "" }, text);
    }

    fn value(&mut self) {
        if self.last == Last::Sign {
            let (start, before) = self.signs;
            self.output.truncate(start);
            self.last = before;
        }
        // A driver may write the whole list for one placeholder.
        if self.last == Last::Keyword(Role::In) {
            return self.push(Token::Placeholder, "(?)", Last::Close);
        }
        self.push(Token::Placeholder, "?", Last::Value);
    }

    fn open(&mut self, token: Token<'_>) {
        let is_list = matches!(self.last, Last::Keyword(Role::In | Role::Any));
        if self.last == Last::Keyword(Role::Any) && self.list == List::Wanted {
            self.list = List::WantedAsArray;
        }
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

    /// Whether the token shows that the statement asks for many rows at once: a further element of
    /// a list or row of VALUES, or an array in place of a list.
    fn asks_for_many(&mut self, token: Token<'_>) -> bool {
        let as_array = self.list == List::WantedAsArray;
        // ANY(CAST(? AS int[])) is an array as well.
        if as_array && !matches!(token, Token::Open | Token::Function(_)) {
            self.list = List::Wanted;
        }
        let is_wanted = self.list != List::Excluded;
        match token {
            Token::Comma => is_wanted && self.output.kind() == Kind::List,
            Token::Value | Token::Placeholder => {
                as_array || is_wanted && self.last == Last::Keyword(Role::In)
            }
            Token::OpenBracket if self.last == Last::Keyword(Role::Array) => {
                is_wanted && self.output.kind() == Kind::List
            }
            Token::Open | Token::Keyword(Keyword { role: Role::Row, .. }) => {
                self.last == Last::Comma && self.output.kind() == Kind::Rows
            }
            _ => false,
        }
    }

    /// Whether a name in brackets may come next, to some dialect.
    fn may_name(&self) -> bool {
        let names = [Role::As, Role::Join, Role::Into, Role::Update, Role::Object, Role::From];
        match self.last {
            Last::Dot(_) => true,
            Last::Keyword(role) => names.contains(&role),
            _ => false,
        }
    }

    /// Whether a space separates the token from what stands before it.
    #[expect(clippy::match_same_arms, reason = "the first arm that fits decides")]
    fn needs_space(&self, token: Token<'_>) -> bool {
        match (self.last, token) {
            (Last::Nothing, _) => true,
            (_, Token::Comma | Token::Close | Token::CloseBracket) | (Last::Open, _) => false,
            (Last::OpenApart, token) => {
                matches!(token, Token::Word(_) | Token::Keyword(_) | Token::Function(_))
            }
            (Last::Dot(_), Token::Operator(text)) => text != "*",
            (Last::Dot(ties), Token::Word(word)) => {
                !ties && word.starts_with(|c: char| c.is_ascii_digit())
            }
            (Last::Dot(_), _) => {
                !matches!(token, Token::Quoted(_) | Token::Value | Token::Placeholder)
            }
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
    matches!(token, Token::Open | Token::Close | Token::Comma)
        || matches!(token, Token::Value | Token::Placeholder | Token::Operator("+" | "-"))
        || token.role() == Some(Role::Row)
}
