//! What kind of content a file starts with.
//!
//! JSON starts like JSON. OTLP protobuf has no magic number, but the first bytes of a message agree
//! with the proto files three levels deep in one place at least, which no text and no other binary
//! format does by chance.
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

/// What stands before each record of a JSON text sequence (RFC 7464): it is passed by.
pub(crate) const RECORD_MARK: u8 = 0x1e;

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
    bytes.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == RECORD_MARK).count()
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
    let is_clean =
        |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace() || *byte == RECORD_MARK;
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

/// A length that fits what is there speaks for its framing; one that reaches behind the end of the
/// content could be the tag of a field as well.
fn protobuf_framing(head: &[u8]) -> Option<Framing> {
    let is_whole_content = head.len() < HEAD_BYTES;
    let fits = |framing| !(is_whole_content && first_message(head, framing).is_cut());
    let delimited = [Framing::BigEndian, Framing::Varint];
    let (fitting, reaching): (Vec<_>, Vec<_>) = delimited.into_iter().partition(|f| fits(*f));
    let framings = fitting.into_iter().chain([Framing::Fields]).chain(reaching);
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

/// The tag of a request's first field.
const RESOURCE_SPANS: u8 = 0x0a;

/// A field of a message: its number, and its content if that is length-delimited.
type HeadField<'a> = (u64, Option<Head<'a>>);

/// The bytes are no fields of a message.
#[derive(Debug)]
struct NoMessage;

impl<'a> Head<'a> {
    /// Returns whether the message goes on behind the bytes that are there.
    fn is_cut(self) -> bool {
        self.bytes.len() < self.length
    }

    /// Takes the next field off. `None` where the message ends, or the part of it that is there.
    /// The tags around a group count as fields, so that what is in it is stepped over too.
    fn next(&mut self) -> Result<Option<HeadField<'a>>, NoMessage> {
        let Some((tag, tag_bytes)) = self.varint_at(0)? else { return Ok(None) };
        let (number, wire_type) = (tag >> 3, tag & 7);
        let (start, length) = match wire_type {
            0 | 2 => {
                let Some((value, bytes)) = self.varint_at(tag_bytes)? else { return Ok(None) };
                let length = if wire_type == 2 { value } else { 0 };
                (tag_bytes + bytes, usize::try_from(length).map_err(|_| NoMessage)?)
            }
            1 => (tag_bytes, 8),
            5 => (tag_bytes, 4),
            3 | 4 => (tag_bytes, 0),
            _ => return Err(NoMessage),
        };
        let behind = start.checked_add(length).and_then(|end| self.length.checked_sub(end));
        let (Some(behind), 1..) = (behind, number) else { return Err(NoMessage) };
        let rest = &self.bytes[start..];
        let (content, after) = rest.split_at(rest.len().min(length));
        *self = Head { bytes: after, length: behind };
        Ok(Some((number, (wire_type == 2).then_some(Head { bytes: content, length }))))
    }

    /// Reads the varint at `at`; `None` where the message ends before it, or is not there.
    fn varint_at(self, at: usize) -> Result<Option<(u64, usize)>, NoMessage> {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        match varint(bytes) {
            Some(found) => Ok(Some(found)),
            None if bytes.len() < 10 && self.is_cut() => Ok(None),
            None if at == 0 && bytes.is_empty() => Ok(None),
            None => Err(NoMessage),
        }
    }

    /// Returns whether `is_sought` is true of a field with content, up to where the fields break.
    fn any(mut self, is_sought: impl Fn(u64, Head<'_>) -> bool) -> bool {
        while let Ok(Some((number, content))) = self.next() {
            if content.is_some_and(|content| is_sought(number, content)) {
                return true;
            }
        }
        false
    }

    /// Returns whether the fields add up and `is_known` is true of all of them.
    fn all(mut self, is_known: impl Fn(u64, Option<Head<'_>>) -> bool) -> bool {
        loop {
            match self.next() {
                Ok(Some((number, content))) if is_known(number, content) => {}
                Ok(None) => return true,
                Ok(Some(_)) | Err(NoMessage) => return false,
            }
        }
    }
}

/// `ExportTraceServiceRequest`, and the same of logs and metrics: their outer levels are alike
/// (`trace_service.proto`, `trace.proto`). All of its fields must add up: a wrong length in front
/// of it, of another framing, comes to light where they end. Fields that we do not know may come
/// first on every level; then one attribute, scope or span must be found in its place.
fn request(message: Head<'_>) -> bool {
    let is_proof = |number, content: Head<'_>| number == 1 && content.any(is_in_resource_spans);
    let is_blank = |number, content: Option<Head<'_>>| {
        number == 1 && content.is_some_and(|content| content.all(is_blank_in_resource_spans))
    };
    let has_proof = message.any(is_proof) || other_signal(message.bytes).is_some();
    if has_proof {
        message.all(|_, _| true)
    } else {
        message.any(|_, _| true) && message.all(is_blank)
    }
}

/// A `Resource` with an attribute, or `ScopeSpans` with a scope or a span.
fn is_in_resource_spans(number: u64, content: Head<'_>) -> bool {
    match number {
        1 => content.any(|number, attribute| number == 1 && is_key_value(attribute)),
        2 | 1000 => content.any(|number, content| match number {
            1 => is_scope(content),
            2 => is_span(content),
            _ => false,
        }),
        _ => false,
    }
}

/// `ResourceSpans` without spans: nothing in it but empty messages and a schema URL.
fn is_blank_in_resource_spans(number: u64, content: Option<Head<'_>>) -> bool {
    content.is_some_and(|content| match number {
        1 | 2 => content.length == 0,
        3 => is_text(content.bytes),
        _ => false,
    })
}

/// A key, in whatever bytes, and a value of one of the types of `AnyValue`.
fn is_key_value(attribute: Head<'_>) -> bool {
    let is_value = |number, content: Option<Head<'_>>| {
        matches!(number, 1..=8) && (content.is_some() == matches!(number, 1 | 5..=7))
    };
    attribute.any(|number, key| number == 1 && key.length > 0)
        && attribute.any(|number, value| number == 2 && value.all(is_value))
}

fn is_scope(scope: Head<'_>) -> bool {
    scope.any(|number, name| number == 1 && name.length > 0 && is_text(name.bytes))
}

fn is_span(span: Head<'_>) -> bool {
    span.any(|number, id| number == 1 && id.length == 16)
        && span.any(|number, id| number == 2 && id.length == 8)
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

/// Jaeger's `Span`, or a `Batch` of them, perhaps behind its length (jaeger-idl,
/// `api_v2/model.proto`): a trace id of 16 bytes as field 1, a span id of 8 as field 2.
fn is_jaeger_protobuf(head: &[u8]) -> bool {
    let is_span =
        |span: &[u8]| span.starts_with(&[0x0a, 16]) && span.get(18..20) == Some(&[0x12, 8]);
    let behind_length = |bytes: &'_ [u8]| varint(bytes).map_or(bytes.len(), |(_, length)| length);
    let is_batch = |batch: &[u8]| {
        batch.strip_prefix(&[0x0a]).is_some_and(|rest| is_span(&rest[behind_length(rest)..]))
    };
    let behind = &head[behind_length(head)..];
    [head, behind].into_iter().any(|message| is_span(message) || is_batch(message))
}
