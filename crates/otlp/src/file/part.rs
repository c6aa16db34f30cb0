//! [`Part`]: what was decoded of a part of a file, and the workers' view of its messages.

use crate::json::{Cursor, END_EXPECTED, Syntax};
use crate::{Decoded, Decoder, MessageError, Signal, jaeger};

use super::chunks::{Chunk, Chunks, Framing};
use super::detect::RECORD_MARK;
use super::detect::without_mark;
use super::document::{Shape, shape};
use super::{BROKEN_MAX, Broken, Compression, FileError, Reading, detect, pool};

/// What came out of a part of a file, or of all its parts.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) decoded: Decoded,
    /// Spans accepted.
    pub(crate) spans: u64,
    pub(crate) messages: u64,
    pub(crate) other_signals: u64,
    pub(crate) other_signal: Option<Signal>,
    pub(crate) broken: Vec<Broken>,
    pub(crate) broken_count: u64,
}

/// What came out of a file.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) part: Part,
    pub(crate) compression: Compression,
}

impl Part {
    /// Joins parts in the order of the file.
    pub(crate) fn join(parts: Vec<Part>) -> Part {
        let mut all = Part::default();
        let mut decoded = Vec::with_capacity(parts.len());
        for part in parts {
            decoded.push(part.decoded);
            all.spans += part.spans;
            all.messages += part.messages;
            all.other_signals += part.other_signals;
            all.other_signal = all.other_signal.or(part.other_signal);
            all.broken_count += part.broken_count;
            all.broken.extend(part.broken);
            all.broken.truncate(BROKEN_MAX);
        }
        all.decoded = Decoded::merge(decoded);
        all
    }

    pub(crate) fn note_broken(&mut self, broken: Broken) {
        self.broken_count += 1;
        if self.broken.len() < BROKEN_MAX {
            self.broken.push(broken);
        }
    }

    /// Adds what was noted beside the decoded parts.
    pub(crate) fn add(&mut self, noted: Part) {
        self.messages += noted.messages;
        self.other_signals += noted.other_signals;
        self.other_signal = self.other_signal.or(noted.other_signal);
        let beyond = noted.broken_count - noted.broken.len() as u64;
        self.note_all_broken(noted.broken);
        self.broken_count += beyond;
    }

    /// Adds entries that were noted elsewhere, each to its place in the file.
    pub(crate) fn note_all_broken(&mut self, broken: Vec<Broken>) {
        self.broken_count += broken.len() as u64;
        self.broken.extend(broken);
        self.broken.sort_by_key(|broken| broken.byte);
        self.broken.truncate(BROKEN_MAX);
    }

    pub(crate) fn note_other_signal(&mut self, signal: Signal) {
        self.messages += 1;
        self.other_signals += 1;
        self.other_signal.get_or_insert(signal);
    }

    /// Takes what the decoder collected.
    pub(crate) fn close(&mut self, decoder: Decoder) {
        self.spans = decoder.spans_accepted();
        self.decoded = decoder.finish();
    }

    /// Refuses a file of which nothing could be read.
    pub(crate) fn check_anything_was_read(&self) -> Result<(), FileError> {
        if self.spans > 0 || self.messages > self.other_signals {
            return Ok(());
        }
        let count = self.broken_count;
        match (self.other_signal, self.broken.first()) {
            (Some(signal), _) => Err(FileError::OtherSignal { signal }),
            (None, Some(first)) => Err(FileError::Broken { first: first.clone(), count }),
            (None, None) => Err(FileError::Empty),
        }
    }
}

/// Decodes a row of messages, each piece of it with `work`.
pub(crate) fn decode_chunks(
    mut chunks: Chunks<'_>,
    reading: &Reading<'_>,
    work: impl Fn(&Chunk, &Reading<'_>) -> Part + Sync,
) -> Whole {
    let produce = |send: &mut dyn FnMut(Chunk)| {
        while !reading.is_overspent()
            && let Some(chunk) = chunks.next()
        {
            send(chunk);
        }
    };
    let parts = pool::run(reading.options.threads, produce, |chunk| work(&chunk, reading));
    let mut part = Part::join(parts);
    let compression = chunks.compression();
    part.note_all_broken(chunks.finish());
    Whole { part, compression }
}

/// Decodes OTLP protobuf messages.
pub(crate) fn protobuf(chunk: &Chunk, reading: &Reading<'_>) -> Part {
    decode_messages(chunk, reading, |message, decoder| match detect::other_signal(message) {
        Some(signal) => Err(MessageError::OtherSignal { signal }),
        None => decoder.protobuf(message),
    })
}

/// Decodes lines of OTLP JSON.
pub(crate) fn otlp_json(chunk: &Chunk, reading: &Reading<'_>) -> Part {
    decode_messages(chunk, reading, |line, decoder| each_value(line, decoder, otlp_value))
}

fn otlp_value(value: &[u8], decoder: &mut Decoder) -> Result<(), MessageError> {
    let spans_before = decoder.spans_accepted();
    decoder.json(value)?;
    if decoder.spans_accepted() > spans_before {
        return Ok(());
    }
    match shape(value) {
        Shape::Otlp | Shape::Empty => Ok(()),
        other => Err(malformed(0, "an object with `resourceSpans`", other.to_string())),
    }
}

/// Decodes lines of Jaeger JSON.
pub(crate) fn jaeger_json(chunk: &Chunk, reading: &Reading<'_>) -> Part {
    decode_messages(chunk, reading, |line, decoder| each_value(line, decoder, jaeger_value))
}

fn jaeger_value(value: &[u8], decoder: &mut Decoder) -> Result<(), MessageError> {
    match shape(value) {
        Shape::JaegerTraces | Shape::JaegerTrace | Shape::Empty => {
            jaeger::decode(value, decoder).map_err(|syntax| not_json(value, syntax))
        }
        other => Err(malformed(0, "a Jaeger trace", other.to_string())),
    }
}

/// Decodes the values of a line: mostly one, which then is the whole line. Where more stands behind
/// it the values are taken one by one.
fn each_value(
    line: &[u8],
    decoder: &mut Decoder,
    decode: fn(&[u8], &mut Decoder) -> Result<(), MessageError>,
) -> Result<(), MessageError> {
    let result = decode(line, decoder);
    let Err(MessageError::Malformed { expected: END_EXPECTED, .. }) = result else {
        return result;
    };
    let mut cursor = Cursor::new(line);
    cursor.jump(line.len() - without_mark(line).len());
    if cursor.skip_value().is_err() {
        return result;
    }
    let mut first = Ok(());
    while cursor.peek() == Some(b'{') {
        let start = cursor.offset();
        let walked = cursor.skip_value();
        let end = walked.map_or(line.len(), |()| cursor.offset());
        let read = decode(&line[start..end], decoder);
        first = first.and(read.map_err(|error| behind(start, error)));
        if walked.is_err() {
            return first;
        }
    }
    if !cursor.at_end() {
        let end = cursor.expected(END_EXPECTED);
        first = first.and(end.map_err(|syntax| not_json(line, syntax)));
    }
    first
}

/// Moves the place of an error behind what stands before.
fn behind(start: usize, error: MessageError) -> MessageError {
    match error {
        MessageError::Malformed { offset, expected, found } => {
            MessageError::Malformed { offset: start + offset, expected, found }
        }
        other => other,
    }
}

/// Says where a text stops being JSON.
pub(crate) fn not_json(text: &[u8], syntax: Syntax) -> MessageError {
    malformed(syntax.offset, syntax.expected, found(text, syntax.offset))
}

fn malformed(offset: usize, expected: &'static str, found: String) -> MessageError {
    MessageError::Malformed { offset, expected, found }
}

fn found(text: &[u8], offset: usize) -> String {
    match text.get(offset) {
        None => "the end".to_owned(),
        Some(byte @ b' '..=b'~') => format!("`{}`", char::from(*byte)),
        Some(byte) => format!("byte 0x{byte:02x}"),
    }
}

/// Returns where in a message reading broke, and why, in words.
pub(crate) fn describe(error: MessageError) -> (usize, String) {
    match error {
        MessageError::Malformed { offset, expected, found } => {
            (offset, format!("expected {expected}, found {found}"))
        }
        other => (0, other.to_string()),
    }
}

/// Takes the mark off a line that records of a JSON text sequence start with (RFC 7464).
fn record(message: &[u8], framing: Framing) -> &[u8] {
    match message.split_first() {
        Some((&RECORD_MARK, rest)) if framing == Framing::Lines => rest,
        _ => message,
    }
}

/// Decodes the messages of a piece; blank lines are none.
fn decode_messages(
    chunk: &Chunk,
    reading: &Reading<'_>,
    decode: impl Fn(&[u8], &mut Decoder) -> Result<(), MessageError>,
) -> Part {
    let mut decoder = reading.decoder(reading.options.message_bytes_max);
    let mut part = Part::default();
    for (number, content) in chunk.messages.iter().enumerate() {
        let message = record(&chunk.bytes[content.clone()], chunk.framing);
        let skipped = content.len() - message.len();
        if chunk.framing == Framing::Lines && message.trim_ascii().is_empty() {
            continue;
        }
        let is_cut = chunk.is_cut && number + 1 == chunk.messages.len();
        match decode(message, &mut decoder) {
            Ok(()) => part.messages += 1,
            Err(MessageError::OtherSignal { signal }) => part.note_other_signal(signal),
            // That it is cut off is said already.
            Err(_) if is_cut => {}
            Err(error) => part.note_broken(chunk.broken(number, behind(skipped, error))),
        }
    }
    part.close(decoder);
    part
}
