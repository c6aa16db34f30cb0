//! Which files are joined, and what spliced ones are.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaDataReader};
use timesink_model::schema::{Columns, spans};
use timesink_testkit::disk::ForgetfulDisk;
use timesink_testkit::notation;

use super::*;
use crate::found::{SpanIds, may_have};
use crate::{DiskStore, Snapshot};

const MIB: u64 = 1 << 20;

const LATER: &str = "9999-12-31T23";

fn file(number: usize, mib: u64, rows: Option<u64>) -> LiveFile {
    LiveFile {
        path: format!("part-{number}.parquet"),
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
        joined_next(files, is_settled, joining).map(|(files, joining)| (files.len(), joining))
    };
    let (large, little) = (SPLICED_ROWS_MIN, SPLICED_ROWS_MIN - 1);
    let mixed = [large, little, large, little];
    assert_eq!(joined(&mixed, true, Joining::Merge), Some((4, Joining::Merge)));
    assert_eq!(joined(&mixed, true, Joining::Splice), Some((2, Joining::Splice)));
    assert_eq!(joined(&[little; 7], true, Joining::Splice), None);
    assert_eq!(joined(&[little; 8], true, Joining::Splice), Some((8, Joining::Merge)));
    assert_eq!(joined(&[large; 7], false, Joining::Splice), None, "more may come");
    assert_eq!(joined(&[large; 8], false, Joining::Splice), Some((8, Joining::Splice)));
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
/// Guarantee: their rows lie one file's behind the other's, with what readers need to pass them by;
/// merged, they are sorted.
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
    let rows = table.rows_of(&found, 0, &read.schema()).await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 2);
    assert!(!may_have(&table.store(), "spans", &file, &traces_of(&[1 << 40])).await.unwrap());

    table.append(&[(3, &[many(1 << 30)])]).await.unwrap();
    let joined = table.compact(LATER, Joining::Merge).await.unwrap();
    assert_eq!(joined, Compacted { files_before: 2, files_after: 1 });
    let file = table.files().unwrap().remove(0);
    assert!(file.is_sorted());
    let read = snapshot(&disk).await;
    assert!(traces(&read, &file).await.is_sorted());
    read.check(&file, &Layout::SPANS).await.unwrap();
}

/// Scenario: rows of a spliced file are replaced.
/// Guarantee: the others stay, sorted in each row group.
#[tokio::test]
async fn rows_go_out_of_a_spliced_file() {
    let disk = ForgetfulDisk::default();
    let (mut table, _) = spliced(&disk).await;
    let rows = many(1).slice(7, 1);
    let mut ids = SpanIds::default();
    ids.add(&rows, &HashSet::from([15]));
    table.replace(&ids, 0, &[], 3).await.unwrap();
    let file = table.files().unwrap().remove(0);
    assert_eq!((file.is_sorted(), file.rows), (false, Some(2 * SPLICED_ROWS_MIN - 1)));
    let read = snapshot(&disk).await;
    read.check(&file, &Layout::SPANS).await.unwrap();
    assert!(!traces(&read, &file).await.contains(&format!("{:032x}", 15)));
}

/// Scenario: a file is of a version that knew fewer columns.
/// Guarantee: it is merged with the others.
#[tokio::test]
async fn files_of_other_columns_are_merged() {
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
    table.append(&[(2, &[many(1)])]).await.unwrap();
    assert_eq!(table.compact(LATER, Joining::Splice).await.unwrap().files_before, 2);
    let file = table.files().unwrap().remove(0);
    assert_eq!((file.is_sorted(), file.rows), (true, Some(2 * SPLICED_ROWS_MIN)));
    snapshot(&disk).await.check(&file, &Layout::SPANS).await.unwrap();
}

/// Rows that begin in several hours are in files of the day on which they were written.
#[test]
fn an_hour_or_a_day_is_over() {
    let settled = "2026-11-28T15";
    assert!(is_over("2026-11-28T14", settled) && !is_over("2026-11-28T15", settled));
    assert!(is_over("2026-11-27", settled) && !is_over("2026-11-28", settled));
}
