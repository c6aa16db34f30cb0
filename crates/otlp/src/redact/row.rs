//! [`Redactor`]: a redaction at work on the attributes of one span after the other.

use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::DefaultHashBuilder;

use super::{Action, MASK, MaskStatement, Redaction, Verdict};
use crate::attributes::{Attributes, KeySet, kind};
use crate::semconv::{self, Take};

/// Sets of keys whose verdicts are kept, of spans with all their events and links.
const ROWS_MAX: usize = 16;

/// Statements that are kept with what became of them, and how long they may be with the name of
/// their system, bytes: an N+1 sends the same one again and again.
const STATEMENTS_MAX: usize = 64;
const STATEMENT_BYTES_MAX: usize = 4096;

/// What a decoder needs to redact.
#[derive(Debug)]
pub(crate) struct Redactor {
    redaction: Arc<Redaction>,
    /// Rows of the keys that were met last.
    rows: Vec<Row>,
    /// The row that is replaced next.
    oldest: usize,
    statements: Statements,
    /// Attributes on their way through.
    moved: Attributes,
}

/// Statements that were masked.
#[derive(Default)]
struct Statements {
    /// Each in its place by a hash.
    masked: Vec<Option<Masked>>,
    hasher: DefaultHashBuilder,
}

/// They are as secret as what was in them.
impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statements").finish_non_exhaustive()
    }
}

/// What became of a statement.
struct Masked {
    system: Option<String>,
    text: String,
    instead: String,
}

/// What becomes of rows of the same keys.
#[derive(Debug)]
struct Row {
    keys: KeySet,
    /// Shared with the row that is being redacted.
    verdicts: Arc<[Verdict]>,
    keeps_all: bool,
    /// The number of the attribute that names the database system.
    system: Option<usize>,
    /// The number of the attribute that is the text of a query.
    statement: Option<usize>,
}

impl Row {
    fn new(attributes: &Attributes, entries: Range<usize>, redaction: &Redaction) -> Self {
        let keys = || entries.clone().map(|number| attributes.keys.get(number));
        let verdicts: Arc<[_]> = keys().map(|key| redaction.verdict(key)).collect();
        // Of a key that comes twice the last one counts.
        let last = |name: &[u8]| keys().rposition(|key| key == name);
        Self {
            keeps_all: verdicts.iter().all(|verdict| *verdict == Verdict::Keep),
            system: last(b"db.system.name").or_else(|| last(b"db.system")),
            statement: last(b"db.query.text").or_else(|| last(b"db.statement")),
            keys: KeySet::new(attributes, entries),
            verdicts,
        }
    }
}

impl Redactor {
    pub(crate) fn new(redaction: Arc<Redaction>) -> Self {
        Self {
            redaction,
            rows: Vec::new(),
            oldest: 0,
            statements: Statements::default(),
            moved: Attributes::default(),
        }
    }

    /// Returns what becomes of a row, found out now unless it is known.
    fn row(&mut self, attributes: &Attributes, entries: Range<usize>) -> &Row {
        let is_known = |row: &Row| row.keys.is_of(attributes, entries.clone());
        let number = self.rows.iter().position(is_known).unwrap_or_else(|| {
            let row = Row::new(attributes, entries, &self.redaction);
            if self.rows.len() < ROWS_MAX {
                self.rows.push(row);
                return self.rows.len() - 1;
            }
            self.oldest = (self.oldest + 1) % ROWS_MAX;
            self.rows[self.oldest] = row;
            self.oldest
        });
        &self.rows[number]
    }

    /// Returns the current name of the database system of the row that is being written, for which
    /// statements are read; `None` if that does not matter.
    pub(crate) fn system(&mut self, attributes: &Attributes) -> Option<String> {
        self.redaction.statements?;
        let entries = attributes.row(attributes.rows());
        let system = entries.start + self.row(attributes, entries).system?;
        let system = attributes.values.get(system);
        let current = semconv::renamed(Take::DbSystem, system).map(str::to_owned);
        Some(current.unwrap_or_else(|| String::from_utf8_lossy(system).into_owned()))
    }

    /// Returns what to call a span instead, if its name is the statement of the row that is being
    /// written, or how that begins, with literals in it.
    pub(crate) fn name(
        &mut self,
        attributes: &Attributes,
        name: &[u8],
        system: Option<&str>,
    ) -> Option<String> {
        let mask = self.redaction.statements?;
        let entries = attributes.row(attributes.rows());
        let statement = entries.start + self.row(attributes, entries).statement?;
        let begins = trim_ellipsis(name);
        if begins.iter().all(u8::is_ascii_alphabetic)
            || !begins_with(attributes.values.get(statement), begins)
        {
            return None;
        }
        let masked = self.statements.masked(&self.redaction, mask, name, system)?;
        (masked.as_bytes() != name).then_some(masked)
    }

    /// Redacts the rows from `rows` on, the one that is being written included.
    pub(crate) fn redact(
        &mut self,
        attributes: &mut Attributes,
        rows: usize,
        system: Option<&str>,
    ) {
        let mut keeps_all = |row| {
            let entries = attributes.row(row);
            entries.is_empty() || self.row(attributes, entries).keeps_all
        };
        if (rows..=attributes.rows()).all(&mut keeps_all) {
            return;
        }
        let mut moved = std::mem::take(&mut self.moved);
        attributes.move_rows(rows, &mut moved);
        for row in 0..=moved.rows() {
            self.put_row(attributes, &moved, row, system);
            if row < moved.rows() {
                attributes.close_row();
            }
        }
        self.moved = moved;
    }

    fn put_row(
        &mut self,
        attributes: &mut Attributes,
        moved: &Attributes,
        row: usize,
        system: Option<&str>,
    ) {
        let entries = moved.row(row);
        if entries.is_empty() {
            return;
        }
        let verdicts = Arc::clone(&self.row(moved, entries.clone()).verdicts);
        for (number, verdict) in entries.zip(verdicts.iter()) {
            let (key, value) = (moved.keys.get(number), moved.values.get(number));
            match self.redacted(*verdict, value, moved.kinds()[number], system) {
                Redacted::Dropped => {}
                Redacted::Kept(kind) => attributes.push(key, value, kind),
                Redacted::Replaced(text) => attributes.push(key, text.as_bytes(), kind::STRING),
            }
        }
    }

    fn redacted(
        &mut self,
        verdict: Verdict,
        value: &[u8],
        kind: u8,
        system: Option<&str>,
    ) -> Redacted {
        let redaction = &self.redaction;
        let hash = || format!("{:032x}", redaction.key.hash(value));
        match (verdict, kind) {
            (Verdict::Act(Action::Drop), _) => Redacted::Dropped,
            (Verdict::Keep, _) | (_, kind::NONE) => Redacted::Kept(kind),
            (Verdict::Act(Action::Mask), _) => Redacted::Replaced(MASK.into()),
            (Verdict::Statement, kind::STRING) => {
                let mask = redaction.statements;
                let masked =
                    mask.and_then(|mask| self.statements.masked(redaction, mask, value, system));
                Redacted::Replaced(masked.unwrap_or_else(hash).into())
            }
            (Verdict::Act(Action::Hash) | Verdict::Statement, _) => {
                Redacted::Replaced(hash().into())
            }
        }
    }
}

impl Statements {
    /// Returns a statement without its literals; `None` for bytes that are no text.
    fn masked(
        &mut self,
        redaction: &Redaction,
        mask: MaskStatement,
        text: &[u8],
        system: Option<&str>,
    ) -> Option<String> {
        let text = std::str::from_utf8(text).ok()?;
        let masked = || mask(system, text, &|literal| redaction.key.hash_literal(literal));
        if text.len() + system.map_or(0, str::len) > STATEMENT_BYTES_MAX {
            return Some(masked());
        }
        let place = self.hasher.hash_one((system, text)) as usize % STATEMENTS_MAX;
        let is_it = |of: &&Masked| of.text == text && of.system.as_deref() == system;
        if let Some(known) = self.masked.get(place).and_then(Option::as_ref).filter(is_it) {
            return Some(known.instead.clone());
        }
        let instead = masked();
        let (system, text) = (system.map(str::to_owned), text.to_owned());
        self.masked.resize_with(STATEMENTS_MAX, || None);
        self.masked[place] = Some(Masked { system, text, instead: instead.clone() });
        Some(instead)
    }
}

/// What is left of an attribute.
enum Redacted {
    Dropped,
    /// With its kind.
    Kept(u8),
    Replaced(Cow<'static, str>),
}

/// Whether a statement begins so, letter case and white space aside: Zipkin has names in small
/// letters, and some instrumentations make one line of a statement.
fn begins_with(statement: &[u8], begins: &[u8]) -> bool {
    let mut statement = letters(statement);
    letters(begins).all(|letter| statement.next() == Some(letter))
}

fn letters(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().filter(|b| !b.is_ascii_whitespace()).map(u8::to_ascii_lowercase)
}

/// Cuts off what says that a text was cut off.
fn trim_ellipsis(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let text = text.strip_suffix("…".as_bytes()).unwrap_or(text);
    text.strip_suffix(b"...").unwrap_or(text)
}
