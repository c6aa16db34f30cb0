//! [`Answer`]: the rows of a plan, collected under limits.

use std::future::poll_fn;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use timesink_facts::packed::pack_batch;
use timesink_shards::Spill;

use crate::session::BATCH_ROWS;
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
        let mut counter = counter_behind(tables);
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

    /// Runs a plan and puts its rows, packed, into a temporary file.
    pub(crate) async fn spilled(
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let failed = |error: DataFusionError| Error::of_running(&error, limits.memory_bytes_max);
        let memory = MemoryConsumer::new("rows on disk");
        let memory = memory.register(&context.runtime_env().memory_pool);
        let mut stream = execute_stream(plan, context).map_err(failed)?;
        let schema = stream.schema();
        let mut spill = Spill::new()?;
        let mut write = |small: &mut Vec<RecordBatch>| {
            let joined = concat(small, &schema).map_err(|error| failed(error.into()))?;
            joined.map_or(Ok(()), |batch| spill.write_packed(&batch).map_err(Error::from))
        };
        let (mut small, mut rows) = (Vec::new(), 0);
        while let Some(batch) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
            let batch = batch.map_err(failed)?;
            rows += batch.num_rows();
            if batch.num_rows() > 0 {
                small.push(batch);
            }
            if rows >= BATCH_ROWS {
                write(&mut small)?;
                rows = 0;
            }
        }
        write(&mut small)?;
        Ok(Self { batches: spill.batches()?, schema, memory })
    }

    /// Joins small batches: a filter leaves of each batch whatever it keeps. `tables` as before.
    pub(crate) fn join<'t>(
        &mut self,
        tables: impl Iterator<Item = &'t RecordBatch>,
        limits: &Limits,
    ) -> Result<(), Error> {
        let joined = joined(std::mem::take(&mut self.batches), &self.schema);
        self.batches = joined.map_err(|error| Error::Internal(error.to_string()))?;
        let mut counter = counter_behind(tables);
        let bytes = self.batches.iter().map(|batch| counter.count_batch(batch)).sum();
        let resized = self.memory.try_resize(bytes);
        resized.map_err(|error| Error::of_running(&error, limits.memory_bytes_max))
    }
}

/// Returns a counter that counts nothing of what is in `tables`.
fn counter_behind<'t>(tables: impl Iterator<Item = &'t RecordBatch>) -> RecordBatchMemoryCounter {
    let mut counter = RecordBatchMemoryCounter::new();
    for batch in tables {
        counter.count_batch(batch);
    }
    counter
}

/// Joins batches that follow each other, as far as they are not packed. Texts of views are not
/// copied.
fn joined(batches: Vec<RecordBatch>, schema: &SchemaRef) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut joined = Vec::new();
    let mut small: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in batches {
        let is_packed = batch.schema_ref() != schema;
        if is_packed || rows + batch.num_rows() > BATCH_ROWS {
            joined.extend(concat(&mut small, schema)?);
            rows = 0;
        }
        if is_packed {
            joined.push(batch);
        } else {
            rows += batch.num_rows();
            small.push(batch);
        }
    }
    joined.extend(concat(&mut small, schema)?);
    Ok(joined)
}

fn concat(
    batches: &mut Vec<RecordBatch>,
    schema: &SchemaRef,
) -> Result<Option<RecordBatch>, ArrowError> {
    let batches = std::mem::take(batches);
    if batches.len() < 2 {
        Ok(batches.into_iter().next())
    } else {
        concat_batches(schema, &batches).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, NullArray, StringViewArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn batch(numbers: std::ops::Range<i64>) -> RecordBatch {
        let texts = numbers.clone().map(|number| Some(format!("a text of its own, {number}")));
        let texts: ArrayRef = Arc::new(texts.collect::<StringViewArray>());
        let numbers: ArrayRef = Arc::new(arrow::array::Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("number", numbers), ("text", texts)]).unwrap()
    }

    #[test]
    fn small_batches_are_joined_in_their_order() {
        let rows = BATCH_ROWS as i64;
        let batches = vec![batch(0..3), batch(3..5), batch(5..rows), batch(rows..rows + 1)];
        let joined = joined(batches.clone(), &batches[0].schema()).unwrap();
        let rows_of: Vec<usize> = joined.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows_of, [BATCH_ROWS, 1]);
        let numbers = joined[0].column(0).as_primitive::<Int64Type>().values();
        assert!(numbers.iter().copied().eq(0..rows));
        assert_eq!(joined[0].column(1).as_string_view().value(4), "a text of its own, 4");
    }

    #[test]
    fn packed_batches_stay_as_they_are() {
        let packed: ArrayRef = Arc::new(NullArray::new(2));
        let packed = RecordBatch::try_from_iter([("number", packed)]).unwrap();
        let plain = batch(0..3);
        let batches = vec![plain.clone(), packed.clone(), packed, plain];
        assert_eq!(joined(batches.clone(), &batches[0].schema()).unwrap(), batches);
    }
}
