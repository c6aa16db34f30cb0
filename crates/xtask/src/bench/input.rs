//! All recordings as one file of OTLP JSON lines.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;

use crate::workspace::target;

/// The joined file, and its bytes.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: usize,
}

impl Input {
    /// Returns its messages, one a line.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

/// Joins every `*.jsonl.gz` of a folder, in the order of their names.
pub(crate) fn join(folder: &Path) -> Result<Input> {
    let named = || format!("failed to list recordings in `{}`", folder.display());
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(named)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    paths.sort();
    if paths.is_empty() {
        bail!("expected recordings `*.jsonl.gz` in `{}`", folder.display());
    }
    let mut bytes = Vec::new();
    for path in &paths {
        let file =
            File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
        MultiGzDecoder::new(file)
            .read_to_end(&mut bytes)
            .with_context(|| format!("failed to unpack `{}`", path.display()))?;
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
    }
    let path = target()?.join("bench-traces.jsonl");
    fs::write(&path, &bytes).with_context(|| format!("failed to write `{}`", path.display()))?;
    Ok(Input { path, bytes, files: paths.len() })
}
