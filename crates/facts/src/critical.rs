//! The critical path: which spans a trace waited for, tile by tile.
//!
//! A *tiling* is headed by every root, orphan and CONSUMER, and by every child that does not lie in
//! time within its parent. From the end of its head the walk goes backwards, always into the child
//! that finished last; time that no chosen child covers is the span's own. The sections of a tiling
//! cover its head exactly, without overlap.
//!
//! Source: the algorithm of Jaeger UI (`CriticalPath`), with one deviation: a sibling may overlap
//! the next by up to [`OVERLAP_NANOS_MAX`] or 1 % of the parent, where Jaeger asks for a strict gap
//! and so loses calls that follow each other at once.

use timesink_model::NANOS_PER_MILLI;

use crate::rows::{Kind, NONE, Rows};
use crate::skew::Times;
use crate::tree::Tree;

/// How far siblings that followed each other may overlap, whatever their parent's length.
const OVERLAP_NANOS_MAX: i64 = 2 * NANOS_PER_MILLI;

/// A stretch of the critical path that a span covers itself, on its root's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// A stretch of a critical path with the span that covers it itself, for whoever draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSection {
    pub trace_id: String,
    /// The head of the tiling.
    pub tiling_span_id: String,
    pub span_id: String,
    /// On the clock of the root above it, ns since the epoch.
    pub start_unix_nano: i64,
    pub end_unix_nano: i64,
}

/// The critical path of every tiling.
#[derive(Debug)]
pub(crate) struct Path {
    /// Head of each span's tiling.
    pub(crate) head: Vec<u32>,
    /// Nanoseconds of each span's own sections.
    pub(crate) nanos: Vec<i64>,
    /// Time that no child covers.
    pub(crate) self_nanos: Vec<i64>,
    first: Vec<u32>,
    sections: Vec<Section>,
}

impl Path {
    /// Returns a span's own sections, by start.
    pub(crate) fn sections(&self, at: usize) -> &[Section] {
        &self.sections[self.first[at] as usize..self.first[at + 1] as usize]
    }

    /// Returns every section, by trace, tiling and start.
    pub(crate) fn listed(&self, rows: &Rows<'_>) -> Vec<PathSection> {
        let span_id = |at: usize| format!("{:016x}", rows.span_id[at]);
        let mut listed = Vec::with_capacity(self.sections.len());
        for (trace, trace_id) in rows.traces.iter().zip(&rows.trace_ids) {
            let sections = |at: usize| self.sections(at).iter().map(move |section| (at, section));
            let mut of_trace: Vec<_> = trace.clone().flat_map(sections).collect();
            of_trace.sort_by_key(|&(at, section)| (self.head[at], section.start));
            listed.extend(of_trace.into_iter().map(|(at, section)| PathSection {
                trace_id: format!("{trace_id:032x}"),
                tiling_span_id: span_id(self.head[at] as usize),
                span_id: span_id(at),
                start_unix_nano: section.start,
                end_unix_nano: section.end,
            }));
        }
        listed
    }

    pub(crate) fn walk(rows: &Rows<'_>, tree: &Tree, times: &Times) -> Self {
        let head = heads(rows, tree, times);
        let mut found = Vec::with_capacity(rows.len() * 2);
        let mut walk = Walk { tree, times, head: &head, open: Vec::new(), children: Vec::new() };
        for at in (0..rows.len()).filter(|&at| head[at] == at as u32) {
            walk.tile(at, &mut found);
        }
        let (first, sections) = by_span(rows.len(), &found);
        let nanos = (0..rows.len())
            .map(|at| {
                let own = &sections[first[at] as usize..first[at + 1] as usize];
                own.iter().map(|section| section.end - section.start).sum()
            })
            .collect();
        let self_nanos = (0..rows.len()).map(|at| uncovered(tree, times, at)).collect();
        Self { head, nanos, self_nanos, first, sections }
    }
}

fn heads(rows: &Rows<'_>, tree: &Tree, times: &Times) -> Vec<u32> {
    let mut head = vec![NONE; rows.len()];
    for &at in &tree.top_down {
        let at = at as usize;
        head[at] = match tree.parent(at) {
            Some(parent) if !is_head(rows, times, parent, at) => head[parent],
            _ => at as u32,
        };
    }
    head
}

fn is_head(rows: &Rows<'_>, times: &Times, parent: usize, child: usize) -> bool {
    let (start, end) = (times.start[child], times.end[child]);
    let is_after = start >= times.end[parent] && end > times.end[parent];
    let is_before = end <= times.start[parent] && start < times.start[parent];
    rows.kind[child] == Kind::Consumer || is_after || is_before
}

struct Walk<'a> {
    tree: &'a Tree,
    times: &'a Times,
    head: &'a [u32],
    /// Spans to be tiled, each with the stretch it has to cover.
    open: Vec<(u32, Section)>,
    children: Vec<u32>,
}

impl Walk<'_> {
    fn tile(&mut self, head: usize, found: &mut Vec<(u32, Section)>) {
        let whole = Section { start: self.times.start[head], end: self.times.end[head] };
        self.open.push((head as u32, whole));
        while let Some((at, stretch)) = self.open.pop() {
            self.tile_one(at as usize, stretch, found);
        }
    }

    fn tile_one(&mut self, at: usize, stretch: Section, found: &mut Vec<(u32, Section)>) {
        let times = self.times;
        let mut children = std::mem::take(&mut self.children);
        children.clear();
        // Only children of the same tiling: the others head their own.
        let blocking = |&&child: &&u32| self.head[child as usize] != child;
        children.extend(self.tree.children(at).iter().filter(blocking));
        let end_of = |child: u32| times.end[child as usize].min(stretch.end);
        let start_of = |child: u32| times.start[child as usize].max(stretch.start);
        if children.len() > 1 {
            // Last to finish first; of those that finish together, the longest.
            children.sort_unstable_by_key(|&c| (std::cmp::Reverse(end_of(c)), start_of(c), c));
        }
        let slack = OVERLAP_NANOS_MAX.max(times.duration(at) / 100);
        let mut cursor = stretch.end;
        for &child in &children {
            let (start, end) = (start_of(child), end_of(child));
            if start >= cursor || end <= start {
                continue;
            }
            // A sibling that overlaps by more, or for the better part of itself, ran in parallel.
            let overlap = end - cursor;
            if overlap > slack || overlap > cursor - start {
                continue;
            }
            let end = end.min(cursor);
            push(found, at, Section { start: end, end: cursor });
            self.open.push((child, Section { start, end }));
            cursor = start;
        }
        push(found, at, Section { start: stretch.start, end: cursor });
        self.children = children;
    }
}

fn push(found: &mut Vec<(u32, Section)>, at: usize, section: Section) {
    if section.end > section.start {
        found.push((at as u32, section));
    }
}

fn by_span(spans: usize, found: &[(u32, Section)]) -> (Vec<u32>, Vec<Section>) {
    let mut first = vec![0_u32; spans + 1];
    for (at, _) in found {
        first[*at as usize + 1] += 1;
    }
    for at in 1..first.len() {
        first[at] += first[at - 1];
    }
    let mut next = first.clone();
    let mut sections = vec![Section { start: 0, end: 0 }; found.len()];
    // Sections of one span were found from its end backwards.
    for (at, section) in found.iter().rev() {
        sections[next[*at as usize] as usize] = *section;
        next[*at as usize] += 1;
    }
    (first, sections)
}

/// Returns the time of a span that no child covers, after correction of skew.
fn uncovered(tree: &Tree, times: &Times, at: usize) -> i64 {
    let (start, end) = (times.start[at], times.end[at]);
    let mut covered = Union::default();
    for &child in tree.children(at) {
        let child = child as usize;
        covered.add(times.start[child].max(start), times.end[child].min(end));
    }
    end - start - covered.total()
}

/// The time that intervals cover together. Intervals mostly come by start, which costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Union {
    intervals: Vec<(i64, i64)>,
}

impl Union {
    pub(crate) fn add(&mut self, start: i64, end: i64) {
        if end > start {
            self.intervals.push((start, end));
        }
    }

    pub(crate) fn total(&mut self) -> i64 {
        self.intervals.sort_unstable();
        let mut total = 0;
        let mut until = i64::MIN;
        for &(start, end) in &self.intervals {
            total += (end - start.max(until)).max(0);
            until = until.max(end);
        }
        total
    }
}

/// Returns how much of the intervals, sorted and apart, lies between two times.
pub(crate) fn overlap(sections: &[Section], start: i64, end: i64) -> i64 {
    let first = sections.partition_point(|section| section.end <= start);
    sections[first..]
        .iter()
        .take_while(|section| section.start < end)
        .map(|section| section.end.min(end) - section.start.max(start))
        .sum()
}
