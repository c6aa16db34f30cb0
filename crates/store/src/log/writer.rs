//! [`Log`]: the one that writes.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::record::{HEADER_BYTES, Header, Place, RECORD_BYTES_MAX, Record, Salt};
use super::replay::{Replayed, Unproven, replay};
use super::segment_name;
use crate::{Disk, DiskFile, Error};

/// How the log uses its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// A segment with so many bytes is ended: what is removed is removed by the segment.
    pub segment_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20 }
    }
}

/// A log that is open to be written, by one writer at a time.
///
/// What [`Log::append`] takes is safe once [`Log::sync`] has returned.
pub struct Log {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: LogOptions,
    /// The first sequences of the segments that are ended, in order.
    ended: Vec<u64>,
    /// The segment that is written, if one was begun.
    current: Option<Segment>,
    /// The sequence of the last record; 0 for none.
    last: u64,
    /// All records up to this one are safe.
    synced: u64,
    /// All records up to this one are acknowledged, safe or not.
    answered: u64,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { folder, last, synced, .. } = self;
        f.debug_struct("Log")
            .field("folder", folder)
            .field("last", last)
            .field("synced", synced)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Segment {
    first: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    salt: Salt,
    bytes: u64,
    /// Whether records were written to it since it was synced.
    is_unsynced: bool,
}

impl Log {
    /// Opens the log in a folder, which is made if it is not there, and gives each record behind
    /// `after` to `visit`, in order; without it, each record that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses, [`Error::Foreign`] when a segment is none of ours,
    /// and those of `visit`.
    pub fn open<E: From<Error>>(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: LogOptions,
        after: Option<u64>,
        visit: impl FnMut(Place, Record<'_>) -> Result<(), E>,
    ) -> Result<(Self, Replayed), E> {
        let io = |action, cause| Error::io(action, folder, cause);
        disk.create_folder(folder).map_err(|cause| io("create", cause))?;
        let mut replayed = replay(&*disk, folder, |first| after.unwrap_or(first), visit)?;
        disk.sync_folder(folder).map_err(|cause| io("sync", cause))?;
        let mut log = Self {
            disk,
            folder: folder.to_owned(),
            options,
            ended: replayed.segments.clone(),
            current: None,
            last: replayed.last,
            synced: replayed.synced,
            answered: 0,
        };
        log.write_again(&std::mem::take(&mut replayed.unproven))?;
        Ok((log, replayed))
    }

    /// Gives each record behind `after` in a folder to `visit`, in order, and writes nothing: a
    /// process may write there. Records before all that are there count as removed, not as lost; a
    /// log that is not there holds none.
    ///
    /// # Errors
    ///
    /// Those of [`Log::open`].
    pub fn read<E: From<Error>>(
        disk: &dyn Disk,
        folder: &Path,
        after: u64,
        visit: impl FnMut(Place, Record<'_>) -> Result<(), E>,
    ) -> Result<Replayed, E> {
        match disk.list(folder) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Replayed::default()),
            _ => replay(disk, folder, |first| after.max(first), visit),
        }
    }

    /// Writes once more what may never have reached the disk, though it could be read: a process
    /// that is killed leaves that to the system, which may have failed to write it and said so
    /// once.
    fn write_again(&mut self, records: &[Unproven]) -> Result<(), Error> {
        if records.is_empty() {
            return Ok(());
        }
        let segment = self.begin(records.len() as u32)?;
        self.current = Some(segment);
        let records = records.iter().map(|r| (Some(r.origin), r.kind, r.payload.as_slice()));
        self.append_all(&records.collect::<Vec<_>>())?;
        self.sync()?;
        Ok(())
    }

    /// Returns the sequence of the last record; 0 for none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Returns up to which sequence all records are safe.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Writes records, in order, and returns the sequence of the last one.
    ///
    /// # Errors
    ///
    /// [`Error::RecordTooLarge`], and nothing is written; [`Error::Io`], and the records may be
    /// found after a crash, or not: they are not to be acknowledged.
    pub fn append(&mut self, records: &[(u32, &[u8])]) -> Result<u64, Error> {
        let records = records.iter().map(|(kind, payload)| (None, *kind, *payload));
        self.append_all(&records.collect::<Vec<_>>())
    }

    /// Writes records, those with an origin as copies.
    fn append_all(&mut self, records: &[(Option<u64>, u32, &[u8])]) -> Result<u64, Error> {
        if let Some((_, _, payload)) = records.iter().find(|(.., p)| p.len() > RECORD_BYTES_MAX) {
            let (bytes, bytes_max) = (payload.len(), RECORD_BYTES_MAX);
            return Err(Error::RecordTooLarge { bytes, bytes_max });
        }
        if records.is_empty() {
            return Ok(self.last);
        }
        let mut segment = self.ready_segment()?;
        let (synced, first) = (self.synced, self.last + 1);
        let mut bytes = Vec::with_capacity(records.iter().map(|(.., p)| p.len() + 64).sum());
        for (sequence, (origin, kind, payload)) in (first..).zip(records) {
            let origin = origin.unwrap_or(sequence);
            let record = Record { sequence, origin, synced, kind: *kind, payload };
            record.write(segment.salt, &mut bytes);
        }
        if let Err(cause) = segment.file.append(&bytes) {
            let error = Error::io("write", &segment.path, cause);
            // On a full disk what was written of them must not stay there.
            if segment.file.truncate(segment.bytes).is_ok() {
                self.current = Some(segment);
            } else {
                self.last += records.len() as u64;
                self.ended.push(segment.first);
            }
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        segment.is_unsynced = true;
        self.current = Some(segment);
        self.last += records.len() as u64;
        Ok(self.last)
    }

    /// Makes safe what was written, and returns up to which sequence.
    ///
    /// # Errors
    ///
    /// [`Error::Io`]: what was not safe before may be found after a crash, or not.
    pub fn sync(&mut self) -> Result<u64, Error> {
        if let Some(segment) = &mut self.current
            && segment.is_unsynced
        {
            if let Err(cause) = segment.file.sync() {
                let error = Error::io("sync", &segment.path, cause);
                self.abandon();
                return Err(error);
            }
            segment.is_unsynced = false;
            self.synced = self.last;
        }
        Ok(self.synced)
    }

    /// Notes that what was written is acknowledged before it is safe: it counts as if it were, and
    /// as lost should it not be there.
    pub fn answered(&mut self) {
        self.answered = self.last;
    }

    /// Goes on behind a sequence that was given before, though its record is not there any more: a
    /// log that somebody removed must not give it again.
    pub fn go_on_behind(&mut self, sequence: u64) {
        if sequence > self.last {
            self.abandon();
            self.last = sequence;
        }
    }

    /// Removes the segments that hold nothing behind a sequence: it is safe elsewhere. The last one
    /// stays: it says which sequences were given. Returns how many went.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses: what is left goes with the next call.
    pub fn remove_through(&mut self, sequence: u64) -> Result<usize, Error> {
        let current = self.current.as_ref().map(|segment| segment.first);
        let next = self.ended.iter().skip(1).copied().chain(current);
        let is_needless = |next: &u64| *next <= sequence.saturating_add(1);
        let needless = next.take_while(is_needless).take(self.ended.len()).count();
        for _ in 0..needless {
            let path = self.folder.join(segment_name(self.ended[0]));
            match self.disk.remove(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path, cause));
                }
                // It may have been removed by hand.
                _ => self.ended.remove(0),
            };
        }
        Ok(needless)
    }

    /// After a failed sync nobody knows what is on the disk: the next records go into a segment of
    /// their own.
    pub(crate) fn abandon(&mut self) {
        self.ended.extend(self.current.take().map(|segment| segment.first));
    }

    /// Takes the segment for the next record, with a header that is safe.
    fn ready_segment(&mut self) -> Result<Segment, Error> {
        let bytes_max = self.options.segment_bytes.max(HEADER_BYTES as u64 + 1);
        let is_full = |segment: &Segment| segment.bytes >= bytes_max;
        if self.current.as_ref().is_some_and(is_full) {
            // A segment is safe before the next one begins.
            self.sync()?;
            self.abandon();
        }
        match self.current.take() {
            Some(segment) => Ok(segment),
            None => self.begin(0),
        }
    }

    /// Begins a segment, with so many records that are in others already.
    fn begin(&mut self, again: u32) -> Result<Segment, Error> {
        let mut path = self.folder.join(segment_name(self.last + 1));
        // What was begun there holds nothing, or nothing that can be read: that is left as it is.
        loop {
            match self.disk.read_start(&path, HEADER_BYTES + 1) {
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => break,
                Err(cause) => return Err(Error::io("read", &path, cause)),
                Ok(start) if start.len() <= HEADER_BYTES => {
                    self.disk.remove(&path).map_err(|cause| Error::io("remove", &path, cause))?;
                    let first = self.last + 1;
                    self.ended.retain(|ended| *ended != first);
                }
                Ok(_) => {
                    self.last += 1;
                    path = self.folder.join(segment_name(self.last + 1));
                }
            }
        }
        let first = self.last + 1;
        let mut salt = Salt([0; 8]);
        getrandom::fill(&mut salt.0).map_err(|cause| Error::io("begin", &path, cause.into()))?;
        let header = Header { salt, safe: self.synced.max(self.answered), again }.write();
        let create = || {
            let mut file = self.disk.create(&path)?;
            file.append(&header)?;
            file.sync()?;
            self.disk.sync_folder(&self.folder)?;
            Ok(file)
        };
        match create() {
            Ok(file) => {
                let bytes = header.len() as u64;
                Ok(Segment { first, path, file, salt, bytes, is_unsynced: false })
            }
            Err(cause) => {
                // What cannot be removed now is removed with the next try.
                let _ = self.disk.remove(&path);
                Err(Error::io("begin", &path, cause))
            }
        }
    }
}
