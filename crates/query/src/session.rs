//! [`Session`]: one reader of a [`crate::Database`], with tables of its own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider,
};
use datafusion::common::TableReference;
use datafusion::common::tree_node::{TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::Error;
use crate::answer::Answer;
use crate::database::{Limits, mem_table};
use crate::outline::{Outline, suited};
use crate::text;
use crate::threads::Threads;

/// Rows of a batch. What a node does once a batch, compiling a pattern for example, is done less
/// often with more of them; memory is counted once a batch was made, and its limit is passed by
/// less with fewer.
pub(crate) const BATCH_ROWS: usize = 8192;

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

/// Returns the state with a catalog of its own, which is empty.
fn with_catalog(shared: &SessionState) -> Result<SessionState, Error> {
    let mut state = shared.clone();
    let names = state.config_options().catalog.clone();
    let catalog = MemoryCatalogProvider::new();
    catalog
        .register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new()))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(names.default_catalog, Arc::new(catalog));
    state.register_catalog_list(Arc::new(catalogs));
    Ok(state)
}

/// Returns the state with a catalog of these tables.
pub(crate) fn with_tables(
    shared: &SessionState,
    tables: impl Iterator<Item = Outline>,
) -> Result<SessionState, Error> {
    let state = with_catalog(shared)?;
    for table in tables {
        let name = table.name.to_string();
        state
            .schema_for_ref(TableReference::bare(name.clone()))
            .and_then(|schema| schema.register_table(name, Arc::new(table)))
            .map_err(|error| Error::Internal(error.to_string()))?;
    }
    Ok(state)
}

/// Refuses what is no query.
pub(crate) fn check_read_only(plan: &LogicalPlan) -> Result<(), Error> {
    let read_only =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(plan).map_err(|error| Error::ReadOnly(error.strip_backtrace()))
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
        let state = with_catalog(shared)?;
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

    /// Returns the columns of a query, which is not run.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Length`] and [`Error::ReadOnly`] when the text is no query over
    /// these tables.
    pub async fn schema(&self, sql: &str) -> Result<SchemaRef, Error> {
        Ok(Arc::clone(self.plan(sql).await?.schema().inner()))
    }

    pub(crate) async fn plan(&self, sql: &str) -> Result<LogicalPlan, Error> {
        text::check(sql)?;
        let state = self.context.state();
        let plan =
            state.create_logical_plan(sql).await.map_err(|error| Error::of_planning(&error))?;
        check_read_only(&plan)?;
        Ok(plan)
    }

    async fn answer(&self, plan: LogicalPlan) -> Result<QueryResult, Error> {
        let frame = self
            .context
            .execute_logical_plan(plan)
            .await
            .map_err(|error| Error::of_planning(&error))?;
        let plan = frame.create_physical_plan().await.map_err(|error| self.failed(&error))?;
        let plan = plan.transform_up(suited).data().map_err(|error| self.failed(&error))?;
        let context = self.context.task_ctx();
        let answer =
            Answer::collect(plan, context, self.tables.iter(), usize::MAX, &self.limits).await?;
        Ok(QueryResult { schema: answer.schema, batches: answer.batches })
    }

    fn failed(&self, error: &DataFusionError) -> Error {
        Error::of_running(error, self.limits.memory_bytes_max)
    }
}

/// The rows of a query, with their schema even when there are none.
#[derive(Debug, Clone)]
pub struct QueryResult {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
}
