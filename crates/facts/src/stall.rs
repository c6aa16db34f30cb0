//! The stall test: whose spans block the event loop of a process, told from span times alone.
//!
//! While a loop is blocked, no span of any other, concurrent request of the process starts or ends,
//! although many were to be expected. One silence proves little; a place judged over many requests
//! proves a lot. The raw measures stand beside leaf spans and gaps, verdicts are the rule's. Only
//! the *victims* of a stall are told here, because every rule discounts them.
//!
//! Source: the reference of the same test, `stall_test.py`, which these measures agree with up to
//! the first `http send` of a response.

use hashbrown::HashMap;
use timesink_model::NANOS_PER_MILLI;

use crate::PassOptions;
use crate::gaps::{Gap, Position};
use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::parallel::map;
use crate::process::{Group, Processes};
use crate::requests::{self, RequestCounts, RequestSilence};
use crate::rows::{NONE, Rows};
use crate::served::Served;
use crate::silence::{self, Candidate, Silence};
use crate::sparse::Sparse;

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
    /// Share of the endpoint's requests in which the place occurs.
    pub endpoint_share_min: f64,
    /// Starts and ends that were to be expected in all instances of a place together, where each
    /// alone is too short to tell, and none of them heard any.
    pub together_edges_min: f64,
    /// Share of the endpoint's requests in which such a place occurs beside another request.
    pub together_share_min: f64,
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
            together_edges_min: 50.0,
            together_share_min: 0.6,
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

impl Verdict {
    fn is_blocked(self) -> bool {
        self == Self::Blocked
    }
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
    pub(crate) silences: Sparse<Silence>,
    pub(crate) requests: Sparse<RequestSilence>,
    pub(crate) stalled_nanos: Vec<i64>,
}

/// Measures every leaf span and gap of the processes that may run an event loop, and fills the
/// gaps'.
pub(crate) fn measure(
    rows: &Rows,
    served: &Served,
    processes: &Processes,
    meaning: &Meaning,
    gaps: &mut [Gap],
    options: &PassOptions,
) -> Stalls {
    let mut stalls = Stalls {
        silences: Sparse::new(rows.len()),
        requests: Sparse::new(rows.len()),
        stalled_nanos: vec![0; rows.len()],
    };
    let mut gaps_of_group: Vec<Vec<u32>> = vec![Vec::new(); processes.groups.len()];
    for (number, gap) in gaps.iter().enumerate() {
        match processes.group_of[gap.span as usize] {
            NONE => {}
            group => gaps_of_group[group as usize].push(number as u32),
        }
    }
    let notes = Notes::find(rows, processes);
    let mut loops = Vec::new();
    let mut rest_of_gaps = gaps_of_group.as_slice();
    for groups in processes.groups.chunk_by(|a, b| a.process == b.process) {
        let process = groups[0].process as usize;
        let (gaps_of_group, rest) = rest_of_gaps.split_at(groups.len());
        rest_of_gaps = rest;
        if processes.is_event_loop[process] || processes.is_told_by_requests[process] {
            let notes = notes.of(process as u32);
            loops.push(Loop { rows, served, processes, meaning, groups, gaps_of_group, notes });
        }
    }
    // What was heard in all of them is held at once, some 100 bytes a candidate.
    let heard = map(&loops, |event_loop| event_loop.listen(gaps));
    for (event_loop, heard) in loops.iter().zip(heard) {
        event_loop.keep(heard, gaps, &mut stalls);
        let blocked = event_loop.blocked(gaps, &stalls, options);
        event_loop.find_victims(&blocked, gaps, &mut stalls);
    }
    stalls
}

/// What was heard during the candidates of a process; empty where that test does not tell.
struct Heard {
    silences: Vec<Silence>,
    requests: Vec<Option<RequestSilence>>,
}

/// Notes of no request, by process.
struct Notes(Vec<(u32, u32)>);

impl Notes {
    fn find(rows: &Rows, processes: &Processes) -> Self {
        let is_alone = |at: &usize| rows.is_note[*at] && processes.group_of[*at] == NONE;
        let alone = (0..rows.len()).filter(is_alone);
        let mut notes: Vec<(u32, u32)> = alone.map(|at| (rows.process[at], at as u32)).collect();
        notes.sort_unstable();
        Self(notes)
    }

    fn of(&self, process: u32) -> &[(u32, u32)] {
        let from = self.0.partition_point(|note| note.0 < process);
        let to = self.0.partition_point(|note| note.0 <= process);
        &self.0[from..to]
    }
}

/// One process with an event loop.
struct Loop<'a> {
    rows: &'a Rows,
    served: &'a Served,
    processes: &'a Processes,
    meaning: &'a Meaning,
    groups: &'a [Group],
    gaps_of_group: &'a [Vec<u32>],
    /// Its notes of no request.
    notes: &'a [(u32, u32)],
}

/// A stretch in which a place blocked the loop.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    start: i64,
    end: i64,
    /// Whose doing it was, or [`NONE`].
    group: u32,
}

/// Where in the code a candidate is: endpoint, what it is, and the operations that tell.
type Place = (Sym, Option<Position>, Sym, Sym);

impl Loop<'_> {
    fn listen(&self, gaps: &[Gap]) -> Heard {
        let mut candidates = Vec::new();
        for (number, of_group) in self.gaps_of_group.iter().enumerate() {
            let group = number as u32;
            let spans = self.leaves(&self.groups[number]).map(|at| {
                let (start, end) = self.interval(at);
                Candidate { group, start, end, is_note: self.rows.is_note[at as usize] }
            });
            let of_group = of_group.iter().map(|&gap| {
                let gap = &gaps[gap as usize];
                Candidate { group, start: gap.start, end: gap.end, is_note: false }
            });
            candidates.extend(spans.chain(of_group));
        }
        let process = self.groups[0].process as usize;
        let (mut silences, mut requests) = (Vec::new(), Vec::new());
        if self.processes.is_event_loop[process] {
            silences = silence::measure(self.rows, self.processes, self.groups, &candidates);
        }
        if self.processes.is_told_by_requests[process] {
            requests =
                requests::measure(self.rows, self.served, self.processes, self.groups, &candidates);
        }
        Heard { silences, requests }
    }

    fn keep(&self, heard: Heard, gaps: &mut [Gap], stalls: &mut Stalls) {
        let mut silences = heard.silences.into_iter();
        let mut requests = heard.requests.into_iter();
        for (group, of_group) in self.groups.iter().zip(self.gaps_of_group) {
            for at in self.leaves(group) {
                if let Some(silence) = silences.next() {
                    stalls.silences.set(at as usize, silence);
                }
                if let Some(silence) = requests.next().flatten() {
                    stalls.requests.set(at as usize, silence);
                }
            }
            for &gap in of_group {
                gaps[gap as usize].silence = silences.next();
                gaps[gap as usize].requests = requests.next().flatten();
            }
        }
    }

    fn interval(&self, at: u32) -> (i64, i64) {
        (self.rows.start[at as usize], self.rows.end[at as usize])
    }

    /// The leaf spans and notes worth measuring: an entry's own time shows as gaps.
    fn leaves<'s>(&'s self, group: &Group) -> impl Iterator<Item = u32> + 's {
        self.processes.members(group).iter().copied().filter(|&at| {
            let at = at as usize;
            let is_leaf = self.processes.is_leaf[at] && !self.served.is_request(at);
            (is_leaf || self.rows.is_note[at]) && self.rows.duration(at) >= MEASURED_NANOS_MIN
        })
    }

    /// Returns the stretches in which places that block did block, by start, without overlap.
    fn blocked(&self, gaps: &[Gap], stalls: &Stalls, options: &PassOptions) -> Vec<Blocked> {
        let mut blocked = self.noted(options);
        if !self.processes.is_watched[self.groups[0].process as usize] {
            self.judge(gaps, stalls, options, &mut blocked);
        }
        blocked.sort_unstable_by_key(|b| (b.start, b.end, b.group));
        let mut until = i64::MIN;
        for stretch in &mut blocked {
            stretch.start = stretch.start.max(until);
            stretch.end = stretch.end.max(stretch.start);
            until = until.max(stretch.end);
        }
        blocked
    }

    /// Returns the stretches in which the process says itself that it stood still.
    fn noted(&self, options: &PassOptions) -> Vec<Blocked> {
        let nanos_min = options.stall_test.silence_nanos_min;
        let groups = (0..).zip(self.groups);
        let notes = groups.flat_map(|(number, group)| {
            let members = self.processes.members(group).iter();
            let notes = members.filter(|&&at| self.rows.is_note[at as usize]);
            notes.map(move |&at| {
                let (start, end) = self.interval(at);
                Blocked { start, end, group: number }
            })
        });
        let alone = self.notes.iter().map(|&(_, at)| {
            let (start, end) = self.interval(at);
            Blocked { start, end, group: NONE }
        });
        notes.chain(alone).filter(|blocked| blocked.end - blocked.start >= nanos_min).collect()
    }

    /// Adds the stretches of places that block by the test.
    fn judge(
        &self,
        gaps: &[Gap],
        stalls: &Stalls,
        options: &PassOptions,
        blocked: &mut Vec<Blocked>,
    ) {
        let places = self.verdicts(gaps, stalls, options);
        self.each_candidate(gaps, stalls, options, |seen| {
            let (by_all, together, by_requests) = places[&seen.place];
            let silent = |silence: &&Silence| {
                together || by_all && seen.judge(silence, options).is_blocked()
            };
            let quiet = |requests: &&RequestSilence| {
                by_requests && requests.silence_nanos >= options.request_test.silence_nanos_min
            };
            let nanos = seen.silence.filter(silent).map(|silence| silence.silence_nanos);
            let nanos = nanos.or(seen.requests.filter(quiet).map(|quiet| quiet.silence_nanos));
            if let Some(nanos) = nanos {
                blocked.push(Blocked { start: seen.end - nanos, end: seen.end, group: seen.group });
            }
        });
    }

    /// Returns, for each place, whether it blocks by the silence of all spans in most of its
    /// instances, in all of them together, and by that of requests.
    fn verdicts(
        &self,
        gaps: &[Gap],
        stalls: &Stalls,
        options: &PassOptions,
    ) -> HashMap<Place, (bool, bool, bool)> {
        let mut places: HashMap<Place, (Counts, RequestCounts)> = HashMap::new();
        self.each_candidate(gaps, stalls, options, |seen| {
            let (counts, requests) = places.entry(seen.place).or_default();
            if let Some(silence) = seen.silence {
                counts.add(silence, seen.judge(silence, options), stretch_of(&seen.place));
            }
            if let Some(silence) = seen.requests {
                requests.add(silence, seen.end, &options.request_test);
            }
        });
        let mut endpoint_traces: HashMap<Sym, u32> = HashMap::new();
        for group in self.groups {
            *endpoint_traces.entry(self.rows.name[group.root as usize]).or_default() += 1;
        }
        let verdict = |(place, (counts, mut requests)): (Place, (Counts, RequestCounts))| {
            let traces = endpoint_traces[&place.0];
            let by_all = counts.blocks(&options.stall_test, traces);
            let together = counts.blocks_together(&options.stall_test, traces);
            (place, (by_all, together, requests.blocks(&options.request_test, traces)))
        };
        places.into_iter().map(verdict).collect()
    }

    fn each_candidate(
        &self,
        gaps: &[Gap],
        stalls: &Stalls,
        options: &PassOptions,
        mut see: impl FnMut(Seen<'_>),
    ) {
        let nanos_min = options.stall_test.silence_nanos_min;
        for (number, group) in self.groups.iter().enumerate() {
            let endpoint = self.rows.name[group.root as usize];
            let is_candidate = |at: &u32| {
                let at = *at as usize;
                self.rows.duration(at) >= nanos_min && !self.rows.is_note[at]
            };
            for at in self.leaves(group).filter(is_candidate) {
                let (start, end) = self.interval(at);
                see(Seen {
                    place: (endpoint, None, self.meaning.operation[at as usize], Sym(0)),
                    group: number as u32,
                    start,
                    end,
                    silence: stalls.silences.get(at as usize),
                    requests: stalls.requests.get(at as usize),
                });
            }
            let gaps_of_group = self.gaps_of_group[number].iter().map(|&gap| &gaps[gap as usize]);
            for gap in gaps_of_group.filter(|gap| gap.nanos() >= nanos_min) {
                // A leaf's whole gap is the leaf itself.
                let span = gap.span as usize;
                if self.processes.is_leaf[span] && !self.served.is_request(span) {
                    continue;
                }
                let neighbours =
                    [gap.before, gap.after].map(|neighbour| operation(self.meaning, neighbour));
                see(Seen {
                    place: (endpoint, Some(gap.position()), neighbours[0], neighbours[1]),
                    group: number as u32,
                    start: gap.start,
                    end: gap.end,
                    silence: gap.silence.as_ref(),
                    requests: gap.requests.as_ref(),
                });
            }
        }
    }

    /// Adds up, for each span and gap, the stalls that other requests caused.
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

/// One leaf span or gap, and what was measured of it.
struct Seen<'a> {
    place: Place,
    group: u32,
    start: i64,
    end: i64,
    silence: Option<&'a Silence>,
    requests: Option<&'a RequestSilence>,
}

impl Seen<'_> {
    fn judge(&self, silence: &Silence, options: &PassOptions) -> Verdict {
        options.stall_test.judge(silence, self.end - self.start, stretch_of(&self.place))
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
    expected_edges: f64,
    /// How many had another request beside them.
    accompanied: u32,
    /// Whether any of them heard another request, or is a gap, that may have at its beginning.
    is_heard: bool,
}

impl Counts {
    fn add(&mut self, silence: &Silence, verdict: Verdict, stretch: Stretch) {
        self.expected_edges += silence.expected_edges;
        self.accompanied += u32::from(silence.concurrent_traces > 0);
        self.is_heard |= silence.foreign_edges > 0 || stretch == Stretch::Gap;
        match verdict {
            Verdict::Blocked => self.blocked += 1,
            Verdict::Clear => self.clear += 1,
            Verdict::Unknown => self.unknown += 1,
        }
    }

    fn decidable(&self) -> u32 {
        self.blocked + self.clear
    }

    fn all(&self) -> f64 {
        f64::from(self.decidable() + self.unknown)
    }

    /// Returns whether enough of them can be told one by one.
    fn is_decidable(&self, test: &StallTest) -> bool {
        self.decidable() >= test.decidable_min
            && f64::from(self.decidable()) >= test.decidable_share_min * self.all()
    }

    fn blocks(&self, test: &StallTest, endpoint_traces: u32) -> bool {
        self.is_decidable(test)
            && f64::from(self.blocked) >= test.blocked_share_min * f64::from(self.decidable())
            && self.all() >= test.endpoint_share_min * f64::from(endpoint_traces)
    }

    fn blocks_together(&self, test: &StallTest, endpoint_traces: u32) -> bool {
        !self.is_decidable(test)
            && !self.is_heard
            && self.accompanied >= test.decidable_min
            && f64::from(self.accompanied) >= test.together_share_min * f64::from(endpoint_traces)
            && self.expected_edges >= test.together_edges_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{GapRow, Pass, Span, span};

    /// Scenario: a process says when its loop stood still, in the request that did it and in none.
    /// Guarantee: what it says is no work: no child, no cover, no entry, nothing that is heard.
    #[test]
    fn a_note_is_no_work() {
        let request = |id, trace| span(id, 0, 0, 100).server().scope("fastapi").trace(trace);
        let query = |id, parent, trace| span(id, parent, 10, 60).query("SELECT 1").trace(trace);
        let without = [request(1, 1), query(2, 1, 1), request(3, 3), query(4, 3, 3)];
        let notes = [
            span(5, 1, 9, 62).note().trace(1),
            span(6, 0, 20, 40).note().trace(6),
            span(7, 99, 20, 40).note().trace(3),
            span(8, 5, 30, 35).note().trace(1),
            // Below another process, below itself, and with a child that is no note.
            span(9, 1, 20, 40).note().trace(1).instance("app-2"),
            span(10, 10, 20, 40).note().trace(1),
            span(11, 0, 20, 40).note().trace(11).instance("app-3"),
            span(12, 11, 25, 30).trace(11).instance("app-3"),
        ];
        let with = Pass::over(&[without.as_slice(), &notes].concat());
        let without = Pass::over(&without);
        for id in 1..=4 {
            for column in
                ["self_nanos", "critical_nanos", "foreign_edges", "sequence_id", "open_entries"]
            {
                assert_eq!(with.int(id, column), without.int(id, column), "{column} of {id}");
            }
            assert_eq!(with.float(id, "expected_edges"), without.float(id, "expected_edges"));
            assert!(with.flag(id, "is_complete"), "{id}");
            assert_eq!(with.flag(id, "is_leaf"), id % 2 == 0);
        }
        let gaps = |pass: &Pass| {
            let gap = |gap: GapRow| (gap.span, gap.start as i64, gap.end as i64, gap.after);
            pass.gaps().into_iter().map(gap).filter(|gap| gap.0 < 5).collect::<Vec<_>>()
        };
        assert_eq!(gaps(&with), gaps(&without));
        let entries = [5, 6, 7, 8, 9, 10, 11].map(|id| with.id(id, "entry_span_id"));
        assert_eq!(entries, [1, 0, 99, 1, 1, 0, 0].map(Some));
        let endpoints = [5, 6, 7, 8].map(|id| with.text(id, "endpoint").is_some());
        assert_eq!(endpoints, [true, false, false, true]);
        assert!((5..=11).all(|id| !with.flag(id, "is_leaf")));
        // The other request was open while it lasted; of a note of no request nobody knows whose
        // doing it was.
        assert_eq!(with.millis(5, "waiting_nanos"), Some(53.0));
        assert_eq!(with.millis(6, "waiting_nanos"), None);
    }

    /// Scenario: a process says once that its loop stood still, too seldom for a verdict.
    /// Guarantee: whom it kept waiting is known; in a watched process silences blame nobody.
    #[test]
    fn victims_are_those_of_what_the_process_says() {
        let spans = [
            span(1, 0, 0, 100).server().scope("fastapi"),
            span(2, 1, 9, 62).note(),
            span(3, 0, 0, 100).server().scope("fastapi").trace(3),
            span(4, 3, 20, 80).query("SELECT 1").trace(3),
        ];
        let pass = Pass::over(&spans);
        assert_eq!(pass.millis(4, "stalled_nanos"), Some(42.0));
        assert_eq!(pass.millis(1, "stalled_nanos"), Some(0.0));
        // What is the doing of no request keeps all waiting.
        let mut spans = spans.to_vec();
        spans[1] = span(2, 0, 9, 62).note().trace(2);
        let pass = Pass::over(&spans);
        assert_eq!(pass.millis(4, "stalled_nanos"), Some(42.0));
        assert_eq!(pass.millis(1, "stalled_nanos"), Some(53.0));
        let mut judged = rounds(BLOCKED);
        assert_eq!(stalled(&Pass::over(&judged), VICTIM), Some(50.0));
        judged[0] = judged[0].clone().watched();
        assert_eq!(stalled(&Pass::over(&judged), VICTIM), Some(0.0));
    }

    fn silence(silence_nanos: i64, expected_edges: f64, foreign_edges: u32) -> Silence {
        Silence {
            silence_nanos,
            expected_edges,
            foreign_edges,
            concurrent_traces: 3,
            waiting_nanos: 0,
        }
    }

    #[test]
    fn a_silence_is_judged_by_what_was_to_be_expected() {
        let ms = NANOS_PER_MILLI;
        let cases = [
            // Silence, expected and foreign edges, length; verdict of a span, of a gap.
            ((50 * ms, 8.0, 0), 50 * ms, Verdict::Blocked, Verdict::Blocked),
            ((10 * ms, 5.0, 0), 10 * ms, Verdict::Blocked, Verdict::Blocked),
            ((10 * ms - 1, 5.0, 0), 10 * ms - 1, Verdict::Clear, Verdict::Clear),
            ((10 * ms, 4.9, 0), 10 * ms, Verdict::Unknown, Verdict::Unknown),
            // A gap may have had life at its beginning, a span may not.
            ((30 * ms, 6.0, 2), 50 * ms, Verdict::Clear, Verdict::Blocked),
            // Much was to be expected in the whole, and some of it came.
            ((5 * ms, 2.0, 4), 50 * ms, Verdict::Clear, Verdict::Clear),
            ((5 * ms, 0.4, 1), 50 * ms, Verdict::Unknown, Verdict::Unknown),
        ];
        for ((nanos, expected, foreign), length, of_span, of_gap) in cases {
            let measured = silence(nanos, expected, foreign);
            let judge = |stretch| StallTest::default().judge(&measured, length, stretch);
            assert_eq!(judge(Stretch::Span), of_span, "{measured:?} as a span");
            assert_eq!(judge(Stretch::Gap), of_gap, "{measured:?} as a gap");
        }
    }

    const BLOCKING: u64 = 1;
    const BLOCKING_QUERY: u64 = 2;
    const VICTIM: u64 = 10;
    const VICTIMS_QUERY: u64 = 11;

    /// How a process is loaded.
    #[derive(Clone, Copy)]
    struct Load {
        rounds: i64,
        library: &'static str,
        /// Whether other requests go on while the query runs.
        goes_on: bool,
    }

    const BLOCKED: Load = Load { rounds: 6, library: "fastapi", goes_on: false };

    /// Rounds of a request with a query from 5 to 55 ms, amid four others that send many queries.
    fn rounds(load: Load) -> Vec<Span> {
        (0..load.rounds).flat_map(|round| one_round(load, round)).collect()
    }

    fn one_round(load: Load, round: i64) -> Vec<Span> {
        let (base, first) = (round * 1000, round as u64 * 1000);
        let server = |id: u64, start, end| {
            let span = span(first + id, 0, base + start, base + end).server().scope(load.library);
            span.trace((first + id).into())
        };
        let query = |id: u64, of: u64, start, end| {
            let span = span(first + id, first + of, base + start, base + end).query("SELECT 1");
            span.trace((first + of).into())
        };
        let mut spans = vec![
            server(BLOCKING, 0, 60).named("GET /blocking"),
            query(BLOCKING_QUERY, BLOCKING, 5, 55).query("SELECT pg_sleep(1)"),
            query(VICTIMS_QUERY, VICTIM, 4, 56),
        ];
        for other in [VICTIM, 100, 200, 300] {
            spans.push(server(other, -40, 100).named("GET /other"));
            let busy = (-38..0).chain(57..95).chain(if load.goes_on { 6..54 } else { 0..0 });
            for (number, start) in (20..).zip(busy.step_by(5)) {
                spans.push(query(other + number, other, start, start + 2));
            }
        }
        spans
    }

    fn stalled(pass: &Pass, id: u64) -> Option<f64> {
        pass.millis(id, "stalled_nanos")
    }

    #[test]
    fn others_are_the_victims_of_a_blocked_loop() {
        let pass = Pass::over(&rounds(BLOCKED));
        assert_eq!(pass.int(BLOCKING_QUERY, "foreign_edges"), Some(0));
        assert_eq!(pass.int(BLOCKING_QUERY, "concurrent_traces"), Some(4));
        assert_eq!(pass.millis(BLOCKING_QUERY, "silence_nanos"), Some(50.0));
        assert_eq!(pass.millis(BLOCKING_QUERY, "waiting_nanos"), Some(200.0));
        for round in 0..6 {
            let of_round = |id| stalled(&pass, round * 1000 + id);
            assert_eq!([VICTIM, VICTIMS_QUERY, 100].map(of_round), [Some(50.0); 3]);
            // What causes a stall is no victim of it.
            assert_eq!([BLOCKING, BLOCKING_QUERY].map(of_round), [Some(0.0); 2]);
        }
        let gap = pass.gaps().iter().position(|gap| gap.span == 100 && gap.position == "between");
        let stalled = pass.gap_ints("stalled_nanos");
        assert!(gap.is_some());
        assert!(stalled.contains(&Some(50 * NANOS_PER_MILLI)), "{stalled:?}");
    }

    /// *Scenario*: the spans of requests that one test sends at the same time lie in its trace.
    #[test]
    fn requests_of_one_trace_are_told_apart() {
        let mut spans: Vec<Span> = rounds(BLOCKED).into_iter().map(|span| span.trace(1)).collect();
        for span in spans.iter_mut().filter(|span| span.kind == "SERVER") {
            *span = Span { parent: 9999, kind: "INTERNAL", ..span.clone().in_process() };
        }
        spans.push(span(9999, 0, -50, 6000).named("test"));
        let pass = Pass::over(&spans);
        assert_eq!(pass.int(BLOCKING_QUERY, "foreign_edges"), Some(0));
        // The test waits as well, but it is no request.
        assert_eq!(pass.int(BLOCKING_QUERY, "concurrent_traces"), Some(4));
        assert_eq!(pass.millis(BLOCKING_QUERY, "waiting_nanos"), Some(200.0));
        assert_eq!(stalled(&pass, VICTIM), Some(50.0));
        assert_eq!([9999, BLOCKING_QUERY].map(|id| stalled(&pass, id)), [Some(0.0); 2]);
    }

    /// *Scenario*: of a trace with several requests a span was lost, of any of them.
    #[test]
    fn what_lost_its_request_keeps_the_trace_together() {
        let mut spans: Vec<Span> = rounds(BLOCKED).into_iter().map(|span| span.trace(1)).collect();
        spans.push(span(8000, 77, 20, 21).query("SELECT 2"));
        let pass = Pass::over(&spans);
        assert_eq!(pass.int(BLOCKING_QUERY, "concurrent_traces"), Some(0));
    }

    #[test]
    fn one_silence_proves_little() {
        let pass = Pass::over(&rounds(Load { rounds: 4, ..BLOCKED }));
        assert_eq!(pass.int(BLOCKING_QUERY, "foreign_edges"), Some(0));
        assert_eq!(stalled(&pass, VICTIM), Some(0.0));
    }

    /// *Scenario*: other requests wait for little, so that hardly anything of them was to be
    /// expected in a single block.
    /// *Guarantee*: many blocks that all are silent prove as much as a few long ones.
    #[test]
    fn silences_too_short_to_tell_are_told_together() {
        let count = |instances: u32, expected_edges: f64, heard: u32| {
            let mut counts = Counts::default();
            for number in 0..instances {
                let foreign = u32::from(number < heard);
                let silence = silence(30 * NANOS_PER_MILLI, expected_edges, foreign);
                counts.add(&silence, Verdict::Unknown, Stretch::Span);
            }
            counts
        };
        let test = StallTest::default();
        assert!(count(20, 4.0, 0).blocks_together(&test, 30));
        assert!(!count(20, 4.0, 0).blocks(&test, 30));
        assert!(!count(20, 4.0, 0).blocks_together(&test, 40));
        assert!(!count(20, 4.0, 1).blocks_together(&test, 30));
        assert!(!count(10, 4.0, 0).blocks_together(&test, 10));
        let mut gap = count(20, 4.0, 0);
        gap.add(&silence(30 * NANOS_PER_MILLI, 4.0, 0), Verdict::Unknown, Stretch::Gap);
        assert!(!gap.blocks_together(&test, 21));
        let mut decidable = count(12, 4.0, 0);
        for _ in 0..8 {
            decidable.add(&silence(50 * NANOS_PER_MILLI, 8.0, 0), Verdict::Blocked, Stretch::Span);
        }
        assert!(decidable.blocks(&test, 30));
        assert!(!decidable.blocks_together(&test, 30), "those that can be told tell");
    }

    #[test]
    fn a_loop_that_goes_on_is_not_blocked() {
        let pass = Pass::over(&rounds(Load { goes_on: true, ..BLOCKED }));
        assert!(pass.int(BLOCKING_QUERY, "foreign_edges") > Some(0));
        assert_eq!(stalled(&pass, VICTIM), Some(0.0));
    }

    #[test]
    fn silence_means_little_where_threads_serve() {
        let pass = Pass::over(&rounds(Load { library: "flask", ..BLOCKED }));
        assert_eq!(pass.int(BLOCKING_QUERY, "silence_nanos"), None);
        assert_eq!(stalled(&pass, VICTIM), Some(0.0));
    }

    #[test]
    fn another_process_is_not_stalled() {
        let mut spans = rounds(BLOCKED);
        let server = |id: u64| span(id, 0, -40, 100).server().scope("fastapi").trace(id.into());
        spans.push(server(9000).instance("app-2"));
        assert_eq!(stalled(&Pass::over(&spans), 9000), Some(0.0));
    }

    #[test]
    fn stretches_add_up_between_two_times() {
        let blocked = [(0, 10), (10, 20), (30, 30), (40, 50)];
        let blocked = blocked.map(|(start, end)| Blocked { start, end, group: 0 });
        let stretches = Stretches::new(blocked.iter());
        let cases = [(0, 50, 30), (5, 15, 10), (20, 40, 0), (45, 99, 5), (-9, 0, 0), (12, 13, 1)];
        for (start, end, expected) in cases {
            assert_eq!(stretches.within(start, end), expected, "{start} to {end}");
        }
        assert_eq!(Stretches::new([].iter()).within(0, 9), 0);
    }
}
