//! Gaps: stretches of an entry or INTERNAL span that no child covers. Serialization, lock and pool
//! waits, imports, CPU work and connection set-up show here and nowhere else. The wait for a
//! client's upload does not: a gap begins when the request was there.

use hashbrown::HashMap;
use timesink_model::schema::gaps::GAP_NANOS_MIN;

use crate::critical::{Path, Section, overlap};
use crate::entry::Entries;
use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::requests::RequestSilence;
use crate::rows::{Asgi, Kind, NONE, Rows};
use crate::silence::{Silence, before_runs};
use crate::skew::Times;
use crate::tree::Tree;

/// Where in its span a gap lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Position {
    Lead,
    Between,
    Tail,
    Whole,
}

impl Position {
    /// Returns that of a gap which a child comes before or after.
    pub(crate) fn between(has_before: bool, has_after: bool) -> Self {
        match (has_before, has_after) {
            (false, true) => Self::Lead,
            (true, true) => Self::Between,
            (true, false) => Self::Tail,
            (false, false) => Self::Whole,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Between => "between",
            Self::Tail => "tail",
            Self::Whole => "whole",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// The span with the gap.
    pub(crate) span: u32,
    /// By the process's own clock.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The child that ended last before it, or [`NONE`].
    pub(crate) before: u32,
    /// The child that starts after it, or [`NONE`].
    pub(crate) after: u32,
    pub(crate) critical: i64,
    pub(crate) occupancy: Option<Occupancy>,
    pub(crate) silence: Option<Silence>,
    pub(crate) requests: Option<RequestSilence>,
    pub(crate) stalled: i64,
}

impl Gap {
    /// Returns one of which the critical time and the process are not known yet.
    pub(crate) fn new(span: u32, start: i64, end: i64, before: u32, after: u32) -> Self {
        Self {
            span,
            start,
            end,
            before,
            after,
            critical: 0,
            occupancy: None,
            silence: None,
            requests: None,
            stalled: 0,
        }
    }

    pub(crate) fn position(&self) -> Position {
        Position::between(self.before != NONE, self.after != NONE)
    }

    pub(crate) fn nanos(&self) -> i64 {
        self.end - self.start
    }
}

/// What the process did elsewhere with the operation that the gap waits for: a pool or lock hands
/// over when another's operation ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupancy {
    pub(crate) running: u32,
    pub(crate) running_max: u32,
    pub(crate) ended_before: Option<i64>,
}

/// Returns the gaps of all spans, by position of the span and start.
pub(crate) fn find(
    rows: &Rows,
    tree: &Tree,
    times: &Times,
    entries: &Entries,
    meaning: &Meaning,
    path: &Path,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut order = Vec::new();
    for at in 0..rows.len() {
        let internal =
            rows.kind[at] == Kind::Internal && rows.asgi[at] == Asgi::No && !rows.is_note[at];
        let is_long = rows.duration(at) >= GAP_NANOS_MIN;
        if is_long && (internal || entries.is_entry(at)) {
            let children = times.children(tree, at, &mut order);
            find_in(rows, times, path, at, children, &mut gaps);
        }
    }
    Operations::index(rows, meaning, &gaps).fill(rows, meaning, &mut gaps);
    gaps
}

/// `children` come by start.
fn find_in(
    rows: &Rows,
    times: &Times,
    path: &Path,
    at: usize,
    children: &[u32],
    gaps: &mut Vec<Gap>,
) {
    let end = times.end[at].min(first_send(rows, times, children));
    let received = received(rows, times, children);
    let skew = times.start[at] - rows.start[at];
    let mut push = |start: i64, end: i64, before: u32, after: u32| {
        let start = start.max(upload_end(&received, start, end));
        if end - start >= GAP_NANOS_MIN {
            let critical = overlap(path.sections(at), start, end);
            let (start, end) = (start - skew, end - skew);
            let span = at as u32;
            gaps.push(Gap { critical, ..Gap::new(span, start, end, before, after) });
        }
    };
    let mut cursor = times.start[at];
    let mut before = NONE;
    for &child in children {
        let (start, until) = (times.start[child as usize], times.end[child as usize]);
        if rows.asgi[child as usize] != Asgi::No || until <= times.start[at] {
            continue;
        }
        if start >= end {
            break;
        }
        push(cursor, start, before, child);
        if until > cursor {
            (cursor, before) = (until, child);
        }
    }
    push(cursor, end, before, NONE);
}

/// Returns when the response of an ASGI entry began to leave; what comes then is streaming.
fn first_send(rows: &Rows, times: &Times, children: &[u32]) -> i64 {
    let first = children.iter().find(|&&child| rows.asgi[child as usize] == Asgi::Send);
    first.map_or(i64::MAX, |&child| times.start[child as usize])
}

/// Returns the waits of an ASGI entry for the parts of its request, by end.
fn received(rows: &Rows, times: &Times, children: &[u32]) -> Vec<Section> {
    let parts = children.iter().filter(|&&child| rows.asgi[child as usize] == Asgi::Receive);
    let wait = |&child: &u32| Section {
        start: times.start[child as usize],
        end: times.end[child as usize],
    };
    let mut received: Vec<Section> = parts.map(wait).collect();
    received.sort_unstable_by_key(|wait| wait.end);
    received
}

/// Returns when the last part of the request came that a gap waited for.
///
/// Parts that are there at once are no upload: an answer that streams takes up what is left of a
/// request that nobody read, after the work.
fn upload_end(received: &[Section], start: i64, end: i64) -> i64 {
    let before = received.partition_point(|wait| wait.end <= start);
    let within = received.partition_point(|wait| wait.end <= end).max(before);
    let within = &received[before..within];
    let waited: i64 = within.iter().map(|wait| wait.end - wait.start.max(start)).sum();
    match within.last() {
        Some(last) if waited >= GAP_NANOS_MIN => last.end,
        _ => start,
    }
}

type OperationKey = (u32, Sym);

/// The runs of each operation that some gap waits for, by process.
struct Operations {
    runs: HashMap<OperationKey, Runs<u32>>,
}

/// When an operation of a process ran, in a part of the time or in all of it; `T` tells traces
/// apart.
pub(crate) struct Runs<T> {
    /// What came before that part.
    past: Past<T>,
    starts: Vec<i64>,
    /// With the trace, to leave out the gap's own.
    ends: Vec<(i64, T)>,
    /// How many ends there are up to the last one of another trace, by position in `ends`.
    others: Vec<u32>,
}

/// What is known of an operation when a part of the time begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past<T> {
    running: i64,
    /// The last end, and the last one of another trace than that.
    last: [Option<(i64, T)>; 2],
    /// The most that ran at once.
    at_once_max: u32,
}

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self { running: 0, last: [None, None], at_once_max: 0 }
    }
}

impl Operations {
    fn index(rows: &Rows, meaning: &Meaning, gaps: &[Gap]) -> Self {
        let mut runs: HashMap<OperationKey, Runs<u32>> = HashMap::new();
        for gap in gaps.iter().filter(|gap| gap.after != NONE) {
            let key = operation(rows, meaning, gap.after as usize);
            runs.entry(key).or_insert_with(|| Runs::new(Past::default()));
        }
        for (number, trace) in rows.traces.iter().enumerate() {
            for at in trace.clone() {
                if let Some(runs) = runs.get_mut(&operation(rows, meaning, at)) {
                    runs.start(rows.start[at]);
                    runs.end(rows.end[at], number as u32);
                }
            }
        }
        runs.values_mut().for_each(Runs::order);
        Self { runs }
    }

    fn fill(&self, rows: &Rows, meaning: &Meaning, gaps: &mut [Gap]) {
        for gap in gaps.iter_mut().filter(|gap| gap.after != NONE) {
            let runs = &self.runs[&operation(rows, meaning, gap.after as usize)];
            let own = rows.traces.partition_point(|trace| trace.end <= gap.span as usize) as u32;
            gap.occupancy = Some(runs.at(gap.start, gap.end, own));
        }
    }
}

fn operation(rows: &Rows, meaning: &Meaning, at: usize) -> OperationKey {
    (rows.process[at], meaning.operation[at])
}

impl<T: Copy + Ord> Runs<T> {
    pub(crate) fn new(past: Past<T>) -> Self {
        Self { past, starts: Vec::new(), ends: Vec::new(), others: Vec::new() }
    }

    pub(crate) fn start(&mut self, start: i64) {
        self.starts.push(start);
    }

    /// Adds the end of a run in a trace.
    pub(crate) fn end(&mut self, end: i64, trace: T) {
        self.ends.push((end, trace));
    }

    /// Makes ready to be asked, once all runs are there.
    pub(crate) fn order(&mut self) {
        let last = self.past.last.iter().rev().flatten();
        self.ends.extend(last);
        self.starts.sort_unstable();
        self.ends.sort_unstable();
        self.others = before_runs(self.ends.iter().map(|&(_, trace)| trace));
        self.past.at_once_max = self.past.at_once_max.max(self.most_at_once());
    }

    /// Returns the most that ran at once so far.
    pub(crate) fn at_once_max(&self) -> u32 {
        self.past.at_once_max
    }

    /// Returns what is known of the operation when this part of the time is over.
    pub(crate) fn past(&self) -> Past<T> {
        let last = self.ends.len().checked_sub(1);
        let other = last.and_then(|last| (self.others[last] as usize).checked_sub(1));
        Past {
            running: self.running(self.starts.len(), self.ends.len()),
            last: [last, other].map(|at| at.map(|at| self.ends[at])),
            at_once_max: self.past.at_once_max,
        }
    }

    /// Returns what a gap of a trace, between two times, shares the operation with; `running_max`
    /// is what is known so far.
    pub(crate) fn at(&self, gap_start: i64, gap_end: i64, own_trace: T) -> Occupancy {
        let begun = self.starts.partition_point(|&start| start < gap_end);
        let ended = self.ends.partition_point(|&(end, _)| end <= gap_end);
        let last_other = match ended.checked_sub(1) {
            Some(last) if self.ends[last].1 == own_trace => self.others[last] as usize,
            _ => ended,
        };
        let last_other = last_other.checked_sub(1).map(|last| self.ends[last].0);
        Occupancy {
            running: self.running(begun, ended).max(0) as u32,
            running_max: self.past.at_once_max,
            ended_before: last_other.filter(|&end| end >= gap_start).map(|end| gap_end - end),
        }
    }

    /// Returns how many run after so many starts and ends; ends of the past are among these.
    fn running(&self, begun: usize, ended: usize) -> i64 {
        let past = self.past.last.iter().flatten().count();
        self.past.running + begun as i64 - (ended as i64 - past as i64)
    }

    fn most_at_once(&self) -> u32 {
        let mut ended = self.past.last.iter().flatten().count();
        let at_once = self.starts.iter().enumerate().map(|(begun, &start)| {
            while ended < self.ends.len() && self.ends[ended].0 <= start {
                ended += 1;
            }
            self.running(begun + 1, ended)
        });
        at_once.max().unwrap_or(0).max(0) as u32
    }
}

#[cfg(test)]
mod tests {
    use timesink_model::NANOS_PER_MILLI;

    use crate::test_support::{GapRow, Pass, Span, span};

    type Expected<'a> = (u64, &'a str, f64, f64);

    fn plain(gap: &GapRow) -> Expected<'_> {
        (gap.span, &gap.position, gap.start, gap.end)
    }

    fn check(spans: &[Span], expected: &[Expected<'_>]) -> Vec<GapRow> {
        let gaps = Pass::over(spans).gaps();
        let mut found: Vec<_> = gaps.iter().map(plain).collect();
        found.sort_by(|a, b| (a.0, a.2).partial_cmp(&(b.0, b.2)).expect("no NaN"));
        assert_eq!(found, expected);
        gaps
    }

    fn entry() -> Span {
        span(1, 0, 0, 100).server()
    }

    fn query(id: u64, start: i64, end: i64) -> Span {
        span(id, 1, start, end).query("SELECT 1")
    }

    #[test]
    fn gaps_lie_before_between_and_after_the_children() {
        let gaps = check(
            &[entry(), query(2, 10, 20), query(3, 30, 60)],
            &[(1, "lead", 0.0, 10.0), (1, "between", 20.0, 30.0), (1, "tail", 60.0, 100.0)],
        );
        let around = gaps.iter().map(|gap| (gap.before.as_deref(), gap.after.as_deref()));
        let query = Some("psycopg SELECT ?");
        assert_eq!(around.collect::<Vec<_>>(), [(None, query), (query, query), (query, None)]);
    }

    #[test]
    fn a_span_without_children_is_one_gap() {
        check(&[entry()], &[(1, "whole", 0.0, 100.0)]);
    }

    #[test]
    fn gaps_under_a_millisecond_do_not_count() {
        check(&[entry(), query(2, 0, 50), query(3, 50, 100)], &[]);
        let mut late = query(3, 51, 100);
        late.start -= 1;
        check(&[entry(), query(2, 0, 50), late.clone()], &[]);
        late.start += 1;
        check(&[entry(), query(2, 0, 50), late], &[(1, "between", 50.0, 51.0)]);
    }

    #[test]
    fn children_cover_together() {
        let spans = [entry(), query(2, 10, 70), query(3, 20, 30), query(4, 60, 80)];
        check(&spans, &[(1, "lead", 0.0, 10.0), (1, "tail", 80.0, 100.0)]);
    }

    #[test]
    fn a_child_that_took_no_time_still_parts_a_gap() {
        check(&[entry(), query(2, 40, 40)], &[(1, "lead", 0.0, 40.0), (1, "tail", 40.0, 100.0)]);
    }

    #[test]
    fn internal_spans_have_gaps_and_other_spans_have_none() {
        let spans =
            [entry(), span(2, 1, 0, 60), query(3, 60, 100), span(4, 1, 0, 60).kind("PRODUCER")];
        check(&spans, &[(2, "whole", 0.0, 60.0)]);
        // A root is an entry, whatever its kind.
        check(&[span(1, 0, 0, 5).client()], &[(1, "whole", 0.0, 5.0)]);
    }

    #[test]
    fn children_outside_their_span_do_not_count() {
        let spans =
            [entry(), query(2, -50, 0), query(3, 100, 150), query(4, -10, 5), query(5, 95, 150)];
        check(&spans, &[(1, "between", 5.0, 95.0)]);
    }

    #[test]
    fn the_tail_ends_at_the_first_send() {
        let send = |id, start, end| span(id, 1, start, end).asgi("http.response.body");
        let start = span(5, 1, 60, 61).asgi("http.response.start");
        check(
            &[entry(), query(2, 10, 20), send(3, 70, 71), send(4, 80, 90), start],
            &[(1, "lead", 0.0, 10.0), (1, "tail", 20.0, 60.0)],
        );
        // What runs while the answer streams is no gap's end.
        check(
            &[entry(), query(2, 0, 20), send(3, 50, 51), query(4, 70, 90)],
            &[(1, "tail", 20.0, 50.0)],
        );
        check(&[entry(), send(2, 50, 51)], &[(1, "whole", 0.0, 50.0)]);
    }

    fn receive(id: u64, start: i64, end: i64) -> Span {
        span(id, 1, start, end).asgi("http.request")
    }

    #[test]
    fn a_tail_begins_when_the_request_was_there() {
        let send = span(9, 1, 80, 81).asgi("http.response.start");
        check(
            &[entry(), query(2, 0, 10), receive(3, 12, 50), send.clone()],
            &[(1, "tail", 50.0, 80.0)],
        );
        check(
            &[entry(), receive(2, 0, 20), receive(3, 20, 50), send.clone()],
            &[(1, "whole", 50.0, 80.0)],
        );
        let message = receive(3, 12, 50).asgi("websocket.receive");
        check(&[entry(), query(2, 0, 10), message, send.clone()], &[(1, "tail", 50.0, 80.0)]);
        // What comes after the answer began to leave says nothing of what came before.
        check(
            &[entry(), query(2, 0, 10), receive(3, 12, 82), send.clone()],
            &[(1, "tail", 10.0, 80.0)],
        );
        check(&[entry(), query(2, 0, 10), receive(3, 12, 80), send], &[]);
    }

    #[test]
    fn every_gap_begins_when_what_it_waited_for_was_there() {
        check(
            &[entry(), receive(2, 5, 30), query(3, 40, 50), receive(4, 45, 70), query(5, 80, 100)],
            &[(1, "lead", 30.0, 40.0), (1, "between", 70.0, 80.0)],
        );
        // A receive that ends under a query leaves no gap later than the query.
        check(
            &[entry(), query(2, 0, 50), receive(3, 10, 40), query(4, 60, 100)],
            &[(1, "between", 50.0, 60.0)],
        );
    }

    /// A `StreamingResponse` listens to its client, and first hears of an empty request.
    #[test]
    fn a_request_that_was_there_already_does_not_hide_the_work() {
        let send = span(9, 1, 80, 81).asgi("http.response.start");
        let mut receives = [receive(2, 79, 80), receive(3, 79, 80)];
        receives[0].start = receives[0].end - NANOS_PER_MILLI / 2;
        receives[1].start = receives[1].end - NANOS_PER_MILLI / 2 + 1;
        let [first, second] = receives;
        check(&[entry(), first.clone(), second.clone(), send.clone()], &[(1, "whole", 0.0, 80.0)]);
        // Together they are the wait for a slow client, part by part.
        let third = Span { id: 4, ..second.clone() };
        check(&[entry(), first, second, third, send], &[]);
    }

    #[test]
    fn nobody_works_on_the_news_that_the_client_is_gone() {
        let gone = span(3, 1, 12, 50).asgi("http.disconnect");
        check(&[entry(), query(2, 0, 10), gone], &[(1, "tail", 10.0, 100.0)]);
    }

    /// A child on a host whose clock is ahead comes last by its raw start, and first in truth.
    #[test]
    fn children_cover_by_corrected_times() {
        let ahead = span(3, 1, 1000, 1080).service("orders");
        check(
            &[entry(), query(2, 90, 95), ahead],
            &[(1, "lead", 0.0, 10.0), (1, "tail", 95.0, 100.0), (3, "whole", 1000.0, 1080.0)],
        );
    }

    #[test]
    fn a_gap_is_told_by_its_own_process_clock() {
        let pass = Pass::over(&[
            span(1, 0, 0, 100).client(),
            span(2, 1, 5000, 5080).server().service("orders"),
            span(3, 2, 5000, 5060).query("SELECT 1").service("orders"),
        ]);
        let gaps = pass.gaps();
        assert_eq!(
            gaps.iter().map(plain).collect::<Vec<_>>(),
            [(1, "lead", 0.0, 10.0), (1, "tail", 90.0, 100.0), (2, "tail", 5060.0, 5080.0),]
        );
        assert_eq!(pass.gap_ints("critical_nanos")[2], Some(20 * NANOS_PER_MILLI));
    }

    fn trace(id: u64, wait: i64, end: i64) -> [Span; 2] {
        let of_trace = |span: Span| span.trace(id.into());
        let query = span(id + 1, id, wait, end).query("SELECT 1");
        [of_trace(span(id, 0, 0, 100).server()), of_trace(query)]
    }

    /// A pool or lock hands over when another's operation ends.
    #[test]
    fn occupancy_says_what_ran_elsewhere() {
        let spans = [trace(10, 60, 80), trace(20, 10, 58), trace(30, 20, 90)].concat();
        let pass = Pass::over(&spans);
        let first = pass.gaps().iter().position(|gap| gap.span == 10).expect("a lead");
        let occupancy = |column| pass.gap_ints(column)[first];
        assert_eq!(occupancy("after_running"), Some(1));
        assert_eq!(occupancy("after_running_max"), Some(2));
        assert_eq!(occupancy("after_ended_nanos"), Some(2 * NANOS_PER_MILLI));
    }

    #[test]
    fn what_the_own_trace_ended_hands_nothing_over() {
        let own = span(40, 10, 10, 59).query("SELECT 1").trace(10);
        // Its parent is lost, so that it covers nothing.
        let own = Span { parent: 99, ..own };
        let spans = [trace(10, 60, 80), trace(20, 10, 58)].concat();
        let gap = |spans: &[Span]| {
            let pass = Pass::over(spans);
            let first = pass.gaps().iter().position(|gap| gap.span == 10).expect("a lead");
            pass.gap_ints("after_ended_nanos")[first]
        };
        let with_own = [spans.as_slice(), std::slice::from_ref(&own)].concat();
        assert_eq!(gap(&with_own), Some(2 * NANOS_PER_MILLI));
        let alone = [trace(10, 60, 80).as_slice(), &[own]].concat();
        assert_eq!(gap(&alone), None);
        // What ended before the gap began says nothing about it.
        let early = [trace(10, 60, 80), trace(20, -20, -5)].concat();
        assert_eq!(gap(&early), None);
    }
}
