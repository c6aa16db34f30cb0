//! `drop-unrelated` and `add-unrelated`: other services come and go, and a finding stays.

use std::collections::{BTreeMap, BTreeSet};
use std::slice;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Outcome;
use super::compared::{Variant, each_recording};
use super::findings::{Findings, analyze, but_for_window, differences, in_figures};
use super::ground::Ground;
use super::labels::Label;
use super::recordings::write;
use super::rename::{other_hosts, rename_services};
use super::spans::{attribute, extent, field, retain_spans, service, services, spans};
use super::transform::{other_processes, renumber, shift};

/// What identifies a process.
const IDENTITY: [&str; 5] =
    ["service.name", "service.instance.id", "process.pid", "host.name", "host.id"];

/// What the names and ids of what is added end in.
const OTHER: &str = "other";

/// Traces go that share no process with a finding or a labelled culprit. Others of its processes
/// stay: whether a process stood still is told by all of its requests.
pub(super) fn dropped(ground: &Ground) -> Result<Outcome> {
    let findings = ground.findings()?;
    let vary = |name: &str, mut messages: Vec<Value>| -> Result<Vec<Variant>> {
        let found = &findings.get(name).context("each recording was analyzed")?.all;
        let labels: Vec<&Label> =
            ground.labels.of(name).filter(|label| label.is_blamed()).collect();
        let unrelated = unrelated(&messages, |resource, span| {
            found.iter().any(|finding| concerns(finding, service(resource)))
                || labels.iter().any(|label| is_labelled(label, resource, span))
        });
        // Without a finding nothing could change.
        if found.is_empty() || unrelated.is_empty() {
            return Ok(Vec::new());
        }
        retain_spans(&mut messages, |_, span| !unrelated.contains(field(span, "traceId")));
        let note = format!("without {} traces", unrelated.len());
        Ok(vec![Variant { note, files: vec![messages] }])
    };
    let differ =
        |before: &Findings, after: &Findings| differences(&before.all, &after.all, in_figures);
    each_recording(ground, "drop-unrelated", "the same findings and figures", vary, differ)
}

/// Returns whether a finding is of a service, or names it in its subject.
fn concerns(finding: &Value, service: &str) -> bool {
    let is_of_name = |char: char| char.is_alphanumeric() || "-_.".contains(char);
    let mut words = field(finding, "subject").split(|char: char| !is_of_name(char));
    field(finding, "service_name") == service || words.any(|word| word == service)
}

fn is_labelled(label: &Label, resource: &Value, span: &Value) -> bool {
    let is_root = field(span, "parentSpanId").is_empty();
    service(resource) == label.get("service")
        || is_root && field(span, "name") == label.get("root_span")
}

/// What a trace says of itself.
#[derive(Debug, Default)]
struct Trace {
    processes: BTreeSet<String>,
    is_concerned: bool,
}

/// Returns the traces that share no process with one that is concerned.
fn unrelated(
    messages: &[Value],
    is_concerned: impl Fn(&Value, &Value) -> bool,
) -> BTreeSet<String> {
    let mut traces: BTreeMap<String, Trace> = BTreeMap::new();
    for (resource, span) in spans(messages) {
        let trace = traces.entry(field(span, "traceId").to_owned()).or_default();
        trace.processes.insert(process(resource));
        trace.is_concerned |= is_concerned(resource, span);
    }
    let concerned = traces.values().filter(|trace| trace.is_concerned);
    let related: BTreeSet<String> =
        concerned.flat_map(|trace| trace.processes.iter().cloned()).collect();
    traces.retain(|_, trace| trace.processes.is_disjoint(&related));
    traces.into_keys().collect()
}

fn process(resource: &Value) -> String {
    let said = |key| attribute(resource, key).map_or_else(String::new, Value::to_string);
    IDENTITY.map(said).join("\n")
}

/// To each recording comes another, of other services, processes and hosts, at the same time.
pub(super) fn added(ground: &Ground) -> Result<Outcome> {
    let names = &ground.recordings.names;
    let mut violations = Vec::new();
    // Without what is found in each alone there is nothing to compare with.
    ground.findings()?;
    for (number, name) in names.iter().enumerate() {
        ground.say_file("add-unrelated", number);
        // Half the list away: most neighbours are of one kind.
        let other = &names[(number + names.len() / 2) % names.len()];
        match compare_with(ground, name, other) {
            Ok(lines) => violations.extend(lines),
            Err(error) => violations.push(format!("{name} with {other}: {error:#}")),
        }
    }
    let bar = "the findings of both, as of each alone".to_owned();
    Ok(Outcome { figures: None, bar, violations })
}

/// Returns how what is found in two recordings together differs from what is found in each.
fn compare_with(ground: &Ground, name: &str, other: &str) -> Result<Vec<String>> {
    let mut messages = ground.recordings.messages(other)?;
    make_unrelated(&mut messages, extent(&ground.recordings.messages(name)?));
    let folder = ground.folder()?;
    let path = folder.path().join("added.jsonl.gz");
    write(&path, &messages)?;
    let alone = analyze(&ground.binary, slice::from_ref(&path))?.all;
    let both = analyze(&ground.binary, &[ground.recordings.path(name), path])?.all;
    let before = &ground.findings()?.get(name).context("each recording was analyzed")?.all;
    let others = services(&messages);
    let is_other = |finding: &Value| others.contains(field(finding, "service_name"));
    let (of_other, of_file): (Vec<Value>, Vec<Value>) = both.into_iter().partition(is_other);
    let mut lines = Vec::new();
    for line in differences(before, &of_file, but_for_window) {
        lines.push(format!("{name}, with {other}: {line}"));
    }
    for line in differences(&alone, &of_other, but_for_window) {
        lines.push(format!("{other}, added to {name}: {line}"));
    }
    Ok(lines)
}

/// Gives a recording services, ids, processes and hosts of its own, and lets it begin at a time.
fn make_unrelated(messages: &mut [Value], place: Option<(i128, i128)>) {
    rename_services(messages, |name| format!("{name}-{OTHER}"));
    other_hosts(messages);
    other_processes(messages, OTHER);
    renumber(messages, OTHER);
    if let (Some((begin, _)), Some((own, _))) = (place, extent(messages)) {
        shift(messages, begin - own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metamorphic::spans::tests::tiny;

    #[test]
    fn what_shares_a_process_is_related() {
        let of = |wanted: &str| unrelated(&tiny(), |resource, _| service(resource) == wanted).len();
        // The second request is of the process of the first, which calls `stock`.
        assert_eq!((of("shop"), of("stock"), of("none")), (0, 0, 2));
        let mut both = tiny();
        let mut other = tiny();
        make_unrelated(&mut other, Some((1_000, 0)));
        both.append(&mut other);
        let unrelated = unrelated(&both, |resource, _| service(resource) == "shop");
        assert_eq!((unrelated.len(), extent(&both)), (2, Some((1_000, 5_300))));
        retain_spans(&mut both, |_, span| !unrelated.contains(field(span, "traceId")));
        assert_eq!((spans(&both).count(), services(&both).len()), (4, 2));
    }

    #[test]
    fn a_finding_concerns_its_service_and_those_it_names() {
        let finding = serde_json::json!({"service_name": "shop", "subject": "shop -> stock"});
        assert!(concerns(&finding, "shop") && concerns(&finding, "stock"));
        assert!(!concerns(&finding, "sto") && !concerns(&finding, "stock-2"));
    }
}
