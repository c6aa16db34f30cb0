//! Headers and records as bytes: see the format in [`super`].

/// What every segment begins with.
const NAME: &[u8; 8] = b"timesink";

/// The version that is written, and the only one that is read.
const VERSION: u32 = 2;

/// What every record begins with, to find the next one behind a broken one.
const MARK: &[u8; 4] = b"TSR1";

/// Bytes of a segment's header.
pub(super) const HEADER_BYTES: usize = 40;

/// Bytes of a header before its sum; four of them are zeros.
const SUMMED_BYTES: usize = 36;

/// Bytes of a record before its payload.
const FRAME_BYTES: usize = 44;

/// Bytes of a record before the sum of its frame.
const FRAMED_BYTES: usize = 40;

/// The largest payload, bytes: more than what comes between two syncs may hold.
pub const RECORD_BYTES_MAX: usize = 1 << 30;

/// What the sums of a segment's records begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) [u8; 8]);

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) salt: Salt,
    /// All records up to this one were safe when the segment was begun; 0 for none.
    pub(super) safe: u64,
    /// So many records at its beginning are those behind `safe` once more.
    pub(super) again: u32,
}

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub sequence: u64,
    /// The sequence that its payload was written with first: a copy has another one of its own.
    pub origin: u64,
    /// All records up to this one were safe when it was written; 0 for none.
    pub synced: u64,
    /// What the payload is, as whoever wrote it says.
    pub kind: u32,
    pub payload: &'a [u8],
}

/// Where a record lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The first sequence of its segment.
    pub(super) segment: u64,
    /// Where it begins in the segment, bytes.
    pub(super) offset: usize,
}

/// Why bytes are no header of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It was not written whole.
    Cut,
    /// It is that of another version.
    Version(u32),
    /// It is none.
    Foreign,
}

impl Header {
    pub(super) fn write(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(NAME);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.salt.0);
        bytes[20..28].copy_from_slice(&self.safe.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.again.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..SUMMED_BYTES]);
        bytes[SUMMED_BYTES..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header of a segment.
    pub(super) fn read(segment: &[u8]) -> Result<Self, BadHeader> {
        let bytes = segment.first_chunk::<HEADER_BYTES>().ok_or_else(|| cut_header(segment))?;
        if crc32fast::hash(&bytes[..SUMMED_BYTES]) != u32_at(bytes, SUMMED_BYTES) {
            return Err(cut_header(segment));
        }
        if !bytes.starts_with(NAME) {
            return Err(BadHeader::Foreign);
        }
        match u32_at(bytes, 8) {
            VERSION => {
                let salt = Salt(u64_at(bytes, 12).to_le_bytes());
                Ok(Self { salt, safe: u64_at(bytes, 20), again: u32_at(bytes, 28) })
            }
            version => Err(BadHeader::Version(version)),
        }
    }
}

/// A crash leaves the beginning of a header, or zeros. Nobody waited for what stands behind it.
fn cut_header(segment: &[u8]) -> BadHeader {
    let start = &segment[..segment.len().min(NAME.len())];
    let is_ours = NAME.starts_with(start) || start.iter().all(|byte| *byte == 0);
    if is_ours { BadHeader::Cut } else { BadHeader::Foreign }
}

impl<'a> Record<'a> {
    /// Appends the record to `bytes`. Its payload has at most [`RECORD_BYTES_MAX`] bytes.
    pub(super) fn write(&self, salt: Salt, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&(self.payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.sequence.to_le_bytes());
        bytes.extend_from_slice(&self.synced.to_le_bytes());
        bytes.extend_from_slice(&self.origin.to_le_bytes());
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(self.payload).to_le_bytes());
        let sum = frame_sum(salt, &bytes[start..]);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(self.payload);
    }

    /// Reads the record that begins at `at`, if a whole one does.
    pub(super) fn read(segment: &'a [u8], at: usize, salt: Salt) -> Option<Self> {
        let (frame, rest) = segment.get(at..)?.split_first_chunk::<FRAME_BYTES>()?;
        let sum = u32_at(frame, FRAMED_BYTES);
        if !frame.starts_with(MARK) || frame_sum(salt, &frame[..FRAMED_BYTES]) != sum {
            return None;
        }
        let payload = rest.get(..u32_at(frame, 4) as usize)?;
        let is_whole = crc32fast::hash(payload) == u32_at(frame, 36);
        is_whole.then(|| Self {
            sequence: u64_at(frame, 8),
            synced: u64_at(frame, 16),
            origin: u64_at(frame, 24),
            kind: u32_at(frame, 32),
            payload,
        })
    }

    /// Returns how many bytes it takes in a segment.
    pub(super) fn bytes(&self) -> usize {
        FRAME_BYTES + self.payload.len()
    }
}

/// Returns where, from `at` on, the next whole record begins.
pub(super) fn find_record(segment: &[u8], at: usize, salt: Salt) -> Option<usize> {
    let rest = segment.get(at..)?;
    let mut marks = memchr::memmem::find_iter(rest, MARK).map(|found| at + found);
    marks.find(|found| Record::read(segment, *found, salt).is_some())
}

fn frame_sum(salt: Salt, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.0);
    hasher.update(frame);
    hasher.finalize()
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt(*b"saltsalt");

    proptest! {
        #[test]
        fn a_record_comes_back(
            sequence: u64,
            origin: u64,
            synced: u64,
            kind: u32,
            payload in vec(any::<u8>(), 0..200),
            before in vec(any::<u8>(), 0..50),
        ) {
            let record = Record { sequence, origin, synced, kind, payload: &payload };
            let mut bytes = before.clone();
            record.write(SALT, &mut bytes);
            prop_assert_eq!(bytes.len(), before.len() + record.bytes());
            prop_assert_eq!(Record::read(&bytes, before.len(), SALT), Some(record));
            prop_assert_eq!(find_record(&bytes, 0, SALT), Some(before.len()));
            prop_assert_eq!(Record::read(&bytes, before.len(), Salt([0; 8])), None);
        }

        /// A changed byte, or a missing one, makes it no record.
        #[test]
        fn a_damaged_record_is_none(
            payload in vec(any::<u8>(), 0..100),
            at: prop::sample::Index,
            flipped in 1..=u8::MAX,
        ) {
            let record = Record { sequence: 7, origin: 5, synced: 6, kind: 1, payload: &payload };
            let mut bytes = Vec::new();
            record.write(SALT, &mut bytes);
            let at = at.index(bytes.len());
            prop_assert_eq!(Record::read(&bytes[..at], 0, SALT), None);
            bytes[at] ^= flipped;
            prop_assert_eq!(Record::read(&bytes, 0, SALT), None);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..100)) {
            let _ = Header::read(&bytes);
            prop_assert_eq!(find_record(&bytes, 0, SALT), None);
        }
    }

    #[test]
    fn headers_are_told_apart() {
        let header = Header { salt: SALT, safe: 77, again: 3 };
        let good = header.write();
        assert_eq!(Header::read(&good), Ok(header));
        for cut in 0..HEADER_BYTES {
            assert_eq!(Header::read(&good[..cut]), Err(BadHeader::Cut), "{cut}");
        }
        assert_eq!(Header::read(&[0; 100]), Err(BadHeader::Cut));
        assert_eq!(Header::read(b"PAR1 is a file of another kind"), Err(BadHeader::Foreign));
        let mut later = good;
        later[8] = 3;
        let sum = crc32fast::hash(&later[..SUMMED_BYTES]);
        later[SUMMED_BYTES..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::read(&later), Err(BadHeader::Version(3)));
    }
}
