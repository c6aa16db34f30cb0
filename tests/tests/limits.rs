//! Every limit of a query is reached, and the refusal names the limit and the option that moves it.

use std::time::Duration;

use timesink_query::{Database, Error, Limits};
use timesink_testkit::notation;
use tokio::runtime::Builder;

/// A thousand spans: two of them joined to each other are a million rows.
const TRACES: &str = "a SERVER GET/{i} 0ms 1ms x1000";

/// The least that a small query needs.
const LIMITS: Limits = Limits {
    may_spill: false,
    memory_bytes_max: 64 << 20,
    time_max: Duration::from_mins(1),
    rows_max: 10_000,
    partitions: 1,
};

/// One thread waits, as on the smallest machine.
fn run(limits: Limits, sql: &str) -> Result<usize, Error> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async {
        let session = Database::open(notation::spans(TRACES), limits)?.session()?;
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
fn an_answer_that_needs_too_much_memory_is_refused() {
    check_refused(
        Limits { memory_bytes_max: 1 << 20, ..LIMITS },
        "SELECT repeat('x', 2000) FROM spans",
        "the query needs more memory than the limit of 1 MiB (`query.memory_mib_max`)",
    );
}

/// Scenario: a query answers with what the tables hold already, under a limit of nothing.
/// Guarantee: only what a query adds counts.
#[test]
fn the_tables_themselves_do_not_count() {
    let nothing = Limits { memory_bytes_max: 0, ..LIMITS };
    assert_eq!(run(nothing, "SELECT span_id, name, attributes FROM spans").expect("rows"), 1000);
}

/// Scenario: texts of 3 GB in a batch, whose places no array of texts can count.
/// Guarantee: the engine's panic is this query's error.
#[test]
fn a_query_that_panics_fails_alone() {
    check_refused(
        LIMITS,
        "SELECT repeat('x', 3000000) FROM spans",
        "the query failed while it ran: ",
    );
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    check_refused(
        LIMITS,
        &format!("SELECT '{}'", "x".repeat(300_000)),
        "the query has 300009 bytes: the limit is 262144",
    );
}

/// Scenario: terms one after the other, each of which makes the plan a step deeper.
/// Guarantee: what is planned does not take more stack than there is, the rest is refused.
#[test]
fn a_query_of_too_many_terms_is_refused() {
    let shapes: [(&str, &str, usize); 4] = [
        ("SELECT 1 WHERE 1 = 2", " OR 1 = 2", 2),
        ("SELECT 1 IS NULL", " IS NULL", 2),
        ("SELECT 1", " UNION ALL SELECT 1", 3),
        ("SELECT 1", "::INT", 2),
    ];
    for (head, more, terms) in shapes {
        let sql = |terms_max: usize| format!("{head}{}", more.repeat(terms_max / terms - 3));
        run(LIMITS, &sql(3000)).unwrap_or_else(|error| panic!("{head}{more}: {error}"));
        check_refused(LIMITS, &sql(9000), "the query has ");
        check_refused(LIMITS, &sql(60_000), "the query has ");
    }
    let tables = vec!["gaps"; 5000].join(", ");
    check_refused(
        LIMITS,
        &format!("SELECT 1 FROM {tables}"),
        "the query has 5001 operators and keywords: the limit is 3000",
    );
}

/// Scenario: a billion rows are joined, of which the first query keeps all and the second none,
/// so that neither has a reason to wait for anything.
#[test]
fn a_query_that_never_waits_is_refused_in_time() {
    for condition in ["true", "length(a.name || b.name || c.name) = 1"] {
        let text = "sum(length(a.name || b.name || c.name))";
        check_refused(
            Limits { time_max: Duration::from_millis(50), ..LIMITS },
            &format!("SELECT {text} FROM spans a, spans b, spans c WHERE {condition}"),
            "the query ran longer than the limit of 50ms (`query.seconds_max`)",
        );
    }
}

#[test]
fn a_query_that_takes_too_long_is_refused() {
    check_refused(
        Limits { time_max: Duration::from_millis(50), ..LIMITS },
        "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n) SELECT count(x) FROM n",
        "the query ran longer than the limit of 50ms (`query.seconds_max`)",
    );
}
