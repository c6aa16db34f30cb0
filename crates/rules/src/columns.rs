//! Columns of `spans_with_facts` by name and type, packed or not.

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use timesink_facts::packed::{Int, Text};

use crate::Error;

pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Error> {
    batch.column_by_name(name).ok_or_else(|| missing(name))
}

pub(crate) fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<Text<'a>, Error> {
    Text::of(column(batch, name)?).ok_or_else(|| missing(name))
}

pub(crate) fn int<'a>(batch: &'a RecordBatch, name: &str) -> Result<Int<'a>, Error> {
    Int::of(column(batch, name)?).ok_or_else(|| missing(name))
}

pub(crate) fn flag<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a BooleanArray, Error> {
    column(batch, name)?.as_boolean_opt().ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::Internal(format!("spans_with_facts has no column `{name}`, or one of another type"))
}
