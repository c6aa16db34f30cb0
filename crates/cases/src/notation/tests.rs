//! The notation's grammar, line by line, and that no text makes it panic.

use arrow::array::RecordBatch;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

/// Returns the spans of a block as JSON, over all groups, with their resource and scope.
fn spans_of(text: &str) -> Vec<Json> {
    let request: Json =
        serde_json::from_str(&parse(text).expect("notation").otlp_json()).expect("JSON");
    let list = |json: &Json, key: &str| json[key].as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    for resource in list(&request, "resourceSpans") {
        for scope in list(&resource, "scopeSpans") {
            for mut span in list(&scope, "spans") {
                span["resource"] = resource["resource"]["attributes"].clone();
                span["scope"] = scope["scope"].clone();
                spans.push(span);
            }
        }
    }
    spans
}

/// Returns (name, start, end) in milliseconds from the zero.
fn times(text: &str) -> Vec<(String, f64, f64)> {
    let millis = |span: &Json, key: &str| {
        let nanos: i64 = span[key].as_str().expect("text").parse().expect("number");
        (nanos - ZERO_UNIX_NANO) as f64 / 1e6
    };
    spans_of(text)
        .iter()
        .map(|span| {
            let name = span["name"].as_str().expect("text").to_owned();
            (name, millis(span, "startTimeUnixNano"), millis(span, "endTimeUnixNano"))
        })
        .collect()
}

fn texts(text: &str, key: &str) -> Vec<String> {
    spans_of(text).iter().map(|s| s[key].as_str().unwrap_or("-").to_owned()).collect()
}

fn check_error(text: &str, expected: &str) {
    let error = parse(text).expect_err("must not parse").to_string();
    assert_eq!(error, expected);
}

const CART: &str = r#"
# service    kind    name               start  duration
checkout     SERVER  GET /cart          0ms    120ms
  checkout   CLIENT  SELECT shop.item   5ms    3ms   x4  db.query.text="SELECT * FROM item"  rows=1
"#;

#[test]
fn reads_the_example_of_the_house_style() {
    let spans = spans_of(CART);
    assert_eq!(spans.len(), 5);
    assert_eq!(
        times(CART),
        [
            ("GET /cart".to_owned(), 0.0, 120.0),
            ("SELECT shop.item".to_owned(), 5.0, 8.0),
            ("SELECT shop.item".to_owned(), 8.0, 11.0),
            ("SELECT shop.item".to_owned(), 11.0, 14.0),
            ("SELECT shop.item".to_owned(), 14.0, 17.0),
        ]
    );
    let child = &spans[1];
    assert_eq!(child["kind"], 3);
    assert_eq!(child["parentSpanId"], spans[0]["spanId"]);
    assert_eq!(
        child["attributes"],
        json!([
            { "key": "db.query.text", "value": { "stringValue": "SELECT * FROM item" } },
            { "key": "rows", "value": { "intValue": "1" } },
        ])
    );
}

#[test]
fn repeats_children_with_their_parent() {
    let block =
        "a SERVER root 0ms 100ms\n  a INTERNAL item{i} 10ms 4ms x3/20ms\n    a CLIENT GET 1ms 2ms";
    let names: Vec<_> = times(block).into_iter().map(|(name, start, _)| (name, start)).collect();
    assert_eq!(
        names,
        [
            ("root".to_owned(), 0.0),
            ("item1".to_owned(), 10.0),
            ("GET".to_owned(), 1.0),
            ("item2".to_owned(), 30.0),
            ("GET".to_owned(), 21.0),
            ("item3".to_owned(), 50.0),
            ("GET".to_owned(), 41.0),
        ]
    );
}

#[test]
fn numbers_repetitions_and_traces() {
    let block = "a CLIENT GET 0ms 1ms x2 url.full=http://b/{t}/{i} n={i}\n--- x2 every 40ms";
    let urls: Vec<_> = spans_of(block)
        .iter()
        .map(|s| s["attributes"][0]["value"]["stringValue"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(urls, ["http://b/1/1", "http://b/1/2", "http://b/2/1", "http://b/2/2"]);
    assert_eq!(spans_of(block)[3]["attributes"][1]["value"], json!({ "intValue": "2" }));
}

#[test]
fn repeats_a_trace_with_fresh_ids() {
    let block = "a SERVER one 0ms 5ms\n--- x3 every 40ms\na SERVER two 7ms 5ms";
    let starts: Vec<_> = times(block).into_iter().map(|(_, start, _)| start).collect();
    assert_eq!(starts, [0.0, 40.0, 80.0, 7.0]);
    let mut ids = texts(block, "traceId");
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn several_top_lines_are_several_roots_of_one_trace() {
    let block = "a SERVER one 0ms 5ms\na SERVER two 7ms 5ms";
    let ids = texts(block, "traceId");
    assert_eq!(ids[0], ids[1]);
    assert_eq!(texts(block, "parentSpanId"), ["-", "-"]);
}

#[test]
fn joined_blocks_are_traces_apart() {
    let block = parse("a SERVER one 0ms 5ms").expect("notation");
    let spans = Notation::join([block.clone(), block]).decode().unwrap().spans;
    let count: usize = spans.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(count, 2);
}

#[test]
fn a_value_is_typed_unless_quoted() {
    let block = r#"a CLIENT GET 0ms 1ms a=5 b="5" c=true d="say \"hi\"\\ \n" e=1.5 f= g="a=b  c""#;
    let values: Vec<_> = spans_of(block)[0]["attributes"]
        .as_array()
        .expect("list")
        .iter()
        .map(|attribute| attribute["value"].clone())
        .collect();
    assert_eq!(
        values,
        [
            json!({ "intValue": "5" }),
            json!({ "stringValue": "5" }),
            json!({ "boolValue": true }),
            json!({ "stringValue": "say \"hi\"\\ \n" }),
            json!({ "stringValue": "1.5" }),
            json!({ "stringValue": "" }),
            json!({ "stringValue": "a=b  c" }),
        ]
    );
}

#[test]
fn special_keys_reach_their_place() {
    let block = "a CLIENT GET 0ms 1ms scope=s scope.version=1 status=ERROR status.message=bad \
                 flags=3 trace_state=ot=th:8 event=exception event.exception.type=KeyError x=1";
    let span = &spans_of(block)[0];
    assert_eq!(span["scope"], json!({ "name": "s", "version": "1" }));
    assert_eq!(span["status"], json!({ "code": 2, "message": "bad" }));
    assert_eq!(span["flags"], 3);
    assert_eq!(span["traceState"], "ot=th:8");
    assert_eq!(span["events"][0]["name"], "exception");
    assert_eq!(span["events"][0]["attributes"][0]["key"], "exception.type");
    assert_eq!(span["attributes"], json!([{ "key": "x", "value": { "intValue": "1" } }]));
}

#[test]
fn a_process_is_shared_by_the_lines_below_of_its_service() {
    let block = "\
a SERVER root 0ms 9ms instance=blue resource.process.pid=7
  b SERVER b 1ms 5ms
    a CLIENT back 2ms 1ms";
    let spans = spans_of(block);
    let named = |name: &str| spans.iter().find(|s| s["name"] == name).expect("span");
    assert_eq!(named("root")["resource"], named("back")["resource"]);
    assert_eq!(
        named("b")["resource"],
        json!([
            { "key": "service.name", "value": { "stringValue": "b" } },
            { "key": "service.instance.id", "value": { "stringValue": "b-1" } },
        ])
    );
    assert_eq!([&named("root")["flags"], &named("b")["flags"]], [&json!(256), &json!(768)]);
}

#[test]
fn a_dash_is_no_service_and_no_instance() {
    assert_eq!(spans_of("- SERVER root 0ms 9ms")[0]["resource"], json!([]));
    let resource = &spans_of("a SERVER root 0ms 9ms instance=-")[0]["resource"];
    assert_eq!(resource.as_array().map(Vec::len), Some(1));
}

#[test]
fn names_build_parents_and_orphans() {
    let block = "\
a SERVER root 0ms 9ms id=top
a CLIENT child 1ms 1ms parent=top
a CLIENT lost 1ms 1ms parent=gone
a CLIENT raw 1ms 1ms parent=00f067aa0ba902b7";
    let ids = texts(block, "spanId");
    let parents = texts(block, "parentSpanId");
    assert_eq!(parents[1], ids[0]);
    assert!(!ids.contains(&parents[2]) && parents[2].len() == 16, "{parents:?}");
    assert_eq!(parents[3], "00f067aa0ba902b7");
}

#[test]
fn the_same_name_is_the_same_span() {
    let ids = texts("a SERVER one 0ms 9ms id=x\na SERVER one 0ms 9ms id=x", "spanId");
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_quoted_name_may_hold_a_time_or_nothing() {
    let names = texts("a INTERNAL \"sleep 5ms\" 0ms 5ms\na INTERNAL \"\" 0ms 5ms", "name");
    assert_eq!(names, ["sleep 5ms", ""]);
}

#[test]
fn a_span_may_start_early_and_end_before_it_starts() {
    let name = "a".to_owned();
    assert_eq!(times("s SERVER a -2.5ms -1us"), [(name, -2.5, -2.501)]);
    assert_eq!(
        parse("s SERVER a 0ms -1us").expect("notation").decode().unwrap().quarantine.len(),
        1
    );
}

#[test]
fn the_decoder_takes_every_span() {
    let decoded = parse(CART).expect("notation").decode().unwrap();
    assert!(decoded.rejected.is_empty() && decoded.repaired.is_empty());
    let count: usize = decoded.spans.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(count, 5);
}

#[test]
fn repetitions_of_long_lines_are_refused() {
    let text = format!("a SERVER x 0ms 1ms x99999 k=\"{}\"", "{i}".repeat(1_000));
    assert!(matches!(parse(&text), Err(NotationError::TooLong { count: 99_999, .. })));
}

#[test]
fn an_error_names_the_line_and_what_was_expected() {
    check_error(
        "\na SERVE x 0ms 1ms",
        "line 2: expected a kind: SERVER, CLIENT, INTERNAL, PRODUCER ..., found `SERVE`",
    );
    check_error(
        "a SERVER x 0 1",
        "line 1: expected the start, like `5ms`, found the end of the line",
    );
    check_error(
        "a SERVER x 0ms",
        "line 1: expected the duration, like `3ms`, found the end of the line",
    );
    check_error("a SERVER 0ms 1ms", "line 1: expected a name before the start, found `0ms`");
    check_error(
        "a SERVER x 0ms 1ms x0",
        "line 1: expected `xN` or `xN/TIME`, N from 1, found `x0`",
    );
    check_error("a SERVER x 0ms 1ms y", "line 1: expected `key=value`, found `y`");
    check_error("a SERVER x 0ms 1ms k=\"y", "line 1: expected a closing quote, found `\"y`");
    check_error(
        "a SERVER x 0ms 1ms status=BAD",
        "line 1: expected UNSET, OK or ERROR after `status=`, found `BAD`",
    );
    check_error(
        "a SERVER x 0ms 1ms event.k=1",
        "line 1: expected `event=NAME` before its attributes, found `k`",
    );
    check_error(
        " a SERVER x 0ms 1ms",
        "line 1: expected an indentation of two spaces a level, found `a`",
    );
    check_error(
        "  a SERVER x 0ms 1ms",
        "line 1: expected at most one level below the line above, found `a`",
    );
    check_error("---", "line 1: expected a span before the line that ends its trace, found `---`");
    check_error(
        "a SERVER x 0ms 1ms\n--- x2",
        "line 2: expected `every TIME` after `xN`, found the end of the line",
    );
    check_error(
        "a SERVER x 0ms 1ms x1000\n  a SERVER y 0ms 1ms x1000",
        "the block stands for 1001000 spans, over the limit of 100000 (`SPANS_MAX`)",
    );
}

#[test]
fn times_are_exact() {
    for (word, nanos) in [
        ("0ms", Some(0)),
        ("7ns", Some(7)),
        ("1.5ms", Some(1_500_000)),
        ("-20us", Some(-20_000)),
        ("0.000000001s", Some(1)),
        ("1.0ns", Some(1)),
        ("1.5ns", None),
        ("0.0000000001s", None),
        ("2592000s", Some(2_592_000_000_000_000)),
        ("2592001s", None),
        ("99999999999999999999s", None),
        ("5", None),
        ("ms", None),
        (".5ms", None),
        ("5 ms", None),
        ("5min", None),
        ("--5ms", None),
    ] {
        assert_eq!(text::parse_nanos(word), nanos, "{word}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(.|\n){0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn any_line_of_the_right_words_becomes_its_spans(
        text in concat!(
            r#"([ ]{0,4}(a|-) (SERVER|CLIENT) (GET|"")? ?-?[0-9]{1,3}(ms|s|us) [0-9]{1,3}ms"#,
            r#"( x[0-9]{1,2}(/-?1ms)?)?"#,
            r#"( (id|parent|instance|flags|k|event|scope)="?[{}i0-9a-z]{0,3}"?){0,3}\n"#,
            r#"(--- x[0-9] every 1ms\n)?){1,4}"#,
        ),
    ) {
        if let Ok(notation) = parse(&text) {
            let decoded = notation.decode().unwrap();
            let batches = decoded.spans.iter().chain(&decoded.quarantine);
            let count: usize = batches.map(RecordBatch::num_rows).sum();
            let refused = decoded.rejected.total();
            prop_assert_eq!(count as u64 + refused, notation.span_count());
        }
    }
}
