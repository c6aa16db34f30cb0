//! Why a report could not be written.

use std::io;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The output cannot be written to: its owner frees the disk, or has closed the pipe.
    #[error("failed to write the report")]
    Write(#[from] io::Error),
    /// No format has that name.
    #[error("no format is named `{name}`: expected {known}")]
    UnknownFormat { name: String, known: String },
    /// An invariant of ours broke: please report it.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

impl Error {
    /// Returns whether nobody but us can mend it.
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Internal(_))
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        if error.is_io() { Self::Write(error.into()) } else { Self::Internal(error.to_string()) }
    }
}

impl From<minijinja::Error> for Error {
    fn from(error: minijinja::Error) -> Self {
        Self::Internal(format!("{error:#}"))
    }
}
