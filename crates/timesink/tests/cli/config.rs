//! Flags before environment before file before defaults, and nothing unknown.

use crate::support::{Place, check_refusal, one_span, run};

fn shown(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut all = vec!["config", "show"];
    all.extend(arguments);
    let output = place.run_with(&all, environment, b"");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    output.stdout
}

fn check_line(page: &str, expected: &[&str]) {
    let line = page.lines().find(|line| line.starts_with(expected[0]));
    let words: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, expected, "{page}");
}

#[test]
fn the_first_that_has_a_value_wins() {
    let place = Place::new();
    let flag = ["--query-rows-max", "10"];
    let environment = [("TIMESINK_QUERY_ROWS_MAX", "20")];
    check_line(&shown(&place, &[], &[]), &["rows_max", "=", "5000000", "#", "default"]);
    place.write("timesink.toml", "[query]\nrows_max = 30\n");
    check_line(&shown(&place, &[], &[]), &["rows_max", "=", "30", "#", "timesink.toml"]);
    let page = shown(&place, &[], &environment);
    check_line(&page, &["rows_max", "=", "20", "#", "TIMESINK_QUERY_ROWS_MAX"]);
    let page = shown(&place, &flag, &environment);
    check_line(&page, &["rows_max", "=", "10", "#", "flag"]);
    // Those of `serve`, too.
    let environment = [("TIMESINK_STORE_FLUSH_SECONDS", "7")];
    let page = shown(&place, &["--data", "kept"], &environment);
    let from = "TIMESINK_STORE_FLUSH_SECONDS";
    check_line(&page, &["flush_seconds", "=", "7", "#", from]);
    check_line(&page, &["data", "=", "\"kept\"", "#", "flag"]);
}

#[test]
fn what_is_shown_is_a_configuration() {
    let place = Place::new();
    place.write(
        "mine.toml",
        "[query]\nthreads = 3\n[rules.n-plus-one-query]\nrepeats_min = 7\n\
         [[rules.n-plus-one-query.override]]\nservice = \"a \\\"b\\\"\"\nrepeats_min = 9\n\
         [rules.slow-dependency]\nenabled = false\n\
         [[mute]]\nrule = \"slow-dependency\"\nservice = \"a \\\"b\\\"\"\nreason = \"why\"\n\
         until = 2027-01-31\n",
    );
    let page = shown(&place, &["--config", "mine.toml"], &[]);
    check_line(&page, &["threads", "=", "3", "#", "mine.toml"]);
    let changed = page.lines().filter(|line| line.ends_with("# mine.toml")).count();
    assert_eq!(changed, 3, "{page}");
    place.write("again.toml", &page);
    let again = shown(&place, &["--config", "again.toml"], &[]);
    let mute = "[[mute]]\nrule = \"slow-dependency\"\nservice = \"a \\\"b\\\"\"\n\
                reason = \"why\"\nuntil = 2027-01-31\n";
    assert!(page.ends_with(mute), "{page}");
    let without_sources = |page: &str| {
        let values = page.lines().map(|line| line.split('#').next().unwrap().trim_end().to_owned());
        values.collect::<Vec<_>>()
    };
    assert_eq!(without_sources(&page), without_sources(&again));
}

/// What is in flight has to hold one message at least: it could never be taken otherwise.
#[test]
fn one_message_has_to_fit() {
    let place = Place::new();
    place.write("timesink.toml", "[receiver]\ninflight_mib_max = 32\n");
    check_refusal(
        &place.run(&["config", "show"]),
        "error: configuration `timesink.toml`: `receiver.inflight_mib_max` is 32 MiB: \
         expected at least the 64 MiB that one message may have (`receiver.message_mib_max`)\n",
    );
    place.write("timesink.toml", "[receiver]\ninflight_mib_max = 32\nmessage_mib_max = 32\n");
    let page = shown(&place, &[], &[]);
    check_line(&page, &["inflight_mib_max", "=", "32", "#", "timesink.toml"]);
}

#[test]
fn a_named_file_has_to_be_there() {
    check_refusal(
        &run(&["--config", "none.toml", "config", "show"]),
        "error: failed to read configuration `none.toml`: No such file or directory (os error 2)\n",
    );
}

fn check_config(text: &str, expected: &str) {
    let place = Place::new();
    place.write("timesink.toml", text).write("in.json", one_span("shop", "GET /"));
    check_refusal(&place.run(&["analyze", "in.json"]), &format!("error: {expected}\n"));
}

#[test]
fn refuses_what_it_does_not_know() {
    check_config(
        "[query]\nrow_max = 1",
        "failed to read configuration `timesink.toml`: line 2: unknown key `row_max`; did you mean \
         `rows_max`?",
    );
    check_config(
        "[rules.n-plus-one-querys]\nrepeats_min = 9",
        "configuration `timesink.toml`: no rule is named `n-plus-one-querys`; did you mean \
         `n-plus-one-query`?",
    );
    check_config(
        "[query]\nthreads = 0",
        "configuration `timesink.toml`: `query.threads` is 0: expected 1 to 256 threads",
    );
    check_config(
        "[[mute]]\nrule = 'n-plus-one'\nreason = 'why'\nuntil = 2027-01-31",
        "configuration `timesink.toml`: no rule is named `n-plus-one`; did you mean \
         `n-plus-one-llm`?",
    );
    check_config(
        "[[mute]]\nrule = 'n-plus-one-query'\nreason = 'why'",
        "configuration `timesink.toml`: `[[mute]]` needs `until`, the last day, as \
         `until = 2027-01-31`",
    );
    check_config(
        "[rules.slow-network-edge]\nzzz = 1",
        "configuration `timesink.toml`: `rules.slow-network-edge.zzz` is no parameter of it: \
         expected one of `busy_share_max`, `calls_min`, `even_share_min`, \
         `queue_share_min`, `wire_millis_min`, `wire_share_min`",
    );
}

fn check_variable(name: &str, value: &str, expected: &str) {
    let output = Place::new().run_with(&["config", "show"], &[(name, value)], b"");
    assert!(output.stderr.starts_with(expected), "{}", output.stderr);
    assert_eq!(output.code, 2);
}

#[test]
fn a_wrong_variable_is_named() {
    check_variable(
        "TIMESINK_QUERY_THREADS",
        "abc",
        "error: invalid value 'abc' for 'TIMESINK_QUERY_THREADS': ",
    );
    check_variable(
        "TIMESINK_QUERY_THREADS",
        "0",
        "error: TIMESINK_QUERY_THREADS: `query.threads` is 0: expected 1 to 256 threads\n",
    );
    let both = ["config", "show", "--query-threads", "x"];
    let output = Place::new().run_with(&both, &[("TIMESINK_QUERY_THREADS", "abc")], b"");
    let flag = "error: invalid value 'x' for '--query-threads <THREADS>': ";
    assert!(output.stderr.starts_with(flag), "{}", output.stderr);
}

#[test]
fn an_empty_variable_is_as_good_as_unset() {
    let names =
        ["CONFIG", "COLOR", "RULES_DIRS", "QUERY_THREADS"].map(|name| format!("TIMESINK_{name}"));
    let empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let place = Place::new();
    assert_eq!(shown(&place, &[], &empty), shown(&place, &[], &[]));
}

/// A folder's name may hold what separates folders in the environment.
#[test]
fn folders_are_split_in_the_environment_only() {
    let place = Place::new();
    let output = place.run(&["--rules-dir", "a:b", "rules", "list"]);
    assert!(output.stderr.starts_with("error: failed to read `a:b`: "), "{}", output.stderr);
    let environment = [("TIMESINK_RULES_DIRS", "a:b")];
    let output = place.run_with(&["rules", "list"], &environment, b"");
    assert!(output.stderr.starts_with("error: failed to read `a`: "), "{}", output.stderr);
}

#[test]
fn kinds_are_known_in_any_case() {
    let of = |kind: &str| format!("[[rules.slow-dependency.override]]\nkind = \"{kind}\"\n");
    check_config(
        &of("CLIENTT"),
        "configuration `timesink.toml`: `rules.slow-dependency.override.kind` is \"CLIENTT\": \
         expected one of UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER, CONSUMER; did you mean \
         `CLIENT`?",
    );
    let place = Place::new();
    let file = crate::support::recording("django_fk_n1.jsonl.gz");
    for (kind, fires) in [("client", false), ("CLIENT", false), ("server", true)] {
        let text = of(kind).replace("slow-dependency", "n-plus-one-query") + "repeats_min = 1000\n";
        place.write("kind.toml", text);
        let output = place.run(&["--config", "kind.toml", "analyze", "--format", "jsonl", &file]);
        assert_eq!(output.stdout.contains("n-plus-one-query"), fires, "{kind}: {output:?}");
    }
}

#[test]
fn settings_reach_the_rules() {
    let place = Place::new();
    let file = crate::support::recording("django_fk_n1.jsonl.gz");
    place.write("off.toml", "[rules.n-plus-one-query]\nenabled = false\n");
    let output = place.run(&["--config", "off.toml", "analyze", &file]);
    assert!(output.stdout.contains("\n  switched off n-plus-one-query\n"), "{}", output.stdout);
    place.write("high.toml", "[rules.n-plus-one-query]\nrepeats_min = 1000\n");
    let output = place.run(&["--config", "high.toml", "analyze", "--format", "jsonl", &file]);
    assert!(!output.stdout.contains("n-plus-one-query"), "{}", output.stdout);
}
