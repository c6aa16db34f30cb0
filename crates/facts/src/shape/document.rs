//! Documents: JSON, Python's `repr` and the `MongoDB` shell keep their keys and lose their values.

use std::ops::Range;

use super::Statement;
use super::command::VALUE;
use super::name::name_shape;
use super::output::{Kind, Output, split_mark};

/// How many words outside of braces are kept: a command, its collection, an option.
const WORDS_MAX: usize = 3;

/// A longer key is data.
const KEY_BYTES_MAX: usize = 64;

/// Reads a document or a command with documents.
pub(super) fn read_document(text: &str) -> Statement {
    let (text, mark) = split_mark(text);
    let mut writer = Writer::new(text, None);
    while !writer.output.is_full() && writer.step() {}
    writer.output.finish(mark)
}

/// A literal of a document and where it stands, quotes included.
#[derive(Debug)]
pub(super) struct Hidden {
    pub(super) range: Range<usize>,
    pub(super) place: Place,
}

/// What a literal is to its document.
#[derive(Debug)]
pub(super) enum Place {
    /// A value, or a key that is one.
    Value,
    /// A key with ids in it, and its shape.
    Key(String),
    /// The arguments of a call that is a value, parentheses included.
    Call,
}

/// Returns the literals of a document in their order, and how far it was read: as far as its shape
/// depends on it.
pub(super) fn hidden_in_document(text: &str) -> (Vec<Hidden>, usize) {
    let mut writer = Writer::new(text, Some(Vec::new()));
    while !writer.output.is_full() && writer.step() {}
    (writer.hidden.unwrap_or_default(), writer.at)
}

/// Returns the shape of a key, `None` for one that is a value.
pub(super) fn key_shape(key: &str) -> Option<String> {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"_$.@-?/".contains(&b);
    let starts_well =
        |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic() || "_$@".contains(c));
    let is_name = key.len() <= KEY_BYTES_MAX && starts_well(key) && key.bytes().all(is_part);
    // What begins with an id is one, and no name that is a name again.
    is_name.then(|| name_shape(key)).filter(|shape| starts_well(shape))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Open,
    Comma,
    Colon,
    Word,
    Value,
    Close,
}

#[derive(Debug)]
struct Writer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    output: Output,
    last: Last,
    /// How many braces, brackets and parentheses are open.
    depth: usize,
    /// How many words outside of them were kept.
    words: usize,
    /// The first of these words.
    command: &'a str,
    /// The last key.
    key: &'a str,
    /// The depth inside the list whose elements are asked for one by one.
    many_at: Option<usize>,
    /// The literals so far, for who wants them.
    hidden: Option<Vec<Hidden>>,
}

impl<'a> Writer<'a> {
    fn new(text: &'a str, hidden: Option<Vec<Hidden>>) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            output: Output::new(text.len()),
            last: Last::Nothing,
            depth: 0,
            words: 0,
            command: "",
            key: "",
            many_at: None,
            hidden,
        }
    }

    /// Reads and writes one token; false at the end of the text.
    fn step(&mut self) -> bool {
        self.skip_blanks();
        let Some(&byte) = self.bytes.get(self.at) else {
            return false;
        };
        match byte {
            b'{' => self.open("{", Kind::Plain),
            b'(' if self.depth > 0 && self.last == Last::Value => self.skip_call(),
            b'(' => self.open("(", Kind::Plain),
            b'[' => {
                let is_many = self.lists_rows();
                self.open("[", Kind::Bracket);
                if is_many {
                    self.many_at = Some(self.depth);
                }
            }
            b'}' => self.close("}", [Kind::Plain, Kind::Plain]),
            b')' => self.close(")", [Kind::Plain, Kind::Plain]),
            b']' => self.close("]", [Kind::Bracket, Kind::Bracket]),
            b',' => {
                self.at += 1;
                if self.many_at == Some(self.depth) {
                    self.output.is_batch();
                }
                self.output.comma();
                self.last = Last::Comma;
            }
            b':' => {
                self.at += 1;
                self.push(":", Last::Colon);
            }
            b'"' | b'\'' => {
                let start = self.at;
                let content = self.quoted(byte);
                self.scalar(content, start..self.at, true);
            }
            _ => {
                let start = self.at;
                let word = self.bare();
                if matches!(self.peek(), Some(b'"' | b'\'')) && is_string_prefix(word) {
                    return true;
                }
                self.scalar(word, start..self.at, false);
            }
        }
        true
    }

    fn open(&mut self, text: &str, kind: Kind) {
        self.at += 1;
        self.push(text, Last::Open);
        self.output.open(kind);
        self.depth += 1;
    }

    fn close(&mut self, text: &str, kinds: [Kind; 2]) {
        self.at += 1;
        if self.many_at == Some(self.depth) {
            self.many_at = None;
        }
        self.depth = self.depth.saturating_sub(1);
        self.output.close_innermost(kinds);
        self.push(text, Last::Close);
    }

    /// Whether the list that opens here has an element for each row: of `$in`, or to be inserted.
    fn lists_rows(&self) -> bool {
        match self.last {
            Last::Colon => matches!(self.key, "$in" | "documents"),
            _ => self.depth == 0 && self.command == "insert",
        }
    }

    /// Writes a key, a word of the command, or the `?` of a value; `range` is where it stands.
    fn scalar(&mut self, content: &'a str, range: Range<usize>, is_quoted: bool) {
        self.skip_blanks();
        let starts_entry = matches!(self.last, Last::Open | Last::Comma);
        if self.depth > 0 && starts_entry && self.peek() == Some(b':') {
            return self.key(content, range);
        }
        if self.depth == 0 && !is_quoted && self.words < WORDS_MAX && is_command_word(content) {
            self.words += 1;
            if self.words == 1 {
                self.command = content;
                self.fetches_more(content);
            }
            return self.push(content, Last::Word);
        }
        // `new Date(…)`, `Decimal('1') / 3`: one value, however many words.
        if self.last != Last::Value {
            self.push(VALUE, Last::Value);
        }
        if is_quoted || content != VALUE {
            self.literal(content, range, Place::Value);
        }
    }

    fn literal(&mut self, content: &str, range: Range<usize>, place: Place) {
        self.output.literal("", content);
        if let Some(hidden) = &mut self.hidden {
            hidden.push(Hidden { range, place });
        }
    }

    /// The further rows of a query, which `MongoDB` sends in batches.
    fn fetches_more(&mut self, command: &str) {
        if command == "getMore" {
            self.output.is_batch();
        }
    }

    fn key(&mut self, content: &'a str, range: Range<usize>) {
        self.key = content;
        if self.depth == 1 {
            self.fetches_more(content);
        }
        if let Some(shape) = key_shape(content) {
            self.push(&shape, Last::Word);
            if shape != content {
                self.literal(content, range, Place::Key(shape));
            }
            return;
        }
        self.push(VALUE, Last::Value);
        if content != VALUE {
            self.literal(content, range, Place::Value);
        }
    }

    fn push(&mut self, text: &str, last: Last) {
        let is_tight = matches!(text, "," | ":" | "}" | "]" | ")");
        let space = !is_tight
            && match self.last {
                Last::Nothing | Last::Open => false,
                Last::Word | Last::Close => text != "(" && !text.starts_with('.'),
                Last::Comma | Last::Colon | Last::Value => true,
            };
        self.output.begin(space);
        self.output.push(text);
        self.last = last;
    }

    /// Skips the arguments of a call that is a value, such as `ObjectId('…')`.
    fn skip_call(&mut self) {
        let start = self.at;
        self.skip_parentheses();
        let range = start..self.at;
        self.literal(&self.text[range.clone()], range, Place::Call);
    }

    fn skip_parentheses(&mut self) {
        let mut depth = 0_usize;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'"' | b'\'' => {
                    self.quoted(byte);
                    continue;
                }
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Reads a string and returns what is in it; an open one reaches to the end of the text.
    fn quoted(&mut self, quote: u8) -> &'a str {
        let start = self.at + 1;
        let mut at = start;
        while let Some(found) =
            memchr::memchr2(quote, b'\\', &self.bytes[at.min(self.bytes.len())..])
        {
            at += found;
            if self.bytes[at] == quote {
                self.at = at + 1;
                return &self.text[start..at];
            }
            at += 2;
        }
        self.at = self.bytes.len();
        // Without its end it is no key.
        ""
    }

    fn bare(&mut self) -> &'a str {
        let start = self.at;
        let is_end = |b: u8| b.is_ascii_whitespace() || b"{}[](),:\"'".contains(&b);
        self.at += self.bytes[start..].iter().take_while(|&&b| !is_end(b)).count();
        &self.text[start..self.at]
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        let rest = &self.bytes[self.at..];
        self.at +=
            rest.iter().take_while(|b| b.is_ascii_whitespace() || b.is_ascii_control()).count();
    }
}

fn is_string_prefix(word: &str) -> bool {
    matches!(word, "b" | "u" | "r" | "B" | "U" | "R" | "rb" | "br")
}

/// Whether the word can name a command, a collection or a path rather than a value.
fn is_command_word(word: &str) -> bool {
    word.len() <= KEY_BYTES_MAX
        && word.starts_with(|c: char| c.is_ascii_alphabetic() || "_$./".contains(c))
        && word.bytes().all(|b| b.is_ascii_alphabetic() || b"_$./-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shape = read_document(text).shape;
        assert_eq!(shape, expected, "{text}");
        assert_eq!(read_document(&shape).shape, shape, "{text} again");
    }

    #[test]
    fn values_go_and_keys_stay() {
        check(
            r#"{"query": {"match": {"title": "secret 1"}}, "size": 10}"#,
            "{query: {match: {title: ?}}, size: ?}",
        );
        check("find {'name': 'Bob', 'age': {'$gt': 17}}", "find {name: ?, age: {$gt: ?}}");
        check("getMore books", "getMore books");
        check("find", "find");
        check(
            "find {'_id': ObjectId('5f'), 'at': datetime.datetime(2020, 1, 1, 0, 0)}",
            "find {_id: ?, at: ?}",
        );
        check("{'a': None, 'b': True, 'c': b'x', 'd': -1.5e3}", "{a: ?, b: ?, c: ?, d: ?}");
        check(r#"db.books.find({title: "x"}).limit(5)"#, "db.books.find({title: ?}).limit(?)");
        check("GET /books/_search {\"a\": 1}", "GET /books/_search {a: ?}");
        check(
            "{'items.17.name': 1, 'user_42': 2, '2020': 3, 'a b': 4}",
            "{items.?.name: ?, user_?: ?, ?: ?, ?: ?}",
        );
        check("{'e4bf92f357?b33d': 1, 'e4bf92f357': 2}", "{?: ?, ?: ?}");
    }

    #[test]
    fn lists_are_one_element_long() {
        check("{'$in': [1, 2, 3]}", "{$in: [?]}");
        check("{'$in': []}", "{$in: []}");
        check("insert [{'a': 1}, {'a': 2}, {'a': 3}]", "insert [{a: ?}]");
        check("[{'$match': {'a': 1}}, {'$limit': 5}]", "[{$match: {a: ?}}, {$limit: ?}]");
    }

    #[test]
    fn broken_documents_have_a_shape() {
        check("", "");
        check("{'a': 'secr", "{a: ?");
        check("{'a': [1, 2, {'b", "{a: [?, {?");
        check("find hunter2 'secret'", "find ?");
        check("{'a': f(1, 'x", "{a: ?");
        check("}])", "}])");
        check("one two three four five", "one two three ?");
    }
}
