//! From an OTLP JSON object to batches (OTLP 1.11, "JSON Protobuf Encoding").
//!
//! What the text means where it leaves a choice:
//! - Field names are lowerCamelCase; the names of the proto files are taken too. Unknown fields are
//!   skipped, `null` is as good as absent, and of a repeated field the last counts; only the lists
//!   `resourceSpans`, `scopeSpans` and `spans` add up.
//! - Of attributes with the same key the last one counts.
//! - `instrumentationLibrarySpans`, as `scopeSpans` were called before OTLP 0.15, are the same;
//!   behind `scopeSpans` they repeat those and are skipped.
//! - Integers are numbers or strings, enums numbers or names, ids hex digits of either case.
//! - A value of a wrong type costs its span. In a resource or scope the attribute, or the field, is
//!   left out.

use crate::attributes::{Attributes, kind};
use crate::batch::{Batch, Common};
use crate::builder::Builder;
use crate::decoder::Signal;
use crate::draft::{Id, KINDS, Refusal, Repairs, STATUS_CODES};
use crate::json::{Cursor, END_EXPECTED, Items, Raw, Scalar, Syntax, unescape};
use crate::rejected::{Reason, Repair};
use crate::values::{
    NESTING_MAX, parse_base64, parse_decimal, parse_double, push_base64, push_bool, push_double,
    push_int, push_json_bytes, push_json_double, push_json_key, push_json_string,
};

/// What a document held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) has_traces: bool,
    pub(crate) other: Option<Signal>,
}

/// Why reading stops: the text is not JSON, or the span is refused.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Syntax(Syntax),
    Refused(Refusal),
}

impl From<Syntax> for Fault {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

/// Reads one object, and nothing behind it.
pub(crate) fn read_request(text: &[u8], builder: &mut Builder) -> Result<Contents, Syntax> {
    let mut cursor = Cursor::new(text);
    let mut contents = Contents::default();
    let mut object = cursor.object()?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"resourceSpans" | b"resource_spans" => {
                contents.has_traces = true;
                each_element(&mut cursor, |cursor| read_resource_spans(cursor, builder))?;
                continue;
            }
            b"resourceLogs" | b"resource_logs" => contents.other = Some(Signal::Logs),
            b"resourceMetrics" | b"resource_metrics" => contents.other = Some(Signal::Metrics),
            b"resourceProfiles" | b"resource_profiles" => contents.other = Some(Signal::Profiles),
            _ => {}
        }
        cursor.skip_value()?;
    }
    if !cursor.at_end() {
        return cursor.expected(END_EXPECTED);
    }
    Ok(contents)
}

/// Calls `read` at each element of an array; `null` has none.
fn each_element<E: From<Syntax>>(
    cursor: &mut Cursor<'_>,
    mut read: impl FnMut(&mut Cursor<'_>) -> Result<(), E>,
) -> Result<(), E> {
    if cursor.null() {
        return Ok(());
    }
    let mut array = cursor.array()?;
    while cursor.element(&mut array)? {
        read(cursor)?;
    }
    Ok(())
}

fn read_resource_spans(cursor: &mut Cursor<'_>, builder: &mut Builder) -> Result<(), Syntax> {
    builder.open_resource();
    let read = read_resource_members(cursor, builder);
    builder.close_resource();
    read
}

fn read_resource_members(cursor: &mut Cursor<'_>, builder: &mut Builder) -> Result<(), Syntax> {
    let mut has_scopes = false;
    let mut object = cursor.object()?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"resource" => read_resource(cursor, &mut builder.resource)?,
            b"scopeSpans" | b"scope_spans" => {
                has_scopes = true;
                each_element(cursor, |cursor| read_scope_spans(cursor, builder))?;
            }
            b"instrumentationLibrarySpans" | b"instrumentation_library_spans" if !has_scopes => {
                each_element(cursor, |cursor| read_scope_spans(cursor, builder))?;
            }
            b"schemaUrl" | b"schema_url" => {
                replace_text(cursor, &mut builder.resource, |resource| &mut resource.schema_url)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    Ok(())
}

fn read_scope_spans(cursor: &mut Cursor<'_>, builder: &mut Builder) -> Result<(), Syntax> {
    builder.open_scope();
    let read = read_scope_members(cursor, builder);
    builder.close_scope();
    read
}

fn read_scope_members(cursor: &mut Cursor<'_>, builder: &mut Builder) -> Result<(), Syntax> {
    let mut object = cursor.object()?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"scope" | b"instrumentationLibrary" | b"instrumentation_library" => {
                read_scope(cursor, &mut builder.scope)?;
            }
            b"spans" => each_element(cursor, |cursor| read_span(cursor, builder))?,
            b"schemaUrl" | b"schema_url" => {
                replace_text(cursor, &mut builder.scope, |scope| &mut scope.schema_url)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    Ok(())
}

fn read_resource(cursor: &mut Cursor<'_>, resource: &mut Common) -> Result<(), Syntax> {
    each_common_member(cursor, resource, |cursor, key, resource| match key {
        b"attributes" => read_common_attributes(cursor, resource),
        b"droppedAttributesCount" | b"dropped_attributes_count" => {
            read_common_count(cursor, resource)
        }
        _ => cursor.skip_value(),
    })
}

fn read_scope(cursor: &mut Cursor<'_>, scope: &mut Common) -> Result<(), Syntax> {
    each_common_member(cursor, scope, |cursor, key, scope| match key {
        b"name" => replace_text(cursor, scope, |scope| &mut scope.name),
        b"version" => replace_text(cursor, scope, |scope| &mut scope.version),
        b"attributes" => read_common_attributes(cursor, scope),
        b"droppedAttributesCount" | b"dropped_attributes_count" => read_common_count(cursor, scope),
        _ => cursor.skip_value(),
    })
}

/// Calls `read` at each value of a resource or scope. A second one takes the first one's place.
fn each_common_member(
    cursor: &mut Cursor<'_>,
    common: &mut Common,
    mut read: impl FnMut(&mut Cursor<'_>, &[u8], &mut Common) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    if cursor.peek() != Some(b'{') {
        common.repairs.note_if(!cursor.null_or_skip()?, Repair::Item);
        return Ok(());
    }
    common.clear_fields();
    let mut object = cursor.object()?;
    while let Some(key) = cursor.member(&mut object)? {
        read(cursor, &key, common)?;
    }
    Ok(())
}

/// Reads the attributes of a resource or scope; one that is broken is left out.
fn read_common_attributes(cursor: &mut Cursor<'_>, common: &mut Common) -> Result<(), Syntax> {
    if cursor.peek() != Some(b'[') {
        common.repairs.note_if(!cursor.null_or_skip()?, Repair::Item);
        return Ok(());
    }
    common.attributes.clear();
    each_element(cursor, |cursor| {
        let start = cursor.offset();
        match read_attribute(cursor, &mut common.attributes, &mut common.repairs) {
            Ok(()) => Ok(()),
            Err(Fault::Syntax(syntax)) => Err(syntax),
            Err(Fault::Refused(_)) => {
                common.attributes.reopen();
                common.repairs.note(Repair::Item);
                cursor.jump(start);
                cursor.skip_value()
            }
        }
    })
}

fn read_common_count(cursor: &mut Cursor<'_>, common: &mut Common) -> Result<(), Syntax> {
    match read_count(cursor) {
        Ok(count) => common.dropped_attributes_count = count,
        Err(Fault::Syntax(syntax)) => return Err(syntax),
        Err(Fault::Refused(_)) => common.repairs.note(Repair::Item),
    }
    Ok(())
}

fn replace_text(
    cursor: &mut Cursor<'_>,
    common: &mut Common,
    place: fn(&mut Common) -> &mut Vec<u8>,
) -> Result<(), Syntax> {
    match cursor.scalar()? {
        Scalar::Text(raw) => {
            let place = place(common);
            place.clear();
            let replaced = unescape(raw, place);
            common.repairs.note_if(replaced, Repair::Text);
        }
        Scalar::Null => {}
        Scalar::Token(_) | Scalar::Composite => common.repairs.note(Repair::Item),
    }
    Ok(())
}

fn read_span(cursor: &mut Cursor<'_>, builder: &mut Builder) -> Result<(), Syntax> {
    cursor.peek();
    let start = cursor.offset();
    match read_span_members(cursor, builder.batch()) {
        Ok(()) => builder.end_span(Ok(()), start),
        Err(Fault::Refused(refusal)) => {
            builder.end_span(Err(refusal), start);
            cursor.jump(start);
            cursor.skip_value()?;
        }
        Err(Fault::Syntax(syntax)) => {
            let reason = Reason::Malformed;
            builder.end_span(Err(Refusal { reason, offset: syntax.offset }), start);
            return Err(syntax);
        }
    }
    Ok(())
}

fn read_span_members(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<(), Fault> {
    let mut object = open(cursor)?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"traceId" | b"trace_id" => read_id(cursor, &mut batch.draft.trace_id)?,
            b"spanId" | b"span_id" => read_id(cursor, &mut batch.draft.span_id)?,
            b"parentSpanId" | b"parent_span_id" => {
                read_id(cursor, &mut batch.draft.parent_span_id)?;
            }
            b"name" => {
                if let Some(text) = read_text(cursor, batch)? {
                    batch.draft.name = text;
                }
            }
            b"kind" => {
                let kind = read_enum(cursor, "SPAN_KIND_", &KINDS)?;
                batch.draft.kind = kind.unwrap_or(batch.draft.kind);
            }
            b"startTimeUnixNano" | b"start_time_unix_nano" => {
                read_nanos(cursor, &mut batch.draft.start_time_unix_nano)?;
            }
            b"endTimeUnixNano" | b"end_time_unix_nano" => {
                read_nanos(cursor, &mut batch.draft.end_time_unix_nano)?;
            }
            b"attributes" => {
                batch.reopen_attributes();
                let (attributes, repairs) = (&mut batch.attributes, &mut batch.draft.repairs);
                read_attributes(cursor, attributes, repairs)?;
            }
            b"status" => read_status(cursor, batch)?,
            b"flags" => batch.draft.flags = read_count(cursor)?,
            b"events" => {
                batch.reopen_events();
                each_of_span(cursor, |cursor| read_event(cursor, batch))?;
            }
            b"links" => {
                batch.reopen_links();
                each_of_span(cursor, |cursor| read_link(cursor, batch))?;
            }
            b"traceState" | b"trace_state" => {
                if let Some(text) = read_text(cursor, batch)? {
                    batch.draft.trace_state = text;
                }
            }
            b"droppedAttributesCount" | b"dropped_attributes_count" => {
                batch.draft.dropped_attributes_count = read_count(cursor)?;
            }
            b"droppedEventsCount" | b"dropped_events_count" => {
                batch.draft.dropped_events_count = read_count(cursor)?;
            }
            b"droppedLinksCount" | b"dropped_links_count" => {
                batch.draft.dropped_links_count = read_count(cursor)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    Ok(())
}

fn read_status(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<(), Fault> {
    if cursor.null() {
        return Ok(());
    }
    (batch.draft.status_code, batch.draft.status_message) = (0, 0);
    let mut object = open(cursor)?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"code" => {
                let code = read_enum(cursor, "STATUS_CODE_", &STATUS_CODES)?;
                batch.draft.status_code = code.unwrap_or(batch.draft.status_code);
            }
            b"message" => {
                if let Some(text) = read_text(cursor, batch)? {
                    batch.draft.status_message = text;
                }
            }
            _ => cursor.skip_value()?,
        }
    }
    Ok(())
}

fn read_event(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<(), Fault> {
    let (events, repairs) = batch.events();
    let (mut time, mut dropped) = (0, 0);
    let mut object = open(cursor)?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"timeUnixNano" | b"time_unix_nano" => read_nanos(cursor, &mut time)?,
            b"name" => {
                if let Some(raw) = text_or_null(cursor)? {
                    events.names.reopen();
                    let replaced = unescape(raw, &mut events.names.bytes);
                    repairs.note_if(replaced, Repair::Text);
                }
            }
            b"attributes" => {
                events.attributes.reopen_row();
                read_attributes(cursor, &mut events.attributes, repairs)?;
            }
            b"droppedAttributesCount" | b"dropped_attributes_count" => {
                dropped = read_count(cursor)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    repairs.note_if(events.attributes.keep_last_of_each_key(), Repair::Key);
    events.close(time, dropped);
    Ok(())
}

fn read_link(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<(), Fault> {
    let (links, repairs) = batch.links();
    let (mut trace_id, mut span_id) = (Id::Absent, Id::Absent);
    let (mut flags, mut dropped) = (0, 0);
    let mut object = open(cursor)?;
    while let Some(key) = cursor.member(&mut object)? {
        match &*key {
            b"traceId" | b"trace_id" => read_id(cursor, &mut trace_id)?,
            b"spanId" | b"span_id" => read_id(cursor, &mut span_id)?,
            b"traceState" | b"trace_state" => {
                if let Some(raw) = text_or_null(cursor)? {
                    links.trace_states.reopen();
                    let replaced = unescape(raw, &mut links.trace_states.bytes);
                    repairs.note_if(replaced, Repair::Text);
                }
            }
            b"attributes" => {
                links.attributes.reopen_row();
                read_attributes(cursor, &mut links.attributes, repairs)?;
            }
            b"flags" => flags = read_count(cursor)?,
            b"droppedAttributesCount" | b"dropped_attributes_count" => {
                dropped = read_count(cursor)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    repairs.note_if(links.attributes.keep_last_of_each_key(), Repair::Key);
    let closed = links.close(trace_id, span_id, flags, dropped);
    repairs.note_if(!closed, Repair::Item);
    Ok(())
}

fn read_attributes(
    cursor: &mut Cursor<'_>,
    attributes: &mut Attributes,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    each_of_span(cursor, |cursor| read_attribute(cursor, attributes, repairs))
}

/// Reads a `KeyValue` to the end of `attributes`. After a fault it is not closed.
fn read_attribute(
    cursor: &mut Cursor<'_>,
    attributes: &mut Attributes,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    let start = cursor.offset();
    if let Some((key, value, kind)) = plain_attribute(cursor) {
        attributes.keys.bytes.extend_from_slice(key);
        attributes.values.bytes.extend_from_slice(value);
        attributes.close(kind);
        return Ok(());
    }
    cursor.jump(start);
    read_any_attribute(cursor, attributes, repairs)
}

/// Reads an attribute in the one form that exporters write nearly always: key, then a string or an
/// integer, without white space or escapes. Half of all bytes are such attributes.
#[inline]
fn plain_attribute<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8], u8)> {
    if !cursor.take(b"{\"key\":\"") {
        return None;
    }
    let key = cursor.plain_text()?;
    if !cursor.take(b",\"value\":{\"") {
        return None;
    }
    let (value, kind) = if cursor.take(b"stringValue\":\"") {
        (cursor.plain_text()?, kind::STRING)
    } else if cursor.take(b"intValue\":\"") {
        (cursor.plain_text().filter(|digits| is_canonical(digits))?, kind::INT)
    } else {
        return None;
    };
    cursor.take(b"}}").then_some((key, value, kind))
}

/// Whether digits are the text that we write for their number.
fn is_canonical(digits: &[u8]) -> bool {
    let significant = digits.strip_prefix(b"-").unwrap_or(digits);
    let has_leading_zero = significant.first() == Some(&b'0');
    parse_decimal(digits).is_some() && (!has_leading_zero || digits == b"0")
}

fn read_any_attribute(
    cursor: &mut Cursor<'_>,
    attributes: &mut Attributes,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    let mut kind = kind::NONE;
    let mut object = open(cursor)?;
    while let Some(name) = cursor.member(&mut object)? {
        match &*name {
            b"key" => {
                if let Some(raw) = text_or_null(cursor)? {
                    attributes.keys.reopen();
                    let replaced = unescape(raw, &mut attributes.keys.bytes);
                    repairs.note_if(replaced, Repair::Text);
                }
            }
            b"value" => {
                attributes.values.reopen();
                kind = read_value(cursor, &mut attributes.values.bytes, repairs)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    attributes.close(kind);
    Ok(())
}

/// Appends the text of an `AnyValue` to `out` and returns its kind.
fn read_value(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    repairs: &mut Repairs,
) -> Result<u8, Fault> {
    let mut kind = kind::NONE;
    if cursor.null() {
        return Ok(kind);
    }
    let start = out.len();
    let mut object = open(cursor)?;
    while let Some(name) = cursor.member(&mut object)? {
        let Some(found) = kind_of(&name) else {
            cursor.skip_value()?;
            continue;
        };
        if cursor.null() {
            continue;
        }
        kind = found;
        out.truncate(start);
        match found {
            kind::STRING => {
                let replaced = unescape(text(cursor)?, out);
                repairs.note_if(replaced, Repair::Text);
            }
            kind::INT => push_int(out, read_int(cursor)?),
            kind::DOUBLE => push_double(out, read_double(cursor)?),
            kind::BOOL => push_bool(out, read_bool(cursor)?),
            kind::BYTES => push_base64(out, &read_base64(cursor)?),
            kind::ARRAY => read_array(cursor, out, 1, repairs)?,
            _ => read_kvlist(cursor, out, 1, repairs)?,
        }
    }
    Ok(kind)
}

/// The kind of value that a field of `AnyValue` holds.
fn kind_of(name: &[u8]) -> Option<u8> {
    Some(match name {
        b"stringValue" | b"string_value" => kind::STRING,
        b"intValue" | b"int_value" => kind::INT,
        b"doubleValue" | b"double_value" => kind::DOUBLE,
        b"boolValue" | b"bool_value" => kind::BOOL,
        b"bytesValue" | b"bytes_value" => kind::BYTES,
        b"arrayValue" | b"array_value" => kind::ARRAY,
        b"kvlistValue" | b"kvlist_value" => kind::KVLIST,
        _ => return None,
    })
}

/// Appends an `AnyValue` inside an array or list, as JSON of our own.
fn read_nested(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    let start = out.len();
    out.extend_from_slice(b"null");
    if cursor.null() {
        return Ok(());
    }
    let mut object = open(cursor)?;
    while let Some(name) = cursor.member(&mut object)? {
        let Some(found) = kind_of(&name) else {
            cursor.skip_value()?;
            continue;
        };
        if cursor.null() {
            continue;
        }
        out.truncate(start);
        match found {
            kind::STRING => push_json_string(out, &unescaped(text(cursor)?, repairs)),
            kind::INT => push_int(out, read_int(cursor)?),
            kind::DOUBLE => push_json_double(out, read_double(cursor)?),
            kind::BOOL => push_bool(out, read_bool(cursor)?),
            kind::BYTES => push_json_bytes(out, &read_base64(cursor)?),
            _ if depth == NESTING_MAX => {
                repairs.note(Repair::Value);
                out.extend_from_slice(b"null");
                cursor.skip_value()?;
            }
            kind::ARRAY => read_array(cursor, out, depth + 1, repairs)?,
            _ => read_kvlist(cursor, out, depth + 1, repairs)?,
        }
    }
    Ok(())
}

fn read_array(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    let read =
        |cursor: &mut Cursor<'_>, out: &mut Vec<u8>| read_nested(cursor, out, depth, repairs);
    read_values(cursor, out, *b"[]", read)
}

fn read_kvlist(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    let read = |cursor: &mut Cursor<'_>, out: &mut Vec<u8>| read_entry(cursor, out, depth, repairs);
    read_values(cursor, out, *b"{}", read)
}

/// Appends the items of an `ArrayValue` or `KeyValueList` between brackets.
fn read_values(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    [open_bracket, close_bracket]: [u8; 2],
    mut read: impl FnMut(&mut Cursor<'_>, &mut Vec<u8>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    out.push(open_bracket);
    let start = out.len();
    let mut object = open(cursor)?;
    while let Some(name) = cursor.member(&mut object)? {
        if &*name != b"values" {
            cursor.skip_value()?;
            continue;
        }
        out.truncate(start);
        each_of_span(cursor, |cursor| {
            if out.len() > start {
                out.push(b',');
            }
            read(cursor, out)
        })?;
    }
    out.push(close_bracket);
    Ok(())
}

/// Appends a `KeyValue` inside a list. The key may stand behind the value: it is written last and
/// moved to the front.
fn read_entry(
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
    depth: usize,
    repairs: &mut Repairs,
) -> Result<(), Fault> {
    let start = out.len();
    let mut key = Vec::new();
    out.extend_from_slice(b"null");
    let mut object = open(cursor)?;
    while let Some(name) = cursor.member(&mut object)? {
        match &*name {
            b"key" => {
                if let Some(raw) = text_or_null(cursor)? {
                    key = unescaped(raw, repairs);
                }
            }
            b"value" => {
                out.truncate(start);
                read_nested(cursor, out, depth, repairs)?;
            }
            _ => cursor.skip_value()?,
        }
    }
    let value_length = out.len() - start;
    push_json_key(out, &key);
    out[start..].rotate_left(value_length);
    Ok(())
}

fn unescaped(raw: Raw<'_>, repairs: &mut Repairs) -> Vec<u8> {
    let mut text = Vec::new();
    let replaced = unescape(raw, &mut text);
    repairs.note_if(replaced, Repair::Text);
    text
}

/// Enters an object; another type refuses the span.
#[inline]
fn open(cursor: &mut Cursor<'_>) -> Result<Items, Fault> {
    match cursor.peek() {
        Some(b'{') => Ok(cursor.object()?),
        _ => wrong_type(cursor),
    }
}

/// Calls `read` at each element of an array inside a span; another type refuses the span.
#[inline]
fn each_of_span(
    cursor: &mut Cursor<'_>,
    read: impl FnMut(&mut Cursor<'_>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    match cursor.peek() {
        Some(b'[' | b'n') => each_element(cursor, read),
        _ => wrong_type(cursor),
    }
}

/// Steps over a value of the wrong type and refuses the span.
fn wrong_type<T>(cursor: &mut Cursor<'_>) -> Result<T, Fault> {
    cursor.peek();
    let offset = cursor.offset();
    cursor.skip_value()?;
    refuse(Reason::Malformed, offset)
}

fn refuse<T>(reason: Reason, offset: usize) -> Result<T, Fault> {
    Err(Fault::Refused(Refusal { reason, offset }))
}

fn read_id<const N: usize>(cursor: &mut Cursor<'_>, id: &mut Id<N>) -> Result<(), Fault> {
    match cursor.scalar()? {
        Scalar::Text(raw) => *id = Id::from_hex(raw.bytes),
        Scalar::Null => {}
        Scalar::Token(_) | Scalar::Composite => *id = Id::Broken,
    }
    Ok(())
}

/// Reads a string into the batch's arena; `null` is none.
fn read_text(cursor: &mut Cursor<'_>, batch: &mut Batch) -> Result<Option<u128>, Fault> {
    let Some(raw) = text_or_null(cursor)? else { return Ok(None) };
    let start = batch.arena.bytes.len();
    let replaced = unescape(raw, &mut batch.arena.bytes);
    batch.draft.repairs.note_if(replaced, Repair::Text);
    Ok(Some(batch.arena.close(start)))
}

#[inline]
fn text_or_null<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Raw<'a>>, Fault> {
    match cursor.peek() {
        Some(b'n') if cursor.null() => Ok(None),
        _ => text(cursor).map(Some),
    }
}

#[inline]
fn text<'a>(cursor: &mut Cursor<'a>) -> Result<Raw<'a>, Fault> {
    match cursor.peek() {
        Some(b'"') => Ok(cursor.string()?),
        _ => wrong_type(cursor),
    }
}

/// Reads a time; `null` leaves it as it is.
fn read_nanos(cursor: &mut Cursor<'_>, time: &mut i64) -> Result<(), Fault> {
    let offset = cursor.offset();
    match parse_integer(cursor.scalar()?) {
        Integer::Null => {}
        Integer::Some(nanos @ 0..) => *time = nanos,
        Integer::Some(_) | Integer::Broken => return refuse(Reason::Time, offset),
    }
    Ok(())
}

/// Reads a `uint32` or `fixed32`; `null` is 0.
fn read_count(cursor: &mut Cursor<'_>) -> Result<u32, Fault> {
    let offset = cursor.offset();
    let count = match parse_integer(cursor.scalar()?) {
        Integer::Null => Some(0),
        Integer::Some(count) => u32::try_from(count).ok(),
        Integer::Broken => None,
    };
    count.map_or_else(|| refuse(Reason::Malformed, offset), Ok)
}

fn read_int(cursor: &mut Cursor<'_>) -> Result<i64, Fault> {
    let offset = cursor.offset();
    match parse_integer(cursor.scalar()?) {
        Integer::Some(value) => Ok(value),
        Integer::Null | Integer::Broken => refuse(Reason::Malformed, offset),
    }
}

fn read_double(cursor: &mut Cursor<'_>) -> Result<f64, Fault> {
    let offset = cursor.offset();
    let value = match cursor.scalar()? {
        Scalar::Text(raw) => parse_double(raw.bytes),
        Scalar::Token(token) => parse_double(token),
        Scalar::Null | Scalar::Composite => None,
    };
    value.map_or_else(|| refuse(Reason::Malformed, offset), Ok)
}

fn read_bool(cursor: &mut Cursor<'_>) -> Result<bool, Fault> {
    let offset = cursor.offset();
    match cursor.scalar()? {
        Scalar::Token(b"true") => Ok(true),
        Scalar::Token(b"false") => Ok(false),
        _ => refuse(Reason::Malformed, offset),
    }
}

/// Reads bytes: base64, standard or for URLs, with or without padding, as protobuf JSON allows.
fn read_base64(cursor: &mut Cursor<'_>) -> Result<Vec<u8>, Fault> {
    let offset = cursor.offset();
    let raw = text(cursor)?;
    let mut digits = Vec::new();
    unescape(raw, &mut digits);
    parse_base64(&digits).map_or_else(|| refuse(Reason::Malformed, offset), Ok)
}

/// Reads an enum: its number, or its name with or without the prefix; `null` is none.
fn read_enum(cursor: &mut Cursor<'_>, prefix: &str, names: &[&str]) -> Result<Option<i32>, Fault> {
    let offset = cursor.offset();
    let scalar = cursor.scalar()?;
    if let Scalar::Text(raw) = scalar {
        let name = raw.bytes.strip_prefix(prefix.as_bytes()).unwrap_or(raw.bytes);
        if let Some(number) = names.iter().position(|known| known.as_bytes() == name) {
            return Ok(Some(number as i32));
        }
    }
    let number = match parse_integer(scalar) {
        Integer::Null => return Ok(None),
        Integer::Some(number) => i32::try_from(number).ok(),
        Integer::Broken => None,
    };
    number.map_or_else(|| refuse(Reason::Malformed, offset), |number| Ok(Some(number)))
}

enum Integer {
    Null,
    Some(i64),
    Broken,
}

/// Reads an integer as protobuf JSON allows: digits, or a number without a fraction like `1e3`.
#[inline]
fn parse_integer(scalar: Scalar<'_>) -> Integer {
    let digits = match scalar {
        Scalar::Text(raw) => raw.bytes,
        Scalar::Token(token) => token,
        Scalar::Null => return Integer::Null,
        Scalar::Composite => return Integer::Broken,
    };
    let whole = || {
        let value = parse_double(digits).filter(|value| value.fract() == 0.0)?;
        (value.abs() < i64::MAX as f64).then_some(value as i64)
    };
    parse_decimal(digits).or_else(whole).map_or(Integer::Broken, Integer::Some)
}
