//! Trace files: from the bytes of an open file to [`Decoded`], whatever format they are in.
//!
//! The format is told by the content, never by the name. Formats that come as a row of messages
//! (OTLP JSON lines, OTLP protobuf) are streamed: the calling thread reads and decompresses, worker
//! threads decode. What comes out is the same for any number of threads. A part that cannot be read
//! costs itself, and is listed in [`FileContent::broken`]. Read [`read`] first.

mod chunks;
mod detect;
mod document;
mod error;
mod part;
mod pool;
pub(crate) mod request;
mod source;

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use crate::budget::Budget;
use crate::{Decoded, Decoder, DecoderOptions};

pub use error::{Broken, FileError};

use chunks::{Chunks, Framing};
use detect::Content;
use document::Layout;
use part::{Part, Whole, decode_chunks};
use source::Source;

/// The default of [`ReadOptions::message_bytes_max`]: as much as the receivers take.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The default of [`ReadOptions::document_bytes_max`].
pub const DOCUMENT_BYTES_MAX: usize = 2 << 30;

/// The default of [`ReadOptions::file_bytes_max`].
pub const FILE_BYTES_MAX: u64 = 64 << 30;

/// The default of [`ReadOptions::decoded_bytes_max`].
pub const DECODED_BYTES_MAX: u64 = 4 << 30;

/// How to read a file. Sizes are of the decompressed bytes, and of what is decoded from them: they
/// bound what a small compressed file can grow to.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// How to decode. Its `message_bytes_max` is not used: the limits here take its place.
    pub decoder: DecoderOptions,
    /// Threads that decode beside the calling thread, which reads. With 1 the caller does both.
    pub threads: usize,
    /// The largest line, or message of a row of messages, taken.
    pub message_bytes_max: usize,
    /// The largest file taken whose format must be held whole: one JSON document, or Zipkin spans.
    pub document_bytes_max: usize,
    /// The most that is read of any file.
    pub file_bytes_max: u64,
    /// The most memory, about, that the spans of a file may take: each carries its resource, so
    /// that a small file can hold far more than its own size.
    pub decoded_bytes_max: u64,
}

impl ReadOptions {
    /// Returns the default limits, for a clock that says `now_unix_nano`, and one thread.
    pub fn new(now_unix_nano: i64) -> Self {
        Self {
            decoder: DecoderOptions::new(now_unix_nano),
            threads: 1,
            message_bytes_max: MESSAGE_BYTES_MAX,
            document_bytes_max: DOCUMENT_BYTES_MAX,
            file_bytes_max: FILE_BYTES_MAX,
            decoded_bytes_max: DECODED_BYTES_MAX,
        }
    }
}

/// A format that [`read`] tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// OTLP JSON: one object, several, or one a line.
    OtlpJson,
    /// OTLP protobuf: one message, or several with their lengths.
    OtlpProtobuf,
    /// What Jaeger's query API and user interface hand out.
    JaegerJson,
    /// What Zipkin's API, version 2, takes and hands out.
    ZipkinJson,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtlpJson => "OTLP JSON",
            Self::OtlpProtobuf => "OTLP protobuf",
            Self::JaegerJson => "Jaeger JSON",
            Self::ZipkinJson => "Zipkin JSON",
        })
    }
}

/// How the file was compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    Plain,
    /// One gzip member or several.
    Gzip,
    /// One zstd frame or several.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}

/// What a file held.
#[derive(Debug)]
pub struct FileContent {
    pub decoded: Decoded,
    pub format: Format,
    pub compression: Compression,
    /// How many messages, lines or JSON documents were read, broken ones not counted.
    pub messages: u64,
    /// How many of them held logs, metrics or profiles, and no traces.
    pub other_signals: u64,
    /// The parts that could not be read, in the order of the file, at most [`BROKEN_MAX`] of them.
    pub broken: Vec<Broken>,
    /// How many parts could not be read.
    pub broken_count: u64,
}

/// The most entries of [`FileContent::broken`]; what is beyond is counted.
pub const BROKEN_MAX: usize = 100;

/// One read of a file: how, and what its threads share.
#[derive(Debug)]
struct Reading<'a> {
    options: &'a ReadOptions,
    budget: Arc<Budget>,
}

impl<'a> Reading<'a> {
    fn new(options: &'a ReadOptions) -> Self {
        Self { options, budget: Arc::new(Budget::new(options.decoded_bytes_max)) }
    }

    fn decoder(&self, message_bytes_max: usize) -> Decoder {
        let options = DecoderOptions { message_bytes_max, ..self.options.decoder.clone() };
        Decoder::within(options, Arc::clone(&self.budget))
    }

    /// Returns whether the file is refused whatever follows.
    fn is_overspent(&self) -> bool {
        self.budget.is_overspent()
    }
}

/// Reads a whole file, decompressing it if need be.
///
/// # Errors
/// Nothing in it could be read: it is empty, of another format, holds no traces, or is broken from
/// its start; or its spans take too much memory. A file of which a part could be read is no error.
pub fn read(input: impl Read + Send, options: &ReadOptions) -> Result<FileContent, FileError> {
    let reading = Reading::new(options);
    let mut source = Source::open(input, options.file_bytes_max)?;
    let mut head = Vec::new();
    source.fill(&mut head, detect::HEAD_BYTES);
    let (format, whole) = match content(&source, &head)? {
        Content::Json { start } => {
            let layout = Layout::of(&mut source, &mut head, start, options)?;
            (layout.format(), layout.decode(source, head, &reading)?)
        }
        Content::Protobuf(framing) => {
            let chunks = Chunks::new(source, head, framing, options);
            let mut whole = decode_chunks(chunks, &reading, part::protobuf);
            if framing == Framing::Fields {
                whole.part.messages = whole.part.messages.min(1);
            }
            (Format::OtlpProtobuf, whole)
        }
    };
    if reading.is_overspent() {
        return Err(FileError::TooMuchDecoded { bytes_max: options.decoded_bytes_max });
    }
    let Whole { part, compression } = whole;
    part.check_anything_was_read()?;
    let Part { decoded, messages, other_signals, broken, broken_count, .. } = part;
    Ok(FileContent { decoded, format, compression, messages, other_signals, broken, broken_count })
}

/// Tells the content. Where the input breaks within the first bytes, that is the better answer.
fn content(source: &Source<'_>, head: &[u8]) -> Result<Content, FileError> {
    detect::content(head).map_err(|error| match source.failure() {
        Some(failure) => {
            let (byte, what) = (head.len() as u64, failure.to_owned());
            FileError::Broken { first: Broken { line: None, byte, what }, count: 1 }
        }
        None => error,
    })
}
