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
use crate::silence::{self, Candidate, Silence};

/// The shortest leaf span that is measured; shorter ones cannot hold a silence worth a look.
const MEASURED_NANOS_MIN: i64 = NANOS_PER_MILLI;

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

/// What a silence was measured of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stretch {
    /// A leaf span. It must be silent over its whole length.
    Span,
    /// A gap. There may have been life at its beginning.
    Gap,
}

impl StallTest {
    /// Judges one leaf span or gap of so many nanoseconds.
    pub fn judge(&self, silence: &Silence, nanos: i64, stretch: Stretch) -> Verdict {
        let Silence { silence_nanos, expected_edges, foreign_edges, .. } = *silence;
        if silence_nanos >= self.silence_nanos_min && expected_edges >= self.expected_edges_min {
            let silent = stretch == Stretch::Gap || foreign_edges == 0;
            return if silent { Verdict::Blocked } else { Verdict::Clear };
        }
        let expected_in_whole = expected_edges * nanos as f64 / silence_nanos.max(1) as f64;
        if expected_in_whole < self.expected_edges_min { Verdict::Unknown } else { Verdict::Clear }
    }
}

/// The silences of leaf spans, and how long each span was a victim.
#[derive(Debug)]
pub(crate) struct Stalls {
    pub(crate) silences: Vec<Option<Silence>>,
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
        Stalls { silences: vec![None; rows.len()], stalled_nanos: vec![0; rows.len()] };
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
        let mut candidates = Vec::new();
        for (number, of_group) in self.gaps_of_group.iter().enumerate() {
            let group = number as u32;
            let spans = self.leaves(&self.groups[number]).map(|at| self.interval(at));
            let of_group =
                of_group.iter().map(|&gap| (gaps[gap as usize].start, gaps[gap as usize].end));
            candidates.extend(spans.chain(of_group).map(|(start, end)| Candidate {
                group,
                start,
                end,
            }));
        }
        let silences = silence::measure(self.rows, self.processes, self.groups, &candidates);
        let mut silences = silences.into_iter();
        for (group, of_group) in self.groups.iter().zip(self.gaps_of_group) {
            for at in self.leaves(group) {
                stalls.silences[at as usize] = silences.next();
            }
            for &gap in of_group {
                gaps[gap as usize].silence = silences.next();
            }
        }
    }

    fn interval(&self, at: u32) -> (i64, i64) {
        (self.rows.start[at as usize], self.rows.end[at as usize])
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

    /// Returns the stretches in which places that block did block, by start, without overlap.
    fn blocked(&self, gaps: &[Gap], stalls: &Stalls, test: &StallTest) -> Vec<Blocked> {
        let mut places: HashMap<Place, Counts> = HashMap::new();
        let mut endpoint_traces: HashMap<Sym, u32> = HashMap::new();
        self.each_candidate(gaps, stalls, test, |place, _, silence, start, end| {
            let verdict = test.judge(silence, end - start, stretch_of(&place));
            places.entry(place).or_default().add(verdict);
        });
        for group in self.groups {
            *endpoint_traces.entry(self.rows.name[group.root as usize]).or_default() += 1;
        }
        let mut blocked = Vec::new();
        self.each_candidate(gaps, stalls, test, |place, group, silence, start, end| {
            if test.judge(silence, end - start, stretch_of(&place)) == Verdict::Blocked
                && places[&place].blocks(test, endpoint_traces[&place.0])
            {
                blocked.push(Blocked { start: end - silence.silence_nanos, end, group });
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
        mut see: impl FnMut(Place, u32, &Silence, i64, i64),
    ) {
        let is_long = |start: i64, end: i64| end - start >= test.silence_nanos_min;
        for (number, group) in self.groups.iter().enumerate() {
            let endpoint = self.rows.name[group.root as usize];
            for at in self.leaves(group) {
                let Some(silence) = &stalls.silences[at as usize] else { continue };
                let place = (endpoint, None, self.meaning.operation[at as usize], Sym(0));
                let (start, end) = self.interval(at);
                if is_long(start, end) {
                    see(place, number as u32, silence, start, end);
                }
            }
            for &gap in &self.gaps_of_group[number] {
                let gap = &gaps[gap as usize];
                // A leaf's whole gap is the leaf itself.
                let is_leaf = self.processes.is_leaf[gap.span as usize]
                    && !self.rows.kind[gap.span as usize].is_entry();
                let Some(silence) = &gap.silence else { continue };
                if is_leaf || !is_long(gap.start, gap.end) {
                    continue;
                }
                let place = (
                    endpoint,
                    Some(gap.position()),
                    operation(self.meaning, gap.before),
                    operation(self.meaning, gap.after),
                );
                see(place, number as u32, silence, gap.start, gap.end);
            }
        }
    }

    /// Adds up, for each span and gap, the stalls that other traces caused.
    fn find_victims(&self, blocked: &[Blocked], gaps: &mut [Gap], stalls: &mut Stalls) {
        if blocked.is_empty() {
            return;
        }
        let all = Stretches::new(blocked.iter());
        let mut by_group: Vec<&Blocked> = blocked.iter().collect();
        by_group.sort_by_key(|blocked| blocked.group);
        let mut own_blocked = by_group.chunk_by(|a, b| a.group == b.group).peekable();
        for (number, group) in self.groups.iter().enumerate() {
            let own = own_blocked.next_if(|own| own[0].group as usize == number);
            let own = Stretches::new(own.unwrap_or_default().iter().copied());
            let foreign = |start: i64, end: i64| all.within(start, end) - own.within(start, end);
            for &at in self.processes.members(group) {
                let (start, end) = self.interval(at);
                stalls.stalled_nanos[at as usize] = foreign(start, end);
            }
            for &gap in &self.gaps_of_group[number] {
                let gap = &mut gaps[gap as usize];
                gap.stalled = foreign(gap.start, gap.end);
            }
        }
    }
}

fn stretch_of(place: &Place) -> Stretch {
    if place.1.is_some() { Stretch::Gap } else { Stretch::Span }
}

fn operation(meaning: &Meaning, at: u32) -> Sym {
    if at == NONE { Sym(0) } else { meaning.operation[at as usize] }
}

/// Stretches by start, without overlap.
struct Stretches {
    bounds: Vec<(i64, i64)>,
    /// Running sums of their lengths, one more than there are stretches.
    before: Vec<i64>,
}

impl Stretches {
    fn new<'a>(blocked: impl Iterator<Item = &'a Blocked>) -> Self {
        let bounds: Vec<(i64, i64)> = blocked.map(|b| (b.start, b.end)).collect();
        let mut before = vec![0];
        for (start, end) in &bounds {
            before.push(before[before.len() - 1] + end - start);
        }
        Self { bounds, before }
    }

    /// Returns how much of the stretches lies between two times.
    fn within(&self, start: i64, end: i64) -> i64 {
        let from = self.bounds.partition_point(|bounds| bounds.1 <= start);
        let to = self.bounds.partition_point(|bounds| bounds.0 < end);
        if from >= to {
            return 0;
        }
        let cut_front = (start - self.bounds[from].0).max(0);
        let cut_back = (self.bounds[to - 1].1 - end).max(0);
        self.before[to] - self.before[from] - cut_front - cut_back
    }
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
