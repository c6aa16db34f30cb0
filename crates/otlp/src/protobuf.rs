//! From the bytes of an `ExportTraceServiceRequest` to batches (opentelemetry-proto 1.11,
//! trace.proto, common.proto, resource.proto).
//!
//! What the bytes mean where protobuf leaves a choice:
//! - A field that is unknown, or known with another wire type, is skipped; so are the profiling
//!   fields of `AnyValue` and `KeyValue` and the `entity_refs` of a resource.
//! - Of a repeated single field the last counts; a repeated `resource`, `scope` or `status` is
//!   merged, attributes one after the other. Of an attribute's values the last one that is one, of
//!   attributes with the same key the last one.
//! - A span whose own bytes break is refused whole. A resource or scope that breaks keeps what was
//!   read before the break, and so does everything around it.

use std::borrow::Cow;

use crate::attributes::{Attributes, kind};
use crate::batch::{Batch, Common};
use crate::builder::Builder;
use crate::draft::{Id, Refusal, Repairs};
use crate::rejected::{Reason, Repair};
use crate::values::{
    NESTING_MAX, is_utf8, push_base64, push_bool, push_double, push_int, push_json_bytes,
    push_json_double, push_json_key, push_json_string,
};
use crate::wire::{Broken, Bytes, Field, Reader};

/// The first place where the outer framing broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Break {
    pub(crate) offset: usize,
    pub(crate) expected: &'static str,
}

/// Reads a request. Returns the first break in its framing; what is readable behind it is taken.
pub(crate) fn read_request(message: &[u8], builder: &mut Builder) -> Option<Break> {
    let mut first = None;
    let request = Bytes { bytes: message, offset: 0 };
    each_message(request, &mut first, |number, part, first, _| {
        if number == 1 {
            read_resource_spans(part, builder, first);
        }
    });
    first
}

/// `instrumentation_library_spans`, as `scope_spans` were called before OTLP 0.15: for some
/// releases they had this number, which stays reserved. Behind `scope_spans` they are ignored.
const LIBRARY_SPANS: u32 = 1000;

fn read_resource_spans(part: Bytes<'_>, builder: &mut Builder, first: &mut Option<Break>) {
    let mut has_scopes = false;
    builder.open_resource();
    each_message(part, first, |number, part, first, _| match number {
        1 => read_resource(part, &mut builder.resource),
        2 => {
            has_scopes = true;
            read_scope_spans(part, builder, first);
        }
        LIBRARY_SPANS if !has_scopes => read_scope_spans(part, builder, first),
        3 => replace_text(&mut builder.resource, part, |resource| &mut resource.schema_url),
        _ => {}
    });
    builder.close_resource();
}

fn read_scope_spans(part: Bytes<'_>, builder: &mut Builder, first: &mut Option<Break>) {
    builder.open_scope();
    each_message(part, first, |number, part, _, is_cut| match number {
        1 => read_scope(part, &mut builder.scope),
        2 => {
            let offset = part.offset;
            let read = if is_cut { malformed(offset) } else { read_span(part, builder.batch()) };
            builder.end_span(read, offset);
        }
        3 => replace_text(&mut builder.scope, part, |scope| &mut scope.schema_url),
        _ => {}
    });
    builder.close_scope();
}

/// Calls `read` with each length-delimited field, and with one that is cut off, with word of it.
/// Notes where the framing breaks, unless it broke before.
fn each_message<'a>(
    message: Bytes<'a>,
    first: &mut Option<Break>,
    mut read: impl FnMut(u32, Bytes<'a>, &mut Option<Break>, bool),
) {
    let mut reader = Reader::new(message);
    loop {
        match reader.next() {
            Ok(Some((number, Field::Bytes(part)))) => read(number, part, first, false),
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(Broken { offset, expected, cut }) => {
                first.get_or_insert(Break { offset, expected });
                if let Some((number, part)) = cut {
                    read(number, part, first, true);
                }
                return;
            }
        }
    }
}

fn read_resource(part: Bytes<'_>, resource: &mut Common) {
    let read = each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Bytes(part)) => read_common_attribute(part, resource),
            (2, Field::Varint(count)) => resource.dropped_attributes_count = count as u32,
            _ => {}
        }
        Ok(())
    });
    resource.repairs.note_if(read.is_err(), Repair::Item);
}

fn read_scope(part: Bytes<'_>, scope: &mut Common) {
    let read = each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Bytes(part)) => replace_text(scope, part, |scope| &mut scope.name),
            (2, Field::Bytes(part)) => replace_text(scope, part, |scope| &mut scope.version),
            (3, Field::Bytes(part)) => read_common_attribute(part, scope),
            (4, Field::Varint(count)) => scope.dropped_attributes_count = count as u32,
            _ => {}
        }
        Ok(())
    });
    scope.repairs.note_if(read.is_err(), Repair::Item);
}

/// Reads an attribute of a resource or scope; one that is broken is left out.
fn read_common_attribute(part: Bytes<'_>, common: &mut Common) {
    let read = read_attribute(part, &mut common.attributes, &mut common.repairs);
    if read.is_err() {
        common.attributes.reopen();
        common.repairs.note(Repair::Item);
    }
}

fn replace_text(common: &mut Common, part: Bytes<'_>, place: fn(&mut Common) -> &mut Vec<u8>) {
    let text = lossy(part.bytes, &mut common.repairs);
    let place = place(common);
    place.clear();
    place.extend_from_slice(&text);
}

fn read_span(part: Bytes<'_>, batch: &mut Batch) -> Result<(), Refusal> {
    each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Bytes(id)) => batch.draft.trace_id = Id::from_bytes(id.bytes),
            (2, Field::Bytes(id)) => batch.draft.span_id = Id::from_bytes(id.bytes),
            (3, Field::Bytes(text)) => batch.draft.trace_state = put_text(batch, text),
            (4, Field::Bytes(id)) => batch.draft.parent_span_id = Id::from_bytes(id.bytes),
            (5, Field::Bytes(text)) => batch.draft.name = put_text(batch, text),
            (6, Field::Varint(kind)) => batch.draft.kind = kind as i32,
            (7, Field::Fixed64(time)) => batch.draft.start_time_unix_nano = nanos(time, part)?,
            (8, Field::Fixed64(time)) => batch.draft.end_time_unix_nano = nanos(time, part)?,
            (9, Field::Bytes(attribute)) => {
                read_attribute(attribute, &mut batch.attributes, &mut batch.draft.repairs)?;
            }
            (10, Field::Varint(count)) => batch.draft.dropped_attributes_count = count as u32,
            (11, Field::Bytes(event)) => read_event(event, batch)?,
            (12, Field::Varint(count)) => batch.draft.dropped_events_count = count as u32,
            (13, Field::Bytes(link)) => read_link(link, batch)?,
            (14, Field::Varint(count)) => batch.draft.dropped_links_count = count as u32,
            (15, Field::Bytes(status)) => read_status(status, batch)?,
            (16, Field::Fixed32(flags)) => batch.draft.flags = flags,
            _ => {}
        }
        Ok(())
    })
}

fn read_status(part: Bytes<'_>, batch: &mut Batch) -> Result<(), Refusal> {
    each_field(part, |number, field| {
        match (number, field) {
            (2, Field::Bytes(text)) => batch.draft.status_message = put_text(batch, text),
            (3, Field::Varint(code)) => batch.draft.status_code = code as i32,
            _ => {}
        }
        Ok(())
    })
}

fn read_event(part: Bytes<'_>, batch: &mut Batch) -> Result<(), Refusal> {
    let (events, repairs) = batch.events();
    let (mut time, mut dropped) = (0, 0);
    each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Fixed64(nano)) => time = nanos(nano, part)?,
            (2, Field::Bytes(text)) => {
                events.names.reopen();
                events.names.bytes.extend_from_slice(&lossy(text.bytes, repairs));
            }
            (3, Field::Bytes(attribute)) => {
                read_attribute(attribute, &mut events.attributes, repairs)?;
            }
            (4, Field::Varint(count)) => dropped = count as u32,
            _ => {}
        }
        Ok(())
    })?;
    repairs.note_if(events.attributes.keep_last_of_each_key(), Repair::Key);
    events.close(time, dropped);
    Ok(())
}

fn read_link(part: Bytes<'_>, batch: &mut Batch) -> Result<(), Refusal> {
    let (links, repairs) = batch.links();
    let (mut trace_id, mut span_id) = (Id::Absent, Id::Absent);
    let (mut flags, mut dropped) = (0, 0);
    each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Bytes(id)) => trace_id = Id::from_bytes(id.bytes),
            (2, Field::Bytes(id)) => span_id = Id::from_bytes(id.bytes),
            (3, Field::Bytes(text)) => {
                links.trace_states.reopen();
                links.trace_states.bytes.extend_from_slice(&lossy(text.bytes, repairs));
            }
            (4, Field::Bytes(attribute)) => {
                read_attribute(attribute, &mut links.attributes, repairs)?;
            }
            (5, Field::Varint(count)) => dropped = count as u32,
            (6, Field::Fixed32(bits)) => flags = bits,
            _ => {}
        }
        Ok(())
    })?;
    repairs.note_if(links.attributes.keep_last_of_each_key(), Repair::Key);
    let closed = links.close(trace_id, span_id, flags, dropped);
    repairs.note_if(!closed, Repair::Item);
    Ok(())
}

/// Reads a `KeyValue` to the end of `attributes`. After a refusal it is not closed.
fn read_attribute(
    part: Bytes<'_>,
    attributes: &mut Attributes,
    repairs: &mut Repairs,
) -> Result<(), Refusal> {
    let mut kind = kind::NONE;
    each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Bytes(key)) => {
                attributes.keys.reopen();
                attributes.keys.bytes.extend_from_slice(&lossy(key.bytes, repairs));
            }
            (2, Field::Bytes(value)) => {
                let start = attributes.values.start(attributes.values.len());
                let found = read_value(value, &mut attributes.values.bytes, start, repairs)?;
                kind = found.unwrap_or(kind);
            }
            _ => {}
        }
        Ok(())
    })?;
    attributes.close(kind);
    Ok(())
}

/// Reads an `AnyValue` as text to `out` from `start` on. Returns its kind, if it has a value.
fn read_value(
    part: Bytes<'_>,
    out: &mut Vec<u8>,
    start: usize,
    repairs: &mut Repairs,
) -> Result<Option<u8>, Refusal> {
    let mut kind = None;
    each_field(part, |number, field| {
        let Some(found) = kind_of(number, field) else { return Ok(()) };
        kind = Some(found);
        out.truncate(start);
        match field {
            Field::Varint(value) if found == kind::BOOL => push_bool(out, value != 0),
            Field::Varint(value) => push_int(out, value as i64),
            Field::Fixed64(bits) => push_double(out, f64::from_bits(bits)),
            Field::Fixed32(_) => {}
            Field::Bytes(part) => match found {
                kind::ARRAY => read_array(part, out, 1, repairs)?,
                kind::KVLIST => read_kvlist(part, out, 1, repairs)?,
                kind::BYTES => push_base64(out, part.bytes),
                _ => out.extend_from_slice(&lossy(part.bytes, repairs)),
            },
        }
        Ok(())
    })?;
    Ok(kind)
}

/// The kind of value that a field of `AnyValue` holds.
fn kind_of(number: u32, field: Field<'_>) -> Option<u8> {
    match (number, field) {
        (1, Field::Bytes(_)) => Some(kind::STRING),
        (2, Field::Varint(_)) => Some(kind::BOOL),
        (3, Field::Varint(_)) => Some(kind::INT),
        (4, Field::Fixed64(_)) => Some(kind::DOUBLE),
        (5, Field::Bytes(_)) => Some(kind::ARRAY),
        (6, Field::Bytes(_)) => Some(kind::KVLIST),
        (7, Field::Bytes(_)) => Some(kind::BYTES),
        _ => None,
    }
}

/// Appends an `AnyValue` inside an array or list, as JSON.
fn read_nested(
    part: Bytes<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Refusal> {
    let start = out.len();
    out.extend_from_slice(b"null");
    each_field(part, |number, field| {
        let Some(found) = kind_of(number, field) else { return Ok(()) };
        out.truncate(start);
        match field {
            Field::Varint(value) if found == kind::BOOL => push_bool(out, value != 0),
            Field::Varint(value) => push_int(out, value as i64),
            Field::Fixed64(bits) => push_json_double(out, f64::from_bits(bits)),
            Field::Fixed32(_) => {}
            Field::Bytes(part) => match found {
                kind::ARRAY | kind::KVLIST if depth == NESTING_MAX => {
                    repairs.note(Repair::Value);
                    out.extend_from_slice(b"null");
                }
                kind::ARRAY => read_array(part, out, depth + 1, repairs)?,
                kind::KVLIST => read_kvlist(part, out, depth + 1, repairs)?,
                kind::BYTES => push_json_bytes(out, part.bytes),
                _ => push_json_string(out, &lossy(part.bytes, repairs)),
            },
        }
        Ok(())
    })
}

fn read_array(
    part: Bytes<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Refusal> {
    out.push(b'[');
    let start = out.len();
    each_field(part, |number, field| {
        if let (1, Field::Bytes(value)) = (number, field) {
            separate(out, start);
            read_nested(value, out, depth, repairs)?;
        }
        Ok(())
    })?;
    out.push(b']');
    Ok(())
}

fn read_kvlist(
    part: Bytes<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Refusal> {
    out.push(b'{');
    let start = out.len();
    each_field(part, |number, field| {
        if let (1, Field::Bytes(entry)) = (number, field) {
            separate(out, start);
            read_entry(entry, out, depth, repairs)?;
        }
        Ok(())
    })?;
    out.push(b'}');
    Ok(())
}

/// Appends a `KeyValue` inside a list. The key may stand behind the value.
fn read_entry(
    part: Bytes<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Refusal> {
    let (mut key, mut value) = (&[][..], None);
    each_field(part, |number, field| {
        match (number, field) {
            (1, Field::Bytes(part)) => key = part.bytes,
            (2, Field::Bytes(part)) => value = Some(part),
            _ => {}
        }
        Ok(())
    })?;
    push_json_key(out, &lossy(key, repairs));
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    read_nested(value, out, depth, repairs)
}

/// Appends a comma, unless nothing was written since `start`.
fn separate(out: &mut Vec<u8>, start: usize) {
    if out.len() > start {
        out.push(b',');
    }
}

/// Calls `read` with every field of a message inside a span, resource or scope.
#[inline]
fn each_field<'a>(
    part: Bytes<'a>,
    mut read: impl FnMut(u32, Field<'a>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut reader = Reader::new(part);
    loop {
        match reader.next() {
            Ok(Some((number, field))) => read(number, field)?,
            Ok(None) => return Ok(()),
            Err(broken) => return malformed(broken.offset),
        }
    }
}

fn malformed(offset: usize) -> Result<(), Refusal> {
    Err(Refusal { reason: Reason::Malformed, offset })
}

fn nanos(time: u64, part: Bytes<'_>) -> Result<i64, Refusal> {
    i64::try_from(time).map_err(|_| Refusal { reason: Reason::Time, offset: part.offset })
}

#[inline]
fn put_text(batch: &mut Batch, text: Bytes<'_>) -> u128 {
    let text = lossy(text.bytes, &mut batch.draft.repairs);
    batch.arena.put_again(&text)
}

/// Returns the text, with U+FFFD in place of what is not UTF-8.
#[inline]
fn lossy<'a>(bytes: &'a [u8], repairs: &mut Repairs) -> Cow<'a, [u8]> {
    if is_utf8(bytes) {
        return Cow::Borrowed(bytes);
    }
    repairs.note(Repair::Text);
    Cow::Owned(String::from_utf8_lossy(bytes).into_owned().into_bytes())
}
