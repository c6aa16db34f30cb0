//! Numbers for strings: each distinct text once, compared by number from then on.

use hashbrown::HashTable;
use std::hash::BuildHasher;

/// The number of a distinct text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sym(pub(crate) u32);

/// Distinct texts in the order they were first seen; the first is always the empty text.
#[derive(Debug)]
pub(crate) struct Interner {
    hasher: hashbrown::DefaultHashBuilder,
    table: HashTable<u32>,
    texts: Texts,
}

/// Texts one behind the other.
#[derive(Debug, Default)]
struct Texts {
    joined: String,
    ends: Vec<usize>,
}

impl Texts {
    fn get(&self, at: u32) -> &str {
        let at = at as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.joined[start..self.ends[at]]
    }

    fn push(&mut self, text: &str) {
        self.joined.push_str(text);
        self.ends.push(self.joined.len());
    }
}

impl Default for Interner {
    fn default() -> Self {
        Self::new()
    }
}

impl Interner {
    pub(crate) fn new() -> Self {
        let mut interner = Self {
            hasher: hashbrown::DefaultHashBuilder::default(),
            table: HashTable::new(),
            texts: Texts::default(),
        };
        interner.intern("");
        interner
    }

    /// Returns the number of `text`, of which a copy is kept.
    pub(crate) fn intern(&mut self, text: &str) -> Sym {
        let hash = self.hasher.hash_one(text);
        let texts = &self.texts;
        if let Some(&at) = self.table.find(hash, |&at| texts.get(at) == text) {
            return Sym(at);
        }
        let at = u32::try_from(self.len()).expect("fewer distinct texts than spans, SPANS_MAX");
        self.texts.push(text);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.table.insert_unique(hash, at, |&at| hasher.hash_one(texts.get(at)));
        Sym(at)
    }

    pub(crate) fn text(&self, sym: Sym) -> &str {
        self.texts.get(sym.0)
    }

    /// Returns how many distinct texts there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_get_one_number() {
        let mut interner = Interner::new();
        let a = interner.intern("a");
        assert_eq!(interner.intern(&String::from("a")), a);
        assert_ne!(interner.intern("bc"), a);
        assert_eq!(interner.intern(""), Sym(0));
        let c = interner.intern("c");
        assert_eq!(
            ["", "a", "bc", "c"].map(|text| interner.intern(text)).map(|sym| sym.0),
            [0, 1, 2, 3]
        );
        assert_eq!((interner.text(Sym(0)), interner.text(a), interner.text(c)), ("", "a", "c"));
        assert_eq!(interner.len(), 4);
    }
}
