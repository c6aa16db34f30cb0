//! Rust files: `//!` first, 100 columns, no SQL and no rule name in a literal, no silenced test.

use std::path::Path;

use anyhow::Result;

use super::{Problems, is_excused};
use crate::workspace::{files, folder_names, read};

const COLUMNS_MAX: usize = 100;

/// Tables with a column a line: wrapped, nobody could read down them.
const LONG_LINES: &str = "crates/model/src/schema";

/// How a line may not begin, and what to do instead.
const REFUSED: &[(&str, &str)] = &[
    ("#[allow(", "silence a lint with `#[expect(..., reason = \"...\")]`"),
    ("#![allow(", "silence a lint with `#![expect(..., reason = \"...\")]`"),
    ("#[ignore", "assert today's behaviour and say why it is wrong"),
    ("#[should_panic", "assert what is returned"),
];

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    let rules = folder_names("queries/rules")?;
    for folder in ["crates", "tests"] {
        for path in files(folder)? {
            if path.extension().is_some_and(|extension| extension == "rs") {
                check_file(&path, &read(&path)?, &rules, problems);
            }
        }
    }
    Ok(())
}

fn check_file(path: &Path, text: &str, rules: &[String], problems: &mut Problems) {
    let lines: Vec<&str> = text.lines().collect();
    let job = lines.first().and_then(|line| line.strip_prefix("//! "));
    if job.is_none_or(|job| job.trim().is_empty()) {
        problems.add(path, "opens without `//!` and its job");
    }
    for (number, line) in (1..).zip(&lines) {
        let is_long = line.chars().count() > COLUMNS_MAX && !path.starts_with(LONG_LINES);
        if is_long && !is_excused(&lines, number - 1, "columns") {
            problems.add_line(path, number, format!("longer than {COLUMNS_MAX} columns"));
        }
        let refused = REFUSED.iter().find(|(start, _)| line.trim_start().starts_with(start));
        if let Some((start, instead)) = refused {
            problems.add_line(path, number, format!("`{start}`: {instead}"));
        }
    }
    if is_test(path) {
        return;
    }
    let code = text.split("#[cfg(test)]").next().unwrap_or(text);
    for (number, literal) in literals(code) {
        if is_query(literal) && !is_excused(&lines, number - 1, "sql") {
            problems.add_line(path, number, "SQL belongs in a file under queries/");
        }
        let rule = rules.iter().find(|rule| literal.contains(rule.as_str()));
        if let Some(rule) = rule
            && !path.ends_with("registry.rs")
            && !is_excused(&lines, number - 1, "rule-name")
        {
            problems.add_line(path, number, format!("names the rule `{rule}`"));
        }
    }
}

/// Returns whether a file is a test, or exists for tests and developers only.
fn is_test(path: &Path) -> bool {
    let for_tests = ["crates/testkit", "crates/xtask", "tests"];
    for_tests.iter().any(|folder| path.starts_with(folder))
        || path.components().any(|part| part.as_os_str() == "tests")
        || path.ends_with("tests.rs")
}

/// Returns whether a text holds the words `SELECT` and, later, `FROM`.
fn is_query(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.any(|word| word == "SELECT") && words.any(|word| word == "FROM")
}

/// Returns the string literals of Rust source and the lines they begin on, escapes as written.
fn literals(source: &str) -> Vec<(usize, &str)> {
    let mut literals = Vec::new();
    let mut at = 0;
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        let (skipped, literal) = token(rest);
        if let Some(literal) = literal {
            let line = 1 + source[..at].matches('\n').count();
            literals.push((line, literal));
        }
        at += skipped;
    }
    literals
}

/// Returns the length of what comes first, and its inside if that is a string literal.
fn token(rest: &str) -> (usize, Option<&str>) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (rest.find("*/").map_or(rest.len(), |end| end + 2), None);
    }
    if let Some(inner) = rest.strip_prefix('"') {
        let end = unescaped(inner, '"');
        return (end + 2, Some(&inner[..end]));
    }
    if let Some(raw) = rest.strip_prefix('r') {
        let hashes = &raw[..raw.len() - raw.trim_start_matches('#').len()];
        if let Some(inner) = raw[hashes.len()..].strip_prefix('"') {
            let end = inner.find(&format!("\"{hashes}")).unwrap_or(inner.len());
            return (end + 3 + 2 * hashes.len(), Some(&inner[..end]));
        }
    }
    if let Some(inner) = rest.strip_prefix('\'') {
        let mut chars = inner.chars();
        let (first, second) = (chars.next(), chars.next());
        if first == Some('\\') || second == Some('\'') {
            return (unescaped(inner, '\'') + 2, None);
        }
    }
    (rest.chars().next().map_or(1, char::len_utf8), None)
}

/// Returns where the first `quote` without a backslash before it stands, else the length.
fn unescaped(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, char) in text.char_indices() {
        if char == quote && !is_escaped {
            return at;
        }
        is_escaped = char == '\\' && !is_escaped;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_literals(source: &str, expected: &[(usize, &str)]) {
        assert_eq!(literals(source), expected, "{source}");
    }

    #[test]
    fn finds_string_literals() {
        check_literals(
            r#"let a = "x"; // "no"
            /* "no" */ let b = 'a'; let c: &'static str = "y\"z";"#,
            &[(1, "x"), (2, r#"y\"z"#)],
        );
        check_literals("r#\"a\"b\"# + '\"' + '\\'' + r\"c\"", &[(1, "a\"b"), (1, "c")]);
        check_literals("let broken = \"never closed", &[(1, "never closed")]);
        check_literals("fn f<'a>(x: &'a str) { \"ü\" }", &[(1, "ü")]);
    }

    #[test]
    fn tells_queries_from_words() {
        assert!(is_query("WITH a AS (SELECT 1) SELECT x\nFROM a"));
        assert!(!is_query("SELECT"));
        assert!(!is_query("select a row from the table"));
        assert!(!is_query("FROM x SELECT"));
    }

    fn problems_of(path: &str, text: &str) -> Vec<String> {
        let mut problems = Problems::default();
        check_file(Path::new(path), text, &["gc-pause".to_owned()], &mut problems);
        problems.lines
    }

    #[test]
    fn a_file_is_told_what_is_wrong_with_it() {
        let sql = "const A: &str = \"SELECT a FROM b\";";
        let text = format!("use x;\n#[ignore]\n{sql}\nconst B: &str = \"gc-pause\";\n");
        let problems = problems_of("crates/a/src/b.rs", &text);
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[2].starts_with("crates/a/src/b.rs:3: SQL"), "{problems:?}");
    }

    #[test]
    fn tests_may_hold_sql_and_a_comment_excuses() {
        let sql = "//! Job.\nconst A: &str = \"SELECT a FROM b\";\n";
        assert_eq!(problems_of("crates/a/src/b.rs", sql).len(), 1);
        assert!(problems_of("crates/a/tests/b.rs", sql).is_empty());
        assert!(problems_of("crates/a/src/b/tests.rs", sql).is_empty());
        let excused = sql.replace("const", "// tidy-allow(sql): built from parts.\nconst");
        assert!(problems_of("crates/a/src/b.rs", &excused).is_empty());
    }
}
