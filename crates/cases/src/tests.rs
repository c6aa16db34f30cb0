//! Pages as they are, and as they should not be.

use proptest::prelude::*;

use super::*;

const PAGE: &str = "# A rule

```spans
not in a section: prose
```

## What it finds

```toml
prose = true
```

## Fires

Five is enough.

```spans
a SERVER one 0ms 5ms
```

```spans
a SERVER two 0ms 5ms
```

```toml
[rules.n-plus-one-query]
min_occurrences = 5
```

```findings
warning first
warning second
```

## Stays silent

````markdown
## Not a heading
```spans
````

```spans
a SERVER one 0ms 5ms
```

```findings
clean
```
";

fn parse_page(text: &str) -> Result<Vec<Case>, String> {
    parse(Path::new("cases.md"), text).map_err(|error| error.to_string())
}

fn lines(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn sections_with_spans_are_cases() {
    let cases = parse_page(PAGE).expect("cases");
    let headings: Vec<_> = cases.iter().map(|case| case.heading.as_str()).collect();
    assert_eq!(headings, ["Fires", "Stays silent"]);
    assert_eq!(cases[0].line, 13);
    assert_eq!(cases[0].spans, ["a SERVER one 0ms 5ms", "a SERVER two 0ms 5ms"]);
    assert_eq!(cases[0].config.as_deref(), Some("[rules.n-plus-one-query]\nmin_occurrences = 5"));
    assert_eq!(cases[0].expected, ["warning first", "warning second"]);
    assert_eq!(cases[0].notation().unwrap().span_count(), 2);
    assert_eq!((&cases[1].config, &cases[1].expected), (&None, &lines(&["clean"])));
}

#[test]
fn what_is_no_notation_is_named_by_its_line() {
    let page = PAGE.replace("a SERVER two", "a SERVANT two");
    let cases = parse_page(&page).expect("cases");
    let error = cases[0].notation().expect_err("no notation");
    let line = (1..).zip(page.lines()).find(|(_, line)| line.contains("SERVANT"));
    assert_eq!(Some(error.line), line.map(|(at, _)| at));
    assert!(error.what.starts_with("`Fires`: block `spans`, line 1: "), "{}", error.what);
}

#[test]
fn a_case_without_findings_is_refused() {
    let page = "## Fires\n```spans\n```\n";
    let error = parse_page(page).expect_err("incomplete");
    assert_eq!(error, "cases.md:1: `Fires`: expected exactly one block `findings`");
}

#[test]
fn two_cases_of_one_name_are_refused() {
    let case = "## Fires\n```spans\n```\n```findings\n```\n";
    let error = parse_page(&case.repeat(2)).expect_err("ambiguous");
    assert_eq!(error, "cases.md:6: `Fires`: expected a heading of its own");
}

#[test]
fn a_block_that_never_closes_is_refused() {
    let error = parse_page("## Fires\n```spans\n").expect_err("open");
    assert_eq!(error, "cases.md:2: block never closes");
}

#[test]
fn a_mismatch_shows_where_the_lines_part() {
    let case = &parse_page(PAGE).expect("cases")[0];
    assert_eq!(check(case, &case.expected), Ok(()));
    let error = check(case, &lines(&["warning first", "clean"])).expect_err("differs");
    assert_eq!(
        error.to_string(),
        "cases.md:13: `Fires`: findings differ\n  warning first\n- warning second\n+ clean\n\
         `TIMESINK_UPDATE=1` writes the lines with `+` into the page"
    );
}

#[test]
fn an_update_changes_the_findings_and_nothing_else() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("cases.md");
    fs::write(&path, PAGE).expect("written");
    let case = &read(&path).expect("cases")[0];
    update(case, &lines(&["clean"])).expect("written");
    let updated = fs::read_to_string(&path).expect("read");
    assert_eq!(updated, PAGE.replace("warning first\nwarning second", "clean"));
    update(&read(&path).expect("cases")[0], &case.expected).expect("written");
    assert_eq!(fs::read_to_string(&path).expect("read"), PAGE);
}

proptest! {
    #[test]
    fn any_page_is_read_or_refused(page in "((## |```|spans|findings|\n|.){0,40})") {
        let _ = parse_page(&page);
    }
}
