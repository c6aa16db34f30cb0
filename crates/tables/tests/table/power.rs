//! The power is cut at each operation of the disk: what was said to be there is there, once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use timesink_model::schema::{self, Columns, facts, quarantine, spans};
use timesink_store::log::LogOptions;
use timesink_store::{Disk, Journal, Logged};
use timesink_tables::{Compacted, DiskStore, Joining, Settle, Snapshot, Table, Tables};
use timesink_testkit::disk::{Cut, Fault, ForgetfulDisk};
use timesink_testkit::notation;

use super::{
    FOLDER, LATER, NOW, ROOT, append, batches, ids, ids_of, large_batches, open, open_at, sorted,
    work,
};

/// So many disks are looked at that power cuts leave, about: all of them, with
/// `TIMESINK_ALL_POINTS=1`, take minutes.
const CUTS: usize = 50;

/// The same, of whole data directories.
const DATA_CUTS: usize = 25;

const DATA: &str = "/data";

/// A segment of the log is full with an export or two.
const OPTIONS: LogOptions = LogOptions { segment_bytes: 4000 };

const NANOS_PER_DAY: i64 = 24 * 3_600_000_000_000;

async fn opened(disk: &ForgetfulDisk, what: &str) -> Table {
    let table = open(Arc::new(disk.clone()), Path::new(ROOT)).await;
    table.unwrap_or_else(|error| panic!("{what}: {error}"))
}

fn ids_on(disk: &ForgetfulDisk, table: &Table) -> Vec<String> {
    sorted(ids(disk, Path::new(FOLDER), table))
}

fn described(cut: &Cut) -> String {
    format!("cut behind {} operations, {:?}", cut.operations, cut.survival)
}

/// Returns how many of some acts were done before a cut.
fn done(acts: &[usize], cut: &Cut) -> usize {
    acts.iter().filter(|at| **at <= cut.operations).count()
}

/// Guarantee: what was appended is there; what is appended again is there once.
#[tokio::test]
async fn appended_rows_are_not_lost_and_not_doubled() {
    let batches = batches();
    let whole = ForgetfulDisk::default();
    whole.note_cuts();
    let mut table = opened(&whole, "at first").await;
    let mut acts = Vec::new();
    for (record, batch) in (1..).zip(&batches) {
        append(&mut table, std::slice::from_ref(batch), record).await.expect("it works");
        acts.push(whole.operations());
    }
    for cut in whole.cuts(CUTS) {
        let what = described(&cut);
        let table = opened(&cut.disk, &what).await;
        let through = table.through() as usize;
        assert!(through >= done(&acts, &cut), "{what}: {through}");
        assert_eq!(ids_on(&cut.disk, &table), ids_of(&batches[..through]), "{what}");
        assert_eq!(work(&cut.disk, &batches).await, 2, "{what}");
        let table = opened(&cut.disk, &what).await;
        assert_eq!(ids_on(&cut.disk, &table), ids_of(&batches), "{what}");
    }
}

/// Cuts the power, lets operations fail and the disk be full while two files of rows are joined.
async fn join_on_failing_disks(batches: &[RecordBatch], joining: Joining) {
    let joined_as_one = Compacted { files_before: 2, files_after: 1 };
    let before = ForgetfulDisk::default();
    assert_eq!(work(&before, batches).await, 2);
    let join = async |disk: &ForgetfulDisk| {
        let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await?;
        table.compact(LATER, joining).await
    };
    let check = async |disk: &ForgetfulDisk, what: &str, files: &[usize]| {
        let table = opened(disk, what).await;
        let count = table.files().expect("it is read").len();
        assert!(files.contains(&count), "{what}: {count} files");
        assert_eq!(ids_on(disk, &table), ids_of(batches), "{what}");
    };
    let whole = before.copied();
    let began = whole.operations();
    whole.note_cuts();
    assert_eq!(join(&whole).await.expect("it works"), joined_as_one);
    for cut in whole.cuts(CUTS / 2) {
        let what = described(&cut);
        check(&cut.disk, &what, &[1, 2]).await;
        join(&cut.disk).await.expect("it works");
        check(&cut.disk, &what, &[1]).await;
    }
    for at in (began..whole.operations()).step_by(3) {
        let what = format!("a fault at {at}");
        let disk = before.copied();
        disk.fail(Fault::Once { at });
        // What fails behind the commit is done again when it is needed.
        let is_joined = join(&disk).await.is_ok();
        check(&disk, &what, if is_joined { &[1] } else { &[1, 2] }).await;
        join(&disk).await.expect("it works");
        check(&disk, &what, &[1]).await;
    }
    let full = before.copied();
    full.set_bytes_max(Some(0));
    join(&full).await.expect_err("there is no place");
    full.set_bytes_max(None);
    check(&full, "there is space again", &[2]).await;
    assert_eq!(join(&full).await.expect("it works"), joined_as_one);
    check(&full, "joined", &[1]).await;
}

/// Guarantee: rows of files that are merged are there once.
#[tokio::test]
async fn merged_rows_are_not_lost_and_not_doubled() {
    join_on_failing_disks(&batches(), Joining::Merge).await;
}

/// Guarantee: so are those of files that are spliced.
#[tokio::test]
async fn spliced_rows_are_not_lost_and_not_doubled() {
    join_on_failing_disks(&large_batches(), Joining::Splice).await;
}

/// Scenario: rows expire with the commit that writes a checkpoint and removes old commits.
/// Guarantee: those that are old are all there or all gone, and gone once that was said; the others
/// are there.
#[tokio::test]
async fn old_rows_go_and_no_others() {
    let rows = &batches()[0];
    let whole = ForgetfulDisk::default();
    let day_before = || NOW - NANOS_PER_DAY;
    let disk = Arc::new(whole.clone());
    let mut table = open_at(disk, Path::new(ROOT), day_before).await.expect("it is made");
    append(&mut table, &[rows.slice(0, 4)], 1).await.expect("it works");
    let mut table = opened(&whole, "later").await;
    for record in 2..19 {
        let row = [rows.slice(2 + record, 1)];
        append(&mut table, &row, record as u64).await.expect("it works");
    }
    whole.note_cuts();
    let first = timesink_tables::hour_of(NOW);
    assert_eq!(table.expire(Some(&first), None).await.expect("it works").len(), 1);
    let acts = [whole.operations()];
    let log = whole.list(&Path::new(FOLDER).join("_delta_log")).expect("it is there");
    assert!(log.iter().any(|name| name.ends_with(".checkpoint.parquet")), "{log:?}");
    let (all, kept) = (ids_of(&[rows.slice(0, 21)]), ids_of(&[rows.slice(4, 17)]));
    for cut in whole.cuts(CUTS) {
        let what = described(&cut);
        let mut table = opened(&cut.disk, &what).await;
        let found = ids_on(&cut.disk, &table);
        assert!(found == kept || found == all && done(&acts, &cut) == 0, "{what}: {found:?}");
        table.expire(Some(&first), None).await.expect("it works");
        assert_eq!((ids_on(&cut.disk, &table), table.through()), (kept.clone(), 18), "{what}");
    }
}

/// Scenario: files that were joined are swept up, and one that a crash left; then the last rows of
/// an hour go, its folder with them, and new rows come for it.
/// Guarantee: live files stay, others go with a later sweep, and what was appended is there.
#[tokio::test]
async fn files_of_nobody_go_and_no_others() {
    let batches = batches();
    let late = [batches[0].slice(0, 3)];
    let whole = ForgetfulDisk::default();
    assert_eq!(work(&whole, &batches).await, 2);
    let mut table = opened(&whole, "at first").await;
    table.compact(LATER, Joining::Merge).await.expect("it works");
    let live = table.files().expect("it is read").remove(0).path;
    let left = Path::new(FOLDER).join(live.replace(".parquet", "-left.parquet.unfinished"));
    let mut file = whole.create(&left).expect("a new file");
    file.append(b"PAR1").and_then(|()| file.sync()).expect("it works");
    whole.note_cuts();
    let sweep = async |table: &mut Table| {
        table.sweep(Duration::MAX).await.expect("it works");
        table.sweep(Duration::ZERO).await.expect("it works")
    };
    assert_eq!(sweep(&mut table).await, 3);
    let mut acts = vec![whole.operations()];
    table.expire(Some(LATER), None).await.expect("it works");
    acts.push(whole.operations());
    assert_eq!(sweep(&mut table).await, 1);
    append(&mut table, &late, 3).await.expect("it works");
    acts.push(whole.operations());
    for cut in whole.cuts(CUTS) {
        let what = described(&cut);
        let mut table = opened(&cut.disk, &what).await;
        let found = ids_on(&cut.disk, &table);
        let steps = [ids_of(&batches), Vec::new(), ids_of(&late)];
        let step = steps.iter().position(|ids| *ids == found);
        let is_so_far = step.is_some_and(|step| step + 1 >= done(&acts, &cut));
        assert!(is_so_far, "{what}: {found:?}");
        sweep(&mut table).await;
        assert_eq!(ids_on(&cut.disk, &table), found, "{what}");
        assert_eq!(sweep(&mut table).await, 0, "{what}");
        append(&mut table, &late, 3).await.expect("it works");
        let after = ids_on(&cut.disk, &opened(&cut.disk, &what).await);
        let expected =
            if step == Some(0) { ids_of(&[&batches[..], &late].concat()) } else { ids_of(&late) };
        assert_eq!(after, expected, "{what}");
    }
}

/// A data directory that a server writes.
struct Server {
    journal: Journal,
    tables: Tables,
}

impl Server {
    /// Starts as a server does: what the log has and the tables lack is brought into them.
    async fn start(disk: &ForgetfulDisk, what: &str) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        let journal = Journal::open(Arc::clone(&disk), Path::new(DATA), OPTIONS, None);
        let (mut journal, mut recovery) = journal.unwrap_or_else(|e| panic!("{what}: {e}"));
        let lost = recovery.replayed.lost.clone();
        let tables = Tables::open(Arc::new(DiskStore::new(disk, ROOT)), || NOW).await;
        let mut tables = tables.unwrap_or_else(|e| panic!("{what}: {e}"));
        // Of segments that were let go those before may be there again.
        assert!(lost.iter().all(|lost| *lost.end() <= tables.through()), "{what}: {lost:?}");
        journal.go_on_behind(tables.through());
        while let Some(part) = recovery.next_logged().expect("it is read") {
            if tables.have(&part) {
                tables.pass(part.record);
            } else {
                tables.append(&[&part]).await.expect("it works");
            }
        }
        Self { journal, tables }
    }

    /// Makes an export safe in the log: then it is acknowledged.
    fn take(&mut self, (spans, quarantine): &Export) -> Logged {
        let appended = self.journal.append(spans, quarantine).expect("it works");
        self.journal.sync().expect("it works");
        appended.logged
    }

    /// Brings what was taken into the tables, and lets the log go as far as they have it.
    async fn flush(&mut self, parts: &mut Vec<Logged>, settle: Settle) {
        self.tables.append(&parts.iter().collect::<Vec<_>>()).await.expect("it works");
        self.tables.settle(settle).await.expect("it works");
        self.journal.remove_through(self.tables.settled_through()).expect("it works");
        parts.clear();
    }
}

/// Rows of `spans` and of `quarantine`.
type Export = (Vec<RecordBatch>, Vec<RecordBatch>);

/// Returns exports that have spans of the same traces, some with quarantined ones.
fn exports() -> Vec<Export> {
    let text = "\
shop SERVER GET/cart 0ms 120ms http.request.method=GET
  shop CLIENT Q 5ms 10ms x3 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
--- x6 every 40ms
";
    let batches = notation::spans(text);
    let all = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let scattered: UInt32Array = (0..24).map(|row| row * 7 % 24).collect();
    let all = take_record_batch(&all, &scattered).expect("rows of it");
    let quarantined = |rows: &RecordBatch| {
        let reason: ArrayRef = Arc::new(StringViewArray::from(vec!["far ahead"; rows.num_rows()]));
        let columns = rows.columns().iter().cloned().chain([reason]).collect();
        let schema = Arc::new(quarantine::table().schema());
        RecordBatch::try_new(schema, columns).expect("a row of it")
    };
    let export = |number: usize| match number % 3 {
        0 => {
            let quarantine = quarantined(&all.slice(3 * number + 2, 1));
            (vec![all.slice(3 * number, 2)], vec![quarantine])
        }
        _ => (vec![all.slice(3 * number, 3)], Vec::new()),
    };
    (0..8).map(export).collect()
}

/// Returns the ids of all spans of exports, and those of all that are quarantined.
fn ids_in(exports: &[Export]) -> [Vec<String>; 2] {
    let ids = |of: fn(&Export) -> &[RecordBatch]| {
        ids_of(&exports.iter().flat_map(|export| of(export).iter().cloned()).collect::<Vec<_>>())
    };
    [ids(|(spans, _)| spans), ids(|(_, quarantine)| quarantine)]
}

/// Returns up to which record a table has the log, and the ids of its rows; where it is not made
/// yet, it has none.
async fn stored(disk: &ForgetfulDisk, table: &schema::Table) -> (u64, Vec<String>) {
    let store = Arc::new(DiskStore::new(Arc::new(disk.clone()), ROOT));
    let Ok(snapshot) = Snapshot::open(store, table).await else { return (0, Vec::new()) };
    let mut rows = Vec::new();
    for file in snapshot.files().expect("they are listed") {
        let of_file = snapshot.read(&file, &Columns::All).await.expect("it is there");
        rows.extend(of_file.map(|batch| batch.expect("it is whole")));
    }
    (snapshot.through(), ids_of(&rows))
}

/// Returns the ids that a reader finds, in the tables and behind them in the log, of `spans` and
/// of `quarantine`.
async fn found(disk: &ForgetfulDisk, what: &str) -> [Vec<String>; 2] {
    let (spans_through, mut spans) = stored(disk, &spans::table()).await;
    let (through, mut quarantine) = stored(disk, &quarantine::table()).await;
    let behind = Journal::read(disk, Path::new(DATA), [spans_through, through], u64::MAX);
    let behind = behind.unwrap_or_else(|error| panic!("{what}: {error}"));
    let lost = &behind.replayed.lost;
    assert!(lost.iter().all(|lost| *lost.end() <= spans_through.max(through)), "{what}: {lost:?}");
    for part in &behind.logged {
        spans.extend(ids_of(&part.spans));
        quarantine.extend(ids_of(&part.quarantine));
    }
    [sorted(spans), sorted(quarantine)]
}

/// Scenario: exports go into the log, from there into the tables, and the log is let go; meanwhile
/// the process ends once, and files are joined and swept up.
/// Guarantee: what was acknowledged is there once, for a reader at once and in the tables after a
/// start; exports that come again then are there once, and so are the facts of all.
#[tokio::test]
async fn what_was_acknowledged_is_in_the_log_or_in_the_tables() {
    let exports = exports();
    let whole = ForgetfulDisk::default();
    whole.note_cuts();
    let (mut acts, mut waiting) = (Vec::new(), Vec::new());
    let mut server = Server::start(&whole, "at first").await;
    for (number, export) in exports.iter().enumerate() {
        waiting.push(server.take(export));
        acts.push(whole.operations());
        match number {
            2 => server.flush(&mut waiting, Settle::After(Duration::from_hours(1))).await,
            4 => {
                // What waits is in the log.
                waiting.clear();
                server = Server::start(&whole, "in between").await;
            }
            5 | 7 => server.flush(&mut waiting, Settle::AtOnce).await,
            _ => {}
        }
    }
    assert!(server.tables.join(i64::MAX, Joining::Merge).await.expect("it works").files_before > 1);
    assert!(server.tables.sweep_now().await.expect("it works") > 1);
    server.tables.catch_up().await.expect("it works");
    assert_eq!(found(&whole, "at last").await, ids_in(&exports));
    let segments = whole.list(&Path::new(DATA).join("log")).expect("a folder").len();
    assert_eq!(segments, 1, "the log was let go");
    for cut in whole.cuts(DATA_CUTS) {
        let what = described(&cut);
        let acknowledged = ids_in(&exports[..done(&acts, &cut)]);
        let all = ids_in(&exports);
        for ((found, safe), all) in
            found(&cut.disk, &what).await.iter().zip(&acknowledged).zip(&all)
        {
            let is_there = |id: &String| found.binary_search(id).is_ok();
            assert!(safe.iter().all(is_there), "{what}: {found:?} of {safe:?}");
            assert!(found.is_sorted_by(|a, b| a < b), "{what}: {found:?}");
            assert!(found.iter().all(|id| all.contains(id)), "{what}: {found:?}");
        }
        let mut server = Server::start(&cut.disk, &what).await;
        let unanswered = &exports[done(&acts, &cut)..];
        let mut parts = unanswered.iter().map(|export| server.take(export)).collect();
        server.flush(&mut parts, Settle::AtOnce).await;
        server.tables.catch_up().await.expect("it works");
        let [spans, quarantine] = [spans::table(), quarantine::table()];
        assert_eq!(stored(&cut.disk, &spans).await.1, all[0], "{what}");
        assert_eq!(stored(&cut.disk, &quarantine).await.1, all[1], "{what}");
        assert_eq!(stored(&cut.disk, &facts::stored()).await.1, all[0], "{what}: facts");
    }
}
