//! Which files have rows of some traces, and which rows are of some spans.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, AsArray, RecordBatch};
use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::ReadOptionsBuilder;
use timesink_store::trace_ids;

/// The column by which traces are found.
const TRACE_ID: &str = "trace_id";

/// More traces than this are taken to be in each file: looking costs more than reading.
const ASKED_MAX: usize = 20_000;

/// Spans, by their ids.
#[derive(Debug, Default)]
pub(crate) struct SpanIds {
    pub(crate) traces: HashSet<u128>,
    spans: HashMap<u128, HashSet<u64>>,
}

impl SpanIds {
    /// Takes the spans of rows that are of some traces.
    pub(crate) fn add(&mut self, rows: &RecordBatch, traces: &HashSet<u128>) {
        for (trace, span) in ids(rows).filter(|(trace, _)| traces.contains(trace)) {
            self.traces.insert(trace);
            self.spans.entry(trace).or_default().insert(span);
        }
    }

    /// Returns of each row whether it is of one of them.
    pub(crate) fn are_among(&self, rows: &RecordBatch) -> impl Iterator<Item = bool> {
        let has = |(trace, span)| self.spans.get(&trace).is_some_and(|of| of.contains(&span));
        ids(rows).map(has)
    }
}

/// Returns trace id and span id of each row as numbers.
fn ids(rows: &RecordBatch) -> impl Iterator<Item = (u128, u64)> {
    let spans = rows.column_by_name("span_id").and_then(|column| column.as_string_view_opt());
    let span =
        move |row: usize| spans.filter(|spans| spans.is_valid(row)).map(|spans| spans.value(row));
    let number = move |row| u64::from_str_radix(span(row).unwrap_or_default(), 16);
    let traces = trace_ids(rows).into_iter().enumerate();
    traces.map(move |(row, trace)| (trace, number(row).unwrap_or_default()))
}

/// Returns whether a file may have rows of some traces, by its bloom filters (Parquet,
/// `BloomFilter.md`): a file without one may.
pub(crate) fn may_have(file: &Bytes, traces: &HashSet<u128>) -> Result<bool, ParquetError> {
    if traces.len() > ASKED_MAX {
        return Ok(true);
    }
    let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
    let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
    let file = SerializedFileReader::new_with_options(file.clone(), options)?;
    let texts: Vec<String> = traces.iter().map(|id| format!("{id:032x}")).collect();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group)?;
        let columns = group.metadata().columns().iter();
        let column = columns.map(|column| column.column_path().string());
        let column = column.enumerate().find(|(_, name)| name == TRACE_ID);
        let filter = column.and_then(|(number, _)| group.get_column_bloom_filter(number));
        let may_have =
            filter.is_none_or(|filter| texts.iter().any(|id| filter.check(&id.as_str())));
        if may_have {
            return Ok(true);
        }
    }
    Ok(false)
}
