//! The stall test on requests alone: others that start or end meanwhile.
//!
//! Django under ASGI runs its queries in threads, whose spans go on while the loop stands still, so
//! that the silence of all spans tells nothing there. New requests are taken and answered by the
//! loop: they still tell, though they are few, so that a place is judged by all its requests added
//! up. What waits for the loop is as silent as what blocks it. Two things tell them apart: the
//! place that blocks is in nearly every request of its endpoint, and two blocks never overlap.

use timesink_model::NANOS_PER_MILLI;

use crate::crowd::{Crowd, Extent};
use crate::silence::{Candidate, EDGE_SLACK_NANOS, Edge, Edges, Tally};

/// How far around a candidate the rate of starts and ends is taken.
const WINDOW_NANOS: i64 = 100 * NANOS_PER_MILLI;

/// Another request has to be open this long before a candidate's end, or in the middle of a shorter
/// one: one that arrives as the loop turns again was not held up.
const OPEN_BEFORE_END_NANOS: i64 = 5 * NANOS_PER_MILLI;

/// Blocks that overlap by less follow one another.
const OVERLAP_NANOS_MAX: i64 = 2 * NANOS_PER_MILLI;

/// The thresholds of the test. The rule `blocking-event-loop` declares the same ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestTest {
    /// The shortest silence that counts.
    pub silence_nanos_min: i64,
    /// Instances of a place that can be judged.
    pub instances_min: u32,
    /// Starts and ends to be expected over all instances of a place.
    pub expected_edges_min: f64,
    /// Share of them that may be seen.
    pub seen_share_max: f64,
    /// Share of the endpoint's traces in which the place occurs.
    pub endpoint_share_min: f64,
    /// Share of the place's silences that do not begin before another of them ended.
    pub distinct_share_min: f64,
}

impl Default for RequestTest {
    fn default() -> Self {
        Self {
            silence_nanos_min: 10 * NANOS_PER_MILLI,
            instances_min: 5,
            expected_edges_min: 20.0,
            seen_share_max: 0.25,
            endpoint_share_min: 0.6,
            distinct_share_min: 0.65,
        }
    }
}

/// What other requests did during one leaf span or gap; only measured while one is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestSilence {
    /// From the last start or end of another request inside the candidate, else from
    /// its start, to its end.
    pub silence_nanos: i64,
    /// Such starts and ends to be expected in the whole candidate, by their rate around it.
    pub expected_edges: f64,
    /// Such starts and ends inside the candidate.
    pub edges: u32,
    /// How long other requests of the process were open during the silence, added up.
    pub waiting_nanos: i64,
}

/// Listens to the starts and ends of requests in a part of the time, or in all of it, for
/// candidates of one process that come by group.
pub(crate) fn tally(crowd: &Crowd, edges: Vec<Edge>, candidates: &[Candidate]) -> Vec<Tally> {
    let edges = Edges::list(edges, &crowd.heads);
    let Some(all) = crowd.requests() else {
        return vec![Tally::NONE; candidates.len()];
    };
    candidates.iter().map(|candidate| edges.tally(candidate, all)).collect()
}

/// Returns what all that was heard says of a candidate, if another request was open meanwhile.
pub(crate) fn silence(
    crowd: &Crowd,
    candidate: &Candidate,
    heard: &Tally,
) -> Option<RequestSilence> {
    let &Candidate { group, start, end, .. } = candidate;
    let waited = end - ((end - start) / 2).min(OPEN_BEFORE_END_NANOS);
    if crowd.requests_at(group as usize, waited) == 0 {
        return None;
    }
    let all = crowd.requests()?;
    let around = around(candidate, all);
    let observed = (start - around.first).max(0) + (around.last - end).max(0);
    if observed == 0 {
        return None;
    }
    let since = heard.silent_since(candidate);
    Some(RequestSilence {
        silence_nanos: end - since,
        expected_edges: f64::from(heard.around) / observed as f64 * (end - start) as f64,
        edges: heard.inside,
        waiting_nanos: crowd.waiting(group as usize, since..end),
    })
}

/// Returns where the rate of starts and ends is taken: no further than there are any.
fn around(candidate: &Candidate, all: Extent) -> Extent {
    Extent {
        first: (candidate.start - WINDOW_NANOS).max(all.first),
        last: (candidate.end + WINDOW_NANOS).min(all.last),
    }
}

impl Edges {
    fn tally(&self, candidate: &Candidate, all: Extent) -> Tally {
        let &Candidate { group, start, end, .. } = candidate;
        let (group, around) = (group as usize, around(candidate, all));
        let below = |time: i64| self.time.partition_point(|&edge| edge < time);
        let from = self.time.partition_point(|&edge| edge <= start + EDGE_SLACK_NANOS);
        let to = below(end - EDGE_SLACK_NANOS).max(from);
        Tally {
            around: self.foreign(group, below(around.first), below(start))
                + self.foreign(group, below(end), below(around.last)),
            inside: self.foreign(group, from, to),
            last: self.last_foreign(group, from, to).map_or(i64::MIN, |rank| self.time[rank]),
        }
    }

    /// Returns how many edges between two ranks are of other groups.
    fn foreign(&self, group: usize, from: usize, to: usize) -> u32 {
        let own = self.of(group);
        let below = |rank: usize| own.partition_point(|&edge| (edge as usize) < rank);
        match to.checked_sub(from) {
            Some(all) => (all - (below(to) - below(from))) as u32,
            None => 0,
        }
    }

    /// Returns the last rank between two that is of another group.
    fn last_foreign(&self, group: usize, from: usize, to: usize) -> Option<usize> {
        let last = to.checked_sub(1).filter(|&last| last >= from)?;
        let is_own = self.group[last] as usize == group;
        let last = if is_own { (self.others[last] as usize).checked_sub(1)? } else { last };
        (last >= from).then_some(last)
    }
}

/// A sum of expected edges, the same in whatever order they are added.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EdgeSum {
    millionths: u64,
}

impl EdgeSum {
    pub(crate) fn add(&mut self, edges: f64) {
        self.millionths = self.millionths.saturating_add((edges * 1e6).round() as u64);
    }

    pub(crate) fn edges(self) -> f64 {
        self.millionths as f64 / 1e6
    }
}

/// All instances of one place.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    instances: u32,
    edges: u64,
    expected: EdgeSum,
    /// End and start of each silence that is long enough.
    silences: Vec<(i64, i64)>,
}

impl RequestCounts {
    pub(crate) fn add(&mut self, silence: &RequestSilence, end: i64, test: &RequestTest) {
        self.instances += 1;
        self.edges += u64::from(silence.edges);
        self.expected.add(silence.expected_edges);
        if silence.silence_nanos >= test.silence_nanos_min {
            self.silences.push((end, end - silence.silence_nanos));
        }
    }

    /// Whether the place blocks the loop; an endpoint has so many traces.
    pub(crate) fn blocks(&mut self, test: &RequestTest, endpoint_traces: u32) -> bool {
        self.instances >= test.instances_min
            && f64::from(self.instances) >= test.endpoint_share_min * f64::from(endpoint_traces)
            && self.expected.edges() >= test.expected_edges_min
            && self.edges as f64 <= test.seen_share_max * self.expected.edges()
            && self.are_distinct(test)
    }

    fn are_distinct(&mut self, test: &RequestTest) -> bool {
        self.silences.sort_unstable();
        let mut ended = i64::MIN;
        let mut distinct = 0;
        for &(end, start) in &self.silences {
            distinct += u32::from(start >= ended);
            ended = end - OVERLAP_NANOS_MAX;
        }
        distinct >= test.instances_min
            && f64::from(distinct) >= test.distinct_share_min * self.silences.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Pass, Span, span};

    const CALL: u64 = 2;
    const VICTIM: u64 = 10;

    /// Rounds of a Django request with a call from 5 to 55 ms amid short requests; threads of other
    /// requests go on with their queries meanwhile.
    fn rounds(rounds: i64, goes_on: bool) -> Vec<Span> {
        (0..rounds).flat_map(|round| one_round(round, goes_on)).collect()
    }

    fn one_round(round: i64, goes_on: bool) -> Vec<Span> {
        let (base, first) = (round * 200, round as u64 * 1000);
        let server = |id: u64, start, end| {
            let span = span(first + id, 0, base + start, base + end).server().scope("django");
            span.trace((first + id).into())
        };
        let child = |id: u64, of: u64, start, end| {
            let span = span(first + id, first + of, base + start, base + end);
            span.trace((first + of).into()).query("SELECT 1")
        };
        let mut spans = vec![
            server(1, 0, 60).named("GET blocking"),
            child(CALL, 1, 5, 55).query("SELECT pg_sleep(1)"),
            // Taken before the block, answered after it; its thread has a query meanwhile.
            server(VICTIM, 2, 70).named("GET items"),
            child(VICTIM + 1, VICTIM, 8, 20),
        ];
        let busy = (-80..0).chain(60..100).chain(if goes_on { 6..50 } else { 0..0 });
        spans.extend(
            (20..)
                .zip(busy.step_by(4))
                .map(|(id, start)| server(id, start, start + 2).named("GET items")),
        );
        spans
    }

    #[test]
    fn requests_tell_although_threads_go_on() {
        let pass = Pass::over(&rounds(6, false));
        assert_eq!(pass.int(CALL, "request_edges"), Some(0));
        assert_eq!(pass.millis(CALL, "request_silence_nanos"), Some(50.0));
        assert_eq!(pass.millis(CALL, "waiting_nanos"), Some(50.0));
        let expected = pass.float(CALL, "expected_request_edges").expect("measured");
        assert!(expected > 10.0, "{expected}");
        for round in 0..6 {
            let stalled = |id| pass.millis(round * 1000 + id, "stalled_nanos");
            assert_eq!([1, CALL, VICTIM].map(stalled), [Some(0.0), Some(0.0), Some(50.0)]);
        }
    }

    #[test]
    fn a_process_that_takes_requests_is_not_blocked() {
        let pass = Pass::over(&rounds(6, true));
        assert!(pass.int(CALL, "request_edges") > Some(10));
        assert_eq!(pass.millis(VICTIM, "stalled_nanos"), Some(0.0));
    }

    #[test]
    fn a_few_silences_prove_nothing() {
        let pass = Pass::over(&rounds(4, false));
        assert_eq!(pass.int(CALL, "request_edges"), Some(0));
        assert_eq!(pass.millis(VICTIM, "stalled_nanos"), Some(0.0));
    }

    #[test]
    fn without_another_request_there_is_nothing_to_hear() {
        let spans =
            [span(1, 0, 0, 60).server().scope("django"), span(CALL, 1, 5, 55).query("SELECT 1")];
        assert_eq!(Pass::over(&spans).int(CALL, "request_edges"), None);
    }

    #[test]
    fn only_django_is_told_by_requests() {
        for (library, expected) in [("django", true), ("fastapi", false), ("flask", false)] {
            let spans = [span(1, 0, 0, 60).server().scope(library)];
            assert_eq!(Pass::over(&spans).flag(1, "is_told_by_requests"), expected, "{library}");
        }
        let wsgi = span(1, 0, 0, 9).server().scope("django").with("http_target", "/");
        assert!(!Pass::over(&[wsgi]).flag(1, "is_told_by_requests"));
    }

    /// Silences by end and start: what waits for the loop waits together.
    #[test]
    fn silences_that_overlap_are_no_blocks() {
        let ms = NANOS_PER_MILLI;
        let test = RequestTest::default();
        let counts = |silences: &[(i64, i64)]| {
            let mut counts = RequestCounts::default();
            for &(start, end) in silences {
                let silence = RequestSilence {
                    silence_nanos: (end - start) * ms,
                    expected_edges: 5.0,
                    edges: 0,
                    waiting_nanos: 0,
                };
                counts.add(&silence, end * ms, &test);
            }
            counts.blocks(&test, 10)
        };
        let apart: Vec<(i64, i64)> = (0..10).map(|at| (at * 50, at * 50 + 50)).collect();
        assert!(counts(&apart));
        let together: Vec<(i64, i64)> =
            (0..10).map(|at| (at / 5 * 300 + at % 5, at / 5 * 300 + 90)).collect();
        assert!(!counts(&together));
        // In too few of the endpoint's requests.
        assert!(!counts(&apart[..5]));
    }
}
