//! [`Answer`]: the rows of a plan, collected under limits.

use std::future::poll_fn;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use timesink_facts::packed::pack_batch;

use crate::{Error, Limits};

/// The rows of a plan, and the memory that counts for them as long as they are there.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) memory: MemoryReservation,
}

impl Answer {
    /// Runs a plan. What its rows share with `tables` counts for nobody. Rows beyond `plain_max`
    /// are packed.
    pub(crate) async fn collect<'t>(
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        tables: impl Iterator<Item = &'t RecordBatch>,
        plain_max: usize,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let failed = |error: DataFusionError| Error::of_running(&error, limits.memory_bytes_max);
        let mut counter = RecordBatchMemoryCounter::new();
        for batch in tables {
            counter.count_batch(batch);
        }
        let consumer = MemoryConsumer::new("rows of the answer");
        let memory = consumer.register(&context.runtime_env().memory_pool);
        let mut stream = execute_stream(plan, context).map_err(failed)?;
        let mut answer = Self { schema: stream.schema(), batches: Vec::new(), memory };
        let mut rows = 0;
        while let Some(batch) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
            let batch = batch.map_err(failed)?;
            rows += batch.num_rows();
            if rows > limits.rows_max {
                return Err(Error::Rows(limits.rows_max));
            }
            if batch.num_rows() > 0 {
                let batch = if rows > plain_max { pack_batch(&batch) } else { Ok(batch) };
                let batch = batch.map_err(|error| failed(error.into()))?;
                answer.memory.try_grow(counter.count_batch(&batch)).map_err(failed)?;
                answer.batches.push(batch);
            }
        }
        Ok(answer)
    }
}
