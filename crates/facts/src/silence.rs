//! The stall test's raw measures: how silent the rest of its process was during a span or gap.
//!
//! *Concurrent* to a trace are the other traces of its process whose local root overlaps its own;
//! the starts and ends of their spans in the process are *edges*. Edges near a candidate are
//! counted
//! without visiting them or the traces: all that the process has, less the candidate's own trace's,
//! less those of traces that had ended before its trace began, less those of traces that began
//! after it ended. The last two are counted for all candidates in two sweeps. So 100,000
//! overlapping traces cost `n log n`, and so do streams that stay open while 100,000 requests pass.
//!
//! Source: the reference of the stall test, `stall_test.py`, which these measures agree with.

use std::ops::Range;

use timesink_model::NANOS_PER_MILLI;

use crate::crowd::{Crowd, Extent, Head};
use crate::gaps::Position;
use crate::intern::Sym;
use crate::stall::Stretch;

/// Starts and ends this close to a candidate's own are its own.
pub(crate) const EDGE_SLACK_NANOS: i64 = 20_000;

/// How far around a candidate the rate of starts and ends is taken, at least.
pub(crate) const WINDOW_NANOS_MIN: i64 = 100 * NANOS_PER_MILLI;

/// How silent a process was during one leaf span or gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// From the last edge inside the candidate, else from its start, to its end; all of a note.
    pub silence_nanos: i64,
    /// Edges to be expected in that time, by their rate around it.
    pub expected_edges: f64,
    /// Edges inside the candidate.
    pub foreign_edges: u32,
    pub concurrent_traces: u32,
    /// How long other traces of the process were open during the silence, added up.
    pub waiting_nanos: i64,
}

/// A leaf span, a gap or a note to be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Number of its group in the crowd.
    pub(crate) group: u32,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// It is a note: the loop stood still all the time, whatever is heard.
    pub(crate) is_note: bool,
    /// It helps to judge its place.
    pub(crate) is_judged: bool,
    /// Of a gap.
    pub(crate) position: Option<Position>,
    /// Of a leaf span, or what comes before a gap.
    pub(crate) operation: Sym,
    /// What comes after a gap.
    pub(crate) after: Sym,
}

impl Candidate {
    /// Returns a leaf span, or a note.
    pub(crate) fn span(group: u32, start: i64, end: i64, is_note: bool, operation: Sym) -> Self {
        Self {
            group,
            start,
            end,
            is_note,
            is_judged: !is_note,
            position: None,
            operation,
            after: Sym(0),
        }
    }

    /// Returns a gap between two operations, of a span that may be a leaf.
    pub(crate) fn gap(
        group: u32,
        start: i64,
        end: i64,
        is_leaf: bool,
        position: Position,
        [operation, after]: [Sym; 2],
    ) -> Self {
        // A leaf's whole gap is the leaf itself.
        let is_judged = !is_leaf;
        let position = Some(position);
        Self { group, start, end, is_note: false, is_judged, position, operation, after }
    }

    pub(crate) fn stretch(&self) -> Stretch {
        if self.position.is_some() { Stretch::Gap } else { Stretch::Span }
    }

    /// Returns how far around it others are listened to.
    pub(crate) fn window(&self) -> i64 {
        (self.end - self.start).max(WINDOW_NANOS_MIN)
    }
}

/// A start or an end of a span of a group.
pub(crate) type Edge = (i64, u32);

/// What others did in and around a candidate, in a part of the time or in all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Edges in the window.
    pub(crate) around: u32,
    /// Edges inside the candidate.
    pub(crate) inside: u32,
    /// Time of the last of those, the least number if there is none.
    pub(crate) last: i64,
}

impl Tally {
    pub(crate) const NONE: Self = Self { around: 0, inside: 0, last: i64::MIN };

    /// Returns what was heard in both of two parts of the time.
    pub(crate) fn with(self, other: Self) -> Self {
        Self {
            around: self.around + other.around,
            inside: self.inside + other.inside,
            last: self.last.max(other.last),
        }
    }

    /// Returns since when nothing was heard in a candidate.
    pub(crate) fn silent_since(&self, candidate: &Candidate) -> i64 {
        if self.inside == 0 { candidate.start } else { self.last }
    }
}

/// Listens to the edges of a part of the time, or of all of it, for candidates of one process that
/// come by group.
pub(crate) fn tally(crowd: &Crowd, edges: Vec<Edge>, candidates: &[Candidate]) -> Vec<Tally> {
    let edges = Edges::list(edges, &crowd.heads);
    let ranks: Vec<[u32; 4]> = candidates.iter().map(|c| edges.ranks(c)).collect();
    let counts = edges.count_concurrent(crowd, candidates, &ranks);
    let tally = |((candidate, ranks), counts): ((&Candidate, &[u32; 4]), &[u32; 4])| {
        let inside = counts[2].saturating_sub(counts[1]);
        let last = match inside {
            0 => i64::MIN,
            _ => edges.last_concurrent(&crowd.heads, candidate.group as usize, ranks[2]),
        };
        Tally { around: counts[3] - counts[0], inside, last }
    };
    candidates.iter().zip(&ranks).zip(&counts).map(tally).collect()
}

/// Returns what all that was heard says of a candidate.
pub(crate) fn silence(crowd: &Crowd, candidate: &Candidate, heard: &Tally) -> Silence {
    let group = candidate.group as usize;
    let silent_since =
        if candidate.is_note { candidate.start } else { heard.silent_since(candidate) };
    let silence_nanos = candidate.end - silent_since;
    let observed = observed(candidate, silence_nanos, crowd.extent_beside(group));
    Silence {
        silence_nanos,
        expected_edges: f64::from(heard.around) / observed as f64 * silence_nanos as f64,
        foreign_edges: heard.inside,
        concurrent_traces: crowd.concurrent(group),
        waiting_nanos: crowd.waiting(group, silent_since..candidate.end),
    }
}

/// Returns the time over which the rate is taken: concurrent traces live only near the candidate's
/// root, so no further than they do; without the silence itself.
fn observed(candidate: &Candidate, silence_nanos: i64, extent: Option<Extent>) -> i64 {
    let (start, end, window) = (candidate.start, candidate.end, candidate.window());
    let Some(extent) = extent else {
        return end - start + 2 * window - silence_nanos;
    };
    let from = (start - window).max(extent.first);
    let to = (end + window).min(extent.last);
    let before = if from < start { start.min(to) - from } else { 0 };
    (before + (to - end).max(0) + (end - start - silence_nanos)).max(NANOS_PER_MILLI)
}

/// Every start and end in a process, by time. An edge's *rank* is how many come before it.
pub(crate) struct Edges {
    pub(crate) time: Vec<i64>,
    pub(crate) group: Vec<u32>,
    /// Ranks of the edges by group, and where each group's begin.
    of_group: Vec<u32>,
    first_of_group: Vec<u32>,
    /// How many edges there are up to the last one of another group, by rank.
    pub(crate) others: Vec<u32>,
    /// For each block of edges, the last end and the first start of the groups that they are of.
    blocks: Vec<(i64, i64)>,
}

const BLOCK_EDGES: usize = 64;

impl Edges {
    /// Puts edges of the groups in order.
    pub(crate) fn list(mut edges: Vec<Edge>, groups: &[Head]) -> Self {
        edges.sort_unstable();
        let (time, group): (Vec<i64>, Vec<u32>) = edges.into_iter().unzip();
        let mut first_of_group = vec![0; groups.len() + 1];
        for &group in &group {
            first_of_group[group as usize + 1] += 1;
        }
        for number in 0..groups.len() {
            first_of_group[number + 1] += first_of_group[number];
        }
        let mut next = first_of_group.clone();
        let mut of_group = vec![0; time.len()];
        for (rank, &group) in group.iter().enumerate() {
            of_group[next[group as usize] as usize] = rank as u32;
            next[group as usize] += 1;
        }
        let others = before_runs(group.iter().copied());
        let extent = |edges: &[u32]| {
            edges.iter().fold((i64::MIN, i64::MAX), |(end, start), &group| {
                let group = &groups[group as usize];
                (end.max(group.end), start.min(group.start))
            })
        };
        let blocks = group.chunks(BLOCK_EDGES).map(extent).collect();
        Self { time, group, of_group, first_of_group, others, blocks }
    }

    /// Returns the ranks of a group's own edges.
    pub(crate) fn of(&self, group: usize) -> &[u32] {
        &self.of_group[self.first_of_group[group] as usize..self.first_of_group[group + 1] as usize]
    }

    /// Returns between which edges a candidate's window and, in it, the candidate lie: the first of
    /// the window, the first inside, the first that is no longer inside, the first after the
    /// window.
    fn ranks(&self, candidate: &Candidate) -> [u32; 4] {
        let window = candidate.window();
        let below = |time: i64| self.time.partition_point(|&edge| edge < time) as u32;
        let up_to = |time: i64| self.time.partition_point(|&edge| edge <= time) as u32;
        [
            below(candidate.start - window),
            up_to(candidate.start + EDGE_SLACK_NANOS),
            below(candidate.end - EDGE_SLACK_NANOS),
            up_to(candidate.end + window),
        ]
    }

    /// Counts, for each candidate, the concurrent traces' edges below each of its ranks.
    fn count_concurrent(
        &self,
        crowd: &Crowd,
        candidates: &[Candidate],
        ranks: &[[u32; 4]],
    ) -> Vec<[u32; 4]> {
        let groups = &crowd.heads;
        let own = |candidate: &Candidate, rank: u32| {
            self.of(candidate.group as usize).partition_point(|&edge| edge < rank) as u32
        };
        let foreign = |(candidate, ranks): (&Candidate, &[u32; 4])| {
            ranks.map(|rank| rank - own(candidate, rank))
        };
        let mut counts: Vec<[u32; 4]> = candidates.iter().zip(ranks).map(foreign).collect();
        let of_group = candidates_of_groups(groups.len(), candidates);
        let mut subtract = |counted: &Counted, group: usize| {
            for at in of_group[group].clone() {
                for (count, &rank) in counts[at].iter_mut().zip(&ranks[at]) {
                    *count -= counted.below(rank);
                }
            }
        };

        let mut ended = Counted::new(self.time.len());
        let mut next = crowd.by_end.iter().peekable();
        for (number, group) in groups.iter().enumerate() {
            while let Some(&over) = next.next_if(|&&over| groups[over as usize].end <= group.start)
            {
                ended.add(self.of(over as usize));
            }
            subtract(&ended, number);
        }
        let mut later = Counted::new(self.time.len());
        let mut next = (0..groups.len()).rev().peekable();
        for &number in crowd.by_end.iter().rev() {
            let end = groups[number as usize].end;
            while let Some(begins) = next.next_if(|&begins| groups[begins].start >= end) {
                later.add(self.of(begins));
            }
            subtract(&later, number as usize);
        }
        counts
    }

    /// Returns the time of the last edge of a concurrent trace below a rank. There is one.
    fn last_concurrent(&self, groups: &[Head], group: usize, rank: u32) -> i64 {
        let (start, end) = (groups[group].start, groups[group].end);
        let mut next = rank as usize;
        while let Some(at) = next.checked_sub(1) {
            let (last_end, first_start) = self.blocks[at / BLOCK_EDGES];
            let other = &groups[self.group[at] as usize];
            if last_end <= start || first_start >= end {
                next = at / BLOCK_EDGES * BLOCK_EDGES;
            } else if self.group[at] as usize == group {
                next = self.others[at] as usize;
            } else if other.end > start && other.start < end {
                return self.time[at];
            } else {
                next = at;
            }
        }
        debug_assert!(false, "only asked for where a concurrent edge was counted");
        start
    }
}

/// Returns, for each value, how many values come before the run of equal ones that it is in.
pub(crate) fn before_runs<T: PartialEq + Copy>(values: impl Iterator<Item = T>) -> Vec<u32> {
    let (mut first, mut run) = (0, None);
    let before = |(at, value): (usize, T)| {
        if run != Some(value) {
            (first, run) = (at as u32, Some(value));
        }
        first
    };
    values.enumerate().map(before).collect()
}

/// Returns where the candidates of each group lie.
fn candidates_of_groups(groups: usize, candidates: &[Candidate]) -> Vec<Range<usize>> {
    let mut ranges = vec![0..0; groups];
    let mut first = 0;
    for run in candidates.chunk_by(|a, b| a.group == b.group) {
        ranges[run[0].group as usize] = first..first + run.len();
        first += run.len();
    }
    ranges
}

/// How many edges of those added lie below a rank: a Fenwick tree.
struct Counted {
    nodes: Vec<u32>,
}

impl Counted {
    fn new(edges: usize) -> Self {
        Self { nodes: vec![0; edges + 1] }
    }

    fn add(&mut self, ranks: &[u32]) {
        for &rank in ranks {
            let mut node = rank as usize + 1;
            while node < self.nodes.len() {
                self.nodes[node] += 1;
                node += node & node.wrapping_neg();
            }
        }
    }

    fn below(&self, rank: u32) -> u32 {
        let mut node = rank as usize;
        let mut count = 0;
        while node > 0 {
            count += self.nodes[node];
            node &= node - 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Pass, Span, span};

    fn request(id: u64, start: i64, end: i64) -> Span {
        span(id, 0, start, end).server().scope("fastapi").trace(id.into())
    }

    fn query(id: u64, of: u64, start: i64, end: i64) -> Span {
        span(id, of, start, end).query("SELECT 1").trace(of.into())
    }

    /// Checks silence (ms), expected and foreign edges, concurrent traces and waiting (ms) of span
    /// 2, a query from 10 to 60 in a request from 0 to 100.
    fn check(
        others: &[Span],
        (silence, expected, foreign, concurrent, waiting): (f64, f64, i64, i64, f64),
    ) {
        let mut spans = vec![request(1, 0, 100), query(2, 1, 10, 60)];
        spans.extend_from_slice(others);
        let pass = Pass::over(&spans);
        assert_eq!(pass.millis(2, "silence_nanos"), Some(silence), "silence");
        let found = pass.float(2, "expected_edges").expect("measured");
        assert!((found - expected).abs() < 1e-9, "expected edges: {found}");
        assert_eq!(pass.int(2, "foreign_edges"), Some(foreign), "foreign edges");
        assert_eq!(pass.int(2, "concurrent_traces"), Some(concurrent), "concurrent traces");
        assert_eq!(pass.millis(2, "waiting_nanos"), Some(waiting), "waiting");
    }

    #[test]
    fn a_silence_lasts_from_the_last_foreign_edge() {
        // Six edges in 60 ms before, 90 after and 20 of the query itself, for 30 ms of silence.
        let others = [request(3, -50, 150), query(4, 3, 20, 30), query(5, 3, 90, 95)];
        check(&others, (30.0, 6.0 / 170.0 * 30.0, 2, 1, 30.0));
    }

    #[test]
    fn alone_nothing_is_to_be_expected() {
        check(&[], (50.0, 0.0, 0, 0, 0.0));
        // Its own parallel queries are not foreign.
        check(&[query(3, 1, 20, 30)], (50.0, 0.0, 0, 0, 0.0));
    }

    #[test]
    fn a_trace_whose_root_does_not_overlap_is_not_concurrent() {
        let before = [request(3, -50, 0), query(4, 3, -40, 30)];
        let after = [request(5, 100, 150), query(6, 5, 101, 120), query(7, 5, 50, 55)];
        check(&[before.as_slice(), &after].concat(), (50.0, 0.0, 0, 0, 0.0));
    }

    #[test]
    fn edges_close_to_its_own_are_its_own() {
        let mut others = [request(3, -90, 190), query(4, 3, 10, 60)];
        others[1].start += EDGE_SLACK_NANOS;
        others[1].end -= EDGE_SLACK_NANOS;
        // 100 ms before and 100 ms after, from the request's start at -90; its end is out of reach.
        check(&others, (50.0, 3.0 / (100.0 + 100.0) * 50.0, 0, 1, 50.0));
        others[1].start += 1;
        let silence = 50.0 - (EDGE_SLACK_NANOS + 1) as f64 / NANOS_PER_MILLI as f64;
        let expected = 3.0 / (250.0 - silence) * silence;
        check(&others, (silence, expected, 1, 1, silence));
    }

    #[test]
    fn another_process_is_not_heard() {
        let others = [request(3, -50, 150), query(4, 3, 20, 30)];
        check(&others.map(|span| span.instance("app-2")), (50.0, 0.0, 0, 0, 0.0));
    }

    #[test]
    fn ranks_below_are_counted() {
        let mut counted = Counted::new(10);
        counted.add(&[0, 3, 9]);
        counted.add(&[3]);
        let below: Vec<u32> = (0..=10).map(|rank| counted.below(rank)).collect();
        assert_eq!(below, [0, 1, 1, 1, 3, 3, 3, 3, 3, 3, 4]);
    }

    #[test]
    fn a_run_knows_how_many_come_before_it() {
        assert_eq!(before_runs([7, 7, 3, 7, 7, 7].into_iter()), [0, 0, 2, 3, 3, 3]);
        assert!(before_runs(std::iter::empty::<u32>()).is_empty());
    }
}
