//! `healthy`: the traffic of all good twins at once, as of one service with many processes.
//!
//! Each twin is played again and again, as fast as it was recorded and on processes of its own; its
//! service becomes one with those of the others. Each time its traces and spans have other ids.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Outcome;
use super::findings::{analyze, is_warned, place};
use super::ground::{Ground, progress};
use super::labels::Label;
use super::random::Random;
use super::recordings::Writer;
use super::rename::rename_services;
use super::silence::outcome;
use super::spans::{extent, field, spans};
use super::transform::{other_processes, renumber, shift};

/// The one service.
const HEALTHY: &str = "healthy";

/// What the names or notes of recordings say that are no twin of their own.
const NO_TWINS: [&str; 2] = ["derived", "broken"];

/// When it begins: 25 November 2025.
const BEGIN_UNIX_NANO: i128 = 1_764_028_800_000_000_000;

/// Between two times that a twin is played lies at most this part of how long it takes.
const PAUSE_PART: u64 = 20;

const SECONDS_A_DAY: f64 = 86_400.0;
const NANOS_A_SECOND: f64 = 1e9;

/// Spans after which it is said how far it is.
const SPANS_BETWEEN: usize = 500_000;

/// A good twin, under its new names.
#[derive(Debug)]
struct Twin {
    /// Its messages as JSON: parsed, they would take ten times the memory.
    messages: Vec<Vec<u8>>,
    spans: usize,
    traces: usize,
    begin: i128,
    nanos: u64,
    /// How often it was played, and when it is next, after the begin of all.
    played: usize,
    next: u64,
}

/// What was played.
#[derive(Debug, Default)]
struct Traffic {
    spans: usize,
    traces: usize,
    nanos: u64,
}

pub(super) fn run(ground: &Ground) -> Result<Outcome> {
    let names = twins(ground);
    let mut all = Vec::new();
    for (number, name) in names.iter().enumerate() {
        all.push(read(ground, name, number).with_context(|| format!("`{name}`"))?);
    }
    let count = all.len();
    let folder = ground.folder()?;
    let path = folder.path().join("healthy.jsonl.gz");
    let traffic = play(all, ground.healthy_spans, &path)?;
    let seconds = traffic.nanos as f64 / NANOS_A_SECOND;
    let Traffic { spans, traces, .. } = traffic;
    println!(
        "healthy: {spans} spans of {traces} traces, {seconds:.1} s of the traffic of {count} \
         twins; a day at that rate is {:.0} times this",
        SECONDS_A_DAY / seconds
    );
    progress("healthy: analyzing");
    let began = Instant::now();
    let findings = analyze(&ground.binary, &[path])?;
    println!("healthy: analyzed in {:.1} s", began.elapsed().as_secs_f64());
    let labels: Vec<&Label> = names.iter().flat_map(|name| ground.labels.of(name)).collect();
    let mut warned = Vec::new();
    for finding in findings.all.iter().filter(|finding| is_warned(finding)) {
        let line = place(finding);
        if labels.iter().any(|label| is_true(label, finding)) {
            println!("healthy: true there: {line}");
        } else {
            println!("healthy: {line}");
            warned.push(line);
        }
    }
    Ok(outcome(warned))
}

/// Returns whether the rule is true of the endpoint in one of the twins.
fn is_true(label: &Label, finding: &Value) -> bool {
    field(finding, "endpoint") == label.get("root_span") && label.also_true(field(finding, "rule"))
}

/// Returns the recordings that are played.
fn twins(ground: &Ground) -> Vec<&str> {
    let is_said = |label: &Label| {
        let texts = [label.file(), label.get("notes")];
        texts.iter().any(|text| NO_TWINS.iter().any(|word| text.contains(word)))
    };
    let known: BTreeSet<&str> = ground.recordings.names.iter().map(String::as_str).collect();
    let files = ground.labels.good_files().into_iter();
    files.filter(|file| known.contains(file) && !ground.labels.of(file).any(is_said)).collect()
}

/// Reads a twin, and gives its services the names that they are played under.
fn read(ground: &Ground, name: &str, number: usize) -> Result<Twin> {
    let label = ground.labels.of(name).next().context("a twin has a label")?;
    let main = label.get("service");
    let mut messages = ground.recordings.messages(name)?;
    rename_services(&mut messages, |service| {
        if service == main { HEALTHY.to_owned() } else { format!("{service}-{number:02}") }
    });
    other_processes(&mut messages, &format!("{number:02}"));
    let (begin, end) = extent(&messages).context("expected spans")?;
    let traces: BTreeSet<&str> = spans(&messages).map(|(_, span)| field(span, "traceId")).collect();
    Ok(Twin {
        spans: spans(&messages).count(),
        traces: traces.len(),
        messages: messages.iter().map(serde_json::to_vec).collect::<Result<_, _>>()?,
        begin,
        nanos: u64::try_from(end - begin)?.max(1),
        played: 0,
        next: 0,
    })
}

/// Plays twins side by side for as long as gives so many spans, in the order of time.
fn play(mut twins: Vec<Twin>, spans: usize, path: &Path) -> Result<Traffic> {
    let rate: f64 = twins.iter().map(|twin| twin.spans as f64 / twin.nanos as f64).sum();
    let nanos = (spans as f64 / rate).round() as u64;
    let random = &mut Random::new(HEALTHY);
    for twin in &mut twins {
        twin.next = random.below(twin.nanos.min(nanos));
    }
    let mut traffic = Traffic { nanos, ..Traffic::default() };
    let mut writer = Writer::create(path)?;
    loop {
        let next = twins.iter_mut().enumerate().min_by_key(|(_, twin)| twin.next);
        let Some((number, twin)) = next.filter(|(_, twin)| twin.next < nanos) else { break };
        write_once(twin, number, &mut writer)?;
        twin.played += 1;
        twin.next += twin.nanos + random.below(twin.nanos / PAUSE_PART);
        let before = traffic.spans / SPANS_BETWEEN;
        traffic.spans += twin.spans;
        traffic.traces += twin.traces;
        if traffic.spans / SPANS_BETWEEN > before {
            progress(&format!("healthy: {} of {spans} spans written", traffic.spans));
        }
    }
    writer.finish()?;
    Ok(traffic)
}

/// Writes a twin as it is played next, with ids and times of its own.
fn write_once(twin: &Twin, number: usize, writer: &mut Writer) -> Result<()> {
    let salt = format!("{number} {}", twin.played);
    for message in &twin.messages {
        let mut messages: [Value; 1] = [serde_json::from_slice(message)?];
        renumber(&mut messages, &salt);
        shift(&mut messages, BEGIN_UNIX_NANO + i128::from(twin.next) - twin.begin);
        writer.write(&messages[0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metamorphic::recordings::Recordings;
    use crate::metamorphic::spans::tests::tiny;

    fn twin() -> Twin {
        let lines = tiny().iter().map(serde_json::to_vec).collect::<Result<_, _>>();
        let messages = lines.expect("JSON");
        Twin { messages, spans: 4, traces: 2, begin: 1_000, nanos: 4_300, played: 0, next: 0 }
    }

    #[test]
    fn twins_are_played_at_their_rate_with_ids_of_their_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let traffic = play(vec![twin(), twin()], 800, &folder.path().join("a.gz")).expect("played");
        assert!((760..=810).contains(&traffic.spans), "{traffic:?}");
        assert_eq!((traffic.traces, traffic.nanos), (traffic.spans / 2, 430_000));
        let recordings = Recordings::find(folder.path()).expect("a recording");
        let messages = recordings.messages("a.gz").expect("messages");
        let ids: BTreeSet<&str> = spans(&messages).map(|(_, span)| field(span, "spanId")).collect();
        assert_eq!((spans(&messages).count(), ids.len()), (traffic.spans, traffic.spans));
        let (begin, end) = extent(&messages).expect("times");
        assert!(begin >= BEGIN_UNIX_NANO && end < BEGIN_UNIX_NANO + 430_000 + 4_300);
    }
}
