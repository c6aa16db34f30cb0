//! Traces as text, for tests: what is no notation panics.

use arrow::array::RecordBatch;
use timesink_otlp::Decoded;

pub use timesink_cases::notation::*;

/// Returns the block as one OTLP JSON object.
///
/// # Panics
/// The text is not notation.
pub fn otlp_json(text: &str) -> String {
    parse_or_panic(text).otlp_json()
}

/// Returns the block as batches of the table `spans`.
///
/// # Panics
/// The text is not notation.
pub fn spans(text: &str) -> Vec<RecordBatch> {
    decoded(&parse_or_panic(text)).spans
}

/// Returns what the decoder makes of the block.
///
/// # Panics
/// The block is larger than a message may be.
pub fn decoded(notation: &Notation) -> Decoded {
    notation.decode().unwrap_or_else(|error| panic!("trace notation: {error}"))
}

fn parse_or_panic(text: &str) -> Notation {
    parse(text).unwrap_or_else(|error| panic!("trace notation: {error}"))
}
