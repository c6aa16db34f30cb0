//! [`Audit`]: who asked for what, in a file of the data directory.
//!
//! A line of JSON for each request to page, API and metrics, let in or refused; its fields are
//! listed in `docs/store.md`. Exports are not audited: what was taken is in the tables, and
//! `/metrics` counts what was refused.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Value, json};

use crate::Error;
use crate::metrics::Metrics;

/// The file in the data directory, and the one before it.
const NAME: &str = "audit.jsonl";
const BEFORE: &str = "audit.1.jsonl";

/// Bytes of a file, after which a new one is begun: two of them are kept.
const FILE_BYTES: u64 = 64 << 20;

/// Lines that wait to be written: beyond them, lines are lost, and counted.
const LINES_MAX: usize = 4096;

/// The name of the thread.
const THREAD_NAME: &str = "timesink-audit";

/// What was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// The name of the token that was shown; `None` where none is needed, or none was let in.
    pub(crate) token: Option<String>,
    /// Method and path with parameters; or a command.
    pub(crate) what: String,
    /// The status of the answer (RFC 9110), if it was a request.
    pub(crate) status: Option<u16>,
}

/// Notes what is asked, without waiting for the disk; clones write to the same file.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    lines: SyncSender<String>,
    clock: fn() -> i64,
    metrics: Metrics,
}

impl Audit {
    /// Opens the file of a data directory, and starts the thread that writes it.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the file or the thread cannot be had.
    pub(crate) fn start(data: &Path, clock: fn() -> i64, metrics: Metrics) -> Result<Self, Error> {
        let mut log = AuditFile::open(data, true).map_err(Error::Start)?;
        let (lines, written): (_, Receiver<String>) = sync_channel(LINES_MAX);
        let of_thread = metrics.clone();
        let write = move || {
            for line in written {
                if log.write(&line).is_err() {
                    of_thread.audit_lost();
                }
            }
        };
        let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(write);
        thread.map_err(Error::Start)?;
        Ok(Self { lines, clock, metrics })
    }

    /// Notes what was asked.
    pub(crate) fn note(&self, asked: &Asked) {
        if self.lines.try_send(line(asked, (self.clock)())).is_err() {
            self.metrics.audit_lost();
        }
    }
}

/// What a command does with a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Changes,
    /// Who does may have no right to write, and a copy has no audit log: then nothing is noted.
    Reads,
}

/// Notes in a data directory what a command does with it, and `who` does. `now` is ns since the
/// epoch.
///
/// # Errors
///
/// Those of the system.
pub fn note_command(data: &Path, act: Act, who: &str, what: &str, now: i64) -> io::Result<()> {
    let asked = Asked { token: Some(who.to_owned()), what: what.to_owned(), status: None };
    match AuditFile::open(data, act == Act::Changes) {
        Err(error) if act == Act::Reads && may_not_write(&error) => Ok(()),
        file => file?.write(&line(&asked, now)),
    }
}

fn may_not_write(error: &io::Error) -> bool {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), NotFound | PermissionDenied | ReadOnlyFilesystem)
}

fn line(asked: &Asked, now: i64) -> String {
    let Asked { token, what, status } = asked;
    let time = DateTime::from_timestamp_nanos(now).to_rfc3339_opts(SecondsFormat::Millis, true);
    let object: Value = json!({"time": time, "who": token, "what": what, "status": status});
    format!("{object}\n")
}

#[derive(Debug)]
struct AuditFile {
    path: PathBuf,
    before: PathBuf,
    file: File,
    bytes: u64,
    /// Whether a line may have been written in part.
    is_torn: bool,
}

impl AuditFile {
    /// Opens the file of a data directory; one that is not there is made where it may be.
    fn open(data: &Path, may_make: bool) -> io::Result<Self> {
        Self::open_at(&data.join(NAME), &data.join(BEFORE), may_make)
    }

    fn open_at(path: &Path, before: &Path, may_make: bool) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(may_make).open(path)?;
        let bytes = file.metadata()?.len();
        let (path, before) = (path.to_owned(), before.to_owned());
        Ok(Self { path, before, file, bytes, is_torn: false })
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        if !self.is_named()? {
            // Another process began a new one, or somebody took it away.
            *self = Self::open_at(&self.path, &self.before, true)?;
        }
        if self.bytes + line.len() as u64 > FILE_BYTES {
            self.rotate()?;
        }
        let line = if self.is_torn { format!("\n{line}") } else { line.to_owned() };
        // One call: lines of several processes do not mix.
        self.is_torn = true;
        self.file.write_all(line.as_bytes())?;
        self.is_torn = false;
        // Others write, too.
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }

    /// Makes the file the one before, and begins a new one; once, where several processes do it.
    fn rotate(&mut self) -> io::Result<()> {
        // Held until the file is closed.
        self.file.lock()?;
        if self.is_named()? {
            fs::rename(&self.path, &self.before)?;
        }
        *self = Self::open_at(&self.path, &self.before, true)?;
        Ok(())
    }

    /// Returns whether the open file still is the one of that name.
    fn is_named(&self) -> io::Result<bool> {
        let (open, named) = (self.file.metadata()?, fs::metadata(&self.path));
        Ok(named.is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_makes_room_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditFile::open(folder.path(), true).unwrap();
        let mut of_another = AuditFile::open(folder.path(), true).unwrap();
        of_another.write("first\n").unwrap();
        log.bytes = FILE_BYTES;
        log.write("second\n").unwrap();
        of_another.write("third\n").unwrap();
        of_another.is_torn = true;
        of_another.write("fourth\n").unwrap();
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(
            (text(BEFORE).as_str(), text(NAME).as_str()),
            ("first\n", "second\nthird\n\nfourth\n")
        );
        note_command(folder.path(), Act::Changes, "uid 1000", "store expire", 1_500_000_000)
            .unwrap();
        let expected = concat!(
            r#"{"time":"1970-01-01T00:00:01.500Z","who":"uid 1000","#,
            r#""what":"store expire","status":null}"#
        );
        assert_eq!(text(NAME), format!("second\nthird\n\nfourth\n{expected}\n"));
    }
}
