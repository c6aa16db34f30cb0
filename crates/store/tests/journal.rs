//! The log of a data directory: batches of spans in, and out again.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use timesink_store::log::{Log, LogOptions, Record};
use timesink_store::{Disk, Error, Journal, LocalDisk, Recovered};
use timesink_testkit::notation;

const TRACES: &str = "\
shop SERVER GET/cart/{i} 0ms 120ms x20 http.request.method=GET
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
";

fn disk() -> Arc<dyn Disk> {
    Arc::new(LocalDisk)
}

fn open(folder: &Path, after: Option<u64>) -> (Journal, Recovered) {
    Journal::open(disk(), folder, LogOptions::default(), after).expect("it opens")
}

#[test]
fn spans_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let spans = notation::spans(TRACES);
    let rows: usize = spans.iter().map(RecordBatch::num_rows).sum();
    let (mut journal, recovered) = open(folder.path(), None);
    assert_eq!(recovered, Recovered::default());
    assert_eq!(journal.append(&spans, &[]).expect("it works"), spans.len() as u64);
    assert_eq!(journal.sync().expect("it works"), spans.len() as u64);
    journal.append(&[spans[0].slice(0, 1)], &[]).expect("it works");
    drop(journal);
    let (_, recovered) = open(folder.path(), None);
    assert_eq!(recovered.spans[..spans.len()], spans);
    let found: usize = recovered.spans.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(found, rows + 1);
}

#[test]
fn there_is_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_journal, _) = open(folder.path(), None);
    let second = Journal::open(disk(), folder.path(), LogOptions::default(), None);
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
}

#[test]
fn what_a_later_version_wrote_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let visit = |_: Record<'_>| Ok::<_, Error>(());
    let (mut log, _) =
        Log::open(disk(), &log, LogOptions::default(), None, visit).expect("it opens");
    log.append(&[(99, b"of tomorrow")]).and_then(|_| log.sync()).expect("it works");
    let refused = Journal::open(disk(), folder.path(), LogOptions::default(), None);
    let refused = refused.expect_err("it is refused").to_string();
    assert!(refused.contains("record 1 of the log") && refused.contains("kind 99"), "{refused}");
    open(folder.path(), Some(1));
}
