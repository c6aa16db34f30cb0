//! What `analyze` prints for people, to the letter. Where a rule's words or thresholds change, this
//! changes: read it before it is taken.

use crate::support::{recording, run};

fn check(name: &str, expected: &str) {
    let output = run(&["analyze", &recording(name)]);
    assert_eq!(output.stdout, expected.trim_start_matches('\n'), "{}", output.stdout);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
}

#[test]
fn a_query_in_a_loop() {
    check(
        "django_fk_n1.pb.gz",
        r"
warning[n-plus-one-query]: 21 queries of one shape in one request: 22 ms wasted
  service  shop-web, GET api/orders/recent
  subject  SELECT customers.id, customers.name, customers.email, customers.tier FROM customers WHERE
           customers.id = ? LIMIT ?
  found    shop-web GET api/orders/recent sends this statement 21 times in a typical affected
           request (8 to 38), 18 ms in the database and 6.7 ms between the repeats, of 31 ms.
  wasted   22 ms in a typical request, 40 of 40 requests, 66 % of the endpoint's time, 983 ms in all
  sure     likely: the count changes from request to request, as the number of rows does; parameters
           are not recorded
  trace    b932f6a913ec1f3b60f3d3ab1d85cb57
  help     load the related rows with the first query: select_related() for foreign keys,
           prefetch_related() for the rest; for writes bulk_create() or bulk_update()
           (rules/n-plus-one-query#how-to-fix-it)
           https://docs.djangoproject.com/en/stable/ref/models/querysets/#select-related
  next     python manage.py shell: print(queryset.query), or django.test.utils.CaptureQueriesContext
           around the view

1 finding in 977 spans of 40 traces, 1 service
  clean        24 of 30 rules
  skipped      unbounded-result: no span carries `db.response.returned_rows`; n-plus-one-llm,
               slow-llm-call: no span carries `gen_ai.operation.name`; large-payload: no span
               carries `http.response.body.size`; thread-pool-wait: no span carries
               `timesink.thread_pool.library`
  guides       `timesink rules show RULE`; each step of a rule on a trace: `timesink explain TRACE
               --rule RULE FILES`
",
    );
}

#[test]
fn a_slow_encoder() {
    check(
        "flask_json_slow_ser.jsonl.gz",
        r"
warning[slow-serialization]: 70 ms after the last I/O, 94 % of the request: 70 ms wasted
  service  orders-api, GET /catalog
  subject  gap after sqlalchemy SELECT id, sku, name, price::float, description FROM products LIMIT
           ?
  found    orders-api GET /catalog has its data and then works another 70 ms of 75 ms before the
           response leaves.
  wasted   70 ms in a typical request, 12 of 12 requests, 94 % of the endpoint's time, 949 ms in all
  sure     likely: no span covers the time between the last I/O and the response: building the
           response is the likely reason, a sleep would look the same
  trace    fd7e3ec01346fe91e0da81be13ef4de1
  help     send less (paginate, fewer fields) and encode it with a faster encoder (orjson,
           pydantic's dump_json) (rules/slow-serialization#how-to-fix-it)
           https://github.com/ijl/orjson
  next     py-spy record --native -o native.svg --duration 30 --pid PID

1 finding in 36 spans of 12 traces, 1 service
  clean        24 of 30 rules
  skipped      unbounded-result: no span carries `db.response.returned_rows`; n-plus-one-llm,
               slow-llm-call: no span carries `gen_ai.operation.name`; large-payload: no span
               carries `http.response.body.size`; thread-pool-wait: no span carries
               `timesink.thread_pool.library`
  guides       `timesink rules show RULE`; each step of a rule on a trace: `timesink explain TRACE
               --rule RULE FILES`
",
    );
}

/// Scenario: one recording cannot be told, another holds a blocked loop of Django, a third neither.
/// Guarantee: *cannot tell* is not *clean*, and only what blocks is named.
#[test]
fn what_stalls_what_does_not_and_what_cannot_be_told() {
    let one_client = run(&["analyze", &recording("fa_requests_bad_only_c1.jsonl.gz")]).stdout;
    assert!(one_client.contains("no findings, 1 note in 280 spans"), "{one_client}");
    let (clean, undecided) = one_client.split_once("cannot tell").unwrap();
    assert!(!clean.contains("blocking-event-loop"), "{one_client}");
    assert!(undecided.contains("(profile-api GET"), "{one_client}");

    let bad = recording("django_asgi_requests_bad_c8.jsonl.gz");
    let bad = run(&["analyze", "--format", "jsonl", &bad]).stdout;
    let findings: Vec<serde_json::Value> =
        bad.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(findings.len(), 1, "{bad}");
    assert_eq!(findings[0]["rule"], "blocking-event-loop");
    assert_eq!(findings[0]["endpoint"], "GET dashboard/<int:uid>");
    assert!(findings[0]["subject"].as_str().unwrap().starts_with("requests GET "), "{bad}");

    let good = run(&["analyze", &recording("django_asgi_httpx_good_c8.jsonl.gz")]).stdout;
    assert!(good.starts_with("no findings in 658 spans"), "{good}");
}

/// Scenario: test suites whose tests have a span of their own, under which requests are INTERNAL or
/// SERVER, in a trace of their own, of the test, or of the whole session.
/// Guarantee: what is found is a request's and names the test; no test is blamed for opening a good
/// page eight times.
#[test]
fn suites_under_spans_of_their_tests_are_told_by_their_requests() {
    let page = "n-plus-one-query GET orders/recent tests/test_orders.py::test_recent_orders_page";
    let quotes = "blocking-event-loop GET /quotes/{symbol} tests/test_quotes.py::test_many_clients";
    let expected = [
        ("fa_requests_bad_alternating_c8", vec![quotes]),
        ("pytest_plugin_django", vec![page]),
        ("pytest_plugin_django_per_test", vec![page]),
        ("pytest_plugin_django_xdist", vec![page]),
        ("pytest_span_clients", vec![]),
        ("pytest_span_clients_native", vec![]),
        ("pytest_span_django", vec![page]),
        ("pytest_span_django_xdist", vec![page]),
        ("pytest_span_fastapi_bad_c8", vec![quotes]),
        ("pytest_span_fastapi_native_bad_c8", vec![quotes]),
    ];
    for (name, expected) in expected {
        let file = recording(&format!("{name}.jsonl.gz"));
        let found = run(&["analyze", "--format", "jsonl", &file]).stdout;
        let brief = |line: &str| {
            let finding: serde_json::Value = serde_json::from_str(line).unwrap();
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
            let ran_in = text(&finding["evidence"]["test_cases"][0]);
            format!("{} {} {ran_in}", text(&finding["rule"]), text(&finding["endpoint"]))
        };
        let is_note = |line: &&str| line.contains("\"severity\":\"info\"");
        let found: Vec<String> = found.lines().filter(|line| !is_note(line)).map(brief).collect();
        assert_eq!(found, expected, "{name}");
    }
}
