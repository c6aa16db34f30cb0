//! Parts whose changed recordings are compared with the ones they are made of, file by file.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use super::findings::{Findings, about, analyze, but_for_times, differences, differing_bytes};
use super::ground::Ground;
use super::recordings::write;
use super::spans::{CONSUMER, PRODUCER, is_kind, services, spans};
use super::{Outcome, transform};

const SEED: &str = "metamorphic";

/// A day, three hours and seven nanoseconds.
const SHIFT_NANOS: i128 = 27 * 3_600 * 1_000_000_000 + 7;

/// By how much clocks are wrong.
const SKEWS_MILLIS: [i128; 2] = [250, -3_000];
const NANOS_OF_MILLI: i128 = 1_000_000;

/// What becomes of a recording.
#[derive(Debug)]
pub(super) struct Variant {
    /// What was done, where it is not the same for all.
    pub(super) note: String,
    /// Files that are analyzed as one set of spans.
    pub(super) files: Vec<Vec<Value>>,
}

impl Variant {
    /// Returns the one variant of a recording.
    fn only(files: impl Into<Vec<Vec<Value>>>) -> Vec<Self> {
        vec![Self { note: String::new(), files: files.into() }]
    }
}

pub(super) fn permute(ground: &Ground) -> Result<Outcome> {
    let vary = |_: &str, mut messages: Vec<Value>| {
        transform::permute(&mut messages, SEED);
        Ok(Variant::only([messages]))
    };
    each_recording(ground, "permute", "the same bytes", vary, differing_bytes)
}

pub(super) fn duplicate(ground: &Ground) -> Result<Outcome> {
    let vary = |_: &str, mut messages: Vec<Value>| {
        transform::duplicate(&mut messages);
        Ok(Variant::only([messages]))
    };
    each_recording(ground, "duplicate", "the same bytes", vary, differing_bytes)
}

pub(super) fn split(ground: &Ground) -> Result<Outcome> {
    let vary = |_: &str, messages: Vec<Value>| Ok(Variant::only(transform::split(&messages, SEED)));
    each_recording(ground, "split", "the same bytes", vary, differing_bytes)
}

pub(super) fn shift(ground: &Ground) -> Result<Outcome> {
    let vary = |_: &str, mut messages: Vec<Value>| {
        transform::shift(&mut messages, SHIFT_NANOS);
        Ok(Variant::only([messages]))
    };
    let differ =
        |before: &Findings, after: &Findings| differences(&before.all, &after.all, but_for_times);
    each_recording(ground, "shift", "the same findings but for when", vary, differ)
}

/// Leaves recordings with queues alone: between a producer and a consumer a clock that is wrong
/// looks as waiting does.
pub(super) fn skew(ground: &Ground) -> Result<Outcome> {
    let vary = |name: &str, messages: Vec<Value>| {
        let mut variants = Vec::new();
        let services = services(&messages);
        if services.len() < 2 {
            return Ok(variants);
        }
        if spans(&messages).any(|(_, span)| [PRODUCER, CONSUMER].iter().any(|k| is_kind(span, *k)))
        {
            println!("skew: left alone `{name}`, which has a queue");
            return Ok(variants);
        }
        // Callers and servers are in traces of their own: nothing tells how far clocks are apart.
        if ground.labels.of(name).any(|label| label.get("culprit_kind") == "broken_trace") {
            println!("skew: left alone `{name}`, whose traces are in pieces");
            return Ok(variants);
        }
        for (service, millis) in services.iter().flat_map(|s| SKEWS_MILLIS.map(|m| (s, m))) {
            let mut skewed = messages.clone();
            transform::skew(&mut skewed, service, millis * NANOS_OF_MILLI);
            let note = format!("{service} {millis:+} ms");
            variants.push(Variant { note, files: vec![skewed] });
        }
        Ok(variants)
    };
    let differ = |before: &Findings, after: &Findings| differences(&before.all, &after.all, about);
    let bar = "the same findings, wasted within 15 %";
    each_recording(ground, "skew", bar, vary, differ)
}

/// Analyzes the variants of each recording, and compares what is found with what was.
pub(super) fn each_recording(
    ground: &Ground,
    part: &str,
    bar: &str,
    vary: impl Fn(&str, Vec<Value>) -> Result<Vec<Variant>>,
    differ: impl Fn(&Findings, &Findings) -> Vec<String>,
) -> Result<Outcome> {
    let findings = ground.findings()?;
    let (mut files, mut analyses, mut violations) = (0, 0, Vec::new());
    for (number, name) in ground.recordings.names.iter().enumerate() {
        ground.say_file(part, number);
        let before = findings.get(name).context("each recording was analyzed")?;
        let variants = vary(name, ground.recordings.messages(name)?)?;
        files += usize::from(!variants.is_empty());
        analyses += variants.len();
        for Variant { note, files } in variants {
            let name = if note.is_empty() { name.clone() } else { format!("{name}, {note}") };
            match analyze_written(ground, &files) {
                Ok(after) => violations
                    .extend(differ(before, &after).iter().map(|line| format!("{name}: {line}"))),
                Err(error) => violations.push(format!("{name}: {error:#}")),
            }
        }
    }
    let all = ground.recordings.names.len();
    println!("{part}: {analyses} analyses of {files} recordings, of {all}");
    Ok(Outcome { figures: None, bar: bar.to_owned(), violations })
}

/// Writes files and analyzes them as one set of spans.
fn analyze_written(ground: &Ground, files: &[Vec<Value>]) -> Result<Findings> {
    let folder = ground.folder()?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for (number, messages) in files.iter().enumerate() {
        let path = folder.path().join(format!("{number}.jsonl.gz"));
        write(&path, messages)?;
        paths.push(path);
    }
    analyze(&ground.binary, &paths)
}
