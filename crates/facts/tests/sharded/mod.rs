//! The pass over shards, to be held against the pass over all spans.

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use timesink_facts::shards::{Clocks, Portion};
use timesink_facts::{Error, Facts, PassOptions};

/// Returns what the pass says shard by shard, of so many shards, whose processes are looked at
/// together, or in slices of time, where they have about so many spans.
pub(crate) fn sharded(
    spans: &[RecordBatch],
    shards: usize,
    spans_max: usize,
    options: &PassOptions,
) -> Vec<Facts> {
    let shards: Vec<Vec<RecordBatch>> =
        (0..shards).map(|shard| part_of(spans, shard, shards)).collect();
    let mut clocks = Clocks::default();
    for spans in &shards {
        clocks.add(spans.clone()).expect("batches of spans");
    }
    let period = clocks.settle(options, spans_max);
    let mut portions = Vec::new();
    for (shard, spans) in shards.iter().enumerate() {
        let of_shard = period.parts(spans.clone()).expect("batches of spans");
        portions.extend(of_shard.into_iter().map(|portion| (shard, portion)));
    }
    let mut told = vec![Vec::new(); shards.len()];
    for table in 0..period.tables() {
        let of = |slice: Option<usize>| {
            let is_of = |portion: &Portion| portion.table == table && portion.slice == slice;
            let of = portions.iter().filter(|(_, portion)| is_of(portion));
            of.map(|(shard, portion)| (*shard, portion.rows.clone())).collect::<Vec<_>>()
        };
        let tell = |shard: usize, rows| {
            told[shard].push(rows);
            Ok::<_, Error>(())
        };
        let slice = |slice| Ok(of(Some(slice)));
        period.processes(table, &of(None), slice, tell, options).expect("tables of parts");
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
