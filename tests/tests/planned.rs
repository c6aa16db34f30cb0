//! A query planned before there are rows answers as one that is asked of a session.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use timesink_query::{Database, Limits, Planner, Reader};
use timesink_testkit::notation;
use tokio::runtime::Builder;

/// More spans than a query keeps as they are.
const TRACES: &str = "\
shop SERVER GET/{i} 0ms 100ms x1100
  shop CLIENT Q 1ms 1ms x60 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE i = {i}\"
";

/// Kept, because it is read twice: texts that repeat and texts that do not, integers that are
/// narrow and integers that are not, columns that are NULL in some rows and in all.
const QUERY: &str = "
WITH kept AS (
    SELECT
        trace_id, span_id, parent_span_id, name, duration_nanos, start_time_unix_nano,
        db_query_text, query_shape, http_route, is_leaf, wire_nanos
    FROM spans_with_facts
)
SELECT
    count(*) AS rows,
    count(DISTINCT a.span_id) AS spans,
    count(a.parent_span_id) AS children,
    count(DISTINCT a.name) AS names,
    min(a.name) AS name_first,
    max(b.db_query_text) AS text_last,
    count(DISTINCT b.db_query_text) AS texts,
    max(a.query_shape) AS shape,
    sum(a.duration_nanos) AS nanos,
    sum(a.start_time_unix_nano - b.start_time_unix_nano) AS apart,
    count(a.http_route) AS routes,
    sum(CASE WHEN b.is_leaf THEN 1 ELSE 0 END) AS leaves,
    max(a.wire_nanos) AS wire
FROM kept AS a
JOIN kept AS b ON a.trace_id = b.trace_id AND a.span_id = b.span_id";

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).expect("a table").to_string()
}

#[test]
fn rows_that_are_packed_meanwhile_read_the_same() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let limits = Limits { partitions: 1, ..Limits::default() };
    let database = Database::open(notation::spans(TRACES), limits).expect("a database");
    assert!(database.spans() > 1 << 16, "{} spans", database.spans());
    let answers = runtime.expect("a runtime").block_on(async {
        let asked = database.session().expect("a session").query(QUERY).await;
        let planner = Planner::new(limits, &[QUERY], &[]).await.expect("a planner");
        let plan = planner.plan(QUERY, Vec::new()).await.expect("a plan");
        let reader = Reader::new(planner, &database).expect("a reader");
        let answered = reader.query(Arc::new(plan), Vec::new()).await;
        [asked, answered].map(|answer| shown(&answer.expect("an answer").batches))
    });
    assert_eq!(answers[0], answers[1]);
    assert!(answers[0].contains("| 67100 "), "{}", answers[0]);
}

/// The engine keeps the value of such a subquery in the plan, while it runs.
const LONGEST: &str = "
SELECT count(*) AS spans
FROM spans_with_facts
WHERE duration_nanos = (SELECT max(duration_nanos) FROM spans_with_facts)";

/// Scenario: one plan runs over two databases at the same time, again and again.
/// Guarantee: each run has the values of its own rows.
#[test]
fn runs_of_one_plan_do_not_meet() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let limits = Limits { partitions: 2, ..Limits::default() };
    let (few, many) = ("shop SERVER GET/a 0ms 10ms x3\n", "shop SERVER GET/b 0ms 20ms x500\n");
    let databases = [few, many].map(|text| Database::open(notation::spans(text), limits).unwrap());
    runtime.expect("a runtime").block_on(async {
        let planner = Planner::new(limits, &[LONGEST], &[]).await.expect("a planner");
        let plan = Arc::new(planner.plan(LONGEST, Vec::new()).await.expect("a plan"));
        let readers = databases.map(|database| Reader::new(planner.clone(), &database).unwrap());
        let runs = (0..100).map(|number| {
            let (reader, plan) = (readers[number % 2].clone(), Arc::clone(&plan));
            tokio::spawn(async move { (number, reader.query(plan, Vec::new()).await) })
        });
        for run in runs.collect::<Vec<_>>() {
            let (number, answer) = run.await.expect("it does not panic");
            let spans = shown(&answer.expect("an answer").batches);
            let expected = if number % 2 == 0 { "| 3     |" } else { "| 500   |" };
            assert!(spans.contains(expected), "run {number}: {spans}");
        }
    });
}

/// Scenario: views that are planned at once, for a query that is, and views that two later queries
/// alone read, one of them over another view.
/// Guarantee: each query answers as it does by itself.
#[test]
fn views_of_later_queries_are_parts_of_them() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build();
    let limits = Limits { partitions: 1, ..Limits::default() };
    let text = "shop SERVER GET/a 0ms 90ms\n  \
                  shop CLIENT chat 1ms 9ms x3 gen_ai.operation.name=chat\n  \
                  shop CLIENT GET 40ms 20ms http.request.method=GET url.full=http://b/x\n    \
                    b SERVER GET/x 42ms 15ms\n";
    let database = Database::open(notation::spans(text), limits).expect("a database");
    let at_once = "SELECT count(*) AS rows FROM entries";
    let later = [
        "SELECT count(*) AS rows, sum(edges.wire_nanos) AS wire FROM service_edges AS edges",
        "SELECT count(*) AS rows, (SELECT count(*) FROM service_edges) AS edges FROM llm_calls",
        "WITH llm_calls AS (SELECT 1 AS x) SELECT count(*) AS rows FROM llm_calls",
    ];
    runtime.expect("a runtime").block_on(async {
        let planner = Planner::new(limits, &[at_once], &later).await.expect("a planner");
        let reader = Reader::new(planner.clone(), &database).expect("a reader");
        for (sql, rows) in [at_once].iter().chain(&later).zip([2, 1, 3, 1]) {
            let asked = database.session().expect("a session").query(sql).await;
            let plan = planner.plan(sql, Vec::new()).await.expect("a plan");
            let answered = reader.query(Arc::new(plan), Vec::new()).await;
            let [asked, answered] =
                [asked, answered].map(|a| shown(&a.expect("an answer").batches));
            assert_eq!(answered, asked, "{sql}");
            assert!(asked.contains(&format!("| {rows} ")), "{sql}: {asked}");
        }
    });
}
