//! [`NotationError`]: what is wrong with a block of trace notation.

/// Why a text is not trace notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotationError {
    /// Something else stands where the grammar wants a part.
    #[error("line {line}: expected {expected}, found {}", quoted(found))]
    Unexpected { line: usize, expected: &'static str, found: String },
    /// Repetitions multiply to more than the limit.
    #[error("the block stands for {count} spans, over the limit of {count_max} (`SPANS_MAX`)")]
    TooManySpans { count: u64, count_max: u64 },
    /// Repetitions make more text than the limit.
    #[error(
        "the block stands for {count} spans with lines of up to {longest} bytes, over the limit \
         of {bytes_max} bytes in all (`BYTES_MAX`)"
    )]
    TooLong { count: u64, longest: usize, bytes_max: u64 },
}

impl NotationError {
    /// Returns the line of the block, from 1, that is no notation.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Unexpected { line, .. } => Some(*line),
            Self::TooManySpans { .. } | Self::TooLong { .. } => None,
        }
    }
}

fn quoted(found: &str) -> String {
    if found.is_empty() { "the end of the line".to_owned() } else { format!("`{found}`") }
}
