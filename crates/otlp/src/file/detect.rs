//! What kind of content a file starts with.
//!
//! JSON starts like JSON. OTLP protobuf has no magic number, but the first bytes of a message agree
//! with the proto files three levels deep, which no text and no other binary format does by chance.
//! Everything else is named, as far as it is known.

use crate::Signal;
use crate::wire::{Bytes, Field, Reader};

use super::FileError;
use super::chunks::Framing;
use super::source::is_compressed;

/// How much of the content is looked at.
pub(crate) const HEAD_BYTES: usize = 64 << 10;

/// What to decode the content as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// JSON that starts at this byte, behind a byte order mark, white space or lines of other text.
    Json {
        start: usize,
    },
    Protobuf(Framing),
}

/// Tells the content from its first bytes.
pub(crate) fn content(head: &[u8]) -> Result<Content, FileError> {
    if let Some(start) = json_start(head) {
        return Ok(Content::Json { start });
    }
    if without_mark(head).trim_ascii().is_empty() {
        return Err(FileError::Empty);
    }
    if let Some(framing) = protobuf_framing(head) {
        return Ok(Content::Protobuf(framing));
    }
    Err(foreign(head))
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// How many bytes of JSON must be free of control characters, which protobuf is full of.
const CLEAN_BYTES: usize = 64;

fn json_start(head: &[u8]) -> Option<usize> {
    let mark = head.len() - without_mark(head).len();
    let start = mark + white_space(&head[mark..]);
    if starts_json(&head[start..]) {
        return Some(start);
    }
    // A few lines of a log before the first message are no reason to refuse the rest.
    let is_text = head.len() - mark > 0 && is_text(&head[mark..]);
    let line = memchr::memmem::find(head, b"\n{\"resource").filter(|_| is_text)?;
    (!head.starts_with(b"<")).then_some(line + 1)
}

fn white_space(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// An object or array whose first item, if we see one, can be one.
fn starts_json(text: &[u8]) -> bool {
    let Some((bracket, rest)) = text.split_first() else { return false };
    let first = rest.get(white_space(rest));
    let fits = match bracket {
        b'{' => first.is_none_or(|byte| matches!(byte, b'"' | b'}')),
        b'[' => first.is_none_or(|byte| matches!(byte, b'{' | b'[' | b']')),
        _ => false,
    };
    let is_clean = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    fits && text.iter().take(CLEAN_BYTES).all(is_clean)
}

/// UTF-8 without control characters; the head may cut its last character.
fn is_text(head: &[u8]) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    let is_control = |c: char| c.is_ascii_control() && !c.is_ascii_whitespace() && c != '\u{1b}';
    !valid.contains(is_control)
}

fn protobuf_framing(head: &[u8]) -> Option<Framing> {
    let framings = [Framing::BigEndian, Framing::Varint, Framing::Fields];
    framings.into_iter().find(|framing| {
        // As the first byte of four this would be a length of over 160 MiB; it is a field's tag.
        let is_tag = *framing == Framing::BigEndian && head.first() >= Some(&RESOURCE_SPANS);
        let message = first_message(head, *framing);
        !is_tag && !message.bytes.is_empty() && request(message)
    })
}

/// The first message that is not empty, as far as it is in the head.
#[derive(Debug, Clone, Copy)]
struct Head<'a> {
    bytes: &'a [u8],
    /// The length that the message claims, and no more than the head has where that is all.
    length: usize,
}

fn first_message(head: &[u8], framing: Framing) -> Head<'_> {
    let mut rest = head;
    loop {
        let (prefix, length) = match framing.prefix(rest) {
            Some(prefix) if prefix.length != Some(0) => (prefix.bytes, prefix.length),
            Some(prefix) => {
                rest = &rest[prefix.bytes..];
                continue;
            }
            None => (rest.len(), Some(0)),
        };
        let bytes = &rest[prefix..];
        let length = length.unwrap_or(usize::MAX);
        return Head { bytes: &bytes[..bytes.len().min(length)], length };
    }
}

const RESOURCE_SPANS: u8 = 0x0a;

/// A tag of the fields looked at, and a length.
const TAG_BYTES_MAX: usize = 11;

impl<'a> Head<'a> {
    /// Enters the length-delimited field that starts here, if it lies within this message; also
    /// returns what is behind it.
    fn enter(self) -> Option<(Head<'a>, Head<'a>)> {
        let (length, length_bytes) = varint(self.bytes.get(1..)?)?;
        let start = 1 + length_bytes;
        let length = usize::try_from(length).ok()?;
        let behind = self.length.checked_sub(start.checked_add(length)?)?;
        let rest = &self.bytes[start..];
        let (inner, after) = rest.split_at(rest.len().min(length));
        Some((Head { bytes: inner, length }, Head { bytes: after, length: behind }))
    }

    /// Returns whether so little of the message is in the head that its first tag and length may
    /// not be.
    fn is_cut_in_tag(self) -> bool {
        self.bytes.len() < TAG_BYTES_MAX && self.length > self.bytes.len()
    }

    /// Returns whether this is empty, or starts with a tag that `is_known` takes with its content.
    fn starts(self, is_known: impl Fn(u8, Head<'_>) -> bool) -> bool {
        match self.bytes.first() {
            None => true,
            Some(_) if self.is_cut_in_tag() => true,
            Some(tag) => self.enter().is_some_and(|(inner, _)| is_known(*tag, inner)),
        }
    }
}

/// `ExportTraceServiceRequest`, and the same of logs and metrics: their outer levels are alike
/// (`trace_service.proto`, `trace.proto`). All of its fields must add up: a wrong length in front
/// of it, of another framing, comes to light where they end.
fn request(mut message: Head<'_>) -> bool {
    while !message.bytes.is_empty() {
        let tag = message.bytes.first();
        match message.enter() {
            Some((inner, rest)) if tag == Some(&RESOURCE_SPANS) && resource_spans(inner) => {
                message = rest;
            }
            _ => return tag == Some(&RESOURCE_SPANS) && message.is_cut_in_tag(),
        }
    }
    true
}

/// `ResourceSpans`: a resource, scope spans, or a schema URL comes first.
fn resource_spans(message: Head<'_>) -> bool {
    message.starts(|tag, inner| match tag {
        0x0a => resource(inner),
        0x12 => scope_spans(inner),
        0x1a => is_text(inner.bytes),
        _ => false,
    })
}

/// `Resource`: attributes or entity references come first, or their dropped count, a varint.
fn resource(message: Head<'_>) -> bool {
    message.bytes.first() == Some(&0x10)
        || message.starts(|tag, inner| match tag {
            0x0a => key_value(inner),
            0x1a => true,
            _ => false,
        })
}

fn key_value(message: Head<'_>) -> bool {
    message.starts(|tag, inner| match tag {
        0x0a => is_text(inner.bytes),
        0x12 => true,
        _ => false,
    })
}

/// `ScopeSpans`: a scope, a span or a schema URL comes first.
fn scope_spans(message: Head<'_>) -> bool {
    message.starts(|tag, inner| match tag {
        0x0a => inner.starts(|tag, _| matches!(tag, 0x0a | 0x12 | 0x1a)),
        0x12 => true,
        0x1a => is_text(inner.bytes),
        _ => false,
    })
}

/// Reads a varint and how many bytes it takes.
pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (number, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * number);
        if *byte < 0x80 {
            return Some((value, number + 1));
        }
    }
    None
}

/// Returns what a message holds in place of spans. Logs and metrics have the outer levels of
/// traces; the first record tells.
pub(crate) fn other_signal(message: &[u8]) -> Option<Signal> {
    let resource_spans = length_delimited(message, 1)?;
    let scope_spans = length_delimited(resource_spans, 2)?;
    let record = length_delimited(scope_spans, 2)?;
    match *record {
        // LogRecord: a time, a severity, an observed time (logs.proto).
        [0x09 | 0x10 | 0x59, ..] => Some(Signal::Logs),
        // Span: a trace id of 16 bytes, then mostly a span id of 8 (trace.proto).
        [0x0a, 16, ..] if record.get(18).is_none_or(|tag| *tag == 0x12) => None,
        // Metric: a name (metrics.proto).
        [0x0a, length, ref rest @ ..] if (1..0x80).contains(&length) => {
            let name = rest.get(..usize::from(length))?;
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-/".contains(byte);
            name.iter().all(is_name).then_some(Signal::Metrics)
        }
        _ => None,
    }
}

/// Returns the first field of that number, as far as it is there.
fn length_delimited(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(Bytes { bytes: message, offset: 0 });
    loop {
        match reader.next() {
            Ok(Some((found, Field::Bytes(field)))) if found == number => return Some(field.bytes),
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(broken) => {
                return broken.cut.filter(|cut| cut.0 == number).map(|cut| cut.1.bytes);
            }
        }
    }
}

/// A format that we know and do not read: how it starts, its name, what to do.
type Known = (&'static [u8], &'static str, Option<&'static str>);

const DECOMPRESS: Option<&str> = Some("decompress it first, or compress with gzip or zstd");
const EXPORT: Option<&str> = Some("export the traces as OTLP JSON first");

const KNOWN: &[Known] = &[
    (b"PAR1", "Parquet", Some("not supported yet: pass OTLP JSON or protobuf")),
    (b"ARROW1", "an Arrow file", EXPORT),
    (b"Obj\x01", "Avro", EXPORT),
    (b"SQLite format 3", "an SQLite database", EXPORT),
    (b"BZh", "bzip2 data", DECOMPRESS),
    (b"\xfd7zXZ\0", "xz data", DECOMPRESS),
    (b"\x04\x22\x4d\x18", "lz4 data", DECOMPRESS),
    (b"PK\x03\x04", "a ZIP archive", Some("unpack it and pass the files in it")),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", Some("unpack it and pass the files in it")),
    (b"\xff\xfe", "UTF-16 text", Some("convert it to UTF-8 first")),
    (b"\xfe\xff", "UTF-16 text", Some("convert it to UTF-8 first")),
    (b"\x89PNG", "a PNG image", None),
    (b"\xff\xd8\xff", "a JPEG image", None),
    (b"GIF8", "a GIF image", None),
    (b"%PDF", "a PDF document", None),
    (b"\x7fELF", "a program", None),
    (b"\x80\x02", "a Python pickle", EXPORT),
    (b"\x80\x03", "a Python pickle", EXPORT),
    (b"\x80\x04", "a Python pickle", EXPORT),
    (b"\x80\x05", "a Python pickle", EXPORT),
    (b"<!DOCTYPE", "HTML", Some("it may be an error page in place of the download")),
    (b"<html", "HTML", Some("it may be an error page in place of the download")),
    (b"<", "XML or HTML", None),
];

fn foreign(head: &[u8]) -> FileError {
    let hint = |hint: Option<&str>| hint.map(str::to_owned);
    let head = without_mark(head);
    if is_compressed(head) {
        let found = "data that is compressed twice".to_owned();
        return FileError::Foreign { found, hint: hint(Some("decompress it once first")) };
    }
    let text_start = white_space(head);
    let starts = |magic: &[u8]| {
        let from = if magic[0] == b'<' { text_start } else { 0 };
        head.get(from..from + magic.len()).is_some_and(|start| start.eq_ignore_ascii_case(magic))
    };
    if let Some((_, name, todo)) = KNOWN.iter().find(|known| starts(known.0)) {
        return FileError::Foreign { found: (*name).to_owned(), hint: hint(*todo) };
    }
    if is_tar(head) {
        let found = "a tar archive".to_owned();
        return FileError::Foreign {
            found,
            hint: hint(Some("unpack it and pass the files in it")),
        };
    }
    if is_jaeger_protobuf(head) {
        let found = "Jaeger protobuf".to_owned();
        let todo = "export the traces as Jaeger JSON (`/api/traces`) or OTLP instead";
        return FileError::Foreign { found, hint: hint(Some(todo)) };
    }
    let found = if is_text(head) {
        let line = String::from_utf8_lossy(&head[text_start..]);
        let line: String = line.lines().next().unwrap_or_default().chars().take(40).collect();
        format!("text, starting with `{}`", line.escape_debug())
    } else {
        let start: Vec<String> = head.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("unknown binary data, starting with the bytes {}", start.join(" "))
    };
    FileError::Foreign { found, hint: None }
}

/// POSIX.1-1988, "ustar" header: the magic stands at byte 257.
fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

/// Jaeger's `Batch`, or a row of `Span`s with their lengths (jaeger-idl, `api_v2/model.proto`): a
/// trace id of 16 bytes as field 1, a span id of 8 as field 2.
fn is_jaeger_protobuf(head: &[u8]) -> bool {
    let is_span = |at: usize| {
        head.get(at..at + 2) == Some(&[0x0a, 16]) && head.get(at + 18..at + 20) == Some(&[0x12, 8])
    };
    (0..12).any(is_span)
}
