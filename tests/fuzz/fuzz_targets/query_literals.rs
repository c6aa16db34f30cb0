//! Statements of known tokens with literals that nothing else looks like: none is in the shape, and
//! other literals in their place give the same shape.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timesink_facts::shape::{Dialect, sql_shape};

/// A token and what stands behind it: three bytes of the input.
#[derive(Debug, Clone, Copy)]
struct Token {
    kind: u8,
    /// Which one of its kind, around the end of the list.
    number: u8,
    blank: u8,
}

/// There is always one between two tokens: a number beside a name is a name.
const BLANKS: &[&str] = &[" ", " ", "\r\n", "/* it's 1 */", "-- it's 1\n"];

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "SELECT", "FROM", "WHERE", "IN", "ANY", "ALL", "VALUES", "INSERT", "INTO", "UPDATE", "SET",
    "DELETE", "CASE", "WHEN", "THEN", "ELSE", "END", "ARRAY", "ROW", "AS", "IS", "NOT", "NULL",
    "TRUE", "LIKE", "ESCAPE", "BETWEEN", "AND", "OR", "JOIN", "ON", "USING", "LIMIT", "OFFSET",
    "INTERVAL", "DATE", "CAST", "EXTRACT", "RETURNING", "SAVEPOINT", "IDENTIFIED", "BY", "CALL",
    "EXECUTE", "CREATE", "TABLE", "INDEX", "KEY", "WITH", "UNION", "ORDER", "GROUP", "HAVING",
    "FOR", "TOP", "FETCH", "COUNT", "MAX", "CURRENT_DATE", "a", "b1", "Items", "tab_2024",
    "\"a\"", "\"two words\"", "order", "e", "n", "q", "x", "u", "_utf8mb4", "DEFAULT", "COLLATE",
];

#[rustfmt::skip]
const MARKS: &[&str] = &[
    "(", ")", ",", ".", ";", "=", "<>", "<=", "+", "-", "*", "/", "%", "||", "|", "&", "^", "~",
    "!", "::", ":", ":=", "->", "->>", "#>", "@>", "<@", "{", "}",
];

/// Where they quote a name, a literal between them is one.
const BRACKETS: &[&str] = &["[", "]"];

const PLACEHOLDERS: &[&str] =
    &["?", "%s", "%(name)s", "$1", ":name", ":1", "@p1", "{0}", "{name}", "?1"];

const DIALECTS: [Dialect; 6] = [
    Dialect::PostgreSql,
    Dialect::MySql,
    Dialect::Sqlite,
    Dialect::Oracle,
    Dialect::SqlServer,
    Dialect::Other,
];

/// What the literals are made of: a word, and digits of a whole number and of a fraction.
struct Filling {
    word: &'static str,
    digits: &'static str,
}

const FILLINGS: [Filling; 2] = [
    Filling { word: "zqsecret", digits: "97531086" },
    Filling { word: "it is wholly another", digits: "24" },
];

fuzz_target!(|bytes: &[u8]| {
    let token = |&[kind, number, blank]: &[u8; 3]| Token { kind, number, blank };
    let tokens: Vec<Token> = bytes.as_chunks::<3>().0.iter().map(token).collect();
    for dialect in DIALECTS {
        let [secret, other] = FILLINGS.map(|filling| statement(&tokens, dialect, &filling));
        let shape = sql_shape(&secret, dialect);
        let Filling { word, digits } = FILLINGS[0];
        let shows = shape.contains(word) || shape.contains(digits);
        assert!(!shows, "{dialect:?}: a literal survives\n{secret}\n{shape}");
        let expected = sql_shape(&other, dialect);
        assert_eq!(shape, expected, "{dialect:?}:\n{secret}\n{other}");
    }
});

fn statement(tokens: &[Token], dialect: Dialect, filling: &Filling) -> String {
    let text = |token: &Token| text(*token, dialect, filling) + of(BLANKS, token.blank);
    tokens.iter().map(text).collect()
}

fn of<'a>(list: &[&'a str], number: u8) -> &'a str {
    list[usize::from(number) % list.len()]
}

fn text(Token { kind, number, .. }: Token, dialect: Dialect, filling: &Filling) -> String {
    let has_brackets = matches!(dialect, Dialect::PostgreSql | Dialect::MySql | Dialect::Oracle);
    match kind % 8 {
        0..=2 => of(WORDS, number).to_owned(),
        3 | 4 if has_brackets => of(&[MARKS, BRACKETS].concat(), number).to_owned(),
        3 | 4 => of(MARKS, number).to_owned(),
        5 => of(PLACEHOLDERS, number).to_owned(),
        6 => string(number, dialect, filling),
        _ => digits(number, filling),
    }
}

fn string(number: u8, dialect: Dialect, Filling { word, digits }: &Filling) -> String {
    match (number % 6, dialect) {
        (0, Dialect::PostgreSql) => format!(r"E'it\'s {word}'"),
        (1, Dialect::PostgreSql) => format!("$q$it's {word}$q$"),
        (2, Dialect::MySql) => format!("\"it's {word}\""),
        (3, Dialect::MySql) => format!(r"'it\'s {word}'"),
        (4, Dialect::Oracle) => format!("q'[it's {word}]'"),
        (5, Dialect::SqlServer | Dialect::Oracle) => format!("N'it''s {word}'"),
        (0, _) => format!("'{word}'"),
        (1, _) => format!("'{digits}'"),
        (2, _) => format!("'it''s {word}'"),
        (3, _) => format!("'%{word}%'"),
        (4, _) => format!("'{word}, ({digits}) -- '"),
        _ => format!("X'{digits}'"),
    }
}

fn digits(number: u8, Filling { digits, .. }: &Filling) -> String {
    match number % 6 {
        0 => (*digits).to_owned(),
        1 => format!("-{digits}"),
        2 => format!("{digits}.{digits}"),
        3 => format!(".{digits}"),
        4 => format!("{digits}e-7"),
        _ => format!("0x{digits}"),
    }
}
