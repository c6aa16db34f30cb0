//! `sql`: rows for people and for programs.

use serde_json::{Value, json};

use crate::support::{Place, check_refusal, one_span, recording, run};

const QUERY: &str = "SELECT kind, count(*) AS spans FROM spans GROUP BY kind ORDER BY kind";

#[test]
fn writes_a_table() {
    let output = run(&["sql", QUERY, &recording("django_fk_ok.jsonl.gz")]);
    assert_eq!(output.stderr, "");
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "kind    spans");
    assert!(lines[1].starts_with("CLIENT"), "{}", output.stdout);
    assert_eq!(lines.last(), Some(&"(2 rows)"));
}

#[test]
fn writes_an_array_of_objects() {
    let output = run(&["sql", "--format", "json", QUERY, &recording("django_fk_ok.jsonl.gz")]);
    let rows: Vec<Value> = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["kind"], "CLIENT");
    assert!(rows[0]["spans"].as_i64().unwrap() > 0);
    let none = "SELECT name FROM spans WHERE name = 'none'";
    let output = run(&["sql", "--format", "json", none, &recording("django_fk_ok.jsonl.gz")]);
    assert_eq!(output.stdout, "[]\n");
}

#[test]
fn every_object_has_every_column() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    let query = "SELECT name, parent_span_id FROM spans";
    let output = place.run(&["sql", "--format", "json", query, "in.json"]);
    let rows: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(rows, json!([{"name": "GET /", "parent_span_id": null}]));
}

#[test]
fn csv_quotes_text_and_starts_no_formula() {
    let place = Place::new();
    place.write("in.json", one_span("=cmd|'/c calc'!A1", "say \"hi\", all"));
    let query =
        "SELECT name, service_name, -1 AS n, parent_span_id, resource_attributes FROM spans";
    let output = place.run(&["sql", "--format", "csv", query, "in.json"]);
    let expected = "name,service_name,n,parent_span_id,resource_attributes\r\n\
                    \"say \"\"hi\"\", all\",'=cmd|'/c calc'!A1,-1,,\
                    \"{\"\"service.name\"\":\"\"=cmd|'/c calc'!A1\"\"}\"\r\n";
    assert_eq!(output.stdout, expected);
}

#[test]
fn csv_starts_no_formula_by_other_means() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "\n=1+1"));
    let query = "SELECT name, '＝1' AS a, '\u{ff20}x' AS b FROM spans";
    let output = place.run(&["sql", "--format", "csv", query, "in.json"]);
    assert_eq!(output.stdout, "name,a,b\r\n\"'\n=1+1\",'＝1,'＠x\r\n");
}

/// Scenario: names of columns are as free as any text, and as long.
#[test]
fn names_of_columns_are_shown_safely() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    let long = "x".repeat(100_000);
    let query = format!("SELECT 1 AS \"\u{1b}[31mred\", 2 AS \"{long}\"");
    let output = place.run(&["sql", &query, "in.json"]);
    assert!(output.stdout.starts_with("\\u{1b}[31mred  xxx"), "{}", output.stdout);
    assert!(output.stdout.lines().all(|line| line.chars().count() < 200), "{}", output.stdout);
}

#[test]
fn an_object_holds_no_name_twice() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    let query = "SELECT a.name, b.name FROM spans a JOIN spans b USING (trace_id)";
    check_refusal(
        &place.run(&["sql", "--format", "json", query, "in.json"]),
        "error: the query returns two columns `name`, and an object of JSON holds one: give one \
         of them an alias (`AS other_name`)\n",
    );
}

/// Scenario: a query's own values make the engine panic.
/// Guarantee: that is an error of the query, without the panic's own report.
#[test]
fn a_panic_of_the_engine_is_an_error_of_the_query() {
    let query = "SELECT repeat('x', 30000000) FROM generate_series(1, 100)";
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    check_refusal(
        &place.run(&["sql", query, "in.json"]),
        "error: the query failed while it ran: offset overflow\n",
    );
}

#[test]
fn every_table_can_be_read() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    for table in ["spans", "facts", "gaps", "quarantine", "spans_with_facts", "entries"] {
        let query = format!("SELECT count(*) AS rows FROM {table}");
        let output = place.run(&["sql", "--format", "csv", &query, "in.json"]);
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{table}");
    }
}

#[test]
fn a_file_can_hold_the_query() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /")).write("q.sql", "SELECT name FROM spans");
    let output = place.run(&["sql", "--format", "csv", "--file", "q.sql", "in.json"]);
    assert_eq!(output.stdout, "name\r\nGET /\r\n");
}

#[test]
fn refuses_what_is_no_query() {
    let place = Place::new();
    place.write("in.json", one_span("shop", "GET /"));
    let output = place.run(&["sql", "DROP TABLE spans", "in.json"]);
    assert!(output.stderr.starts_with("error: only queries can be run here: "), "{output:?}");
    assert_eq!(output.code, 2);
    let output = place.run(&["sql", "SELECT nam FROM spans", "in.json"]);
    assert!(output.stderr.starts_with("error: failed to plan the query: "), "{output:?}");
    assert_eq!(output.code, 2);
    let output =
        place.run(&["sql", "--query-rows-max", "1", "SELECT 1 UNION ALL SELECT 2", "in.json"]);
    check_refusal(
        &output,
        "error: the query returned more rows than the limit of 1 (`query.rows_max`)\n",
    );
    check_refusal(
        &place.run(&["sql", "SELECT 1"]),
        "error: no trace file is named: expected `timesink sql QUERY FILES...`, `-` for stdin\n",
    );
}

/// *Guarantee*: literals of statements are hidden unless the configuration keeps them, the same way
/// each time; what else it hides is hidden of files, too, and what it does not is not.
#[test]
fn what_is_to_be_hidden_is_hidden_of_files() {
    let query = "SELECT count(DISTINCT db_query_text) AS statements, \
                 count(*) FILTER (WHERE db_query_text LIKE '%~%') AS masked, \
                 count(attributes['db.system']) AS systems FROM spans WHERE kind = 'CLIENT'";
    let place = Place::new();
    let file = recording("django_fk_n1.jsonl.gz");
    let answer = |toml: &str| -> Value {
        place.write("timesink.toml", toml);
        let output = place.run(&["sql", "--format", "json", query, &file]);
        serde_json::from_str(&output.stdout).unwrap()
    };
    let plain = answer("[redaction]\nstatements = \"keep\"\n");
    let count = |rows: &Value, column: &str| rows[0][column].as_i64().unwrap();
    assert_eq!(count(&plain, "masked"), 0);
    assert!(count(&plain, "systems") > 0);
    let masked = answer("[redaction]\nstatements = \"mask\"\n");
    assert!(count(&masked, "masked") > 0);
    assert_eq!(count(&masked, "statements"), count(&plain, "statements"));
    let unsaid = answer("");
    assert_eq!(unsaid, masked);
    let dropped =
        answer("[[redaction.attributes]]\nattribute = \"db.system\"\naction = \"drop\"\n");
    assert_eq!(count(&dropped, "systems"), 0);
    assert_eq!(count(&dropped, "masked"), count(&masked, "masked"));
    place.write("timesink.toml", "");
    let texts = "SELECT DISTINCT db_query_text FROM spans ORDER BY 1";
    let shown = || place.run(&["sql", "--format", "csv", texts, &file]).stdout;
    assert!(shown().contains('~') && shown() == shown());
    let kept = place.run(&["sql", "--redaction-statements", "keep", texts, &file]).stdout;
    assert!(!kept.is_empty() && !kept.contains('~'), "{kept}");
}
