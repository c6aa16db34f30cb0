//! From Zipkin JSON, version 2, to spans.
//!
//! The mapping is that of the specification's "OpenTelemetry to Zipkin Transformation", read
//! backwards:
//!
//! | Zipkin | span |
//! |---|---|
//! | `kind`, none | kind, INTERNAL |
//! | `localEndpoint`: name, address, port | `service.name`, `host.ip`; `network.local.port` |
//! | `remoteEndpoint`: name, address, port | `service.peer.name`, `network.peer.*` |
//! | tags `otel.status_code`, `otel.status_description`, `error` | status |
//! | tags `otel.scope.*`, `otel.library.*`, `w3c.tracestate` | scope, trace state |
//! | tags that describe a process (`process.pid`, `host.name` ...) | resource attributes |
//! | other tags | attributes of type string |
//! | `annotations` | events without attributes |
//!
//! Times are microseconds. A span without a timestamp is refused, one without a duration has none.
//!
//! **Shared spans.** Zipkin's older instrumentations give the client's and the server's side of a
//! call one span id, which OTLP cannot say. The client's side keeps the id. The server's side gets
//! one of its own, made of the trace, the id and the service, and becomes the child of the
//! client's; spans of the server's service that name the id as their parent become its children.

use std::collections::{HashMap, HashSet};

use crate::Decoder;
use crate::file::request::{
    Attributes, Event, Request, STATUS_ERROR, Span, each_element, each_member, find, integer,
    kind_number, nanos, parse_id, resource, status_number, take, take_scope, take_text, text,
};
use crate::json::{Cursor, Syntax};
use crate::rejected::Reason;
use crate::values::Value;

/// Takes spans, each a whole JSON object. They need each other: pass those of a file at once.
pub(crate) fn decode(spans: &[&[u8]], decoder: &mut Decoder) {
    let shared = Shared::of(spans);
    let mut request = Request::default();
    for text in spans {
        let mut read = ZipkinSpan::default();
        let span = match read.read(&mut Cursor::new(text)) {
            Ok(()) => read.span(&shared),
            Err(_) => Err(Reason::Malformed),
        };
        match span {
            Err(reason) => decoder.reject(reason, || read.name_in_words()),
            Ok(mut span) => {
                let scope = take_scope(&mut span.attributes);
                let resource = read.take_resource(&mut span.attributes);
                request.add(decoder, &resource, &scope, &span.write());
            }
        }
    }
    request.flush(decoder);
}

type TraceId = [u8; 16];
type SpanId = [u8; 8];

/// The server's side of a call: its service, and the id that it gets.
type Server = (Vec<u8>, SpanId);

/// Which ids stand for both sides of a call.
#[derive(Debug, Default)]
struct Shared {
    servers: HashMap<(TraceId, SpanId), Vec<Server>>,
}

impl Shared {
    fn of(spans: &[&[u8]]) -> Self {
        let mut clients = HashSet::new();
        let mut servers = Vec::new();
        for text in spans {
            let Some((key, side, service)) = side(text) else { continue };
            match side {
                Side::Client => {
                    clients.insert(key);
                }
                Side::Server => servers.push((key, service)),
                Side::Neither => {}
            }
        }
        let mut shared = Self::default();
        for (key, service) in servers.into_iter().filter(|(key, _)| clients.contains(key)) {
            let services = shared.servers.entry(key).or_default();
            if services.iter().all(|(known, _)| *known != service) {
                let id = server_id(&key, &service);
                services.push((service, id));
            }
        }
        shared
    }

    /// Returns the id of the server's side, if the id is shared and the service is that side.
    fn server(&self, trace_id: TraceId, id: SpanId, service: &[u8]) -> Option<SpanId> {
        let services = self.servers.get(&(trace_id, id))?;
        services.iter().find(|(name, _)| name == service).map(|(_, id)| *id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
    Neither,
}

impl Side {
    fn new(kind: &[u8], is_shared: bool) -> Self {
        match kind {
            b"CLIENT" => Self::Client,
            b"SERVER" => Self::Server,
            _ if is_shared => Self::Server,
            _ => Self::Neither,
        }
    }
}

/// Reads only what tells whether an id is shared; `None` for a span that will be refused.
fn side(span: &[u8]) -> Option<((TraceId, SpanId), Side, Vec<u8>)> {
    let (mut trace_id, mut id, mut kind, mut service) = (None, None, None, None);
    let mut is_shared = false;
    let read = each_member(&mut Cursor::new(span), |cursor, key| {
        match key {
            b"traceId" => trace_id = text(cursor)?,
            b"id" => id = text(cursor)?,
            b"kind" => kind = text(cursor)?,
            b"shared" => is_shared = text(cursor)?.as_deref() == Some(b"true"),
            b"localEndpoint" => service = read_endpoint(cursor)?.service,
            _ => cursor.skip_value()?,
        }
        Ok(())
    });
    read.ok()?;
    let key = (parse_id(&trace_id?)?, parse_id(&id?)?);
    let side = Side::new(kind.as_deref().unwrap_or_default(), is_shared);
    Some((key, side, service.unwrap_or_default()))
}

/// Makes a span id of what names the server's side (FNV-1a, 64 bits): the same for the same spans,
/// whatever file they come in.
fn server_id((trace_id, id): &(TraceId, SpanId), service: &[u8]) -> SpanId {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in trace_id.iter().chain(id).chain(service) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash.max(1).to_be_bytes()
}

/// A span as Zipkin has it.
#[derive(Debug, Default)]
struct ZipkinSpan {
    trace_id: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    parent_id: Option<Vec<u8>>,
    name: Vec<u8>,
    kind: Vec<u8>,
    timestamp_micros: Option<i64>,
    duration_micros: i64,
    local: Endpoint,
    remote: Endpoint,
    annotations: Vec<Event>,
    tags: Attributes,
    is_shared: bool,
    is_debug: bool,
    has_bad_time: bool,
}

#[derive(Debug, Default)]
struct Endpoint {
    service: Option<Vec<u8>>,
    address: Option<Vec<u8>>,
    port: Option<i64>,
}

fn read_endpoint(cursor: &mut Cursor<'_>) -> Result<Endpoint, Syntax> {
    let mut endpoint = Endpoint::default();
    let mut ipv6 = None;
    each_member(cursor, |cursor, key| {
        let filled = |text: Option<Vec<u8>>| text.filter(|text| !text.is_empty());
        match key {
            b"serviceName" => endpoint.service = filled(text(cursor)?),
            b"ipv4" => endpoint.address = filled(text(cursor)?),
            b"ipv6" => ipv6 = filled(text(cursor)?),
            b"port" => endpoint.port = integer(cursor)?.filter(|port| *port != 0),
            _ => cursor.skip_value()?,
        }
        Ok(())
    })?;
    endpoint.address = endpoint.address.or(ipv6);
    Ok(endpoint)
}

impl ZipkinSpan {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Syntax> {
        each_member(cursor, |cursor, key| {
            match key {
                b"traceId" => self.trace_id = text(cursor)?,
                b"id" => self.id = text(cursor)?,
                b"parentId" => self.parent_id = text(cursor)?,
                b"name" => self.name = text(cursor)?.unwrap_or_default(),
                b"kind" => self.kind = text(cursor)?.unwrap_or_default(),
                b"timestamp" => self.timestamp_micros = self.time(cursor)?,
                b"duration" => self.duration_micros = self.time(cursor)?.unwrap_or_default(),
                b"localEndpoint" => self.local = read_endpoint(cursor)?,
                b"remoteEndpoint" => self.remote = read_endpoint(cursor)?,
                b"annotations" => each_element(cursor, |cursor| self.read_annotation(cursor))?,
                b"tags" => each_member(cursor, |cursor, key| {
                    let value = text(cursor)?.map_or(Value::None, Value::String);
                    self.tags.push((key.to_vec(), value));
                    Ok(())
                })?,
                b"shared" => self.is_shared = text(cursor)?.as_deref() == Some(b"true"),
                b"debug" => self.is_debug = text(cursor)?.as_deref() == Some(b"true"),
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

    fn read_annotation(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Syntax> {
        let mut event = Event::default();
        let mut micros = None;
        each_member(cursor, |cursor, key| {
            match key {
                b"timestamp" => micros = self.time(cursor)?,
                b"value" => event.name = text(cursor)?.unwrap_or_default(),
                _ => cursor.skip_value()?,
            }
            Ok(())
        })?;
        match micros.and_then(nanos) {
            Some(nanos) => event.time_unix_nano = nanos,
            None => self.has_bad_time = true,
        }
        self.annotations.push(event);
        Ok(())
    }

    /// Makes the span, or says why it is refused.
    fn span(&mut self, shared: &Shared) -> Result<Span, Reason> {
        let trace_id = self.trace_id.as_deref().and_then(parse_id).ok_or(Reason::TraceId)?;
        let id = self.id.as_deref().and_then(parse_id).ok_or(Reason::SpanId)?;
        // Zipkin's clients write 0 for a time that they do not know.
        let start = self.timestamp_micros.filter(|micros| *micros != 0 && !self.has_bad_time);
        let start = start.ok_or(Reason::Time)?;
        let end = start.checked_add(self.duration_micros).ok_or(Reason::Time)?;
        let (span_id, parent_span_id) = self.place(trace_id, id, shared)?;
        let mut attributes = std::mem::take(&mut self.tags);
        let (status_code, status_message) = take_status(&mut attributes);
        let trace_state = take_text(&mut attributes, "w3c.tracestate");
        let kind = self.kind(&mut attributes);
        self.add_own_attributes(&mut attributes);
        Ok(Span {
            trace_id,
            span_id,
            trace_state: trace_state.unwrap_or_default(),
            parent_span_id,
            name: std::mem::take(&mut self.name),
            kind,
            start_time_unix_nano: nanos(start).ok_or(Reason::Time)?,
            end_time_unix_nano: nanos(end).ok_or(Reason::Time)?,
            attributes,
            events: std::mem::take(&mut self.annotations),
            links: Vec::new(),
            status_code,
            status_message,
            flags: 0,
        })
    }

    /// Returns the span's id and its parent's, shared ids told apart.
    fn place(
        &self,
        trace_id: TraceId,
        id: SpanId,
        shared: &Shared,
    ) -> Result<(SpanId, Option<SpanId>), Reason> {
        let service = self.local.service.as_deref().unwrap_or_default();
        if Side::new(&self.kind, self.is_shared) == Side::Server
            && let Some(server_id) = shared.server(trace_id, id, service)
        {
            return Ok((server_id, Some(id)));
        }
        let Some(parent) = self.parent_id.as_deref().filter(|id| !id.is_empty()) else {
            return Ok((id, None));
        };
        let parent = parse_id(parent).ok_or(Reason::ParentSpanId)?;
        let server = shared.server(trace_id, parent, service);
        Ok((id, Some(server.unwrap_or(parent)).filter(|parent| *parent != [0; 8])))
    }

    /// A span without a kind is local: INTERNAL, as OpenTelemetry's exporters have it.
    fn kind(&self, attributes: &mut Attributes) -> u64 {
        const INTERNAL: u64 = 1;
        let tag = take_text(attributes, "span.kind");
        kind_number(&self.kind).or_else(|| kind_number(&tag?)).unwrap_or(INTERNAL)
    }

    /// Adds what a span of OTLP has no field for.
    fn add_own_attributes(&mut self, attributes: &mut Attributes) {
        let text = |text: &mut Option<Vec<u8>>| text.take().map(Value::String);
        let number = |number: Option<i64>| number.map(Value::Int);
        let flag = |is_set: bool| is_set.then_some(Value::Bool(true));
        let own = [
            ("network.local.port", number(self.local.port)),
            ("service.peer.name", text(&mut self.remote.service)),
            ("network.peer.address", text(&mut self.remote.address)),
            ("network.peer.port", number(self.remote.port)),
            ("zipkin.shared", flag(self.is_shared)),
            ("zipkin.debug", flag(self.is_debug)),
        ];
        for (name, value) in own {
            // A tag of that name was set by hand, and stays.
            if find(attributes, name).is_none() {
                attributes.extend(value.map(|value| (name.as_bytes().to_vec(), value)));
            }
        }
    }

    /// Writes the `Resource`: the local endpoint, and the tags that came from one.
    fn take_resource(&mut self, attributes: &mut Attributes) -> Vec<u8> {
        let mut of_resource = Attributes::new();
        if let Some(service) = self.local.service.take() {
            take(attributes, "service.name");
            of_resource.push((b"service.name".to_vec(), Value::String(service)));
        }
        let tags = attributes.extract_if(.., |(name, _)| is_of_resource(name));
        of_resource.extend(tags);
        if let Some(address) = self.local.address.take()
            && find(&of_resource, "host.ip").is_none()
        {
            of_resource.push((b"host.ip".to_vec(), Value::String(address)));
        }
        resource(&of_resource)
    }

    fn name_in_words(&self) -> String {
        let text = |id: &Option<Vec<u8>>| match id {
            Some(id) => format!("`{}`", String::from_utf8_lossy(id).escape_debug()),
            None => "nothing".to_owned(),
        };
        format!("Zipkin span with `traceId` {}, `id` {}", text(&self.trace_id), text(&self.id))
    }
}

/// OpenTelemetry's exporters write the attributes of a resource as tags of every span.
fn is_of_resource(name: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 8] = [
        b"service.",
        b"telemetry.",
        b"process.",
        b"host.",
        b"os.",
        b"container.",
        b"k8s.",
        b"deployment.",
    ];
    let is_peer = name.starts_with(b"service.peer.");
    !is_peer && PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes the status out of the tags. In Zipkin any `error` tag is an error, its value the reason.
fn take_status(attributes: &mut Attributes) -> (u64, Vec<u8>) {
    let named = take_text(attributes, "otel.status_code").and_then(|name| status_number(&name));
    let message = take_text(attributes, "otel.status_description");
    let is_error = match find(attributes, "error") {
        Some(Value::String(text)) => text != b"false",
        _ => false,
    };
    let reason = if is_error { take_text(attributes, "error") } else { None };
    let reason = reason.filter(|reason| reason != b"true");
    let code = named.unwrap_or(if is_error { STATUS_ERROR } else { 0 });
    (code, message.or(reason).unwrap_or_default())
}
