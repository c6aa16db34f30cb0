//! Trace ids as numbers.

use arrow::array::{AsArray, RecordBatch};

/// Hex digits of a trace id.
const DIGITS: usize = 32;

/// Reads a trace id, 32 hex digits.
pub fn parse_trace_id(text: &str) -> Option<u128> {
    let is_hex = text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Reads the trace id of each row; 0 for what is none, which the decoder lets not through.
pub fn trace_ids(batch: &RecordBatch) -> Vec<u128> {
    let ids = batch.column_by_name("trace_id").and_then(|column| column.as_string_view_opt());
    let ids = ids.into_iter().flat_map(|ids| ids.iter());
    ids.map(|id| parse_trace_id(id.unwrap_or_default()).unwrap_or_default()).collect()
}
