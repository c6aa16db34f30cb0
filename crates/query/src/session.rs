//! [`Session`]: one reader of a [`crate::Database`], with tables of its own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider,
};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::Error;
use crate::database::{Limits, mem_table};
use crate::text;
use crate::threads::Threads;

/// Rows of a batch. Memory is counted by the batch, so that fewer rows overshoot the limit by less;
/// rules run as fast as with more.
const BATCH_ROWS: usize = 2048;

/// Returns what all sessions of a database share: functions, the planner's rules, the runtime.
pub(crate) fn shared_state(runtime: Arc<RuntimeEnv>, limits: &Limits) -> SessionState {
    let config = SessionConfig::new()
        .with_target_partitions(limits.partitions)
        .with_batch_size(BATCH_ROWS)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build()
}

/// A reader: queries only, under limits.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    limits: Limits,
    threads: Threads,
    /// The rows of the tables, which count for no query.
    tables: Arc<Vec<RecordBatch>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a reader without tables.
    pub(crate) fn new(
        shared: &SessionState,
        limits: Limits,
        threads: Threads,
        tables: Arc<Vec<RecordBatch>>,
    ) -> Result<Self, Error> {
        let mut state = shared.clone();
        let names = state.config_options().catalog.clone();
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new()))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(names.default_catalog, Arc::new(catalog));
        state.register_catalog_list(Arc::new(catalogs));
        let context = SessionContext::new_with_state(state);
        Ok(Self { context, limits, threads, tables })
    }

    pub(crate) fn register_provider(
        &self,
        name: &str,
        table: Arc<dyn TableProvider>,
    ) -> Result<(), Error> {
        self.context
            .register_table(name, table)
            .map(|_| ())
            .map_err(|error| Error::Internal(error.to_string()))
    }

    /// Adds a table that only this session sees, a rule's `params` for example.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when the batches are not of the schema or the name is taken.
    pub fn register(
        &self,
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), Error> {
        let table = mem_table(schema, batches, self.limits.partitions)?;
        self.register_provider(name, Arc::new(table))
    }

    /// Runs one query and returns all its rows.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Length`] and [`Error::ReadOnly`] when the text is no query over
    /// these tables, the other variants when it reaches a limit or fails while it runs.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, Error> {
        let (session, sql) = (self.clone(), sql.to_owned());
        let work = async move {
            let plan = session.plan(&sql).await?;
            session.answer(plan).await
        };
        self.threads.run(work, self.limits.partitions, self.limits.time_max).await
    }

    pub(crate) async fn plan(&self, sql: &str) -> Result<LogicalPlan, Error> {
        text::check(sql)?;
        let state = self.context.state();
        let plan =
            state.create_logical_plan(sql).await.map_err(|error| Error::of_planning(&error))?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only.verify_plan(&plan).map_err(|error| Error::ReadOnly(error.strip_backtrace()))?;
        Ok(plan)
    }

    async fn answer(&self, plan: LogicalPlan) -> Result<QueryResult, Error> {
        let frame = self
            .context
            .execute_logical_plan(plan)
            .await
            .map_err(|error| Error::of_planning(&error))?;
        let plan = frame.create_physical_plan().await.map_err(|error| self.failed(&error))?;
        let plan = yielding(plan).map_err(|error| self.failed(&error))?;
        let stream = execute_stream(plan, self.context.task_ctx());
        let stream = stream.map_err(|error| self.failed(&error))?;
        let schema = stream.schema();
        let batches = self.collect(stream).await?;
        Ok(QueryResult { schema, batches })
    }

    async fn collect(
        &self,
        mut stream: SendableRecordBatchStream,
    ) -> Result<Vec<RecordBatch>, Error> {
        let mut held = Held::new(self);
        let mut batches = Vec::new();
        let mut rows = 0;
        while let Some(batch) = futures_next(&mut stream).await {
            let batch = batch.map_err(|error| self.failed(&error))?;
            rows += batch.num_rows();
            if rows > self.limits.rows_max {
                return Err(Error::Rows(self.limits.rows_max));
            }
            if batch.num_rows() > 0 {
                held.add(&batch).map_err(|error| self.failed(&error))?;
                batches.push(batch);
            }
        }
        Ok(batches)
    }

    fn failed(&self, error: &DataFusionError) -> Error {
        Error::of_running(error, self.limits.memory_bytes_max)
    }
}

/// The memory of the rows that a query has answered with so far.
struct Held {
    counter: RecordBatchMemoryCounter,
    reservation: MemoryReservation,
}

impl Held {
    fn new(session: &Session) -> Self {
        let mut counter = RecordBatchMemoryCounter::new();
        for batch in session.tables.iter() {
            counter.count_batch(batch);
        }
        let pool = &session.context.runtime_env().memory_pool;
        Self { counter, reservation: MemoryConsumer::new("rows of the answer").register(pool) }
    }

    /// Counts what the batch shares neither with the tables nor with a batch before.
    fn add(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        self.reservation.try_grow(self.counter.count_batch(batch))
    }
}

/// Lets joins give way to others after some batches. The engine's own yield points are at the
/// leaves; a join makes any number of rows of few leaves, and could not be stopped meanwhile.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    plan.transform_up(|node| {
        let is_join = node.children().len() > 1;
        Ok(if is_join {
            Transformed::yes(Arc::new(CooperativeExec::new(node)))
        } else {
            Transformed::no(node)
        })
    })
    .data()
}

async fn futures_next(
    stream: &mut SendableRecordBatchStream,
) -> Option<Result<RecordBatch, DataFusionError>> {
    std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await
}

/// The rows of a query, with their schema even when there are none.
#[derive(Debug, Clone)]
pub struct QueryResult {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}
