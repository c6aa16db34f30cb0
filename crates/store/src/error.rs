//! Why the store could not do something, by what the caller does next.

use std::io;
use std::path::PathBuf;

use arrow::error::ArrowError;

use crate::lock::Holder;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused: a full or read-only disk, a missing folder. Nothing of it was kept; it
    /// may work later.
    #[error("failed to {action} `{}`: {cause}", path.display())]
    Io { action: &'static str, path: PathBuf, cause: io::Error },
    /// A file was written by a later version, or is none of ours: nothing is done to it.
    #[error("`{}` is no log of this version: {found}", path.display())]
    Foreign { path: PathBuf, found: String },
    /// Another process writes: it is to be ended, or another folder to be named.
    #[error("`{}` cannot be written: {holder} writes in it", folder.display())]
    Locked { folder: PathBuf, holder: Holder },
    /// A record of the log was written whole, and is no batch of spans: it was tampered with, or it
    /// is a defect of ours.
    #[error("record {sequence} of the log cannot be read: {cause}")]
    Record { sequence: u64, cause: ArrowError },
    /// What is to be read takes more memory than it may.
    #[error(
        "what the log holds, and the tables do not, takes more than {} MiB of memory \
         (`input.decoded_mib_max`): allow more, or wait until a server has brought it there",
        bytes_max >> 20
    )]
    Memory { bytes_max: u64 },
    /// A batch cannot be written: a defect of whoever made it.
    #[error("a batch cannot be written: {0}")]
    Batch(ArrowError),
    /// A record is larger than the log takes: it is to be split.
    #[error("a record of {bytes} bytes is over the limit of {bytes_max} bytes")]
    RecordTooLarge { bytes: usize, bytes_max: usize },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        Self::Io { action, path: path.into(), cause }
    }
}
