//! Batches as the payload of a record of the log.
//!
//! Two Arrow IPC streams, the first behind its length in four bytes (little-endian):
//!
//! 1. `text`, `LargeBinary`: the buffers that text columns point into, each once. The decoder puts
//!    all texts of a batch into one or two, and IPC by itself would write them again for each
//!    column.
//! 2. the columns that are not NULL in all rows. One of `Utf8View` is its views (Arrow columnar
//!    format, "Variable-size Binary View Layout") as `FixedSizeBinary(16)`, their buffer numbers
//!    those of 1.
//!
//! Bodies are compressed with LZ4. A column that the reader's schema has, and the record has not,
//! is NULL: so records of older versions are read, whose tables had fewer columns.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, LargeBinaryArray, RecordBatch,
    RecordBatchOptions, StringViewArray, new_null_array,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};

/// Bytes of a view.
const VIEW_BYTES: usize = 16;

/// A view of a longer text points into a buffer.
pub(crate) const INLINE_BYTES_MAX: u32 = 12;

/// Bits of a view behind which the number of its buffer stands.
const BUFFER_SHIFT: u32 = 64;

/// Returns a batch as bytes.
///
/// # Errors
/// Arrow's, for what cannot be written: a defect of whoever made the batch.
pub(crate) fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut texts = Texts::default();
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.logical_null_count() == column.len() {
            continue;
        }
        let column = match column.as_string_view_opt() {
            Some(views) => texts.add(views)?,
            None => Arc::clone(column),
        };
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    let texts = write(&texts.batch()?)?;
    let mut bytes = (texts.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&texts);
    bytes.extend_from_slice(&write(&with_rows(fields, columns, batch.num_rows())?)?);
    Ok(bytes)
}

/// Reads a batch of a schema.
///
/// # Errors
/// The bytes are none that [`encode`] gave for a batch of this schema or an older one.
pub(crate) fn decode(bytes: &[u8], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    decode_with(bytes, schema, read)
}

/// Reads the columns that a schema has, and of the others only whether they are those of a table.
///
/// # Errors
/// As [`decode`], for the table.
pub(crate) fn decode_part(
    bytes: &[u8],
    schema: &SchemaRef,
    table: &Schema,
) -> Result<RecordBatch, ArrowError> {
    decode_with(bytes, schema, |columns| {
        let written = reader(columns, None)?.schema();
        check_types(&written, table)?;
        let is_asked_for = |at: &usize| schema.index_of(written.field(*at).name()).is_ok();
        let asked_for = (0..written.fields().len()).filter(is_asked_for).collect();
        only_batch(reader(columns, Some(asked_for))?)
    })
}

/// Looks whether columns have the types that they have in a table, as [`encode`] writes them.
fn check_types(written: &Schema, table: &Schema) -> Result<(), ArrowError> {
    for field in table.fields() {
        let Ok(found) = written.field_with_name(field.name()) else { continue };
        let expected = match field.data_type() {
            DataType::Utf8View => &DataType::FixedSizeBinary(VIEW_BYTES as i32),
            other => other,
        };
        if found.data_type() != expected {
            let (name, found) = (field.name(), found.data_type());
            return Err(ArrowError::SchemaError(format!("`{name}` is of type {found}")));
        }
    }
    Ok(())
}

fn decode_with(
    bytes: &[u8],
    schema: &SchemaRef,
    read_columns: impl FnOnce(&[u8]) -> Result<RecordBatch, ArrowError>,
) -> Result<RecordBatch, ArrowError> {
    let broken = || ArrowError::IpcError("the payload breaks off".to_owned());
    let (length, rest) = bytes.split_first_chunk().ok_or_else(broken)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (texts, columns) = rest.split_at_checked(length).ok_or_else(broken)?;
    let buffers = buffers_of(&read(texts)?)?;
    let written = read_columns(columns)?;
    let columns = schema.fields().iter().map(|field| match written.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), written.num_rows())),
        Some(column) if field.data_type() == &DataType::Utf8View => texts_of(column, &buffers),
        Some(column) => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(written.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Returns the memory that a batch holds: each buffer that text columns share counts once.
pub fn memory_bytes(batch: &RecordBatch) -> u64 {
    let mut texts = Texts::default();
    let mut bytes = 0;
    for column in batch.columns() {
        match column.as_string_view_opt() {
            Some(views) => {
                bytes += views.len() * VIEW_BYTES;
                for buffer in views.data_buffers() {
                    texts.number(buffer);
                }
            }
            None => bytes += column.get_buffer_memory_size(),
        }
    }
    (bytes + texts.buffers.iter().map(Buffer::len).sum::<usize>()) as u64
}

/// The buffers that text columns point into, each once.
#[derive(Debug, Default)]
struct Texts {
    buffers: Vec<Buffer>,
}

impl Texts {
    /// Returns a column's views, which point into the buffers of all columns.
    fn add(&mut self, texts: &StringViewArray) -> Result<ArrayRef, ArrowError> {
        let numbers: Vec<u32> = texts.data_buffers().iter().map(|b| self.number(b)).collect();
        let is_same = numbers.iter().zip(0_u32..).all(|(number, own)| *number == own);
        let views = if is_same {
            texts.views().inner().clone()
        } else {
            let views = texts.views().iter().map(|view| renumbered(*view, &numbers));
            Buffer::from_vec(views.collect::<Vec<u128>>())
        };
        let views = FixedSizeBinaryArray::try_new(VIEW_BYTES as i32, views, texts.nulls().cloned());
        Ok(Arc::new(views?))
    }

    fn number(&mut self, buffer: &Buffer) -> u32 {
        let is_it =
            |known: &Buffer| (known.as_ptr(), known.len()) == (buffer.as_ptr(), buffer.len());
        let known = self.buffers.iter().position(is_it);
        known.unwrap_or_else(|| {
            self.buffers.push(buffer.clone());
            self.buffers.len() - 1
        }) as u32
    }

    fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let texts: LargeBinaryArray = self.buffers.iter().map(|b| Some(b.as_slice())).collect();
        let field = Field::new("text", DataType::LargeBinary, false);
        with_rows(vec![field], vec![Arc::new(texts)], self.buffers.len())
    }
}

fn renumbered(view: u128, numbers: &[u32]) -> u128 {
    if view as u32 <= INLINE_BYTES_MAX {
        return view;
    }
    let number = numbers.get((view >> BUFFER_SHIFT) as u32 as usize).copied().unwrap_or_default();
    view & !(u128::from(u32::MAX) << BUFFER_SHIFT) | u128::from(number) << BUFFER_SHIFT
}

fn buffers_of(texts: &RecordBatch) -> Result<Vec<Buffer>, ArrowError> {
    let texts = texts.columns().first().and_then(|column| column.as_binary_opt::<i64>());
    let texts = texts.ok_or_else(|| ArrowError::IpcError("no texts".to_owned()))?;
    let bounds = texts.value_offsets().windows(2);
    let slice = |bounds: &[i64]| {
        let (start, end) = (bounds[0] as usize, bounds[1] as usize);
        texts.values().slice_with_length(start, end - start)
    };
    Ok(bounds.map(slice).collect())
}

/// Checks views and makes texts of them.
fn texts_of(column: &ArrayRef, buffers: &[Buffer]) -> Result<ArrayRef, ArrowError> {
    let views = column.as_fixed_size_binary_opt().filter(|views| views.value_size() == 16);
    let views = views.ok_or_else(|| ArrowError::IpcError("a column of no views".to_owned()))?;
    let views = views.value_data().chunks_exact(VIEW_BYTES);
    let views: Vec<u128> =
        views.map(|view| view.first_chunk().map_or(0, |view| u128::from_le_bytes(*view))).collect();
    let views = ScalarBuffer::from(views);
    let texts = StringViewArray::try_new(views, buffers.to_vec(), column.nulls().cloned());
    Ok(Arc::new(texts?))
}

fn with_rows(
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

fn write(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let options = IpcWriteOptions::default();
    let options = options.try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut bytes = Vec::new();
    let schema = batch.schema();
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options)?;
    writer.write(batch)?;
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// Reads the one batch of a stream. Arrow's reader trusts lengths: the sums of the log let no other
/// bytes through than those that were written.
fn read(stream: &[u8]) -> Result<RecordBatch, ArrowError> {
    only_batch(reader(stream, None)?)
}

type Reader<'s> = StreamReader<Cursor<&'s [u8]>>;

fn reader(stream: &[u8], columns: Option<Vec<usize>>) -> Result<Reader<'_>, ArrowError> {
    StreamReader::try_new(Cursor::new(stream), columns)
}

fn only_batch(mut reader: Reader<'_>) -> Result<RecordBatch, ArrowError> {
    reader.next().ok_or_else(|| ArrowError::IpcError("a stream without a batch".to_owned()))?
}

#[cfg(test)]
mod tests {
    use timesink_model::schema::spans;
    use timesink_testkit::notation;

    use super::*;

    const TRACES: &str = "\
shop SERVER GET/cart-of-a-customer/{i} 0ms 120ms x20 http.request.method=GET
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";

    fn batches() -> Vec<RecordBatch> {
        notation::spans(TRACES)
    }

    #[test]
    fn a_batch_comes_back() {
        for batch in batches() {
            let bytes = encode(&batch).unwrap();
            assert!(bytes.len() < batch.num_rows() * 200, "{} bytes", bytes.len());
            assert_eq!(decode(&bytes, &batch.schema()).unwrap(), batch);
            let some: SchemaRef = Arc::new(batch.schema().project(&[0, 4, 7]).unwrap());
            let part = decode_part(&bytes, &some, &batch.schema()).unwrap();
            assert_eq!(part, batch.project(&[0, 4, 7]).unwrap());
            let start = batch.schema().index_of("start_time_unix_nano").unwrap();
            let other = Field::new("start_time_unix_nano", DataType::Utf8View, true);
            let mut fields = batch.schema().fields().to_vec();
            fields[start] = Arc::new(other);
            let refused = decode_part(&bytes, &some, &Schema::new(fields)).unwrap_err();
            assert!(refused.to_string().contains("is of type Int64"), "{refused}");
            let part = batch.slice(3, 50);
            assert_eq!(decode(&encode(&part).unwrap(), &batch.schema()).unwrap(), part);
        }
    }

    /// Columns with buffers of their own get one numbering.
    #[test]
    fn columns_of_several_origins_come_back() {
        let long = |text: &str| format!("{text}, a text that is too long for a view");
        let column = |texts: &[&str]| {
            let texts = texts.iter().map(|text| Some(long(text)));
            Arc::new(texts.collect::<StringViewArray>()) as ArrayRef
        };
        let columns = vec![column(&["a", "b"]), column(&["c", "c"]), column(&["d", "e"])];
        let field = |name: &str| Field::new(name, DataType::Utf8View, true);
        let batch = with_rows(vec![field("a"), field("b"), field("c")], columns, 2).unwrap();
        assert_eq!(decode(&encode(&batch).unwrap(), &batch.schema()).unwrap(), batch);
    }

    #[test]
    fn a_record_of_an_older_version_lacks_columns() {
        let batch = batches().remove(0);
        let schema: SchemaRef = spans::table().schema().into();
        assert_eq!(batch.schema(), schema);
        let index = schema.index_of("http_request_method").unwrap();
        let others: Vec<usize> = (0..batch.num_columns()).filter(|at| *at != index).collect();
        let older = encode(&batch.project(&others).unwrap()).unwrap();
        let read = decode(&older, &schema).unwrap();
        assert_eq!(read.column(index).null_count(), batch.num_rows());
        assert_eq!(read.project(&others).unwrap(), batch.project(&others).unwrap());
        assert!(decode(&older[..older.len() / 2], &schema).is_err());
        let needed = batch.project(&[index]).unwrap();
        assert!(decode(&encode(&needed).unwrap(), &schema).is_err(), "ids may not be NULL");
    }
}
