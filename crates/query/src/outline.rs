//! [`Outline`]: a table in a plan, of which the columns are known and the rows are not yet; and
//! [`Packed`], one whose rows are there, packed.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{
    Result, Statistics, internal_datafusion_err, internal_err, project_schema,
};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, SchedulingType, reset_plan_states,
};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    SendableRecordBatchStream,
};
use futures_util::stream;
use timesink_facts::packed::unpack_batch;

use crate::compact::CompactExec;

/// The rows of a table, a list of batches for each thread.
pub(crate) type Rows = Vec<Vec<RecordBatch>>;

/// Gives each thread about as many batches.
pub(crate) fn partitioned(batches: Vec<RecordBatch>, partitions: usize) -> Rows {
    let mut parts = vec![Vec::new(); partitions.max(1)];
    for (number, batch) in batches.into_iter().enumerate() {
        parts[number % partitions.max(1)].push(batch);
    }
    parts
}

/// A table without rows, to plan queries over it before there are any.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    pub(crate) name: Arc<str>,
    pub(crate) schema: SchemaRef,
    /// About how many rows there will be: a join keeps the smaller side in memory.
    pub(crate) rows: usize,
    pub(crate) partitions: usize,
}

impl Outline {
    /// Returns the columns of a batch that are the table's.
    pub(crate) fn project(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let fields = batch.schema();
        let fields = self.schema.fields().iter().map(|field| fields.index_of(field.name()));
        batch.project(&fields.collect::<Result<Vec<_>, _>>()?)
    }
}

#[async_trait]
impl TableProvider for Outline {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(OutlineExec::new(self.clone(), projection.cloned())?))
    }
}

/// A table whose rows are packed: a query unpacks what it asks for, batch by batch.
#[derive(Debug)]
pub(crate) struct Packed {
    outline: Outline,
    rows: Arc<Rows>,
}

impl Packed {
    /// Takes batches with the columns of a schema, however they are packed.
    pub(crate) fn new(
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
        partitions: usize,
    ) -> Self {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let rows_of = Arc::new(partitioned(batches, partitions));
        let partitions = rows_of.len();
        Self { outline: Outline { name: name.into(), schema, rows, partitions }, rows: rows_of }
    }
}

#[async_trait]
impl TableProvider for Packed {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.outline.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let empty = OutlineExec::new(self.outline.clone(), projection.cloned())?;
        Ok(Arc::new(empty.filled(Arc::clone(&self.rows))))
    }
}

/// The place in a plan where the rows of a table go, and those rows.
#[derive(Debug)]
struct OutlineExec {
    table: Outline,
    projection: Option<Vec<usize>>,
    /// The same with and without rows, so that the plan above need not be looked through again.
    properties: Arc<PlanProperties>,
    rows: Option<Arc<Rows>>,
}

impl OutlineExec {
    fn new(table: Outline, projection: Option<Vec<usize>>) -> Result<Self> {
        let schema = project_schema(&table.schema, projection.as_ref())?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(table.partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = properties.with_scheduling_type(SchedulingType::Cooperative);
        Ok(Self { table, projection, properties: Arc::new(properties), rows: None })
    }

    fn filled(&self, rows: Arc<Rows>) -> Self {
        Self {
            table: self.table.clone(),
            projection: self.projection.clone(),
            properties: Arc::clone(&self.properties),
            rows: Some(rows),
        }
    }
}

impl DisplayAs for OutlineExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "OutlineExec: {}", self.table.name)
    }
}

impl ExecutionPlan for OutlineExec {
    fn name(&self) -> &'static str {
        "OutlineExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(rows) = &self.rows else {
            return internal_err!("the table {} has no rows yet", self.table.name);
        };
        let scan = Scan {
            schema: Arc::clone(self.properties.eq_properties.schema()),
            projection: self.projection.clone(),
            rows_max: context.session_config().batch_size().max(1),
            rows: Arc::clone(rows),
            partition,
            batch: 0,
            row: 0,
        };
        let schema = Arc::clone(&scan.schema);
        let stream = RecordBatchStreamAdapter::new(schema, stream::iter(scan));
        Ok(Box::pin(cooperative(stream)))
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let parts = args.partition().map_or(1, |_| self.table.partitions.max(1));
        let rows = Precision::Inexact(self.table.rows / parts);
        let unknown = Statistics::new_unknown(self.properties.eq_properties.schema());
        Ok(Arc::new(unknown.with_num_rows(rows)))
    }
}

/// Returns the names of the tables whose rows a plan waits for.
pub(crate) fn outlines(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<Arc<str>>> {
    let mut names = Vec::new();
    plan.apply(|node| {
        if let Some(outline) = node.downcast_ref::<OutlineExec>() {
            names.push(Arc::clone(&outline.table.name));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Puts the rows of tables in their places. The plan itself stays as it is, for other rows; what
/// nodes keep from one run to the next, joins their smaller side, the new plan begins without.
pub(crate) fn fill(
    plan: Arc<dyn ExecutionPlan>,
    rows: impl Fn(&str) -> Option<Arc<Rows>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let Some(outline) = node.downcast_ref::<OutlineExec>() else {
            return Ok(Transformed::no(node));
        };
        let name = &outline.table.name;
        let rows = rows(name).ok_or_else(|| internal_datafusion_err!("no table {name}"))?;
        Ok(Transformed::yes(Arc::new(outline.filled(rows)) as Arc<dyn ExecutionPlan>))
    })
    .data()
    .and_then(reset_plan_states)
}

/// The rows of a partition in slices that are no longer than the engine's own batches, unpacked as
/// they are asked for.
struct Scan {
    schema: SchemaRef,
    projection: Option<Vec<usize>>,
    rows_max: usize,
    rows: Arc<Rows>,
    partition: usize,
    batch: usize,
    row: usize,
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let batch = self.rows[self.partition].get(self.batch)?;
            let rows = self.rows_max.min(batch.num_rows() - self.row);
            if rows > 0 {
                let slice = self.unpacked(batch, rows);
                self.row += rows;
                return Some(slice);
            }
            (self.batch, self.row) = (self.batch + 1, 0);
        }
    }
}

impl Scan {
    /// Returns the next rows. Projected first: slicing counts the NULLs of every column.
    fn unpacked(&self, batch: &RecordBatch, rows: usize) -> Result<RecordBatch> {
        let projected = match &self.projection {
            Some(columns) => batch.project(columns)?,
            None => batch.clone(),
        };
        let slice = match self.row {
            0 if rows == batch.num_rows() => projected,
            row => projected.slice(row, rows),
        };
        Ok(unpack_batch(&slice, &self.schema)?)
    }
}

/// Suits a node to tables in memory, and to limits of memory and time.
///
/// What a filter keeps goes on as it is: the engine would gather it into larger batches and copy
/// every text for that, which takes longer than small batches do, and far more memory.
pub(crate) fn suited(node: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(filter) = node.downcast_ref::<FilterExec>()
        && filter.fetch().is_none()
    {
        return Ok(Transformed::yes(Arc::new(filter.with_batch_size(1)?)));
    }
    let is_join = node.children().len() > 1;
    Ok(if is_join {
        Transformed::yes(Arc::new(CompactExec::new(node)))
    } else {
        Transformed::no(node)
    })
}
