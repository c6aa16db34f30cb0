//! One query, two spans: an ORM's instrumentation and its driver's both record it.
//!
//! The driver's span is mostly a *sibling* of the ORM's, within it in time only (EVIDENCE: 1106 of
//! 1110), else its child. The same statement, another scope and containment in time tell.

use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::rows::{NONE, Rows};
use crate::tree::Tree;

/// Returns for each span the one of another instrumentation that saw the same query, or [`NONE`].
pub(crate) fn find(rows: &Rows<'_>, tree: &Tree, meaning: &Meaning) -> Vec<u32> {
    let mut duplicate_of = vec![NONE; rows.len()];
    let mut outer_of = OuterOf { by_shape: vec![(NONE, NONE); meaning.texts.texts().len()] };
    for at in 0..rows.len() {
        let queries = tree.children(at).iter().map(|&child| child as usize);
        for child in queries.filter(|&child| rows.db_query[child] != Sym(0)) {
            if rows.db_query[at] != Sym(0) {
                mark(rows, meaning, &mut duplicate_of, at, child);
            }
            outer_of.mark_sibling(rows, meaning, &mut duplicate_of, at as u32, child);
        }
    }
    duplicate_of
}

/// The last span of each shape that is no duplicate, with the parent that it is a child of.
struct OuterOf {
    by_shape: Vec<(u32, u32)>,
}

impl OuterOf {
    /// Siblings come by start, so the outer span of a pair was seen before the inner one.
    fn mark_sibling(
        &mut self,
        rows: &Rows<'_>,
        meaning: &Meaning,
        duplicate_of: &mut [u32],
        parent: u32,
        at: usize,
    ) {
        let last = &mut self.by_shape[meaning.shape[at].0 as usize];
        if last.0 == parent {
            let outer = last.1 as usize;
            mark(rows, meaning, duplicate_of, outer, at);
            // Two readings of the clock can be one: then the longer of the two is the outer.
            if duplicate_of[at] == NONE && rows.start[outer] == rows.start[at] {
                mark(rows, meaning, duplicate_of, at, outer);
            }
        }
        if duplicate_of[at] == NONE {
            *last = (parent, at as u32);
        }
    }
}

fn mark(rows: &Rows<'_>, meaning: &Meaning, duplicate_of: &mut [u32], outer: usize, inner: usize) {
    let same_query = meaning.shape[outer] == meaning.shape[inner]
        && rows.db_query[inner] != Sym(0)
        && rows.process[outer] == rows.process[inner];
    let contained = rows.start[outer] <= rows.start[inner] && rows.end[inner] <= rows.end[outer];
    if same_query && contained && rows.scope[outer] != rows.scope[inner] {
        duplicate_of[inner] = outer as u32;
    }
}
