//! [`Redaction`]: what of attributes and statements is hidden while spans are decoded.
//!
//! It happens before a span is taken into its batch, so what is hidden is in no buffer of it: the
//! promoted columns, the quarantine and all that is stored later see the redacted values alone.
//! What the sender counted as dropped stays what it counted.
//!
//! # Not covered
//!
//! - Free text: names of spans and events (but see [`Redaction::statements`]), status messages, and
//!   `exception.message` and `exception.stacktrace`, which may quote a statement. Rules can hide
//!   the last two. Tags of Jaeger and Zipkin that OTLP has a field for, such as `error`, are that
//!   field.
//! - A name that is a statement where no attribute has the statement, or on another kind of span.
//! - The name and version of a scope, schema URLs and trace states.
//! - Keys, and what is inside arrays and key-value lists: a rule hides an attribute as a whole.

mod pattern;
mod row;

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::semconv;
use pattern::matches;

pub(crate) use row::Redactor;

/// What is put in the place of a masked value.
const MASK: &str = "***";

/// What hides a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The attribute goes.
    Drop,
    /// Its value becomes a string of 32 hexadecimal digits, a keyed hash of its text: equal values
    /// stay equal.
    Hash,
    /// Its value becomes the string `***`.
    Mask,
}

/// One line of a [`Redaction`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The name of an attribute of a resource, scope, span, event or link; `*` stands for any text.
    /// A name of the current semantic conventions is also met by its older names, whole or in part:
    /// `url.query` by `http.target`.
    pub attribute: String,
    pub action: Action,
}

/// Puts tokens in the place of a statement's literals: `(db.system.name, statement, hash)`. The
/// text may be four times as long as the statement and 64 bytes, not more.
pub type MaskStatement = fn(Option<&str>, &str, &dyn Fn(&str) -> u64) -> String;

/// What is hidden, and how. The same for all spans; decoders share one.
#[derive(Debug, Clone)]
pub struct Redaction {
    pub key: RedactionKey,
    /// The first rule that is met by an attribute decides, also about a statement.
    pub rules: Vec<Rule>,
    /// Hides the literals in the text and summary of database queries, under their old and current
    /// names, and in the name of a CLIENT span that is its statement or how that begins. A
    /// parameter of a query is a literal, and so is a statement that is no string: they are hashed.
    /// `None` leaves all of these as they are.
    pub statements: Option<MaskStatement>,
}

impl Redaction {
    fn verdict(&self, name: &[u8]) -> Verdict {
        let current: Vec<_> = semconv::current(name).collect();
        let is_met = |rule: &&Rule| {
            let meets = |name: &[u8]| matches(rule.attribute.as_bytes(), name);
            meets(name) || current.iter().any(|name| meets(name))
        };
        if let Some(rule) = self.rules.iter().find(is_met) {
            return Verdict::Act(rule.action);
        }
        if self.statements.is_none() {
            return Verdict::Keep;
        }
        if semconv::is_statement(name) || current.iter().any(|name| semconv::is_statement(name)) {
            Verdict::Statement
        } else if semconv::is_query_parameter(name) {
            Verdict::Act(Action::Hash)
        } else {
            Verdict::Keep
        }
    }
}

/// What becomes of an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Keep,
    Act(Action),
    Statement,
}

/// The secret of the hashes. Whoever has it can try out values until one has a given hash.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactionKey([u8; 16]);

impl RedactionKey {
    /// Takes 16 bytes from a good random source. The same key gives the same hashes.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// `SipHash`-2-4 with 128 bits: made to be safe against who may choose what is hashed.
    fn hash(&self, text: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(text);
        hasher.finish128().as_u128()
    }

    /// The half of the hash that stands for a literal of a statement.
    fn hash_literal(&self, literal: &str) -> u64 {
        self.hash(literal.as_bytes()) as u64
    }
}

/// Never shows the key.
impl fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedactionKey(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_reference() {
        // `vectors_sip128` of the reference implementation: the key 00 to 0f, no bytes, one byte.
        let key = RedactionKey::new(std::array::from_fn(|at| at as u8));
        let bytes = |text: &[u8]| key.hash(text).to_le_bytes();
        assert_eq!(bytes(b"")[..4], [0xa3, 0x81, 0x7f, 0x04]);
        assert_eq!(bytes(b"\0")[..4], [0xda, 0x87, 0xc1, 0xd8]);
    }

    #[test]
    fn a_key_is_not_shown() {
        let redaction =
            Redaction { key: RedactionKey::new([77; 16]), rules: Vec::new(), statements: None };
        let shown = format!("{redaction:?}");
        assert!(!shown.contains("77") && !shown.contains("4d"), "{shown}");
    }

    #[test]
    fn the_first_rule_decides_and_statements_come_last() {
        let rule = |attribute: &str, action| Rule { attribute: attribute.to_owned(), action };
        let rules = vec![
            rule("http.request.header.cookie", Action::Drop),
            rule("http.request.header.*", Action::Hash),
            rule("url.query", Action::Mask),
            rule("db.statement", Action::Drop),
        ];
        let statements: Option<MaskStatement> = Some(|_, text, _| text.to_owned());
        let mut redaction = Redaction { key: RedactionKey::new([0; 16]), rules, statements };
        let check = |redaction: &Redaction, name: &str, expected| {
            assert_eq!(redaction.verdict(name.as_bytes()), expected, "{name}");
        };
        check(&redaction, "http.request.header.cookie", Verdict::Act(Action::Drop));
        check(&redaction, "http.request.header.x", Verdict::Act(Action::Hash));
        check(&redaction, "http.target", Verdict::Act(Action::Mask));
        check(&redaction, "http.method", Verdict::Keep);
        check(&redaction, "db.statement", Verdict::Act(Action::Drop));
        for name in ["db.query.text", "db.query.summary", "sql.query"] {
            check(&redaction, name, Verdict::Statement);
        }
        for name in ["db.query.parameter.id", "db.operation.parameter.0", "db.statement.parameters"]
        {
            check(&redaction, name, Verdict::Act(Action::Hash));
        }
        redaction.statements = None;
        check(&redaction, "db.query.text", Verdict::Keep);
        check(&redaction, "db.query.parameter.id", Verdict::Keep);
    }
}
