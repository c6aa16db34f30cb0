//! The text of a shape while it grows: repeats are taken back, and its length is limited.
//!
//! [`Output`] knows lists, not languages: a writer says where an element starts and ends, and an
//! element equal to the one before it is cut off again. So a list of a million rows never takes
//! more room than two of them. The literals of what is cut off are forgotten with it.

use super::Statement;
use super::literals::Literals;

/// The longest shape in bytes. A longer one is cut at a blank and ends in `…` and eight letters, a
/// hash of what was cut off: two statements that differ only there keep two shapes.
pub const SHAPE_BYTES_MAX: usize = 4096;

/// How much of a shape is kept while it grows, for repeats that start late and for the hash. What
/// comes after is not read.
const WORK_BYTES_MAX: usize = 16 * SHAPE_BYTES_MAX;

/// Repeats nested deeper than this are not taken back.
const DEPTH_MAX: usize = 64;

const ELLIPSIS: char = '…';
const MARK_LETTERS: usize = 8;

/// The mark with the blank before it.
const MARK_BYTES: usize = 1 + ELLIPSIS.len_utf8() + MARK_LETTERS;

const _: () = assert!(MARK_BYTES < SHAPE_BYTES_MAX && WORK_BYTES_MAX < u32::MAX as usize);

/// What an element stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text as a whole; its elements are statements.
    Statements,
    /// Parentheses or braces whose elements all count, such as arguments.
    Plain,
    /// Parentheses around a list of any length: `IN (…)`.
    List,
    /// Brackets around a list of any length: `ARRAY[…]`.
    Bracket,
    /// The rows after VALUES, which nothing encloses.
    Rows,
    /// The arms between CASE and END.
    Arms,
}

impl Kind {
    fn drops_repeats(self) -> bool {
        self != Self::Plain
    }

    fn is_list(self) -> bool {
        matches!(self, Self::List | Self::Bracket | Self::Rows)
    }
}

/// No element has begun.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    /// The last element that was kept; empty when there is none.
    kept: (u32, u32),
    /// Where the element being written starts.
    start: u32,
}

#[derive(Debug)]
pub(super) struct Output {
    text: String,
    frames: [Frame; DEPTH_MAX],
    /// How many of `frames` are open; the first always is.
    depth: usize,
    /// How many more are open than `frames` has room for.
    overflow: usize,
    /// The last blank at which the shape may be cut.
    cut_at: usize,
    /// Each with the position of its `?`.
    literals: Literals,
    asks_for_many: bool,
}

impl Output {
    /// Makes an empty shape for a text of `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let frame = Frame { kind: Kind::Statements, kept: (0, 0), start: NOWHERE };
        Self {
            text: String::with_capacity((bytes + bytes / 4 + 16).min(2 * SHAPE_BYTES_MAX)),
            frames: [frame; DEPTH_MAX],
            depth: 1,
            overflow: 0,
            cut_at: 0,
            literals: Literals::default(),
            asks_for_many: false,
        }
    }

    /// Whether the rest of the text cannot change the shape any more.
    pub(super) fn is_full(&self) -> bool {
        self.text.len() > WORK_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn kind(&self) -> Kind {
        if self.overflow > 0 { Kind::Plain } else { self.frames[self.depth - 1].kind }
    }

    /// Writes the space before a token, if any, and notes where its element starts.
    pub(super) fn begin(&mut self, space: bool) {
        if space && !self.text.is_empty() {
            // A shape does not end in a semicolon, so it is not cut behind one either.
            if !self.text.ends_with(';') {
                self.may_cut_here();
            }
            self.text.push(' ');
        }
        if self.overflow == 0 {
            let at = self.text.len() as u32;
            let frame = &mut self.frames[self.depth - 1];
            if frame.start == NOWHERE {
                frame.start = at;
            }
        }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Notes the literal whose `?` was written last.
    pub(super) fn literal(&mut self, sign: &str, text: &str) {
        self.literals.add(self.text.len().saturating_sub(1), sign, text);
    }

    /// Notes that the statement asks for many rows at once.
    pub(super) fn is_batch(&mut self) {
        self.asks_for_many = true;
    }

    pub(super) fn count_from(&self, start: usize, sign: char) -> usize {
        self.text[start..].matches(sign).count()
    }

    pub(super) fn push_lower(&mut self, text: &str) {
        self.text.extend(text.chars().map(|c| c.to_ascii_lowercase()));
    }

    /// Writes what separates two statements.
    pub(super) fn push_separator(&mut self) {
        self.may_cut_here();
        self.text.push(';');
    }

    /// Takes back everything from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.text.truncate(len);
        self.literals.truncate(len);
        self.cut_at = self.cut_at.min(len);
    }

    pub(super) fn open(&mut self, kind: Kind) {
        if self.overflow > 0 || self.depth == DEPTH_MAX {
            self.overflow += 1;
            return;
        }
        self.frames[self.depth] = Frame { kind, kept: (0, 0), start: NOWHERE };
        self.depth += 1;
    }

    /// Makes the innermost frame one whose elements all count, if it is a parenthesised list.
    pub(super) fn list_is_query(&mut self) {
        let frame = &mut self.frames[self.depth - 1];
        if self.overflow == 0 && frame.kind == Kind::List {
            frame.kind = Kind::Plain;
        }
    }

    /// Ends the innermost frame.
    pub(super) fn close(&mut self) {
        if self.overflow > 0 {
            self.overflow -= 1;
        } else if self.depth > 1 {
            self.end_element();
            self.depth -= 1;
        }
    }

    /// Ends the innermost frame of one of these kinds with all inside it; without one, nothing.
    pub(super) fn close_innermost(&mut self, kinds: [Kind; 2]) {
        if self.overflow > 0 {
            self.overflow -= 1;
            return;
        }
        let found = (1..self.depth).rev().find(|&at| kinds.contains(&self.frames[at].kind));
        if let Some(found) = found {
            while self.depth > found {
                self.close();
            }
        }
    }

    /// Ends every frame and the statement.
    pub(super) fn close_all(&mut self) {
        self.overflow = 0;
        while self.drop_unfinished() {}
        while self.depth > 1 {
            self.end_element();
            // What was shortened at its end may now be the beginning of the element before it.
            while self.drop_unfinished() {}
            self.depth -= 1;
        }
        self.end_element();
    }

    /// Ends an element of the innermost frame: a repeat of the one before it is taken back.
    pub(super) fn end_element(&mut self) {
        if self.overflow > 0 {
            return;
        }
        let frame = &mut self.frames[self.depth - 1];
        let (start, end) = (frame.start, self.text.len() as u32);
        frame.start = NOWHERE;
        if !frame.kind.drops_repeats() {
            return;
        }
        if start == NOWHERE {
            // An empty statement leaves no trace, an empty element two commas.
            if frame.kind != Kind::Statements {
                frame.kept = (0, 0);
            }
            return;
        }
        let (kept_start, kept_end) = frame.kept;
        let kept = &self.text[kept_start as usize..kept_end as usize];
        if !kept.is_empty() && kept == &self.text[start as usize..] {
            self.truncate(kept_end as usize);
        } else {
            frame.kept = (start, end);
        }
    }

    /// Writes a comma, which belongs to no element.
    pub(super) fn comma(&mut self) {
        if self.kind().is_list() {
            self.end_element();
        } else {
            self.begin(false);
        }
        self.text.push(',');
    }

    /// Returns the statement; `mark` is what [`split_mark`] found at the end of the text.
    pub(super) fn finish(mut self, mark: Option<&str>) -> Statement {
        if mark.is_none() {
            self.close_all();
        }
        let (literals_hash, is_batch) = (self.literals.hash(), self.asks_for_many);
        Statement { shape: self.into_shape(mark), literals_hash, is_batch }
    }

    fn into_shape(mut self, mark: Option<&str>) -> String {
        let marked = if mark.is_some() { MARK_BYTES } else { 0 };
        if self.text.len() + marked <= SHAPE_BYTES_MAX {
            if let Some(mark) = mark {
                self.begin(true);
                self.text.push_str(mark);
            }
            return self.text;
        }
        let mut hash = fnv1a(FNV_OFFSET, &self.text.as_bytes()[self.cut_at..]);
        hash = fnv1a(hash, mark.unwrap_or_default().as_bytes());
        let cut_at = self.cut_at;
        self.truncate(cut_at);
        self.begin(true);
        self.text.push(ELLIPSIS);
        let letters = (0..MARK_LETTERS).map(|at| (b'a' + (hash >> (4 * at) & 15) as u8) as char);
        self.text.extend(letters);
        self.text
    }

    /// Drops the last element of a list that a text cut off by its sender leaves open, when it
    /// began like the one before: where exactly it was cut must not matter. Returns whether there
    /// was one.
    fn drop_unfinished(&mut self) -> bool {
        for at in 1..self.depth {
            let Frame { kind, kept: (kept_start, kept_end), start } = self.frames[at];
            let kept = &self.text[kept_start as usize..kept_end as usize];
            if !kind.is_list() || kept.is_empty() {
                continue;
            }
            let only_a_comma = start == NOWHERE;
            let is_open = at + 1 < self.depth;
            if only_a_comma || is_open && kept.starts_with(&self.text[start as usize..]) {
                self.truncate(kept_end as usize);
                self.depth = at + 1;
                self.frames[at] = Frame { kind, kept: (0, 0), start: NOWHERE };
                return true;
            }
        }
        false
    }

    fn may_cut_here(&mut self) {
        if self.text.len() <= SHAPE_BYTES_MAX - MARK_BYTES {
            self.cut_at = self.text.len();
        }
    }
}

/// Splits the mark of a cut off the end of a text that is a shape already.
pub(super) fn split_mark(text: &str) -> (&str, Option<&str>) {
    let is_letter = |b: &u8| (b'a'..=b'p').contains(b);
    let split = text.len().checked_sub(MARK_LETTERS + ELLIPSIS.len_utf8());
    match split.and_then(|at| Some((text.get(..at)?, text.get(at..)?))) {
        Some((rest, mark)) if mark.starts_with(ELLIPSIS) => {
            let letters = &mark.as_bytes()[ELLIPSIS.len_utf8()..];
            let is_apart = rest.is_empty() || rest.ends_with(' ') && !rest.ends_with("; ");
            let is_mark = is_apart && letters.iter().all(is_letter);
            if is_mark { (rest, Some(mark)) } else { (text, None) }
        }
        _ => (text, None),
    }
}

const FNV_OFFSET: u32 = 0x811c_9dc5;

fn fnv1a(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, &b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193))
}
