//! Clock skew between hosts, by Jaeger's formula with the median over the calls of a host pair.
//!
//! Source: Jaeger, `clockskew` adjuster: a child on another host that does not lie inside its
//! parent is moved to the middle of it, and what hangs below it moves along. One call is noise, so
//! the median over all calls from one host to the other decides here. Raw times are kept.

use hashbrown::HashMap;

use crate::intern::Sym;
use crate::rows::{Kind, NONE, Rows};
use crate::tree::Tree;

/// The most that a span is moved, 36 years: corrections add up from host to host.
const SKEW_NANOS_MAX: i64 = 1 << 60;

/// Returns what is to be added to each span's times so that they fit its root's clock, ns.
pub(crate) fn correct(rows: &Rows<'_>, tree: &Tree, skew_nanos_max: i64) -> Vec<i64> {
    let offsets = host_offsets(rows, tree, skew_nanos_max);
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

/// Start and end of each span after correction.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) start: Vec<i64>,
    pub(crate) end: Vec<i64>,
}

impl Times {
    pub(crate) fn new(rows: &Rows<'_>, skew: &[i64]) -> Self {
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

type HostPair = (Sym, Sym);

fn host_pair(rows: &Rows<'_>, parent: usize, child: usize) -> Option<HostPair> {
    let host = |at: usize| rows.process_hosts[rows.process[at] as usize];
    let pair = (host(parent), host(child));
    (pair.0 != pair.1).then_some(pair)
}

fn host_offsets(rows: &Rows<'_>, tree: &Tree, max: i64) -> HashMap<HostPair, i64> {
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
        .into_iter()
        .map(|(pair, mut deltas)| (pair, median(&mut deltas)))
        .filter(|(_, delta)| delta.abs() <= max)
        .collect()
}

/// Jaeger's formula for one call. A message waits in its queue, which is no skew: a CONSUMER is
/// only kept from starting before its PRODUCER.
fn delta(rows: &Rows<'_>, parent: usize, child: usize) -> i64 {
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
