//! Columns of texts that are numbers in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;

use crate::Error;
use crate::intern::{Interner, Sym};

/// Returns a column of some of the texts.
pub(super) fn column(
    texts: &ArrayRef,
    words: impl Iterator<Item = Sym>,
) -> Result<ArrayRef, Error> {
    let keys = Int32Array::from_iter_values(words.map(|word| word.0 as i32));
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(texts))?))
}

/// Returns the distinct texts, by their numbers.
pub(super) fn distinct(texts: &Interner) -> ArrayRef {
    let all = (0..texts.len() as u32).map(|number| texts.text(Sym(number)));
    Arc::new(StringArray::from_iter_values(all))
}

/// Reads a column of texts.
pub(super) fn read(
    texts: &mut Interner,
    table: &RecordBatch,
    name: &'static str,
) -> Result<Vec<Sym>, Error> {
    let missing = || Error::MissingColumn(name);
    let column = table.column_by_name(name).ok_or_else(missing)?;
    let column = column.as_dictionary_opt::<Int32Type>().ok_or_else(missing)?;
    let distinct = column.values().as_string_opt::<i32>().ok_or_else(missing)?;
    let known: Vec<Sym> =
        distinct.iter().map(|text| texts.intern(text.unwrap_or_default())).collect();
    let place = |key: &i32| known.get(*key as usize).copied().ok_or_else(missing);
    column.keys().values().iter().map(place).collect()
}
