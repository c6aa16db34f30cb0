//! What was refused, and what was mended: a count and the first example of each reason.

use std::collections::BTreeMap;
use std::fmt;

/// Why a span was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The trace id is missing, not 16 bytes (32 hex digits), or zero.
    TraceId,
    /// The span id is missing, not 8 bytes (16 hex digits), or zero.
    SpanId,
    /// The parent span id is neither absent nor 8 bytes (16 hex digits).
    ParentSpanId,
    /// A time, that of an event included, is not a number or lies before 1970 or after 2262
    /// (`i64::MAX` nanoseconds).
    Time,
    /// The span's own bytes break, or a field has a type it cannot have.
    Malformed,
    /// The text of its resource and scope, repeated for each span, would pass
    /// [`DecoderOptions::repeated_bytes_max`](crate::DecoderOptions::repeated_bytes_max).
    RepeatedBytes,
}

impl Reason {
    /// Returns the reason in words, lower case, without a full stop.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TraceId => "trace id is missing, zero or not 16 bytes",
            Self::SpanId => "span id is missing, zero or not 8 bytes",
            Self::ParentSpanId => "parent span id is not 8 bytes",
            Self::Time => "a time is not between 1970 and 2262",
            Self::Malformed => "span is malformed",
            Self::RepeatedBytes => "text repeated from its resource and scope is over the limit",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was mended in a span that was taken all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Repair {
    /// Bytes that are not UTF-8, or a lone surrogate, became U+FFFD.
    Text,
    /// The span named itself as its parent and became a root.
    OwnParent,
    /// What an attribute value nests deeper than 64 levels became `null`.
    Value,
    /// A link, or something in a resource or scope, that could not be read was left out.
    Item,
    /// A key came more than once among the attributes of one span, event, link, resource or scope:
    /// the last one was kept.
    Key,
}

impl Repair {
    /// Every repair, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Text, Self::OwnParent, Self::Value, Self::Item, Self::Key];

    /// Returns the repair in words, lower case, without a full stop.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text that is not UTF-8 was taken with U+FFFD in place of the bad bytes",
            Self::OwnParent => "a span that named itself as its parent was taken as a root",
            Self::Value => "an attribute value nested deeper than 64 levels was cut off there",
            Self::Item => {
                "a link or a part of a resource or scope that could not be read was left out"
            }
            Self::Key => "of attributes with the same key the last one was kept",
        }
    }
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How often something happened, and its first example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    pub count: u64,
    /// What was seen the first time, in at most [`Tally::EXAMPLE_CHARS_MAX`] characters.
    pub example: String,
}

/// Spans refused, by reason.
pub type Rejected = Tally<Reason>;

/// A count and a first example for each key; small, whatever comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<K> {
    counts: BTreeMap<K, Counted>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Tally<K> {
    /// The longest example kept.
    pub const EXAMPLE_CHARS_MAX: usize = 200;

    /// Counts `count` more; keeps `example` if it is the first.
    pub(crate) fn add_many(&mut self, key: K, count: u64, example: impl FnOnce() -> String) {
        if count > 0 {
            self.add(key, example);
            self.counts.entry(key).and_modify(|counted| counted.count += count - 1);
        }
    }

    /// Counts one more; keeps `example` if it is the first.
    pub fn add(&mut self, key: K, example: impl FnOnce() -> String) {
        let counted = self.counts.entry(key).or_insert_with(|| {
            let example = example().chars().take(Self::EXAMPLE_CHARS_MAX).collect();
            Counted { count: 0, example }
        });
        counted.count += 1;
    }

    /// Adds what `later` counted; examples of `self` stay.
    pub fn merge(&mut self, later: Self) {
        for (key, counted) in later.counts {
            match self.counts.entry(key) {
                std::collections::btree_map::Entry::Occupied(mut e) => {
                    e.get_mut().count += counted.count;
                }
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert(counted);
                }
            }
        }
    }

    /// Returns the sum over all reasons.
    pub fn total(&self) -> u64 {
        self.counts.values().map(|c| c.count).sum()
    }

    /// Returns whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Returns each reason with its count and first example, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &Counted)> {
        self.counts.iter().map(|(k, c)| (*k, c))
    }
}
