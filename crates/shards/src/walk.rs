//! [`Shards`]: spans on disk, and the trace pass over them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use timesink_facts::packed::unpack_batch;
use timesink_facts::shards::{Clocks, Period};
use timesink_facts::{Facts, PassOptions};

use crate::{Error, Spill};

/// What a span takes, about, while its process is looked at.
const BYTES_PER_SPAN: u64 = 400;

/// Spans on disk; each trace is in one shard.
#[derive(Debug)]
pub struct Shards {
    schema: SchemaRef,
    /// Packed.
    shards: Vec<Vec<RecordBatch>>,
}

impl Shards {
    pub(crate) fn new(schema: SchemaRef, shards: Vec<Vec<RecordBatch>>) -> Self {
        Self { schema, shards }
    }

    #[cfg(test)]
    pub(crate) fn batches(&self) -> &[Vec<RecordBatch>] {
        &self.shards
    }

    /// Returns what the trace pass says of all spans, shard by shard. `kept` leaves out of a shard
    /// what nobody asked for: it is given all spans of some traces, several times the same.
    ///
    /// In memory are the spans of a shard and those of the processes of a table, most often one:
    /// the latter may take `bytes_max`. A trace is never divided.
    ///
    /// # Errors
    ///
    /// [`Error::Process`], [`Error::Spill`], [`Error::Facts`], and those of `kept`.
    pub fn facts<E: From<Error>>(
        self,
        options: &PassOptions,
        bytes_max: u64,
        kept: impl Fn(Vec<RecordBatch>) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Vec<Facts>, E> {
        let options = PassOptions { packed_spans_min: 0, ..options.clone() };
        let spans = |shard: usize| kept(self.spans(shard)?);
        let period = self.period(&options, spans)?;
        let spans_max = usize::try_from(bytes_max / BYTES_PER_SPAN).unwrap_or(usize::MAX);
        let told = self.told(&period, &options, spans_max, spans)?;
        let mut facts = Vec::with_capacity(self.shards.len());
        for (shard, told) in told.into_iter().enumerate() {
            let of_shard = period.finish(spans(shard)?, &told, &options).map_err(Error::from)?;
            facts.push(on_disk(of_shard)?);
        }
        Ok(facts)
    }

    fn spans(&self, shard: usize) -> Result<Vec<RecordBatch>, Error> {
        let batches = self.shards[shard].iter();
        let unpacked = batches.map(|batch| unpack_batch(batch, &self.schema));
        Ok(unpacked.collect::<Result<_, _>>()?)
    }

    fn period<E: From<Error>>(
        &self,
        options: &PassOptions,
        spans: impl Fn(usize) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Period, E> {
        let mut clocks = Clocks::default();
        for shard in 0..self.shards.len() {
            clocks.add(spans(shard)?).map_err(Error::from)?;
        }
        Ok(clocks.settle(options))
    }

    /// Returns what processes tell each shard.
    fn told<E: From<Error>>(
        &self,
        period: &Period,
        options: &PassOptions,
        spans_max: usize,
        spans: impl Fn(usize) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Vec<Vec<RecordBatch>>, E> {
        let count = self.shards.len();
        let mut spill = Spill::new()?;
        for shard in 0..count {
            for part in period.parts(spans(shard)?, count).map_err(Error::from)? {
                spill.write(&part)?;
            }
        }
        let parts = spill.batches()?;
        let mut spill = Spill::new()?;
        let mut shards = Vec::new();
        for table in 0..count {
            let of_table: Vec<_> = parts.iter().skip(table).step_by(count).cloned().collect();
            let spans = of_table.iter().map(Period::spans_in).sum();
            if spans > spans_max {
                return Err(Error::Process { spans, spans_max }.into());
            }
            let told = period.processes(&of_table, options).map_err(Error::from)?;
            for (shard, rows) in told {
                spill.write(&rows)?;
                shards.push(shard);
            }
        }
        let mut told = vec![Vec::new(); count];
        for (shard, rows) in shards.into_iter().zip(spill.batches()?) {
            told[shard].push(rows);
        }
        Ok(told)
    }
}

/// Puts facts and spans where they take no memory.
fn on_disk(facts: Facts) -> Result<Facts, Error> {
    let gaps = written(vec![facts.gaps])?.pop();
    Ok(Facts {
        spans: written(facts.spans)?,
        facts: written(facts.facts)?,
        gaps: gaps.unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&facts.gaps_schema))),
        ..facts
    })
}

fn written(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, Error> {
    let mut spill = Spill::new()?;
    for batch in batches {
        spill.write_packed(&batch)?;
    }
    spill.batches()
}
