//! The write-ahead log: a folder of segments, each a file of records.
//!
//! # Format
//!
//! A segment is named `<first sequence, 20 digits>.log`. It begins with a header, then come its
//! records, one after the other; integers are little-endian, sums CRC-32 (IEEE 802.3):
//!
//! | bytes | header |
//! |---|---|
//! | 0..8 | `timesink` |
//! | 8..12 | version of the format, 2 |
//! | 12..20 | salt: random, so that no payload holds what looks like a record of this segment |
//! | 20..28 | safe: so far the log was safe when the segment was begun |
//! | 28..32 | again: so many records at its beginning are those behind `safe` once more |
//! | 32..36 | zeros |
//! | 36..40 | sum of the bytes before |
//!
//! | bytes | record |
//! |---|---|
//! | 0..4 | `TSR1` |
//! | 4..8 | length of the payload |
//! | 8..16 | sequence: one more than the record before; the first is in the segment's name |
//! | 16..24 | synced: so far the log was safe when this record was written |
//! | 24..32 | origin: the sequence that the payload was written with first |
//! | 32..36 | kind |
//! | 36..40 | sum of the payload |
//! | 40..44 | sum of the salt and bytes 0..40 |
//! | 44.. | payload |
//!
//! Sequences are never given twice. When a sync fails, nobody knows what is on the disk: the log
//! goes on in a new segment, whose `safe` says that what lies between was not acknowledged. When a
//! log is opened, what is behind the last record that is known to be safe may be in the system's
//! memory alone: it is written once more, into a new segment, with sequences of its own; its origin
//! tells whoever took it before that it is the same. What a segment begins behind, as far
//! as it has all of it again, is passed by in those before it.
//!
//! # What is broken
//!
//! A crash leaves records that were not synced whole, cut, or as any bytes: nobody was told that
//! they are safe. A record that is broken or gone is damage when what lies behind it says that it
//! was safe: see [`Replayed::lost`].

mod record;
mod replay;
mod writer;

pub use record::{Place, RECORD_BYTES_MAX, Record};
pub use replay::Replayed;
pub(crate) use replay::Segments;
pub use writer::{Log, LogOptions};

/// Returns the name of the segment that begins with a sequence.
fn segment_name(first: u64) -> String {
    format!("{first:020}.log")
}

/// Returns the sequence that a segment begins with, by its name.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}
