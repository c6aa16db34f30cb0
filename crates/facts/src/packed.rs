//! Packed columns: what many spans take in memory while nobody looks at them.
//!
//! A view of a text takes 16 bytes a row, whatever it says, and most texts of a batch say the same.
//! A packed column of text is a dictionary, one of integers has narrower ones, and one that is all
//! NULL has no values at all. Which columns of a batch are packed depends on what is in them, so
//! that its schema says how it is stored, not what it is: [`unpack`] and [`Text`] give that back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int64Array, NullArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringViewArray, UInt32Array, new_null_array,
};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{
    ArrowDictionaryKeyType, ArrowNativeType, DataType, Field, Int32Type, Int64Type, Schema,
    SchemaRef, UInt8Type, UInt16Type,
};
use arrow::error::ArrowError;
use hashbrown::HashMap;

/// Returns a column with the same values that takes less memory, or the column itself.
///
/// # Errors
///
/// None for columns of the tables.
pub fn pack(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if column.is_empty() {
        return Ok(Arc::clone(column));
    }
    if column.null_count() == column.len() {
        return Ok(Arc::new(NullArray::new(column.len())));
    }
    if let Some(texts) = column.as_string_view_opt() {
        return Ok(pack_texts(texts)?.unwrap_or_else(|| Arc::clone(column)));
    }
    match column.as_primitive_opt::<Int64Type>() {
        Some(ints) if are_narrow(ints) => cast(column, &DataType::Int32),
        _ => Ok(Arc::clone(column)),
    }
}

/// Returns a batch with every column packed.
///
/// # Errors
///
/// As [`pack`].
pub fn pack_batch(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().map(pack).collect::<Result<Vec<_>, _>>()?;
    with_types_of(&batch.schema(), columns, batch.num_rows())
}

/// Makes a batch of so many rows, of columns some of which may be packed; `schema` says what they
/// are. There need not be any.
///
/// # Errors
///
/// An error when the columns are not of that length, or one is NULL that must not be.
pub fn with_types_of(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let is_as_it_is =
        |(field, column): (&Arc<Field>, &ArrayRef)| field.data_type() == column.data_type();
    if schema.fields().iter().zip(&columns).all(is_as_it_is) {
        return RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options);
    }
    let stored = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let is_nullable = field.is_nullable() || column.data_type() == &DataType::Null;
        Field::new(field.name(), column.data_type().clone(), is_nullable)
    };
    let stored: Vec<Field> = schema.fields().iter().zip(&columns).map(stored).collect();
    RecordBatch::try_new_with_options(Arc::new(Schema::new(stored)), columns, &options)
}

/// Returns the column that a packed one stands for; one that is not packed is returned as it is.
///
/// # Errors
///
/// An error of the cast where the column is none of that type.
pub fn unpack(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        stored if stored == data_type => Ok(Arc::clone(column)),
        DataType::Null => Ok(new_null_array(data_type, column.len())),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            take(dictionary.values(), dictionary.keys(), None)
        }
        _ => cast(column, data_type),
    }
}

/// Returns the batch that one with packed columns stands for; `schema` has its columns in order.
///
/// # Errors
///
/// As [`unpack`].
pub fn unpack_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref() == schema {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| unpack(column, field.data_type()));
    let columns = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Buffers of no more than this are not worth a copy.
const COMPACT_BYTES_MIN: usize = 16 << 10;

/// Returns a column of text without buffers that are much larger than what it takes of them; any
/// other column is returned as it is.
pub fn compact(column: &ArrayRef) -> ArrayRef {
    let Some(texts) = column.as_string_view_opt() else { return Arc::clone(column) };
    let held: usize = texts.data_buffers().iter().map(Buffer::capacity).sum();
    if held <= COMPACT_BYTES_MIN || held / 2 <= texts.total_buffer_bytes_used() {
        return Arc::clone(column);
    }
    Arc::new(texts.gc())
}

fn are_narrow(ints: &Int64Array) -> bool {
    ints.values().iter().all(|value| i32::try_from(*value).is_ok())
}

/// Packs texts where most of them repeat others. Equal views of one array are equal texts, so that
/// most are known without a look at them.
fn pack_texts(texts: &StringViewArray) -> Result<Option<ArrayRef>, ArrowError> {
    let distinct_max = (texts.len() / 2).min(usize::from(u16::MAX) + 1);
    let mut by_view: HashMap<u128, u16> = HashMap::new();
    let mut by_text: HashMap<&str, u16> = HashMap::new();
    let mut first_rows: Vec<u32> = Vec::new();
    let mut keys: Vec<u16> = Vec::with_capacity(texts.len());
    let mut last = None;
    for (row, &view) in texts.views().iter().enumerate() {
        if texts.is_null(row) {
            keys.push(0);
            continue;
        }
        let key = match last {
            Some((known, key)) if known == view => key,
            _ => *by_view.entry(view).or_insert_with(|| {
                *by_text.entry(texts.value(row)).or_insert_with(|| {
                    first_rows.push(row as u32);
                    (first_rows.len() - 1) as u16
                })
            }),
        };
        if first_rows.len() > distinct_max {
            return Ok(None);
        }
        last = Some((view, key));
        keys.push(key);
    }
    let distinct = first_rows.len();
    let values = compact(&take(texts, &UInt32Array::from(first_rows), None)?);
    let nulls = texts.nulls().cloned();
    Ok(Some(if distinct <= usize::from(u8::MAX) + 1 {
        let keys = keys.into_iter().map(|key| key as u8);
        dictionary::<UInt8Type>(keys.collect(), nulls, values)?
    } else {
        dictionary::<UInt16Type>(keys, nulls, values)?
    }))
}

fn dictionary<K: ArrowDictionaryKeyType>(
    keys: Vec<K::Native>,
    nulls: Option<NullBuffer>,
    values: ArrayRef,
) -> Result<ArrayRef, ArrowError> {
    let keys = PrimitiveArray::<K>::try_new(keys.into(), nulls)?;
    Ok(Arc::new(DictionaryArray::try_new(keys, values)?))
}

/// A column of text, packed or not.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    texts: &'a StringViewArray,
    keys: Keys<'a>,
    nulls: Option<&'a NullBuffer>,
    rows: usize,
}

/// Where the text of each row stands.
#[derive(Debug, Clone, Copy)]
enum Keys<'a> {
    /// In its own row.
    Rows,
    /// Nowhere: all rows are NULL.
    None,
    Bytes(&'a [u8]),
    Words(&'a [u16]),
}

impl<'a> Text<'a> {
    /// Returns the texts of a column, `None` when it is no column of text.
    pub fn of(column: &'a ArrayRef) -> Option<Self> {
        static EMPTY: std::sync::LazyLock<StringViewArray> =
            std::sync::LazyLock::new(|| StringViewArray::new_null(0));
        let (texts, keys) = match column.data_type() {
            DataType::Utf8View => (column.as_string_view(), Keys::Rows),
            DataType::Null => (&*EMPTY, Keys::None),
            DataType::Dictionary(key, _) => {
                let texts = column.as_any_dictionary().values().as_string_view_opt()?;
                let keys = match **key {
                    DataType::UInt8 => {
                        Keys::Bytes(column.as_dictionary::<UInt8Type>().keys().values())
                    }
                    DataType::UInt16 => {
                        Keys::Words(column.as_dictionary::<UInt16Type>().keys().values())
                    }
                    _ => return None,
                };
                (texts, keys)
            }
            _ => return None,
        };
        Some(Self { texts, keys, nulls: column.nulls(), rows: column.len() })
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Returns the text of a row, `None` for NULL.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        self.place(row).map(|place| self.texts.value(place))
    }

    /// Returns the text of a row, empty for NULL.
    pub fn value(&self, row: usize) -> &'a str {
        self.get(row).unwrap_or_default()
    }

    /// Returns what tells texts of this column apart without a look at them: rows with the same
    /// one have the same text; those with others may, too. `None` for NULL.
    pub fn view(&self, row: usize) -> Option<u128> {
        self.place(row).map(|place| self.texts.views()[place])
    }

    /// Returns the text of each row, `None` for NULL.
    pub fn iter(self) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
        (0..self.rows).map(move |row| self.get(row))
    }

    fn place(&self, row: usize) -> Option<usize> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        match self.keys {
            Keys::Rows => Some(row),
            Keys::None => None,
            Keys::Bytes(keys) => Some(keys[row].as_usize()),
            Keys::Words(keys) => Some(keys[row].as_usize()),
        }
    }
}

/// A column of integers, packed or not.
#[derive(Debug, Clone, Copy)]
pub struct Int<'a> {
    values: Values<'a>,
    nulls: Option<&'a NullBuffer>,
}

#[derive(Debug, Clone, Copy)]
enum Values<'a> {
    /// All rows are NULL.
    None,
    Wide(&'a [i64]),
    Narrow(&'a [i32]),
}

impl<'a> Int<'a> {
    /// Returns the integers of a column, `None` when it is no column of integers.
    pub fn of(column: &'a ArrayRef) -> Option<Self> {
        let values = match column.data_type() {
            DataType::Int64 => Values::Wide(column.as_primitive::<Int64Type>().values()),
            DataType::Int32 => Values::Narrow(column.as_primitive::<Int32Type>().values()),
            DataType::Null => Values::None,
            _ => return None,
        };
        Some(Self { values, nulls: column.nulls() })
    }

    /// Returns the integer of a row, `None` for NULL.
    pub fn get(&self, row: usize) -> Option<i64> {
        if self.nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return None;
        }
        match self.values {
            Values::None => None,
            Values::Wide(values) => Some(values[row]),
            Values::Narrow(values) => Some(i64::from(values[row])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what a column is stored as, and that it reads and comes back as it was.
    fn check(column: &ArrayRef, stored: &DataType) {
        let whole = column.len();
        for (first, rows) in [(0, whole), (1, whole - 2)] {
            let column = column.slice(first, rows);
            let packed = pack(&column).expect("a column");
            assert_eq!(packed.data_type(), stored);
            assert_eq!(&unpack(&packed, column.data_type()).expect("the same type"), &column);
            for column in [&column, &packed] {
                check_reads(column, &unpack(&packed, &DataType::Utf8View));
            }
        }
    }

    fn check_reads(column: &ArrayRef, expected: &Result<ArrayRef, ArrowError>) {
        let rows = 0..column.len();
        if let (Some(texts), Ok(expected)) = (Text::of(column), expected) {
            let expected: Vec<Option<&str>> = expected.as_string_view().iter().collect();
            assert_eq!(texts.iter().collect::<Vec<_>>(), expected);
            assert_eq!((texts.len(), texts.is_empty()), (expected.len(), expected.is_empty()));
            for (one, other) in rows.clone().flat_map(|one| rows.clone().map(move |o| (one, o))) {
                if texts.view(one) == texts.view(other) {
                    assert_eq!(expected[one], expected[other]);
                }
                assert_eq!(texts.view(one).is_none(), expected[one].is_none());
            }
        }
        if let Some(ints) = Int::of(column) {
            let wide = unpack(column, &DataType::Int64).expect("integers or NULL");
            let wide = wide.as_primitive::<Int64Type>();
            let expected = rows.map(|row| wide.is_valid(row).then(|| wide.value(row)));
            assert!((0..column.len()).map(|row| ints.get(row)).eq(expected));
        }
    }

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(values.iter().copied().collect::<Int64Array>())
    }

    fn dictionary_of(key: DataType) -> DataType {
        DataType::Dictionary(Box::new(key), Box::new(DataType::Utf8View))
    }

    fn texts(rows: usize, distinct: usize) -> ArrayRef {
        let text = |row: usize| {
            (row % 7 != 3).then(|| format!("a text that is not inline, {}", row % distinct))
        };
        let distinct: StringViewArray = (0..distinct).map(|at| text(at * 7)).collect();
        let place = |row: usize| (row % 7 != 3).then_some((row % distinct.len()) as u32);
        take(&distinct, &(0..rows).map(place).collect::<UInt32Array>(), None).expect("in range")
    }

    #[test]
    fn texts_that_repeat_are_a_dictionary() {
        check(&texts(100, 3), &dictionary_of(DataType::UInt8));
        check(&texts(600, 256), &dictionary_of(DataType::UInt8));
        check(&texts(700, 300), &dictionary_of(DataType::UInt16));
        let inline: StringViewArray = ["", "a", "a", "", "a", ""].into_iter().map(Some).collect();
        check(&(Arc::new(inline) as ArrayRef), &dictionary_of(DataType::UInt8));
    }

    #[test]
    fn texts_that_hardly_repeat_stay() {
        check(&texts(100, 90), &DataType::Utf8View);
        let many = texts(200_000, 100_000);
        assert_eq!(pack(&many).expect("a column").data_type(), &DataType::Utf8View);
    }

    #[test]
    fn integers_are_narrow_where_they_fit() {
        let small = [Some(0), None, Some(i64::from(i32::MIN)), Some(i64::from(i32::MAX))];
        check(&ints(&small), &DataType::Int32);
        let large = [Some(1), None, Some(i64::from(i32::MAX) + 1), Some(i64::MIN)];
        check(&ints(&large), &DataType::Int64);
    }

    #[test]
    fn without_columns_or_rows_batches_stay_as_they_are() {
        let options = RecordBatchOptions::new().with_row_count(Some(7));
        let schema = Arc::new(Schema::empty());
        let rows = RecordBatch::try_new_with_options(schema, Vec::new(), &options).expect("rows");
        let packed = pack_batch(&rows).expect("rows");
        assert_eq!(unpack_batch(&packed, rows.schema_ref()).expect("rows"), rows);
        let empty = new_null_array(&DataType::Boolean, 0);
        assert_eq!(pack(&empty).expect("a column").data_type(), &DataType::Boolean);
    }

    #[test]
    fn nothing_but_null_takes_no_memory() {
        for data_type in [DataType::Utf8View, DataType::Int64, DataType::Float64] {
            check(&new_null_array(&data_type, 5), &DataType::Null);
        }
    }
}
