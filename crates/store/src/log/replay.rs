//! What a log holds, read after a crash.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::record::{BadHeader, HEADER_BYTES, Header, Place, Record, find_record};
use super::{first_of, segment_name};
use crate::{Disk, Error};

/// What came of reading a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// The sequence of the last record, or where the log was asked to begin.
    pub last: u64,
    /// Records that were read.
    pub records: u64,
    /// Bytes that are no record: of records that were being written, or of damaged ones.
    pub bytes_skipped: u64,
    /// Sequences that were safe once and are not there: damage.
    pub lost: Vec<RangeInclusive<u64>>,
    /// The first sequence of each segment, in order.
    pub(super) segments: Vec<u64>,
    /// So far the log is known to be safe.
    pub(super) synced: u64,
    /// What was read behind that.
    pub(super) unproven: Vec<Unproven>,
}

impl Replayed {
    /// Notes that the records up to one are safe elsewhere: of those none is lost.
    pub fn excuse_through(&mut self, sequence: u64) {
        let lost = self.lost.iter().filter(|range| *range.end() > sequence);
        self.lost = lost.map(|range| *range.start().max(&(sequence + 1))..=*range.end()).collect();
    }

    /// Returns how many records are [`Replayed::lost`].
    pub fn records_lost(&self) -> u64 {
        self.lost.iter().map(|range| range.end() - range.start() + 1).sum()
    }
}

/// A record that may be in the system's memory alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unproven {
    pub(super) sequence: u64,
    pub(super) origin: u64,
    pub(super) kind: u32,
    pub(super) payload: Vec<u8>,
}

impl Replayed {
    /// Returns the first record that the log can have, unless it has no segment: those before it
    /// were removed.
    pub fn first(&self) -> Option<u64> {
        self.segments.first().copied()
    }
}

/// Segments whose records are read once more, one at a time.
#[derive(Debug)]
pub(crate) struct Segments {
    folder: PathBuf,
    /// The one that was read last.
    held: Option<(u64, Vec<u8>)>,
}

impl Segments {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, held: None }
    }

    /// Returns the record at a place.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses, or there is no record any more.
    pub(crate) fn record(&mut self, disk: &dyn Disk, place: Place) -> Result<Record<'_>, Error> {
        let path = self.folder.join(segment_name(place.segment));
        let held = self.held.take().filter(|(first, _)| *first == place.segment);
        let bytes = match held {
            Some((_, bytes)) => bytes,
            None => disk.read(&path).map_err(|cause| Error::io("read", &path, cause))?,
        };
        let (_, bytes) = self.held.insert((place.segment, bytes));
        let salt = Header::read(bytes).map(|header| header.salt).ok();
        let record = salt.and_then(|salt| Record::read(bytes, place.offset, salt));
        record.ok_or_else(|| Error::io("read", &path, io::ErrorKind::InvalidData.into()))
    }
}

/// A segment as it lies on the disk.
struct Segment {
    first: u64,
    path: PathBuf,
    /// None of a segment that was not begun whole.
    header: Option<Header>,
}

/// Reads the log in a folder, and gives each record behind one to `visit`, in order: `after` is
/// given the last one before all that are there.
pub(super) fn replay<E: From<Error>>(
    disk: &dyn Disk,
    folder: &Path,
    after: impl FnOnce(u64) -> u64,
    mut visit: impl FnMut(Place, Record<'_>) -> Result<(), E>,
) -> Result<Replayed, E> {
    let names = disk.list(folder).map_err(|cause| Error::io("list", folder, cause))?;
    let firsts: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
    let segments = firsts.iter().map(|first| Segment::look(disk, folder, *first));
    let segments = segments.collect::<Result<Vec<_>, Error>>()?;
    let passed = passed_by(disk, &segments)?;
    let before_all = firsts.first().map_or(0, |first| first.saturating_sub(1));
    let mut replay = Replay { last: after(before_all), ..Replay::default() };
    for (number, segment) in segments.iter().enumerate() {
        // Nothing that is asked for is in a segment that the next one follows at once.
        let next = segments.get(number + 1).map(|next| next.first);
        let is_before = next.is_some_and(|next| next <= replay.last.saturating_add(1));
        if is_before && !replay.is_begun {
            replay.note(segment);
            continue;
        }
        replay.is_begun = true;
        let later = passed.iter().filter(|(by, _)| *by > number).map(|(_, range)| range.clone());
        replay.segment(disk, segment, &later.collect::<Vec<_>>(), &mut visit)?;
    }
    Ok(replay.done(firsts))
}

impl Segment {
    fn look(disk: &dyn Disk, folder: &Path, first: u64) -> Result<Self, Error> {
        let path = folder.join(segment_name(first));
        let start = disk.read_start(&path, HEADER_BYTES + 1);
        let start = start.map_err(|cause| Error::io("read", &path, cause))?;
        let foreign = |found: &str| Error::Foreign { path: path.clone(), found: found.to_owned() };
        let header = match Header::read(&start) {
            Ok(header) => Some(header),
            // A header is safe before a record is written behind it.
            Err(BadHeader::Cut) if start.len() > HEADER_BYTES && start.iter().any(|b| *b != 0) => {
                return Err(foreign("its header is damaged"));
            }
            Err(BadHeader::Cut) => None,
            Err(BadHeader::Version(version)) => {
                return Err(foreign(&format!("it has version {version}")));
            }
            Err(BadHeader::Foreign) => return Err(foreign("it has no header")),
        };
        Ok(Self { first, path, header })
    }

    /// Returns what it begins behind, without being said to be safe.
    fn behind(&self) -> Option<RangeInclusive<u64>> {
        let header = self.header?;
        Some(header.safe + 1..=self.first.saturating_sub(1))
    }

    /// Returns whether all records that it has again are there.
    fn is_whole(&self, disk: &dyn Disk) -> Result<bool, Error> {
        let Some(header) = self.header else { return Ok(false) };
        if header.again == 0 {
            return Ok(true);
        }
        let bytes = disk.read(&self.path).map_err(|cause| Error::io("read", &self.path, cause))?;
        let mut at = HEADER_BYTES;
        for _ in 0..header.again {
            match Record::read(&bytes, at, header.salt) {
                Some(record) => at += record.bytes(),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[derive(Debug, Default)]
struct Replay {
    last: u64,
    is_begun: bool,
    records: u64,
    bytes_skipped: u64,
    /// Sequences that are not there.
    missing: Vec<RangeInclusive<u64>>,
    /// Sequences that may be missing: they were not acknowledged, or are there again.
    excused: Vec<RangeInclusive<u64>>,
    /// So far the log was safe once, as records and headers say.
    synced: u64,
    /// What was read behind that.
    unproven: Vec<Unproven>,
}

impl Replay {
    fn note(&mut self, segment: &Segment) {
        self.prove(segment.header.map_or(0, |header| header.safe));
        self.excused.extend(segment.behind());
    }

    fn segment<E: From<Error>>(
        &mut self,
        disk: &dyn Disk,
        segment: &Segment,
        passed: &[RangeInclusive<u64>],
        visit: &mut impl FnMut(Place, Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = &segment.path;
        let bytes = disk.read(path).map_err(|cause| Error::io("read", path, cause))?;
        self.note(segment);
        let Some(header) = segment.header else {
            self.bytes_skipped += bytes.len() as u64;
            return Ok(());
        };
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let Some(found) = find_record(&bytes, at, header.salt) else {
                self.bytes_skipped += (bytes.len() - at) as u64;
                break;
            };
            self.bytes_skipped += (found - at) as u64;
            at = found;
            if let Some(record) = Record::read(&bytes, at, header.salt) {
                at += record.bytes();
                if !passed.iter().any(|range| range.contains(&record.sequence)) {
                    let place = Place { segment: segment.first, offset: found };
                    self.record(record, |record| visit(place, record))?;
                }
            }
        }
        Ok(())
    }

    fn record<E>(
        &mut self,
        record: Record<'_>,
        visit: impl FnOnce(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.prove(record.synced);
        // Known already: it lies before what was asked for.
        if record.sequence <= self.last {
            return Ok(());
        }
        if record.sequence > self.last + 1 {
            self.missing.push(self.last + 1..=record.sequence - 1);
        }
        self.last = record.sequence;
        self.records += 1;
        let is_known = self.unproven.iter().any(|known| known.origin == record.origin);
        if record.sequence > self.synced && !is_known {
            let Record { sequence, origin, kind, payload, .. } = record;
            self.unproven.push(Unproven { sequence, origin, kind, payload: payload.to_vec() });
        }
        visit(record)
    }

    /// Notes that the log was safe so far.
    fn prove(&mut self, synced: u64) {
        self.synced = self.synced.max(synced);
        let synced = self.synced;
        self.unproven.retain(|record| record.sequence > synced);
    }

    fn done(mut self, segments: Vec<u64>) -> Replayed {
        // What is known to have been safe has to be there, also behind the last record.
        self.missing.push(self.last + 1..=self.synced);
        let safe = self.missing.iter().map(|range| *range.start()..=*range.end().min(&self.synced));
        let lost = safe.flat_map(|range| without(range, &self.excused)).collect();
        // Whatever lies before a segment was given, also if nothing of it is there.
        let given = segments.last().map_or(0, |first| first.saturating_sub(1));
        Replayed {
            last: self.last.max(self.synced).max(given),
            records: self.records,
            bytes_skipped: self.bytes_skipped,
            lost,
            segments,
            synced: self.synced,
            unproven: self.unproven,
        }
    }
}

/// Returns the sequences that segments, by their number, have again from those before them, or say
/// not to have been acknowledged.
fn passed_by(
    disk: &dyn Disk,
    segments: &[Segment],
) -> Result<Vec<(usize, RangeInclusive<u64>)>, Error> {
    let mut passed = Vec::new();
    for (number, segment) in segments.iter().enumerate() {
        let behind = segment.behind().filter(|behind| !behind.is_empty());
        if let Some(behind) = behind
            && segment.is_whole(disk)?
        {
            passed.push((number, behind));
        }
    }
    Ok(passed)
}

/// Returns the parts of a range that no other range covers; the others are in order.
fn without(range: RangeInclusive<u64>, others: &[RangeInclusive<u64>]) -> Vec<RangeInclusive<u64>> {
    if range.is_empty() {
        return Vec::new();
    }
    let (mut start, end) = range.into_inner();
    let mut parts = Vec::new();
    for other in others {
        if other.is_empty() || *other.end() < start || *other.start() > end {
            continue;
        }
        if start < *other.start() {
            parts.push(start..=other.start() - 1);
        }
        start = other.end() + 1;
    }
    if start <= end {
        parts.push(start..=end);
    }
    parts
}
