//! `tidy`: what no compiler and no lint checks.
//!
//! Each check is a module that adds what it finds to [`Problems`]; all of them run before the
//! command fails. A line is excused by `tidy-allow(CHECK): reason` in a comment on it or above it.

mod edges;
mod folders;
mod licences;
mod links;
mod lock;
mod paths;
mod sources;

use std::path::Path;

use anyhow::{Result, bail};

/// Adds what it finds; fails when it cannot look.
type Check = fn(&mut Problems) -> Result<()>;

/// Every check, by the name its problems carry.
const CHECKS: &[(&str, Check)] = &[
    ("edges", edges::check),
    ("sources", sources::check),
    ("paths", paths::check),
    ("folders", folders::check),
    ("links", links::check),
    ("lock", lock::check),
    ("licences", licences::check),
];

/// What was found, one line each.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    lines: Vec<String>,
}

impl Problems {
    /// Adds a problem of a file.
    fn add(&mut self, path: impl AsRef<Path>, what: impl std::fmt::Display) {
        self.lines.push(format!("{}: {what}", path.as_ref().display()));
    }

    /// Adds a problem of a line, counted from 1.
    fn add_line(&mut self, path: impl AsRef<Path>, line: usize, what: impl std::fmt::Display) {
        self.lines.push(format!("{}:{line}: {what}", path.as_ref().display()));
    }
}

/// Runs every check; fails when one found something.
pub(crate) fn run() -> Result<()> {
    let mut count = 0;
    for (name, check) in CHECKS {
        let mut problems = Problems::default();
        if let Err(error) = check(&mut problems) {
            problems.lines.push(format!("{error:#}"));
        }
        for line in &problems.lines {
            println!("tidy({name}): {line}");
        }
        count += problems.lines.len();
    }
    if count > 0 {
        bail!("tidy found {count} problems");
    }
    let names: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    println!("tidy: {}", names.join(", "));
    Ok(())
}

/// Returns whether a comment on the line, or on the one above it, excuses it from a check.
fn is_excused(lines: &[&str], at: usize, check: &str) -> bool {
    let mark = format!("tidy-allow({check}): ");
    lines[at.saturating_sub(1)..=at].iter().any(|line| line.contains(&mark))
}
