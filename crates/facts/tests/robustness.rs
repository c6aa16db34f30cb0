//! Traces that no sane program writes, and sizes at which a quadratic step would take minutes.

mod common;
#[path = "../src/test_support.rs"]
#[expect(dead_code, reason = "shared with the unit tests")]
mod test_support;

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{Field, Schema};
use test_support::{BASE, Pass, Span, batch, span, span_at};
use timesink_model::NANOS_PER_MILLI;
use timesink_model::schema::spans;

/// Runs the pass over spans that come in batches. A quadratic step would not end here.
fn over(spans: &[Span]) -> Pass {
    let batches: Vec<RecordBatch> = spans.chunks(8192).map(batch).collect();
    Pass::over_batches(&batches)
}

#[test]
fn nothing_in_gives_nothing_out() {
    let none: [RecordBatch; 0] = [];
    for batches in [none.as_slice(), &[batch(&[])], &[batch(&[]), batch(&[])]] {
        let facts = common::check(batches);
        assert_eq!((facts.facts.len(), facts.gaps.num_rows()), (batches.len(), 0));
    }
}

#[test]
fn empty_batches_stand_beside_full_ones() {
    let spans = [span(1, 0, 0, 100).server(), span(2, 1, 10, 20).client()];
    let batches = [batch(&[]), batch(&spans[..1]), batch(&[]), batch(&spans[1..]), batch(&[])];
    let facts = common::check(&batches);
    let rows: Vec<usize> = facts.facts.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(rows, [0, 1, 0, 1, 0]);
    let repeated = [batches[1].clone(), batches[0].clone(), batches[1].clone()];
    assert_eq!(common::check(&repeated).repeated_spans, 1);
}

#[test]
fn columns_may_be_null_throughout() {
    let table = spans::table();
    let known = batch(&[span(1, 0, 0, 100), span(2, 1, 10, 20)]);
    let keep = ["trace_id", "span_id", "attributes", "resource_attributes"];
    let columns = table.columns.iter().map(|column| {
        let is_kept = keep.contains(&column.name);
        let none = || new_null_array(&column.data_type, known.num_rows());
        if is_kept { Arc::clone(&known[column.name]) } else { none() }
    });
    let fields = table.columns.iter().map(|c| Field::new(c.name, c.data_type.clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let nulls = RecordBatch::try_new(schema, columns.collect()).expect("a batch of nulls");
    let pass = Pass::over_batches(&[nulls]);
    assert_eq!([1, 2].map(|id| pass.int(id, "self_nanos")), [Some(0); 2]);
    assert!(!pass.flag(1, "has_process_identity"));
}

/// A gateway and its services, each on a clock of its own that is off by minutes.
#[test]
fn clocks_wildly_off_leave_durations_alone() {
    let minutes = |minutes: i64| minutes * 60_000;
    let mut spans = vec![span(1, 0, 0, 1000).server()];
    for service in 0..50_u64 {
        let (call, off) = (10 + service * 10, minutes(service as i64 * 7 - 100));
        let at = service as i64 * 19;
        spans.push(span(call, 1, at, at + 18).client());
        let served = span(call + 1, call, at + off, at + off + 10).server();
        spans.push(served.service(&format!("service-{service}")));
    }
    let facts = common::check(&[batch(&spans)]);
    let pass = Pass::over_batches(&facts.spans);
    let parts = |id| ["wire_nanos", "wire_before_nanos"].map(|part| pass.millis(id, part));
    assert!((1..50).all(|service| parts(10 + service * 10) == [Some(8.0), Some(4.0)]));
}

#[test]
fn spans_of_a_week_are_as_good_as_any() {
    let week = 7 * 24 * 3600 * 1000;
    let spans: Vec<Span> = (1..=100).map(|id| span(id, id / 2, 0, week).server()).collect();
    let facts = common::check(&[batch(&spans)]);
    assert_eq!(facts.gaps.num_rows(), 50);
}

#[test]
fn a_chain_a_million_deep_ends() {
    let depth = 1_000_000;
    let names = ["a", "b", "c"];
    let spans: Vec<Span> = (1..=depth)
        .map(|id| span_at(id, id - 1, BASE + id as i64, BASE + 10_000_000 - id as i64))
        .map(|span| span.clone().named(names[span.id as usize % names.len()]))
        .collect();
    let pass = over(&spans);
    assert_eq!(pass.int(depth, "depth"), Some(depth as i64 - 1));
    assert_eq!(pass.int(depth, "critical_nanos"), Some(8_000_000));
}

#[test]
fn a_cycle_of_a_million_ends() {
    let length = 1_000_000;
    let spans: Vec<Span> = (1..=length)
        .map(|id| span_at(id, id % length + 1, BASE + id as i64, BASE + 10_000_000))
        .collect();
    let pass = over(&spans);
    assert_eq!(pass.int(1, "depth"), Some(0));
    assert_eq!(pass.int(2, "depth"), Some(length as i64 - 1));
}

#[test]
fn two_hundred_thousand_siblings_end() {
    let query = |id: u64| {
        let start = BASE + id as i64 * 1_000_000;
        span_at(id, 1, start, start + 900_000).query(&format!("SELECT {}", id % 5))
    };
    let count = 200_000;
    let mut spans = vec![span(1, 0, 0, count + 2).server().scope("fastapi")];
    spans.extend((2..count as u64 + 2).map(query));
    let pass = over(&spans);
    assert_eq!(pass.int(count as u64, "pause_nanos"), Some(100_000));
}

/// All at once, so that each is parallel to all others.
#[test]
fn two_hundred_thousand_parallel_siblings_end() {
    let count = 200_000;
    let mut spans = vec![span(1, 0, 0, 10_000).server().scope("fastapi")];
    let parallel = |id: u64| span_at(id, 1, BASE + id as i64, BASE + 5_000_000_000 + id as i64);
    spans.extend((2..count + 2).map(|id| parallel(id).query("SELECT 1")));
    // Another trace that is heard once, early on.
    spans.push(span(count + 2, 0, 0, 10_000).server().scope("fastapi").trace(2));
    spans.push(span(count + 3, count + 2, 1, 2).query("SELECT 1").trace(2));
    let pass = over(&spans);
    assert_eq!(pass.int(2, "foreign_edges"), Some(2));
    assert_eq!(pass.int(count + 1, "sequence_id"), Some(count as i64 - 1));
}

/// Each gap ends as an operation of the same trace begins, which many others of it precede.
#[test]
fn gaps_that_all_wait_for_one_pool_end() {
    let count = 50_000_u64;
    let mut spans = vec![span(1, 0, 0, 1000)];
    for id in 0..count {
        let (task, query) = (10 + id * 2, 11 + id * 2);
        spans.push(span(task, 1, 0, 1000));
        let start = BASE + 500 * NANOS_PER_MILLI + id as i64;
        spans.push(span_at(query, task, start, start + 1).query("SELECT 1"));
    }
    let pass = over(&spans);
    assert_eq!(pass.facts.gaps.num_rows() as u64, count * 2);
}

/// Streams that stay open while many requests pass, in one process with one event loop.
#[test]
fn a_hundred_thousand_overlapping_traces_end() {
    let served = |id: u64, start, end| {
        let at = |micros: i64| BASE + micros * 1000;
        let server = span_at(id, 0, at(start), at(end)).server().scope("fastapi");
        let query = span_at(id + 1, id, at(start + 100), at(end - 100)).query("SELECT 1");
        [server.trace(id.into()), query.trace(id.into())]
    };
    // A minute; streams last half of it.
    let streams = (0..50_000).map(|number| (number * 500, 30_000_000 + number * 500));
    let requests = (0..50_000).map(|number| (number * 1100, number * 1100 + 20_000));
    let times = streams.chain(requests);
    let spans: Vec<Span> =
        (1..).step_by(2).zip(times).flat_map(|(id, (start, end))| served(id, start, end)).collect();
    let pass = over(&spans);
    // The first stream meets all streams that begin before it ends, and the requests.
    assert_eq!(pass.int(2, "concurrent_traces"), Some(49_999 + 27_273));
}

/// Work that goes on after its request, all of it until the very end.
#[test]
fn a_hundred_thousand_background_tasks_end() {
    let count = 100_000_u64;
    let end = BASE + count as i64 * NANOS_PER_MILLI;
    let mut spans = Vec::new();
    for number in 0..count {
        let id = 1 + number * 2;
        let start = BASE + number as i64 * NANOS_PER_MILLI;
        let server = span_at(id, 0, start, start + 1_500_000).server().scope("fastapi");
        let task = span_at(id + 1, id, start + 1_500_000, end + number as i64 * 7 % 1000);
        spans.extend([server.trace(id.into()), task.trace(id.into())]);
    }
    over(&spans);
}

/// One large trace, then many small ones: none pays for the large one.
#[test]
fn small_traces_after_a_large_one_end() {
    let large = 300_000_u64;
    let query = |id: u64| span(id, 1, 0, 1).query(&format!("SELECT a{id} FROM b"));
    let mut spans = vec![span(1, 0, 0, 1)];
    spans.extend((2..large).map(query));
    for id in (large..large + 200_000).step_by(2) {
        let trace = u128::from(id);
        spans.extend([
            span(id, 0, 0, 1).trace(trace),
            Span { parent: id, ..query(id + 1) }.trace(trace),
        ]);
    }
    let pass = over(&spans);
    assert_eq!(pass.facts.traces, 100_001);
}

/// A whole delivery that arrives again, and again.
#[test]
fn repeated_spans_end() {
    let of_trace = |id: u64| span(id, 0, 0, 1).trace(id.into()).attribute("key", "value");
    let spans: Vec<Span> = (1..=50_000).map(of_trace).collect();
    let pass = over(&[spans.as_slice(), &spans, &spans].concat());
    assert_eq!(pass.facts.repeated_spans, 100_000);
}

/// A queue of calls between two hosts whose clocks differ, and statements without end.
#[test]
fn long_texts_end() {
    let long = "x".repeat(1 << 20);
    let spans: Vec<Span> = (1..=20)
        .map(|id| span(id, id - 1, 0, 1).named(long.clone()).with("db_query_text", long.clone()))
        .collect();
    let pass = over(&spans);
    let path = pass.text(20, "name_path").expect("never NULL").len();
    assert!(path < 4096, "{path} bytes");
}
