//! [`Recordings`]: the files of a folder, as messages of OTLP JSON, and how others are written.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::Value;

/// Recordings as OTLP JSON, one message a line, packed.
#[derive(Debug)]
pub(super) struct Recordings {
    pub(super) folder: PathBuf,
    /// Their files, in order.
    pub(super) names: Vec<String>,
    /// Files of another encoding.
    skipped: Vec<String>,
}

impl Recordings {
    /// Returns the `*.gz` of a folder.
    pub(super) fn find(folder: &Path) -> Result<Self> {
        let listed = || format!("failed to list recordings in `{}`", folder.display());
        let mut recordings =
            Self { folder: folder.to_owned(), names: Vec::new(), skipped: Vec::new() };
        for entry in fs::read_dir(folder).with_context(listed)? {
            let path = entry.with_context(listed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_none_or(|extension| extension != "gz") {
                continue;
            }
            if is_json(&path)? {
                recordings.names.push(name);
            } else {
                recordings.skipped.push(name);
            }
        }
        if recordings.names.is_empty() {
            bail!("expected recordings `*.gz` in `{}`", folder.display());
        }
        recordings.names.sort_unstable();
        recordings.skipped.sort_unstable();
        Ok(recordings)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn messages(&self, name: &str) -> Result<Vec<Value>> {
        let path = self.path(name);
        let named = || format!("failed to read `{}`", path.display());
        let mut text = Vec::new();
        open(&path)?.read_to_end(&mut text).with_context(named)?;
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(serde_json::from_slice).collect::<Result<_, _>>().with_context(named)
    }

    /// Says loudly what was not looked at.
    pub(super) fn say_skipped(&self) {
        if !self.skipped.is_empty() {
            let (count, names) = (self.skipped.len(), self.skipped.join(", "));
            println!("\nSKIPPED {count} files that are not OTLP JSON lines: {names}");
        }
    }
}

fn open(path: &Path) -> Result<BufReader<MultiGzDecoder<File>>> {
    let file = File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
    Ok(BufReader::new(MultiGzDecoder::new(file)))
}

/// Returns whether the first line is JSON.
fn is_json(path: &Path) -> Result<bool> {
    let mut line = Vec::new();
    open(path)?
        .read_until(b'\n', &mut line)
        .with_context(|| format!("failed to unpack `{}`", path.display()))?;
    Ok(serde_json::from_slice::<Value>(&line).is_ok_and(|message| message.is_object()))
}

/// Writes a recording.
pub(super) fn write(path: &Path, messages: &[Value]) -> Result<()> {
    let mut writer = Writer::create(path)?;
    messages.iter().try_for_each(|message| writer.write(message))?;
    writer.finish()
}

/// A recording that is written a message at a time.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: GzEncoder<BufWriter<File>>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("failed to create `{}`", path.display()))?;
        let file = GzEncoder::new(BufWriter::new(file), Compression::fast());
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn write(&mut self, message: &Value) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .with_context(|| format!("failed to write `{}`", self.path.display()))
    }

    pub(super) fn finish(self) -> Result<()> {
        let Self { path, file } = self;
        file.finish()
            .and_then(|mut file| file.flush())
            .with_context(|| format!("failed to write `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metamorphic::spans::tests::tiny;

    #[test]
    fn what_is_written_is_read_and_another_encoding_skipped() {
        let folder = tempfile::tempdir().expect("a folder");
        write(&folder.path().join("a.gz"), &tiny()).expect("written");
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(b"\x0a\x05hello").expect("packed");
        let packed = packed.finish().expect("packed");
        fs::write(folder.path().join("b.gz"), packed).expect("written");
        fs::write(folder.path().join("labels.csv"), "file\n").expect("written");
        let recordings = Recordings::find(folder.path()).expect("recordings");
        assert_eq!((recordings.names.len(), recordings.skipped.len()), (1, 1));
        assert_eq!(recordings.messages("a.gz").expect("read"), tiny());
    }
}
