//! Why the pass could not run.

/// What went wrong, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller's batches are not of the `spans` schema: a defect of the caller.
    #[error("column `{0}` is missing from a batch of spans or has another type")]
    MissingColumn(&'static str),
    /// More spans than one pass holds: look at a shorter window.
    #[error("{seen} spans are more than one pass takes ({max}): look at a shorter window")]
    TooManySpans { seen: usize, max: usize },
    /// Arrow refused what the pass built: a defect of the pass.
    #[error("the pass built a column that does not fit its schema")]
    Arrow(#[from] arrow::error::ArrowError),
}
