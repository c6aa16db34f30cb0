//! Numbers for strings: each distinct text once, compared by number from then on.

use hashbrown::HashTable;
use std::borrow::Cow;
use std::hash::BuildHasher;

/// The number of a distinct text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sym(pub(crate) u32);

/// Distinct texts in the order they were first seen; the first is always the empty text.
#[derive(Debug)]
pub(crate) struct Interner<'a> {
    hasher: hashbrown::DefaultHashBuilder,
    table: HashTable<u32>,
    texts: Vec<Cow<'a, str>>,
}

impl<'a> Interner<'a> {
    pub(crate) fn new() -> Self {
        let mut interner = Self {
            hasher: hashbrown::DefaultHashBuilder::default(),
            table: HashTable::new(),
            texts: Vec::new(),
        };
        interner.intern("");
        interner
    }

    /// Returns the number of `text`, which is kept by reference.
    pub(crate) fn intern(&mut self, text: &'a str) -> Sym {
        self.add(Cow::Borrowed(text))
    }

    /// Returns the number of `text`, which is kept as it is.
    pub(crate) fn intern_owned(&mut self, text: String) -> Sym {
        self.add(Cow::Owned(text))
    }

    fn add(&mut self, text: Cow<'a, str>) -> Sym {
        let hash = self.hasher.hash_one(text.as_ref());
        let texts = &self.texts;
        if let Some(&at) = self.table.find(hash, |&at| texts[at as usize] == text) {
            return Sym(at);
        }
        let at =
            u32::try_from(self.texts.len()).expect("fewer distinct texts than spans, SPANS_MAX");
        self.texts.push(text);
        let (texts, hasher) = (&self.texts, &self.hasher);
        self.table.insert_unique(hash, at, |&at| hasher.hash_one(texts[at as usize].as_ref()));
        Sym(at)
    }

    pub(crate) fn text(&self, sym: Sym) -> &str {
        &self.texts[sym.0 as usize]
    }

    /// Returns every text, by number.
    pub(crate) fn texts(&self) -> &[Cow<'a, str>] {
        &self.texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_get_one_number() {
        let mut interner = Interner::new();
        let a = interner.intern("a");
        assert_eq!(interner.intern_owned("a".to_owned()), a);
        assert_ne!(interner.intern("b"), a);
        assert_eq!(interner.intern(""), Sym(0));
        assert_eq!(interner.text(a), "a");
    }
}
