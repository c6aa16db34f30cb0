//! Statements whose literals are hidden, and which still say all that a statement is asked for.
//!
//! A shape says what a statement does; whether two statements of one shape ask for the same says
//! only its literals. [`masked_statement`] puts a token in the place of each, so that a statement
//! can be kept by those who may not see them.

use std::fmt::Write as _;

use super::command::{LINE_ENDS, MORE, VALUE, memcached_words_shown, redis_words_shown};
use super::document::{Hidden, Place, hidden_in_document, key_shape};
use super::lexer::{Lexer, Token};
use super::output::split_mark;
use super::system::{Dialect, Language};

/// How often as long as the statement its masked text may be: full tokens are longer than most
/// literals. Then short tokens take over, which are at most four times as long as what they hide.
const GROWTH_MAX: usize = 4;

/// What a short statement may be longer beyond that, bytes.
const SLACK_BYTES: usize = 64;

/// A full token with its quotes.
const TOKEN_BYTES: usize = 2 * DOLLARS.len() + 1 + 16;

/// Begins each token. Where the text outgrew its limit it is the whole token.
const TOKEN: char = '~';

/// What surrounds a token of SQL: a string in every dialect.
const QUOTE: &str = "'";

/// Surrounds a token behind one in quotes: two strings in quotes would be one string.
const DOLLARS: &str = "$$";

/// What is left of a comment: it still keeps apart what it stood between.
const COMMENT: &str = "/**/";

/// White space that is kept as it is.
const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

/// The longest placeholder that is kept as it is written.
const PLACEHOLDER_BYTES_MAX: usize = 64;

/// The longest number in a placeholder: `PostgreSQL` counts to 65535, and `$123456` may be money.
const PLACEHOLDER_DIGITS_MAX: usize = 5;

/// Returns the statement with a token in the place of every literal that its shape shows as `?`.
///
/// `hash` is a keyed hash: whoever knows it can try out literals. Equal literals have equal tokens,
/// other literals other ones, and the [shape](super::query_shape) stays the same: what can be told
/// from a statement's shape and from the comparison of its literals can be told from the masked
/// statement. Placeholders stay, comments go, but that there was one; what a text that breaks off
/// inside quotes ends in is one literal. A masked statement can be masked again.
///
/// A token is `'~` and 16 hexadecimal digits `'` in SQL, the same in double quotes in a document,
/// and without quotes in a command. The text takes linear time and is at most four times as long as
/// the statement and 64 bytes: in statements that consist of tiny literals the tokens beyond are
/// `'~'`, and do not tell them apart. Further limits are those of the shapes, and:
///
/// - A name or key of a document with ids in it has the token in the place of its first id, and
///   where the digits would be read as part of something else, as in `ab12`, the `?` of the shape.
/// - A document is kept as far as its shape is read; from there on it is left out.
///
/// ```
/// use timesink_facts::shape::masked_statement;
///
/// let length = |literal: &str| literal.len() as u64; // No hash to use.
/// let text = "SELECT a FROM t WHERE b = 'Bob' AND c = %s -- of the cart";
/// let masked = "SELECT a FROM t WHERE b = '~0000000000000005' AND c = %s /**/";
/// assert_eq!(masked_statement(Some("postgresql"), text, &length), masked);
/// ```
pub fn masked_statement(db_system: Option<&str>, text: &str, hash: &dyn Fn(&str) -> u64) -> String {
    let mut masked = Masked { text: String::with_capacity(2 * text.len().min(4096)), hash };
    match Language::of(db_system) {
        Some(Language::Sql(dialect)) => masked.sql(text, dialect),
        Some(Language::Redis) => masked.pipeline(text, redis_words_shown),
        Some(Language::Memcached) => masked.pipeline(text, memcached_words_shown),
        Some(Language::Document) => masked.document(text),
        None => {
            let start = Lexer::skip_empty(text, Dialect::Other);
            if start.starts_with(['{', '[']) {
                masked.document(start);
            } else {
                masked.sql(text, Dialect::Other);
            }
        }
    }
    masked.text
}

/// The masked text so far.
struct Masked<'h> {
    text: String,
    hash: &'h dyn Fn(&str) -> u64,
}

impl Masked<'_> {
    /// Appends the token of a literal that ends at byte `read` of the statement.
    fn token(&mut self, quotes: &str, literal: &str, read: usize) {
        let is_full = self.text.len() + TOKEN_BYTES <= GROWTH_MAX * read + SLACK_BYTES;
        self.text.push_str(quotes);
        self.text.push(TOKEN);
        if is_full {
            let hash = (self.hash)(literal);
            write!(self.text, "{hash:016x}").expect("writing to memory does not fail");
        }
        self.text.push_str(quotes);
    }

    /// Appends the mark of a shape that was cut, as apart from the text as it was.
    fn mark(&mut self, mark: Option<&str>) {
        if let Some(mark) = mark {
            if !self.text.is_empty() && !self.text.ends_with(' ') {
                self.text.push(' ');
            }
            self.text.push_str(mark);
        }
    }

    // SQL: the masked text has the same tokens, so that it has the same shape.

    fn sql(&mut self, text: &str, dialect: Dialect) {
        let (text, mark) = split_mark(text);
        let mut tokens = Lexer::new(text, dialect);
        let mut read = 0;
        let mut follows_quoted = false;
        while let Some(token) = tokens.next() {
            let range = tokens.last_range();
            self.blanks(&text[read..range.start]);
            read = range.end;
            let written = &text[range];
            let is_literal = token == Token::Value;
            match token {
                Token::Value => self.sql_literal(written, follows_quoted, read),
                Token::Placeholder => self.placeholder(written, text.as_bytes().get(read)),
                // `%(name)s` is looked for by what follows, and a literal may have hidden that.
                Token::Open if self.text.ends_with('%') => self.text.push_str(" ("),
                _ => self.text.push_str(written),
            }
            follows_quoted = is_literal && !follows_quoted;
        }
        self.blanks(&text[read..]);
        self.mark(mark);
    }

    fn sql_literal(&mut self, written: &str, follows_quoted: bool, read: usize) {
        // `N"text"` are two tokens in some dialects, `N'text'` is one in all.
        let may_be_prefix = |b: &u8| b.is_ascii_alphanumeric() || b"_$#&".contains(b) || *b >= 0x80;
        if !written.starts_with(QUOTE) && self.text.as_bytes().last().is_some_and(may_be_prefix) {
            self.text.push(' ');
        }
        self.token(if follows_quoted { DOLLARS } else { QUOTE }, written, read);
    }

    /// Appends a placeholder, or `?` in place of one that may say more than its name, such as a
    /// password that stands where a name is data.
    fn placeholder(&mut self, written: &str, next: Option<&u8>) {
        if is_plain_placeholder(written) {
            return self.text.push_str(written);
        }
        self.text.push('?');
        if next.is_some_and(u8::is_ascii_digit) {
            self.text.push(' ');
        }
    }

    /// Appends what stands between two tokens.
    fn blanks(&mut self, blanks: &str) {
        let inside = blanks.trim_matches(BLANKS);
        if inside.is_empty() {
            return self.text.push_str(blanks);
        }
        let start = blanks.len() - blanks.trim_start_matches(BLANKS).len();
        self.text.push_str(&blanks[..start]);
        self.text.push_str(COMMENT);
        self.text.push_str(&blanks[start + inside.len()..]);
    }

    // Commands, one a line.

    fn pipeline(&mut self, text: &str, words_shown: fn(&str) -> usize) {
        let mut read = 0;
        for line in text.split_inclusive(LINE_ENDS) {
            let command = line.trim_end_matches(LINE_ENDS);
            self.command(command.trim(), words_shown, read);
            self.text.push_str(&line[command.len()..]);
            read += line.len();
        }
    }

    /// Appends a command that starts at byte `read` of the statement or behind it.
    fn command(&mut self, line: &str, words_shown: fn(&str) -> usize, mut read: usize) {
        if line == MORE {
            return self.text.push_str(line);
        }
        let shown = words_shown(line);
        for (number, word) in line.split_ascii_whitespace().enumerate() {
            if number > 0 {
                self.text.push(' ');
            }
            read += word.len() + usize::from(number > 0);
            if number < shown || word == VALUE {
                self.text.push_str(word);
            } else {
                self.token("", word, read);
            }
        }
    }

    // Documents.

    fn document(&mut self, text: &str) {
        let (text, mark) = split_mark(text);
        let (literals, end) = hidden_in_document(text);
        let mut read = 0;
        for Hidden { range, place } in literals {
            self.text.push_str(&text[read..range.start]);
            read = range.end;
            let literal = &text[range];
            match place {
                Place::Value => self.token("\"", literal, read),
                Place::Key(shape) => self.key(literal, &shape),
                Place::Call => {
                    self.text.push('(');
                    self.token("\"", literal, read);
                    self.text.push(')');
                }
            }
        }
        self.text.push_str(&text[read..end]);
        // What ends the part that is read may be a key, and is one by what follows.
        if text[end..].starts_with(':') {
            self.text.push(':');
        }
        self.mark(mark);
    }

    /// Appends a key with ids in it: digits for the first of them.
    fn key(&mut self, written: &str, shape: &str) {
        let digits = format!("{:020}", (self.hash)(written));
        let key = shape.replacen(VALUE, &digits, 1);
        let has_same_shape = key_shape(&key).as_deref() == Some(shape);
        self.text.push('"');
        self.text.push_str(if has_same_shape { &key } else { shape });
        self.text.push('"');
    }
}

/// Whether a placeholder is one by its sign, and short.
fn is_plain_placeholder(written: &str) -> bool {
    let Some((sign, name)) = written.as_bytes().split_first() else {
        return true;
    };
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || b"_.:(){}".contains(b);
    let has_id =
        name.split(|b| !b.is_ascii_digit()).any(|digits| digits.len() > PLACEHOLDER_DIGITS_MAX);
    b"?$:@%{".contains(sign)
        && written.len() <= PLACEHOLDER_BYTES_MAX
        && name.iter().all(is_part)
        && !has_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::{query_shape, read_statement};

    /// Tokens are numbered by the first byte of what they hide, for people to read.
    fn check(system: Option<&str>, text: &str, expected: &str) {
        let masked = masked_statement(system, text, &|literal| u64::from(literal.as_bytes()[0]));
        assert_eq!(masked.replace("~00000000000000", "~"), expected, "{text}");
        assert_eq!(query_shape(system, &masked), query_shape(system, text), "{text}");
    }

    fn tokens(literal: &str) -> u64 {
        literal.bytes().fold(7, |hash: u64, b| hash.wrapping_mul(31).wrapping_add(u64::from(b)))
    }

    #[test]
    fn literals_of_sql_become_strings() {
        let postgres = Some("postgresql");
        check(postgres, "SELECT a FROM b WHERE c = 7 AND d IN ('x',2)", {
            "SELECT a FROM b WHERE c = '~37' AND d IN ('~27','~32')"
        });
        check(postgres, "a = %s AND b = $1 AND c = :c AND d = %(d)s", {
            "a = %s AND b = $1 AND c = :c AND d = %(d)s"
        });
        check(postgres, "/* of Bob */ SELECT a--b\n, c", "/**/ SELECT a/**/\n, c");
        check(postgres, "a = 1 'x' 2", "a = '~31' $$~27$$ '~32'");
        check(postgres, "a=1AND b='it''s secret", "a='~31'AND b='~27'");
        check(postgres, "CREATE USER bob IDENTIFIED BY tiger", "CREATE USER bob IDENTIFIED BY ?");
        check(Some("mysql"), "IDENTIFIED BY `x`2fa", "IDENTIFIED BY ? 2fa");
        check(postgres, "SAVEPOINT \"s17\"; a", "SAVEPOINT ?; a");
        check(Some("mysql"), "a = \"x\" # 'it'", "a = '~22' /**/");
        check(Some("mysql"), "SELECT * FROM 2fa WHERE a=5--3", {
            "SELECT * FROM 2fa WHERE a='~35'--'~33'"
        });
        check(None, "a = N\"x\"", "a = N '~22'");
        check(None, r"a = 'it\'s' AND secret = 'c'", "a = '~27'");
        check(None, "a %('it' || 's')s", "a ?");
        check(None, "a %('it' || 's')", "a % ('~27' || '~27')");
        check(None, "FROM t JOIN [a/*x*/]", "FROM t JOIN [a/**/]");
        check(None, " ; {'a': 1}", "{'a': \"~31\"}");
    }

    #[test]
    fn values_of_commands_and_documents_become_words_and_strings() {
        check(Some("redis"), "MGET  user:1 ?\nset a secret", "MGET ~75 ?\nset ~61 ~73");
        check(Some("redis"), "CONFIG GET x; hunter2 x", "CONFIG GET ~78;~68 ~78");
        check(Some("memcached"), "get a", "get ~61");
        let mongo = Some("mongodb");
        check(mongo, "find {'a': 'Bob', b: {$gt: 17}}", "find {'a': \"~27\", b: {$gt: \"~31\"}}");
        check(mongo, "find {'_id': ObjectId('5f')}", "find {'_id': \"~4f\"(\"~28\")}");
        check(mongo, "{'2020': b'x', 'a': ?}", "{\"~27\": b\"~27\", 'a': ?}");
        let digits = "00000000000000000039";
        check(mongo, "{'user_42': 1}", &format!("{{\"user_{digits}\": \"~31\"}}"));
        check(mongo, "{'a.1.b2': 1}", &format!("{{\"a.{digits}.b?\": \"~31\"}}"));
        check(mongo, "{'xab12': 1}", &format!("{{\"xab{digits}\": \"~31\"}}"));
        check(mongo, "{'ab12': 'secr", "{\"ab?\": \"~27\"");
    }

    #[test]
    fn a_text_of_tiny_literals_stays_bounded() {
        for (system, text) in [
            (Some("postgresql"), "1,".repeat(10_000)),
            (Some("postgresql"), "1 ".repeat(10_000)),
            (Some("postgresql"), "\u{1}a".repeat(10_000)),
            (Some("redis"), "a ".repeat(10_000)),
            (Some("redis"), "a;".repeat(10_000)),
            (Some("mongodb"), format!("[{}]", "1,".repeat(10_000))),
        ] {
            let masked = masked_statement(system, &text, &tokens);
            let bytes_max = GROWTH_MAX * text.len() + SLACK_BYTES;
            assert!(masked.len() <= bytes_max, "{} of {bytes_max}", masked.len());
            assert_eq!(query_shape(system, &masked), query_shape(system, &text));
        }
    }

    /// The reading of a shape ends in the middle of a key.
    #[test]
    fn a_document_is_kept_as_far_as_its_shape_is_read() {
        let entry = |at: usize| format!("k{}: 1", "a".repeat(at % 40));
        let long = (0..8000).map(entry).collect::<Vec<_>>().join(", ");
        for shift in 0..40 {
            let text = format!("{{{}: 1, {long}}}", "b".repeat(shift + 1));
            let masked = masked_statement(Some("mongodb"), &text, &tokens);
            assert!(masked.len() < text.len() * 4);
            assert_eq!(
                read_statement(Some("mongodb"), &masked).shape,
                read_statement(Some("mongodb"), &text).shape
            );
        }
    }
}
