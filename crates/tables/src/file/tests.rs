//! What a file of `spans` is made of, and how little of it a lookup reads.

use std::io::Cursor;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{StringViewArray, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::basic::Type as PhysicalType;
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use timesink_model::schema::{facts, gaps, spans};
use timesink_testkit::notation;

use super::*;

/// Spans of a trace.
const TRACE_SPANS: usize = 8;

/// Rows of the file that is looked at: of two row groups.
const ROWS: usize = ROW_GROUP_ROWS + 20_000;

fn schema() -> SchemaRef {
    Arc::new(spans::table().schema())
}

/// Returns the ids of traces in their order: no part of them tells where the next one is.
fn trace_id(number: usize) -> String {
    let number = number as u64 + 1;
    format!("{:016x}{:016x}", number << 40, number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Returns rows of many traces, sorted.
fn rows() -> RecordBatch {
    let text = "\
shop SERVER GET/cart 0ms 120ms http.request.method=GET
  shop CLIENT Q 5ms 10ms x3 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";
    let few = concat_batches(&schema(), &notation::spans(text)).unwrap();
    let repeated: UInt32Array = (0..ROWS as u32).map(|row| row % 4).collect();
    let rows = take_record_batch(&few, &repeated).unwrap();
    let traces = (0..ROWS).map(|row| trace_id(row / TRACE_SPANS));
    let ids =
        (0..ROWS as u64).map(|row| format!("{:016x}", row.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let starts = (0..ROWS as i64).map(|row| notation::ZERO_UNIX_NANO + row * 1000);
    let column = |name: &str| -> Option<ArrayRef> {
        match name {
            "trace_id" => Some(Arc::new(StringViewArray::from_iter_values(traces.clone()))),
            "span_id" => Some(Arc::new(StringViewArray::from_iter_values(ids.clone()))),
            "start_time_unix_nano" => Some(Arc::new(Int64Array::from_iter_values(starts.clone()))),
            _ => None,
        }
    };
    let fields = schema();
    let columns = fields.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, old)| column(field.name()).unwrap_or(Arc::clone(old)));
    RecordBatch::try_new(schema(), columns.collect()).unwrap()
}

/// Returns sorted rows as a file of joined ones.
fn joined(rows: &RecordBatch) -> NewFile {
    let mut file = FileWriter::new(&Layout::SPANS, &schema(), None).unwrap();
    file.write(rows).unwrap();
    file.finish(true).unwrap()
}

/// Returns rows, which came in some other order, as a file.
fn flushed(rows: &RecordBatch) -> NewFile {
    let count = rows.num_rows();
    let scattered: UInt32Array = (0..count).map(|row| (row * 7919 % count) as u32).collect();
    let scattered = take_record_batch(rows, &scattered).unwrap();
    let parts = (0..count).step_by(10_000);
    let parts = parts.map(|at| scattered.slice(at, 10_000.min(count - at))).collect::<Vec<_>>();
    let mut files = files(&Layout::SPANS, &schema(), &parts).unwrap();
    assert_eq!(files.len(), 1, "they are of one hour");
    files.remove(0)
}

/// A file that counts the bytes which are read of it.
struct Counted {
    file: Bytes,
    read: Arc<AtomicUsize>,
}

impl Length for Counted {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }
}

impl ChunkReader for Counted {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Cursor<Bytes>> {
        let rest = self.file.slice(start as usize..);
        self.read.fetch_add(rest.len(), Ordering::Relaxed);
        Ok(Cursor::new(rest))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.read.fetch_add(length, Ordering::Relaxed);
        Ok(self.file.slice(start as usize..start as usize + length))
    }
}

fn column(file: &ParquetMetaData, name: &str) -> usize {
    let columns = file.file_metadata().schema_descr().columns();
    columns.iter().position(|column| column.path().string() == name).unwrap()
}

/// Returns which rows of a row group lie in pages that can have a trace, by the index of pages.
fn pages(file: &ParquetMetaData, group: usize, id: &str) -> Vec<Range<usize>> {
    let number = column(file, "trace_id");
    let ColumnIndexMetaData::BYTE_ARRAY(index) = &file.column_index().unwrap()[group][number]
    else {
        panic!("the column has an index");
    };
    let firsts = file.offset_index().unwrap()[group][number].page_locations().iter();
    let mut ends: Vec<usize> = firsts.map(|page| page.first_row_index as usize).collect();
    ends.push(file.row_group(group).num_rows() as usize);
    let can_have = |page: &usize| {
        index.min_value(*page).unwrap() <= id.as_bytes()
            && id.as_bytes() <= index.max_value(*page).unwrap()
    };
    (0..ends.len() - 1).filter(can_have).map(|page| ends[page]..ends[page + 1]).collect()
}

/// Looks a trace up as an engine does, by bloom filters and the index of pages; returns how many
/// row groups were looked into, how many rows it has, and the bytes that were read.
fn look_up(file: &Bytes, id: &str) -> (usize, usize, usize) {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Counted { file: file.clone(), read: Arc::clone(&read) };
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let mut reader =
        ParquetRecordBatchReaderBuilder::try_new_with_options(counted, options).unwrap();
    let metadata = Arc::clone(reader.metadata());
    let number = column(&metadata, "trace_id");
    let may_have = |group: &usize| {
        let filter = reader.get_row_group_column_bloom_filter(*group, number).unwrap();
        filter.expect("there is one").check(&id)
    };
    let groups: Vec<usize> = (0..metadata.num_row_groups()).filter(may_have).collect();
    let (mut ranges, mut before) = (Vec::new(), 0);
    for group in &groups {
        let pages = pages(&metadata, *group, id).into_iter();
        ranges.extend(pages.map(|rows| rows.start + before..rows.end + before));
        before += metadata.row_group(*group).num_rows() as usize;
    }
    let selection = RowSelection::from_consecutive_ranges(ranges.into_iter(), before);
    reader = reader.with_row_groups(groups.clone()).with_row_selection(selection);
    let batches = reader.build().unwrap().map(Result::unwrap);
    let is_of_it = |batch: &RecordBatch| {
        let ids = named(batch, "trace_id").unwrap().as_string_view().clone();
        ids.iter().filter(|found| *found == Some(id)).count()
    };
    let rows = batches.map(|batch| is_of_it(&batch)).sum();
    (groups.len(), rows, read.load(Ordering::Relaxed))
}

/// Guarantee: row groups are of a bounded size, columns are compressed, traces have bloom filters
/// and an index of pages; and a lookup by trace id reads a small part of the file.
#[test]
fn a_file_is_made_to_be_looked_up() {
    let (full, half) = (ROW_GROUP_ROWS as i64, ROWS as i64 / 2);
    check_lookups(&joined(&rows()).bytes.into(), [full, ROWS as i64 - full]);
    check_lookups(&flushed(&rows()).bytes.into(), [half, half]);
}

fn check_lookups(file: &Bytes, group_rows: [i64; 2]) {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = reader.parse_and_finish(file).unwrap();
    let groups: Vec<i64> = metadata.row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    assert_eq!(groups, group_rows);
    let indexed = [Layout::SPANS.found_by, Layout::SPANS.rising].concat();
    for (number, group) in metadata.row_groups().iter().enumerate() {
        for (at, chunk) in group.columns().iter().enumerate() {
            let name = chunk.column_path().string();
            assert!(matches!(chunk.compression(), Compression::ZSTD(_)), "{name}");
            let is_few = Layout::SPANS.few.contains(&name.as_str());
            let has_filter = is_few || name == "trace_id";
            assert_eq!(chunk.bloom_filter_offset().is_some(), has_filter, "{name}");
            assert!(!is_few || chunk.bloom_filter_length().is_some_and(|bytes| bytes < 100));
            // Of what lies inside a value, of texts but the service, and of ids that nobody looks
            // up nothing is told.
            let is_text = chunk.column_type() == PhysicalType::BYTE_ARRAY;
            let is_told = !is_text || matches!(name.as_str(), "trace_id" | "service_name");
            let is_bare = name.contains('.') || !is_told;
            assert_eq!(chunk.statistics().is_none(), is_bare, "{name}");
            let index = &metadata.column_index().unwrap()[number][at];
            let is_indexed = !matches!(index, ColumnIndexMetaData::NONE);
            assert!(is_indexed || !indexed.contains(&name.as_str()), "{name}");
            assert!(!metadata.offset_index().unwrap()[number][at].page_locations().is_empty());
        }
    }
    for number in [0, ROWS / TRACE_SPANS / 2, ROWS / TRACE_SPANS - 1] {
        let (groups, found, read) = look_up(file, &trace_id(number));
        assert_eq!((groups, found), (1, TRACE_SPANS), "trace {number}");
        // Most of it is filters and the index, which do not grow with what else rows hold.
        assert!(read * 4 < file.len(), "{read} of {} bytes", file.len());
    }
    // Of others 5 in 100 are looked for in vain, by the bloom filter.
    let others = (0..20).map(|number| trace_id(ROWS + number));
    let in_vain = others.filter(|id| look_up(file, id).0 > 0).count();
    assert!(in_vain < 5, "{in_vain} of 20");
}

/// Guarantee: rows come back as they came, sorted, whatever columns they have; and what is not of
/// the table is refused.
#[test]
fn rows_of_many_kinds_come_back() {
    let text = "\
shop SERVER GET/cart/{i} 0ms 120ms http.request.method=GET http.route=/cart
  shop CLIENT Q 5ms 10ms x3/1ms db.system.name=mysql event=exception event.exception.type=KeyError
--- x40 every 1ms
mail CONSUMER take 0ms 7ms thread.id=7 messaging.system=kafka
--- x9 every 1ms
";
    let mut parts = notation::spans(text);
    let last = parts.pop().unwrap();
    let half = last.num_rows() / 2;
    parts.extend([last.slice(half, last.num_rows() - half), last.slice(0, half)]);
    parts.push(last.slice(0, 0));
    let all = concat_batches(&schema(), &parts).unwrap();
    let key =
        |name: &str| SortColumn { values: Arc::clone(named(&all, name).unwrap()), options: None };
    let keys = Layout::SPANS.sorted_by.iter().map(|name| key(name)).collect::<Vec<_>>();
    let sorted = take_record_batch(&all, &lexsort_to_indices(&keys, None).unwrap()).unwrap();
    let mut files = files(&Layout::SPANS, &schema(), &parts).unwrap();
    assert_eq!(files.len(), 1, "they are of one hour");
    assert_eq!(read(files.remove(0)), sorted);
    let column = all.schema().index_of("thread_id").unwrap();
    let mut fields = schema().fields().to_vec();
    fields[column] = Arc::new(fields[column].as_ref().clone().with_nullable(false));
    let strict: SchemaRef = Arc::new(Schema::new(fields));
    let refused = super::files(&Layout::SPANS, &strict, &parts).unwrap_err().of_table("spans");
    assert!(refused.to_string().contains("`thread_id`"), "{refused}");
}

fn read(file: NewFile) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file.bytes)).unwrap();
    let read = reader.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    concat_batches(&schema(), &read).unwrap()
}

/// Guarantee: a file is the same whether its rows came sorted or not.
#[test]
fn rows_that_are_flushed_lie_as_joined_ones_do() {
    let rows = rows();
    let (joined, flushed) = (joined(&rows), flushed(&rows));
    assert_eq!(joined.statistics, flushed.statistics);
    assert_eq!(read(joined), rows);
    assert_eq!(read(flushed), rows);
}

/// Guarantee: what a layout names is in its table, and rows are sorted by columns without NULLs.
#[test]
fn layouts_name_columns_that_are_there() {
    let layouts = [
        (Layout::SPANS, spans::table()),
        (Layout::FACTS, facts::stored()),
        (Layout::GAPS, gaps::stored()),
    ];
    for (layout, table) in layouts {
        let schema = table.schema();
        let Layout { hour_of, sorted_by, found_by, few, ids, measured, rising, bounded } = layout;
        let named = [sorted_by, found_by, few, ids, measured, rising, bounded].concat();
        for name in named.into_iter().chain(hour_of) {
            assert!(schema.index_of(name).is_ok(), "{}: {name}", table.name);
        }
        let sorted_by = sorted_by.iter().map(|name| schema.field_with_name(name).unwrap());
        let sorted_by: Vec<_> = sorted_by.map(|f| (f.data_type(), f.is_nullable())).collect();
        let (text, time) = (&DataType::Utf8View, &DataType::Int64);
        assert_eq!(sorted_by, [(text, false), (time, false), (text, false)], "{}", table.name);
    }
}

/// Scenario: spans of two hours and of traces that begin at once come in any order.
/// Guarantee: each hour has a file, whose rows are sorted by trace, start and span.
#[test]
fn rows_lie_by_trace_start_and_span() {
    let text = "\
shop SERVER GET/cart 0ms 120ms http.request.method=GET
  shop CLIENT Q 5ms 10ms db.system.name=mysql
  shop CLIENT R 5ms 10ms x4/0ms db.system.name=mysql
  shop CLIENT S 1ms 10ms db.system.name=mysql
--- x20 every 360000ms
";
    let all = concat_batches(&schema(), &notation::spans(text)).unwrap();
    let count = all.num_rows();
    let scattered: UInt32Array = (0..count).map(|row| (row * 53 % count) as u32).collect();
    let all = take_record_batch(&all, &scattered).unwrap();
    let parts = [all.slice(0, count / 3), all.slice(count / 3, count - count / 3)];
    let files = files(&Layout::SPANS, &schema(), &parts).unwrap();
    let hours: Vec<_> = files.iter().map(|file| file.hour.as_deref().unwrap()).collect();
    assert_eq!(hours, ["2026-01-01T00", "2026-01-01T01"]);
    let mut found = 0;
    for file in files {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file.bytes)).unwrap();
        let rows = reader.build().unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let rows = concat_batches(&schema(), &rows).unwrap();
        let texts = |name: &str| named(&rows, name).unwrap().as_string_view().clone();
        let (traces, ids) = (texts("trace_id"), texts("span_id"));
        let starts = numbers(&rows, "start_time_unix_nano").unwrap();
        let key = |row| (traces.value(row), starts.value(row), ids.value(row));
        assert!((1..rows.num_rows()).all(|row| key(row - 1) < key(row)));
        found += rows.num_rows();
    }
    assert_eq!(found, count);
}
