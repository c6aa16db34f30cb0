//! Why spans cannot be walked on disk.

use std::path::PathBuf;

use arrow::error::ArrowError;

/// What went wrong, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No temporary file can be made or written: make room, or name another folder.
    #[error(
        "failed to write a temporary file in `{}`: {cause}; make room there, or set TMPDIR to \
         another folder",
        folder.display()
    )]
    Spill { folder: PathBuf, cause: std::io::Error },
    /// A process has more spans at about the same time than may be in memory at once: less is to be
    /// looked at, or more allowed.
    #[error(
        "{spans} spans of a process at about the same time are more than the {spans_max} that fit \
         into `input.decoded_mib_max`: look at less of the past (`--since`), or allow more"
    )]
    Process { spans: usize, spans_max: usize },
    /// A process has more requests than may be in memory at once: as above.
    #[error(
        "{requests} requests of a process are more than the {requests_max} that fit into \
         `input.decoded_mib_max`: look at less of the past (`--since`), or allow more"
    )]
    Requests { requests: usize, requests_max: usize },
    /// The trace pass refused the spans.
    #[error(transparent)]
    Facts(#[from] timesink_facts::Error),
    /// Arrow refused what was written or read: a defect of ours.
    #[error("a batch of spans does not fit a temporary file")]
    Arrow(#[from] ArrowError),
}

impl Error {
    /// Says that a temporary file cannot be made or written.
    pub fn of_writing(cause: std::io::Error) -> Self {
        Self::Spill { folder: std::env::temp_dir(), cause }
    }
}
