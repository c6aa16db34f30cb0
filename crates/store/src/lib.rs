//! The durable store: what was acknowledged is there after a crash or a power cut.
//!
//! [`log`] is the write-ahead log: records are appended, synced together, and read again after a
//! crash. Everything asks the file system through [`Disk`], so that tests can put one under it that
//! forgets what was not synced.

mod batch;
mod disk;
mod error;
mod gather;
mod ids;
mod journal;
mod lock;
pub mod log;
mod recovery;
mod seen;
mod whole;

pub use batch::memory_bytes;
pub use disk::{Disk, DiskFile, Entry, LocalDisk};
pub use error::Error;
pub use gather::{Place, arrange, arrange_column, gather, join};
pub use ids::{parse_trace_id, trace_ids};
pub use journal::{Appended, Journal, Logged, Recovered};
pub use lock::{Holder, WriterLock};
pub use recovery::Recovery;
pub use whole::{PRIVATE, PUBLIC, write_whole};
