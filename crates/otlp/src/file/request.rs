//! Spans of other formats, put together to OTLP messages: the decoder then treats them as its own.

use std::collections::HashMap;

use crate::json::{Cursor, Raw, Scalar, Syntax, unescape};
use crate::rejected::Reason;
use crate::values::{Value, parse_decimal, parse_double};
use crate::wire::Writer;
use crate::{Decoder, MessageError};

/// Messages are handed to the decoder at this size, so that they stay under every limit.
const REQUEST_BYTES: usize = 8 << 20;

/// Collects spans under their resources and scopes; all three are written as protobuf.
#[derive(Debug, Default)]
pub(crate) struct Request {
    resources: Vec<ResourceSpans>,
    resource_numbers: HashMap<Vec<u8>, usize>,
    bytes: usize,
    spans: usize,
}

#[derive(Debug)]
struct ResourceSpans {
    resource: Vec<u8>,
    scopes: Vec<ScopeSpans>,
    scope_numbers: HashMap<Vec<u8>, usize>,
}

#[derive(Debug)]
struct ScopeSpans {
    scope: Vec<u8>,
    /// `spans` fields, one after the other.
    spans: Writer,
}

impl Request {
    /// Adds a span; a message that is large enough goes to the decoder.
    pub(crate) fn add(
        &mut self,
        decoder: &mut Decoder,
        resource: &[u8],
        scope: &[u8],
        span: &[u8],
    ) {
        if decoder.is_overspent() {
            return;
        }
        let scope_spans = self.resource_spans(resource).scope_spans(scope);
        scope_spans.spans.bytes(2, span);
        self.bytes += resource.len() + scope.len() + span.len();
        self.spans += 1;
        if self.bytes >= REQUEST_BYTES {
            self.flush(decoder);
        }
    }

    /// Hands what there is to the decoder.
    pub(crate) fn flush(&mut self, decoder: &mut Decoder) {
        let request = std::mem::take(self);
        if request.spans == 0 {
            return;
        }
        if let Err(error) = decoder.protobuf(&request.write()) {
            request.reject(decoder, &error);
        }
    }

    /// What we write is whole: only a single span or resource over the decoder's limit fails.
    fn reject(&self, decoder: &mut Decoder, error: &MessageError) {
        for _ in 0..self.spans {
            decoder.reject(Reason::Malformed, || error.to_string());
        }
    }

    fn resource_spans(&mut self, resource: &[u8]) -> &mut ResourceSpans {
        let number = *self.resource_numbers.entry(resource.to_vec()).or_insert_with(|| {
            let (scopes, scope_numbers) = (Vec::new(), HashMap::new());
            let resource = resource.to_vec();
            self.resources.push(ResourceSpans { resource, scopes, scope_numbers });
            self.resources.len() - 1
        });
        &mut self.resources[number]
    }

    /// Writes an `ExportTraceServiceRequest` (`trace_service.proto`).
    fn write(&self) -> Vec<u8> {
        let mut request = Writer::default();
        for resource_spans in &self.resources {
            request.message(1, |writer| {
                writer.bytes(1, &resource_spans.resource);
                for scope_spans in &resource_spans.scopes {
                    writer.message(2, |writer| {
                        writer.bytes(1, &scope_spans.scope);
                        writer.bytes.extend_from_slice(&scope_spans.spans.bytes);
                    });
                }
            });
        }
        request.bytes
    }
}

impl ResourceSpans {
    fn scope_spans(&mut self, scope: &[u8]) -> &mut ScopeSpans {
        let number = *self.scope_numbers.entry(scope.to_vec()).or_insert_with(|| {
            self.scopes.push(ScopeSpans { scope: scope.to_vec(), spans: Writer::default() });
            self.scopes.len() - 1
        });
        &mut self.scopes[number]
    }
}

/// Attributes of a span, resource, event or link, in order.
pub(crate) type Attributes = Vec<(Vec<u8>, Value)>;

/// Returns the attribute of that name.
pub(crate) fn find<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a Value> {
    attributes.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value)
}

/// Takes the attribute of that name out.
pub(crate) fn take(attributes: &mut Attributes, name: &str) -> Option<Value> {
    let at = attributes.iter().position(|(key, _)| key == name.as_bytes())?;
    Some(attributes.remove(at).1)
}

/// Takes the attribute of that name out as text.
pub(crate) fn take_text(attributes: &mut Attributes, name: &str) -> Option<Vec<u8>> {
    take(attributes, name).map(into_text)
}

/// Gives an attribute its current name, unless that is taken.
pub(crate) fn rename(attributes: &mut Attributes, old: &str, current: &str) {
    if attributes.iter().all(|(key, _)| key != current.as_bytes())
        && let Some((key, _)) = attributes.iter_mut().find(|(key, _)| key == old.as_bytes())
    {
        *key = current.as_bytes().to_vec();
    }
}

/// Returns a scalar as text.
pub(crate) fn into_text(value: Value) -> Vec<u8> {
    match value {
        Value::String(text) | Value::Bytes(text) => text,
        Value::Int(value) => value.to_string().into_bytes(),
        Value::Double(value) => value.to_string().into_bytes(),
        Value::Bool(value) => value.to_string().into_bytes(),
        Value::None | Value::Array(_) | Value::KvList(_) => Vec::new(),
    }
}

/// Writes `KeyValue`s (common.proto) as field `number`.
pub(crate) fn write_attributes(writer: &mut Writer, number: u32, attributes: &Attributes) {
    for (key, value) in attributes {
        writer.message(number, |writer| {
            writer.bytes(1, key);
            writer.message(2, |writer| value.write_protobuf(writer));
        });
    }
}

/// Writes a `Resource` (resource.proto).
pub(crate) fn resource(attributes: &Attributes) -> Vec<u8> {
    let mut writer = Writer::default();
    write_attributes(&mut writer, 1, attributes);
    writer.bytes
}

/// Takes the scope's name and version out of a span's attributes, under their names in Jaeger and
/// Zipkin (the specification's "Mapping to non-OTLP formats"), and writes an
/// `InstrumentationScope` (common.proto).
pub(crate) fn take_scope(attributes: &mut Attributes) -> Vec<u8> {
    let mut writer = Writer::default();
    for (number, current, old) in [
        (1, "otel.scope.name", "otel.library.name"),
        (2, "otel.scope.version", "otel.library.version"),
    ] {
        let found = take_text(attributes, current);
        // Exporters of a certain age send both.
        let repeated = take_text(attributes, old);
        if let Some(text) = found.or(repeated) {
            writer.bytes(number, &text);
        }
    }
    writer.bytes
}

/// The number of a span kind (trace.proto, `SpanKind`) by its name in any letter case.
pub(crate) fn kind_number(name: &[u8]) -> Option<u64> {
    let names: [&[u8]; 5] = [b"internal", b"server", b"client", b"producer", b"consumer"];
    let number = names.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    Some(number as u64 + 1)
}

/// The numbers of status codes (trace.proto, `StatusCode`).
pub(crate) const STATUS_OK: u64 = 1;
pub(crate) const STATUS_ERROR: u64 = 2;

/// The number of a status code by its name, as exporters have written it.
pub(crate) fn status_number(name: &[u8]) -> Option<u64> {
    match name.to_ascii_uppercase().as_slice() {
        b"OK" | b"STATUS_CODE_OK" => Some(STATUS_OK),
        b"ERROR" | b"STATUS_CODE_ERROR" => Some(STATUS_ERROR),
        _ => None,
    }
}

/// A span, read from its own format.
#[derive(Debug, Default)]
#[expect(clippy::struct_field_names, reason = "the names of trace.proto")]
pub(crate) struct Span {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) trace_state: Vec<u8>,
    pub(crate) parent_span_id: Option<[u8; 8]>,
    pub(crate) name: Vec<u8>,
    pub(crate) kind: u64,
    pub(crate) start_time_unix_nano: u64,
    pub(crate) end_time_unix_nano: u64,
    pub(crate) attributes: Attributes,
    pub(crate) events: Vec<Event>,
    pub(crate) links: Vec<Link>,
    pub(crate) status_code: u64,
    pub(crate) status_message: Vec<u8>,
    pub(crate) flags: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) time_unix_nano: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) attributes: Attributes,
}

/// A link. Without ids that could be read the decoder leaves it out and counts it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    pub(crate) trace_id: Option<[u8; 16]>,
    pub(crate) span_id: Option<[u8; 8]>,
    pub(crate) attributes: Attributes,
}

impl Span {
    /// Writes a `Span` (trace.proto).
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(1, &self.trace_id);
        writer.bytes(2, &self.span_id);
        writer.bytes(3, &self.trace_state);
        if let Some(parent_span_id) = &self.parent_span_id {
            writer.bytes(4, parent_span_id);
        }
        writer.bytes(5, &self.name);
        writer.varint(6, self.kind);
        writer.fixed64(7, self.start_time_unix_nano);
        writer.fixed64(8, self.end_time_unix_nano);
        write_attributes(&mut writer, 9, &self.attributes);
        for event in &self.events {
            writer.message(11, |writer| event.write(writer));
        }
        for link in &self.links {
            writer.message(13, |writer| link.write(writer));
        }
        writer.message(15, |writer| {
            writer.bytes(2, &self.status_message);
            writer.varint(3, self.status_code);
        });
        writer.fixed32(16, self.flags);
        writer.bytes
    }
}

impl Event {
    fn write(&self, writer: &mut Writer) {
        writer.fixed64(1, self.time_unix_nano);
        writer.bytes(2, &self.name);
        write_attributes(writer, 3, &self.attributes);
    }
}

impl Link {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(1, self.trace_id.as_ref().map_or(&[], |id| &id[..]));
        writer.bytes(2, self.span_id.as_ref().map_or(&[], |id| &id[..]));
        write_attributes(writer, 4, &self.attributes);
    }
}

/// Reads an id of at most `N` bytes in hex digits; shorter ones are padded with zeros in front, as
/// 64-bit trace ids and ids printed as numbers are.
pub(crate) fn parse_id<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.is_empty() || digits.len() > 2 * N {
        return None;
    }
    let mut id = [0; N];
    for (place, digit) in digits.iter().rev().enumerate() {
        let value = char::from(*digit).to_digit(16)? as u8;
        id[N - 1 - place / 2] |= value << (4 * (place % 2));
    }
    Some(id)
}

/// Turns microseconds into nanoseconds, if they lie between 1970 and 2262.
pub(crate) fn nanos(micros: i64) -> Option<u64> {
    u64::try_from(micros.checked_mul(1000)?).ok()
}

/// Reads a string. A number or truth value is taken as its text, `null` as nothing.
pub(crate) fn text(cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>, Syntax> {
    match cursor.clone().scalar()? {
        Scalar::Composite => cursor.expected("a string"),
        scalar => {
            cursor.skip_value()?;
            Ok(match scalar {
                Scalar::Text(raw) => Some(unescaped(raw)),
                Scalar::Token(token) => Some(token.to_vec()),
                Scalar::Null | Scalar::Composite => None,
            })
        }
    }
}

pub(crate) fn unescaped(raw: Raw<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    unescape(raw, &mut text);
    text
}

/// Reads an integer, as a number or a string of digits; `null` is nothing.
pub(crate) fn integer(cursor: &mut Cursor<'_>) -> Result<Option<i64>, Syntax> {
    let start = cursor.clone();
    match text(cursor)? {
        None => Ok(None),
        Some(digits) => match parse_integer(&digits) {
            Some(value) => Ok(Some(value)),
            None => start.expected("an integer"),
        },
    }
}

/// Reads an integer, also one that is written like a double.
pub(crate) fn parse_integer(digits: &[u8]) -> Option<i64> {
    // Doubles beyond this size are not exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    parse_decimal(digits).or_else(|| {
        let value = parse_double(digits)?;
        (value.fract() == 0.0 && value.abs() <= EXACT_MAX).then_some(value as i64)
    })
}

/// Calls `read` at the value of each member of an object; `null` has none.
pub(crate) fn each_member<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    if cursor.null() {
        return Ok(());
    }
    let mut object = cursor.object()?;
    while let Some(key) = cursor.member(&mut object)? {
        read(cursor, &key)?;
    }
    Ok(())
}

/// Calls `read` at each element of an array; `null` has none.
pub(crate) fn each_element<'a>(
    cursor: &mut Cursor<'a>,
    mut read: impl FnMut(&mut Cursor<'a>) -> Result<(), Syntax>,
) -> Result<(), Syntax> {
    if cursor.null() {
        return Ok(());
    }
    let mut array = cursor.array()?;
    while cursor.element(&mut array)? {
        read(cursor)?;
    }
    Ok(())
}
