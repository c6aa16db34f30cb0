//! What a log holds, read after a crash.

use std::ops::RangeInclusive;
use std::path::Path;

use super::record::{BadHeader, HEADER_BYTES, Header, Record, find_record};
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
}

/// Reads the log in a folder, and gives each record behind `after` to `visit`, in order; without
/// it, each record that is there.
pub(super) fn replay<E: From<Error>>(
    disk: &dyn Disk,
    folder: &Path,
    after: Option<u64>,
    mut visit: impl FnMut(Record<'_>) -> Result<(), E>,
) -> Result<Replayed, E> {
    let names = disk.list(folder).map_err(|cause| Error::io("list", folder, cause))?;
    let segments: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
    let before_all = segments.first().map_or(0, |first| first.saturating_sub(1));
    let after = after.unwrap_or(before_all);
    let mut replay = Replay { last: after, ..Replay::default() };
    for (number, first) in segments.iter().enumerate() {
        // Nothing behind `after` is in a segment that the next one follows at once.
        if segments.get(number + 1).is_some_and(|next| *next <= after.saturating_add(1)) {
            continue;
        }
        let path = folder.join(segment_name(*first));
        let bytes = disk.read(&path).map_err(|cause| Error::io("read", &path, cause))?;
        replay.segment(&path, *first, &bytes, &mut visit)?;
    }
    Ok(replay.done(segments))
}

#[derive(Debug, Default)]
struct Replay {
    last: u64,
    records: u64,
    bytes_skipped: u64,
    /// Sequences that are not there.
    missing: Vec<RangeInclusive<u64>>,
    /// Sequences that may be missing: they were being written when a write failed.
    excused: Vec<RangeInclusive<u64>>,
    /// So far the log was safe once, as records and headers say.
    synced: u64,
}

impl Replay {
    fn segment<E: From<Error>>(
        &mut self,
        path: &Path,
        first: u64,
        bytes: &[u8],
        visit: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let foreign = |found: String| Error::Foreign { path: path.to_owned(), found };
        let header = match Header::read(bytes) {
            Ok(header) => header,
            // It is safe before a record is written behind it.
            Err(BadHeader::Cut) if bytes.len() > HEADER_BYTES => {
                return Err(foreign("its header is damaged".to_owned()).into());
            }
            Err(BadHeader::Cut) => {
                self.bytes_skipped += bytes.len() as u64;
                return Ok(());
            }
            Err(BadHeader::Version(version)) => {
                return Err(foreign(format!("it has version {version}")).into());
            }
            Err(BadHeader::Foreign) => return Err(foreign("it has no header".to_owned()).into()),
        };
        self.synced = self.synced.max(header.safe);
        self.excused.push(header.safe + 1..=first.saturating_sub(1));
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let Some(found) = find_record(bytes, at, header.salt) else {
                self.bytes_skipped += (bytes.len() - at) as u64;
                break;
            };
            self.bytes_skipped += (found - at) as u64;
            at = found;
            if let Some(record) = Record::read(bytes, at, header.salt) {
                at += record.bytes();
                self.record(record, visit)?;
            }
        }
        Ok(())
    }

    fn record<E>(
        &mut self,
        record: Record<'_>,
        visit: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.synced = self.synced.max(record.synced);
        // Known already: it lies before what was asked for.
        if record.sequence <= self.last {
            return Ok(());
        }
        if record.sequence > self.last + 1 {
            self.missing.push(self.last + 1..=record.sequence - 1);
        }
        self.last = record.sequence;
        self.records += 1;
        visit(record)
    }

    fn done(self, segments: Vec<u64>) -> Replayed {
        let safe = self.missing.iter().map(|range| *range.start()..=*range.end().min(&self.synced));
        let lost = safe.flat_map(|range| without(range, &self.excused)).collect();
        let Self { last, records, bytes_skipped, .. } = self;
        Replayed { last, records, bytes_skipped, lost, segments }
    }
}

/// Returns the parts of a range that no other range covers; the others are in order.
fn without(range: RangeInclusive<u64>, others: &[RangeInclusive<u64>]) -> Vec<RangeInclusive<u64>> {
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
