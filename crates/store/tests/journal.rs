//! The log of a data directory: batches of spans in, and out again.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use timesink_store::log::{Log, LogOptions, Place, Record};
use timesink_store::{Disk, Error, Journal, LocalDisk, Logged, Recovery};
use timesink_testkit::disk::{Fault, ForgetfulDisk, Survival};
use timesink_testkit::notation;

const TRACES: &str = "\
shop SERVER GET/cart/{i} 0ms 120ms x20 http.request.method=GET
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";

fn disk() -> Arc<dyn Disk> {
    Arc::new(LocalDisk)
}

fn open(folder: &Path, after: Option<u64>) -> (Journal, Vec<Logged>) {
    let opened = Journal::open(disk(), folder, LogOptions::default(), after);
    let (journal, recovery) = opened.expect("it opens");
    (journal, all(recovery))
}

fn all(mut recovery: Recovery) -> Vec<Logged> {
    let next = || recovery.next_logged().expect("it is read");
    let all = std::iter::from_fn(next).collect();
    assert_eq!(recovery.bytes(), 0);
    all
}

fn spans_of(recovered: Vec<Logged>) -> Vec<RecordBatch> {
    Logged::merge(recovered).spans
}

#[test]
fn spans_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = notation::spans(TRACES);
    let rows: usize = spans.iter().map(RecordBatch::num_rows).sum();
    let (mut journal, recovered) = open(folder.path(), None);
    assert_eq!(recovered, []);
    let appended = journal.append(&spans, &[]).expect("it works");
    assert_eq!((&appended.logged.spans, appended.logged.record), (&spans, spans.len() as u64));
    assert_eq!(journal.sync().expect("it works"), spans.len() as u64);
    let again = journal.append(&[spans[0].slice(0, 1)], &[]).expect("it works");
    assert_eq!((again.logged.spans.len(), again.repeated), (0, 1), "it came before");
    drop(journal);
    let (mut journal, recovered) = open(folder.path(), None);
    assert_eq!(spans_of(recovered), spans);
    let again = journal.append(&spans, &[]).expect("it works");
    assert_eq!((again.logged.spans.len(), again.repeated), (0, rows as u64), "it is still known");
}

/// Scenario: the disk fails while spans are written or synced, and the exporter sends them again.
/// Guarantee: they are taken then, once.
#[test]
fn what_failed_may_come_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = notation::spans(TRACES);
    let open = |disk: &ForgetfulDisk| {
        Journal::open(Arc::new(disk.clone()), folder.path(), LogOptions::default(), None)
    };
    let take = |disk: &ForgetfulDisk, tries: usize| {
        let Ok((mut journal, _)) = open(disk) else { return };
        let mut take = || journal.append(&spans, &[]).and_then(|_| journal.sync());
        assert!((0..tries).any(|_| take().is_ok()), "it fails once only");
    };
    let rows = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
    let empty = ForgetfulDisk::default();
    open(&empty).expect("it opens");
    let whole = ForgetfulDisk::default();
    take(&whole, 1);
    for at in 0..whole.operations() {
        let disk = ForgetfulDisk::default();
        disk.fail(Fault::Once { at });
        take(&disk, 2);
        let (_, recovery) = open(&disk.after_power_cut(Survival::Everything)).expect("it opens");
        let expected = if at < empty.operations() { 0 } else { rows(&spans) };
        assert_eq!(rows(&spans_of(all(recovery))), expected, "after a fault at {at}");
    }
}

/// Scenario: a log is opened again and again, and nothing comes: its last records, which may never
/// have reached the disk, are written once more each time.
/// Guarantee: they keep the number by which a table knows that it has them.
#[test]
fn copies_keep_their_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = notation::spans(TRACES);
    let (mut journal, _) = open(folder.path(), None);
    let record = journal.append(&spans, &[]).expect("it works").logged.record;
    journal.sync().expect("it works");
    drop(journal);
    for _ in 0..3 {
        let (_, recovered) = open(folder.path(), None);
        assert_eq!(recovered.iter().map(|part| part.record).max(), Some(record));
        let read = Journal::read(&LocalDisk, folder.path(), [record; 2], u64::MAX);
        assert_eq!(read.expect("it is read").logged, []);
        let read = Journal::read(&LocalDisk, folder.path(), [record - 1; 2], u64::MAX);
        assert_eq!(read.expect("it is read").logged.len(), 1);
    }
    let (mut journal, _) = open(folder.path(), None);
    let one = notation::spans("web SERVER GET/other 0ms 5ms http.request.method=GET");
    assert!(journal.append(&one, &[]).expect("it works").logged.record > record);
    let refused = Journal::read(&LocalDisk, folder.path(), [0; 2], 10);
    assert!(matches!(refused, Err(Error::Memory { bytes_max: 10 })), "{refused:?}");
}

#[test]
fn what_a_later_version_wrote_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let visit = |_: Place, _: Record<'_>| Ok::<_, Error>(());
    let (mut log, _) =
        Log::open(disk(), &log, LogOptions::default(), None, visit).expect("it opens");
    log.append(&[(99, b"of tomorrow")]).and_then(|_| log.sync()).expect("it works");
    let refused = Journal::open(disk(), folder.path(), LogOptions::default(), None);
    let refused = refused.expect_err("it is refused").to_string();
    assert!(refused.contains("record 1 of the log") && refused.contains("kind 99"), "{refused}");
    open(folder.path(), Some(1));
}
