//! What a statement does to which tables, in a few words: `db.query.summary`.

use super::keyword::Role;
use super::lexer::{Lexer, Token, has_lower};
use super::system::Dialect;

/// The longest summary in bytes, as the semantic conventions recommend. What follows is left out.
const SUMMARY_BYTES_MAX: usize = 255;

/// Parentheses nested deeper than this are not looked into.
const DEPTH_MAX: usize = 64;

/// How many names of WITH are remembered; a table of the name of a further one is listed.
const CTES_MAX: usize = 64;

/// What a statement does to which tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Commands and tables in the order of the text: `INSERT orders SELECT products`.
    pub text: String,
    /// Each command once.
    pub commands: Vec<String>,
    /// Each table once. Names given by WITH are no tables.
    pub tables: Vec<String>,
}

/// Returns the summary of SQL text.
///
/// ```
/// use timesink_facts::shape::{Dialect, sql_summary};
///
/// let text = "select o.id from orders o join users u on u.id = o.user_id where o.id = 7";
/// assert_eq!(sql_summary(text, Dialect::PostgreSql).text, "SELECT orders users");
/// ```
pub fn sql_summary(text: &str, dialect: Dialect) -> Summary {
    let mut reader = Reader::default();
    let mut tokens = Lexer::new(text, dialect).peekable();
    while let Some(token) = tokens.next() {
        reader.read(token, tokens.peek().copied());
        if reader.summary.text.len() > SUMMARY_BYTES_MAX {
            break;
        }
    }
    reader.finish()
}

/// What may come next in a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Nothing was read yet.
    #[default]
    Start,
    /// A name that WITH defines.
    CteName,
    /// What such a name stands for.
    CteBody,
    /// A table.
    Table,
    /// After a table; a comma brings another.
    Tables,
    Other,
}

/// A statement, or what stands in one pair of parentheses.
#[derive(Debug, Clone, Copy, Default)]
struct Scope {
    state: State,
    /// The role of its last command.
    command: Option<Role>,
    /// `DELETE t1 FROM t1 JOIN t2` names its table before FROM.
    has_target: bool,
}

#[derive(Debug, Default)]
struct Reader<'a> {
    summary: Summary,
    scope: Scope,
    outer: Vec<Scope>,
    /// How many parentheses are open that `outer` has no room for.
    too_deep: usize,
    ctes: Vec<&'a str>,
    last: Option<Token<'a>>,
    /// The parts of a table's name so far.
    name: String,
    /// Whether what the last command names is a table, not a procedure or an index.
    names_tables: bool,
    /// The last command has said what it makes, changes or drops.
    has_object: bool,
    /// A statement has ended and the next command starts another.
    owes_semicolon: bool,
}

impl<'a> Reader<'a> {
    fn read(&mut self, token: Token<'a>, next: Option<Token<'a>>) {
        match token {
            Token::Semicolon => {
                self.outer.clear();
                self.too_deep = 0;
                self.scope = Scope::default();
                self.owes_semicolon = !self.summary.text.is_empty();
            }
            Token::Open => self.open(),
            Token::Close => self.close(),
            Token::Comma => match self.scope.state {
                State::Tables => self.scope.state = State::Table,
                State::CteBody => self.scope.state = State::CteName,
                _ => {}
            },
            Token::Keyword(keyword) => self.keyword(keyword.text, keyword.role, next),
            Token::Word(name) if has_lower(name) => self.name(name, name, next),
            Token::Word(name) => self.name(name, &name.to_ascii_lowercase(), next),
            Token::Quoted(name) | Token::Function(name) => self.name(name, name, next),
            Token::Dot if !self.name.is_empty() => self.name.push('.'),
            Token::Value | Token::Placeholder if self.scope.state == State::Table => {
                self.scope.state = State::Tables;
            }
            _ => {}
        }
        self.last = Some(token);
    }

    fn open(&mut self) {
        if self.outer.len() == DEPTH_MAX {
            self.too_deep += 1;
            return;
        }
        let last = self.last.and_then(|last| last.role());
        // TOP (5) is no table.
        let is_table = self.scope.state == State::Table && last != Some(Role::Plain);
        if self.scope.state == State::Start {
            self.scope.state = State::Other;
        }
        let mut inner = Scope::default();
        if is_table {
            inner.state = State::Table;
            inner.command = Some(Role::Select);
            self.scope.state = State::Tables;
        }
        self.outer.push(std::mem::replace(&mut self.scope, inner));
    }

    fn close(&mut self) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else if let Some(scope) = self.outer.pop() {
            self.scope = scope;
        }
    }

    fn keyword(&mut self, text: &str, role: Role, next: Option<Token<'a>>) {
        if self.too_deep > 0 {
            return;
        }
        let is_first = self.scope.state == State::Start;
        let last = self.last.and_then(|last| last.role());
        match role {
            Role::Select => self.command(text, role, State::Other),
            Role::Insert | Role::Delete | Role::Update if is_command(role, last, next) => {
                self.command(text, role, State::Table);
            }
            Role::Call if is_first => self.command(text, role, State::Table),
            // TRUNCATE may leave out the word TABLE.
            Role::Define if is_first => {
                let is_bare = text == "TRUNCATE";
                self.command(text, role, if is_bare { State::Table } else { State::Other });
            }
            // CREATE EXTERNAL TABLE, but not CREATE TABLE x … INDEX y.
            Role::Object if self.scope.command == Some(Role::Define) && !self.has_object => {
                self.push_word(text);
                self.has_object = true;
                self.names_tables = matches!(text, "TABLE" | "VIEW");
                self.scope.state = State::Table;
            }
            Role::With if is_first => self.scope.state = State::CteName,
            Role::From if !self.last_is("DISTINCT") => self.from(),
            Role::Join if !self.scope.has_target => self.expect_table(),
            Role::Into if self.scope.command == Some(Role::Insert) => self.expect_table(),
            Role::Using if next != Some(Token::Open) => {
                if matches!(self.scope.command, Some(Role::Delete | Role::Insert)) {
                    self.expect_table();
                }
            }
            Role::Clause | Role::Set | Role::Values | Role::Returning | Role::When if !is_first => {
                self.scope.state = State::Other;
            }
            Role::End | Role::Else | Role::If | Role::Exists | Role::Not if is_first => {
                self.scope.state = State::Other;
            }
            _ if is_first && self.outer.is_empty() => self.command(text, role, State::Other),
            _ => {}
        }
    }

    fn from(&mut self) {
        match self.scope.command {
            Some(Role::Delete) if self.scope.has_target => {}
            Some(Role::Select | Role::Delete | Role::Update) => self.expect_table(),
            _ => {}
        }
    }

    fn expect_table(&mut self) {
        if self.scope.command.is_some() {
            self.scope.state = State::Table;
        }
    }

    /// Reads a name that is `shown` in another letter case than it is written.
    fn name(&mut self, name: &'a str, shown: &str, next: Option<Token<'a>>) {
        match self.scope.state {
            State::CteName => {
                if self.ctes.len() < CTES_MAX {
                    self.ctes.push(name);
                }
                self.scope.state = State::CteBody;
            }
            State::Table if self.too_deep == 0 => {
                self.name.push_str(shown);
                if next != Some(Token::Dot) {
                    self.end_name(name);
                }
            }
            _ => {}
        }
    }

    fn end_name(&mut self, last_part: &str) {
        let name = std::mem::take(&mut self.name);
        let is_cte = name.eq_ignore_ascii_case(last_part)
            && self.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(&name));
        if !is_cte {
            self.push_word(&name);
            if self.names_tables && !self.summary.tables.contains(&name) {
                self.summary.tables.push(name);
            }
        }
        let command = self.scope.command;
        self.scope.has_target = command == Some(Role::Delete) && !self.last_is("FROM");
        let has_one_table = matches!(command, Some(Role::Insert | Role::Define | Role::Call));
        self.scope.state = if has_one_table { State::Other } else { State::Tables };
    }

    fn command(&mut self, text: &str, role: Role, state: State) {
        if self.owes_semicolon {
            self.owes_semicolon = false;
            self.summary.text.push(';');
        }
        self.push_word(text);
        if !self.summary.commands.iter().any(|known| known == text) {
            self.summary.commands.push(text.to_owned());
        }
        self.scope = Scope { state, command: Some(role), has_target: false };
        self.names_tables = role != Role::Call;
        self.has_object = false;
    }

    fn push_word(&mut self, word: &str) {
        let text = &mut self.summary.text;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }

    fn last_is(&self, word: &str) -> bool {
        matches!(self.last, Some(Token::Keyword(keyword)) if keyword.text == word)
    }

    fn finish(mut self) -> Summary {
        let text = &mut self.summary.text;
        if text.len() > SUMMARY_BYTES_MAX {
            let fits = |at: &usize| text.is_char_boundary(*at) && text[*at..].starts_with(' ');
            let end = (0..=SUMMARY_BYTES_MAX).rev().find(fits).unwrap_or(0);
            text.truncate(end);
        }
        self.summary
    }
}

/// Whether the verb starts a command: not in FOR UPDATE, ON DELETE CASCADE, THEN UPDATE SET.
fn is_command(verb: Role, last: Option<Role>, next: Option<Token<'_>>) -> bool {
    if matches!(last, Some(Role::For | Role::On | Role::Key)) {
        return false;
    }
    match next {
        Some(value) if value.is_value() => true,
        Some(Token::Word(_) | Token::Quoted(_) | Token::Function(_)) => true,
        Some(Token::Open) => verb == Role::Update,
        Some(Token::Keyword(keyword)) => {
            let roles = [Role::Into, Role::From, Role::Lateral, Role::Plain, Role::Any];
            roles.contains(&keyword.role)
        }
        _ => false,
    }
}
