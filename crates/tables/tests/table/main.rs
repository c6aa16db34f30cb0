//! A table: what was appended is there once, whatever happens.

mod clocks;
mod damage;
mod findings;
mod power;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, FieldRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use timesink_model::schema::spans;
use timesink_store::{Disk, LocalDisk};
use timesink_tables::{Compacted, DiskStore, Error, Joining, Layout, Table};
use timesink_testkit::disk::{Fault, ForgetfulDisk};
use timesink_testkit::notation;

const ROOT: &str = "/data/tables";

const FOLDER: &str = "/data/tables/spans";

/// So many of the operations fail, one at a time: all of them would take minutes.
const FAULTS: usize = 40;

/// 2026-11-28T12:00:00Z.
const NOW: i64 = 1_795_867_200_000_000_000;

const TRACES: &str = "\
shop SERVER GET/cart/{i} 0ms 120ms x20 http.request.method=GET
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";

/// Rows of each of two appends.
fn batches() -> Vec<RecordBatch> {
    let rows = spans_of(TRACES);
    (0..2).map(|part| rows.slice(part * 30, 30)).collect()
}

/// The same, so many that their files can be spliced.
fn large_batches() -> Vec<RecordBatch> {
    let rows = spans_of("shop SERVER GET/cart 0ms 1ms x66000 http.request.method=GET\n");
    (0..2).map(|part| rows.slice(part * 33_000, 33_000)).collect()
}

fn spans_of(text: &str) -> RecordBatch {
    let schema = Arc::new(spans::table().schema());
    arrow::compute::concat_batches(&schema, &notation::spans(text)).expect("one schema")
}

/// Opens the table in a folder of tables.
async fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Table, Error> {
    open_at(disk, root, || NOW).await
}

/// Opens the table at a time.
async fn open_at(disk: Arc<dyn Disk>, root: &Path, clock: fn() -> i64) -> Result<Table, Error> {
    let store = Arc::new(DiskStore::new(disk, root));
    Table::open(store, &spans::table(), Layout::SPANS, clock).await
}

/// Appends rows as one record of the log.
async fn append(table: &mut Table, rows: &[RecordBatch], record: u64) -> Result<(), Error> {
    table.append(&[(record, rows)]).await
}

/// Returns a column of a file.
fn texts(disk: &dyn Disk, path: &Path, column: &str) -> Vec<String> {
    let bytes = disk.read(path).expect("it is there");
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes));
    let batches = file.and_then(ParquetRecordBatchReaderBuilder::build).expect("it is Parquet");
    let texts = batches.flat_map(|batch| {
        let batch = batch.expect("it is whole");
        let texts = batch.column_by_name(column).expect("a column").as_string_view();
        texts.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    });
    texts.collect()
}

/// Returns the ids of the spans in the table's files, in their order.
fn ids(disk: &dyn Disk, folder: &Path, table: &Table) -> Vec<String> {
    let files = table.files().expect("it is read").into_iter();
    let ids = files.flat_map(|file| {
        let path = folder.join(&file.path);
        let ids = texts(disk, &path, "span_id");
        let bytes = disk.look(&path).expect("it is there").bytes;
        assert_eq!((Some(ids.len() as u64), bytes), (file.rows, file.bytes));
        ids
    });
    ids.collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort_unstable();
    ids
}

fn ids_of(batches: &[RecordBatch]) -> Vec<String> {
    let ids = batches.iter().flat_map(|batch| {
        let spans = batch.column_by_name("span_id").expect("a column").as_string_view();
        spans.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    });
    sorted(ids.collect())
}

#[tokio::test]
async fn rows_come_back_from_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let root: PathBuf = folder.path().join("tables of the %41 shöp");
    let folder = root.join("spans");
    let batches = batches();
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let mut table = open(Arc::clone(&disk), &root).await.expect("it is made");
    assert_eq!(table.through(), 0);
    append(&mut table, &batches[..1], 7).await.expect("it works");
    append(&mut table, &batches[1..], 9).await.expect("it works");
    append(&mut table, &batches[1..], 9).await.expect("it is passed by");
    let table = open(Arc::clone(&disk), &root).await.expect("it is there");
    assert_eq!(table.through(), 9);
    assert_eq!(sorted(ids(&*disk, &folder, &table)), ids_of(&batches));
}

/// Appends what is not there yet, one batch after the other; returns how many were said to be
/// there.
async fn work(disk: &ForgetfulDisk, batches: &[RecordBatch]) -> usize {
    let Ok(mut table) = open(Arc::new(disk.clone()), Path::new(ROOT)).await else { return 0 };
    let mut appended = table.through() as usize;
    for (number, batch) in batches.iter().enumerate().skip(appended) {
        let through = number as u64 + 1;
        if append(&mut table, std::slice::from_ref(batch), through).await.is_err() {
            break;
        }
        appended = number + 1;
    }
    appended
}

/// Scenario: one operation of the disk fails, in an append, a checkpoint, a join or as rows expire,
/// and whoever does it tries again, as the server does: with the table as it is.
/// Guarantee: every row is there once.
#[tokio::test]
async fn a_fault_costs_one_try() {
    let rows = batches();
    let live = async |disk: &ForgetfulDisk| {
        let tries = async |what: &str, fault: &mut usize| {
            *fault += 1;
            assert!(*fault < 3, "it fails once only: {what}");
        };
        let mut failed = 0;
        let mut table = loop {
            match open(Arc::new(disk.clone()), Path::new(ROOT)).await {
                Ok(table) => break table,
                Err(error) => tries(&error.to_string(), &mut failed).await,
            }
        };
        for number in 0..22 {
            let row = [rows[number / 20].slice(number % 20, 1)];
            while let Err(error) = append(&mut table, &row, number as u64 + 1).await {
                tries(&error.to_string(), &mut failed).await;
                // Others go on meanwhile.
                let _ = table.compact("", Joining::Merge).await;
            }
        }
        loop {
            match table.compact(LATER, Joining::Merge).await {
                Ok(done) if done.files_before == 0 => break,
                Ok(_) => {}
                Err(error) => tries(&error.to_string(), &mut failed).await,
            }
        }
        while let Err(error) = table.expire(Some("0"), Some(u64::MAX)).await {
            tries(&error.to_string(), &mut failed).await;
        }
        for _ in 0..3 {
            let _ = table.sweep(Duration::ZERO).await;
        }
        table
    };
    let expected = ids_of(&[rows[0].slice(0, 20), rows[1].slice(0, 2)]);
    let whole = ForgetfulDisk::default();
    live(&whole).await;
    for at in (0..whole.operations()).step_by(whole.operations() / FAULTS) {
        let disk = ForgetfulDisk::default();
        disk.fail(Fault::Once { at });
        let table = live(&disk).await;
        assert_eq!(table.through(), 22, "a fault at {at}");
        let found = sorted(ids(&disk, Path::new(FOLDER), &table));
        assert_eq!(found, expected, "a fault at {at}");
        let table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("opens");
        let found = sorted(ids(&disk, Path::new(FOLDER), &table));
        assert_eq!((table.through(), found), (22, expected.clone()), "a fault at {at}");
    }
}

/// Scenario: a table of an older version is opened, then one of a later version.
/// Guarantee: the first gets the columns that it lacks; the second is left alone.
#[tokio::test]
async fn columns_are_added_and_never_lost() {
    let disk = ForgetfulDisk::default();
    let store = || Arc::new(DiskStore::new(Arc::new(disk.clone()), ROOT));
    let mut older = spans::table();
    older.columns.retain(|column| column.name != "http_route");
    let rows = batches();
    let old_rows = {
        let names = older.columns.iter().map(|column| column.name);
        let indices = names.map(|name| rows[0].schema().index_of(name).expect("a column"));
        rows[0].project(&indices.collect::<Vec<_>>()).expect("they are there")
    };
    let mut table = Table::open(store(), &older, Layout::SPANS, || NOW).await.expect("it is made");
    append(&mut table, &[old_rows], 1).await.expect("it works");
    let mut table =
        Table::open(store(), &spans::table(), Layout::SPANS, || NOW).await.expect("it opens");
    append(&mut table, &rows[1..], 2).await.expect("it works");
    assert_eq!(table.compact(LATER, Joining::Merge).await.expect("it works").files_before, 2);
    assert_eq!(sorted(ids(&disk, Path::new(FOLDER), &table)), ids_of(&rows));
    let later = Table::open(store(), &older, Layout::SPANS, || NOW).await;
    let refused = later.expect_err("it is refused").to_string();
    assert!(refused.contains("of a later version") && refused.contains("http_route"), "{refused}");
}

/// Scenario: many appends, some behind checkpoints of Delta's log.
/// Guarantee: the rows and the position are there, from the checkpoint too.
#[tokio::test]
async fn a_table_of_many_commits_opens_from_its_checkpoint() {
    let rows = batches().remove(0);
    let folder = Path::new(FOLDER);
    let disk = ForgetfulDisk::default();
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it is made");
    for number in 0..25 {
        let row = [rows.slice(number, 1)];
        append(&mut table, &row, number as u64 + 1).await.expect("it works");
    }
    let log = disk.list(&folder.join("_delta_log")).expect("it is there");
    assert!(log.iter().any(|name| name.ends_with(".checkpoint.parquet")), "{log:?}");
    // Without what is before the checkpoint: old commits are removed with it.
    assert!(!log.contains(&format!("{:020}.json", 0)), "{log:?}");
    for version in 0..20 {
        let commit = folder.join("_delta_log").join(format!("{version:020}.json"));
        let _ = disk.remove(&commit);
    }
    let table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it is there");
    assert_eq!(table.through(), 25);
    assert_eq!(sorted(ids(&disk, folder, &table)), ids_of(&[rows.slice(0, 25)]));
}

const LATER: &str = "9999-12-31T23";

/// Scenario: files of hours that are over are joined.
/// Guarantee: the rows are there once, and in order.
#[tokio::test]
async fn small_files_are_joined_and_no_row_is_lost() {
    let batches = batches();
    let folder = Path::new(FOLDER);
    let disk = ForgetfulDisk::default();
    assert_eq!(work(&disk, &batches).await, 2);
    let join = async |disk: &ForgetfulDisk| {
        let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await?;
        table.compact(LATER, Joining::Merge).await
    };
    let whole = disk.copied();
    let joined = join(&whole).await.expect("it works");
    assert_eq!(joined, Compacted { files_before: 2, files_after: 1 });
    let table = open(Arc::new(whole.clone()), Path::new(ROOT)).await.expect("opens");
    assert_eq!((table.files().expect("it is read").len(), table.through()), (1, 2));
    assert_eq!(ids(&whole, folder, &table).len(), 60);
    assert!(is_sorted(&whole, folder, &table));
    assert_eq!(sorted(ids(&whole, folder, &table)), ids_of(&batches));
    assert_eq!(join(&whole).await.expect("it works"), Compacted::default(), "nothing is left");
}

fn is_sorted(disk: &dyn Disk, folder: &Path, table: &Table) -> bool {
    let file = table.files().expect("it is read").remove(0);
    texts(disk, &folder.join(&file.path), "trace_id").is_sorted()
}

/// Scenario: rows go by age and by size, and their files with them.
#[tokio::test]
async fn what_expired_goes_and_nothing_else() {
    let batches = batches();
    let folder = Path::new(FOLDER);
    let disk = ForgetfulDisk::default();
    assert_eq!(work(&disk, &batches).await, 2);
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("opens");
    let hour = table.files().expect("it is read")[0].hour.clone().expect("one hour");
    assert_eq!(table.expire(Some(&hour), None).await.expect("it works"), []);
    let bytes: Vec<u64> = table.files().expect("it is read").iter().map(|f| f.bytes).collect();
    let expired = table.expire(None, Some(bytes.iter().sum::<u64>() - 1)).await.expect("it works");
    assert_eq!(expired.len(), 1);
    assert_eq!(ids(&disk, folder, &table).len(), 30);
    assert_eq!(table.sweep(Duration::ZERO).await.expect("it works"), 0, "it was not seen before");
    let minute = Duration::from_mins(1);
    assert_eq!(table.sweep(minute).await.expect("it works"), 0, "readers may still need it");
    assert_eq!(table.sweep(Duration::ZERO).await.expect("it works"), 1);
    assert_eq!(ids(&disk, folder, &table).len(), 30, "what is live stays");
    assert_eq!(table.expire(Some(LATER), None).await.expect("it works").len(), 1);
    assert_eq!((table.files().expect("it is read").len(), table.through()), (0, 2));
}

/// Returns rows with a text of its own, which is long and compresses well, in each column of texts
/// that may be NULL.
fn wide(rows: &RecordBatch) -> RecordBatch {
    let schema = rows.schema();
    let column = |(field, old): (&FieldRef, &ArrayRef)| -> ArrayRef {
        if field.data_type() != &DataType::Utf8View || !field.is_nullable() {
            return Arc::clone(old);
        }
        let texts = (0..rows.num_rows()).map(|row| format!("{row:04}{:01020}", 0));
        Arc::new(StringViewArray::from_iter_values(texts))
    };
    let columns = schema.fields().iter().zip(rows.columns()).map(column).collect();
    RecordBatch::try_new(Arc::clone(&schema), columns).expect("of the table")
}

/// Scenario: rows take much memory while they are encoded, and little once they are.
/// Guarantee: what is joined becomes fewer files, so that joining comes to an end.
#[tokio::test]
async fn files_of_wide_rows_become_fewer() {
    let rows = spans_of("shop SERVER GET/cart 0ms 120ms x2000 http.request.method=GET\n");
    let disk = ForgetfulDisk::default();
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it is made");
    for part in 0..2 {
        let rows = wide(&rows.slice(part * 1000, 1000));
        append(&mut table, &[rows], part as u64 + 1).await.expect("it works");
    }
    let joined = table.compact(LATER, Joining::Merge).await.expect("it works");
    assert_eq!(joined, Compacted { files_before: 2, files_after: 1 });
}
