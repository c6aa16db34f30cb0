//! Every limit of a query is reached, and the refusal names the limit and the option that moves it.

use std::time::Duration;

use timesink_query::{Database, Error, Limits};
use timesink_testkit::notation;
use tokio::runtime::Runtime;

/// A thousand spans: two of them joined to each other are a million rows.
const TRACES: &str = "a SERVER GET/{i} 0ms 1ms x1000";

/// The least that a small query needs.
const LIMITS: Limits = Limits {
    memory_bytes_max: 64 << 20,
    time_max: Duration::from_mins(1),
    rows_max: 10_000,
    partitions: 1,
};

fn run(limits: Limits, sql: &str) -> Result<usize, Error> {
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let session = Database::open(&notation::spans(TRACES), limits).await?.session()?;
        let result = session.query(sql).await?;
        Ok(result.batches.iter().map(arrow::array::RecordBatch::num_rows).sum())
    })
}

fn check_refused(limits: Limits, sql: &str, expected: &str) {
    let error = run(limits, sql).expect_err("over the limit").to_string();
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn a_query_within_the_limits_is_answered() {
    assert_eq!(run(LIMITS, "SELECT name FROM spans").expect("rows"), 1000);
}

#[test]
fn a_query_with_too_many_rows_is_refused() {
    check_refused(
        Limits { rows_max: 999, ..LIMITS },
        "SELECT name FROM spans",
        "the query returned more rows than the limit of 999 (`query.rows_max`)",
    );
}

#[test]
fn a_query_that_needs_too_much_memory_is_refused() {
    check_refused(
        Limits { memory_bytes_max: 1 << 20, ..LIMITS },
        "SELECT count(DISTINCT concat(a.name, b.name)) FROM spans a CROSS JOIN spans b",
        "the query needs more memory than the limit of 1 MiB (`query.memory_mib_max`)",
    );
}

#[test]
fn a_query_that_takes_too_long_is_refused() {
    check_refused(
        Limits { time_max: Duration::from_millis(50), ..LIMITS },
        "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n) SELECT count(x) FROM n",
        "the query ran longer than the limit of 50ms (`query.seconds_max`)",
    );
}
