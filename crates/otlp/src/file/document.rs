//! JSON content: lines or documents, and what each value in it is.
//!
//! A document is held whole. Its values are walked once, without a tree, and cut into pieces that
//! workers decode: elements of `resourceSpans`, of Jaeger's `data`, of Zipkin's array.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::json::{Cursor, Items, Syntax};
use crate::values::push_json_string;
use crate::{Decoder, MessageError, Signal, jaeger, zipkin};

use super::chunks::{Chunks, Framing};
use super::detect::{RECORD_MARK, without_mark};
use super::error::EXPECTED;
use super::part::{self, Part, Whole, decode_chunks, describe, not_json};
use super::source::Source;
use super::{Broken, FileError, Format, ReadOptions, Reading, pool};

/// What a JSON value is, by its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{"resourceSpans": ...}`
    Otlp,
    OtherSignal(Signal),
    /// `{"data": [trace, ...]}`
    JaegerTraces,
    /// `{"traceID": ..., "spans": [...], "processes": {...}}`
    JaegerTrace,
    /// `{"traceID": ..., "spanID": ...}`, with its process in it, as Elasticsearch stores it.
    JaegerSpan,
    /// `{"traceId": ..., "id": ...}`
    ZipkinSpan,
    /// A Zipkin span of version 1, by `binaryAnnotations`.
    ZipkinSpanV1,
    /// `{}`
    Empty,
    /// An object of a tool whose format we do not read: what it is, and what to do.
    Foreign(&'static str),
    /// Another object: its first keys.
    Unknown(Vec<String>),
    /// An array: the shape of its first element.
    Array(Option<Box<Shape>>),
    /// No object and no array.
    Scalar,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Otlp => f.write_str("an OTLP object"),
            Self::OtherSignal(signal) => write!(f, "OTLP {signal}"),
            Self::JaegerTraces | Self::JaegerTrace => f.write_str("a Jaeger trace"),
            Self::JaegerSpan => f.write_str("a Jaeger span"),
            Self::ZipkinSpan => f.write_str("a Zipkin span"),
            Self::ZipkinSpanV1 => f.write_str("a Zipkin span of version 1 (use `/api/v2`)"),
            Self::Empty => f.write_str("an object without keys"),
            Self::Foreign(name) => f.write_str(name),
            Self::Unknown(keys) => write!(f, "an object with the keys {}", keys.join(", ")),
            Self::Array(_) => f.write_str("an array"),
            Self::Scalar => f.write_str("neither an object nor an array"),
        }
    }
}

/// How many keys of an unknown object are named.
const KEYS_NAMED: usize = 6;

/// Arrays nest at most so deep: Zipkin answers with an array of traces, each an array of spans.
const ARRAYS_MAX: usize = 3;

/// Tells what the value is that the text starts with; broken text by what is before the break.
pub(crate) fn shape(text: &[u8]) -> Shape {
    shape_of(&mut Cursor::new(without_mark(text)), ARRAYS_MAX)
}

fn shape_of(cursor: &mut Cursor<'_>, arrays_max: usize) -> Shape {
    match cursor.peek() {
        Some(b'{') => object_shape(cursor, arrays_max),
        Some(b'[') if arrays_max > 0 => {
            let has_element = cursor.array().and_then(|mut array| cursor.element(&mut array));
            let has_element = has_element == Ok(true) && cursor.peek().is_some();
            Shape::Array(has_element.then(|| Box::new(shape_of(cursor, arrays_max - 1))))
        }
        _ => Shape::Scalar,
    }
}

/// The keys seen so far of an object that is not known yet.
#[derive(Debug, Default)]
struct Seen {
    names: Vec<String>,
    marks: Vec<Mark>,
    other_signal: Option<Signal>,
    foreign: Option<&'static str>,
}

/// Keys of formats that are mistaken for ours.
const FOREIGN: &[(&[u8], &str)] = &[
    (
        b"batches",
        "Tempo's own JSON (ask it for protobuf, which is read, with \
         `Accept: application/protobuf`)",
    ),
    (
        b"hits",
        "an answer of Elasticsearch (pass the `_source` of each hit, one a line: \
         `jq -c '.hits.hits[]._source'`)",
    ),
    (
        b"context",
        "an object with `context`, like a span of an SDK's console exporter (use an OTLP exporter, \
         or one that writes OTLP JSON)",
    ),
];

/// A key that counts only together with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    JaegerTrace,
    Spans,
    SpanId,
    TraceId,
    Id,
}

fn object_shape(cursor: &mut Cursor<'_>, arrays_max: usize) -> Shape {
    let mut seen = Seen::default();
    let mut next = || -> Result<Option<Shape>, Syntax> {
        let mut object = cursor.object()?;
        while let Some(key) = cursor.member(&mut object)? {
            if let Some(shape) = seen.add(&key, cursor, arrays_max) {
                return Ok(Some(shape));
            }
            cursor.skip_value()?;
        }
        Ok(None)
    };
    let known = next().ok().flatten();
    known.unwrap_or_else(|| seen.shape())
}

impl Seen {
    /// Takes one more key; returns the shape once it is sure.
    fn add(&mut self, key: &[u8], cursor: &Cursor<'_>, arrays_max: usize) -> Option<Shape> {
        match key {
            b"resourceSpans" | b"resource_spans" => return Some(Shape::Otlp),
            b"resourceLogs" | b"resource_logs" => self.other_signal = Some(Signal::Logs),
            b"resourceMetrics" | b"resource_metrics" => self.other_signal = Some(Signal::Metrics),
            b"resourceProfiles" | b"resource_profiles" => {
                self.other_signal = Some(Signal::Profiles);
            }
            b"data" if is_jaeger_data(&mut cursor.clone(), arrays_max) => {
                return Some(Shape::JaegerTraces);
            }
            b"binaryAnnotations" => return Some(Shape::ZipkinSpanV1),
            b"traceID" | b"processes" => self.marks.push(Mark::JaegerTrace),
            b"spans" => self.marks.push(Mark::Spans),
            b"spanID" => self.marks.push(Mark::SpanId),
            b"traceId" => self.marks.push(Mark::TraceId),
            b"id" => self.marks.push(Mark::Id),
            _ => {
                let foreign = FOREIGN.iter().find(|(known, _)| *known == key);
                self.foreign = self.foreign.or(foreign.map(|(_, name)| *name));
            }
        }
        if self.names.len() < KEYS_NAMED {
            let name: String = String::from_utf8_lossy(key).chars().take(40).collect();
            self.names.push(format!("`{}`", name.escape_debug()));
        }
        if self.has(Mark::JaegerTrace, Mark::Spans) {
            return Some(Shape::JaegerTrace);
        }
        self.has(Mark::JaegerTrace, Mark::SpanId).then_some(Shape::JaegerSpan)
    }

    fn has(&self, one: Mark, other: Mark) -> bool {
        self.marks.contains(&one) && self.marks.contains(&other)
    }

    fn shape(self) -> Shape {
        match (self.other_signal, self.foreign) {
            (Some(signal), _) => Shape::OtherSignal(signal),
            (None, _) if self.has(Mark::TraceId, Mark::Id) => Shape::ZipkinSpan,
            (None, Some(name)) => Shape::Foreign(name),
            (None, None) if self.names.is_empty() => Shape::Empty,
            (None, None) => Shape::Unknown(self.names),
        }
    }
}

/// An answer without traces has an empty `data`, or `null`. An object there is not looked into: it
/// could have `data` again, as deep as the file likes.
fn is_jaeger_data(cursor: &mut Cursor<'_>, arrays_max: usize) -> bool {
    if cursor.peek() != Some(b'[') {
        return cursor.null();
    }
    match shape_of(cursor, arrays_max) {
        Shape::Array(None) => true,
        Shape::Array(Some(first)) => *first == Shape::JaegerTrace,
        _ => false,
    }
}

impl Shape {
    fn format(&self) -> Format {
        match self {
            Self::JaegerTraces | Self::JaegerTrace | Self::JaegerSpan => Format::JaegerJson,
            Self::ZipkinSpan | Self::ZipkinSpanV1 | Self::Array(None) => Format::ZipkinJson,
            Self::Array(Some(first)) => first.format(),
            _ => Format::OtlpJson,
        }
    }
}

impl Shape {
    /// Returns whether a value says all about its spans, so that values can be read one by one.
    fn may_be_alone(&self) -> bool {
        let needs_others = matches!(self, Self::ZipkinSpan | Self::ZipkinSpanV1);
        !needs_others && !matches!(self, Self::JaegerSpan | Self::Array(_))
    }
}

/// How JSON content is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    format: Format,
    /// Where the first value starts.
    start: usize,
    has_lines: bool,
}

/// How far behind the first line we look to tell lines from a document.
const LOOK_AHEAD_BYTES: usize = 64 << 10;

impl Layout {
    /// Tells lines from documents by the first line, which is read whole for that.
    pub(crate) fn of(
        source: &mut Source<'_>,
        head: &mut Vec<u8>,
        start: usize,
        options: &ReadOptions,
    ) -> Result<Self, FileError> {
        let line_end = read_line(source, head, start, options)?;
        source.fill(head, line_end + LOOK_AHEAD_BYTES);
        let shape = shape(&head[start..]);
        let has_lines = shape.may_be_alone()
            && has_lines(&head[start..line_end], &head[line_end..], source.is_open());
        Ok(Self { format: shape.format(), start, has_lines })
    }

    pub(crate) fn format(self) -> Format {
        self.format
    }

    pub(crate) fn decode(
        self,
        source: Source<'_>,
        head: Vec<u8>,
        reading: &Reading<'_>,
    ) -> Result<Whole, FileError> {
        let before = text_before(&head[..self.start]);
        let mut whole = if self.has_lines {
            self.decode_lines(source, head, reading)
        } else {
            self.decode_document(source, head, reading)?
        };
        whole.part.note_all_broken(before.into_iter().collect());
        Ok(whole)
    }

    fn decode_lines(self, source: Source<'_>, head: Vec<u8>, reading: &Reading<'_>) -> Whole {
        let mut chunks = Chunks::new(source, head, Framing::Lines, reading.options);
        chunks.skip(self.start);
        let work = match self.format {
            Format::JaegerJson => part::jaeger_json,
            _ => part::otlp_json,
        };
        decode_chunks(chunks, reading, work)
    }

    fn decode_document(
        self,
        mut source: Source<'_>,
        mut head: Vec<u8>,
        reading: &Reading<'_>,
    ) -> Result<Whole, FileError> {
        let options = reading.options;
        source.fill(&mut head, options.document_bytes_max.saturating_add(1));
        if head.len() > options.document_bytes_max {
            return Err(self.too_large(options));
        }
        let (mut part, unread) = decode_values(&head, self.start, reading);
        let unread = match source.failure() {
            // Where the input breaks off the text is no JSON either: one word of it is enough.
            Some(failure) => Some(broken_at(head.len(), failure.to_owned())),
            None => unread,
        };
        part.note_all_broken(unread.into_iter().collect());
        number_lines(&head, &mut part.broken);
        Ok(Whole { part, compression: source.compression() })
    }

    fn too_large(self, options: &ReadOptions) -> FileError {
        let format = match self.format {
            Format::OtlpJson | Format::OtlpProtobuf => "one OTLP JSON document",
            Format::JaegerJson => "Jaeger JSON",
            Format::ZipkinJson => "Zipkin JSON",
        };
        FileError::TooLarge { format, bytes_max: options.document_bytes_max }
    }
}

/// Reads until the first line is whole; returns where it ends.
fn read_line(
    source: &mut Source<'_>,
    head: &mut Vec<u8>,
    start: usize,
    options: &ReadOptions,
) -> Result<usize, FileError> {
    let mut searched = start;
    loop {
        if let Some(newline) = memchr::memchr(b'\n', &head[searched..]) {
            return Ok(searched + newline);
        }
        searched = head.len();
        if !source.is_open() {
            return Ok(searched);
        }
        if searched > options.document_bytes_max {
            let format = "one line";
            return Err(FileError::TooLarge { format, bytes_max: options.document_bytes_max });
        }
        let wanted = (2 * searched).min(options.document_bytes_max.saturating_add(1));
        source.fill(head, wanted.max(searched + 1));
    }
}

/// Tells a row of lines from a document, by the first line and by what follows, as far as it is
/// there. A broken first line does not make a document of the good lines behind it.
fn has_lines(first: &[u8], rest: &[u8], is_more: bool) -> bool {
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix(&[RECORD_MARK]).unwrap_or(rest);
    if rest.is_empty() && !is_more {
        return false;
    }
    let mut cursor = Cursor::new(first);
    let is_value = first.starts_with(b"{") && cursor.skip_value().is_ok();
    if is_value {
        return cursor.at_end();
    }
    let goes_on = matches!(first.trim_ascii_end().last(), Some(b'[' | b',' | b':' | b'{'));
    first.starts_with(b"{") && !goes_on && rest.starts_with(b"{")
}

/// Notes text before the first value, a byte order mark and white space aside.
fn text_before(bytes: &[u8]) -> Option<Broken> {
    let text = String::from_utf8_lossy(without_mark(bytes));
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == char::from(RECORD_MARK));
    let start: String = text.chars().take(40).collect();
    let what = format!("expected a JSON object, found `{}`", start.escape_debug());
    (!text.is_empty()).then_some(Broken { line: Some(1), byte: 0, what })
}

/// Says what is wrong with a document at `offset`; [`number_lines`] adds the line.
fn broken_at(offset: usize, what: String) -> Broken {
    Broken { line: None, byte: offset as u64, what }
}

/// Gives entries, in the order of the file, their lines: those that are named in the end, by one
/// walk over the text, however many parts are broken.
fn number_lines(text: &[u8], broken: &mut [Broken]) {
    let (mut counted, mut line) = (0, 1);
    for entry in broken {
        let offset = usize::try_from(entry.byte).map_or(text.len(), |byte| byte.min(text.len()));
        let between = text.get(counted..offset).unwrap_or_default();
        line += memchr::memchr_iter(b'\n', between).count() as u64;
        counted = counted.max(offset);
        entry.line = Some(line);
    }
}

/// A piece of a document that a worker decodes.
#[derive(Debug)]
enum Piece<'a> {
    Elements(Vec<Elements<'a>>),
    /// Every Zipkin span of the document: they need each other.
    Zipkin(Vec<&'a [u8]>),
}

/// Elements of a list, and what makes a document of them.
#[derive(Debug)]
struct Elements<'a> {
    text: &'a [u8],
    /// Where they start in the document.
    offset: usize,
    /// The number of the value that they are of.
    value_number: u64,
    frame: Arc<Frame>,
    /// Whether the last element is broken. The walk has noted that.
    is_cut: bool,
}

/// The text around elements.
#[derive(Debug)]
struct Frame {
    before: Vec<u8>,
    after: Vec<u8>,
    decode: fn(&[u8], &mut Decoder) -> Result<(), MessageError>,
}

/// Elements are put together to pieces of this size.
const PIECE_BYTES: usize = 1 << 20;

/// A larger element is taken apart, as far as its lists allow.
const ELEMENT_BYTES_MAX: usize = 16 << 20;

/// The lists below `resourceSpans` along which a large element is taken apart.
const OTLP_LISTS: &[&str] = &["scopeSpans", "spans"];

impl Piece<'_> {
    /// Also returns the numbers of values of which something could not be read, in order.
    fn decode(self, reading: &Reading<'_>) -> (Part, Vec<u64>) {
        // The document as a whole is bounded.
        let mut decoder = reading.decoder(reading.options.document_bytes_max);
        let mut part = Part::default();
        let mut broken_values = Vec::new();
        match self {
            Self::Zipkin(spans) => zipkin::decode(&spans, &mut decoder),
            Self::Elements(lists) => {
                for elements in lists {
                    if let Some(broken) = elements.decode(&mut decoder) {
                        part.note_broken(broken);
                        broken_values.push(elements.value_number);
                    }
                }
            }
        }
        part.close(decoder);
        (part, broken_values)
    }
}

impl Elements<'_> {
    fn decode(&self, decoder: &mut Decoder) -> Option<Broken> {
        let Frame { before, after, decode } = &*self.frame;
        let message = [before, self.text, after].concat();
        let error = decode(&message, decoder).err().filter(|_| !self.is_cut)?;
        let (at, what) = describe(error);
        let offset = self.offset + at.saturating_sub(before.len());
        Some(broken_at(offset, what))
    }
}

/// Decodes every value from `start` on. Also returns where the last one breaks off, if it does.
fn decode_values<'t>(
    text: &'t [u8],
    start: usize,
    reading: &Reading<'_>,
) -> (Part, Option<Broken>) {
    let mut noted = Part::default();
    let mut unread = None;
    let (mut values, mut broken_values) = (0, Vec::new());
    let produce = |send: &mut dyn FnMut(Piece<'t>)| {
        let mut walk = Walk {
            text,
            waiting: Vec::new(),
            waiting_bytes: 0,
            zipkin: Vec::new(),
            noted: &mut noted,
            broken_values: &mut broken_values,
            send,
            value_number: 0,
            is_astray: false,
        };
        unread = walk.values(start);
        values = walk.value_number;
        walk.finish();
    };
    let parts = pool::run(reading.options.threads, produce, |piece| piece.decode(reading));
    let (parts, broken_in_parts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    broken_values.extend(broken_in_parts.into_iter().flatten());
    broken_values.sort_unstable();
    broken_values.dedup();
    noted.messages = values - broken_values.len() as u64;
    let mut part = Part::join(parts);
    part.add(noted);
    (part, unread)
}

impl Frame {
    fn otlp() -> Arc<Self> {
        Self::new("{\"resourceSpans\":[", "]}", |text, decoder| decoder.json(text))
    }

    fn jaeger_traces() -> Arc<Self> {
        Self::new("{\"data\":[", "]}", jaeger_json)
    }

    fn jaeger_spans() -> Arc<Self> {
        Self::new("{\"spans\":[", "]}", jaeger_json)
    }

    fn new(
        before: &str,
        after: &str,
        decode: fn(&[u8], &mut Decoder) -> Result<(), MessageError>,
    ) -> Arc<Self> {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Arc::new(Self { before: bytes(before), after: bytes(after), decode })
    }
}

fn jaeger_json(text: &[u8], decoder: &mut Decoder) -> Result<(), MessageError> {
    jaeger::decode(text, decoder).map_err(|syntax| not_json(text, syntax))
}

/// One walk over the values of a document.
struct Walk<'a, 'w> {
    text: &'a [u8],
    /// Elements that are too few for a piece of their own.
    waiting: Vec<Elements<'a>>,
    waiting_bytes: usize,
    zipkin: Vec<&'a [u8]>,
    noted: &'w mut Part,
    /// The numbers of values that are no JSON, or unknown.
    broken_values: &'w mut Vec<u64>,
    send: &'w mut dyn FnMut(Piece<'a>),
    /// The number of the value that is walked.
    value_number: u64,
    /// Whether a break was passed: values may then be parts of the broken one, and what is unknown
    /// is passed by without a word.
    is_astray: bool,
}

impl<'a> Walk<'a, '_> {
    /// Walks all values. Returns where the last one breaks off, if it does.
    fn values(&mut self, start: usize) -> Option<Broken> {
        let mut cursor = Cursor::new(self.text);
        cursor.jump(start);
        let mut unread = None;
        while let (None, Some(next)) = (&unread, cursor.peek()) {
            if next == RECORD_MARK {
                cursor.jump(cursor.offset() + 1);
                continue;
            }
            let broken_before = self.noted.broken_count;
            let walked = self.value(&mut cursor, ARRAYS_MAX);
            if walked.is_err() || self.noted.broken_count > broken_before {
                self.broken_values.push(self.value_number);
            }
            if let Err(syntax) = walked {
                unread = self.pass(syntax, &mut cursor);
            }
            self.value_number += 1;
        }
        unread
    }

    /// Sends what was put by.
    fn finish(mut self) {
        self.flush();
        if !self.zipkin.is_empty() {
            (self.send)(Piece::Zipkin(self.zipkin));
        }
    }

    fn flush(&mut self) {
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            (self.send)(Piece::Elements(waiting));
        }
    }

    /// Notes a break and goes on at the next line that may start a value, or returns the break.
    fn pass(&mut self, syntax: Syntax, cursor: &mut Cursor<'a>) -> Option<Broken> {
        let (at, what) = describe(not_json(self.text, syntax));
        let broken = broken_at(at, what);
        // What breaks a document may be the start of the next one.
        let from = at.saturating_sub(1);
        let rest = self.text.get(from..).unwrap_or_default();
        let Some(line) = memchr::memmem::find(rest, b"\n{") else { return Some(broken) };
        cursor.jump(from + line + 1);
        self.noted.note_broken(broken);
        self.is_astray = true;
        None
    }

    fn value(&mut self, cursor: &mut Cursor<'a>, arrays_max: usize) -> Result<(), Syntax> {
        match cursor.peek() {
            Some(b'[') if arrays_max > 0 => {
                let mut array = cursor.array()?;
                while cursor.element(&mut array)? {
                    self.value(cursor, arrays_max - 1)?;
                }
                Ok(())
            }
            Some(b'{') => self.object(cursor),
            _ => {
                self.note_unknown(cursor.offset(), &Shape::Scalar);
                cursor.skip_value()
            }
        }
    }

    fn object(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Syntax> {
        let start = cursor.offset();
        match shape_of(&mut cursor.clone(), ARRAYS_MAX) {
            Shape::Otlp => self.otlp(cursor),
            Shape::JaegerTraces => self.jaeger_traces(cursor),
            Shape::JaegerTrace => self.alone(cursor, &Frame::jaeger_traces()),
            Shape::JaegerSpan => self.alone(cursor, &Frame::jaeger_spans()),
            Shape::ZipkinSpan => {
                cursor.skip_value()?;
                self.zipkin.push(&self.text[start..cursor.offset()]);
                Ok(())
            }
            Shape::OtherSignal(signal) => {
                self.noted.other_signals += 1;
                self.noted.other_signal.get_or_insert(signal);
                cursor.skip_value()
            }
            Shape::Empty => cursor.skip_value(),
            unknown => {
                cursor.skip_value()?;
                self.note_unknown(start, &unknown);
                Ok(())
            }
        }
    }

    /// Takes an object that is an element by itself.
    fn alone(&mut self, cursor: &mut Cursor<'a>, frame: &Arc<Frame>) -> Result<(), Syntax> {
        let start = cursor.offset();
        let walked = cursor.skip_value();
        let end = walked.map_or_else(|syntax| syntax.offset, |()| cursor.offset());
        self.send(start..end, frame, walked.is_err());
        walked
    }

    fn note_unknown(&mut self, offset: usize, shape: &Shape) {
        if !self.is_astray {
            let what = format!("expected {EXPECTED}, found {shape}");
            self.noted.note_broken(broken_at(offset, what));
        }
    }

    fn otlp(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Syntax> {
        let mut object = cursor.object()?;
        while let Some(key) = cursor.member(&mut object)? {
            match &*key {
                b"resourceSpans" | b"resource_spans" => {
                    self.elements(cursor, &Frame::otlp(), OTLP_LISTS)?;
                }
                _ => cursor.skip_value()?,
            }
        }
        Ok(())
    }

    fn jaeger_traces(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Syntax> {
        let mut object = cursor.object()?;
        while let Some(key) = cursor.member(&mut object)? {
            match &*key {
                b"data" => {
                    self.elements(cursor, &Frame::jaeger_traces(), &[])?;
                }
                _ => cursor.skip_value()?,
            }
        }
        Ok(())
    }

    /// Sends the elements of an array in pieces, also those before a break.
    fn elements(
        &mut self,
        cursor: &mut Cursor<'a>,
        frame: &Arc<Frame>,
        lists: &[&str],
    ) -> Result<(), Syntax> {
        if cursor.null() {
            return Ok(());
        }
        let mut array = cursor.array()?;
        let mut piece = None;
        let walked = loop {
            match self.element(cursor, &mut array, frame, lists, &mut piece) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(syntax) => break Err(syntax),
            }
        };
        if let Some(piece) = piece {
            self.send(piece, frame, false);
        }
        walked
    }

    /// Adds the next element to the piece, or sends it alone; returns whether there was one.
    fn element(
        &mut self,
        cursor: &mut Cursor<'a>,
        array: &mut Items,
        frame: &Arc<Frame>,
        lists: &[&str],
        piece: &mut Option<Range<usize>>,
    ) -> Result<bool, Syntax> {
        if !cursor.element(array)? {
            return Ok(false);
        }
        cursor.peek();
        let start = cursor.offset();
        let walked = cursor.skip_value();
        let element = start..walked.map_or_else(|syntax| syntax.offset, |()| cursor.offset());
        if walked.is_err() || element.len() > ELEMENT_BYTES_MAX {
            if let Some(piece) = piece.take() {
                self.send(piece, frame, false);
            }
            self.large_element(element, frame, lists, walked.is_err());
            return walked.map(|()| true);
        }
        // Elements with what stands between them are a list again.
        let together = piece.take().map_or(start, |piece| piece.start)..element.end;
        if together.len() < PIECE_BYTES {
            *piece = Some(together);
        } else {
            self.send(together, frame, false);
        }
        Ok(true)
    }

    /// Sends an element that is large or broken, taken apart if it can be.
    fn large_element(
        &mut self,
        element: Range<usize>,
        frame: &Arc<Frame>,
        lists: &[&str],
        is_cut: bool,
    ) {
        let apart = if is_cut { None } else { self.take_apart(&element, frame, lists) };
        let Some((inner_frame, arrays)) = apart else {
            return self.send(element, frame, is_cut);
        };
        let inner_frame = Arc::new(inner_frame);
        for array in arrays {
            let mut cursor = Cursor::new(self.text);
            cursor.jump(array);
            let walked = self.elements(&mut cursor, &inner_frame, &lists[1..]);
            debug_assert!(walked.is_ok(), "the element was walked before");
        }
    }

    /// Finds where the element's lists start, and the frame for their elements: everything else in
    /// the element, once more.
    fn take_apart(
        &self,
        element: &Range<usize>,
        frame: &Frame,
        lists: &[&str],
    ) -> Option<(Frame, Vec<usize>)> {
        let list = lists.first()?;
        let mut cursor = Cursor::new(&self.text[..element.end]);
        cursor.jump(element.start);
        let mut before = [&frame.before[..], b"{"].concat();
        let (mut arrays, mut former) = (Vec::new(), Vec::new());
        let mut object = cursor.object().ok()?;
        while let Some(key) = cursor.member(&mut object).ok()? {
            let is_array = cursor.peek() == Some(b'[');
            let start = cursor.offset();
            cursor.skip_value().ok()?;
            if is_array && is_list(&key, list) {
                arrays.push(start);
                continue;
            }
            if is_array && is_former_list(&key, list) {
                former.push(start);
                continue;
            }
            push_json_string(&mut before, &key);
            before.push(b':');
            before.extend_from_slice(&self.text[start..cursor.offset()]);
            before.push(b',');
        }
        push_json_string(&mut before, list.as_bytes());
        before.extend_from_slice(b":[");
        let after = [b"]}", &frame.after[..]].concat();
        if arrays.is_empty() {
            arrays = former;
        }
        // What is repeated for every piece must be small beside it, and each list makes a piece.
        let is_small = before.len() <= PIECE_BYTES
            && before.len().saturating_mul(arrays.len()) <= ELEMENT_BYTES_MAX;
        is_small.then_some((Frame { before, after, decode: frame.decode }, arrays))
    }

    fn send(&mut self, elements: Range<usize>, frame: &Arc<Frame>, is_cut: bool) {
        let (text, offset) = (&self.text[elements.clone()], elements.start);
        let (value_number, frame) = (self.value_number, Arc::clone(frame));
        self.waiting.push(Elements { text, offset, value_number, frame, is_cut });
        self.waiting_bytes += text.len() + size_of::<Elements<'_>>();
        if self.waiting_bytes >= PIECE_BYTES {
            self.flush();
        }
    }
}

/// The name that `scopeSpans` had before OTLP 0.15; beside those it is to be ignored.
fn is_former_list(key: &[u8], list: &str) -> bool {
    const FORMER: [&[u8]; 2] = [b"instrumentationLibrarySpans", b"instrumentation_library_spans"];
    list == "scopeSpans" && FORMER.contains(&key)
}

/// Field names are lowerCamelCase; those of the proto files are taken too.
fn is_list(key: &[u8], list: &str) -> bool {
    key == list.as_bytes() || (list == "scopeSpans" && key == b"scope_spans")
}
