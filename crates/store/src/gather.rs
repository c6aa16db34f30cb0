//! [`gather`], [`arrange`], [`join`]: rows of some batches as one, each value copied once at most.
//!
//! Batches of spans have many columns, and most of them are NULL in all rows of most batches: such
//! columns are made without a look at the rows. `gather` copies texts into one buffer a column, so
//! that the rows hold no memory of others.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, MapArray, RecordBatch, RecordBatchOptions, StringArray,
    StringViewArray, StringViewBuilder, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{DataType, Field, SchemaRef};
use arrow::error::ArrowError;

use crate::batch::INLINE_BYTES_MAX;

/// Bytes of a buffer of texts, at most: views count in 32 bits.
const BUFFER_BYTES_MAX: usize = 1 << 30;

/// A row: the number of its batch, and its own in that.
pub type Place = (usize, usize);

/// Returns rows of some batches in the order given, in memory of their own.
///
/// # Errors
///
/// Arrow's, when a batch is not of the schema.
pub fn gather(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: &[Place],
) -> Result<RecordBatch, ArrowError> {
    each_column(schema, batches, rows.len(), |columns| {
        if let Some(texts) = all(columns, |column| column.as_string_view_opt()) {
            return Ok(Arc::new(gather_texts(&texts, rows)?) as _);
        }
        if let Some(maps) = all(columns, TextMap::of) {
            return Ok(Arc::new(gather_maps(&maps, rows)?) as _);
        }
        interleave(columns, rows)
    })
}

/// Returns rows of some batches in the order given; texts stay where they are.
///
/// # Errors
///
/// As [`gather`].
pub fn arrange(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: &[Place],
) -> Result<RecordBatch, ArrowError> {
    each_column(schema, batches, rows.len(), |columns| arrange_column(columns, rows))
}

/// Returns rows of a column that some batches have, in the order given; texts stay where they are.
///
/// # Errors
///
/// Arrow's, when they are not of one type.
pub fn arrange_column(columns: &[&dyn Array], rows: &[Place]) -> Result<ArrayRef, ArrowError> {
    match all(columns, TextMap::of) {
        Some(maps) => Ok(Arc::new(gather_maps(&maps, rows)?)),
        None => interleave(columns, rows),
    }
}

/// Returns all rows of some batches as one; texts stay where they are.
///
/// # Errors
///
/// As [`gather`].
pub fn join(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    each_column(schema, batches, rows, concat)
}

/// Makes a batch of so many rows of the columns that `make` makes of those of the batches; where
/// all of these are NULL, it is not asked.
fn each_column(
    schema: &SchemaRef,
    batches: &[RecordBatch],
    rows: usize,
    make: impl Fn(&[&dyn Array]) -> Result<ArrayRef, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let mut nulls: Vec<ArrayRef> = Vec::new();
    let mut whole = Vec::with_capacity(schema.fields().len());
    for (at, field) in schema.fields().iter().enumerate() {
        let columns: Vec<&dyn Array> = batches.iter().map(|b| b.column(at).as_ref()).collect();
        if columns.iter().any(|column| column.null_count() < column.len()) {
            whole.push(make(&columns)?);
            continue;
        }
        let known = nulls.iter().find(|known| known.data_type() == field.data_type());
        whole.push(if let Some(known) = known {
            Arc::clone(known)
        } else {
            nulls.push(new_null_array(field.data_type(), rows));
            Arc::clone(&nulls[nulls.len() - 1])
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), whole, &options)
}

/// Returns what all columns are, if they are.
fn all<'a, T>(
    columns: &[&'a dyn Array],
    of: impl Fn(&'a dyn Array) -> Option<T>,
) -> Option<Vec<T>> {
    columns.iter().map(|column| of(*column)).collect()
}

fn gather_texts(
    columns: &[&StringViewArray],
    rows: &[Place],
) -> Result<StringViewArray, ArrowError> {
    let views: Vec<&[u128]> = columns.iter().map(|column| &column.views()[..]).collect();
    let has_nulls = columns.iter().any(|column| column.null_count() > 0);
    let is_null = |(batch, row): Place| has_nulls && columns[batch].is_null(row);
    // Neighbours often share a text: it is copied once.
    let is_same = |a: &Place, b: &Place| {
        a.0 == b.0 && views[a.0][a.1] == views[b.0][b.1] && is_null(*a) == is_null(*b)
    };
    let texts = rows.chunk_by(is_same).map(|run| run[0]).filter(|place| !is_null(*place));
    let lengths = texts.map(|(batch, row)| views[batch][row] as u32);
    let bytes: usize = lengths.filter(|n| *n > INLINE_BYTES_MAX).map(|n| n as usize).sum();
    let block = bytes.clamp(1, BUFFER_BYTES_MAX) as u32;
    let mut texts = StringViewBuilder::with_capacity(rows.len()).with_fixed_block_size(block);
    for run in rows.chunk_by(is_same) {
        let (batch, row) = run[0];
        if is_null(run[0]) {
            for _ in run {
                texts.append_null();
            }
        } else {
            texts.try_append_value_n(columns[batch].value(row), run.len())?;
        }
    }
    Ok(texts.finish())
}

/// A column of maps from text to text, none of whose values is NULL.
struct TextMap<'a> {
    map: &'a MapArray,
    keys: &'a StringArray,
    values: &'a StringArray,
}

impl<'a> TextMap<'a> {
    fn of(column: &'a dyn Array) -> Option<Self> {
        let map = column.as_map_opt()?;
        let (keys, values) = (map.keys().as_string_opt()?, map.values().as_string_opt()?);
        let is_whole = map.entries().null_count() + keys.null_count() + values.null_count() == 0;
        is_whole.then_some(Self { map, keys, values })
    }

    /// Returns the entries of a row; a row that is NULL has none.
    fn entries(&self, row: usize) -> Range<usize> {
        let ends = &self.map.value_offsets()[row..row + 2];
        if self.map.is_valid(row) { ends[0] as usize..ends[1] as usize } else { 0..0 }
    }
}

/// Texts one after the other, and where each ends.
struct Ends {
    bytes: Vec<u8>,
    ends: Vec<i32>,
}

impl Ends {
    /// Copies some texts of columns, which lie one after the other there, too.
    fn gather<'a>(
        parts: impl Iterator<Item = (&'a StringArray, &'a Range<usize>)> + Clone,
    ) -> Result<Self, ArrowError> {
        let bounds = |(texts, rows): (&StringArray, &Range<usize>)| {
            let offsets = texts.value_offsets();
            (offsets[rows.start] as usize, offsets[rows.end] as usize)
        };
        let count: usize = parts.clone().map(|(_, rows)| rows.len()).sum();
        let size = parts.clone().map(bounds).map(|(from, to)| to - from).sum();
        // All offsets fit if the last ones do.
        offset(count)?;
        offset(size)?;
        let mut bytes = Vec::with_capacity(size);
        let mut ends = Vec::with_capacity(count + 1);
        ends.push(0);
        for (texts, rows) in parts {
            let offsets = &texts.value_offsets()[rows.start..=rows.end];
            let (from, to) = (offsets[0], offsets[rows.len()]);
            let at = bytes.len() as i32 - from;
            bytes.extend_from_slice(&texts.value_data()[from as usize..to as usize]);
            ends.extend(offsets[1..].iter().map(|end| end + at));
        }
        Ok(Self { bytes, ends })
    }

    fn finish(self) -> Result<ArrayRef, ArrowError> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        Ok(Arc::new(StringArray::try_new(offsets, self.bytes.into(), None)?))
    }
}

fn gather_maps(columns: &[TextMap<'_>], rows: &[Place]) -> Result<MapArray, ArrowError> {
    let entries: Vec<(&TextMap<'_>, Range<usize>)> =
        rows.iter().map(|(batch, row)| (&columns[*batch], columns[*batch].entries(*row))).collect();
    let keys = entries.iter().map(|(column, entries)| (column.keys, entries));
    let values = entries.iter().map(|(column, entries)| (column.values, entries));
    let (keys, values) = (Ends::gather(keys)?, Ends::gather(values)?);
    let row_ends = OffsetBuffer::from_lengths(entries.iter().map(|(_, entries)| entries.len()));
    let has_nulls = columns.iter().any(|column| column.map.null_count() > 0);
    let nulls = has_nulls.then(|| {
        let is_valid = rows.iter().map(|(batch, row)| columns[*batch].map.is_valid(*row));
        is_valid.collect::<NullBuffer>()
    });
    let (entries, is_sorted) = entries_of(columns[0].map.data_type())?;
    let DataType::Struct(fields) = entries.data_type() else { return Err(no_map()) };
    let columns = vec![keys.finish()?, values.finish()?];
    let structs = StructArray::try_new(fields.clone(), columns, None)?;
    MapArray::try_new(Arc::clone(entries), row_ends, structs, nulls, is_sorted)
}

fn entries_of(data_type: &DataType) -> Result<(&Arc<Field>, bool), ArrowError> {
    match data_type {
        DataType::Map(entries, is_sorted) => Ok((entries, *is_sorted)),
        _ => Err(no_map()),
    }
}

fn no_map() -> ArrowError {
    ArrowError::SchemaError("a map's type is none of a map".to_owned())
}

/// Arrow's offsets are `i32`.
fn offset(bytes: usize) -> Result<i32, ArrowError> {
    i32::try_from(bytes).map_err(|_| ArrowError::OffsetOverflowError(bytes))
}

#[cfg(test)]
mod tests {
    use arrow::compute::{concat_batches, interleave_record_batch};
    use timesink_testkit::notation;

    use super::*;

    const TRACES: &str = "\
shop SERVER GET/cart-of-a-customer/{i} 0ms 120ms x20 http.request.method=GET
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";

    fn batches() -> Vec<RecordBatch> {
        let mut batches = notation::spans(TRACES);
        batches.extend(notation::spans("mail CONSUMER a-message-that-came 0ms 7ms x9\n"));
        batches.push(batches[0].slice(3, 7));
        batches
    }

    #[test]
    fn rows_are_those_that_arrow_gathers() {
        let batches = batches();
        let each = batches.iter().enumerate();
        let mut rows: Vec<Place> =
            each.flat_map(|(at, batch)| (0..batch.num_rows()).map(move |row| (at, row))).collect();
        rows.sort_by_key(|(batch, row)| (row * 7 % 11, *batch));
        let all: Vec<&RecordBatch> = batches.iter().collect();
        for rows in [&rows[..], &rows[..5], &rows[..0]] {
            let expected = interleave_record_batch(&all, rows).unwrap();
            let schema = batches[0].schema();
            assert_eq!(gather(&schema, &batches, rows).unwrap(), expected);
            assert_eq!(arrange(&schema, &batches, rows).unwrap(), expected);
        }
    }

    /// Views of a text that is NULL and of one that is empty are the same, and a map that is NULL
    /// may have entries.
    #[test]
    fn nulls_are_no_values() {
        let texts = StringViewArray::from(vec![Some(""), None, Some(""), None]);
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let DataType::Map(entries, _) = batches()[0]["attributes"].data_type().clone() else {
            panic!("attributes are a map")
        };
        let DataType::Struct(fields) = entries.data_type() else { panic!("of entries") };
        let structs = StructArray::new(fields.clone(), vec![Arc::clone(&keys), keys], None);
        let ends = OffsetBuffer::from_lengths([1, 1, 0, 1]);
        let nulls = NullBuffer::from(vec![true, false, true, true]);
        let maps = MapArray::new(entries, ends, structs, Some(nulls), false);
        let columns: [(&str, ArrayRef); 2] = [("text", Arc::new(texts)), ("map", Arc::new(maps))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let schema = batch.schema();
        let rows = [(0, 3), (0, 2), (0, 1), (0, 0), (0, 1)];
        let expected = interleave_record_batch(&[&batch], &rows).unwrap();
        let batches = [batch];
        assert_eq!(gather(&schema, &batches, &rows).unwrap(), expected);
        assert_eq!(arrange(&schema, &batches, &rows).unwrap(), expected);
    }

    #[test]
    fn all_rows_are_joined() {
        let batches = batches();
        let schema = batches[0].schema();
        let joined = join(&schema, &batches).unwrap();
        assert_eq!(joined, concat_batches(&schema, &batches).unwrap());
    }
}
