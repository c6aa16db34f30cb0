//! [`Database`]: the tables and views over one set of spans.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use timesink_facts::{Facts, PassOptions};

use crate::Error;
use crate::merged::{self, SPANS_WITH_FACTS};
use crate::session::{Session, shared_state};
use crate::threads::Threads;
use crate::views::VIEWS;

/// What a query may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that all queries of a database may hold together, the tables not counted.
    pub memory_bytes_max: usize,
    /// How long one query may run.
    pub time_max: Duration,
    /// Rows that one query may return.
    pub rows_max: usize,
    /// Threads that one query spreads over.
    pub partitions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 2 << 30,
            time_max: Duration::from_mins(1),
            rows_max: 5_000_000,
            partitions: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The tables and views over one set of spans, ready for any number of sessions.
#[derive(Debug, Clone)]
pub struct Database {
    tables: Vec<(String, Arc<dyn TableProvider>)>,
    /// What every session begins with; it has no tables.
    shared: SessionState,
    threads: Threads,
    limits: Limits,
    /// The rows of the tables that hold the spans' own memory.
    held: Arc<Vec<RecordBatch>>,
    merged: Vec<RecordBatch>,
    gaps: RecordBatch,
    traces: usize,
    repeated_spans: usize,
}

impl Database {
    /// Runs the trace pass and makes the tables `spans`, `facts`, `gaps`, `spans_with_facts` and
    /// the views.
    ///
    /// # Errors
    ///
    /// [`Error::Facts`] when the pass refuses the spans, [`Error::Internal`] when a table or view
    /// of ours is broken.
    pub async fn open(spans: &[RecordBatch], limits: Limits) -> Result<Self, Error> {
        let facts = timesink_facts::run(spans, &PassOptions::default())?;
        Self::of_facts(&facts, limits).await
    }

    /// Makes the tables and views over what the trace pass gave.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table or view of ours is broken.
    pub async fn of_facts(facts: &Facts, limits: Limits) -> Result<Self, Error> {
        let mut database = Self {
            tables: Vec::new(),
            shared: shared_state(runtime(&limits)?, &limits),
            threads: Threads::new(limits.partitions),
            limits,
            held: Arc::new([&facts.spans[..], &facts.facts, from_ref(&facts.gaps)].concat()),
            merged: merge(facts)?,
            gaps: facts.gaps.clone(),
            traces: facts.traces,
            repeated_spans: facts.repeated_spans,
        };
        let spans = timesink_model::schema::spans::table().schema();
        let facts_schema = timesink_model::schema::facts::table().schema();
        let gaps = timesink_model::schema::gaps::table().schema();
        database.add("spans", Arc::new(spans), facts.spans.clone())?;
        database.add("facts", Arc::new(facts_schema), facts.facts.clone())?;
        database.add("gaps", Arc::new(gaps), split(&facts.gaps, limits.partitions))?;
        database.add_spans_with_facts(merged::schema(), database.merged.clone()).await?;
        Ok(database)
    }

    /// Returns a database of the same data for queries that are known: `spans_with_facts` has only
    /// the columns that one of their texts or a view names, because a plan carries each column of
    /// its tables through all its steps. Each query runs on so many threads.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table or view of ours is broken.
    pub async fn narrowed(
        &self,
        queries: impl IntoIterator<Item = &str>,
        partitions: usize,
    ) -> Result<Self, Error> {
        let texts: Vec<&str> = VIEWS.iter().map(|view| view.sql).chain(queries).collect();
        let named = merged::named_columns(&texts);
        let project = |batch: &RecordBatch| batch.project(&named);
        let batches = self.merged.iter().map(project).collect::<Result<Vec<_>, _>>();
        let schema = merged::schema().project(&named);
        let (batches, schema) = batches
            .and_then(|batches| Ok((batches, schema?)))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let limits = Limits { partitions, ..self.limits };
        let runtime = Arc::clone(self.shared.runtime_env());
        let mut narrowed = Self { shared: shared_state(runtime, &limits), limits, ..self.clone() };
        narrowed.tables.retain(|(name, _)| !is_view(name) && name != SPANS_WITH_FACTS);
        narrowed.add_spans_with_facts(Arc::new(schema), batches).await?;
        Ok(narrowed)
    }

    /// Adds the table that the views read, and the views.
    async fn add_spans_with_facts(
        &mut self,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), Error> {
        self.add(SPANS_WITH_FACTS, schema, batches)?;
        for view in VIEWS {
            self.add_view(view.name, view.sql).await?;
        }
        Ok(())
    }

    /// Returns each span with its facts in one row, in the order in which they came in.
    pub fn spans_with_facts(&self) -> &[RecordBatch] {
        &self.merged
    }

    /// Returns the stretches of entry and INTERNAL spans that no child covers.
    pub fn gaps(&self) -> &RecordBatch {
        &self.gaps
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

    /// Returns a reader with no tables of its own yet.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table cannot be registered.
    pub fn session(&self) -> Result<Session, Error> {
        let session =
            Session::new(&self.shared, self.limits, self.threads.clone(), Arc::clone(&self.held))?;
        for (name, table) in &self.tables {
            session.register_provider(name, Arc::clone(table))?;
        }
        Ok(session)
    }

    /// Adds a table that every later session sees, quarantined spans for example.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when the batches are not of the schema.
    pub fn add(
        &mut self,
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), Error> {
        let table = mem_table(schema, batches, self.limits.partitions)?;
        self.tables.push((name.to_owned(), Arc::new(table)));
        Ok(())
    }

    async fn add_view(&mut self, name: &str, sql: &str) -> Result<(), Error> {
        let plan = self.session()?.plan(sql).await?;
        let view = ViewTable::new(plan, Some(sql.to_owned()));
        self.tables.push((name.to_owned(), Arc::new(view)));
        Ok(())
    }
}

fn is_view(name: &str) -> bool {
    VIEWS.iter().any(|view| view.name == name)
}

pub(crate) fn mem_table(
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    partitions: usize,
) -> Result<MemTable, Error> {
    let mut parts: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions.max(1)];
    for (number, batch) in batches.into_iter().enumerate() {
        parts[number % partitions.max(1)].push(batch);
    }
    MemTable::try_new(schema, parts).map_err(|error| Error::Internal(error.to_string()))
}

fn merge(facts: &Facts) -> Result<Vec<RecordBatch>, Error> {
    let schema = merged::schema();
    let pairs = facts.spans.iter().zip(&facts.facts);
    pairs
        .map(|(spans, facts)| merged::merge(spans, facts, &schema))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Internal(error.to_string()))
}

/// Cuts a batch into slices of even length, one for each thread at least.
fn split(batch: &RecordBatch, parts: usize) -> Vec<RecordBatch> {
    let rows = batch.num_rows();
    let length = rows.div_ceil(parts.max(1)).clamp(1, 8192);
    (0..rows).step_by(length).map(|at| batch.slice(at, length.min(rows - at))).collect()
}

/// Queries hold what they need in memory or fail; nothing is spilled to disk.
fn runtime(limits: &Limits) -> Result<Arc<RuntimeEnv>, Error> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(limits.memory_bytes_max)))
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|error| Error::Internal(error.to_string()))
}
