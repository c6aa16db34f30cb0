//! Which files are joined, and what spliced ones are.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use timesink_model::schema::{Columns, spans};
use timesink_testkit::disk::ForgetfulDisk;
use timesink_testkit::notation;

use super::*;
use crate::found::{SpanIds, may_have};
use crate::hours::times_of;
use crate::{DiskStore, Snapshot};

const MIB: u64 = 1 << 20;

const LATER: &str = "9999-12-31T23";

fn file(number: usize, mib: u64, rows: Option<u64>) -> LiveFile {
    LiveFile {
        path: format!("hour=2026-11-28T15/part-{number:016x}-000000.zstd.parquet"),
        bytes: mib * MIB,
        rows,
        hour: None,
        written: String::new(),
        modified: 0,
        bounds: BTreeMap::new(),
    }
}

/// Returns the bytes of those that are joined next, in MiB, of files of so many.
fn next(mib: &[u64], small: Small) -> Option<Vec<u64>> {
    let files = mib.iter().enumerate().map(|(number, mib)| file(number, *mib, None)).collect();
    let joined = enough(files, small)?;
    Some(joined.iter().map(|file| file.bytes / MIB).collect())
}

/// Guarantee: files of some size stay, one that was joined is read again for as much as it weighs,
/// and not more are taken than two files hold.
#[test]
fn small_files_are_joined() {
    assert_eq!(next(&[3, 1, 2], SMALL), Some(vec![1, 2, 3]));
    assert_eq!(next(&[3, 1, 2], SMALL_YET), None, "more may come");
    assert_eq!(next(&[2; 8], SMALL_YET), Some(vec![2; 8]));
    assert_eq!(next(&[4; 20], SMALL_YET), None, "they are joined when the hour is over");
    assert_eq!(next(&[4; 20], SMALL), Some(vec![4; 20]));
    assert_eq!(next(&[16, 16, 64, 1], SMALL), None, "large ones stay");
    assert_eq!(next(&[15, 1, 1], SMALL), Some(vec![1, 1]), "it would be written for little");
    assert_eq!(next(&[15, 2, 2], SMALL), Some(vec![2, 2, 15]));
    let many = next(&[10; 30], SMALL).unwrap_or_default();
    assert_eq!(many.len() as u64, 2 * FILE_BYTES / (10 * MIB));
    assert_eq!(next(&[1; 100], SMALL).map(|files| files.len()), Some(JOINED_FILES_MAX));
}

/// Guarantee: without time files of large row groups are spliced, and others wait until they are
/// many and very small.
#[test]
fn what_costs_much_waits_for_time() {
    let joined = |counts: &[u64], is_settled, joining| {
        let files = counts.iter().enumerate();
        let files = files.map(|(number, rows)| file(number, 1, Some(*rows))).collect();
        let next = joined_next(files, is_settled, joining, &HashSet::new());
        next.map(|(files, joining)| (files.len(), joining))
    };
    let (large, little) = (SPLICED_ROWS_MIN, SPLICED_ROWS_MIN - 1);
    let mixed = [large, little, large, little];
    assert_eq!(joined(&mixed, true, Joining::Merge), Some((4, Joining::Merge)));
    assert_eq!(joined(&mixed, true, Joining::Splice), Some((2, Joining::Splice)));
    assert_eq!(joined(&[little; 7], true, Joining::Splice), None);
    assert_eq!(joined(&[little; 8], true, Joining::Splice), Some((8, Joining::Merge)));
    assert_eq!(joined(&[large; 7], false, Joining::Splice), None, "more may come");
    assert_eq!(joined(&[large; 8], false, Joining::Splice), Some((8, Joining::Splice)));
    let wide = |joining| {
        let files = vec![file(1, 4, Some(9)), file(2, 5, None), file(3, 15, Some(9))];
        let next = joined_next(files, true, joining, &HashSet::from([file(2, 5, None).path]));
        next.map(|(files, joining)| (files.len(), joining))
    };
    assert_eq!(wide(Joining::Splice), Some((2, Joining::Splice)), "few rows, and large");
    assert_eq!(wide(Joining::Merge), Some((3, Joining::Merge)));
}

#[test]
fn names_tell_what_is_sorted() {
    let is_sorted = |path: &str| LiveFile { path: path.to_owned(), ..file(1, 1, None) }.is_sorted();
    assert!(file(1, 1, None).is_sorted());
    assert!(is_sorted("part-00000000000000ff-1000000.zstd.parquet"));
    for other in [
        "hour=2026-11-28T15/spliced-0000000000000001-000000.zstd.parquet",
        "part-00001-f0cd0fb0-7fd6-4d0f-9f5e-4a1d8b7a1c11-c000.zstd.parquet",
        "part-0000000000000001-000000.snappy.parquet",
        "part-1-000000.zstd.parquet",
        "",
    ] {
        assert!(!is_sorted(other), "{other}");
    }
}

/// Returns spans of traces of their own, as many as a file has that is spliced: each other trace
/// from one on.
fn many(first: u64) -> RecordBatch {
    let schema = Arc::new(spans::table().schema());
    let few = "shop SERVER GET/cart 0ms 120ms http.request.method=GET\n";
    let few = concat_batches(&schema, &notation::spans(few)).unwrap();
    let rows = SPLICED_ROWS_MIN;
    let repeated = UInt32Array::from(vec![0; rows as usize]);
    let rows = take_record_batch(&few, &repeated).unwrap();
    let numbers = || (0..SPLICED_ROWS_MIN).map(|row| first + 2 * row);
    let column = |name: &str| -> Option<ArrayRef> {
        match name {
            "trace_id" => {
                let ids = numbers().map(|number| format!("{number:032x}"));
                Some(Arc::new(StringViewArray::from_iter_values(ids)))
            }
            "start_time_unix_nano" => {
                let starts = numbers().map(|number| notation::ZERO_UNIX_NANO + number as i64);
                Some(Arc::new(starts.collect::<Int64Array>()))
            }
            _ => None,
        }
    };
    let columns = schema.fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, old)| column(field.name()).unwrap_or(Arc::clone(old)));
    RecordBatch::try_new(Arc::clone(&schema), columns.collect()).unwrap()
}

async fn open(disk: &ForgetfulDisk) -> Table {
    let store = Arc::new(DiskStore::new(Arc::new(disk.clone()), "/data"));
    Table::open(store, &spans::table(), Layout::SPANS, || notation::ZERO_UNIX_NANO).await.unwrap()
}

async fn snapshot(disk: &ForgetfulDisk) -> Snapshot {
    let store = Arc::new(DiskStore::new(Arc::new(disk.clone()), "/data"));
    Snapshot::open(store, &spans::table()).await.unwrap()
}

/// Returns the one file of a table that was spliced of two, and the table.
async fn spliced(disk: &ForgetfulDisk) -> (Table, LiveFile) {
    let mut table = open(disk).await;
    for first in [1, 0] {
        table.append(&[(2 - first, &[many(first)])]).await.unwrap();
    }
    let joined = table.compact(LATER, Joining::Splice).await.unwrap();
    assert_eq!(joined, Compacted { files_before: 2, files_after: 1 });
    let file = table.files().unwrap().remove(0);
    assert!(!file.is_sorted());
    (table, file)
}

/// Returns the traces of a file's rows, in their order.
async fn traces(snapshot: &Snapshot, file: &LiveFile) -> Vec<String> {
    let columns = Columns::named(["trace_id".to_owned()]);
    let batches = snapshot.read(file, &columns).await.unwrap();
    let texts = batches.flat_map(|batch| {
        let batch = batch.unwrap();
        let texts = batch.column(0).as_string_view().iter().flatten();
        texts.map(str::to_owned).collect::<Vec<_>>()
    });
    texts.collect()
}

/// Scenario: two files of an hour are spliced, then there is time.
/// Guarantee: their rows lie one file's behind the other's, with what readers need to pass them by.
#[tokio::test]
async fn spliced_row_groups_stay_as_they_are() {
    let disk = ForgetfulDisk::default();
    let (mut table, file) = spliced(&disk).await;
    let id = |number: u64| format!("{number:032x}");
    let of = |first: u64| (0..SPLICED_ROWS_MIN).map(move |row| id(first + 2 * row));
    let read = snapshot(&disk).await;
    assert_eq!(traces(&read, &file).await, of(1).chain(of(0)).collect::<Vec<_>>());
    assert_eq!((table.through(), file.rows), (2, Some(2 * SPLICED_ROWS_MIN)));
    let bounds = &file.bounds["trace_id"];
    assert_eq!(
        (&bounds.least, &bounds.greatest),
        (&id(0).into(), &id(2 * SPLICED_ROWS_MIN - 1).into())
    );
    read.check(&file, &Layout::SPANS).await.unwrap();

    let bytes = read_bytes(&table.store(), "spans", &file).await.unwrap();
    let metadata = ParquetMetaDataReader::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .parse_and_finish(&bytes)
        .unwrap();
    assert_eq!(metadata.num_row_groups(), 2);
    let first = metadata.row_group(0).column(0);
    assert!(first.bloom_filter_offset().is_some() && first.statistics().is_some());
    let traces_of = |numbers: &[u128]| numbers.iter().copied().collect::<HashSet<u128>>();
    let found = Arc::new(traces_of(&[3, 4, 1 << 40]));
    let rows = table.rows_of(&found, |_| true, &read.schema(), u64::MAX).await.unwrap();
    let rows = rows.unwrap().rows;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    for (trace, is_there) in [(4, true), (3, true), (1 << 40, false)] {
        let may = may_have(&table.store(), "spans", &file, &traces_of(&[trace])).await.unwrap();
        assert_eq!(may, is_there, "{trace}");
    }

    // There is time: what was spliced gets its order, then files are merged.
    assert_eq!(table.compact("2000", Joining::Merge).await.unwrap(), Compacted::default());
    let sorted = table.compact(LATER, Joining::Merge).await.unwrap();
    assert_eq!(sorted, Compacted { files_before: 1, files_after: 1 });
    let read = snapshot(&disk).await;
    let file = read.files().unwrap().remove(0);
    assert!(file.is_sorted());
    assert_eq!(traces(&read, &file).await, (0..2 * SPLICED_ROWS_MIN).map(id).collect::<Vec<_>>());
    for part in [2, 3] {
        table.append(&[(1 + part, &[many(part << 30)])]).await.unwrap();
    }
    let joined = table.compact(LATER, Joining::Merge).await.unwrap();
    assert_eq!(joined, Compacted { files_before: 3, files_after: 1 });
    let read = snapshot(&disk).await;
    for file in read.files().unwrap() {
        read.check(&file, &Layout::SPANS).await.unwrap();
    }
    assert_eq!(table.compact(LATER, Joining::Merge).await.unwrap(), Compacted::default());
    assert_eq!(table.files().unwrap()[0].rows, Some(4 * SPLICED_ROWS_MIN));
}

/// Scenario: rows of a spliced file are replaced.
/// Guarantee: the others stay, sorted in each row group.
#[tokio::test]
async fn rows_go_out_of_a_spliced_file() {
    let disk = ForgetfulDisk::default();
    let (mut table, _) = spliced(&disk).await;
    let rows = many(1).slice(7, 1);
    let mut ids = SpanIds::default();
    ids.add(&rows, &times_of(std::slice::from_ref(&rows)).unwrap());
    table.replace(&ids, &[], 3).await.unwrap();
    let file = table.files().unwrap().remove(0);
    assert_eq!((file.is_sorted(), file.rows), (false, Some(2 * SPLICED_ROWS_MIN - 1)));
    let read = snapshot(&disk).await;
    read.check(&file, &Layout::SPANS).await.unwrap();
    assert!(!traces(&read, &file).await.contains(&format!("{:032x}", 15)));
}

/// Scenario: a file is of a version that knew fewer columns.
/// Guarantee: it is left alone until there is time, and stands in nobody's way.
#[tokio::test]
async fn files_of_other_columns_wait_for_time() {
    let disk = ForgetfulDisk::default();
    let store = Arc::new(DiskStore::new(Arc::new(disk.clone()), "/data"));
    let mut older = spans::table();
    older.columns.retain(|column| column.name != "http_route");
    let rows = many(0);
    let names = older.columns.iter().map(|column| rows.schema().index_of(column.name).unwrap());
    let old_rows = rows.project(&names.collect::<Vec<_>>()).unwrap();
    let mut table = Table::open(store, &older, Layout::SPANS, || 0).await.unwrap();
    table.append(&[(1, &[old_rows])]).await.unwrap();
    let mut table = open(&disk).await;
    for part in 1..3 {
        table.append(&[(1 + part, &[many(part)])]).await.unwrap();
    }
    let joined = table.compact(LATER, Joining::Splice).await.unwrap();
    assert_eq!(joined, Compacted { files_before: 2, files_after: 1 });
    assert_eq!(table.compact(LATER, Joining::Splice).await.unwrap(), Compacted::default());
    table.append(&[(4, &[many(3)])]).await.unwrap();
    while table.compact(LATER, Joining::Merge).await.unwrap().files_before > 0 {}
    let files = table.files().unwrap();
    assert!(files.len() == 1 && files[0].is_sorted(), "{files:?}");
    assert_eq!(files[0].rows, Some(4 * SPLICED_ROWS_MIN));
}

/// Scenario: a file that is to be spliced is damaged, in its footer or in an index of pages.
/// Guarantee: the one is named and its hour left alone, the other stays as it is; no row is lost.
#[tokio::test]
async fn damaged_files_are_not_spliced() {
    for is_footer in [true, false] {
        let disk = ForgetfulDisk::default();
        let mut table = open(&disk).await;
        for part in 0..3 {
            table.append(&[(1 + part, &[many(part)])]).await.unwrap();
        }
        let path = table.files().unwrap()[0].path.clone();
        disk.damage(&Path::new("/data/spans").join(&path), |bytes| {
            let footer = u32::from_le_bytes(*bytes[bytes.len() - 8..].first_chunk().unwrap());
            let begin = bytes.len() - 8 - footer as usize;
            let damaged = if is_footer { begin..begin + 40 } else { begin - 40..begin };
            bytes[damaged].fill(0xff);
        });
        let joined = table.compact(LATER, Joining::Splice).await;
        if is_footer {
            let refused = joined.unwrap_err().to_string();
            assert!(refused.contains(&path), "{refused}");
        } else {
            assert_eq!(joined.unwrap(), Compacted { files_before: 2, files_after: 1 });
        }
        assert_eq!(table.compact(LATER, Joining::Splice).await.unwrap(), Compacted::default());
        let rows = table.files().unwrap().iter().filter_map(|file| file.rows).sum::<u64>();
        assert_eq!(rows, 3 * SPLICED_ROWS_MIN);
    }
}

/// Scenario: large files of a table without an order are spliced, then there is time.
/// Guarantee: every row is there once.
#[tokio::test]
async fn rows_in_no_order_are_spliced_once() {
    let disk = ForgetfulDisk::default();
    let store = Arc::new(DiskStore::new(Arc::new(disk), "/data"));
    let opened = Table::open(store, &spans::table(), Layout::QUARANTINE, || 0).await;
    let mut table = opened.unwrap();
    for part in 0..2 {
        table.append(&[(1 + part, &[many(part)])]).await.unwrap();
    }
    let joined = table.compact(LATER, Joining::Splice).await.unwrap();
    assert_eq!(joined, Compacted { files_before: 2, files_after: 1 });
    for part in 2..4 {
        table.append(&[(1 + part, &[many(part).slice(0, 9)])]).await.unwrap();
    }
    while table.compact(LATER, Joining::Merge).await.unwrap().files_before > 0 {}
    let schema = Arc::new(spans::table().schema());
    let mut rows = 0;
    for file in table.files().unwrap() {
        let read = table.read(&file, &schema).await.unwrap();
        rows += read.map(|batch| batch.unwrap().num_rows()).sum::<usize>();
    }
    assert_eq!(rows as u64, 2 * SPLICED_ROWS_MIN + 18);
}

/// Rows that begin in several hours are in files of the day on which they were written.
#[test]
fn an_hour_or_a_day_is_over() {
    let settled = "2026-11-28T15";
    assert!(is_over("2026-11-28T14", settled) && !is_over("2026-11-28T15", settled));
    assert!(is_over("2026-11-27", settled) && !is_over("2026-11-28", settled));
}
