//! Clock skew between hosts, by Jaeger's formula with the median over the calls of a host pair.
//!
//! Source: Jaeger, `clockskew` adjuster: a child on another host that does not lie inside its
//! parent is moved to the middle of it, and what hangs below it moves along. One call is noise, so
//! the median over all calls from one host to the other decides here. Raw times are kept.

use std::hash::Hash;

use arrow::array::RecordBatch;
use hashbrown::HashMap;

use crate::batch::int;
use crate::intern::Sym;
use crate::rows::{Kind, NONE, Rows};
use crate::tree::Tree;

/// The most that a span is moved, 36 years: corrections add up from host to host.
const SKEW_NANOS_MAX: i64 = 1 << 60;

/// Returns what is to be added to each span's times so that they fit its root's clock, ns.
pub(crate) fn correct(rows: &Rows, tree: &Tree, skew_nanos_max: i64) -> Vec<i64> {
    move_by(rows, tree, &offsets(deltas(rows, tree), skew_nanos_max))
}

/// As [`correct`], by what is known of the clocks of hosts.
pub(crate) fn move_by(rows: &Rows, tree: &Tree, offsets: &HashMap<HostPair, i64>) -> Vec<i64> {
    let mut skew = vec![0; rows.len()];
    for &at in &tree.top_down {
        let at = at as usize;
        let Some(parent) = tree.parent(at) else { continue };
        skew[at] = skew[parent];
        if let Some(pair) = host_pair(rows, parent, at) {
            let offset = offsets.get(&pair).copied().unwrap_or(0);
            skew[at] = (skew[at] + offset).clamp(-SKEW_NANOS_MAX, SKEW_NANOS_MAX);
        }
    }
    skew
}

/// Returns what an earlier pass found, if the batches bring it along.
pub(crate) fn known(rows: &Rows, batches: &[RecordBatch]) -> Option<Vec<i64>> {
    let mut by_input = Vec::with_capacity(rows.len());
    for batch in batches {
        let skew = int(batch, "skew_nanos").ok()?;
        by_input.extend((0..batch.num_rows()).map(|row| skew.value(row)));
    }
    let bounded = |skew: i64| skew.clamp(-SKEW_NANOS_MAX, SKEW_NANOS_MAX);
    Some(rows.input.iter().map(|&row| bounded(by_input[row as usize])).collect())
}

/// Start and end of each span after correction.
#[derive(Debug, Default)]
pub(crate) struct Times {
    pub(crate) start: Vec<i64>,
    pub(crate) end: Vec<i64>,
}

impl Times {
    pub(crate) fn new(rows: &Rows, skew: &[i64]) -> Self {
        let add = |times: &[i64]| times.iter().zip(skew).map(|(t, s)| t + s).collect();
        Self { start: add(&rows.start), end: add(&rows.end) }
    }

    pub(crate) fn duration(&self, at: usize) -> i64 {
        self.end[at] - self.start[at]
    }

    /// Returns the children of a span by corrected start; `order` is room for them.
    pub(crate) fn children<'a>(
        &self,
        tree: &'a Tree,
        at: usize,
        order: &'a mut Vec<u32>,
    ) -> &'a [u32] {
        let children = tree.children(at);
        let start = |&child: &u32| self.start[child as usize];
        if children.is_sorted_by_key(start) {
            return children;
        }
        order.clear();
        order.extend_from_slice(children);
        order.sort_by_key(start);
        order
    }
}

/// The host of a caller, and another that it called.
pub(crate) type HostPair = (Sym, Sym);

fn host_pair(rows: &Rows, parent: usize, child: usize) -> Option<HostPair> {
    let host = |at: usize| rows.process_hosts[rows.process[at] as usize];
    let pair = (host(parent), host(child));
    (pair.0 != pair.1).then_some(pair)
}

/// Returns what each call from one host to another says of their clocks.
pub(crate) fn deltas(rows: &Rows, tree: &Tree) -> HashMap<HostPair, Vec<i64>> {
    let mut deltas: HashMap<HostPair, Vec<i64>> = HashMap::new();
    for at in 0..rows.len() {
        if tree.parent[at] == NONE {
            continue;
        }
        let parent = tree.parent[at] as usize;
        if let Some(pair) = host_pair(rows, parent, at) {
            deltas.entry(pair).or_default().push(delta(rows, parent, at));
        }
    }
    deltas
}

/// Returns by how much the clocks of two hosts differ, from what all calls between them say.
pub(crate) fn offsets<Pair: Eq + Hash>(
    deltas: HashMap<Pair, Vec<i64>>,
    max: i64,
) -> HashMap<Pair, i64> {
    deltas
        .into_iter()
        .map(|(pair, mut deltas)| (pair, median(&mut deltas)))
        .filter(|(_, delta)| delta.abs() <= max)
        .collect()
}

/// Jaeger's formula for one call. A message waits in its queue, which is no skew: a CONSUMER is
/// only kept from starting before its PRODUCER.
fn delta(rows: &Rows, parent: usize, child: usize) -> i64 {
    let (parent_start, child_start) = (rows.start[parent], rows.start[child]);
    let spare = rows.duration(parent) - rows.duration(child);
    if spare < 0 || rows.kind[child] == Kind::Consumer {
        return (parent_start - child_start).max(0);
    }
    if child_start >= parent_start && rows.end[child] <= rows.end[parent] {
        return 0;
    }
    parent_start + spare / 2 - child_start
}

pub(crate) fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    let middle = values.len() / 2;
    match values.len() {
        0 => 0,
        n if n % 2 == 1 => values[middle],
        _ => values[middle - 1].midpoint(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PassOptions;
    use crate::test_support::{Pass, Span, batch, span};

    /// Checks by how many milliseconds spans 1, 2, 3 ... are moved.
    fn check(spans: &[Span], expected: &[f64]) {
        let pass = Pass::over(spans);
        for (id, &millis) in (1..).zip(expected) {
            assert_eq!(pass.millis(id, "skew_nanos"), Some(millis), "of span {id}");
        }
    }

    fn call(id: u64) -> Span {
        span(id, 0, 0, 100).trace(id.into()).client()
    }

    fn answer(id: u64, start: i64, end: i64) -> Span {
        span(id, id - 1, start, end).trace((id - 1).into()).server().service("orders")
    }

    #[test]
    fn a_child_outside_its_parent_is_moved_to_its_middle() {
        check(&[call(1), answer(2, 520, 580)], &[0.0, -500.0]);
        check(&[call(1), answer(2, -520, -460)], &[0.0, 540.0]);
        check(&[call(1), answer(2, 60, 120)], &[0.0, -40.0]);
    }

    #[test]
    fn a_child_within_its_parent_stays() {
        check(&[call(1), answer(2, 5, 65)], &[0.0, 0.0]);
    }

    #[test]
    fn a_longer_child_is_only_kept_from_starting_first() {
        check(&[call(1), answer(2, 50, 350)], &[0.0, 0.0]);
        check(&[call(1), answer(2, -50, 350)], &[0.0, 50.0]);
    }

    #[test]
    fn one_host_has_one_clock() {
        let on = |host: &str, span: Span| span.with("host_name", host);
        let late = |host| [on("a", call(1)), on(host, answer(2, 520, 580))];
        check(&late("a"), &[0.0, 0.0]);
        check(&late("b"), &[0.0, -500.0]);
        // The host's id says more than its name.
        let same_id = late("b").map(|span| span.with("host_id", "i-1"));
        check(&same_id, &[0.0, 0.0]);
    }

    #[test]
    fn one_process_has_one_clock() {
        let spans = [call(1), span(2, 1, 520, 580).trace(1), span(3, 1, -50, -40).trace(1)];
        check(&spans, &[0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_hangs_below_moves_along() {
        let spans = [
            call(1),
            answer(2, 520, 580),
            span(3, 2, 530, 540).trace(1).service("orders"),
            // A third clock is told against the second.
            span(4, 3, 1030, 1040).trace(1).service("pricing"),
        ];
        check(&spans, &[0.0, -500.0, -500.0, -1000.0]);
    }

    #[test]
    fn the_median_call_of_two_hosts_decides() {
        let spans = [
            call(1),
            answer(2, 520, 580),
            call(3),
            answer(4, 530, 590),
            call(5),
            answer(6, 900, 960),
        ];
        check(&spans, &[0.0, -510.0, 0.0, -510.0, 0.0, -510.0]);
    }

    #[test]
    fn a_message_that_waits_is_no_skew() {
        let sent = span(1, 0, 0, 10).kind("PRODUCER");
        let taken = |start, end| span(2, 1, start, end).kind("CONSUMER").service("worker");
        check(&[sent.clone(), taken(5000, 5004)], &[0.0, 0.0]);
        check(&[sent, taken(-30, -26)], &[0.0, 30.0]);
    }

    #[test]
    fn a_clock_that_is_off_by_too_much_is_left_alone() {
        let spans = [batch(&[call(1), answer(2, 520, 580)])];
        let skew = |millis: i64| {
            let options =
                PassOptions { skew_nanos_max: millis * 1_000_000, ..PassOptions::default() };
            Pass::with(&spans, &options).millis(2, "skew_nanos")
        };
        assert_eq!([skew(499), skew(500)], [Some(0.0), Some(-500.0)]);
    }

    /// Each host is half a day ahead of the one that called it.
    #[test]
    fn corrections_that_add_up_stay_bounded() {
        let half_a_day = 12 * 3600 * 1000;
        let hosts = |id: u64| span(id, id - 1, id as i64 * half_a_day, id as i64 * half_a_day + 9);
        let spans: Vec<Span> = (1..=30_000).map(|id| hosts(id).service(&id.to_string())).collect();
        let pass = Pass::over(&spans);
        assert_eq!(pass.int(30_000, "skew_nanos"), Some(-SKEW_NANOS_MAX));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let cases: [(&mut [i64], i64); 5] = [
            (&mut [], 0),
            (&mut [7], 7),
            (&mut [9, 1], 5),
            (&mut [3, 1, 2], 2),
            (&mut [i64::MAX, i64::MIN], 0),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values), expected, "{values:?}");
        }
    }
}
