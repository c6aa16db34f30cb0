//! [`Shards`]: spans on disk, and the trace pass over them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use timesink_facts::packed::unpack_batch;
use timesink_facts::shards::{Clocks, Period, Sharded};
use timesink_facts::{Facts, PassOptions};

use crate::{Error, Spill};

/// What a span takes, about, while its process is looked at.
const BYTES_PER_SPAN: u64 = 400;

/// What a request of a process takes, about, while that is looked at.
const BYTES_PER_REQUEST: u64 = 280;

/// So many spans of processes are looked at together; of one that has more, a slice of time is.
const TOGETHER_SPANS: usize = 1 << 20;

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
    /// In memory are the spans of a shard, or those of some processes, or of one in a slice of
    /// time, and something of each of its requests: the latter may take `bytes_max`. A trace is
    /// never divided.
    ///
    /// # Errors
    ///
    /// [`Error::Process`], [`Error::Requests`], [`Error::Spill`], [`Error::Facts`], and those of
    /// `kept`.
    pub fn facts<E: From<Error>>(
        self,
        options: &PassOptions,
        bytes_max: u64,
        kept: impl Fn(Vec<RecordBatch>) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Vec<Facts>, E> {
        let options = PassOptions { packed_spans_min: 0, ..options.clone() };
        let spans = |shard: usize| kept(self.spans(shard)?);
        let limits = Limits::of(bytes_max);
        let period = self.period(&options, limits.together(), spans)?;
        let told = self.told(&period, &options, limits, spans)?;
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
        spans_max: usize,
        spans: impl Fn(usize) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Period, E> {
        let mut clocks = Clocks::default();
        for shard in 0..self.shards.len() {
            clocks.add(spans(shard)?).map_err(Error::from)?;
        }
        Ok(clocks.settle(options, spans_max))
    }

    /// Returns what processes tell each shard.
    fn told<E: From<Error>>(
        &self,
        period: &Period,
        options: &PassOptions,
        limits: Limits,
        spans: impl Fn(usize) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Vec<Vec<RecordBatch>>, E> {
        let parts = self.parts(period, spans)?;
        let mut spill = Spill::new()?;
        let mut shards = Vec::new();
        for table in 0..period.tables() {
            let heads = parts.of(table, None);
            limits.check_requests(heads)?;
            let slice = |slice| {
                let parts = parts.of(table, Some(slice));
                limits.check_spans(parts)?;
                Ok(parts.to_vec())
            };
            let tell = |shard, rows: RecordBatch| {
                shards.push(shard);
                spill.write(&rows)
            };
            period.processes(table, heads, slice, tell, options)?;
        }
        let mut told = vec![Vec::new(); self.shards.len()];
        for (shard, rows) in shards.into_iter().zip(spill.batches()?) {
            told[shard].push(rows);
        }
        Ok(told)
    }

    fn parts<E: From<Error>>(
        &self,
        period: &Period,
        spans: impl Fn(usize) -> Result<Vec<RecordBatch>, E>,
    ) -> Result<Parts, E> {
        let mut spill = Spill::new()?;
        let mut places = Vec::new();
        for shard in 0..self.shards.len() {
            for portion in period.parts(spans(shard)?).map_err(Error::from)? {
                spill.write(&portion.rows)?;
                places.push((portion.table, portion.slice, shard));
            }
        }
        let mut parts = Parts::default();
        for ((table, slice, shard), rows) in places.into_iter().zip(spill.batches()?) {
            parts.0.entry((table, slice)).or_default().push((shard, rows));
        }
        Ok(parts)
    }
}

/// What processes need of all shards: the heads of each table, and its slices.
#[derive(Debug, Default)]
struct Parts(HashMap<(usize, Option<usize>), Vec<Sharded>>);

impl Parts {
    fn of(&self, table: usize, slice: Option<usize>) -> &[Sharded] {
        self.0.get(&(table, slice)).map_or(&[], Vec::as_slice)
    }
}

/// How many spans and requests of processes may be in memory.
#[derive(Debug, Clone, Copy)]
struct Limits {
    spans: usize,
    requests: usize,
}

impl Limits {
    fn of(bytes: u64) -> Self {
        let number = |bytes_of_one| usize::try_from(bytes / bytes_of_one).unwrap_or(usize::MAX);
        Self { spans: number(BYTES_PER_SPAN), requests: number(BYTES_PER_REQUEST) }
    }

    /// Returns how many spans are to be looked at together. What lasts is in several slices of
    /// time, for which there is to be room.
    fn together(self) -> usize {
        TOGETHER_SPANS.min(self.spans / 2)
    }

    fn check_spans(self, slice: &[Sharded]) -> Result<(), Error> {
        let spans = slice.iter().map(|(_, rows)| Period::spans_in(rows)).sum();
        let spans_max = self.spans;
        if spans <= spans_max { Ok(()) } else { Err(Error::Process { spans, spans_max }) }
    }

    fn check_requests(self, heads: &[Sharded]) -> Result<(), Error> {
        let requests = heads.iter().map(|(_, heads)| Period::requests_in(heads)).sum();
        let requests_max = self.requests;
        let fits = requests <= requests_max;
        if fits { Ok(()) } else { Err(Error::Requests { requests, requests_max }) }
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
