//! Facts and gaps in tables: each trace's once, those of all its spans, whatever happens.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{
    SortColumn, concat_batches, filter_record_batch, lexsort_to_indices, take_record_batch,
};
use arrow::datatypes::Int64Type;
use timesink_model::schema::{self, Columns, Table, facts, gaps};
use timesink_store::{Disk, LocalDisk, Logged};
use timesink_tables::{DiskStore, Error, Settle, Snapshot, TABLES, Tables, stored_columns};
use timesink_testkit::disk::{Cut, Fault, ForgetfulDisk};
use timesink_testkit::notation;

const DATA: &str = "/data";

/// 2026-11-28T12:00:00Z.
const NOW: i64 = 1_795_867_200_000_000_000;

/// So many disks are looked at that power cuts leave, about: all of them, with
/// `TIMESINK_ALL_POINTS=1`, take minutes.
const CUTS: usize = 40;

const TRACES: &str = "\
shop SERVER GET/cart/{i} 0ms 120ms x20 http.request.method=GET
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";

/// Returns all spans, in rows that lie neither by trace nor by time.
fn spans() -> RecordBatch {
    let batches = notation::spans(TRACES);
    let all = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let rows = all.num_rows();
    let scattered: UInt32Array = (0..rows).map(|row| (row * 7 % rows) as u32).collect();
    take_record_batch(&all, &scattered).expect("rows of it")
}

fn sorted_by_trace() -> RecordBatch {
    sorted(&timesink_model::schema::spans::table(), &[spans()])
}

/// Returns every second row, from the first or the second on.
fn every_other(spans: &RecordBatch, first: usize) -> RecordBatch {
    let rows: UInt32Array = (first..spans.num_rows()).step_by(2).map(|row| row as u32).collect();
    take_record_batch(spans, &rows).expect("rows of it")
}

/// Returns spans as rows of `quarantine`.
fn quarantined(spans: &RecordBatch) -> RecordBatch {
    let reason: ArrayRef = Arc::new(StringViewArray::from(vec!["far ahead"; spans.num_rows()]));
    let columns = spans.columns().iter().cloned().chain([reason]).collect();
    let schema = Arc::new(schema::quarantine::table().schema());
    RecordBatch::try_new(schema, columns).expect("rows of it")
}

fn record(number: u64, spans: RecordBatch) -> Logged {
    Logged { spans: vec![spans], record: number, ..Logged::default() }
}

/// Returns spans in three records.
fn thirds(spans: &RecordBatch) -> [Logged; 3] {
    let at = |part: usize| part * spans.num_rows() / 3;
    [0, 1, 2].map(|part| record(part as u64 + 1, spans.slice(at(part), at(part + 1) - at(part))))
}

/// Returns what one pass makes of spans: facts and gaps with the columns that are stored.
fn walked(spans: &RecordBatch) -> [RecordBatch; 2] {
    let walked = timesink_facts::run(vec![spans.clone()], &stored_columns()).expect("it is walked");
    [sorted(&facts::stored(), &walked.facts), sorted(&gaps::stored(), &[walked.gaps])]
}

/// Returns rows as one batch, by trace, span and start.
fn sorted(table: &Table, rows: &[RecordBatch]) -> RecordBatch {
    let rows = concat_batches(&Arc::new(table.schema()), rows).expect("one schema");
    let column = |name: &str| SortColumn {
        values: Arc::clone(rows.column_by_name(name).expect("a column")),
        options: None,
    };
    let columns = ["trace_id", "span_id", "start_time_unix_nano"].map(column);
    let order = lexsort_to_indices(&columns, None).expect("it is sorted");
    take_record_batch(&rows, &order).expect("rows of it")
}

async fn open(disk: &Arc<dyn Disk>, data: &Path) -> Result<Tables, Error> {
    let store = DiskStore::new(Arc::clone(disk), data.join(TABLES));
    Tables::open(Arc::new(store), || NOW).await
}

/// Returns what the tables have: facts and gaps.
async fn stored(disk: &Arc<dyn Disk>, data: &Path) -> [RecordBatch; 2] {
    let store = Arc::new(DiskStore::new(Arc::clone(disk), data.join(TABLES)));
    let mut tables = Vec::new();
    for table in [facts::stored(), gaps::stored()] {
        let snapshot = Snapshot::open(Arc::clone(&store) as _, &table).await.expect("it is there");
        let mut rows = Vec::new();
        for file in snapshot.files().expect("they are listed") {
            let batches = snapshot.read(&file, &Columns::All).await.expect("it is there");
            rows.extend(batches.map(|batch| batch.expect("it is whole")));
        }
        tables.push(sorted(&table, &rows));
    }
    <[_; 2]>::try_from(tables).expect("two tables")
}

/// Scenario: spans of each trace come in three records, and traces are settled after each.
/// Guarantee: the facts are those of one pass over all of them, each once, and none are of a part.
#[tokio::test]
async fn late_spans_bring_facts_about_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let spans = spans();
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    let mut rows = 0;
    for part in thirds(&spans) {
        tables.append(&[&part]).await.expect("it works");
        tables.settle(Settle::AtOnce).await.expect("it works");
        rows += part.spans[0].num_rows();
        let so_far = walked(&spans.slice(0, rows));
        assert_eq!(stored(&disk, folder.path()).await, so_far, "after {rows} spans");
        assert_eq!((tables.settled_through(), tables.unsettled_bytes()), (part.record, 0));
    }
}

/// Scenario: the same, with little memory for spans that are in the tables.
/// Guarantee: facts are those of one pass as soon as each trace fits; with none, each span has
/// facts of its own once, for good: what was too much is not read again.
#[tokio::test]
async fn late_spans_are_read_in_parts() {
    let spans = spans();
    let whole = walked(&spans);
    let mut wholes = Vec::new();
    for bytes in [0, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
        let mut tables = open(&disk, folder.path()).await.expect("it is made");
        tables.read_at_most(bytes);
        for part in thirds(&spans) {
            tables.append(&[&part]).await.expect("it works");
            tables.settle(Settle::AtOnce).await.expect("it works");
        }
        let stored = stored(&disk, folder.path()).await;
        let ids = |rows: &RecordBatch| rows.project(&[0, 1]).expect("two columns");
        assert_eq!(ids(&stored[0]), ids(&whole[0]), "{bytes}");
        assert_eq!(tables.unsettled_bytes(), 0);
        wholes.push(stored == whole);
    }
    assert_eq!((wholes.first(), wholes.last()), (Some(&false), Some(&true)), "{wholes:?}");
}

/// Scenario: a trace an hour comes, and what is quarantined; the tables are to take less and less.
/// Guarantee: they do, the oldest hours go first, whole, and no span that is left lacks its facts.
#[tokio::test]
async fn the_oldest_go_until_all_tables_have_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    let batches = notation::spans(&format!("{TRACES}--- x8 every 3600s\n"));
    let all = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let starts = all["start_time_unix_nano"].as_primitive::<Int64Type>().values();
    let first = starts.iter().min().expect("spans");
    for hour in 0..8 {
        let hours = starts.iter().map(|start| Some((start - first) / 3_600_000_000_000 == hour));
        let spans = filter_record_batch(&all, &hours.collect()).expect("rows of it");
        let record = hour as u64 + 1;
        let quarantine = vec![quarantined(&spans)];
        let part = Logged { spans: vec![spans], quarantine, record };
        tables.append(&[&part]).await.expect("it works");
        tables.settle(Settle::AtOnce).await.expect("it works");
    }
    let store = Arc::new(DiskStore::new(Arc::clone(&disk), folder.path().join(TABLES)));
    let files = async |table: &Table| {
        let snapshot = Snapshot::open(Arc::clone(&store) as _, table).await.expect("it is there");
        let files = snapshot.files().expect("they are listed");
        let hours: Vec<_> = files.iter().filter_map(|file| file.hour.clone()).collect();
        (hours, files.iter().map(|file| file.bytes).sum::<u64>())
    };
    let all = async || {
        let (spans, quarantine) = (schema::spans::table(), schema::quarantine::table());
        [files(&spans).await, files(&facts::stored()).await, files(&quarantine).await]
    };
    let [(hours, spans), (_, of_facts), (_, quarantine)] = all().await;
    assert_eq!(hours.len(), 8);
    let mut max = (spans + of_facts + quarantine) * 2;
    tables.expire(None, Some(max)).await.expect("it works");
    assert_eq!(all().await[0].0, hours);
    let mut left = hours.len();
    while left > 0 {
        max = max * 4 / 5;
        tables.expire(None, Some(max)).await.expect("it works");
        let [(spans, bytes), (with_facts, of_facts), (_, quarantine)] = all().await;
        assert!(bytes + of_facts + quarantine <= max && quarantine <= max / 10, "{max}");
        assert!(hours.ends_with(&spans), "{spans:?}");
        assert_eq!(spans, with_facts);
        left = spans.len();
    }
}

/// A job of an hour, whose own span ends last.
const JOB: &str = "\
shop SERVER POST/job 0ms 3600000ms http.request.method=POST
  shop CLIENT Q 5ms 10ms x4 db.system.name=mysql db.query.text=\"SELECT 1\"
  shop CLIENT R 3500000ms 10ms x2 db.system.name=mysql db.query.text=\"SELECT 2\"
  shop CLIENT S 3590000ms 10ms x3 db.system.name=mysql db.query.text=\"SELECT 3\"
";

static MINUTES: AtomicI64 = AtomicI64::new(0);

/// Returns some time after [`JOB`] began, ns since the epoch.
fn minutes_later() -> i64 {
    let batches = notation::spans(JOB);
    let start = |batch: &RecordBatch| {
        let starts = batch["start_time_unix_nano"].as_primitive::<Int64Type>();
        starts.values().iter().min().copied()
    };
    let begun = batches.iter().filter_map(start).min().expect("spans");
    begun + MINUTES.load(Ordering::Relaxed) * 60_000_000_000
}

/// Scenario: the spans of a job come while it lasts, and its own when it ends, an hour after the
/// first were walked, and some after that; with and without starts anew in between, after which the
/// first are too old to be known; and what came last comes again.
/// Guarantee: its facts are then those of one pass over all, once. What began later than half an
/// hour after the first were walked was walked by itself, until then.
#[tokio::test]
async fn a_span_may_come_as_late_as_it_lasts() {
    let named = |name: &str| {
        let batches = notation::spans(JOB);
        let all = concat_batches(&batches[0].schema(), &batches).expect("one schema");
        let is_named = all["name"].as_string_view().iter().map(|text| Some(text == Some(name)));
        filter_record_batch(&all, &is_named.collect()).expect("rows of it")
    };
    let parts = ["Q", "R", "POST/job", "S"].map(named);
    assert_eq!(parts.each_ref().map(RecordBatch::num_rows), [4, 2, 1, 3]);
    let together = |rows: &[RecordBatch]| {
        walked(&concat_batches(&rows[0].schema(), rows).expect("one schema"))
    };
    for starts_anew in [&[][..], &[3], &[4], &[3, 4], &[4, 5], &[2, 3, 4, 5]] {
        let folder = tempfile::tempdir().expect("a folder");
        let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
        let open = async || {
            let store = DiskStore::new(Arc::clone(&disk), folder.path().join(TABLES));
            Tables::open(Arc::new(store), minutes_later).await.expect("it opens")
        };
        let mut tables = open().await;
        let minutes = [(1, 1), (2, 59), (3, 60), (4, 61), (5, 62)];
        for (number, minute) in minutes {
            MINUTES.store(minute, Ordering::Relaxed);
            if starts_anew.contains(&number) {
                tables = open().await;
            }
            let part = &parts[(number as usize).min(parts.len()) - 1];
            tables.append(&[&record(number, part.clone())]).await.expect("it works");
            tables.settle(Settle::AtOnce).await.expect("it works");
            let expected = match number {
                2 => {
                    let [early, late] = [0, 1].map(|at| walked(&parts[at]));
                    let both =
                        |at: usize, table| sorted(&table, &[early[at].clone(), late[at].clone()]);
                    [both(0, facts::stored()), both(1, gaps::stored())]
                }
                _ => together(&parts[..(number as usize).min(parts.len())]),
            };
            let stored = stored(&disk, folder.path()).await;
            assert_eq!(stored, expected, "part {number}, starts anew: {starts_anew:?}");
        }
    }
}

/// Scenario: a day after traces were walked, and a start anew, all come again, twice; another was
/// walked just before it.
/// Guarantee: each has its facts once.
#[tokio::test]
async fn old_spans_that_come_again_are_there_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let traces = "shop SERVER GET/cart 0ms 120ms\n  shop CLIENT Q 5ms 10ms\n--- x15 every 40ms\n";
    let batches = notation::spans(traces);
    let spans = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    let all_but_last = spans.slice(0, spans.num_rows() - 2);
    for (number, part) in
        [(1, all_but_last), (2, spans.clone()), (3, spans.clone()), (4, spans.clone())]
    {
        if number == 2 || number == 3 {
            let store = DiskStore::new(Arc::clone(&disk), folder.path().join(TABLES));
            let a_day_later = || NOW + 24 * 3_600_000_000_000;
            tables = Tables::open(Arc::new(store), a_day_later).await.expect("it opens");
        }
        let sent = if number == 2 { spans.slice(spans.num_rows() - 2, 2) } else { part.clone() };
        tables.append(&[&record(number, sent)]).await.expect("it works");
        tables.settle(Settle::AtOnce).await.expect("it works");
        assert_eq!(stored(&disk, folder.path()).await, walked(&part), "after record {number}");
    }
}

/// Scenario: a record has spans of traces that have facts, and of others.
/// Guarantee: all have the facts of all their spans, once.
#[tokio::test]
async fn late_spans_may_come_with_new_ones() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    // By trace, but for the last spans of each of the first ones, which come late.
    let spans = sorted_by_trace();
    let cut = spans.num_rows() / 2;
    let (first, rest) = (spans.slice(0, cut), spans.slice(cut, spans.num_rows() - cut));
    let (early, late) = (every_other(&first, 0), every_other(&first, 1));
    let mixed = concat_batches(&spans.schema(), [&rest, &late]).expect("one schema");
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    for (number, part) in (1..).zip([&early, &mixed]) {
        tables.append(&[&record(number, part.clone())]).await.expect("it works");
        tables.settle(Settle::AtOnce).await.expect("it works");
    }
    let all = concat_batches(&spans.schema(), [&early, &mixed]).expect("one schema");
    assert_eq!(stored(&disk, folder.path()).await, walked(&all));
}

/// Scenario: a trace has not settled when others have.
/// Guarantee: it has no facts, and the log is kept from its first span on, until it has.
#[tokio::test]
async fn what_has_not_settled_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let spans = spans();
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    let parts = [record(1, spans.slice(0, 30)), record(2, spans.slice(30, 30))];
    tables.append(&[&parts[0], &parts[1]]).await.expect("it works");
    tables.settle(Settle::After(Duration::from_hours(1))).await.expect("it works");
    assert_eq!(tables.settled_through(), 0);
    assert!(tables.unsettled_bytes() > 0 && !tables.have(&parts[0]));
    assert_eq!(stored(&disk, folder.path()).await[0].num_rows(), 0);
    tables.settle(Settle::After(Duration::ZERO)).await.expect("it works");
    assert_eq!(tables.settled_through(), 2);
    assert_eq!(stored(&disk, folder.path()).await, walked(&spans.slice(0, 60)));
    assert!(tables.have(&parts[1]));
}

/// Scenario: a group of exports came as several records, and a trace before it settles first.
/// Guarantee: the log is kept from the group's first record on, not from its last.
#[tokio::test]
async fn a_group_of_records_waits_as_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let spans = sorted_by_trace();
    let cut = spans.num_rows() / 2;
    let settle = Duration::from_millis(200);
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    tables.append(&[&record(2, spans.slice(0, cut))]).await.expect("it works");
    tokio::time::sleep(2 * settle).await;
    tables.append(&[&record(5, spans.slice(cut, cut))]).await.expect("it works");
    tables.settle(Settle::After(settle)).await.expect("it works");
    assert!(tables.settled_through() <= 2, "{}", tables.settled_through());
    drop(tables);
    let mut tables = open(&disk, folder.path()).await.expect("it opens");
    let first_of_group = record(3, spans.slice(cut, 1));
    assert!(!tables.have(&first_of_group), "it has no facts yet");
    for part in [record(2, spans.slice(0, cut)), record(5, spans.slice(cut, cut))] {
        if !tables.have(&part) {
            tables.append(&[&part]).await.expect("it works");
        }
    }
    tables.settle(Settle::AtOnce).await.expect("it works");
    assert_eq!(stored(&disk, folder.path()).await, walked(&spans.slice(0, 2 * cut)));
}

/// Scenario: facts cannot be kept, and spans are to go on.
/// Guarantee: nothing waits, and the table says since when it has all rows.
#[tokio::test]
async fn facts_can_be_given_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let whole_since = async || {
        let store = Arc::new(DiskStore::new(Arc::clone(&disk), folder.path().join(TABLES)));
        let snapshot = Snapshot::open(store, &facts::stored()).await.expect("it is there");
        snapshot.whole_since().await.expect("it is read")
    };
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    assert_eq!(whole_since().await.as_deref(), Some(""));
    tables.append(&[&record(1, spans())]).await.expect("it works");
    tables.give_up_facts().await.expect("it works");
    assert_eq!((tables.settled_through(), tables.unsettled_bytes()), (1, 0));
    assert_eq!(whole_since().await.as_deref(), Some("2026-11-28T13"));
    assert_eq!(stored(&disk, folder.path()).await[0].num_rows(), 0);
}

/// Takes what the tables lack of two records, as a server does that starts; returns whether it came
/// to the end.
async fn work(disk: &Arc<dyn Disk>, parts: &[Logged]) -> Result<(), Error> {
    let mut tables = open(disk, Path::new(DATA)).await?;
    for part in parts.iter().filter(|part| !tables.have(part)).cloned().collect::<Vec<_>>() {
        tables.append(&[&part]).await?;
        tables.settle(Settle::AtOnce).await?;
    }
    tables.catch_up().await
}

/// Scenario: the disk fails at each operation, once, and the process starts again, with what the
/// log has.
/// Guarantee: facts and gaps are there once, those of the whole traces.
#[tokio::test]
async fn a_fault_costs_nothing_and_doubles_nothing() {
    let spans = spans();
    let half = spans.num_rows() / 2;
    let parts = [record(1, spans.slice(0, half)), record(2, spans.slice(half, half))];
    let expected = walked(&spans.slice(0, 2 * half));
    let whole = ForgetfulDisk::default();
    work(&(Arc::new(whole.clone()) as _), &parts).await.expect("it works");
    let operations = whole.operations();
    let mut failed = 0;
    for at in (0..operations).step_by((operations / 60).max(1)) {
        let disk = ForgetfulDisk::default();
        disk.fail(Fault::Once { at });
        let disk: Arc<dyn Disk> = Arc::new(disk);
        failed += usize::from(work(&disk, &parts).await.is_err());
        work(&disk, &parts).await.expect("it works now");
        assert_eq!(stored(&disk, Path::new(DATA)).await, expected, "after a fault at {at}");
    }
    assert!(failed > 20, "{failed} of {operations} operations failed");
}

/// Scenario: the power is cut at each operation, and the process starts again, with what the log
/// has.
/// Guarantee: facts and gaps are there once, those of the whole traces, and what was said not to be
/// needed of the log is not.
#[tokio::test]
async fn a_power_cut_costs_nothing_and_doubles_nothing() {
    let spans = spans();
    let half = spans.num_rows() / 2;
    let parts = [record(1, spans.slice(0, half)), record(2, spans.slice(half, half))];
    let expected = walked(&spans.slice(0, 2 * half));
    let whole = ForgetfulDisk::default();
    whole.note_cuts();
    let mut tables = open(&(Arc::new(whole.clone()) as _), Path::new(DATA)).await.expect("made");
    let mut settled = Vec::new();
    for part in &parts {
        tables.append(&[part]).await.expect("it works");
        tables.settle(Settle::AtOnce).await.expect("it works");
        settled.push((whole.operations(), tables.settled_through()));
    }
    assert_eq!(settled[1].1, 2);
    tables.catch_up().await.expect("it works");
    for Cut { operations, survival, disk } in whole.cuts(CUTS) {
        let what = format!("cut behind {operations} operations, {survival:?}");
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let needed = settled.iter().filter(|(at, _)| *at <= operations).map(|(_, record)| *record);
        let needed = needed.max().unwrap_or_default();
        let left = &parts[needed as usize..];
        work(&disk, left).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(stored(&disk, Path::new(DATA)).await, expected, "{what}");
    }
}

/// Opens a table as it is now.
async fn snapshot(disk: &Arc<dyn Disk>, table: &Table) -> Snapshot {
    let store = DiskStore::new(Arc::clone(disk), Path::new(DATA).join(TABLES));
    Snapshot::open(Arc::new(store), table).await.expect("it is there")
}

/// Scenario: the file with the first spans of a trace is damaged or gone, and others of it come
/// late.
/// Guarantee: it is named, once; facts of what waits are given up, spans are kept, and the log can
/// go.
#[tokio::test]
async fn facts_are_given_up_for_a_damaged_file() {
    for is_gone in [false, true] {
        let whole = ForgetfulDisk::default();
        let disk: Arc<dyn Disk> = Arc::new(whole.clone());
        let spans = spans();
        let mut tables = open(&disk, Path::new(DATA)).await.expect("it is made");
        tables.append(&[&record(1, spans.slice(0, 50))]).await.expect("it works");
        tables.settle(Settle::AtOnce).await.expect("it works");
        let table = timesink_model::schema::spans::table();
        let file = snapshot(&disk, &table).await.files().expect("they are listed").remove(0);
        let path = Path::new(DATA).join(TABLES).join(table.name).join(&file.path);
        if is_gone {
            whole.remove(&path).expect("it was there");
        } else {
            whole.damage(&path, |bytes| bytes.fill(0));
        }
        tables.append(&[&record(2, spans.slice(50, 50))]).await.expect("it works");
        let said = tables.settle(Settle::AtOnce).await.expect_err("it is damaged").to_string();
        assert!(said.contains(&file.path), "{said}");
        assert_eq!((tables.settled_through(), tables.unsettled_bytes()), (2, 0));
        tables.settle(Settle::AtOnce).await.expect("nothing waits");
        let whole_since = snapshot(&disk, &facts::stored()).await.whole_since().await;
        assert_eq!(whole_since.expect("it is read").as_deref(), Some("2026-11-28T13"));
        let after = snapshot(&disk, &table).await;
        let files = after.files().expect("they are listed");
        let rows: u64 = files.iter().filter_map(|file| file.rows).sum();
        assert_eq!((after.through(), rows), (2, 100));
    }
}

/// Scenario: a file of spans is damaged; then some come late whose others are in it, and new ones.
/// Guarantee: it is named, and the new ones have facts.
#[tokio::test]
async fn a_damaged_file_costs_new_traces_nothing() {
    let whole = ForgetfulDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(whole.clone());
    let batches = notation::spans(&format!("{TRACES}--- x6 every 40ms\n"));
    let table = timesink_model::schema::spans::table();
    let spans = sorted(&table, &batches);
    let traces: Vec<_> = spans["trace_id"].as_string_view().iter().collect();
    let half = traces.len() / 2;
    let cut = half + traces[half..].iter().position(|id| *id != traces[half]).expect("another");
    let (first, rest) = (spans.slice(0, cut), spans.slice(cut, traces.len() - cut));
    let (early, late) = (every_other(&first, 0), every_other(&first, 1));
    let mixed = concat_batches(&spans.schema(), [&rest, &late]).expect("one schema");
    let mut tables = open(&disk, Path::new(DATA)).await.expect("it is made");
    tables.append(&[&record(1, early.clone())]).await.expect("it works");
    tables.settle(Settle::AtOnce).await.expect("it works");
    let file = snapshot(&disk, &table).await.files().expect("they are listed").remove(0);
    let path = Path::new(DATA).join(TABLES).join(table.name).join(&file.path);
    whole.damage(&path, |bytes| bytes.fill(0));
    tables.append(&[&record(2, mixed)]).await.expect("it works");
    let said = tables.settle(Settle::AtOnce).await.expect_err("it is damaged").to_string();
    assert!(said.contains(&file.path), "{said}");
    assert_eq!((tables.settled_through(), tables.unsettled_bytes()), (2, 0));
    let with_facts = concat_batches(&spans.schema(), [&early, &rest]).expect("one schema");
    assert_eq!(stored(&disk, Path::new(DATA)).await, walked(&with_facts));
}

/// Scenario: the file with the gaps of some traces is damaged, and spans of them come late, twice.
/// Guarantee: it is named each time, and no span has facts twice.
#[tokio::test]
async fn a_damaged_file_of_gaps_doubles_no_facts() {
    let whole = ForgetfulDisk::default();
    let disk: Arc<dyn Disk> = Arc::new(whole.clone());
    let spans = spans();
    let mut tables = open(&disk, Path::new(DATA)).await.expect("it is made");
    tables.append(&[&record(1, spans.slice(0, 100))]).await.expect("it works");
    tables.settle(Settle::AtOnce).await.expect("it works");
    let file = snapshot(&disk, &gaps::stored()).await.files().expect("they are listed").remove(0);
    let path = Path::new(DATA).join(TABLES).join("gaps").join(&file.path);
    whole.damage(&path, |bytes| bytes.fill(0));
    for (number, from) in [(2, 100), (3, 150)] {
        tables.append(&[&record(number, spans.slice(from, 50))]).await.expect("it works");
        let said = tables.settle(Settle::AtOnce).await.expect_err("it is damaged").to_string();
        assert!(said.contains(&file.path), "{said}");
        assert_eq!((tables.settled_through(), tables.unsettled_bytes()), (number, 0));
        let facts = snapshot(&disk, &facts::stored()).await;
        let mut ids = Vec::new();
        for file in facts.files().expect("they are listed") {
            for batch in facts.read(&file, &Columns::All).await.expect("it is there") {
                let batch = batch.expect("it is whole");
                let text = |name: &str| batch[name].as_string_view().clone();
                let (traces, spans) = (text("trace_id"), text("span_id"));
                let pairs = traces.iter().zip(&spans);
                ids.extend(pairs.map(|(trace, span)| format!("{trace:?} {span:?}")));
            }
        }
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert!(count >= 100 && ids.len() == count, "{} of {count}", ids.len());
    }
}

/// Scenario: a process ends, and the log gives the next one spans of traces that have facts.
/// Guarantee: they have them once.
#[tokio::test]
async fn what_comes_again_after_a_crash_is_there_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let spans = spans();
    let parts = [record(5, spans.slice(0, 100)), record(6, spans.slice(100, 100))];
    let mut tables = open(&disk, folder.path()).await.expect("it is made");
    tables.append(&[&parts[0], &parts[1]]).await.expect("it works");
    tables.settle(Settle::AtOnce).await.expect("it works");
    drop(tables);
    // Its position is lost, as if one of its traces had not settled.
    let mut tables = open(&disk, folder.path()).await.expect("it opens");
    let again = record(7, spans.slice(0, 200));
    tables.append(&[&again]).await.expect("it works");
    tables.settle(Settle::AtOnce).await.expect("it works");
    assert_eq!(stored(&disk, folder.path()).await, walked(&spans.slice(0, 200)));
}
