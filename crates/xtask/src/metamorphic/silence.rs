//! `silence`: over the good twins nothing is blamed.

use anyhow::{Context, Result};

use super::Outcome;
use super::findings::{is_warned, place};
use super::ground::Ground;
use super::spans::field;

/// Findings of severity warning or error over all of them.
pub(super) const WARNED_MAX: usize = 1;

pub(super) fn run(ground: &Ground) -> Result<Outcome> {
    let findings = ground.findings()?;
    let files = ground.labels.good_files();
    let files: Vec<&str> = files.into_iter().filter(|file| findings.contains_key(*file)).collect();
    let mut warned = Vec::new();
    for file in &files {
        let found = findings.get(*file).context("each recording was analyzed")?;
        for finding in found.all.iter().filter(|finding| is_warned(finding)) {
            let rule = field(finding, "rule");
            let line = format!("{file}: {}", place(finding));
            if ground.labels.of(file).any(|label| label.also_true(rule)) {
                println!("silence: true there: {line}");
            } else {
                println!("silence: {line}");
                warned.push(line);
            }
        }
    }
    println!("silence: {} recordings in which nothing is to be blamed", files.len());
    Ok(outcome(warned))
}

/// Returns what so many findings of severity warning or error come to.
pub(super) fn outcome(warned: Vec<String>) -> Outcome {
    let bar = format!("at most {WARNED_MAX} warning or error, found {}", warned.len());
    let violations = if warned.len() > WARNED_MAX { warned } else { Vec::new() };
    Outcome { figures: None, bar, violations }
}
