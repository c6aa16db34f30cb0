//! Everything that the pass says, comparable whatever the order. Also part of the fuzz target
//! `trace_pass`.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use timesink_facts::Facts;

/// Everything that the pass says, whatever the order.
pub(crate) fn said(facts: &Facts) -> [Vec<Vec<String>>; 3] {
    said_together(std::slice::from_ref(facts))
}

/// As [`said`], of parts that stand for one whole.
pub(crate) fn said_together(parts: &[Facts]) -> [Vec<Vec<String>>; 3] {
    [
        sorted_rows(parts.iter().flat_map(|facts| &facts.spans)),
        sorted_rows(parts.iter().flat_map(|facts| &facts.facts)),
        sorted_rows(parts.iter().map(|facts| &facts.gaps)),
    ]
}

/// Returns every row as text, sorted.
fn sorted_rows<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<Vec<String>> {
    let cell = |column: &dyn Array, row| {
        if column.is_null(row) {
            return "NULL".to_owned();
        }
        array_value_to_string(column, row).expect("a value")
    };
    // To show a time zone takes a feature of arrow that this crate alone does not switch on, and
    // `start_time` is `start_time_unix_nano` for people.
    let is_shown =
        |column: &&Arc<dyn Array>| !matches!(column.data_type(), DataType::Timestamp(..));
    let row = |batch: &RecordBatch, row| -> Vec<String> {
        batch.columns().iter().filter(is_shown).map(|column| cell(column, row)).collect()
    };
    let of_batch = |batch: &'a RecordBatch| (0..batch.num_rows()).map(move |at| row(batch, at));
    let mut rows: Vec<Vec<String>> = batches.into_iter().flat_map(of_batch).collect();
    rows.sort();
    rows
}
