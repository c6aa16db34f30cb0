//! One query, two spans: an ORM's instrumentation and its driver's both record it.
//!
//! The driver's span is mostly a *sibling* of the ORM's, within it in time only (EVIDENCE: 1106 of
//! 1110), else its child. The same statement, another scope and containment in time tell.

use hashbrown::HashMap;

use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::rows::{NONE, Rows};
use crate::tree::Tree;

/// Returns for each span the one of another instrumentation that saw the same query, or [`NONE`].
pub(crate) fn find(rows: &Rows<'_>, tree: &Tree, meaning: &Meaning) -> Vec<u32> {
    let mut duplicate_of = vec![NONE; rows.len()];
    let mut last: HashMap<Sym, u32> = HashMap::new();
    for at in 0..rows.len() {
        if rows.db_query[at] != Sym(0) {
            for &child in tree.children(at) {
                mark(rows, meaning, &mut duplicate_of, at, child as usize);
            }
        }
        last.clear();
        for &child in tree.children(at) {
            if rows.db_query[child as usize] != Sym(0) {
                mark_sibling(rows, meaning, &mut duplicate_of, &mut last, child as usize);
            }
        }
    }
    duplicate_of
}

/// Siblings come by start, so the outer span of a pair was seen before the inner one.
fn mark_sibling(
    rows: &Rows<'_>,
    meaning: &Meaning,
    duplicate_of: &mut [u32],
    last: &mut HashMap<Sym, u32>,
    at: usize,
) {
    let shape = meaning.shape[at];
    let Some(&outer) = last.get(&shape) else {
        last.insert(shape, at as u32);
        return;
    };
    let outer = outer as usize;
    mark(rows, meaning, duplicate_of, outer, at);
    if duplicate_of[at] == NONE {
        // Two clocks readings can be one: then the longer of the two is the outer.
        if rows.start[outer] == rows.start[at] {
            mark(rows, meaning, duplicate_of, at, outer);
        }
        last.insert(shape, at as u32);
    }
}

fn mark(
    rows: &Rows<'_>,
    meaning: &Meaning,
    duplicate_of: &mut [u32],
    outer: usize,
    inner: usize,
) {
    let same_query = meaning.shape[outer] == meaning.shape[inner]
        && rows.db_query[inner] != Sym(0)
        && rows.process[outer] == rows.process[inner];
    let contained =
        rows.start[outer] <= rows.start[inner] && rows.end[inner] <= rows.end[outer];
    if same_query && contained && rows.scope[outer] != rows.scope[inner] {
        duplicate_of[inner] = outer as u32;
    }
}
