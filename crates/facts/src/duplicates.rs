//! One query, two spans: an ORM's instrumentation and its driver's both record it.
//!
//! The driver's span is mostly a *sibling* of the ORM's, within it in time only (EVIDENCE: 1106 of
//! 1110), else its child. The same statement, another scope and containment in time tell.

use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::rows::{NONE, Rows};
use crate::tree::Tree;

/// Returns for each span the one of another instrumentation that saw the same query, or [`NONE`].
pub(crate) fn find(rows: &Rows, tree: &Tree, meaning: &Meaning) -> Vec<u32> {
    let mut duplicate_of = vec![NONE; rows.len()];
    let mut outer_of = OuterOf { by_shape: vec![(NONE, NONE); meaning.texts.len()] };
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
        rows: &Rows,
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

fn mark(rows: &Rows, meaning: &Meaning, duplicate_of: &mut [u32], outer: usize, inner: usize) {
    let same_query = meaning.shape[outer] == meaning.shape[inner]
        && rows.db_query[inner] != Sym(0)
        && rows.process[outer] == rows.process[inner];
    let contained = rows.start[outer] <= rows.start[inner] && rows.end[inner] <= rows.end[outer];
    if same_query && contained && rows.scope[outer] != rows.scope[inner] {
        duplicate_of[inner] = outer as u32;
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::{Pass, Span, span};

    const QUERY: &str = "SELECT * FROM item WHERE id = 1";

    fn orm(id: u64, parent: u64, start: i64, end: i64) -> Span {
        span(id, parent, start, end).query(QUERY).scope("sqlalchemy")
    }

    fn driver(id: u64, parent: u64, start: i64, end: i64) -> Span {
        span(id, parent, start, end).query(QUERY)
    }

    /// Checks which span each of 2, 3, 4 ... is a duplicate of, under the root 1.
    fn check(spans: &[Span], expected: &[Option<u64>]) {
        let mut all = vec![span(1, 0, 0, 1000)];
        all.extend_from_slice(spans);
        let pass = Pass::over(&all);
        for (id, &outer) in (2..).zip(expected) {
            assert_eq!(pass.id(id, "duplicate_of"), outer, "of span {id}");
        }
    }

    #[test]
    fn a_sibling_within_it_is_the_drivers_view_of_one_query() {
        check(&[orm(2, 1, 10, 20), driver(3, 1, 11, 19)], &[None, Some(2)]);
    }

    #[test]
    fn a_child_is_the_drivers_view_of_one_query() {
        check(&[orm(2, 1, 10, 20), driver(3, 2, 11, 19)], &[None, Some(2)]);
    }

    #[test]
    fn each_query_of_a_loop_has_its_own_duplicate() {
        let spans = [
            orm(2, 1, 10, 20),
            driver(3, 1, 11, 19),
            orm(4, 1, 20, 30),
            driver(5, 1, 21, 29),
            orm(6, 1, 40, 50),
            driver(7, 1, 40, 50),
        ];
        check(&spans, &[None, Some(2), None, Some(4), None, Some(6)]);
    }

    #[test]
    fn of_two_that_start_at_once_the_longer_is_the_outer() {
        check(&[driver(2, 1, 10, 19), orm(3, 1, 10, 20)], &[Some(3), None]);
        check(&[orm(2, 1, 10, 20), driver(3, 1, 10, 19)], &[None, Some(2)]);
    }

    #[test]
    fn literals_do_not_matter() {
        let inlined = driver(3, 1, 11, 19).query("SELECT * FROM item WHERE id = 2");
        check(&[orm(2, 1, 10, 20), inlined], &[None, Some(2)]);
    }

    #[test]
    fn repeats_one_after_the_other_are_queries_of_their_own() {
        check(&[orm(2, 1, 10, 20), driver(3, 1, 20, 30)], &[None, None]);
        check(&[orm(2, 1, 10, 20), driver(3, 1, 15, 25)], &[None, None]);
        check(&[driver(2, 1, 10, 20), driver(3, 1, 30, 40)], &[None, None]);
    }

    #[test]
    fn one_instrumentation_sees_a_query_once() {
        check(&[driver(2, 1, 10, 20), driver(3, 1, 11, 19)], &[None, None]);
    }

    #[test]
    fn another_statement_or_process_is_another_query() {
        let other = driver(3, 1, 11, 19).query("SELECT * FROM shop WHERE id = 1");
        check(&[orm(2, 1, 10, 20), other], &[None, None]);
        check(&[orm(2, 1, 10, 20), driver(3, 2, 11, 19).instance("app-2")], &[None, None]);
    }

    #[test]
    fn siblings_of_other_parents_do_not_meet() {
        let under = |id, parent| driver(id, parent, 11, 19);
        let spans = [span(2, 1, 0, 100), span(3, 1, 0, 100), orm(4, 2, 10, 20), under(5, 3)];
        check(&spans, &[None, None, None, None]);
    }
}
