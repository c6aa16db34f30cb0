//! [`Session`]: one reader of a [`crate::Database`], with tables of its own.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, TableProvider,
};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::Error;
use crate::database::{Limits, mem_table};

/// Returns what all sessions of a database share: functions, the planner's rules, the runtime.
pub(crate) fn shared_state(runtime: Arc<RuntimeEnv>, limits: &Limits) -> SessionState {
    let config = SessionConfig::new()
        .with_target_partitions(limits.partitions)
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true);
    SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build()
}

/// A reader: queries only, under limits.
pub struct Session {
    context: SessionContext,
    limits: Limits,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a reader without tables.
    pub(crate) fn new(shared: &SessionState, limits: Limits) -> Result<Self, Error> {
        let mut state = shared.clone();
        let names = state.config_options().catalog.clone();
        let catalog = MemoryCatalogProvider::new();
        catalog
            .register_schema(&names.default_schema, Arc::new(MemorySchemaProvider::new()))
            .map_err(|error| Error::Internal(error.to_string()))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(names.default_catalog, Arc::new(catalog));
        state.register_catalog_list(Arc::new(catalogs));
        Ok(Self { context: SessionContext::new_with_state(state), limits })
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
    /// [`Error::Query`] and [`Error::ReadOnly`] when the text is no query over these tables, the
    /// other variants when it reaches a limit or fails while it runs.
    pub async fn query(&self, sql: &str) -> Result<QueryResult, Error> {
        let plan = self.plan(sql).await?;
        let run = self.run(plan);
        match tokio::time::timeout(self.limits.time_max, run).await {
            Ok(result) => result,
            Err(_) => Err(Error::Time(self.limits.time_max)),
        }
    }

    pub(crate) async fn plan(&self, sql: &str) -> Result<LogicalPlan, Error> {
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

    async fn run(&self, plan: LogicalPlan) -> Result<QueryResult, Error> {
        let failed =
            |error: DataFusionError| Error::of_running(&error, self.limits.memory_bytes_max);
        let frame = self
            .context
            .execute_logical_plan(plan)
            .await
            .map_err(|error| Error::of_planning(&error))?;
        let stream = frame.execute_stream().await.map_err(failed)?;
        let schema = stream.schema();
        let batches = self.collect(stream).await?;
        Ok(QueryResult { schema, batches })
    }

    async fn collect(
        &self,
        mut stream: SendableRecordBatchStream,
    ) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        let mut rows = 0;
        while let Some(batch) = futures_next(&mut stream).await {
            let batch = batch.map_err(|e| Error::of_running(&e, self.limits.memory_bytes_max))?;
            rows += batch.num_rows();
            if rows > self.limits.rows_max {
                return Err(Error::Rows(self.limits.rows_max));
            }
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        Ok(batches)
    }
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
