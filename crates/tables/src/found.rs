//! Which files have rows of some traces, and which rows are of some spans.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use timesink_store::trace_ids;

use crate::{Error, LiveFile};

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
/// `BloomFilter.md`): a file without one may. Nothing else of it is read.
///
/// # Errors
///
/// [`Error::Read`] and [`Error::File`] when it is not there, or damaged.
pub(crate) async fn may_have(
    store: &Arc<dyn ObjectStore>,
    table: &str,
    file: &LiveFile,
    traces: &HashSet<u128>,
) -> Result<bool, Error> {
    if traces.len() > ASKED_MAX {
        return Ok(true);
    }
    let texts: Vec<String> = traces.iter().map(|id| format!("{id:032x}")).collect();
    let read = async || -> Result<bool, ParquetError> {
        let path = Path::from(file.path.as_str());
        let ranges = Ranges { store: Arc::clone(store), path, bytes: file.bytes };
        let mut reader = ParquetRecordBatchStreamBuilder::new(ranges).await?;
        let names = reader.parquet_schema().columns().iter().map(|column| column.path().string());
        let column = names.enumerate().find(|(_, name)| name == TRACE_ID);
        let Some((column, _)) = column else { return Ok(true) };
        for group in 0..reader.metadata().num_row_groups() {
            let filter = reader.get_row_group_column_bloom_filter(group, column).await?;
            if filter.is_none_or(|filter| texts.iter().any(|id| filter.check(&id.as_str()))) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match read().await {
        Err(cause) if is_cut(store, file).await => {
            let cause = format!("it is not as long as it was, {cause}");
            Err(Error::File { table: table.to_owned(), path: file.path.clone(), cause })
        }
        read => read.map_err(|cause| of_reading(cause, table, file)),
    }
}

/// Returns whether a file is there and has not the length that the table's log says.
async fn is_cut(store: &Arc<dyn ObjectStore>, file: &LiveFile) -> bool {
    let found = store.head(&Path::from(file.path.as_str())).await;
    found.is_ok_and(|found| found.size != file.bytes)
}

/// A file of which ranges are read.
struct Ranges {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

impl AsyncFileReader for Ranges {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        let read = async move { self.store.get_range(&self.path, range).await };
        read.map_err(|cause| ParquetError::External(Box::new(cause))).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let bytes = self.bytes;
        async move { ParquetMetaDataReader::new().load_and_finish(self, bytes).await.map(Arc::new) }
            .boxed()
    }
}

/// Tells a store that refuses from a file that is damaged.
fn of_reading(cause: ParquetError, table: &str, file: &LiveFile) -> Error {
    let table = table.to_owned();
    let cause = match cause {
        ParquetError::External(cause) => match cause.downcast::<object_store::Error>() {
            Ok(cause) => return Error::Read { table, cause: *cause },
            Err(cause) => ParquetError::External(cause),
        },
        cause => cause,
    };
    Error::File { table, path: file.path.clone(), cause: cause.to_string() }
}
