//! From Jaeger JSON, as its query API and user interface hand it out, to spans.
//!
//! The mapping is that of the OpenTelemetry Collector (opentelemetry-collector-contrib,
//! `pkg/translator/jaeger`) and of the specification's "OpenTelemetry to Jaeger Transformation",
//! read backwards:
//!
//! | Jaeger | span |
//! |---|---|
//! | `references`: the first `CHILD_OF` within the trace, else the first `FOLLOWS_FROM` | parent |
//! | other references, and a `FOLLOWS_FROM` that is the parent | link with `opentracing.ref_type` |
//! | tags `span.kind`, `error`, `otel.status_code`, `otel.status_description` | kind, status |
//! | tags `otel.scope.*`, `otel.library.*`, `w3c.tracestate` | scope, trace state |
//! | `logs`, their field `event` | events, their name |
//! | process tags `hostname`, `ip`, `client-uuid` | `host.name`, `host.ip`, `service.instance.id` |
//! | `warnings`, flags other than *sampled* | attributes `jaeger.warnings`, `jaeger.flags` |
//!
//! Times are microseconds. A span without a start time is refused, one without a duration has none.

use std::collections::HashMap;

use crate::Decoder;
use crate::file::request::{
    Attributes, Event, Link, Request, STATUS_ERROR, Span, each_element, each_member, find, integer,
    into_text, kind_number, nanos, parse_id, parse_integer, rename, resource, status_number, take,
    take_scope, take_text, text, unescaped,
};
use crate::json::{Cursor, END_EXPECTED, Scalar, Syntax};
use crate::rejected::Reason;
use crate::values::{NESTING_MAX, Value, parse_base64, parse_decimal, parse_double};

/// Takes an object with `data`, a list of traces, or one trace.
///
/// # Errors
/// The text is not JSON, or a part is of a wrong type; the spans that could be read are kept.
pub(crate) fn decode(document: &[u8], decoder: &mut Decoder) -> Result<(), Syntax> {
    let mut request = Request::default();
    let mut cursor = Cursor::new(document);
    let read = read_trace(&mut cursor, decoder, &mut request, TRACES_MAX);
    request.flush(decoder);
    read?;
    if !cursor.at_end() {
        return cursor.expected(END_EXPECTED);
    }
    Ok(())
}

/// How deep `data` nests: a document holds traces, a trace does not hold documents.
const TRACES_MAX: usize = 1;

/// Reads a trace, or a document of traces. Processes mostly stand behind the spans that name them,
/// so spans are read last.
///
/// A part of a wrong type costs itself: the error is that of the first, and the others are read.
fn read_trace(
    cursor: &mut Cursor<'_>,
    decoder: &mut Decoder,
    request: &mut Request,
    traces_max: usize,
) -> Result<(), Syntax> {
    let mut trace = Trace::default();
    let mut spans = Vec::new();
    let mut whole = Ok(());
    let walked = each_member(cursor, |cursor, key| match key {
        b"data" if traces_max > 0 => read_or_skip(cursor, &mut whole, |cursor, whole| {
            each_in(cursor, "an array in `data`", |cursor| {
                read_or_skip(cursor, whole, |cursor, _| {
                    read_trace(cursor, decoder, request, traces_max - 1)
                })
            })
        }),
        b"traceID" => read_or_skip(cursor, &mut whole, |cursor, _| {
            trace.id = text(cursor)?;
            Ok(())
        }),
        b"processes" => {
            read_or_skip(cursor, &mut whole, |cursor, whole| trace.read_processes(cursor, whole))
        }
        b"spans" => {
            spans.push(cursor.clone());
            cursor.skip_value()
        }
        _ => cursor.skip_value(),
    });
    for mut spans in spans {
        let read = each_in(&mut spans, "an array in `spans`", |cursor| {
            cursor.peek();
            let mut span = cursor.clone();
            cursor.skip_value()?;
            trace.read_span(&mut span, decoder, request);
            Ok(())
        });
        whole = whole.and(read);
    }
    whole.and(walked)
}

/// Reads a value, or steps over it and notes in `whole` what was expected in its place.
fn read_or_skip<'a>(
    cursor: &mut Cursor<'a>,
    whole: &mut Result<(), Syntax>,
    read: impl FnOnce(&mut Cursor<'a>, &mut Result<(), Syntax>) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    let start = cursor.clone();
    let Err(syntax) = read(cursor, whole) else { return Ok(()) };
    *whole = whole.and(Err(syntax));
    *cursor = start;
    cursor.skip_value()
}

/// Calls `read` at each element of an array, named by `expected`; `null` has none.
fn each_in<'a>(
    cursor: &mut Cursor<'a>,
    expected: &'static str,
    read: impl FnMut(&mut Cursor<'a>) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    match cursor.peek() {
        Some(b'[' | b'n') => each_element(cursor, read),
        _ => cursor.expected(expected),
    }
}

/// What the spans of a trace share.
#[derive(Debug, Default)]
struct Trace {
    id: Option<Vec<u8>>,
    /// The processes by their names, each written as a `Resource`.
    processes: HashMap<Vec<u8>, Vec<u8>>,
}

impl Trace {
    fn read_processes(
        &mut self,
        cursor: &mut Cursor<'_>,
        whole: &mut Result<(), Syntax>,
    ) -> Result<(), Syntax> {
        if !matches!(cursor.peek(), Some(b'{' | b'n')) {
            return cursor.expected("an object in `processes`");
        }
        each_member(cursor, |cursor, name| {
            read_or_skip(cursor, whole, |cursor, whole| {
                let resource = read_process(cursor, whole)?;
                self.processes.insert(name.to_vec(), resource);
                Ok(())
            })
        })
    }

    fn read_span(&self, cursor: &mut Cursor<'_>, decoder: &mut Decoder, request: &mut Request) {
        let mut read = JaegerSpan::default();
        let span = match read.read(cursor) {
            Ok(()) => read.span(self.id.as_deref()),
            Err(_) => Err(Reason::Malformed),
        };
        match span {
            Err(reason) => decoder.reject(reason, || read.name_in_words()),
            Ok(mut span) => {
                let scope = take_scope(&mut span.attributes);
                let resource = match (&read.process, &read.process_id) {
                    (Some(resource), _) => Some(resource),
                    (None, Some(id)) => self.processes.get(id),
                    (None, None) => None,
                };
                let resource = resource.map_or(&[][..], Vec::as_slice);
                request.add(decoder, resource, &scope, &span.write());
            }
        }
    }
}

/// Reads a process and writes it as a `Resource`, without its parts of a wrong type.
fn read_process(
    cursor: &mut Cursor<'_>,
    whole: &mut Result<(), Syntax>,
) -> Result<Vec<u8>, Syntax> {
    if !matches!(cursor.peek(), Some(b'{' | b'n')) {
        return cursor.expected("an object as a process");
    }
    let mut attributes = Attributes::new();
    each_member(cursor, |cursor, key| {
        read_or_skip(cursor, whole, |cursor, _| match key {
            b"serviceName" => {
                let name = text(cursor)?.filter(|name| !name.is_empty() && name != NO_SERVICE_NAME);
                attributes.extend(name.map(|name| (b"service.name".to_vec(), Value::String(name))));
                Ok(())
            }
            b"tags" => read_tags(cursor, &mut attributes),
            _ => cursor.skip_value(),
        })
    })?;
    for (jaeger, current) in
        [("hostname", "host.name"), ("ip", "host.ip"), ("client-uuid", "service.instance.id")]
    {
        rename(&mut attributes, jaeger, current);
    }
    Ok(resource(&attributes))
}

/// What the Collector writes for a resource without `service.name`.
const NO_SERVICE_NAME: &[u8] = b"OTLPResourceNoServiceName";

/// A span as Jaeger has it.
#[derive(Debug, Default)]
struct JaegerSpan {
    trace_id: Option<Vec<u8>>,
    span_id: Option<Vec<u8>>,
    parent_span_id: Option<Vec<u8>>,
    name: Vec<u8>,
    flags: i64,
    references: Vec<Reference>,
    start_micros: Option<i64>,
    duration_micros: i64,
    tags: Attributes,
    logs: Vec<Event>,
    process_id: Option<Vec<u8>>,
    /// A process of its own, written as a `Resource`.
    process: Option<Vec<u8>>,
    warnings: Vec<Value>,
    has_bad_time: bool,
}

#[derive(Debug, Default)]
struct Reference {
    is_child_of: bool,
    trace_id: Option<Vec<u8>>,
    span_id: Option<Vec<u8>>,
}

impl JaegerSpan {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Syntax> {
        each_member(cursor, |cursor, key| {
            match key {
                b"traceID" => self.trace_id = text(cursor)?,
                b"spanID" => self.span_id = text(cursor)?,
                b"parentSpanID" => self.parent_span_id = text(cursor)?,
                b"operationName" => self.name = text(cursor)?.unwrap_or_default(),
                b"flags" => self.flags = integer(cursor)?.unwrap_or_default(),
                b"startTime" => self.start_micros = self.time(cursor)?,
                b"duration" => self.duration_micros = self.time(cursor)?.unwrap_or_default(),
                b"processID" => self.process_id = text(cursor)?,
                b"process" if cursor.peek() != Some(b'n') => {
                    let mut whole = Ok(());
                    self.process = Some(read_process(cursor, &mut whole)?);
                    whole?;
                }
                b"references" => each_element(cursor, |cursor| self.read_reference(cursor))?,
                b"tags" => read_tags(cursor, &mut self.tags)?,
                b"logs" => each_element(cursor, |cursor| self.read_log(cursor))?,
                b"warnings" => each_element(cursor, |cursor| {
                    self.warnings.extend(text(cursor)?.map(Value::String));
                    Ok(())
                })?,
                _ => cursor.skip_value()?,
            }
            Ok(())
        })
    }

    /// Reads a time; what is not a number is noted, so that the refusal names the right reason.
    fn time(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<i64>, Syntax> {
        let number = integer(&mut cursor.clone());
        cursor.skip_value()?;
        self.has_bad_time |= number.is_err();
        Ok(number.unwrap_or_default())
    }

    fn read_reference(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Syntax> {
        let mut reference = Reference::default();
        each_member(cursor, |cursor, key| {
            match key {
                b"refType" => reference.is_child_of = text(cursor)?.as_deref() == Some(b"CHILD_OF"),
                b"traceID" => reference.trace_id = text(cursor)?,
                b"spanID" => reference.span_id = text(cursor)?,
                _ => cursor.skip_value()?,
            }
            Ok(())
        })?;
        self.references.push(reference);
        Ok(())
    }

    fn read_log(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Syntax> {
        let mut event = Event::default();
        let mut micros = None;
        each_member(cursor, |cursor, key| match key {
            b"timestamp" => {
                micros = self.time(cursor)?;
                Ok(())
            }
            b"fields" => read_tags(cursor, &mut event.attributes),
            _ => cursor.skip_value(),
        })?;
        event.name = take_text(&mut event.attributes, "event").unwrap_or_default();
        match micros.and_then(nanos) {
            Some(nanos) => event.time_unix_nano = nanos,
            None => self.has_bad_time = true,
        }
        self.logs.push(event);
        Ok(())
    }

    /// Makes the span, or says why it is refused.
    fn span(&mut self, id_of_trace: Option<&[u8]>) -> Result<Span, Reason> {
        let trace_id = self.trace_id.as_deref().or(id_of_trace);
        let trace_id = trace_id.and_then(parse_id).ok_or(Reason::TraceId)?;
        let span_id = self.span_id.as_deref().and_then(parse_id).ok_or(Reason::SpanId)?;
        let start = self.start_micros.filter(|_| !self.has_bad_time).ok_or(Reason::Time)?;
        let end = start.checked_add(self.duration_micros).ok_or(Reason::Time)?;
        let (parent_span_id, links) = self.relations(trace_id)?;
        let mut attributes = std::mem::take(&mut self.tags);
        let (status_code, status_message) = take_status(&mut attributes);
        let kind = take_text(&mut attributes, "span.kind");
        let trace_state = take_text(&mut attributes, "w3c.tracestate");
        self.add_own_attributes(&mut attributes);
        Ok(Span {
            trace_id,
            span_id,
            trace_state: trace_state.unwrap_or_default(),
            parent_span_id,
            name: std::mem::take(&mut self.name),
            kind: kind.and_then(|kind| kind_number(&kind)).unwrap_or_default(),
            start_time_unix_nano: nanos(start).ok_or(Reason::Time)?,
            end_time_unix_nano: nanos(end).ok_or(Reason::Time)?,
            attributes,
            events: std::mem::take(&mut self.logs),
            links,
            status_code,
            status_message,
            flags: self.flags as u32 & SAMPLED,
        })
    }

    /// Finds the parent; every other reference is a link.
    fn relations(&self, trace_id: [u8; 16]) -> Result<(Option<[u8; 8]>, Vec<Link>), Reason> {
        let is_in_trace = |reference: &&Reference| {
            reference.trace_id.as_deref().is_none_or(|id| parse_id(id) == Some(trace_id))
        };
        let mut in_trace = self.references.iter().filter(is_in_trace);
        let parent = in_trace.clone().find(|reference| reference.is_child_of);
        let parent = match parent.or_else(|| in_trace.next()) {
            Some(reference) => Some(reference.span_id.as_deref().unwrap_or_default()),
            None => self.parent_span_id.as_deref().filter(|id| !id.is_empty()),
        };
        let parent = parent.map(|id| parse_id(id).ok_or(Reason::ParentSpanId)).transpose()?;
        let is_parent = |reference: &Reference| {
            let span_id: Option<[u8; 8]> = reference.span_id.as_deref().and_then(parse_id);
            reference.is_child_of && is_in_trace(&reference) && span_id == parent
        };
        let links = self.references.iter().filter(|reference| !is_parent(reference));
        Ok((parent.filter(|id| *id != [0; 8]), links.map(Reference::link).collect()))
    }

    /// Adds what a span of OTLP has no field for.
    fn add_own_attributes(&mut self, attributes: &mut Attributes) {
        if !self.warnings.is_empty() {
            let warnings = Value::Array(std::mem::take(&mut self.warnings));
            attributes.push((b"jaeger.warnings".to_vec(), warnings));
        }
        if self.flags & !i64::from(SAMPLED) != 0 {
            attributes.push((b"jaeger.flags".to_vec(), Value::Int(self.flags)));
        }
    }

    fn name_in_words(&self) -> String {
        let text = |id: &Option<Vec<u8>>| match id {
            Some(id) => format!("`{}`", String::from_utf8_lossy(id).escape_debug()),
            None => "nothing".to_owned(),
        };
        let (trace_id, span_id) = (text(&self.trace_id), text(&self.span_id));
        format!("Jaeger span with `traceID` {trace_id}, `spanID` {span_id}")
    }
}

/// Jaeger's first flag is W3C's. Its second, *debug*, means another thing there.
const SAMPLED: u32 = 1;

impl Reference {
    fn link(&self) -> Link {
        let kind: &[u8] = if self.is_child_of { b"child_of" } else { b"follows_from" };
        let kind = Value::String(kind.to_vec());
        Link {
            trace_id: self.trace_id.as_deref().and_then(parse_id),
            span_id: self.span_id.as_deref().and_then(parse_id),
            attributes: vec![(b"opentracing.ref_type".to_vec(), kind)],
        }
    }
}

/// Takes the status out of the tags: `error` is the last word on errors.
fn take_status(attributes: &mut Attributes) -> (u64, Vec<u8>) {
    let is_error = match find(attributes, "error") {
        Some(Value::Bool(is_error)) => *is_error,
        Some(Value::String(text)) => text == b"true",
        _ => false,
    };
    if is_error {
        take(attributes, "error");
    }
    let named = take_text(attributes, "otel.status_code").and_then(|name| status_number(&name));
    let message = take_text(attributes, "otel.status_description");
    let code = if is_error { STATUS_ERROR } else { named.unwrap_or_default() };
    (code, message.unwrap_or_default())
}

/// Reads tags, which logs call fields.
fn read_tags(cursor: &mut Cursor<'_>, attributes: &mut Attributes) -> Result<(), Syntax> {
    each_in(cursor, "an array of tags", |cursor| {
        let (mut name, mut kind, mut value) = (None, None, None);
        each_member(cursor, |cursor, key| {
            match key {
                b"key" => name = text(cursor)?,
                b"type" => kind = text(cursor)?,
                b"value" => {
                    cursor.peek();
                    value = Some(cursor.clone());
                    cursor.skip_value()?;
                }
                _ => cursor.skip_value()?,
            }
            Ok(())
        })?;
        if let Some(name) = name {
            let value = match value {
                Some(mut value) => read_value(&mut value, kind.as_deref().unwrap_or_default())?,
                None => Value::None,
            };
            attributes.push((name, value));
        }
        Ok(())
    })
}

/// Reads a value of the type that its tag names. A value of another type stays what it is.
fn read_value(cursor: &mut Cursor<'_>, kind: &[u8]) -> Result<Value, Syntax> {
    let value = untyped(cursor, 0)?;
    let typed = match (kind, &value) {
        (b"string", Value::Int(_) | Value::Double(_) | Value::Bool(_)) => {
            Some(Value::String(into_text(value.clone())))
        }
        (b"bool", Value::String(text)) => parse_bool(text),
        (b"int64", Value::String(text)) => parse_integer(text).map(Value::Int),
        (b"float64", Value::String(text)) => parse_double(text).map(Value::Double),
        (b"float64", Value::Int(value)) => Some(Value::Double(*value as f64)),
        (b"binary", Value::String(text)) => parse_base64(text).map(Value::Bytes),
        _ => None,
    };
    Ok(typed.unwrap_or(value))
}

/// Reads a value by its JSON type. What nests too deep is taken as nothing.
fn untyped(cursor: &mut Cursor<'_>, depth: usize) -> Result<Value, Syntax> {
    match cursor.peek() {
        Some(b'[' | b'{') if depth == NESTING_MAX => cursor.skip_value().map(|()| Value::None),
        Some(b'[') => {
            let mut values = Vec::new();
            each_element(cursor, |cursor| {
                values.push(untyped(cursor, depth + 1)?);
                Ok(())
            })?;
            Ok(Value::Array(values))
        }
        Some(b'{') => {
            let mut entries = Vec::new();
            each_member(cursor, |cursor, key| {
                entries.push((key.to_vec(), untyped(cursor, depth + 1)?));
                Ok(())
            })?;
            Ok(Value::KvList(entries))
        }
        _ => Ok(match cursor.scalar()? {
            Scalar::Null | Scalar::Composite => Value::None,
            Scalar::Text(raw) => Value::String(unescaped(raw)),
            Scalar::Token(token) => parse_bool(token)
                .or_else(|| parse_decimal(token).map(Value::Int))
                .or_else(|| parse_double(token).map(Value::Double))
                .unwrap_or_else(|| Value::String(token.to_vec())),
        }),
    }
}

fn parse_bool(text: &[u8]) -> Option<Value> {
    match text {
        b"true" => Some(Value::Bool(true)),
        b"false" => Some(Value::Bool(false)),
        _ => None,
    }
}
