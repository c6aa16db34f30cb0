//! The critical path: which spans a trace waited for, tile by tile.
//!
//! A *tiling* is headed by every root, orphan, CONSUMER and in-process request, and by every child
//! that does not lie in time within its parent. From the end of its head the walk goes backwards,
//! always into the child that finished last; time that no chosen child covers is its parent's own.
//! The sections of a tiling cover its head exactly, without overlap.
//!
//! Source: the algorithm of Jaeger UI (`CriticalPath`), with one deviation: a sibling may overlap
//! the next by up to [`OVERLAP_NANOS_MAX`] or 1 % of the parent, where Jaeger asks for a strict gap
//! and so loses calls that follow each other at once.

use timesink_model::NANOS_PER_MILLI;

use crate::rows::{Kind, NONE, Rows};
use crate::served::Served;
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

    /// Frees the sections, once every step that looks into them is done.
    pub(crate) fn forget_sections(&mut self) {
        self.first = Vec::new();
        self.sections = Vec::new();
    }

    /// Returns every section, by trace, tiling and start.
    pub(crate) fn listed(&self, rows: &Rows) -> Vec<PathSection> {
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

    pub(crate) fn walk(rows: &Rows, tree: &Tree, times: &Times, served: &Served) -> Self {
        let head = heads(rows, tree, times, served);
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

fn heads(rows: &Rows, tree: &Tree, times: &Times, served: &Served) -> Vec<u32> {
    let mut head = vec![NONE; rows.len()];
    for &at in &tree.top_down {
        let at = at as usize;
        head[at] = match tree.parent(at) {
            Some(parent) if !served.is_in_process(at) && !is_head(rows, times, parent, at) => {
                head[parent]
            }
            _ => at as u32,
        };
    }
    head
}

fn is_head(rows: &Rows, times: &Times, parent: usize, child: usize) -> bool {
    let (start, end) = (times.start[child], times.end[child]);
    let is_after = start >= times.end[parent] && end > times.end[parent];
    let is_before = end <= times.start[parent] && start < times.start[parent];
    rows.kind[child] == Kind::Consumer || is_after || is_before || {
        // A call of the same process that goes on after its parent: nobody awaited it.
        let is_local = rows.process[child] == rows.process[parent];
        is_local
            && rows.kind[child] == Kind::Client
            && end - times.end[parent] > UNAWAITED_NANOS_MIN
    }
}

/// A call that is awaited ends before its parent does, but for what its instrumentation takes.
const UNAWAITED_NANOS_MIN: i64 = NANOS_PER_MILLI;

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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;
    use crate::test_support::{Pass, Span, span};

    /// Scenario: the server of one trace is late by its own clock, those of the others are not.
    /// Guarantee: its path is the same alone as among the others, by the clocks that were found.
    #[test]
    fn the_path_of_one_trace_is_told_by_the_clocks_of_all() {
        let call = |trace: u128, late: i64| {
            let of = |span: Span| span.trace(trace);
            let first = trace as u64 * 10;
            [
                of(span(first, 0, 0, 100).server()),
                of(span(first + 1, first, 10, 90).client()),
                of(span(first + 2, first + 1, late + 20, late + 80).server().service("b")),
            ]
        };
        let all: Vec<Span> = (1..=7).flat_map(|t| call(t, if t == 7 { 500 } else { 0 })).collect();
        let pass = Pass::over(&all);
        let with_skew = |batch: &RecordBatch, facts: &RecordBatch| {
            let mut fields = batch.schema().fields().to_vec();
            fields.push(Arc::new(Field::new("skew_nanos", DataType::Int64, false)));
            let mut columns = batch.columns().to_vec();
            columns.push(Arc::clone(&facts["skew_nanos"]));
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("beside each other")
        };
        let spans = with_skew(&pass.facts.spans[0], &pass.facts.facts[0]);
        let path = |spans: RecordBatch| {
            let options = crate::PassOptions::default();
            crate::critical_path(&[spans], &options).expect("spans")
        };
        let mut expected = path(spans.clone());
        let last = spans.num_rows() - 3;
        let alone = path(spans.slice(last, 3));
        expected.retain(|section| section.trace_id == alone[0].trace_id);
        assert_eq!(alone, expected);
        // Without them the server is moved into its client.
        assert_ne!(path(pass.facts.spans[0].slice(last, 3)), expected);
    }

    /// Checks the critical milliseconds of spans 1, 2, 3 ... and that they add up to their heads.
    fn check(spans: &[Span], expected: &[f64]) -> Pass {
        let pass = Pass::over(spans);
        for (id, &millis) in (1..).zip(expected) {
            assert_eq!(pass.millis(id, "critical_nanos"), Some(millis), "of span {id}");
        }
        for head in spans {
            let is_in = |span: &&Span| pass.id(span.id, "tiling_span_id") == Some(head.id);
            let shares = spans.iter().filter(is_in).map(|span| {
                pass.int(span.id, "critical_nanos").expect("never NULL")
                    + pass.int(span.id, "wire_critical_nanos").unwrap_or(0)
            });
            let sum: i64 = shares.sum();
            let is_head = pass.id(head.id, "tiling_span_id") == Some(head.id);
            assert_eq!(sum, if is_head { head.end - head.start } else { 0 }, "under {}", head.id);
        }
        pass
    }

    fn heads(pass: &Pass, ids: &[u64]) -> Vec<Option<u64>> {
        ids.iter().map(|&id| pass.id(id, "tiling_span_id")).collect()
    }

    #[test]
    fn the_path_leads_through_the_child_that_finished_last() {
        let spans =
            [span(1, 0, 0, 100), span(2, 1, 10, 50), span(3, 1, 20, 80), span(4, 3, 30, 40)];
        check(&spans, &[40.0, 0.0, 50.0, 10.0]);
    }

    /// Jaeger loses the first of two siblings of which one ends as the other starts.
    #[test]
    fn siblings_back_to_back_are_both_on_the_path() {
        check(&[span(1, 0, 0, 100), span(2, 1, 10, 50), span(3, 1, 50, 90)], &[20.0, 40.0, 40.0]);
    }

    #[test]
    fn siblings_may_overlap_a_little() {
        let overlapping =
            |millis: i64| [span(1, 0, 0, 100), span(2, 1, 10, 50 + millis), span(3, 1, 50, 90)];
        check(&overlapping(2), &[20.0, 40.0, 40.0]);
        check(&overlapping(3), &[60.0, 0.0, 40.0]);
        // 1 % of a parent of a second.
        let long =
            |millis: i64| [span(1, 0, 0, 1000), span(2, 1, 0, 500 + millis), span(3, 1, 500, 1000)];
        check(&long(10), &[0.0, 500.0, 500.0]);
        check(&long(11), &[500.0, 0.0, 500.0]);
    }

    #[test]
    fn a_sibling_that_mostly_ran_beside_the_next_is_not_waited_for() {
        check(&[span(1, 0, 0, 100), span(2, 1, 48, 51), span(3, 1, 49, 90)], &[59.0, 0.0, 41.0]);
    }

    #[test]
    fn a_child_past_its_parent_is_clipped() {
        check(&[span(1, 0, 10, 100), span(2, 1, 60, 150), span(3, 1, 0, 30)], &[30.0, 40.0, 20.0]);
    }

    #[test]
    fn a_call_that_goes_on_after_its_parent_was_not_awaited() {
        let request = || span(1, 0, 0, 100);
        let pass = check(
            &[request(), span(2, 1, 10, 90).client(), span(3, 1, 5, 300).client()],
            &[20.0, 80.0, 295.0],
        );
        assert_eq!(heads(&pass, &[1, 2, 3]), [1, 1, 3].map(Some));
        // What an instrumentation takes to end its span is none.
        check(&[request(), span(2, 1, 10, 101).client()], &[10.0, 90.0]);
        // In another process it may be a clock, and other spans may be the parent's own work.
        let called = span(2, 1, 10, 150).server().instance("app-2");
        check(&[request(), called], &[10.0, 90.0]);
        check(&[request(), span(2, 1, 10, 150)], &[10.0, 90.0]);
    }

    #[test]
    fn what_starts_after_its_parent_ended_heads_a_tiling() {
        let pass = check(
            &[span(1, 0, 0, 100), span(2, 1, 100, 150), span(3, 2, 110, 130), span(4, 1, 10, 20)],
            &[90.0, 30.0, 20.0, 10.0],
        );
        assert_eq!(heads(&pass, &[1, 2, 3, 4]), [1, 2, 2, 1].map(Some));
        let durations = [1, 2, 3, 4].map(|id| pass.millis(id, "tiling_duration_nanos"));
        assert_eq!(durations, [100.0, 50.0, 50.0, 100.0].map(Some));
    }

    #[test]
    fn what_ended_before_its_parent_started_heads_a_tiling() {
        let pass = check(&[span(1, 0, 100, 200), span(2, 1, 0, 100)], &[100.0, 100.0]);
        assert_eq!(heads(&pass, &[1, 2]), [1, 2].map(Some));
    }

    #[test]
    fn nobody_waits_for_a_consumer() {
        let spans = [
            span(1, 0, 0, 100).server(),
            span(2, 1, 10, 90).kind("PRODUCER"),
            span(3, 2, 20, 80).kind("CONSUMER"),
        ];
        let pass = check(&spans, &[20.0, 80.0, 60.0]);
        assert_eq!(heads(&pass, &[1, 2, 3]), [1, 1, 3].map(Some));
    }

    #[test]
    fn roots_and_orphans_head_tilings() {
        let pass =
            check(&[span(1, 0, 0, 10), span(2, 0, 0, 20), span(3, 99, 0, 30)], &[10.0, 20.0, 30.0]);
        assert_eq!(heads(&pass, &[1, 2, 3]), [1, 2, 3].map(Some));
    }

    #[test]
    fn spans_that_took_no_time_take_none() {
        let spans =
            [span(1, 0, 0, 100), span(2, 1, 0, 0), span(3, 1, 50, 50), span(4, 1, 100, 100)];
        let pass = check(&spans, &[100.0, 0.0, 0.0, 0.0]);
        assert_eq!(heads(&pass, &[1, 2, 3, 4]), [Some(1); 4]);
        check(&[span(1, 0, 7, 7), span(2, 1, 7, 7)], &[0.0, 0.0]);
    }

    #[test]
    fn self_time_is_what_no_child_covers() {
        let pass = Pass::over(&[
            span(1, 0, 0, 100),
            span(2, 1, 10, 50),
            span(3, 1, 40, 60),
            span(4, 1, 90, 150),
            span(5, 1, -10, 5),
        ]);
        assert_eq!(pass.millis(1, "self_nanos"), Some(35.0));
        assert_eq!(pass.millis(4, "self_nanos"), Some(60.0));
    }

    #[test]
    fn the_time_of_overlapping_intervals_counts_once() {
        let mut union = Union::default();
        for (start, end) in [(10, 20), (0, 5), (15, 30), (16, 17), (40, 40), (50, 45)] {
            union.add(start, end);
        }
        assert_eq!(union.total(), 25);
    }

    #[test]
    fn overlap_is_what_lies_between_two_times() {
        let sections = [(0, 10), (20, 30), (30, 40)].map(|(start, end)| Section { start, end });
        let cases = [(0, 40, 30), (5, 25, 10), (10, 20, 0), (-5, 0, 0), (39, 99, 1), (25, 25, 0)];
        for (start, end, expected) in cases {
            assert_eq!(overlap(&sections, start, end), expected, "{start} to {end}");
        }
    }
}
