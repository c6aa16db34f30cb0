//! The trees: parents, children, roots, depth. Nothing recurses: a chain may be a million deep.

use crate::rows::{NONE, Rows};

/// Each span's place in its trace, by position.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Position of the parent, or [`NONE`] for a root, an orphan or the cut of a cycle.
    pub(crate) parent: Vec<u32>,
    /// Whether it names a parent that is not there.
    pub(crate) is_orphan: Vec<bool>,
    pub(crate) root: Vec<u32>,
    pub(crate) depth: Vec<u32>,
    /// Whether its trace has one root and no orphan.
    pub(crate) is_complete: Vec<bool>,
    /// Every parent before its children.
    pub(crate) top_down: Vec<u32>,
    first_child: Vec<u32>,
    children: Vec<u32>,
}

impl Tree {
    /// Returns the children of a span, by start, without notes.
    pub(crate) fn children(&self, at: usize) -> &[u32] {
        &self.children[self.first_child[at] as usize..self.first_child[at + 1] as usize]
    }

    pub(crate) fn parent(&self, at: usize) -> Option<usize> {
        (self.parent[at] != NONE).then_some(self.parent[at] as usize)
    }

    pub(crate) fn build(rows: &Rows) -> Self {
        let (mut parent, is_orphan) = find_parents(rows);
        let (first_child, children) = list_children(&parent, |_| true);
        let mut tree = Self {
            root: vec![NONE; rows.len()],
            depth: vec![0; rows.len()],
            is_complete: Vec::new(),
            top_down: Vec::with_capacity(rows.len()),
            parent: Vec::new(),
            is_orphan,
            first_child,
            children,
        };
        let cut = tree.order(&mut parent);
        tree.parent = parent;
        if cut || rows.is_note.contains(&true) {
            (tree.first_child, tree.children) = list_children(&tree.parent, |at| !rows.is_note[at]);
        }
        tree.is_complete = tree.complete(rows);
        tree
    }

    /// Visits every span from its root down. Spans on a cycle have no root: the first of them
    /// becomes one, by start. Returns whether a cycle was cut.
    fn order(&mut self, parent: &mut [u32]) -> bool {
        for at in 0..parent.len() {
            if parent[at] == NONE {
                self.descend(at, parent);
            }
        }
        let mut cut = false;
        let mut seen = Vec::new();
        for at in 0..parent.len() {
            if self.root[at] == NONE {
                if !cut {
                    seen.resize(parent.len(), false);
                }
                let first = first_of_cycle(at, parent, &mut seen);
                parent[first] = NONE;
                cut = true;
                self.descend(first, parent);
            }
        }
        cut
    }

    fn descend(&mut self, root: usize, parent: &[u32]) {
        let first = self.top_down.len();
        self.root[root] = root as u32;
        self.top_down.push(root as u32);
        let mut next = first;
        while next < self.top_down.len() {
            let at = self.top_down[next] as usize;
            next += 1;
            let range = self.first_child[at] as usize..self.first_child[at + 1] as usize;
            for &child in &self.children[range] {
                let child = child as usize;
                // The cut of a cycle still stands among its old parent's children.
                if parent[child] != NONE && self.root[child] == NONE {
                    self.root[child] = root as u32;
                    self.depth[child] = self.depth[at] + 1;
                    self.top_down.push(child as u32);
                }
            }
        }
    }

    /// The cut of a cycle is no root: it names a parent.
    fn complete(&self, rows: &Rows) -> Vec<bool> {
        let mut complete = vec![false; rows.len()];
        for trace in &rows.traces {
            let is_top = |at: &usize| self.parent[*at] == NONE && !rows.is_note[*at];
            let mut tops = trace.clone().filter(is_top);
            let is_root = |at: usize| rows.parent_id[at] == 0;
            let whole = tops.next().is_some_and(is_root) && tops.next().is_none();
            complete[trace.clone()].fill(whole);
        }
        complete
    }
}

/// Returns the first span of the cycle that `at` is on or hangs below. Every span above `at` is of
/// this cycle's component and is marked in `seen`, so no other walk passes it.
fn first_of_cycle(at: usize, parent: &[u32], seen: &mut [bool]) -> usize {
    let mut on_cycle = at;
    while !seen[on_cycle] {
        seen[on_cycle] = true;
        on_cycle = parent[on_cycle] as usize;
    }
    let mut first = on_cycle;
    let mut next = parent[on_cycle] as usize;
    while next != on_cycle {
        first = first.min(next);
        next = parent[next] as usize;
    }
    first
}

fn find_parents(rows: &Rows) -> (Vec<u32>, Vec<bool>) {
    let mut parent = vec![NONE; rows.len()];
    let mut is_orphan = vec![false; rows.len()];
    let mut by_id: Vec<(u64, u32)> = Vec::new();
    for trace in &rows.traces {
        by_id.clear();
        by_id.extend(trace.clone().map(|at| (rows.span_id[at], at as u32)));
        by_id.sort_unstable();
        for at in trace.clone().filter(|&at| rows.parent_id[at] != 0) {
            let found = by_id.binary_search_by_key(&rows.parent_id[at], |&(id, _)| id);
            match found.map(|found| by_id[found].1) {
                // A cycle of one.
                Ok(found) if found as usize == at => {}
                Ok(found) => parent[at] = found,
                Err(_) => is_orphan[at] = true,
            }
        }
    }
    (parent, is_orphan)
}

/// Returns, for each span, where its children begin, and all children that count, by parent and
/// start.
fn list_children(parent: &[u32], counts: impl Fn(usize) -> bool) -> (Vec<u32>, Vec<u32>) {
    let counted = || {
        let children = parent.iter().enumerate();
        children.filter(|(at, parent)| **parent != NONE && counts(*at))
    };
    let mut first = vec![0_u32; parent.len() + 1];
    for (_, &parent) in counted() {
        first[parent as usize + 1] += 1;
    }
    for at in 1..first.len() {
        first[at] += first[at - 1];
    }
    let mut next = first.clone();
    let mut children = vec![0; first[parent.len()] as usize];
    for (at, &parent) in counted() {
        children[next[parent as usize] as usize] = at as u32;
        next[parent as usize] += 1;
    }
    (first, children)
}

#[cfg(test)]
mod tests {
    use crate::test_support::{Pass, Span, span};

    /// Checks (depth, root) of spans 1, 2, 3 ...
    fn check(spans: &[Span], expected: &[(i64, u64)]) -> Pass {
        let pass = Pass::over(spans);
        for (id, &(depth, root)) in (1..).zip(expected) {
            assert_eq!(pass.int(id, "depth"), Some(depth), "depth of {id}");
            assert_eq!(pass.id(id, "root_span_id"), Some(root), "root of {id}");
        }
        pass
    }

    #[test]
    fn a_whole_trace_is_complete() {
        let spans = [span(1, 0, 0, 10), span(2, 1, 1, 9), span(3, 2, 2, 8), span(4, 1, 3, 4)];
        let pass = check(&spans, &[(0, 1), (1, 1), (2, 1), (1, 1)]);
        assert!((1..=4).all(|id| pass.flag(id, "is_complete") && !pass.flag(id, "is_orphan")));
    }

    #[test]
    fn an_orphan_heads_a_tree() {
        let spans = [span(1, 0, 0, 10), span(2, 77, 1, 9), span(3, 2, 2, 8)];
        let pass = check(&spans, &[(0, 1), (0, 2), (1, 2)]);
        assert_eq!([1, 2, 3].map(|id| pass.flag(id, "is_orphan")), [false, true, false]);
        assert!((1..=3).all(|id| !pass.flag(id, "is_complete")));
    }

    #[test]
    fn a_lone_orphan_is_no_whole_trace() {
        let pass = check(&[span(1, 77, 0, 10)], &[(0, 1)]);
        assert!(!pass.flag(1, "is_complete"));
    }

    #[test]
    fn several_roots_are_no_whole_trace() {
        let pass = check(&[span(1, 0, 0, 10), span(2, 0, 1, 9)], &[(0, 1), (0, 2)]);
        assert!(!pass.flag(1, "is_complete") && !pass.flag(2, "is_complete"));
    }

    #[test]
    fn a_parent_in_another_trace_is_none() {
        let pass = check(&[span(1, 0, 0, 10), span(2, 1, 1, 9).trace(2)], &[(0, 1), (0, 2)]);
        assert!(pass.flag(1, "is_complete") && pass.flag(2, "is_orphan"));
    }

    #[test]
    fn a_cycle_is_cut_above_its_first_span() {
        for length in 1..=6 {
            let on_cycle = |id: u64| span(id, id % length + 1, id as i64, 50);
            let mut spans: Vec<Span> = (1..=length).map(on_cycle).collect();
            // What hangs below the cycle stays there, although it starts before it.
            spans.push(span(length + 1, length, 0, 5));
            let depth = |id: u64| if id == 1 { 0 } else { (length - id + 1) as i64 };
            let mut expected: Vec<(i64, u64)> = (1..=length).map(|id| (depth(id), 1)).collect();
            expected.push((depth(length) + 1, 1));
            let pass = check(&spans, &expected);
            assert!((1..=length).all(|id| !pass.flag(id, "is_complete")), "length {length}");
            assert!((1..=length).all(|id| !pass.flag(id, "is_orphan")), "length {length}");
        }
    }

    #[test]
    fn two_cycles_of_one_trace_are_two_trees() {
        let spans = [span(1, 2, 0, 9), span(2, 1, 1, 9), span(3, 4, 2, 9), span(4, 3, 3, 9)];
        check(&spans, &[(0, 1), (1, 1), (0, 3), (1, 3)]);
    }
}
