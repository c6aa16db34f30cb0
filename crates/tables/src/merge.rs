//! [`merge`]: sorted files, or row groups that are, into one sorted row of batches, in bounded
//! memory.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, Rows as Keys, SortField};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use timesink_store::{Place, arrange};

use crate::file::{Refused, named};
use crate::snapshot::Rows;
use crate::table::Layout;

/// Rows of each part that are held at a time, at most.
const BATCH_ROWS: usize = 4096;

/// Bytes of all parts that are held at a time, about: of rows that are large there are fewer.
const HELD_BYTES: i64 = 128 << 20;

/// What is sorted for itself: a file, or a row group of one.
pub(crate) type Part = (Bytes, Rows);

/// A part that is being read, at a row.
struct Input {
    reader: ParquetRecordBatchReader,
    schema: SchemaRef,
    sorted_by: &'static [&'static str],
    converter: RowConverter,
    batch: RecordBatch,
    keys: Keys,
    row: usize,
}

impl Input {
    /// Opens one of so many parts; `None` when it has no rows.
    fn open(
        layout: &Layout,
        schema: &SchemaRef,
        part: Part,
        parts: usize,
    ) -> Result<Option<Self>, Refused> {
        let reader = reader(part)?;
        let rows = batch_rows(reader.metadata(), parts);
        let reader = reader.with_batch_size(rows).build()?;
        let field =
            |name: &&str| Ok(SortField::new(schema.field_with_name(name)?.data_type().clone()));
        let fields = layout.sorted_by.iter().map(field).collect::<Result<Vec<_>, Refused>>()?;
        let converter = RowConverter::new(fields)?;
        let keys = converter.empty_rows(0, 0);
        let (schema, sorted_by) = (Arc::clone(schema), layout.sorted_by);
        let batch = RecordBatch::new_empty(Arc::clone(&schema));
        let mut input = Self { reader, schema, sorted_by, converter, batch, keys, row: 0 };
        Ok(input.advance()?.then_some(input))
    }

    /// Reads the next rows; returns whether there are any.
    fn advance(&mut self) -> Result<bool, Refused> {
        let Some(batch) = self.reader.next().transpose()? else { return Ok(false) };
        self.batch = fitted(&batch, &self.schema)?;
        let columns = self.sorted_by.iter().map(|name| named(&self.batch, name).map(Arc::clone));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let last = self.keys.num_rows().checked_sub(1).map(|last| self.keys.row(last).owned());
        self.keys = self.converter.convert_columns(&columns)?;
        self.row = 0;
        // Of what another program wrote a name may say too much.
        let is_behind = last.is_none_or(|last| last.row() <= self.keys.row(0));
        if !is_behind || !self.keys.iter().is_sorted() {
            return Err(ParquetError::General("its rows are not in order".to_owned()).into());
        }
        Ok(true)
    }

    fn key(&self) -> arrow::row::Row<'_> {
        self.keys.row(self.row)
    }
}

fn reader((file, rows): Part) -> Result<ParquetRecordBatchReaderBuilder<Bytes>, Refused> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?;
    Ok(match rows {
        Rows::OfGroup(group) => reader.with_row_groups(vec![group]),
        _ => reader,
    })
}

/// Returns how many rows of one of so many parts are held at a time.
fn batch_rows(file: &ParquetMetaData, parts: usize) -> usize {
    let bytes: i64 = file.row_groups().iter().map(RowGroupMetaData::total_byte_size).sum();
    let each = bytes / file.file_metadata().num_rows().max(1);
    let of_part = HELD_BYTES / parts.max(1) as i64;
    (of_part / each.max(1)).clamp(1, BATCH_ROWS as i64) as usize
}

/// Returns rows with the columns of a table: those of an older version lack some, which are NULL.
pub(crate) fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Refused> {
    let column = |field: &arrow::datatypes::FieldRef| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    };
    let columns = schema.fields().iter().map(column).collect();
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// Gives the rows of sorted parts to `write`, sorted. Of a table that is not sorted, one part after
/// the other.
pub(crate) fn merge(
    layout: &Layout,
    schema: &SchemaRef,
    parts: Vec<Part>,
    mut write: impl FnMut(&RecordBatch) -> Result<(), Refused>,
) -> Result<(), Refused> {
    if layout.sorted_by.is_empty() {
        for part in parts {
            for batch in reader(part)?.build()? {
                write(&fitted(&batch?, schema)?)?;
            }
        }
        return Ok(());
    }
    let count = parts.len();
    let inputs = parts.into_iter().map(|part| Input::open(layout, schema, part, count));
    let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    let mut inputs: Vec<Input> = inputs.into_iter().flatten().collect();
    let mut taken: Vec<Place> = Vec::new();
    while let Some(first) = least(&inputs, None) {
        let next = least(&inputs, Some(first)).map(|next| inputs[next].key().owned());
        let input = &mut inputs[first];
        // A trace lies in one file for the most part.
        while input.row < input.batch.num_rows()
            && next.as_ref().is_none_or(|next| input.key() <= next.row())
        {
            taken.push((first, input.row));
            input.row += 1;
        }
        let is_read = input.row == input.batch.num_rows();
        if is_read || taken.len() >= BATCH_ROWS {
            let batches: Vec<RecordBatch> =
                inputs.iter().map(|input| input.batch.clone()).collect();
            write(&arrange(schema, &batches, &taken)?)?;
            taken.clear();
        }
        if is_read && !inputs[first].advance()? {
            inputs.swap_remove(first);
        }
    }
    Ok(())
}

/// Returns the input with the least key, but for one.
fn least(inputs: &[Input], but: Option<usize>) -> Option<usize> {
    let others = (0..inputs.len()).filter(|at| Some(*at) != but);
    others.min_by(|a, b| inputs[*a].key().cmp(&inputs[*b].key()))
}
