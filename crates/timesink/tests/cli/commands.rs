//! The other commands: help, rules, demo, completions.

use std::path::Path;

use crate::support::{Output, Place, one_span, run};

#[test]
fn help_lists_the_commands() {
    let output = run(&["--help"]);
    let commands: Vec<&str> = output
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    let expected = [
        "serve",
        "run",
        "analyze",
        "explain",
        "sql",
        "doctor",
        "store",
        "rules",
        "demo",
        "config",
        "token",
        "completions",
        "help",
    ];
    assert_eq!(commands, expected);
    assert_eq!(output.code, 0);
}

#[test]
fn wrong_usage_exits_with_2_and_suggests() {
    let output = run(&["analize", "x"]);
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("analyze"), "{}", output.stderr);
    assert_eq!(run(&["analyze"]).code, 2);
}

/// The table of examples/demo/README.md: each recording, its spans and the one rule that fires.
#[test]
fn demo_shows_each_recording_with_its_culprit() {
    let page = include_str!("../../../../examples/demo/README.md");
    let output = run(&["demo"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert_eq!(rows.len(), 8);
    let mut rest = output.stdout.as_str();
    for row in &rows {
        let (name, spans, rule) = (row[1], row[2], row[4]);
        let at = rest.find(&format!("{name}: ")).unwrap_or_else(|| panic!("{name}: {rest}"));
        let section = &rest[at..];
        let next = rows.iter().filter_map(|row| section.find(&format!("{}: ", row[1])));
        let section = &section[..next.filter(|at| *at > 0).min().unwrap_or(section.len())];
        let headline = section.lines().next().unwrap();
        assert!(headline.replace(',', "").contains(&format!(" {spans} spans")), "{headline}");
        let warned: Vec<&str> = section
            .lines()
            .filter_map(|line| line.strip_prefix("warning[")?.split(']').next())
            .collect();
        let expected: Vec<&str> = (!rule.is_empty()).then_some(rule).into_iter().collect();
        assert_eq!(warned, expected, "{section}");
        rest = &rest[at..];
    }
}

#[test]
fn the_readme_shows_what_is_printed() {
    let page = include_str!("../../../../README.md");
    let (_, shown) = page.split_once("$ timesink analyze traces.jsonl\n").unwrap();
    let (shown, _) = shown.split_once("```").unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo");
    let output = run(&["analyze", &format!("{folder}/django_fk_n1.pb.gz")]);
    assert_eq!(output.code, 0, "{}", output.stderr);
    let finding = output.stdout.split_inclusive("\n\n").next().unwrap();
    assert_eq!(finding.trim_end(), shown.trim_end());
}

#[test]
fn demo_recordings_stay_small() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/demo");
    let sizes = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() <= 250 << 10);
}

#[test]
fn rules_are_listed_and_shown() {
    let list = run(&["rules", "list"]).stdout;
    assert!(list.lines().any(|line| line.starts_with("n-plus-one-query     warning  one request")));
    let guide = run(&["rules", "show", "n-plus-one-query"]).stdout;
    assert!(guide.starts_with("# n-plus-one-query\n"), "{guide}");
    assert!(guide.contains("\nrepeats_min = 5  (queries, 2 to 10000)\n"), "{guide}");
    let wrong = run(&["rules", "show", "n-plus-one"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("no rule is named `n-plus-one`"), "{}", wrong.stderr);
}

#[test]
fn shipped_rules_have_no_problems() {
    let output = run(&["rules", "check"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    assert!(output.stdout.ends_with(" rules checked, no problems\n"), "{}", output.stdout);
}

#[test]
fn a_broken_rule_is_named_with_its_fault() {
    let place = Place::new();
    let manifest = "name = \"mine\"\nsummary = \"s\"\ntitle = \"{nothing}\"\nmessage = \"m\"\n\
                    category = \"c\"\ngrain = \"trace\"\nseverity = \"warning\"\n\
                    status = { preview = \"0.1.0\" }\nremediation = []\n";
    place
        .write("mine/mine/rule.toml", manifest)
        .write("mine/mine/rule.sql", "SELECT name FROM spans")
        .write("mine/mine/README.md", "# mine\n");
    let output = place.run(&["rules", "check", "mine"]);
    assert_eq!(output.code, 2);
    let says = |output: &Output, expected: &str| {
        assert!(output.stderr.lines().any(|line| line.starts_with(expected)), "{output:?}");
    };
    says(&output, "error: mine/mine/rule.sql: rule.sql returns name: ");
    place.write("mine/mine/rule.toml", "name = 1");
    let output = place.run(&["rules", "check", "mine"]);
    assert_eq!(output.code, 2);
    says(&output, "error: rule `mine`: mine/mine/rule.toml:1: ");
}

/// Scenario: a shipped rule's folder, copied and changed as a user does, wrong in one place each.
/// Guarantee: what is wrong is told with its file, its line and what to do.
#[test]
fn a_users_rule_is_checked_to_the_line_and_its_cases_are_run() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../queries/rules/queue-lag");
    let read = |file: &str| std::fs::read_to_string(shipped.join(file)).unwrap();
    let place = Place::new();
    let write = |file: &str, change: (&str, &str)| {
        let text = read(file).replace("queue-lag", "my-lag");
        let changed = text.replacen(change.0, change.1, 1);
        place.write(&format!("mine/my-lag/{file}"), &changed);
        (1..).zip(changed.lines()).find(|(_, line)| line.contains(change.1)).map_or(0, |(at, _)| at)
    };
    let files = ["rule.toml", "rule.sql", "README.md", "cases.md"];
    for file in files {
        write(file, ("", ""));
    }
    let output = place.run(&["rules", "check", "mine"]);
    assert_eq!((output.code, output.stderr.as_str()), (0, ""));
    let cases = read("cases.md").matches("\n```findings\n").count() + 1;
    let said = format!("1 rule checked, {cases} cases run, no problems\n");
    assert_eq!(output.stdout, said);
    let wrong = [
        ("rule.toml", ("title = \"", "title = \"{lag} of "), "`{lag}` in title is no column"),
        ("rule.toml", ("severity = \"", "severity = \"very "), "severity `very "),
        ("rule.toml", ("summary = ", "sumary = "), "unknown field `sumary`"),
        ("rule.sql", ("service_name", "servise_name"), "servise_name"),
        ("rule.sql", ("SELECT", "SELEKT"), "SELEKT"),
        ("README.md", ("## How we know", "## How it is known"), "`## How it is known` stands"),
        ("cases.md", ("```findings\n", "```findings\nclean\n"), "findings differ"),
        ("cases.md", ("SERVER", "SERVANT"), "SERVANT"),
    ];
    for (file, change, what) in wrong {
        for file in files {
            write(file, ("", ""));
        }
        let line = write(file, change);
        let output = place.run(&["rules", "check", "mine"]);
        assert_eq!(output.code, 2, "{output:?}");
        // A case that finds something else is named by the line of its heading.
        let is_case = what == "findings differ";
        let at = if is_case { String::new() } else { format!("{line}: ") };
        let place = format!("mine/my-lag/{file}:{at}");
        let is_told = |line: &str| line.contains(&place);
        assert!(output.stderr.lines().any(is_told), "{place} {what}: {}", output.stderr);
        assert!(output.stderr.contains(what), "{what}: {}", output.stderr);
    }
}

/// Scenario: the page of cases is a link that leads nowhere.
/// Guarantee: that is no folder without cases.
#[cfg(unix)]
#[test]
fn cases_that_cannot_be_read_are_told() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../queries/rules/queue-lag");
    let place = Place::new();
    for file in ["rule.toml", "rule.sql", "README.md"] {
        place.write(&format!("mine/queue-lag/{file}"), std::fs::read(shipped.join(file)).unwrap());
    }
    let without = place.run(&["rules", "check", "mine"]);
    assert_eq!(without.stdout, "1 rule checked, 1 case run, no problems\n", "{without:?}");
    std::os::unix::fs::symlink("cases.md", place.path("mine/queue-lag/cases.md")).unwrap();
    let output = place.run(&["rules", "check", "mine"]);
    let told = "error: mine/queue-lag/cases.md:1: failed to read the page: ";
    assert!(output.stderr.starts_with(told), "{output:?}");
    assert_eq!(output.code, 2);
}

const MANIFEST: &str = "name = \"mine\"\nsummary = \"s\"\ntitle = \"t\"\nmessage = \"m\"\n\
                        category = \"c\"\ngrain = \"trace\"\nseverity = \"warning\"\n\
                        status = { preview = \"0.1.0\" }\n[[remediation]]\nlibraries = []\n\
                        summary = \"s\"\nurl = \"https://example.org\"\n";

/// Returns a place with a rule of that query, and one span.
fn place_with_rule(sql: &str) -> Place {
    let place = Place::new();
    place
        .write("rules/mine/rule.toml", MANIFEST)
        .write("rules/mine/rule.sql", sql)
        .write("rules/mine/README.md", "# mine\n")
        .write("in.json", one_span("shop", "GET /"));
    place
}

/// Scenario: queries that only one of the two ways to plan takes, or took.
/// Guarantee: what is checked without a problem is run, and what is run is checked so.
#[test]
fn what_is_checked_is_what_is_run() {
    const COLUMNS: &str = "service_name, trace_id, span_id, 'x' AS subject, 1 AS occurrences, \
                           1 AS wasted_nanos";
    let own = format!(
        "WITH service_edges AS (SELECT * FROM service_edges) SELECT {COLUMNS} FROM service_edges"
    );
    for sql in [
        format!("SELECT {COLUMNS} FROM quarantine"),
        format!(
            "SELECT {COLUMNS} FROM spans WHERE (SELECT count(*) FROM entries JOIN gaps \
                 USING (trace_id)) > 0"
        ),
        format!("SELECT {COLUMNS} FROM public.entries"),
        own,
    ] {
        let place = place_with_rule(&sql);
        let checked = place.run(&["rules", "check", "rules"]);
        let is_fine = !checked.stderr.contains("plan") && !checked.stderr.contains("not found");
        let ran = place.run(&["analyze", "--rules-dir", "rules", "--rule", "mine", "in.json"]);
        let has_run = !ran.stdout.contains("failed") && !ran.stderr.contains("failed");
        assert_eq!(is_fine, has_run, "{sql}: {checked:?} {ran:?}");
    }
}

fn check_problem(columns: &str, expected: &str) {
    let place = place_with_rule(&format!("SELECT {columns} FROM spans"));
    let output = place.run(&["rules", "check", "rules"]);
    assert_eq!(output.code, 2);
    let is_told =
        |line: &str| line.starts_with("error: rules/mine/rule.sql:") && line.ends_with(expected);
    assert!(output.stderr.lines().any(is_told), "{output:?}");
}

#[test]
fn columns_of_another_type_are_named() {
    check_problem(
        "service_name, trace_id, span_id, name AS subject, 'abc' AS occurrences, 1.5 AS \
         wasted_nanos",
        "column `occurrences` is Utf8: expected an integer; column `wasted_nanos` is Float64: \
         expected an integer",
    );
    check_problem(
        "1 AS service_name, trace_id, NULL AS span_id, name AS subject, 1 AS occurrences, \
         1 AS wasted_nanos, 3 AS confidence",
        "column `service_name` is Int64: expected text; column `span_id` is Null: expected text; \
         column `confidence` is Int64: expected text",
    );
}

const NO_CONFIDENCE: &str =
    "`sure` is no confidence: expected `certain`, `likely`, `possible` or `unknown`";

#[test]
fn a_confidence_that_is_none_is_named() {
    check_problem(
        "service_name, trace_id, span_id, name AS subject, 1 AS occurrences, 1 AS wasted_nanos, \
         CASE WHEN kind = 'SERVER' THEN 'certain' ELSE 'sure' END AS confidence",
        NO_CONFIDENCE,
    );
}

#[test]
fn rules_are_checked_under_the_limits_they_run_with() {
    let place = place_with_rule("SELECT 1 AS x UNION ALL SELECT 2 AS x");
    let output = place.run(&["--query-rows-max", "1", "rules", "check", "rules"]);
    let expected = "error: rules/mine/rule.sql: the query returned more rows than the limit of 1 \
                    (`query.rows_max`)\n";
    assert!(output.stderr.contains(expected), "{output:?}");
}

fn check_failure(columns: &str, expected: &str) {
    let place = place_with_rule(&format!("SELECT {columns} FROM spans"));
    let arguments = ["--rules-dir", "rules", "analyze", "--rule", "mine", "--format", "jsonl"];
    let output = place.run(&[&arguments[..], &["in.json"]].concat());
    assert_eq!(output.code, 2);
    assert_eq!(output.stderr, format!("warning: rule `mine` failed: {expected}\n"));
}

#[test]
fn rows_that_say_nothing_fail_their_rule() {
    check_failure(
        "service_name, trace_id, parent_span_id AS span_id, name AS subject, 1 AS occurrences, \
         1 AS wasted_nanos",
        "column `span_id` is NULL or out of range in 1 of 1 rows",
    );
    check_failure(
        "service_name, 'abc' AS trace_id, span_id, name AS subject, 1 AS occurrences, \
         1 AS wasted_nanos",
        "a row points at trace `abc`: there is none",
    );
    check_failure(
        "service_name, trace_id, span_id, name AS subject, 1 AS occurrences, 1 AS wasted_nanos, \
         lower('SURE') AS confidence",
        NO_CONFIDENCE,
    );
}

#[test]
fn completions_are_written_for_a_shell() {
    let output = run(&["completions", "bash"]);
    assert!(output.stdout.contains("_timesink()"), "{}", output.stdout);
    assert_eq!(output.code, 0);
}

#[test]
fn completions_need_no_configuration() {
    let place = Place::new();
    place.write("timesink.toml", "nonsense = 1");
    assert_eq!(place.run(&["completions", "bash"]).code, 0);
}

/// Help and usage errors are written before there are options.
#[test]
fn colours_of_help_and_errors_can_be_chosen() {
    let is_coloured = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = Place::new().run_with(arguments, environment, b"");
        format!("{}{}", output.stdout, output.stderr).contains('\u{1b}')
    };
    for arguments in [["--color", "always", "--help"], ["--color", "always", "analize"]] {
        assert!(is_coloured(&arguments, &[]), "{arguments:?}");
    }
    let variable = [("TIMESINK_COLOR", "always")];
    assert!(is_coloured(&["--help"], &variable));
    assert!(!is_coloured(&["--color=never", "--help"], &variable));
    assert!(!is_coloured(&["--help"], &[]));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let place = Place::new();
    for arguments in [&["--help"][..], &["rules", "list"], &["completions", "bash"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.command(arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected = "error: failed to write to standard output: No space left on device";
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn colours_are_for_terminals() {
    assert!(!run(&["rules", "list"]).stdout.contains('\u{1b}'));
    assert!(run(&["--color", "always", "rules", "list"]).stdout.contains("\u{1b}[1m"));
}
