//! OTLP in and out: bytes to `spans` batches plus a count of what was refused, and back to OTLP.
//!
//! Conversion never fails: one bad span costs one span, never its batch. Opening files and sockets
//! is the callers' job. Read [`Decoder`] first.

mod decoder;
mod rejected;
mod wire;

pub use decoder::{Decoded, Decoder, DecoderOptions, MessageError, Signal};
pub use rejected::{Counted, Reason, Rejected, Repair, Tally};
