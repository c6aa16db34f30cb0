//! [`ShardWriter`]: spans in any order, each trace whole into one shard.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::{Error, Shards, Spill};

/// So many spans a shard are walked in a few hundred MiB.
pub const SHARD_SPANS: usize = 1 << 18;

/// The most shards there are; they are larger beyond. Each has a few open files.
pub const SHARDS_MAX: usize = 256;

/// Spans that wait to be written, in all shards together.
const WAITING_SPANS_MAX: usize = 1 << 18;

/// The fewest spans of a shard that are written at once.
const BATCH_SPANS_MIN: usize = 512;

/// Takes spans.
#[derive(Debug)]
pub struct ShardWriter {
    schema: SchemaRef,
    shards: Vec<Writer>,
    waiting_max: usize,
}

#[derive(Debug)]
struct Writer {
    spill: Spill,
    waiting: Vec<RecordBatch>,
    rows: usize,
}

impl ShardWriter {
    /// Makes shards for about so many spans of these columns of `spans`.
    ///
    /// # Errors
    ///
    /// [`Error::Spill`].
    pub fn new(schema: SchemaRef, spans: usize) -> Result<Self, Error> {
        Self::of_shards(schema, spans.div_ceil(SHARD_SPANS).clamp(1, SHARDS_MAX))
    }

    /// Makes so many shards.
    ///
    /// # Errors
    ///
    /// [`Error::Spill`].
    pub fn of_shards(schema: SchemaRef, shards: usize) -> Result<Self, Error> {
        let shard = |_| Ok(Writer { spill: Spill::new()?, waiting: Vec::new(), rows: 0 });
        let waiting_max = (WAITING_SPANS_MAX / shards.max(1)).max(BATCH_SPANS_MIN);
        let shards = (0..shards.max(1)).map(shard).collect::<Result<_, Error>>()?;
        Ok(Self { schema, shards, waiting_max })
    }

    /// Adds spans with the columns of the shards.
    ///
    /// # Errors
    ///
    /// [`Error::Spill`], [`Error::Arrow`] when they have other columns.
    pub fn add(&mut self, spans: &RecordBatch) -> Result<(), Error> {
        let traces =
            spans.column_by_name("trace_id").and_then(|column| column.as_string_view_opt());
        let traces = traces.ok_or(timesink_facts::Error::MissingColumn("trace_id"))?;
        for (shard, rows) in rows_of_shards(traces, self.shards.len()) {
            let rows = take_record_batch(spans, &UInt32Array::from(rows))?;
            let writer = &mut self.shards[shard];
            writer.rows += rows.num_rows();
            writer.waiting.push(rows);
            if writer.rows >= self.waiting_max {
                writer.flush(&self.schema)?;
            }
        }
        Ok(())
    }

    /// Returns the shards.
    ///
    /// # Errors
    ///
    /// [`Error::Spill`].
    pub fn finish(mut self) -> Result<Shards, Error> {
        for writer in &mut self.shards {
            writer.flush(&self.schema)?;
        }
        let shards = self.shards.into_iter().map(|writer| writer.spill.batches());
        Ok(Shards::new(self.schema, shards.collect::<Result<_, _>>()?))
    }
}

impl Writer {
    fn flush(&mut self, schema: &SchemaRef) -> Result<(), Error> {
        if self.rows > 0 {
            self.spill.write_packed(&concat_batches(schema, &self.waiting)?)?;
        }
        self.waiting.clear();
        self.rows = 0;
        Ok(())
    }
}

/// Returns the rows of each shard that has any. Equal views are equal ids.
fn rows_of_shards(traces: &StringViewArray, shards: usize) -> HashMap<usize, Vec<u32>> {
    let mut rows: HashMap<usize, Vec<u32>> = HashMap::new();
    for row in 0..traces.len() {
        let trace = if traces.is_null(row) { "" } else { traces.value(row) };
        rows.entry(shard_of(trace, shards)).or_default().push(row as u32);
    }
    rows
}

/// Returns the shard of a trace: FNV-1a over its id, as ids are not random everywhere.
fn shard_of(trace: &str, shards: usize) -> usize {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let hash = trace.bytes().fold(OFFSET, hash);
    // The low bits alone hardly differ between ids that differ in their last digit.
    ((hash ^ (hash >> 32)) % shards as u64) as usize
}
