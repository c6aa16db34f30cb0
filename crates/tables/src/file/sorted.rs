//! [`write`]: rows of many batches as one file, a column at a time.
//!
//! A column's values are read, put in order and encoded while the processor has them at hand, and
//! only one column at a time takes memory. Row by row, each line of memory would be fetched again
//! and again, and what all columns have encoded would be held until the row group is whole.

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::{Field, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use timesink_store::{Place, arrange_column};

use super::told::Told;
use super::{ROW_GROUP_ROWS, Refused, writer};
use crate::table::Layout;

/// Values that are put in order at a time.
const WRITTEN_ROWS: usize = 1 << 14;

/// Returns rows of batches, in the order given, as a file, and what the table's log says of it.
pub(super) fn write(
    layout: &Layout,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: &[Place],
) -> Result<(Vec<u8>, String), Refused> {
    let mut told = Told::new(layout);
    told.rows = rows.len();
    let (mut file, groups) = writer(layout, schema)?.into_serialized_writer()?;
    // All of a size: a row group that is as small as a rest tells and packs little.
    let each = rows.len().div_ceil(rows.len().div_ceil(ROW_GROUP_ROWS).max(1)).max(1);
    for (number, rows) in rows.chunks(each).enumerate() {
        let mut group = file.next_row_group()?;
        let mut writers = groups.create_column_writers(number)?.into_iter();
        for (at, field) in schema.fields().iter().enumerate() {
            let column = Column::new(field, batches, at, rows.len())?;
            let mut own: Vec<ArrowColumnWriter> = Vec::new();
            for rows in rows.chunks(WRITTEN_ROWS) {
                let values = column.arranged(rows)?;
                told.widen(field.name(), &values);
                // A map is two columns of the file.
                let leaves = compute_leaves(field, &values)?;
                let missing = leaves.len() - own.len();
                own.extend(writers.by_ref().take(missing));
                for (writer, leaf) in own.iter_mut().zip(&leaves) {
                    writer.write(leaf)?;
                }
            }
            for writer in own {
                writer.close()?.append_to_row_group(&mut group)?;
            }
        }
        group.close()?;
    }
    Ok((file.into_inner()?, told.statistics()))
}

/// A column of some batches.
enum Column<'b> {
    /// So many rows of it at most are asked for.
    AllNull(ArrayRef),
    Of(Vec<&'b dyn Array>),
}

impl<'b> Column<'b> {
    /// Fails when a batch has something else in its place: it would be written as something.
    fn new(
        field: &Field,
        batches: &'b [RecordBatch],
        at: usize,
        rows: usize,
    ) -> Result<Self, ArrowError> {
        let columns = || batches.iter().map(|batch| batch.column(at).as_ref());
        let is_of_it = |column: &dyn Array| {
            field.data_type().equals_datatype(column.data_type())
                && (field.is_nullable() || column.null_count() == 0)
        };
        if !columns().all(is_of_it) {
            let refused = format!("`{}` is of another type, or has a NULL", field.name());
            return Err(ArrowError::SchemaError(refused));
        }
        if columns().all(|column| column.null_count() == column.len()) {
            let nulls = new_null_array(field.data_type(), rows.min(WRITTEN_ROWS));
            return Ok(Self::AllNull(nulls));
        }
        Ok(Self::Of(columns().collect()))
    }

    fn arranged(&self, rows: &[Place]) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::AllNull(nulls) => Ok(nulls.slice(0, rows.len())),
            Self::Of(columns) => arrange_column(columns, rows),
        }
    }
}
