//! What holds of any spans: the order of arrival changes nothing, parts add up, nothing overflows,
//! and the stall test's measures are those of a plain count.

mod common;
mod said;
mod sharded;
#[path = "../src/test_support.rs"]
#[expect(dead_code, reason = "shared with the unit tests")]
mod test_support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use said::{said, said_together};
use sharded::sharded;
use test_support::{BASE, Pass, Span, batch, span_at};
use timesink_facts::PassOptions;
use timesink_model::NANOS_PER_MILLI;
use timesink_model::schema::{Columns, facts, gaps};

/// The columns of facts that are always there.
const IDS: [&str; 2] = ["trace_id", "span_id"];

/// A few spans of a few traces, services and processes: ids repeat, parents may be missing, form
/// cycles, lie in another process, and times need not fit.
fn any_span(times: impl Strategy<Value = (i64, i64)>) -> impl Strategy<Value = Span> {
    let ids = (1..4_u128, 1..14_u64, 0..16_u64);
    let process = (0..3_usize, 0..2_usize, 0..3_usize);
    (ids, times, 0..6_usize, process, 0..9_usize, 0..4_usize).prop_map(
        |((trace, id, parent), (start, end), kind, (service, instance, host), what, flags)| {
            let kinds = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER", "UNSPECIFIED"];
            let service = ["app", "orders", "pricing"][service];
            let span = span_at(id, parent, start, end).trace(trace).service(service);
            let span = span.instance(format!("{service}-{instance}")).kind(kinds[kind]);
            let span = span.flags([0, 256, 768, 256][flags]);
            let span = match host {
                0 => span,
                host => span.with("host_name", ["a", "b"][host - 1]),
            };
            match what {
                0 => span.query("SELECT 1").kind(kinds[kind]),
                1 => span.query("SELECT 1").scope("sqlalchemy"),
                2 => span.asgi("http.response.start").kind("INTERNAL"),
                3 => span.asgi("http.request").kind("INTERNAL"),
                4 => span.server().scope("fastapi"),
                6 if id % 2 == 0 => span.in_process().scope("fastapi"),
                7 => span.note(),
                // Under ASGI, where the raw target is a path and no host is told.
                8 => span.server().scope("django").with("http_target", "/").with("url_full", "/"),
                5 => span.with("status_code", "ERROR").with("trace_state", "ot=th:8"),
                _ => span.named(format!("walk {}", id % 3)),
            }
        },
    )
}

/// Spans as of [`any_span`], of more traces.
fn any_traces() -> impl Strategy<Value = Vec<Span>> {
    let span = (any_span(near_times()), 0..8_u128);
    let span = span.prop_map(|(span, more)| {
        let trace = span.trace + more * 3;
        span.trace(trace)
    });
    prop::collection::vec(span, 0..120)
}

/// Times of a few hundred milliseconds, often equal.
fn near_times() -> impl Strategy<Value = (i64, i64)> {
    let units = (0..200_i64, prop_oneof![Just(0), 1..30_i64, 30..200_i64]);
    units.prop_map(|(start, length)| {
        let start = BASE + start * NANOS_PER_MILLI;
        (start, start + length * NANOS_PER_MILLI / 2)
    })
}

/// Times at and beyond every limit.
fn wild_times() -> impl Strategy<Value = (i64, i64)> {
    let day = 24 * 3600 * 1000 * NANOS_PER_MILLI;
    let time = prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<i64>(),
        (-3 * day..3 * day).prop_map(|time| BASE + time),
        (0..7 * day).prop_map(|time| i64::MAX - time),
        (0..7 * day).prop_map(|time| (1 << 62) - time),
    ];
    (time, prop_oneof![Just(7 * day), 0..7 * day, any::<i64>()])
        .prop_map(|(start, length)| (start, start.saturating_add(length)))
}

fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::vec(any_span(near_times()), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// *Scenario*: the spans arrive in another order, cut into other batches, some of them again.
    /// *Guarantee*: spans, facts and gaps are the same sets of rows.
    #[test]
    fn order_batching_and_repetition_change_nothing(
        (spans, arrived) in any_spans().prop_flat_map(|spans| {
            let again = prop::sample::subsequence(spans.clone(), 0..=spans.len());
            let arrived = again.prop_flat_map({
                let spans = spans.clone();
                move |again| Just([spans.clone(), again].concat()).prop_shuffle()
            });
            (Just(spans), arrived)
        }),
        cuts in prop::collection::vec(0..130_usize, 0..5),
    ) {
        let mut batches = Vec::new();
        let mut rest = arrived.as_slice();
        for cut in cuts {
            let (first, others) = rest.split_at(cut.min(rest.len()));
            batches.push(batch(first));
            rest = others;
        }
        batches.push(batch(rest));
        // Two batches may also share their buffers.
        let whole = batch(&spans);
        let half = spans.len() / 2;
        let halves = [whole.slice(half, spans.len() - half), whole.slice(0, half)];

        let expected = said(&Pass::over_batches(&[whole]).facts);
        prop_assert_eq!(&said(&Pass::over_batches(&batches).facts), &expected);
        prop_assert_eq!(&said(&Pass::over_batches(&halves).facts), &expected);
    }

    /// *Scenario*: a reader asks for some columns.
    /// *Guarantee*: they are what they are among all.
    #[test]
    fn columns_that_nobody_asks_for_are_left_out_and_change_nothing(
        spans in any_spans(),
        kept in prop::collection::vec(any::<bool>(), 80),
    ) {
        let spans = [batch(&spans)];
        let whole = Pass::over_batches(&spans).facts;
        let all = [facts::table().columns, gaps::table().columns].concat();
        let names = all.iter().zip(kept).filter(|(_, is_kept)| *is_kept);
        let columns = Columns::named(names.map(|(column, _)| column.name.to_owned()));
        let options = PassOptions { columns: columns.clone(), ..PassOptions::default() };
        let part = Pass::with(&spans, &options).facts;
        let pairs = [(&whole.facts[0], &part.facts[0]), (&whole.gaps, &part.gaps)];
        for (table, (whole, part)) in pairs.into_iter().enumerate() {
            prop_assert_eq!(whole.num_rows(), part.num_rows());
            for (field, column) in whole.schema().fields().iter().zip(whole.columns()) {
                let name = field.name().as_str();
                let is_there = columns.has(name) || (table == 0 && IDS.contains(&name));
                prop_assert_eq!(part.column_by_name(name), is_there.then_some(column), "{}", name);
            }
        }
    }

    /// *Scenario*: the spans are more than memory holds, and gone through shard by shard, some of
    /// them twice in one.
    /// *Guarantee*: what is said of them is what one pass over all says.
    #[test]
    fn shards_say_what_one_pass_says(
        (spans, arrived) in any_traces().prop_flat_map(|spans| {
            let again = prop::sample::subsequence(spans.clone(), 0..=spans.len());
            (Just(spans), again)
        }),
        shards in 1..5_usize,
        spans_max in 1..20_usize,
    ) {
        let batches = [batch(&spans), batch(&arrived)];
        let expected = said(&Pass::over_batches(&batches).facts);
        let sharded = sharded(&batches, shards, spans_max, &PassOptions::default());
        prop_assert_eq!(said_together(&sharded), expected);
    }

    #[test]
    fn parts_add_up(spans in any_spans()) {
        common::check(&[batch(&spans)]);
    }

    /// *Scenario*: times at the limits of 64 bits, spans of a week, clocks off by years.
    /// *Guarantee*: no overflow, which panics in tests, and parts still add up.
    #[test]
    fn wild_times_change_nothing_of_that(
        spans in prop::collection::vec(any_span(wild_times()), 0..40),
    ) {
        common::check(&[batch(&spans)]);
    }
}

/// A request on an event loop with some queries, and perhaps a task that goes on after it.
fn any_request() -> impl Strategy<Value = Vec<(i64, i64)>> {
    let query = (-5..120_i64, 0..60_i64);
    let root = (0..300_i64, 0..100_i64);
    (root, prop::collection::vec(query, 0..5)).prop_map(|((start, length), queries)| {
        let queries = queries.into_iter().map(|(at, length)| (start + at, start + at + length));
        std::iter::once((start, start + length)).chain(queries).collect()
    })
}

/// What the reference of the stall test counts, as it counts it: by a look at every edge.
struct Plain {
    /// Root and edges of each trace.
    traces: Vec<((i64, i64), Vec<i64>)>,
}

impl Plain {
    /// Returns silence, rate of edges, foreign edges and concurrent traces.
    fn measure(&self, own: usize, (start, end): (i64, i64)) -> (i64, f64, i64, i64) {
        let (first, last) = self.traces[own].0;
        let concurrent = self
            .traces
            .iter()
            .enumerate()
            .filter(|(number, (root, _))| *number != own && root.1 > first && root.0 < last);
        let concurrent: Vec<&Vec<i64>> = concurrent.map(|(_, (_, edges))| edges).collect();
        let mut edges: Vec<i64> =
            concurrent.iter().flat_map(|edges| edges.iter().copied()).collect();
        edges.sort_unstable();
        let inside = |edge: &&i64| **edge > start + 20_000 && **edge < end - 20_000;
        let foreign = edges.iter().filter(inside).count() as i64;
        let silence = end - edges.iter().filter(inside).max().copied().unwrap_or(start);
        let window = (end - start).max(100 * NANOS_PER_MILLI);
        let near = |edge: &&i64| (start - window..=end + window).contains(*edge);
        let observed = match (edges.first(), edges.last()) {
            (Some(&first), Some(&last)) => {
                let (from, to) = ((start - window).max(first), (end + window).min(last));
                let before = if from < start { start.min(to) - from } else { 0 };
                (before + (to - end).max(0) + (end - start - silence)).max(NANOS_PER_MILLI)
            }
            _ => end - start + 2 * window - silence,
        };
        let rate = edges.iter().filter(near).count() as f64 / observed as f64;
        (silence, rate, foreign, concurrent.len() as i64)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn silences_are_those_of_a_plain_count(
        requests in prop::collection::vec(any_request(), 1..14),
    ) {
        let at = |millis: i64| BASE + millis * NANOS_PER_MILLI;
        let mut spans = Vec::new();
        let mut plain = Plain { traces: Vec::new() };
        let mut owners = BTreeMap::new();
        for (number, request) in requests.iter().enumerate() {
            let first = number as u64 * 100 + 1;
            for (id, &(start, end)) in (first..).zip(request) {
                let span = span_at(id, if id == first { 0 } else { first }, at(start), at(end));
                let span = span.trace(first.into());
                let request = || span.clone().server().scope("fastapi");
                spans.push(if id == first { request() } else { span.query("SELECT 1") });
                owners.insert(id, number);
            }
            // A root that took no time overlaps what is open at its start.
            let root = (at(request[0].0), at(request[0].1).max(at(request[0].0) + 1));
            let edges = request.iter().flat_map(|&(start, end)| [at(start), at(end)]);
            plain.traces.push((root, edges.collect()));
        }
        let pass = Pass::over(&spans);
        for span in spans.iter().filter(|span| span.kind == "CLIENT") {
            let (silence, rate, foreign, concurrent) =
                plain.measure(owners[&span.id], (span.start, span.end));
            if span.end - span.start < NANOS_PER_MILLI {
                prop_assert_eq!(pass.int(span.id, "silence_nanos"), None);
                continue;
            }
            prop_assert_eq!(pass.int(span.id, "silence_nanos"), Some(silence));
            prop_assert_eq!(pass.int(span.id, "foreign_edges"), Some(foreign));
            prop_assert_eq!(pass.int(span.id, "concurrent_traces"), Some(concurrent));
            let expected = pass.float(span.id, "expected_edges").expect("measured");
            prop_assert!((expected - rate * silence as f64).abs() < 1e-6, "{expected} edges");
        }
        let gaps = pass.gaps();
        let silences = pass.gap_ints("silence_nanos");
        for (gap, found) in gaps.iter().zip(silences) {
            let interval = (at(gap.start as i64), at(gap.end as i64));
            let (silence, ..) = plain.measure(owners[&gap.span], interval);
            prop_assert_eq!(found, Some(silence), "{:?}", gap);
        }
    }
}
