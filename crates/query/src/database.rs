//! [`Database`]: the tables and views over one set of spans.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, GreedyMemoryPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use timesink_facts::{Facts, PassOptions};

use crate::Error;
use crate::merged::{self, SPANS_WITH_FACTS};
use crate::outline::{Packed, partitioned};
use crate::session::{BATCH_ROWS, Session, shared_state};
use crate::spilled::TemporaryFiles;
use crate::threads::Threads;
use crate::views::VIEWS;

/// What a query may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that all queries of a database may hold together, the tables not counted.
    pub memory_bytes_max: usize,
    /// How long one query may run.
    pub time_max: Duration,
    /// Rows that one query may return.
    pub rows_max: usize,
    /// Threads that one query spreads over.
    pub partitions: usize,
    /// Whether what queries need beyond memory goes to temporary files, in the system's folder for
    /// such, as far as the engine can put it there.
    pub may_spill: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 2 << 30,
            time_max: Duration::from_mins(1),
            rows_max: 5_000_000,
            partitions: std::thread::available_parallelism().map_or(1, usize::from),
            may_spill: false,
        }
    }
}

/// The tables over one set of spans, ready for any number of readers.
#[derive(Debug, Clone)]
pub struct Database {
    tables: Vec<Table>,
    threads: Threads,
    limits: Limits,
    /// The rows of the tables that hold the spans' own memory.
    held: Arc<Vec<RecordBatch>>,
    merged: Vec<RecordBatch>,
    /// How many batches of `merged` each shard has.
    shards: Vec<usize>,
    gaps: Vec<RecordBatch>,
    traces: usize,
    repeated_spans: usize,
    /// What every session begins with, made with the first.
    sessions: Arc<OnceLock<Sessions>>,
}

#[derive(Debug, Clone)]
struct Table {
    name: String,
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

/// What the sessions of a database share.
#[derive(Debug)]
struct Sessions {
    /// Without tables.
    state: SessionState,
    views: Vec<(&'static str, Arc<dyn TableProvider>)>,
}

impl Database {
    /// Runs the trace pass and makes the tables `spans`, `facts`, `gaps` and `spans_with_facts`.
    ///
    /// # Errors
    ///
    /// [`Error::Facts`] when the pass refuses the spans, [`Error::Internal`] when a table of ours
    /// is broken.
    pub fn open(spans: Vec<RecordBatch>, limits: Limits) -> Result<Self, Error> {
        let facts = timesink_facts::run(spans, &PassOptions::default())?;
        Self::of_facts(facts, limits)
    }

    /// Makes the tables over what the trace pass gave, with the columns that it gave.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table of ours is broken.
    pub fn of_facts(facts: Facts, limits: Limits) -> Result<Self, Error> {
        Self::of_shards(facts, Vec::new(), limits)
    }

    /// Makes the tables over what the pass gave shard by shard: each trace is in one of them, and
    /// all have the same columns.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table of ours is broken.
    pub fn of_shards(first: Facts, others: Vec<Facts>, limits: Limits) -> Result<Self, Error> {
        let schema = merged::schema_of(&first.spans_schema, &first.facts_schema);
        let schemas =
            [&first.spans_schema, &first.facts_schema, &first.gaps_schema].map(Arc::clone);
        let mut tables = [Vec::new(), Vec::new(), Vec::new()];
        let (mut merged, mut shards) = (Vec::new(), Vec::new());
        let (mut traces, mut repeated_spans) = (0, 0);
        for facts in std::iter::once(first).chain(others) {
            let of_shard = merge(&facts, &schema)?;
            shards.push(of_shard.len());
            merged.extend(of_shard);
            traces += facts.traces;
            repeated_spans += facts.repeated_spans;
            let [spans, of_spans, gaps] = &mut tables;
            spans.extend(facts.spans);
            of_spans.extend(facts.facts);
            gaps.push(facts.gaps);
        }
        let held = Arc::new(tables.concat());
        let [spans, facts, gaps] = tables;
        let mut database = Self {
            tables: Vec::new(),
            threads: Threads::new(limits.partitions),
            limits,
            held,
            merged,
            shards,
            gaps,
            traces,
            repeated_spans,
            sessions: Arc::default(),
        };
        let gaps = database.gaps.iter().flat_map(|gaps| split(gaps, limits.partitions)).collect();
        let [of_spans, of_facts, of_gaps] = schemas;
        database.add("spans", of_spans, spans);
        database.add("facts", of_facts, facts);
        database.add("gaps", of_gaps, gaps);
        database.add(SPANS_WITH_FACTS, schema, database.merged.clone());
        Ok(database)
    }

    /// Returns each span with its facts in one row, in the order in which they came in. Columns may
    /// be packed: [`timesink_facts::packed`] reads them.
    pub fn spans_with_facts(&self) -> &[RecordBatch] {
        &self.merged
    }

    /// Returns the same in shards: each trace is in one of them.
    pub fn shards(&self) -> impl Iterator<Item = &[RecordBatch]> {
        let mut rest = self.merged.as_slice();
        self.shards.iter().map(move |&batches| {
            let (shard, others) = rest.split_at(batches);
            rest = others;
            shard
        })
    }

    /// Returns the stretches of entry and INTERNAL spans that no child covers; they may be packed.
    pub fn gaps(&self) -> &[RecordBatch] {
        &self.gaps
    }

    /// Returns the columns of a table, whose batches may be packed; none if there is no such table.
    pub fn schema(&self, name: &str) -> Option<SchemaRef> {
        let table = self.tables.iter().find(|table| table.name == name);
        table.map(|table| Arc::clone(&table.schema))
    }

    /// Returns what a query may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns how many traces the spans make up.
    pub fn traces(&self) -> usize {
        self.traces
    }

    /// Returns how many spans there are, each counted once.
    pub fn spans(&self) -> usize {
        self.merged.iter().map(RecordBatch::num_rows).sum()
    }

    /// Returns how many spans had arrived before.
    pub fn repeated_spans(&self) -> usize {
        self.repeated_spans
    }

    /// Returns a reader for any query, with no tables of its own yet.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table or view of ours is broken.
    pub fn session(&self) -> Result<Session, Error> {
        let Sessions { state, views } = self.sessions()?;
        let session = self.session_without_views(state)?;
        for (name, view) in views {
            session.register_provider(name, Arc::clone(view))?;
        }
        Ok(session)
    }

    fn sessions(&self) -> Result<&Sessions, Error> {
        if let Some(sessions) = self.sessions.get() {
            return Ok(sessions);
        }
        let state = shared_state(runtime(&self.limits)?, &self.limits);
        let session = self.session_without_views(&state)?;
        let mut views: Vec<(&'static str, Arc<dyn TableProvider>)> = Vec::new();
        for view in VIEWS {
            let plan = at_once(session.plan(view.sql))??;
            let table = Arc::new(ViewTable::new(plan, Some(view.sql.to_owned())));
            session.register_provider(view.name, Arc::clone(&table) as Arc<dyn TableProvider>)?;
            views.push((view.name, table));
        }
        Ok(self.sessions.get_or_init(|| Sessions { state, views }))
    }

    fn session_without_views(&self, state: &SessionState) -> Result<Session, Error> {
        let held = Arc::clone(&self.held);
        let session = Session::new(state, self.limits, self.threads.clone(), held)?;
        for Table { name, schema, batches } in &self.tables {
            let (schema, batches) = (Arc::clone(schema), batches.clone());
            if batches.iter().any(|batch| batch.schema().fields() != schema.fields()) {
                let table = Packed::new(name, schema, batches, self.limits.partitions);
                session.register_provider(name, Arc::new(table))?;
            } else {
                session.register(name, schema, batches)?;
            }
        }
        Ok(session)
    }

    /// Adds a table that every later session sees, quarantined spans for example.
    pub fn add(&mut self, name: &str, schema: SchemaRef, batches: Vec<RecordBatch>) {
        self.tables.push(Table { name: name.to_owned(), schema, batches });
    }

    /// Returns the rows of a table, none if there is no such table.
    pub(crate) fn table(&self, name: &str) -> &[RecordBatch] {
        let table = self.tables.iter().find(|table| table.name == name);
        table.map_or(&[], |table| &table.batches)
    }
}

/// Returns what a future gives that has nothing to wait for: tables in memory are there.
fn at_once<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => Ok(result),
        Poll::Pending => Err(Error::Internal("planning a view had to wait".to_owned())),
    }
}

pub(crate) fn mem_table(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    partitions: usize,
) -> Result<MemTable, Error> {
    MemTable::try_new(schema, partitioned(batches, partitions))
        .map_err(|error| Error::Internal(error.to_string()))
}

fn merge(facts: &Facts, schema: &SchemaRef) -> Result<Vec<RecordBatch>, Error> {
    let pairs = facts.spans.iter().zip(&facts.facts);
    pairs
        .map(|(spans, facts)| merged::merge(spans, facts, schema))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Internal(error.to_string()))
}

/// Cuts a batch into slices of even length, one for each thread at least.
fn split(batch: &RecordBatch, parts: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let length = rows.div_ceil(parts.max(1)).clamp(1, BATCH_ROWS);
    (0..rows).step_by(length).map(|at| batch.slice(at, length.min(rows - at))).collect()
}

/// Queries hold what they need in memory or fail, unless they may spill it.
pub(crate) fn runtime(limits: &Limits) -> Result<Arc<RuntimeEnv>, Error> {
    let bytes_max = limits.memory_bytes_max;
    let (mode, memory): (_, Arc<dyn MemoryPool>) = if limits.may_spill {
        // Who can spill leaves room to who cannot.
        (DiskManagerMode::Custom(Arc::new(TemporaryFiles)), Arc::new(FairSpillPool::new(bytes_max)))
    } else {
        (DiskManagerMode::Disabled, Arc::new(GreedyMemoryPool::new(bytes_max)))
    };
    RuntimeEnvBuilder::new()
        .with_memory_pool(memory)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(mode))
        .build_arc()
        .map_err(|error| Error::Internal(error.to_string()))
}
