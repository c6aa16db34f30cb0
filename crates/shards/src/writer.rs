//! [`ShardWriter`]: spans in any order, each trace whole into one shard.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use timesink_facts::packed;

use crate::{Error, Shards, Spill};

/// So many spans a shard are walked in a few hundred MiB.
pub const SHARD_SPANS: usize = 1 << 18;

/// The most shards there are; they are larger beyond. Each has an open file while spans come.
pub const SHARDS_MAX: usize = 256;

/// Spans that wait to be written, in all shards together.
const WAITING_SPANS_MAX: usize = 1 << 18;

/// The most spans of a batch: whoever reads a column of one is counted the memory of all.
const BATCH_SPANS_MAX: usize = 8192;

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
            // What waits holds nothing of the rows beside it.
            let columns = rows.columns().iter().map(packed::compact).collect();
            let rows = RecordBatch::try_new(rows.schema(), columns)?;
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
        let waiting = concat_batches(schema, &self.waiting)?;
        for at in (0..self.rows).step_by(BATCH_SPANS_MAX) {
            let length = BATCH_SPANS_MAX.min(self.rows - at);
            self.spill.write_packed(&waiting.slice(at, length))?;
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

/// Returns the shard of a trace: FNV-1a over the number that its id is, as ids are not random
/// everywhere.
fn shard_of(trace: &str, shards: usize) -> usize {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
    let id = u128::from_str_radix(trace, 16).unwrap_or(0);
    let hash = id.to_be_bytes().into_iter().fold(OFFSET, hash);
    // The low bits alone hardly differ between ids that differ in their last digit.
    ((hash ^ (hash >> 32)) % shards as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use timesink_facts::packed::Text;
    use timesink_model::schema::spans;
    use timesink_testkit::notation;

    use super::*;

    /// *Scenario*: spans of 300 traces come in several batches, more than wait at once.
    /// *Guarantee*: each is in one shard, with the rest of its trace, and no shard has most.
    #[test]
    fn each_trace_is_in_one_shard() {
        let traces =
            "shop SERVER GET/cart 0ms 120ms\n  shop CLIENT Q 5ms 10ms x3\n--- x300 every 40ms\n";
        let spans = notation::spans(traces);
        let schema = Arc::new(spans::table().schema());
        let mut writer = ShardWriter::of_shards(schema, 4).expect("temporary files");
        writer.waiting_max = 50;
        let rows: usize = spans.iter().map(RecordBatch::num_rows).sum();
        for batch in &spans {
            for at in (0..batch.num_rows()).step_by(70) {
                writer.add(&batch.slice(at, 70.min(batch.num_rows() - at))).expect("room");
            }
        }
        let shards = writer.finish().expect("room");
        let mut shards_of: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
        let mut rows_of = [0; 4];
        for (shard, batches) in shards.batches().iter().enumerate() {
            for batch in batches {
                let traces = Text::of(batch.column_by_name("trace_id").expect("a column of spans"));
                for trace in traces.expect("texts").iter().flatten() {
                    shards_of.entry(trace.to_owned()).or_default().insert(shard);
                    rows_of[shard] += 1;
                }
            }
        }
        assert_eq!(rows_of.iter().sum::<usize>(), rows);
        assert_eq!(shards_of.len(), 300);
        assert!(shards_of.values().all(|shards| shards.len() == 1), "{shards_of:?}");
        assert!(rows_of.iter().all(|&of_shard| of_shard < rows / 2), "{rows_of:?}");
    }

    /// *Guarantee*: of ids that only count up no shard gets most.
    #[test]
    fn ids_that_count_up_are_spread() {
        let mut counts = [0; 7];
        for number in 0..7000 {
            counts[shard_of(&format!("{number:032x}"), 7)] += 1;
        }
        assert!(counts.iter().all(|count| (700..1300).contains(count)), "{counts:?}");
    }
}
