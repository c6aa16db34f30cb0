//! Which files have rows of some traces, and which rows are of some spans.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderOptions, RowFilter, RowSelection, RowSelector,
};
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use timesink_facts::packed;
use timesink_store::{memory_bytes, trace_ids};

use crate::hours::{Hours, Times};
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
    hours: Hours,
}

impl SpanIds {
    /// Takes the spans of rows that are of some traces, of which each lies within a time.
    pub(crate) fn add(&mut self, rows: &RecordBatch, traces: &HashMap<u128, Times>) {
        for (trace, span) in ids(rows) {
            let Some(times) = traces.get(&trace) else { continue };
            if self.traces.insert(trace) {
                self.hours.add(times, 0, 0);
            }
            self.spans.entry(trace).or_default().insert(span);
        }
    }

    /// Returns whether a file may have rows of them, by the hour that these begin in.
    pub(crate) fn may_be_in(&self, file: &LiveFile) -> bool {
        self.hours.have(file)
    }

    /// Returns of each row whether it is of one of them.
    pub(crate) fn are_among(&self, rows: &RecordBatch) -> impl Iterator<Item = bool> {
        let has = |(trace, span)| self.spans.get(&trace).is_some_and(|of| of.contains(&span));
        ids(rows).map(has)
    }
}

/// Returns the traces of spans that name a parent which is not among them.
pub(crate) fn without_a_parent(spans: &[RecordBatch]) -> HashSet<u128> {
    let all: HashSet<(u128, u64)> = spans.iter().flat_map(ids).collect();
    let parents = spans.iter().flat_map(|rows| numbers_of(rows, "parent_span_id"));
    let lacks = |named: &(u128, u64)| named.1 != 0 && !all.contains(named);
    parents.filter(lacks).map(|(trace, _)| trace).collect()
}

/// Returns trace id and span id of each row as numbers.
fn ids(rows: &RecordBatch) -> impl Iterator<Item = (u128, u64)> {
    numbers_of(rows, "span_id")
}

fn numbers_of(rows: &RecordBatch, column: &str) -> impl Iterator<Item = (u128, u64)> {
    let spans = rows.column_by_name(column).and_then(|column| column.as_string_view_opt());
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
    let texts = texts_of(traces);
    let may_have = async {
        let mut reader = opened(store, file, PageIndexPolicy::Skip).await?;
        for group in 0..reader.metadata().num_row_groups() {
            if !texts_in(&mut reader, group, &texts).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    };
    read_of(store, table, file, may_have.await).await
}

/// Returns the rows that a file has of some traces, with the columns of a schema that it has. Of
/// each row group that may have any, by its bloom filter, the pages are read that may, by the page
/// index (Parquet, `PageIndex.md`): rows come by trace. `None` when they take more than `bytes_max`
/// of memory.
///
/// # Errors
///
/// As [`may_have`].
pub(crate) async fn rows_of(
    store: &Arc<dyn ObjectStore>,
    table: &str,
    file: &LiveFile,
    traces: &Arc<HashSet<u128>>,
    columns: &SchemaRef,
    bytes_max: u64,
) -> Result<Option<Vec<RecordBatch>>, Error> {
    let texts = texts_of(traces);
    let rows = async {
        let mut reader = opened(store, file, PageIndexPolicy::Optional).await?;
        let (mut groups, mut selected) = (Vec::new(), Vec::new());
        for group in 0..reader.metadata().num_row_groups() {
            let texts = match texts.len() {
                0..=ASKED_MAX => texts_in(&mut reader, group, &texts).await?,
                _ => texts.iter().map(String::as_str).collect(),
            };
            if !texts.is_empty() {
                selected.extend(pages_with(&reader, group, &texts)?);
                groups.push(group);
            }
        }
        if groups.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let schema = reader.parquet_schema();
        let names = columns.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(schema, names);
        let ids = ProjectionMask::columns(schema, [TRACE_ID]);
        let traces = Arc::clone(traces);
        let is_of_them = move |batch: RecordBatch| {
            let ids = trace_ids(&batch);
            Ok(ids.iter().map(|id| Some(traces.contains(id))).collect::<BooleanArray>())
        };
        let of_traces = ArrowPredicateFn::new(ids, is_of_them);
        let mut stream = reader
            .with_row_groups(groups)
            .with_row_selection(RowSelection::from(selected))
            .with_row_filter(RowFilter::new(vec![Box::new(of_traces)]))
            .with_projection(mask)
            .build()?;
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = stream.try_next().await? {
            let batch = compacted(&batch)?;
            bytes += memory_bytes(&batch);
            if bytes > bytes_max {
                return Ok(None);
            }
            rows.push(batch);
        }
        Ok(Some(rows))
    };
    // There is damage over which the library panics.
    let rows = AssertUnwindSafe(rows).catch_unwind().await;
    let panicked = || ParquetError::General("it is damaged: a panic".to_owned());
    read_of(store, table, file, rows.unwrap_or_else(|_| Err(panicked()))).await
}

/// Texts of a batch point into whole pages, which they would keep in memory.
fn compacted(batch: &RecordBatch) -> Result<RecordBatch, ParquetError> {
    let columns = batch.columns().iter().map(packed::compact).collect();
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

type Reader = ParquetRecordBatchStreamBuilder<Ranges>;

async fn opened(
    store: &Arc<dyn ObjectStore>,
    file: &LiveFile,
    page_index: PageIndexPolicy,
) -> Result<Reader, ParquetError> {
    let path = Path::from(file.path.as_str());
    let ranges = Ranges { store: Arc::clone(store), path, bytes: file.bytes, page_index };
    ParquetRecordBatchStreamBuilder::new(ranges).await
}

fn texts_of(traces: &HashSet<u128>) -> Vec<String> {
    traces.iter().map(|id| format!("{id:032x}")).collect()
}

/// Returns which of some traces a row group may have.
async fn texts_in<'t>(
    reader: &mut Reader,
    group: usize,
    texts: &'t [String],
) -> Result<Vec<&'t str>, ParquetError> {
    let names = reader.parquet_schema().columns().iter().map(|column| column.path().string());
    let column = names.enumerate().find(|(_, name)| name == TRACE_ID);
    let texts = texts.iter().map(String::as_str);
    let Some((column, _)) = column else { return Ok(texts.collect()) };
    let filter = reader.get_row_group_column_bloom_filter(group, column).await?;
    Ok(texts.filter(|id| filter.as_ref().is_none_or(|filter| filter.check(id))).collect())
}

/// Returns which rows of a row group are in pages that may have some traces.
fn pages_with(
    reader: &Reader,
    group: usize,
    texts: &[&str],
) -> Result<Vec<RowSelector>, ParquetError> {
    let metadata = reader.metadata();
    let rows = metadata.row_group(group).num_rows() as usize;
    let whole = vec![RowSelector::select(rows)];
    let Some((columns, offsets)) = metadata.column_index().zip(metadata.offset_index()) else {
        return Ok(whole);
    };
    let ids = StatisticsConverter::try_new(TRACE_ID, reader.schema(), reader.parquet_schema())?;
    let first = ids.data_page_mins(columns, offsets, [&group])?;
    let last = ids.data_page_maxes(columns, offsets, [&group])?;
    let counts = ids.data_page_row_counts(offsets, metadata.row_groups(), [&group])?;
    let (Some(first), Some(last)) = (first.as_string_view_opt(), last.as_string_view_opt()) else {
        return Ok(whole);
    };
    let Some(counts) = counts else { return Ok(whole) };
    let may_have = |page: usize| {
        let bounds = first.is_valid(page) && last.is_valid(page);
        let (first, last) = (first.value(page), last.value(page));
        !bounds || texts.iter().any(|id| (first..=last).contains(id))
    };
    let pages = counts.values().iter().enumerate();
    let selector = |(page, &rows): (usize, &u64)| {
        let row_count = rows as usize;
        RowSelector { row_count, skip: !may_have(page) }
    };
    Ok(pages.map(selector).collect())
}

/// Tells what went wrong with a file.
async fn read_of<T>(
    store: &Arc<dyn ObjectStore>,
    table: &str,
    file: &LiveFile,
    read: Result<T, ParquetError>,
) -> Result<T, Error> {
    match read {
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
    page_index: PageIndexPolicy,
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
        let reader = ParquetMetaDataReader::new().with_page_index_policy(self.page_index);
        async move { reader.load_and_finish(self, bytes).await.map(Arc::new) }.boxed()
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
