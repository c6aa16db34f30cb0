//! Why a file, or a part of one, cannot be read.

use std::fmt;

use crate::Signal;

/// The formats, for messages that say what was expected.
pub(crate) const EXPECTED: &str = "OTLP JSON (one object, or one a line), OTLP protobuf, \
     Jaeger JSON or Zipkin JSON, plain or compressed with gzip or zstd";

/// A part of a file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1, if the format has lines.
    pub line: Option<u64>,
    /// The byte of the decompressed content, from 0.
    pub byte: u64,
    /// What was found and what was expected there.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line} (byte {}): {}", self.byte, self.what),
            None => write!(f, "byte {}: {}", self.byte, self.what),
        }
    }
}

/// Why nothing of a file could be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no byte in it, or white space only.
    #[error("file is empty: expected {EXPECTED}")]
    Empty,
    /// The content is not of a format that is read. `hint` says what to do, if we know.
    #[error("found {found}: {}", hint.clone().unwrap_or_else(|| format!("expected {EXPECTED}")))]
    Foreign { found: String, hint: Option<String> },
    /// The content is OTLP, but no traces.
    #[error("found OTLP {signal}: expected traces (`resourceSpans`)")]
    OtherSignal { signal: Signal },
    /// It is too large to be held whole, as its format asks for.
    #[error(
        "{format} of more than {bytes_max} bytes is over the limit (`document_bytes_max`): write \
         OTLP JSON with one object a line, which is read in pieces"
    )]
    TooLarge { format: &'static str, bytes_max: usize },
    /// Its spans would fill the memory, perhaps because a large resource stands over many of them.
    #[error(
        "spans that take more than {bytes_max} bytes of memory are over the limit \
         (`decoded_bytes_max`): read the file in parts, or allow more"
    )]
    TooMuchDecoded { bytes_max: u64 },
    /// It is broken from its start on.
    #[error("{first}{}", more(*count))]
    Broken { first: Broken, count: u64 },
    /// The first bytes could not be read at all.
    #[error("failed to read: {0}")]
    Input(#[source] std::io::Error),
}

fn more(count: u64) -> String {
    match count {
        0 | 1 => String::new(),
        2 => " (and 1 more broken part)".to_owned(),
        _ => format!(" (and {} more broken parts)", count - 1),
    }
}
