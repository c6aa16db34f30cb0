//! Clocks far off: rows are kept once, are found by their time, and go by when they were written.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use timesink_model::schema::{self, Columns, facts, gaps, spans};
use timesink_store::{Disk, Logged};
use timesink_tables::{DiskStore, Layout, LiveFile, Settle, Snapshot, Tables, hour_of};
use timesink_testkit::disk::ForgetfulDisk;
use timesink_testkit::notation;

use super::{NOW, ROOT, append, ids_of, open, open_at};

const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

const NANOS_PER_DAY: i64 = 24 * NANOS_PER_HOUR;

/// Half a year before numbers of nanoseconds end: in 2261.
const FAR: i64 = 9_200_000_000_000_000_000;

/// Hours of which an append makes files of their own.
const HOURS_MAX: usize = 48;

/// Returns spans that start at some times, two each: each has a gap, and is a trace.
pub(super) fn spans_at(starts: &[i64]) -> RecordBatch {
    let text = format!(
        "shop SERVER GET/a 0ms 120ms\n  shop CLIENT Q 5ms 9ms\n--- x{} every 0ms\n",
        starts.len()
    );
    let batches = notation::spans(&text);
    let rows = concat_batches(&batches[0].schema(), &batches).expect("one schema");
    let numbers =
        |name: &str| rows.column_by_name(name).expect("a column").as_primitive::<Int64Type>();
    let nanos = |name: &str| {
        let shifted = (0..).zip(numbers(name).values());
        let shifted = shifted
            .map(|(row, nanos): (usize, _)| starts[row / 2] + (nanos - notation::ZERO_UNIX_NANO));
        shifted.collect::<Vec<i64>>()
    };
    let (start, end) = (nanos("start_time_unix_nano"), nanos("end_time_unix_nano"));
    let micros: Vec<i64> = start.iter().map(|start| start / 1000).collect();
    let shown = TimestampMicrosecondArray::from(micros).with_timezone("UTC");
    let columns = rows
        .schema()
        .fields()
        .iter()
        .zip(rows.columns())
        .map(|(field, column)| {
            let nanos = |nanos: &Vec<i64>| Arc::new(Int64Array::from(nanos.clone())) as ArrayRef;
            match field.name().as_str() {
                "start_time_unix_nano" => nanos(&start),
                "end_time_unix_nano" => nanos(&end),
                "start_time" => Arc::new(shown.clone()),
                _ => Arc::clone(column),
            }
        })
        .collect();
    RecordBatch::try_new(rows.schema(), columns).expect("rows of it")
}

/// Returns more hours up to now than get files of their own, the epoch and a time of 2261.
fn scattered() -> Vec<i64> {
    let hours = (0..60).map(|hours| NOW - hours * NANOS_PER_HOUR);
    [0, FAR].into_iter().chain(hours).collect()
}

async fn snapshot(disk: &ForgetfulDisk, table: &schema::Table) -> Snapshot {
    let store = DiskStore::new(Arc::new(disk.clone()), ROOT);
    Snapshot::open(Arc::new(store), table).await.expect("it is there")
}

async fn rows(snapshot: &Snapshot, files: &[LiveFile]) -> Vec<RecordBatch> {
    let mut rows = Vec::new();
    for file in files {
        let of_file = snapshot.read(file, &Columns::All).await.expect("it is there");
        rows.extend(of_file.map(|batch| batch.expect("it is whole")));
    }
    rows
}

/// Returns the ids of the rows that are in files of a table.
async fn stored(disk: &ForgetfulDisk, table: &schema::Table) -> Vec<String> {
    let snapshot = snapshot(disk, table).await;
    ids_of(&rows(&snapshot, &snapshot.files().expect("they are listed")).await)
}

/// Returns the files that can have rows which start at a time, by the table's log.
fn of_time(files: &[LiveFile], nanos: i64) -> Vec<LiveFile> {
    let can_have = |file: &&LiveFile| {
        let bounds = &file.bounds["start_time_unix_nano"];
        let bound = |value: &serde_json::Value| value.as_i64().expect("a number");
        let hour = hour_of(nanos);
        file.is_since(Some(&hour))
            && (bound(&bounds.least)..=bound(&bounds.greatest)).contains(&nanos)
    };
    files.iter().filter(can_have).cloned().collect()
}

/// Guarantee: few files are made of many hours, each row is there once, and is found by its time in
/// one or two of them.
#[tokio::test]
async fn many_hours_make_few_files() {
    let starts = scattered();
    let all = spans_at(&starts);
    let disk = ForgetfulDisk::default();
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it is made");
    append(&mut table, std::slice::from_ref(&all), 1).await.expect("it works");
    let snapshot = snapshot(&disk, &spans::table()).await;
    let files = snapshot.files().expect("they are listed");
    let hours: BTreeSet<_> = files.iter().filter_map(|file| file.hour.as_deref()).collect();
    assert_eq!((files.len(), hours.len()), (HOURS_MAX + 1, HOURS_MAX));
    assert!(hours.contains(hour_of(FAR).as_str()) && hour_of(FAR).starts_with("2261-"));
    assert!(!hours.contains("1970-01-01T00"), "it is of the oldest, which share a file");
    assert_eq!(ids_of(&rows(&snapshot, &files).await), ids_of(std::slice::from_ref(&all)));
    for file in &files {
        snapshot.check(file, &Layout::SPANS).await.expect("it is what the log says");
    }
    for (number, start) in starts.iter().enumerate() {
        let candidates = of_time(&files, *start);
        let id = &ids_of(&[all.slice(2 * number, 1)])[0];
        assert!(ids_of(&rows(&snapshot, &candidates).await).contains(id), "{}", hour_of(*start));
        assert!(candidates.len() <= 2, "{candidates:?}");
    }
}

/// Guarantee: what a clock dates back is kept as long as all else, and what it dates on until then.
#[tokio::test]
async fn old_is_what_was_written_long_ago() {
    let starts = scattered();
    let all = spans_at(&starts);
    let disk = ForgetfulDisk::default();
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it is made");
    append(&mut table, std::slice::from_ref(&all), 1).await.expect("it works");
    assert_eq!(table.expire(Some(&hour_of(NOW)), None).await.expect("it works"), []);
    let week_later = || NOW + 7 * NANOS_PER_DAY;
    let mut table =
        open_at(Arc::new(disk.clone()), Path::new(ROOT), week_later).await.expect("it opens");
    let later = spans_at(&[1]);
    // Its ids are those of the first spans, which go.
    append(&mut table, std::slice::from_ref(&later), 2).await.expect("it works");
    let first = hour_of(NOW + NANOS_PER_HOUR);
    let expired = table.expire(Some(&first), None).await.expect("it works");
    assert_eq!(expired.len(), HOURS_MAX, "all but that of 2261");
    let kept = ids_of(&[later, all.slice(2, 2)]);
    assert_eq!(stored(&disk, &spans::table()).await, kept);
}

/// Scenario: rows of three days, those of the last dated back to the epoch, take too many bytes.
/// Guarantee: what was written first goes first.
#[tokio::test]
async fn the_oldest_go_first() {
    let disk = ForgetfulDisk::default();
    let clocks: [fn() -> i64; 3] = [|| NOW, || NOW + NANOS_PER_DAY, || NOW + 2 * NANOS_PER_DAY];
    let all = spans_at(&[NOW, NOW + NANOS_PER_DAY, 0]);
    for (day, clock) in clocks.into_iter().enumerate() {
        let table = open_at(Arc::new(disk.clone()), Path::new(ROOT), clock).await;
        let rows = [all.slice(2 * day, 2)];
        append(&mut table.expect("it opens"), &rows, day as u64 + 1).await.expect("it works");
    }
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it opens");
    for day in 1..=3 {
        let files = table.files().expect("it is read");
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        assert_eq!(table.expire(None, Some(bytes)).await.expect("it works"), []);
        let expired = table.expire(None, Some(bytes - 1)).await.expect("it works");
        assert_eq!(expired.len(), 1);
        let left = ids_of(&[all.slice(2 * day, 6 - 2 * day)]);
        assert_eq!(stored(&disk, &spans::table()).await, left, "of day {day}");
    }
}

async fn tables(disk: &ForgetfulDisk, clock: fn() -> i64) -> Tables {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Tables::open(Arc::new(DiskStore::new(disk, ROOT)), clock).await.expect("it opens")
}

async fn keep(tables: &mut Tables, record: u64, spans: RecordBatch) {
    let part = Logged { spans: vec![spans], record, ..Logged::default() };
    tables.append(&[&part]).await.expect("it works");
    tables.settle(Settle::AtOnce).await.expect("it works");
}

/// Looks whether facts and gaps are those of the spans that are there. The trace pass takes times
/// of 2116 at most: the trace of 2261 has no gap.
async fn check_walked(disk: &ForgetfulDisk, expected: &[RecordBatch]) {
    let expected = ids_of(expected);
    let number = |id: &String| u64::from_str_radix(id, 16).expect("an id");
    let is_entry = |id: &&String| number(id) % 2 == 1 && number(id) != 3;
    let entries: BTreeSet<String> = expected.iter().filter(is_entry).cloned().collect();
    assert_eq!(stored(disk, &spans::table()).await, expected, "spans");
    assert_eq!(stored(disk, &facts::stored()).await, expected, "facts");
    let gaps = BTreeSet::from_iter(stored(disk, &gaps::stored()).await);
    assert_eq!(gaps, entries, "gaps");
}

/// Scenario: spans of many hours, the epoch and 2261 are kept with their facts, and a day later
/// others; then days go, and then bytes.
/// Guarantee: facts and gaps are there once, and go with their spans.
#[tokio::test]
async fn facts_and_gaps_go_with_their_spans() {
    let disk = ForgetfulDisk::default();
    let mut starts = scattered();
    starts.extend([NOW + NANOS_PER_DAY, NOW + 2 * NANOS_PER_DAY]);
    let all = spans_at(&starts);
    let (early, later) = (all.slice(0, 124), [all.slice(124, 2), all.slice(126, 2)]);
    let mut written = tables(&disk, || NOW).await;
    keep(&mut written, 1, early.clone()).await;
    let mut written = tables(&disk, || NOW + NANOS_PER_DAY).await;
    keep(&mut written, 2, later[0].clone()).await;
    let mut written = tables(&disk, || NOW + 2 * NANOS_PER_DAY).await;
    keep(&mut written, 3, later[1].clone()).await;
    check_walked(&disk, std::slice::from_ref(&all)).await;
    written.expire(Some(NOW), None).await.expect("it works");
    check_walked(&disk, std::slice::from_ref(&all)).await;
    written.expire(Some(NOW + NANOS_PER_HOUR), None).await.expect("it works");
    let far = early.slice(2, 2);
    check_walked(&disk, &[far.clone(), later[0].clone(), later[1].clone()]).await;
    let mut bytes = 0;
    for table in [spans::table(), facts::stored(), gaps::stored()] {
        let files = snapshot(&disk, &table).await.files().expect("they are listed");
        bytes += files.iter().map(|file| file.bytes).sum::<u64>();
    }
    written.expire(None, Some(bytes - 1)).await.expect("it works");
    check_walked(&disk, &[far, later[1].clone()]).await;
    // Where no spans are left, no facts are.
    written.expire(None, Some(0)).await.expect("it works");
    for table in [spans::table(), facts::stored(), gaps::stored()] {
        assert_eq!(stored(&disk, &table).await, [""; 0]);
    }
}

/// Scenario: the clock of a host stands still: for four days its spans begin in one hour.
/// Guarantee: they go by when they were written, and their facts a day later at most.
#[tokio::test]
async fn facts_of_an_hour_without_an_end_go_too() {
    let disk = ForgetfulDisk::default();
    let clocks: [fn() -> i64; 4] =
        [|| NOW, || NOW + NANOS_PER_DAY, || NOW + 2 * NANOS_PER_DAY, || NOW + 3 * NANOS_PER_DAY];
    let all = spans_at(&[0; 4]);
    for (day, clock) in clocks.into_iter().enumerate() {
        keep(&mut tables(&disk, clock).await, day as u64 + 1, all.slice(2 * day, 2)).await;
    }
    let mut written = tables(&disk, clocks[3]).await;
    let half_a_day = NANOS_PER_DAY / 2;
    written.expire(Some(NOW + 2 * NANOS_PER_DAY + half_a_day), None).await.expect("it works");
    let of_days = |first: usize| ids_of(&[all.slice(2 * first, 8 - 2 * first)]);
    assert_eq!(stored(&disk, &spans::table()).await, of_days(3));
    assert_eq!(stored(&disk, &facts::stored()).await, of_days(2));
    written.expire(None, Some(u64::MAX)).await.expect("it works");
    assert_eq!(stored(&disk, &facts::stored()).await, of_days(2), "no more than a day");
}
