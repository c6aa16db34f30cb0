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
use crate::crowd::{Crowd, Head};
use crate::gaps::{Gap, Position};
use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::parallel::map;
use crate::process::{Group, Processes};
use crate::requests::{self, EdgeSum, RequestCounts, RequestSilence};
use crate::rows::{Kind, NONE, Rows};
use crate::served::Served;
use crate::silence::{self, Candidate, Edge, Silence};
use crate::sparse::Sparse;

/// The shortest leaf span that is measured; shorter ones cannot hold a silence worth a look.
pub(crate) const MEASURED_NANOS_MIN: i64 = NANOS_PER_MILLI;

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

impl Stalls {
    /// Returns that nothing was measured of so many spans.
    pub(crate) fn none(spans: usize) -> Self {
        Self {
            silences: Sparse::new(spans),
            requests: Sparse::new(spans),
            stalled_nanos: vec![0; spans],
        }
    }
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
    let mut stalls = Stalls::none(rows.len());
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
        let process = groups[0].process;
        let (gaps_of_group, rest) = rest_of_gaps.split_at(groups.len());
        rest_of_gaps = rest;
        if processes.ways(process as usize).any() {
            let notes = notes.of(process);
            loops.push(Loop { rows, served, processes, meaning, groups, gaps_of_group, notes });
        }
    }
    // What was heard in all of them is held at once, some 150 bytes a candidate.
    let heard = map(&loops, |event_loop| event_loop.listen(gaps));
    for (event_loop, heard) in loops.iter().zip(heard) {
        let victims = event_loop.judge(&heard, options);
        event_loop.keep(heard, gaps, &mut stalls);
        event_loop.find_victims(&victims, gaps, &mut stalls);
    }
    stalls
}

/// What was heard during the candidates of a process; empty where that test does not tell.
struct Heard {
    crowd: Crowd,
    candidates: Vec<Candidate>,
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

impl Loop<'_> {
    fn listen(&self, gaps: &[Gap]) -> Heard {
        let ways = self.processes.ways(self.groups[0].process as usize);
        let crowd = Crowd::new(self.groups.iter().map(|group| self.head(group)).collect(), ways);
        let candidates = self.candidates(gaps);
        let (mut silences, mut requests) = (Vec::new(), Vec::new());
        if ways.by_spans {
            let heard = silence::tally(&crowd, self.edges(|at| self.is_heard(at)), &candidates);
            let heard = candidates.iter().zip(&heard);
            silences.extend(heard.map(|(c, heard)| silence::silence(&crowd, c, heard)));
        }
        if ways.by_requests {
            let heard = requests::tally(&crowd, self.edges(|at| self.is_served(at)), &candidates);
            let heard = candidates.iter().zip(&heard);
            requests.extend(heard.map(|(c, heard)| requests::silence(&crowd, c, heard)));
        }
        Heard { crowd, candidates, silences, requests }
    }

    fn head(&self, group: &Group) -> Head {
        self.processes.head(self.rows, group, |at| self.is_served(at), self.name(group))
    }

    fn name(&self, group: &Group) -> Sym {
        self.rows.name[group.root as usize]
    }

    fn is_heard(&self, at: usize) -> bool {
        !self.rows.is_note[at]
    }

    fn is_served(&self, at: usize) -> bool {
        self.served.kind(self.rows, at) == Kind::Server
    }

    /// Returns the starts and ends of the spans that count.
    fn edges(&self, counts: impl Fn(usize) -> bool) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (number, group) in (0..).zip(self.groups) {
            let members = self.processes.members(group).iter();
            for &at in members.filter(|&&at| counts(at as usize)) {
                let (start, end) = self.interval(at);
                edges.extend([(start, number), (end, number)]);
            }
        }
        edges
    }

    /// Returns the leaf spans and gaps worth measuring, by group.
    fn candidates(&self, gaps: &[Gap]) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (number, of_group) in self.gaps_of_group.iter().enumerate() {
            let group = number as u32;
            let spans = self.leaves(&self.groups[number]).map(|at| {
                let ((start, end), at) = (self.interval(at), at as usize);
                let operation = self.meaning.operation[at];
                Candidate::span(group, start, end, self.rows.is_note[at], operation)
            });
            let of_group = of_group.iter().map(|&gap| {
                let gap = &gaps[gap as usize];
                let span = gap.span as usize;
                let is_leaf = self.processes.is_leaf[span] && !self.served.is_request(span);
                let operation = |at| operation(self.meaning, at);
                let neighbours = [operation(gap.before), operation(gap.after)];
                Candidate::gap(group, gap.start, gap.end, is_leaf, gap.position(), neighbours)
            });
            candidates.extend(spans.chain(of_group));
        }
        candidates
    }

    fn judge(&self, heard: &Heard, options: &PassOptions) -> Victims {
        let mut judge = Judge::new(options);
        for (number, group) in (0..).zip(self.groups) {
            let members = self.processes.members(group).iter();
            for &at in members.filter(|&&at| self.rows.is_note[at as usize]) {
                let (start, end) = self.interval(at);
                judge.note(number, start, end);
            }
        }
        for &(_, at) in self.notes {
            let (start, end) = self.interval(at);
            judge.note(NONE, start, end);
        }
        for (number, candidate) in heard.candidates.iter().enumerate() {
            let requests = heard.requests.get(number).and_then(Option::as_ref);
            judge.add(&heard.crowd, candidate, heard.silences.get(number), requests);
        }
        judge.victims(&heard.crowd)
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

    /// Adds up, for each span and gap, the stalls that other requests caused.
    fn find_victims(&self, victims: &Victims, gaps: &mut [Gap], stalls: &mut Stalls) {
        if victims.are_none() {
            return;
        }
        for (number, group) in (0..).zip(self.groups) {
            for &at in self.processes.members(group) {
                let (start, end) = self.interval(at);
                stalls.stalled_nanos[at as usize] = victims.stalled(number, start, end);
            }
            for &gap in &self.gaps_of_group[number as usize] {
                let gap = &mut gaps[gap as usize];
                gap.stalled = victims.stalled(number, gap.start, gap.end);
            }
        }
    }
}

fn operation(meaning: &Meaning, at: u32) -> Sym {
    if at == NONE { Sym(0) } else { meaning.operation[at as usize] }
}

/// Where in the code a candidate is: endpoint, what it is, and the operations that tell.
type Place = (Sym, Option<Position>, Sym, Sym);

/// Judges the places of one process, whose candidates may come in any order.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    options: &'a PassOptions,
    numbers: HashMap<Place, u32>,
    places: Vec<(Place, Counts, RequestCounts)>,
    silent: Vec<Silent>,
    blocked: Vec<Blocked>,
}

/// A candidate that blocked the loop, if its place does.
#[derive(Debug)]
struct Silent {
    place: u32,
    group: u32,
    end: i64,
    /// Of all spans, where they tell.
    silence_nanos: Option<i64>,
    /// It alone tells.
    is_blocked: bool,
    /// Of requests, where it is long enough.
    request_nanos: Option<i64>,
}

/// A stretch in which the loop was blocked.
#[derive(Debug, Clone, Copy)]
struct Blocked {
    start: i64,
    end: i64,
    /// Whose doing it was, or [`NONE`].
    group: u32,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(options: &'a PassOptions) -> Self {
        Self {
            options,
            numbers: HashMap::new(),
            places: Vec::new(),
            silent: Vec::new(),
            blocked: Vec::new(),
        }
    }

    /// Adds a stretch in which the process says itself that it stood still, by a group or [`NONE`].
    pub(crate) fn note(&mut self, group: u32, start: i64, end: i64) {
        if end - start >= self.options.stall_test.silence_nanos_min {
            self.blocked.push(Blocked { start, end, group });
        }
    }

    /// Adds what was heard during a candidate.
    pub(crate) fn add(
        &mut self,
        crowd: &Crowd,
        candidate: &Candidate,
        silence: Option<&Silence>,
        requests: Option<&RequestSilence>,
    ) {
        let &Candidate { group, start, end, .. } = candidate;
        let (test, request_test) = (&self.options.stall_test, &self.options.request_test);
        let is_long = end - start >= test.silence_nanos_min;
        if !candidate.is_judged || !is_long || crowd.ways.is_watched {
            return;
        }
        let number = self.place(crowd, candidate);
        let (_, counts, request_counts) = &mut self.places[number as usize];
        let stretch = candidate.stretch();
        let verdict = silence.map(|silence| test.judge(silence, end - start, stretch));
        if let Some((silence, verdict)) = silence.zip(verdict) {
            counts.add(silence, verdict, stretch);
        }
        if let Some(silence) = requests {
            request_counts.add(silence, end, request_test);
        }
        let is_blocked = verdict.is_some_and(Verdict::is_blocked);
        let silence = silence.filter(|_| is_blocked || !counts.is_heard);
        let nanos_min = request_test.silence_nanos_min;
        let silent = Silent {
            place: number,
            group,
            end,
            silence_nanos: silence.map(|silence| silence.silence_nanos),
            is_blocked,
            request_nanos: requests.map(|quiet| quiet.silence_nanos).filter(|n| *n >= nanos_min),
        };
        if silent.silence_nanos.or(silent.request_nanos).is_some() {
            self.silent.push(silent);
        }
    }

    fn place(&mut self, crowd: &Crowd, candidate: &Candidate) -> u32 {
        let endpoint = crowd.heads[candidate.group as usize].endpoint;
        let place = (endpoint, candidate.position, candidate.operation, candidate.after);
        *self.numbers.entry(place).or_insert_with(|| {
            self.places.push((place, Counts::default(), RequestCounts::default()));
            self.places.len() as u32 - 1
        })
    }

    /// Returns who stood still for whom, once all was added.
    pub(crate) fn victims(&mut self, crowd: &Crowd) -> Victims {
        let verdicts = self.verdicts(crowd);
        let mut blocked = std::mem::take(&mut self.blocked);
        for silent in self.silent.drain(..) {
            let (by_all, together, by_requests) = verdicts[silent.place as usize];
            let by_silence =
                silent.silence_nanos.filter(|_| together || by_all && silent.is_blocked);
            let nanos = by_silence.or(silent.request_nanos.filter(|_| by_requests));
            if let Some(nanos) = nanos {
                let Silent { end, group, .. } = silent;
                blocked.push(Blocked { start: end - nanos, end, group });
            }
        }
        Victims::of(blocked)
    }

    /// Returns, for each place, whether it blocks by the silence of all spans in most of its
    /// instances, in all of them together, and by that of requests.
    fn verdicts(&mut self, crowd: &Crowd) -> Vec<(bool, bool, bool)> {
        let groups = crowd.endpoints();
        let options = self.options;
        let verdict = |(place, counts, requests): &mut (Place, Counts, RequestCounts)| {
            let groups = groups[&place.0];
            let by_all = counts.blocks(&options.stall_test, groups);
            let together = counts.blocks_together(&options.stall_test, groups);
            (by_all, together, requests.blocks(&options.request_test, groups))
        };
        self.places.iter_mut().map(verdict).collect()
    }
}

/// Who blocked the loop of a process when.
#[derive(Debug)]
pub(crate) struct Victims {
    all: Stretches,
    /// By group.
    own: Vec<(u32, Stretches)>,
}

impl Victims {
    fn of(mut blocked: Vec<Blocked>) -> Self {
        blocked.sort_unstable_by_key(|b| (b.start, b.end, b.group));
        let mut until = i64::MIN;
        for stretch in &mut blocked {
            stretch.start = stretch.start.max(until);
            stretch.end = stretch.end.max(stretch.start);
            until = until.max(stretch.end);
        }
        let all = Stretches::new(&blocked);
        blocked.sort_by_key(|blocked| blocked.group);
        let groups = blocked.chunk_by(|a, b| a.group == b.group);
        let own = groups.map(|own| (own[0].group, Stretches::new(own))).collect();
        Self { all, own }
    }

    pub(crate) fn are_none(&self) -> bool {
        self.own.is_empty()
    }

    /// Returns for how long others blocked the loop of a group between two times, nanoseconds.
    pub(crate) fn stalled(&self, group: u32, start: i64, end: i64) -> i64 {
        let own = self.own.binary_search_by_key(&group, |own| own.0);
        let own = own.map_or(0, |own| self.own[own].1.within(start, end));
        self.all.within(start, end) - own
    }
}

/// Stretches by start, without overlap.
#[derive(Debug)]
struct Stretches {
    bounds: Vec<(i64, i64)>,
    /// Running sums of their lengths, one more than there are stretches.
    before: Vec<i64>,
}

impl Stretches {
    fn new(blocked: &[Blocked]) -> Self {
        let bounds: Vec<(i64, i64)> = blocked.iter().map(|b| (b.start, b.end)).collect();
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
    expected: EdgeSum,
    /// How many had another request beside them.
    accompanied: u32,
    /// Whether any of them heard another request, or is a gap, that may have at its beginning.
    is_heard: bool,
}

impl Counts {
    fn add(&mut self, silence: &Silence, verdict: Verdict, stretch: Stretch) {
        self.expected.add(silence.expected_edges);
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
            && self.expected.edges() >= test.together_edges_min
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
        let stretches = Stretches::new(&blocked);
        let cases = [(0, 50, 30), (5, 15, 10), (20, 40, 0), (45, 99, 5), (-9, 0, 0), (12, 13, 1)];
        for (start, end, expected) in cases {
            assert_eq!(stretches.within(start, end), expected, "{start} to {end}");
        }
        assert_eq!(Stretches::new(&[]).within(0, 9), 0);
    }
}
