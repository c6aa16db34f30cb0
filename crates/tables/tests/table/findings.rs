//! The table `findings`: rows by the hour, kept for so many days, and read back.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use timesink_model::schema::findings;
use timesink_store::LocalDisk;
use timesink_tables::{DiskStore, Joining, TABLES, Tables, stored_findings};

use super::NOW;

const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

const NANOS_PER_DAY: i64 = 24 * NANOS_PER_HOUR;

/// Returns a row for each of some hours since [`NOW`].
fn rows(hours: &[i64]) -> RecordBatch {
    let schema = Arc::new(findings::table().schema());
    let column = |field: &Arc<Field>| -> ArrayRef {
        let rows = hours.len();
        match field.data_type() {
            DataType::Utf8View => Arc::new(StringViewArray::from(vec!["of a test"; rows])),
            DataType::Int64 => Arc::new(Int64Array::from(vec![7; rows])),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let micros = hours.iter().map(|hour| (NOW + hour * NANOS_PER_HOUR) / 1000);
                let times = TimestampMicrosecondArray::from_iter_values(micros);
                Arc::new(times.with_timezone_opt(zone.clone()))
            }
            DataType::List(item) => {
                let offsets = OffsetBuffer::from_lengths(vec![0; rows]);
                let none = Arc::new(StringArray::from(Vec::<&str>::new()));
                Arc::new(ListArray::new(Arc::clone(item), offsets, none, None))
            }
            other => new_null_array(other, rows),
        }
    };
    RecordBatch::try_new(Arc::clone(&schema), schema.fields().iter().map(column).collect())
        .expect("rows of it")
}

async fn tables(data: &Path, clock: fn() -> i64) -> Tables {
    let store = DiskStore::new(Arc::new(LocalDisk), data.join(TABLES));
    Tables::open(Arc::new(store), clock).await.expect("it opens")
}

async fn append(tables: &mut Tables, hours: &[i64]) {
    let place = tables.next_findings();
    tables.append_findings(place, &rows(hours)).await.expect("it works");
    tables.append_findings(place, &rows(hours)).await.expect("it is passed by");
}

/// Returns the hours of the rows that are there, in the order in which they are read.
async fn hours(data: &Path, since: i64) -> Vec<i64> {
    let stored = stored_findings(data, since).await.expect("they are read");
    assert!(stored.damage.is_none(), "{stored:?}");
    let of_batch = |batch: &RecordBatch| {
        let ends = batch.column_by_name("window_end").expect("a column");
        let ends = ends.as_primitive::<TimestampMicrosecondType>();
        let hour = |micros: &i64| (micros * 1000 - NOW) / NANOS_PER_HOUR;
        ends.values().iter().map(hour).collect::<Vec<_>>()
    };
    stored.rows.iter().flat_map(of_batch).collect()
}

/// Scenario: rows of many hours are appended, on three days, the second of them 399 days after the
/// first.
/// Guarantee: those of the latest day are read first; 400 days after they were written they go.
#[tokio::test]
async fn findings_are_kept_for_their_days() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let mut written = tables(data, || NOW).await;
    for hour in 0..3 {
        append(&mut written, &[hour, hour]).await;
    }
    let mut written = tables(data, || NOW + 399 * NANOS_PER_DAY).await;
    append(&mut written, &[399 * 24]).await;
    written.expire(Some(NOW), None).await.expect("it works");
    let all = hours(data, i64::MIN).await;
    assert_eq!((all.len(), all[0]), (7, 399 * 24), "{all:?}");
    assert_eq!(hours(data, NOW + NANOS_PER_DAY).await, [399 * 24]);
    let mut written = tables(data, || NOW + 401 * NANOS_PER_DAY).await;
    append(&mut written, &[401 * 24]).await;
    written.expire(None, Some(0)).await.expect("it works");
    assert_eq!(hours(data, i64::MIN).await.len(), 8, "the clock may be wrong");
    written.expire(Some(NOW + 402 * NANOS_PER_DAY), Some(0)).await.expect("it works");
    assert_eq!(hours(data, i64::MIN).await, [401 * 24, 399 * 24]);
    assert_eq!(written.next_findings(), 6);
}

/// Scenario: a row an hour is appended for two days, by a process that starts anew every few hours,
/// and small files are joined.
/// Guarantee: each row is there once.
#[tokio::test]
async fn findings_of_many_hours_are_there_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let days: [fn() -> i64; 2] = [|| NOW, || NOW + NANOS_PER_DAY];
    for hour in 0..48 {
        let mut written = tables(data, days[hour / 24]).await;
        append(&mut written, &[hour as i64]).await;
    }
    let mut written = tables(data, days[1]).await;
    let mut joined = 0;
    loop {
        let compacted = written.join(written.now(), Joining::Merge).await.expect("it works");
        if compacted.files_before == 0 {
            break;
        }
        joined += compacted.files_before;
    }
    assert!(joined >= 40, "{joined} files were joined");
    let mut all = hours(data, i64::MIN).await;
    // Those of a day are in a file, the youngest day first.
    assert!(all[..24].iter().all(|hour| *hour >= 24), "{all:?}");
    all.sort_unstable();
    assert_eq!(all, (0..48).collect::<Vec<_>>());
}
