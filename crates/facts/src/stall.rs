//! The stall test: whose spans block the event loop of a process, told from span times alone.
//!
//! While a loop is blocked, no span of any other, concurrent trace of the process starts or ends,
//! although many were to be expected. One silence proves little; a place judged over many requests
//! proves a lot. The raw measures stand beside leaf spans and gaps, verdicts are the rule's. Only
//! the *victims* of a stall are told here, because every rule discounts them.
//!
//! Source: the reference of the same test, `stall_test.py`, which these measures agree with up to
//! the first `http send` of a response.

use hashbrown::HashMap;
use timesink_model::NANOS_PER_MILLI;

use crate::gaps::{Gap, Position};
use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::process::{Group, Processes};
use crate::rows::{NONE, Rows};

/// The shortest leaf span that is measured; shorter ones cannot hold a silence worth a look.
const MEASURED_NANOS_MIN: i64 = NANOS_PER_MILLI;

/// Starts and ends this close to a candidate's own are its own.
const EDGE_SLACK_NANOS: i64 = 20_000;

/// How far around a candidate the rate of starts and ends is taken, at least.
const WINDOW_NANOS_MIN: i64 = 100 * NANOS_PER_MILLI;

/// The thresholds of the test, as they were measured. The rule `blocking-event-loop` declares the
/// same ones as its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StallTest {
    /// The shortest silence that counts.
    pub silence_nanos_min: i64,
    /// Starts and ends that were to be expected in the silence.
    pub expected_edges_min: f64,
    /// Instances of a place that can be decided.
    pub decidable_min: u32,
    /// Share of a place's instances that can be decided.
    pub decidable_share_min: f64,
    /// Share of the decidable instances that are blocked.
    pub blocked_share_min: f64,
    /// Share of the endpoint's traces in which the place occurs.
    pub endpoint_share_min: f64,
}

impl Default for StallTest {
    fn default() -> Self {
        Self {
            silence_nanos_min: 10 * NANOS_PER_MILLI,
            expected_edges_min: 5.0,
            decidable_min: 5,
            decidable_share_min: 0.3,
            blocked_share_min: 0.7,
            endpoint_share_min: 0.2,
        }
    }
}

/// What one leaf span or gap says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Blocked,
    Clear,
    /// Too little else went on to tell.
    Unknown,
}

/// The raw measures of one leaf span or gap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measure {
    pub(crate) silence_nanos: i64,
    pub(crate) expected_edges: f64,
    pub(crate) foreign_edges: u32,
    pub(crate) concurrent_traces: u32,
    /// How long other traces of the process were open during the silence, added up.
    pub(crate) waiting_nanos: i64,
}

impl StallTest {
    /// Judges one instance of `nanos`. A span must be silent over its whole length; a gap may have
    /// had life at its beginning.
    fn judge(&self, measure: &Measure, nanos: i64, is_gap: bool) -> Verdict {
        let silence = measure.silence_nanos;
        if silence >= self.silence_nanos_min && measure.expected_edges >= self.expected_edges_min {
            let silent = is_gap || measure.foreign_edges == 0;
            return if silent { Verdict::Blocked } else { Verdict::Clear };
        }
        let expected_in_whole = measure.expected_edges * nanos as f64 / silence.max(1) as f64;
        if expected_in_whole < self.expected_edges_min { Verdict::Unknown } else { Verdict::Clear }
    }
}

/// The measures of leaf spans, and how long each span was a victim.
#[derive(Debug)]
pub(crate) struct Stalls {
    pub(crate) measures: Vec<Option<Measure>>,
    pub(crate) stalled_nanos: Vec<i64>,
}

/// Measures every leaf span and gap of the processes that run an event loop, and fills the gaps'.
pub(crate) fn measure(
    rows: &Rows<'_>,
    processes: &Processes,
    meaning: &Meaning,
    gaps: &mut [Gap],
    test: &StallTest,
) -> Stalls {
    let mut stalls =
        Stalls { measures: vec![None; rows.len()], stalled_nanos: vec![0; rows.len()] };
    let mut gaps_of_group: Vec<Vec<u32>> = vec![Vec::new(); processes.groups.len()];
    for (number, gap) in gaps.iter().enumerate() {
        gaps_of_group[processes.group_of[gap.span as usize] as usize].push(number as u32);
    }
    let runs = processes.groups.chunk_by(|a, b| a.process == b.process);
    let mut first = 0;
    for groups in runs {
        if processes.is_event_loop[groups[0].process as usize] {
            let gaps_of_group = &gaps_of_group[first..first + groups.len()];
            let loop_of = Loop { rows, processes, meaning, groups, gaps_of_group };
            loop_of.measure(gaps, &mut stalls);
            let blocked = loop_of.blocked(gaps, &stalls, test);
            loop_of.find_victims(&blocked, gaps, &mut stalls);
        }
        first += groups.len();
    }
    stalls
}

/// One process with an event loop.
struct Loop<'a> {
    rows: &'a Rows<'a>,
    processes: &'a Processes,
    meaning: &'a Meaning,
    groups: &'a [Group],
    gaps_of_group: &'a [Vec<u32>],
}

/// A start or end of a span.
#[derive(Debug, Clone, Copy)]
struct Edge {
    time: i64,
    group: u32,
}

/// A stretch in which a place blocked the loop.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    start: i64,
    end: i64,
    group: u32,
}

/// Where in the code a candidate is: endpoint, what it is, and the operations that tell.
type Place = (Sym, Option<Position>, Sym, Sym);

impl Loop<'_> {
    fn measure(&self, gaps: &mut [Gap], stalls: &mut Stalls) {
        let edges = self.edges();
        let extents: Vec<(i64, i64)> = self.groups.iter().map(|g| self.extent(g)).collect();
        let mut neighbours = Neighbours::new(self.groups);
        let mut local: Vec<i64> = Vec::new();
        for number in 0..self.groups.len() {
            let leaves: Vec<u32> = self.leaves(&self.groups[number]).collect();
            let own_gaps = &self.gaps_of_group[number];
            neighbours.advance(self.groups, number);
            if leaves.is_empty() && own_gaps.is_empty() {
                continue;
            }
            let concurrent = neighbours.concurrent(self.groups, number);
            let reach = self.reach(&leaves, own_gaps, gaps);
            local.clear();
            let from = edges.partition_point(|edge| edge.time < reach.0);
            let near = edges[from..].iter().take_while(|edge| edge.time <= reach.1);
            local.extend(near.filter(|e| neighbours.is_concurrent(e.group)).map(|e| e.time));
            let extent = concurrent.iter().map(|&group| extents[group as usize]);
            let extent = extent.fold(None, |whole: Option<(i64, i64)>, (first, last)| {
                Some(whole.map_or((first, last), |(a, b)| (a.min(first), b.max(last))))
            });
            let open = concurrent.iter().map(|&other| &self.groups[other as usize]).collect();
            let surroundings = Surroundings { edges: &local, extent, open };
            for at in leaves {
                let (start, end) = (self.rows.start[at as usize], self.rows.end[at as usize]);
                stalls.measures[at as usize] = Some(surroundings.measure(start, end));
            }
            for &gap in own_gaps {
                let gap = &mut gaps[gap as usize];
                gap.silence = Some(surroundings.measure(gap.start, gap.end));
            }
        }
    }

    /// Every start and end in the process, by time.
    fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (number, group) in self.groups.iter().enumerate() {
            let group_number = number as u32;
            for &at in self.processes.members(group) {
                for time in [self.rows.start[at as usize], self.rows.end[at as usize]] {
                    edges.push(Edge { time, group: group_number });
                }
            }
        }
        edges.sort_unstable_by_key(|edge| (edge.time, edge.group));
        edges
    }

    fn extent(&self, group: &Group) -> (i64, i64) {
        let members = self.processes.members(group).iter().map(|&at| at as usize);
        let first = members.clone().map(|at| self.rows.start[at]).min();
        let last = members.map(|at| self.rows.end[at]).max();
        (first.unwrap_or(group.start), last.unwrap_or(group.end))
    }

    /// The leaf spans worth measuring: an entry's own time shows as gaps.
    fn leaves<'s>(&'s self, group: &Group) -> impl Iterator<Item = u32> + 's {
        self.processes.members(group).iter().copied().filter(|&at| {
            let at = at as usize;
            self.processes.is_leaf[at]
                && !self.rows.kind[at].is_entry()
                && self.rows.duration(at) >= MEASURED_NANOS_MIN
        })
    }

    /// From where to where edges matter to the candidates of one group.
    fn reach(&self, leaves: &[u32], own_gaps: &[u32], gaps: &[Gap]) -> (i64, i64) {
        let of_leaf = |&at: &u32| (self.rows.start[at as usize], self.rows.end[at as usize]);
        let of_gap = |&gap: &u32| (gaps[gap as usize].start, gaps[gap as usize].end);
        let candidates = leaves.iter().map(of_leaf).chain(own_gaps.iter().map(of_gap));
        candidates.fold((i64::MAX, i64::MIN), |(from, to), (start, end)| {
            let window = (end - start).max(WINDOW_NANOS_MIN);
            (from.min(start - window), to.max(end + window))
        })
    }

    /// Returns the stretches in which places that block did block, by start, without overlap.
    fn blocked(&self, gaps: &[Gap], stalls: &Stalls, test: &StallTest) -> Vec<Blocked> {
        let mut places: HashMap<Place, Counts> = HashMap::new();
        let mut endpoint_traces: HashMap<Sym, u32> = HashMap::new();
        self.each_candidate(gaps, stalls, test, |place, _, measure, start, end| {
            places.entry(place).or_default().add(test.judge(
                measure,
                end - start,
                place.1.is_some(),
            ));
        });
        for group in self.groups {
            *endpoint_traces.entry(self.rows.name[group.root as usize]).or_default() += 1;
        }
        let mut blocked = Vec::new();
        self.each_candidate(gaps, stalls, test, |place, group, measure, start, end| {
            let is_gap = place.1.is_some();
            if test.judge(measure, end - start, is_gap) == Verdict::Blocked
                && places[&place].blocks(test, endpoint_traces[&place.0])
            {
                blocked.push(Blocked { start: end - measure.silence_nanos, end, group });
            }
        });
        blocked.sort_unstable_by_key(|b| (b.start, b.end, b.group));
        let mut until = i64::MIN;
        for stretch in &mut blocked {
            stretch.start = stretch.start.max(until);
            stretch.end = stretch.end.max(stretch.start);
            until = until.max(stretch.end);
        }
        blocked
    }

    fn each_candidate(
        &self,
        gaps: &[Gap],
        stalls: &Stalls,
        test: &StallTest,
        mut see: impl FnMut(Place, u32, &Measure, i64, i64),
    ) {
        let is_long = |start: i64, end: i64| end - start >= test.silence_nanos_min;
        for (number, group) in self.groups.iter().enumerate() {
            let endpoint = self.rows.name[group.root as usize];
            for at in self.leaves(group) {
                let Some(measure) = &stalls.measures[at as usize] else { continue };
                let place = (endpoint, None, self.meaning.operation[at as usize], Sym(0));
                let (start, end) = (self.rows.start[at as usize], self.rows.end[at as usize]);
                if is_long(start, end) {
                    see(place, number as u32, measure, start, end);
                }
            }
            for &gap in &self.gaps_of_group[number] {
                let gap = &gaps[gap as usize];
                // A leaf's whole gap is the leaf itself.
                let is_leaf = self.processes.is_leaf[gap.span as usize]
                    && !self.rows.kind[gap.span as usize].is_entry();
                let Some(measure) = &gap.silence else { continue };
                if is_leaf || !is_long(gap.start, gap.end) {
                    continue;
                }
                let place = (
                    endpoint,
                    Some(gap.position()),
                    operation(self.meaning, gap.before),
                    operation(self.meaning, gap.after),
                );
                see(place, number as u32, measure, gap.start, gap.end);
            }
        }
    }

    /// Adds up, for each span and gap, the stalls that other traces caused.
    fn find_victims(&self, blocked: &[Blocked], gaps: &mut [Gap], stalls: &mut Stalls) {
        if blocked.is_empty() {
            return;
        }
        let mut before = vec![0];
        for stretch in blocked {
            before.push(before[before.len() - 1] + stretch.end - stretch.start);
        }
        let all = |start: i64, end: i64| stretches_within(blocked, &before, start, end);
        for (number, group) in self.groups.iter().enumerate() {
            let own: Vec<Blocked> = self.own_stretches(blocked, group, number as u32);
            let foreign = |start: i64, end: i64| {
                let overlap = |b: &Blocked| (b.end.min(end) - b.start.max(start)).max(0);
                all(start, end) - own.iter().map(overlap).sum::<i64>()
            };
            for &at in self.processes.members(group) {
                let (start, end) = (self.rows.start[at as usize], self.rows.end[at as usize]);
                stalls.stalled_nanos[at as usize] = foreign(start, end);
            }
            for &gap in &self.gaps_of_group[number] {
                let gap = &mut gaps[gap as usize];
                gap.stalled = foreign(gap.start, gap.end);
            }
        }
    }

    fn own_stretches(&self, blocked: &[Blocked], group: &Group, number: u32) -> Vec<Blocked> {
        let (first, last) = self.extent(group);
        let from = blocked.partition_point(|b| b.end <= first);
        let near = blocked[from..].iter().take_while(|b| b.start < last);
        near.filter(|b| b.group == number).copied().collect()
    }
}

fn operation(meaning: &Meaning, at: u32) -> Sym {
    if at == NONE { Sym(0) } else { meaning.operation[at as usize] }
}

/// Returns how much of the stretches lies between two times; `before` are their running sums.
fn stretches_within(blocked: &[Blocked], before: &[i64], start: i64, end: i64) -> i64 {
    let from = blocked.partition_point(|b| b.end <= start);
    let to = blocked.partition_point(|b| b.start < end);
    if from >= to {
        return 0;
    }
    let cut_front = (start - blocked[from].start).max(0);
    let cut_back = (blocked[to - 1].end - end).max(0);
    before[to] - before[from] - cut_front - cut_back
}

#[derive(Debug, Default)]
struct Counts {
    blocked: u32,
    clear: u32,
    unknown: u32,
}

impl Counts {
    fn add(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Blocked => self.blocked += 1,
            Verdict::Clear => self.clear += 1,
            Verdict::Unknown => self.unknown += 1,
        }
    }

    fn blocks(&self, test: &StallTest, endpoint_traces: u32) -> bool {
        let decidable = self.blocked + self.clear;
        let all = f64::from(decidable + self.unknown);
        decidable >= test.decidable_min
            && f64::from(decidable) >= test.decidable_share_min * all
            && f64::from(self.blocked) >= test.blocked_share_min * f64::from(decidable)
            && all >= test.endpoint_share_min * f64::from(endpoint_traces)
    }
}

/// The groups whose local root overlaps the one at hand, found by a sweep over their starts.
struct Neighbours {
    /// Groups that had begun before the one at hand and may not have ended.
    open: Vec<u32>,
    stamp: Vec<u32>,
    current: u32,
}

impl Neighbours {
    fn new(groups: &[Group]) -> Self {
        Self { open: Vec::new(), stamp: vec![NONE; groups.len()], current: NONE }
    }

    /// Moves on to group `number`; to be called for every group, in order.
    fn advance(&mut self, groups: &[Group], number: usize) {
        let start = groups[number].start;
        self.open.retain(|&group| groups[group as usize].end > start);
        self.open.push(number as u32);
    }

    fn concurrent(&mut self, groups: &[Group], number: usize) -> Vec<u32> {
        let (start, end) = (groups[number].start, groups[number].end);
        let later = (number + 1..groups.len()).take_while(|&g| groups[g].start < end);
        let overlaps = |&group: &u32| {
            let other = &groups[group as usize];
            group as usize != number && other.end > start && other.start < end
        };
        let all = self.open.iter().copied().chain(later.map(|group| group as u32));
        let concurrent: Vec<u32> = all.filter(overlaps).collect();
        self.current = number as u32;
        for &group in &concurrent {
            self.stamp[group as usize] = self.current;
        }
        concurrent
    }

    fn is_concurrent(&self, group: u32) -> bool {
        self.stamp[group as usize] == self.current
    }
}

/// What went on around the candidates of one group.
struct Surroundings<'a> {
    /// Starts and ends of concurrent traces within reach, by time.
    edges: &'a [i64],
    /// The first and the last edge of the concurrent traces.
    extent: Option<(i64, i64)>,
    /// The concurrent traces.
    open: Vec<&'a Group>,
}

impl Surroundings<'_> {
    fn measure(&self, start: i64, end: i64) -> Measure {
        let up_to = |time: i64| self.edges.partition_point(|&edge| edge <= time);
        let below = |time: i64| self.edges.partition_point(|&edge| edge < time);
        let first = up_to(start + EDGE_SLACK_NANOS);
        let last = below(end - EDGE_SLACK_NANOS);
        let inside = last.saturating_sub(first);
        let silence = end - if inside > 0 { self.edges[last - 1] } else { start };
        let window = (end - start).max(WINDOW_NANOS_MIN);
        let around = up_to(end + window) - below(start - window);
        let rate = around as f64 / self.observed(start, end, window, silence) as f64;
        Measure {
            silence_nanos: silence,
            expected_edges: rate * silence as f64,
            foreign_edges: inside as u32,
            concurrent_traces: self.open.len() as u32,
            waiting_nanos: self.waiting(end - silence, end),
        }
    }

    fn waiting(&self, start: i64, end: i64) -> i64 {
        let open = |group: &&Group| (group.end.min(end) - group.start.max(start)).max(0);
        self.open.iter().map(open).sum()
    }

    /// The time over which the rate is taken: concurrent traces live only near the candidate's
    /// root, so no further than they do; without the silence itself.
    fn observed(&self, start: i64, end: i64, window: i64, silence: i64) -> i64 {
        let Some((first, last)) = self.extent else {
            return end - start + 2 * window - silence;
        };
        let (from, to) = ((start - window).max(first), (end + window).min(last));
        let before = if from < start { start.min(to) - from } else { 0 };
        (before + (to - end).max(0) + (end - start - silence)).max(NANOS_PER_MILLI)
    }
}
