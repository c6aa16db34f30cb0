//! [`Findings`]: what the binary finds in files, and how that differs from what it found before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::spans::field;
use crate::workspace::root;

/// What makes two findings one, in words.
const PLACE: [&str; 4] = ["rule", "service_name", "endpoint", "subject"];

/// What a finding says of how much and how sure.
const FIGURES: [&str; 4] = ["wasted_nanos", "traces_affected", "confidence", "severity"];

/// How much of what is wasted may change where it is measured by clocks that are wrong: a server
/// that goes on after its caller gave up fits its call in more than one way.
const WASTED_SHARE: f64 = 0.15;

/// Columns of a value that is shown.
const SHOWN: usize = 90;

/// As they were written, and as JSON.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) text: String,
    pub(super) all: Vec<Value>,
}

/// Analyzes files as one set of spans.
pub(super) fn analyze(binary: &Path, files: &[PathBuf]) -> Result<Findings> {
    let mut command = Command::new(binary);
    command.args(["analyze", "--format", "jsonl"]).args(files).current_dir(root());
    let output = command.output().context("failed to start the binary")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`analyze` failed, {}: {}", output.status, reason.trim());
    }
    let text = String::from_utf8(output.stdout).context("findings are not UTF-8")?;
    let lines = text.lines().filter(|line| !line.is_empty());
    let all = lines.map(serde_json::from_str).collect::<Result<_, _>>();
    let all = all.context("findings are not JSON lines")?;
    Ok(Findings { text, all })
}

/// Returns whether a finding counts: severity `info` is a note.
pub(super) fn is_warned(finding: &Value) -> bool {
    field(finding, "severity") != "info"
}

/// Returns what makes a finding one, in a line.
pub(super) fn place(finding: &Value) -> String {
    PLACE.map(|key| field(finding, key)).join(" | ")
}

/// Returns how findings differ where `same` does not hold of a field.
pub(super) fn differences(
    before: &[Value],
    after: &[Value],
    same: impl Fn(&str, &Value, &Value) -> bool,
) -> Vec<String> {
    let (before, after) = (by_place(before), by_place(after));
    let mut differences = Vec::new();
    for (place, finding) in &before {
        match after.get(place) {
            None => differences.push(format!("gone: {place}")),
            Some(other) => differences.extend(changed(place, finding, other, &same)),
        }
    }
    let new = after.keys().filter(|place| !before.contains_key(*place));
    differences.extend(new.map(|place| format!("new: {place}")));
    differences
}

/// Returns how what was written differs, to the byte.
pub(super) fn differing_bytes(before: &Findings, after: &Findings) -> Vec<String> {
    if before.text == after.text {
        return Vec::new();
    }
    let differences = differences(&before.all, &after.all, in_all);
    if differences.is_empty() {
        return vec!["the same findings, in another order or other bytes".to_owned()];
    }
    differences
}

/// All fields are equal.
pub(super) fn in_all(_: &str, before: &Value, after: &Value) -> bool {
    before == after
}

/// All fields are equal but those of the window.
pub(super) fn but_for_window(name: &str, before: &Value, after: &Value) -> bool {
    ["window_start", "window_end"].contains(&name) || before == after
}

/// All fields are equal but those that are times.
pub(super) fn but_for_times(name: &str, before: &Value, after: &Value) -> bool {
    ["first_seen", "last_seen"].contains(&name) || but_for_window(name, before, after)
}

/// What it says of how much and how sure is equal.
pub(super) fn in_figures(name: &str, before: &Value, after: &Value) -> bool {
    !FIGURES.contains(&name) || before == after
}

/// What is wasted is about equal.
pub(super) fn about(name: &str, before: &Value, after: &Value) -> bool {
    if name != "wasted_nanos" {
        return true;
    }
    let nanos = |value: &Value| value.as_f64().unwrap_or_default();
    let (before, after) = (nanos(before), nanos(after));
    (before - after).abs() <= WASTED_SHARE * before.max(after)
}

fn by_place(findings: &[Value]) -> BTreeMap<String, &Value> {
    findings.iter().map(|finding| (place(finding), finding)).collect()
}

fn changed(
    place: &str,
    before: &Value,
    after: &Value,
    same: impl Fn(&str, &Value, &Value) -> bool,
) -> Option<String> {
    let objects = [before, after].into_iter().filter_map(Value::as_object);
    let names: BTreeSet<&String> = objects.flat_map(Map::keys).collect();
    let mut changes = Vec::new();
    for name in names {
        let (before, after) = (&before[name.as_str()], &after[name.as_str()]);
        if !same(name, before, after) {
            changes.push(format!("{name} {} -> {}", shown(before), shown(after)));
        }
    }
    (!changes.is_empty()).then(|| format!("{place}: {}", changes.join(", ")))
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(subject: &str, wasted_nanos: u64, window_start: &str) -> Value {
        json!({
            "rule": "a-rule", "service_name": "shop", "endpoint": "GET /cart", "subject": subject,
            "wasted_nanos": wasted_nanos, "window_start": window_start,
        })
    }

    #[test]
    fn differences_name_finding_and_field() {
        let before = [finding("a", 100, "today"), finding("b", 100, "today")];
        let after = [finding("b", 109, "later"), finding("c", 1, "later")];
        let lines = differences(&before, &after, but_for_times);
        let b = "a-rule | shop | GET /cart | b: wasted_nanos 100 -> 109";
        let (gone, new) =
            ("gone: a-rule | shop | GET /cart | a", "new: a-rule | shop | GET /cart | c");
        assert_eq!(lines, [gone, b, new]);
        assert_eq!(differences(&before[1..], &after[..1], about).len(), 0);
        assert_eq!(differences(&before[1..], &after[..1], in_figures), [b]);
        assert_eq!(differences(&before[..1], &[finding("a", 118, "")], about).len(), 1);
        assert_eq!(differences(&before, &before, in_all).len(), 0);
    }

    #[test]
    fn another_order_is_another_text() {
        let of = |text: &str, all: &[Value]| Findings { text: text.to_owned(), all: all.to_vec() };
        let all = [finding("a", 1, ""), finding("b", 1, "")];
        assert!(differing_bytes(&of("ab", &all), &of("ab", &all)).is_empty());
        assert_eq!(differing_bytes(&of("ab", &all), &of("ba", &all)).len(), 1);
    }
}
