//! OTLP in and out: bytes to `spans` batches plus a count of what was refused, and back to OTLP.
//!
//! Conversion never fails: one bad span costs one span, never its batch. Opening files and sockets
//! is the callers' job. Read [`Decoder`] first.
//!
//! Bytes are walked straight into Arrow columns, in `protobuf` and `otlp_json` over the plain
//! readers `wire` and `json`; `builder` and `batch` keep the columns; `semconv` knows every
//! spelling of an attribute, `values` every form of a value; `redact` hides what must not be kept.
//! [`read`] takes whole files of any format and compression; `jaeger` and `zipkin` turn theirs into
//! messages for the decoder.

mod attributes;
mod batch;
mod budget;
mod builder;
mod columns;
mod decoder;
mod draft;
mod encode;
mod file;
mod jaeger;
mod json;
mod kept;
mod otlp_json;
mod promote;
mod protobuf;
mod redact;
mod rejected;
mod semconv;
mod values;
mod wire;
mod zipkin;

pub use decoder::{Decoded, Decoder, DecoderOptions, MessageError, Signal};
pub use encode::{encode_json, encode_json_within, encode_protobuf};
pub use file::{
    BROKEN_MAX, Broken, Compression, DECODED_BYTES_MAX, DOCUMENT_BYTES_MAX, FILE_BYTES_MAX,
    FileContent, FileError, Format, MESSAGE_BYTES_MAX, ReadOptions, read,
};
pub use redact::{Action, MaskStatement, Redaction, RedactionKey, Rule};
pub use rejected::{Counted, Reason, Rejected, Repair, Tally};
