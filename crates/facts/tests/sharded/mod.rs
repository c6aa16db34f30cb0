//! The pass over shards, to be held against the pass over all spans.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use timesink_facts::shards::Clocks;
use timesink_facts::{Facts, PassOptions};

/// Returns what the pass says shard by shard, of so many shards, whose processes are in so many
/// tables.
pub(crate) fn sharded(
    spans: &[RecordBatch],
    shards: usize,
    tables: usize,
    options: &PassOptions,
) -> Vec<Facts> {
    let shards: Vec<Vec<RecordBatch>> =
        (0..shards).map(|shard| part_of(spans, shard, shards)).collect();
    let mut clocks = Clocks::default();
    for spans in &shards {
        clocks.add(spans.clone()).expect("batches of spans");
    }
    let period = clocks.settle(options);
    let mut by_table = vec![Vec::new(); tables];
    for spans in &shards {
        let parts = period.parts(spans.clone(), tables).expect("batches of spans");
        assert_eq!(parts.len(), tables);
        for (table, part) in by_table.iter_mut().zip(parts) {
            table.push(part);
        }
    }
    let mut told = vec![Vec::new(); shards.len()];
    for table in &by_table {
        for (shard, rows) in period.processes(table, options).expect("tables of parts") {
            told[shard].push(rows);
        }
    }
    let finish = |(spans, told): (Vec<RecordBatch>, Vec<RecordBatch>)| {
        period.finish(spans, &told, options).expect("batches of spans")
    };
    shards.into_iter().zip(told).map(finish).collect()
}

/// Returns the spans whose trace ids end in one digit of several.
fn part_of(spans: &[RecordBatch], shard: usize, shards: usize) -> Vec<RecordBatch> {
    let is_in = |trace: Option<&str>| {
        let last = trace.and_then(|trace| trace.as_bytes().last()).map_or(0, |byte| *byte as usize);
        Some(last % shards == shard)
    };
    let part = |batch: &RecordBatch| {
        let traces = batch.column_by_name("trace_id").expect("a column of spans").as_string_view();
        let are_in: BooleanArray = traces.iter().map(is_in).collect();
        filter_record_batch(batch, &are_in).expect("as many rows")
    };
    spans.iter().map(part).collect()
}
