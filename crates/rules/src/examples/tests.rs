//! Traces in notation, the rules' own findings or ones made up, and what would be drawn.

use timesink_model::{
    Confidence, Evidence, ExampleSpan, ExampleTrace, Finding, Remediation, Severity, Status,
};
use timesink_query::{Database, Limits};
use timesink_testkit::notation;

use super::{EXAMPLE_SPANS_MAX, examples};

fn database(text: &str) -> Database {
    let spans = notation::spans(text);
    Database::open(spans, Limits::default()).unwrap()
}

/// A finding about a subject in the first trace of a database, which points at its first span.
fn finding(database: &Database, service: &str, subject: &str) -> Finding {
    let batch = &database.spans_with_facts()[0];
    let text = |name: &str| {
        use arrow::array::AsArray;
        batch.column_by_name(name).unwrap().as_string_view().value(0).to_owned()
    };
    Finding {
        finding_id: format!("about {subject}"),
        rule: "a-rule".to_owned(),
        severity: Severity::Warning,
        service_name: service.to_owned(),
        endpoint: "GET /".to_owned(),
        subject: subject.to_owned(),
        title: String::new(),
        message: String::new(),
        window_start_unix_nano: 0,
        window_end_unix_nano: 0,
        traces_affected: 1,
        traces_seen: 1,
        occurrences: 1,
        wasted_nanos: 1,
        wasted_nanos_estimated: None,
        wasted_share: None,
        confidence: Confidence::Certain,
        confidence_reason: String::new(),
        evidence: Evidence {
            trace_ids: vec![text("trace_id")],
            span_ids: vec![text("span_id")],
            ..Evidence::default()
        },
        remediation: Remediation::default(),
        caused_by: None,
        first_seen_unix_nano: 0,
        last_seen_unix_nano: 0,
        service_versions: Vec::new(),
        status: Status::New,
    }
}

fn drawn(text: &str, service: &str, subject: &str) -> ExampleTrace {
    let database = database(text);
    let finding = finding(&database, service, subject);
    let mut traces = examples(&database, &[finding], 1).unwrap();
    assert_eq!(traces.len(), 1);
    traces.remove(0)
}

/// Shows what is marked: `*` a span, `~` a gap of it; then depth, name and critical milliseconds.
fn lines(trace: &ExampleTrace) -> Vec<String> {
    let line = |span: &ExampleSpan| {
        let mark = if span.finding_ids.is_empty() { "" } else { "*" };
        let gap = if span.gaps.iter().all(|gap| gap.finding_ids.is_empty()) { "" } else { "~" };
        let critical: i64 = span.critical.iter().map(|s| s.duration_nanos).sum();
        format!("{mark}{gap}{} {} {}", span.depth, span.name, critical / 1_000_000)
    };
    trace.spans.iter().map(line).collect()
}

#[test]
fn a_loop_is_marked_query_by_query() {
    let trace = drawn(
        r#"
shop    SERVER  GET /cart  0ms  100ms
  shop  CLIENT  SELECT     5ms  10ms  db.system.name=postgresql  db.query.text="SELECT 1 FROM a"
  shop  CLIENT  SELECT     20ms 20ms  x2  db.system.name=postgresql  db.query.text="SELECT 2 FROM b"
"#,
        "shop",
        "SELECT ? FROM b",
    );
    assert_eq!(lines(&trace), ["0 GET /cart 50", "1 SELECT 10", "*1 SELECT 20", "*1 SELECT 20"]);
    assert_eq!((trace.duration_nanos, trace.spans_total), (100_000_000, 4));
    assert_eq!(trace.services, ["shop"]);
    let query = &trace.spans[1];
    assert_eq!(query.subject.as_deref(), Some("SELECT ? FROM a"));
    assert_eq!((query.start_nanos, query.duration_nanos), (5_000_000, 10_000_000));
}

#[test]
fn gaps_edges_services_and_peers_are_marked() {
    let gap = "shop  SERVER  GET /  0ms  100ms\n  shop  INTERNAL  load  0ms  20ms\n";
    assert_eq!(lines(&drawn(gap, "shop", "gap after load")), ["~0 GET / 80", "1 load 20"]);
    let mesh = "
shop    SERVER  GET /  0ms  100ms
  shop  CLIENT  POST   10ms  80ms  http.request.method=POST  url.full=\"http://orders:8080/x\"
    orders  SERVER  POST /x  40ms  20ms
";
    let edge = drawn(mesh, "shop", "shop -> orders");
    assert_eq!(lines(&edge), ["0 GET / 20", "*1 POST 60", "2 POST /x 20"]);
    let service = drawn(mesh, "shop", "orders");
    assert_eq!(lines(&service), ["0 GET / 20", "1 POST 60", "*2 POST /x 20"]);
    let call = mesh.lines().take(3).collect::<Vec<_>>().join("\n") + "\n";
    assert_eq!(lines(&drawn(&call, "shop", "orders:8080")), ["0 GET / 20", "*1 POST 80"]);
}

#[test]
fn what_nothing_is_called_after_is_the_span_pointed_at() {
    let text = "shop  SERVER  GET /  0ms  100ms\n  shop  INTERNAL  load  0ms  20ms\n";
    assert_eq!(lines(&drawn(text, "shop", "no such thing"))[0], "*0 GET / 80");
}

/// Scenario: a loop of far more queries than are shown, and a slow call beside it.
/// Guarantee: the limit holds, and what is above and beside the loop is there.
#[test]
fn a_long_loop_leaves_room_for_what_is_around_it() {
    let trace = drawn(
        r#"
shop    SERVER  GET /    0ms   900ms
  shop  INTERNAL  slow   1ms   300ms
  shop  INTERNAL  list   301ms 500ms
    shop  CLIENT  SELECT 301ms 1ms  x400  db.system.name=postgresql  db.query.text="SELECT 1"
"#,
        "shop",
        "SELECT ?",
    );
    assert_eq!((trace.spans.len(), trace.spans_total), (EXAMPLE_SPANS_MAX, 403));
    let lines = lines(&trace);
    assert_eq!(lines[1..3], ["1 slow 300", "1 list 100"]);
    assert!(lines.iter().filter(|line| line.starts_with("*2 SELECT")).count() >= 150);
}

#[test]
fn rings_and_orphans_are_shown_from_their_first_span() {
    let text = "
shop  INTERNAL  a  0ms   30ms  id=a  parent=b
shop  INTERNAL  b  10ms  10ms  id=b  parent=a
shop  INTERNAL  c  20ms  10ms  parent=lost
";
    let trace = drawn(text, "shop", "c");
    let names: Vec<&str> = trace.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(trace.spans.len(), 3, "{names:?}");
    assert!(trace.spans.iter().any(|s| s.name == "c" && s.depth == 0 && s.finding_ids.len() == 1));
}

#[test]
fn findings_that_share_a_trace_share_its_picture() {
    let database = database("shop  SERVER  GET /  0ms  100ms\n  shop  INTERNAL  load  0ms  20ms\n");
    let about = |subject| finding(&database, "shop", subject);
    let findings = [about("load"), about("gap after load")];
    let traces = examples(&database, &findings, 1).unwrap();
    assert_eq!(traces.len(), 1);
    assert_eq!(lines(&traces[0]), ["~0 GET / 80", "*1 load 20"]);
    assert!(examples(&database, &findings, 0).unwrap().is_empty());
    assert!(examples(&database, &[], 1).unwrap().is_empty());
}
