//! Tables that are read where they lie: the rows are those of tables in memory, and what a query
//! does not need is not read.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt64Array};
use arrow::util::pretty::pretty_format_batches;
use timesink_model::schema::spans;
use timesink_query::{Database, Limits, Session, StoredDatabase, StoredTable};
use timesink_store::LocalDisk;
use timesink_tables::{DiskStore, Joining, Layout, Snapshot, Table};
use timesink_testkit::notation;

/// Twenty requests, one every twenty minutes: each hour has some.
const TRACES: &str = "\
shop SERVER GET/cart/{i} 0ms 120ms http.request.method=GET http.route=/cart
  shop CLIENT Q 5ms 10ms x3 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = {i}\"
--- x20 every 1200000ms
";

fn traces() -> RecordBatch {
    let batches = notation::spans(TRACES);
    arrow::compute::concat_batches(&batches[0].schema(), &batches).expect("one schema")
}

fn store(folder: &Path) -> Arc<DiskStore> {
    Arc::new(DiskStore::new(Arc::new(LocalDisk), folder))
}

/// Stores rows but for some of the last, which are behind the table.
async fn stored(folder: &Path, rows: &RecordBatch, behind: usize) -> StoredDatabase {
    let table = spans::table();
    let opened = Table::open(store(folder), &table, Layout::SPANS, || 1).await;
    let mut written = opened.expect("it is made");
    let (half, most) = (rows.num_rows() / 2, rows.num_rows() - behind);
    let parts = [rows.slice(0, half), rows.slice(half, most - half)];
    for (number, part) in (1..).zip(parts) {
        written.append(&[(number, &[part])]).await.expect("it works");
    }
    let snapshot = Snapshot::open(store(folder), &table).await.expect("it is there");
    let behind = if behind > 0 { vec![rows.slice(most, behind)] } else { Vec::new() };
    let tables = vec![StoredTable { name: table.name, layout: Layout::SPANS, snapshot, behind }];
    StoredDatabase::new(tables, Limits::default()).expect("it opens")
}

/// Returns the rows of an answer as a table.
async fn answer(session: Session, sql: &str) -> Result<String, String> {
    let answer = session.query(sql).await.map_err(|error| error.to_string())?;
    Ok(pretty_format_batches(&answer.batches).expect("it is written").to_string())
}

const QUERIES: [&str; 8] = [
    "SELECT count(*) AS n FROM spans",
    "SELECT min(start_time) AS first, max(end_time_unix_nano) AS last FROM spans",
    "SELECT * FROM spans ORDER BY trace_id, span_id LIMIT 7",
    "SELECT service_name, kind, count(*) AS n, sum(duration_nanos) AS total FROM spans \
     GROUP BY service_name, kind ORDER BY kind",
    "SELECT name, attributes['db.query.text'] AS statement FROM spans \
     WHERE db_query_text LIKE '%= 3' ORDER BY span_id",
    "SELECT trace_id, count(*) AS spans FROM spans WHERE duration_nanos > 20000000 \
     GROUP BY trace_id HAVING count(*) = 1 ORDER BY trace_id",
    "SELECT count(*) AS n FROM spans WHERE parent_span_id IS NULL AND http_route = '/cart'",
    "SELECT a.span_id FROM spans AS a JOIN spans AS b ON a.parent_span_id = b.span_id \
     AND a.trace_id = b.trace_id WHERE b.http_route = '/cart' ORDER BY a.span_id LIMIT 5",
];

#[tokio::test]
async fn rows_are_those_of_tables_in_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = traces();
    let stored = stored(folder.path(), &rows, 10).await;
    let memory = Database::open(vec![rows], Limits::default()).expect("it opens");
    for sql in QUERIES {
        assert_eq!(StoredDatabase::tables_for(sql), ["spans"], "{sql}");
        let ours = answer(stored.session().expect("a session"), sql).await;
        let expected = answer(memory.session().expect("a session"), sql).await;
        assert!(expected.is_ok(), "{expected:?}");
        assert_eq!(ours, expected, "{sql}");
    }
    for sql in [
        "SELECT * FROM facts",
        "SELECT s.name, f.* FROM spans AS s JOIN facts AS f USING (trace_id, span_id)",
        "SELECT count(*), max(stalled_nanos) FROM facts",
        "SELECT count(*) FROM spans, entries",
        "SELECT DISTINCT ON (trace_id) * FROM facts",
        "SELECT count(*) FROM facts NATURAL JOIN gaps",
        "SHOW TABLES",
        "SELECT '",
    ] {
        assert_eq!(StoredDatabase::tables_for(sql), [""; 0], "{sql}");
    }
    let joined = "SELECT count(*), sum(g.nanos * 2) FROM facts JOIN gaps AS g USING (span_id)";
    assert_eq!(StoredDatabase::tables_for(joined), ["facts", "gaps"]);
}

/// Queries that go along the order of rows.
const BY_TRACE: [&str; 4] = [
    "SELECT trace_id, count(*) AS n, max(end_time_unix_nano) AS last FROM spans \
     GROUP BY trace_id ORDER BY trace_id",
    "SELECT trace_id, start_time_unix_nano, span_id FROM spans \
     ORDER BY trace_id, start_time_unix_nano, span_id",
    "SELECT n, count(*) AS traces FROM (SELECT trace_id, count(*) AS n FROM spans \
     GROUP BY trace_id) GROUP BY n ORDER BY n",
    "SELECT DISTINCT trace_id FROM spans ORDER BY trace_id LIMIT 3",
];

/// Scenario: all rows are in files, each in the order of the table, and these overlap.
/// Guarantee: a query that goes along that order counts each trace once, whatever files it is in.
#[tokio::test]
async fn the_order_of_files_is_used_and_is_true() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = traces();
    // Halves of each trace: all files hold all trace ids.
    let even = rows.num_rows() / 2 * 2;
    let rows = halved(&rows.slice(0, even));
    let stored = stored(folder.path(), &rows, 0).await;
    let memory = Database::open(vec![rows], Limits::default()).expect("it opens");
    for sql in BY_TRACE {
        let ours = answer(stored.session().expect("a session"), sql).await;
        let expected = answer(memory.session().expect("a session"), sql).await;
        assert_eq!(ours, expected, "{sql}");
    }
    let plan = "EXPLAIN SELECT trace_id, count(*) FROM spans GROUP BY trace_id";
    let plan = answer(stored.session().expect("a session"), plan).await.expect("a plan");
    assert!(plan.contains("ordering_mode=Sorted"), "{plan}");
}

/// Returns each other row, then the others.
fn halved(rows: &RecordBatch) -> RecordBatch {
    let count = rows.num_rows() as u64;
    let order: UInt64Array = (0..count).step_by(2).chain((1..count).step_by(2)).collect();
    arrow::compute::take_record_batch(rows, &order).expect("its rows")
}

/// Scenario: two large files of an hour were spliced, each of which had a half of each trace.
/// Guarantee: each trace is counted once.
#[tokio::test]
async fn spliced_files_are_not_taken_as_sorted() {
    let folder = tempfile::tempdir().expect("a folder");
    let rows = notation::spans(
        "shop SERVER GET/cart 0ms 1ms\n  shop INTERNAL work 0ms 1ms\n--- x33000 every 100ms\n",
    );
    let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).expect("one schema");
    drop(stored(folder.path(), &halved(&rows), 0).await);
    let table = spans::table();
    let opened = Table::open(store(folder.path()), &table, Layout::SPANS, || 1).await;
    let mut written = opened.expect("it is there");
    let joined = written.compact("9999", Joining::Splice).await.expect("it works");
    assert_eq!((joined.files_before, joined.files_after), (2, 1));
    let snapshot = Snapshot::open(store(folder.path()), &table).await.expect("it is there");
    let behind = Vec::new();
    let tables = vec![StoredTable { name: table.name, layout: Layout::SPANS, snapshot, behind }];
    let spliced = StoredDatabase::new(tables, Limits::default()).expect("it opens");
    let ids = rows.column(0).as_string_view().clone();
    for row in [0, 1, 30_000, rows.num_rows() - 1] {
        let sql = format!("SELECT count(*) AS n FROM spans WHERE trace_id = '{}'", ids.value(row));
        let found = answer(spliced.session().expect("a session"), &sql).await.expect("an answer");
        assert!(found.contains("| 2 |"), "{sql}: {found}");
    }
    let memory = Database::open(vec![rows], Limits::default()).expect("it opens");
    for sql in BY_TRACE {
        let ours = answer(spliced.session().expect("a session"), sql).await;
        let expected = answer(memory.session().expect("a session"), sql).await;
        assert!(ours == expected && expected.is_ok(), "{sql}");
    }
}

/// Scenario: the files of other hours are gone.
/// Guarantee: queries that need no row of them are answered, others name one.
#[tokio::test]
async fn files_that_a_query_does_not_need_are_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = stored(folder.path(), &traces(), 10).await;
    let snapshot = Snapshot::open(store(folder.path()), &spans::table()).await.expect("it opens");
    let files = snapshot.files().expect("they are listed");
    let first_hour = files[0].hour.clone().expect("an hour");
    assert!(files.len() > 3 && files[1].hour.as_ref() != Some(&first_hour), "{files:?}");
    for file in &files[1..] {
        std::fs::remove_file(folder.path().join("spans").join(&file.path)).expect("it is there");
    }
    let count = async |filter: &str| {
        let sql = format!("SELECT count(*) AS n FROM spans WHERE name <> '' AND {filter}");
        answer(database.session().expect("a session"), &sql).await
    };
    for filter in [
        &format!("start_time <= '{first_hour}:59:59Z'"),
        "start_time_unix_nano < 1000000",
        "service_name = 'other'",
        "trace_id = 'ffffffffffffffffffffffffffffffff'",
    ] {
        let counted = count(filter).await;
        assert!(counted.is_ok(), "{filter}: {counted:?}");
    }
    let refused = count("service_name = 'shop'").await.expect_err("files are gone");
    assert!(refused.contains(".zstd.parquet"), "{refused}");
}

/// Requests whose files have spans of two services, the first and the last by name.
const SERVICES: &str = "\
alpha SERVER GET/cart/{i} 0ms 120ms
  zeta CLIENT Q 5ms 10ms
--- x33000 every 100ms
";

/// Scenario: a name and an id lie between the least and the greatest of each file, and are in none.
/// Guarantee: bloom filters say so: no row group is read, of files as they are and of joined ones.
#[tokio::test]
async fn what_bloom_filters_rule_out_is_not_read() {
    for joining in [None, Some(Joining::Splice), Some(Joining::Merge)] {
        let folder = tempfile::tempdir().expect("a folder");
        let rows = notation::spans(SERVICES);
        let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).expect("one schema");
        drop(stored(folder.path(), &halved(&rows), 0).await);
        let table = spans::table();
        if let Some(joining) = joining {
            let opened = Table::open(store(folder.path()), &table, Layout::SPANS, || 1).await;
            let mut written = opened.expect("it is there");
            assert!(written.compact("9999", joining).await.expect("it works").files_before > 0);
        }
        let snapshot = Snapshot::open(store(folder.path()), &table).await.expect("it opens");
        let name = table.name;
        let tables = vec![StoredTable { name, layout: Layout::SPANS, snapshot, behind: vec![] }];
        let database = StoredDatabase::new(tables, Limits::default()).expect("it opens");
        let first = rows.column(0).as_string_view().iter().flatten().min().expect("an id");
        for (filter, is_there) in [
            ("service_name = 'middle'".to_owned(), false),
            (format!("trace_id = '{first}0'"), false),
            ("service_name = 'zeta'".to_owned(), true),
            (format!("trace_id = '{first}'"), true),
        ] {
            let plan = format!("EXPLAIN ANALYZE SELECT name FROM spans WHERE {filter}");
            let plan = answer(database.session().expect("a session"), &plan).await.expect("a plan");
            let (_, looked_at) = plan.split_once("row_groups_pruned_bloom_filter=").expect("some");
            let kept = looked_at.split([',', ']']).next().expect("a metric");
            assert!(!kept.starts_with("0 total"), "{filter}: {kept}");
            assert_eq!(!kept.ends_with("→ 0 matched"), is_there, "{filter}, {joining:?}: {kept}");
        }
    }
}
