//! [`Ground`]: what all parts stand on: the binary, the recordings, and what is found as they are.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::findings::{Findings, analyze};
use super::labels::Labels;
use super::recordings::Recordings;
use super::scorer::{Score, score};
use crate::workspace::target;

/// After how many files it is said how far a part is.
const FILES_BETWEEN: usize = 20;

#[derive(Debug)]
pub(super) struct Ground {
    pub(super) binary: PathBuf,
    pub(super) recordings: Recordings,
    pub(super) labels: Labels,
    /// Spans of the healthy service, about.
    pub(super) healthy_spans: usize,
    folder: TempDir,
    score: OnceCell<Score>,
    findings: OnceCell<BTreeMap<String, Findings>>,
}

impl Ground {
    pub(super) fn new(binary: PathBuf, traces: &Path, healthy_spans: usize) -> Result<Self> {
        Ok(Self {
            binary,
            recordings: Recordings::find(traces)?,
            labels: Labels::read(&traces.join("labels.csv"))?,
            healthy_spans,
            // Beside the build, on a real disk: `/tmp` may be memory.
            folder: tempfile::tempdir_in(target()?).context("failed to make a folder")?,
            score: OnceCell::new(),
            findings: OnceCell::new(),
        })
    }

    /// Returns a new folder, which goes when it is dropped.
    pub(super) fn folder(&self) -> Result<TempDir> {
        tempfile::tempdir_in(self.folder.path()).context("failed to make a folder")
    }

    /// Returns the score of the recordings as they are.
    pub(super) fn score(&self) -> Result<&Score> {
        if let Some(score) = self.score.get() {
            return Ok(score);
        }
        let score = score(&self.binary, &self.recordings.folder)?;
        Ok(self.score.get_or_init(|| score))
    }

    /// Returns what is found in each recording as it is.
    pub(super) fn findings(&self) -> Result<&BTreeMap<String, Findings>> {
        if let Some(findings) = self.findings.get() {
            return Ok(findings);
        }
        let mut findings = BTreeMap::new();
        for (number, name) in self.recordings.names.iter().enumerate() {
            self.say_file("as recorded", number);
            let path = self.recordings.path(name);
            let found = analyze(&self.binary, &[path]).with_context(|| format!("`{name}`"))?;
            findings.insert(name.clone(), found);
        }
        Ok(self.findings.get_or_init(|| findings))
    }

    /// Says now and then how far a part is.
    pub(super) fn say_file(&self, part: &str, number: usize) {
        if number.is_multiple_of(FILES_BETWEEN) {
            progress(&format!("{part}: {number} of {} files", self.recordings.names.len()));
        }
    }
}

#[expect(clippy::print_stderr, reason = "standard output is for what parts come to")]
pub(super) fn progress(text: &str) {
    eprintln!("metamorphic: {text}");
}
