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
