//! Which siblings ran one after the other.

use crate::skew::Times;
use crate::tree::Tree;

/// Returns a number for each span: siblings with one number followed each other without overlap.
pub(crate) fn number(tree: &Tree, times: &Times) -> Vec<u32> {
    let mut numbers = vec![0; tree.parent.len()];
    let mut order = Vec::new();
    for at in 0..numbers.len() {
        let mut number = 0;
        let mut busy_until = i64::MIN;
        for &child in times.children(tree, at, &mut order) {
            let child = child as usize;
            number += u32::from(times.start[child] < busy_until);
            numbers[child] = number;
            busy_until = busy_until.max(times.end[child]);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use crate::test_support::{Pass, Span, span};

    fn check(children: &[Span], expected: &[i64]) {
        let mut all = vec![span(1, 0, 0, 1000)];
        all.extend_from_slice(children);
        let pass = Pass::over(&all);
        for (id, &number) in (2..).zip(expected) {
            assert_eq!(pass.int(id, "sequence_id"), Some(number), "of span {id}");
        }
    }

    #[test]
    fn siblings_that_follow_each_other_share_a_number() {
        check(&[span(2, 1, 0, 10), span(3, 1, 10, 20), span(4, 1, 25, 30)], &[0, 0, 0]);
    }

    #[test]
    fn a_sibling_that_overlaps_any_before_it_starts_anew() {
        let spans = [
            span(2, 1, 0, 10),
            span(3, 1, 5, 20),
            span(4, 1, 20, 40),
            span(5, 1, 21, 22),
            // Not with its neighbour, but with the long one.
            span(6, 1, 30, 35),
            span(7, 1, 40, 50),
        ];
        check(&spans, &[0, 1, 1, 2, 3, 3]);
    }

    /// By the raw clocks the calls come the other way round.
    #[test]
    fn the_order_is_that_of_corrected_times() {
        let call = |start, end| span(3, 1, start, end).service("orders");
        // From 50 to 950, and from 450 to 550.
        check(&[span(2, 1, 940, 960), call(2000, 2900)], &[1, 0]);
        check(&[span(2, 1, 200, 210), call(-700, -600)], &[0, 0]);
    }
}
