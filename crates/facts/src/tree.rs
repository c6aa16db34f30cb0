//! The trees: parents, children, roots, depth. Nothing recurses: a chain may be a million deep.

use hashbrown::HashMap;

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
    /// Returns the children of a span, by start.
    pub(crate) fn children(&self, at: usize) -> &[u32] {
        &self.children[self.first_child[at] as usize..self.first_child[at + 1] as usize]
    }

    pub(crate) fn parent(&self, at: usize) -> Option<usize> {
        (self.parent[at] != NONE).then_some(self.parent[at] as usize)
    }

    pub(crate) fn build(rows: &Rows<'_>) -> Self {
        let (mut parent, is_orphan) = find_parents(rows);
        let (first_child, children) = list_children(&parent);
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
        if cut {
            (tree.first_child, tree.children) = list_children(&tree.parent);
        }
        tree.is_complete = tree.complete(rows);
        tree
    }

    /// Visits every span from its root down. Spans on a cycle have no root: the first of them
    /// becomes one. Returns whether a cycle was cut.
    fn order(&mut self, parent: &mut [u32]) -> bool {
        for at in 0..parent.len() {
            if parent[at] == NONE {
                self.descend(at, parent);
            }
        }
        let mut cut = false;
        for at in 0..parent.len() {
            if self.root[at] == NONE {
                parent[at] = NONE;
                cut = true;
                self.descend(at, parent);
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

    fn complete(&self, rows: &Rows<'_>) -> Vec<bool> {
        let mut complete = vec![false; rows.len()];
        for trace in &rows.traces {
            let roots = trace.clone().filter(|&at| self.parent[at] == NONE).count();
            let whole = roots == 1 && !self.is_orphan[trace.clone()].contains(&true);
            complete[trace.clone()].fill(whole);
        }
        complete
    }
}

fn find_parents(rows: &Rows<'_>) -> (Vec<u32>, Vec<bool>) {
    let mut parent = vec![NONE; rows.len()];
    let mut is_orphan = vec![false; rows.len()];
    let mut positions: HashMap<u64, u32> = HashMap::new();
    for trace in &rows.traces {
        positions.clear();
        positions.extend(trace.clone().map(|at| (rows.span_id[at], at as u32)));
        for at in trace.clone() {
            match rows.parent_id[at] {
                0 => {}
                id => match positions.get(&id) {
                    Some(&found) if found as usize != at => parent[at] = found,
                    Some(_) => {}
                    None => is_orphan[at] = true,
                },
            }
        }
    }
    (parent, is_orphan)
}

/// Returns, for each span, where its children begin, and all children, by parent and start.
fn list_children(parent: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut first = vec![0_u32; parent.len() + 1];
    for &parent in parent.iter().filter(|&&parent| parent != NONE) {
        first[parent as usize + 1] += 1;
    }
    for at in 1..first.len() {
        first[at] += first[at - 1];
    }
    let mut next = first.clone();
    let mut children = vec![0; first[parent.len()] as usize];
    for (at, &parent) in parent.iter().enumerate().filter(|(_, parent)| **parent != NONE) {
        children[next[parent as usize] as usize] = at as u32;
        next[parent as usize] += 1;
    }
    (first, children)
}
