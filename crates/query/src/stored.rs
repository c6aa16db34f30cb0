//! [`StoredDatabase`]: tables whose rows are read where they lie, without the trace pass.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Field, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session as Planning, TableProvider};
use datafusion::common::pruning::PrunableStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, Result, ScalarValue, Statistics};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use serde_json::Value;
use timesink_model::schema::{facts, findings, gaps, quarantine, spans};
use timesink_tables::{Layout, LiveFile, Snapshot};

use crate::Error;
use crate::database::{Limits, runtime};
use crate::merged::SPANS_WITH_FACTS;
use crate::outline::partitioned;
use crate::session::{Session, shared_state};
use crate::text::{has_wildcard, words};
use crate::threads::Threads;
use crate::views::VIEWS;

/// What the name of a time in nanoseconds ends with, beside which the same time is a timestamp.
const NANOS: &str = "_unix_nano";

/// Files a thread, each read from its begin to its end: with more of them each thread reads one
/// after the other, in no order. Of a file that is read some 5 MiB are held.
const ORDERED_FILES_MAX: usize = 8;

/// A table at one moment: its files, and rows that are in none of them yet.
#[derive(Debug)]
pub struct StoredTable {
    /// What a query calls it.
    pub name: &'static str,
    /// How rows lie in its files.
    pub layout: Layout,
    pub snapshot: Snapshot,
    /// With the table's columns.
    pub behind: Vec<RecordBatch>,
}

/// Tables that are read where they lie, as far as a query needs them: by time, service and trace id
/// files are passed by, and parts of files.
#[derive(Debug)]
pub struct StoredDatabase {
    state: SessionState,
    limits: Limits,
    threads: Threads,
    tables: Vec<(&'static str, Arc<Provider>)>,
    held: Arc<Vec<RecordBatch>>,
}

impl StoredDatabase {
    /// Returns which tables a query reads if all of them, and all their columns, are stored. Where
    /// its words leave that open, by a column that is named like another table for example, it
    /// returns none.
    pub fn tables_for(query: &str) -> Vec<&'static str> {
        let Ok(words) = words(query) else { return Vec::new() };
        let is_named = |name: &str| words.contains(name);
        let views = VIEWS.iter().map(|view| view.name);
        let mut made = [SPANS_WITH_FACTS, "information_schema"].into_iter().chain(views);
        if made.any(is_named) {
            return Vec::new();
        }
        let mut names = vec![spans::table().name, quarantine::table().name, findings::table().name];
        names.retain(|name| is_named(name));
        let walked = [
            (facts::table().name, &facts::PROCESS_WIDE[..]),
            (gaps::table().name, &gaps::PROCESS_WIDE[..]),
        ];
        for (name, unstored) in walked.into_iter().filter(|(name, _)| is_named(name)) {
            if unstored.iter().any(|column| is_named(column)) || has_wildcard(query) {
                return Vec::new();
            }
            names.push(name);
        }
        names
    }

    /// Makes a database of tables. Their rows are looked at with each query.
    ///
    /// # Errors
    ///
    /// [`Error::Execution`] when a table's log cannot be read, [`Error::Internal`] when a table of
    /// ours is broken.
    pub fn new(tables: Vec<StoredTable>, limits: Limits) -> Result<Self, Error> {
        let state = shared_state(runtime(&limits)?, &limits);
        let held = tables.iter().flat_map(|table| table.behind.iter().cloned()).collect();
        let mut providers = Vec::new();
        for table in tables {
            let name = table.name;
            let location = ObjectStoreUrl::parse(format!("table://{name}"));
            let location = location.map_err(|error| Error::Internal(error.to_string()))?;
            let store = table.snapshot.store();
            state.runtime_env().register_object_store(location.as_ref(), store);
            providers.push((name, Arc::new(Provider::new(table, location)?)));
        }
        let threads = Threads::new(limits.partitions);
        Ok(Self { state, limits, threads, tables: providers, held: Arc::new(held) })
    }

    /// Returns a reader for any query.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table of ours is broken.
    pub fn session(&self) -> Result<Session, Error> {
        let held = Arc::clone(&self.held);
        let session = Session::new(&self.state, self.limits, self.threads.clone(), held)?;
        for (name, table) in &self.tables {
            session.register_provider(name, Arc::clone(table) as Arc<dyn TableProvider>)?;
        }
        Ok(session)
    }
}

/// One table, as the engine asks for it.
#[derive(Debug)]
struct Provider {
    schema: SchemaRef,
    /// The order of the rows of a file.
    order: Option<LexOrdering>,
    location: ObjectStoreUrl,
    files: Vec<File>,
    behind: Vec<RecordBatch>,
}

#[derive(Debug, Clone)]
struct File {
    file: PartitionedFile,
    /// Whether all its rows are, and not only those of each row group.
    is_sorted: bool,
}

impl File {
    fn new(schema: &SchemaRef, file: &LiveFile) -> Self {
        let statistics = Arc::new(statistics(schema, file));
        let of_engine = PartitionedFile::new(file.path.as_str(), file.bytes);
        Self { file: of_engine.with_statistics(statistics), is_sorted: file.is_sorted() }
    }
}

impl Provider {
    fn new(table: StoredTable, location: ObjectStoreUrl) -> Result<Self, Error> {
        let schema = table.snapshot.schema();
        let files = table.snapshot.files().map_err(|error| Error::Execution(error.to_string()))?;
        let files = files.iter().map(|file| File::new(&schema, file));
        let order = order(&schema, table.layout.sorted_by);
        let order = order.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self { files: files.collect(), schema, order, location, behind: table.behind })
    }

    /// Returns the files that can hold rows for which filters are true.
    fn files(&self, state: &dyn Planning, filters: &[Expr]) -> Result<Vec<File>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(self.files.clone());
        };
        let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
        let filter = state.create_physical_expr(filter, &columns)?;
        let predicate = PruningPredicateBuilder::new();
        let predicate = predicate.with_file_schema(Arc::clone(&self.schema)).try_build(filter)?;
        let statistics = self.files.iter().filter_map(|file| file.file.statistics.clone());
        let statistics = PrunableStatistics::new(statistics.collect(), Arc::clone(&self.schema));
        let kept = predicate.prune(&statistics)?;
        let files = self.files.iter().zip(kept).filter(|(_, is_kept)| *is_kept);
        Ok(files.map(|(file, _)| file.clone()).collect())
    }

    fn scan_files(
        &self,
        files: Vec<File>,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
        partitions: usize,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut options = TableParquetOptions::default();
        options.global.pushdown_filters = true;
        options.global.reorder_filters = true;
        let source = ParquetSource::new(Arc::clone(&self.schema));
        let source = Arc::new(source.with_table_parquet_options(options));
        let rows = files.iter().filter_map(|file| file.file.statistics.as_deref());
        let rows = Statistics::try_merge_iter(rows, &self.schema)?;
        // Rows of a file come in its order: traces are then told apart without a table of them.
        let is_ordered = files.len() <= partitions * ORDERED_FILES_MAX
            && files.iter().all(|file| file.is_sorted);
        let order = self.order.iter().filter(|_| is_ordered).cloned().collect();
        let groups = if is_ordered { files.len() } else { partitions };
        let files = files.into_iter().map(|file| file.file);
        let scan = FileScanConfigBuilder::new(self.location.clone(), source)
            .with_file_groups(FileGroup::new(files.collect()).split_files(groups))
            .with_output_ordering(order)
            .with_statistics(rows)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }
}

#[async_trait]
impl TableProvider for Provider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// What files cannot tell is looked at row by row.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Planning,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions();
        // A limit holds for the rows that filters leave.
        let limit = limit.filter(|_| filters.is_empty());
        let mut parts = Vec::new();
        let files = self.files(state, filters)?;
        if !files.is_empty() {
            parts.push(self.scan_files(files, projection, limit, partitions)?);
        }
        if !self.behind.is_empty() || parts.is_empty() {
            let rows = partitioned(self.behind.clone(), partitions);
            let schema = Arc::clone(&self.schema);
            let rows = MemorySourceConfig::try_new_exec(&rows, schema, projection.cloned())?;
            parts.push(rows);
        }
        match <[_; 1]>::try_from(parts) {
            Ok([part]) => Ok(part),
            Err(parts) => UnionExec::try_new(parts),
        }
    }
}

/// Returns an order by columns, the least first.
fn order(schema: &SchemaRef, sorted_by: &[&str]) -> Result<Option<LexOrdering>> {
    let columns = sorted_by.iter().map(|name| {
        let column = Column::new_with_schema(name, schema)?;
        Ok(PhysicalSortExpr::new(Arc::new(column), SortOptions::new(false, false)))
    });
    Ok(LexOrdering::new(columns.collect::<Result<Vec<_>>>()?))
}

/// Returns what the table's log says of a file. Its numbers are exact: they were counted as it was
/// written.
fn statistics(schema: &SchemaRef, file: &LiveFile) -> Statistics {
    let columns = schema.fields().iter().map(|field| column(field, file));
    let rows = file.rows.map_or(Precision::Absent, |rows| Precision::Exact(rows as usize));
    Statistics {
        num_rows: rows,
        total_byte_size: Precision::Inexact(file.bytes as usize),
        column_statistics: columns.collect(),
    }
}

fn column(field: &Field, file: &LiveFile) -> ColumnStatistics {
    let unknown = ColumnStatistics::new_unknown();
    let of_nanos = || file.bounds.get(&format!("{}{NANOS}", field.name()));
    let Some(bounds) = file.bounds.get(field.name()).or_else(of_nanos) else { return unknown };
    let value = |value: &Value| scalar(field.data_type(), value);
    let (Some(least), Some(greatest)) = (value(&bounds.least), value(&bounds.greatest)) else {
        return unknown;
    };
    unknown
        .with_min_value(Precision::Exact(least))
        .with_max_value(Precision::Exact(greatest))
        .with_null_count(Precision::Exact(bounds.nulls as usize))
}

fn scalar(data_type: &DataType, value: &Value) -> Option<ScalarValue> {
    match data_type {
        DataType::Int64 => value.as_i64().map(|number| ScalarValue::Int64(Some(number))),
        DataType::Utf8View => value.as_str().map(|text| ScalarValue::Utf8View(Some(text.into()))),
        // The time in nanoseconds beside it is cut to microseconds, as each row's is.
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone) => {
            let micros = value.as_i64()? / 1000;
            Some(ScalarValue::TimestampMicrosecond(Some(micros), zone.clone()))
        }
        _ => None,
    }
}
