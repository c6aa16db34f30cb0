//! Spans as an OTLP JSON `ExportTraceServiceRequest`, one group a resource and a scope.

use serde_json::{Map, Value as Json, json};

use super::expand::{Numbers, Process, Span};
use super::line::{Event, Value};

/// Items under a common head, in the order of their first.
type Groups<T> = Vec<(Json, T)>;

/// Returns the request.
pub(super) fn export_request(spans: &[Span]) -> Json {
    let mut resources: Groups<Groups<Vec<Json>>> = Vec::new();
    for span in spans {
        let scopes = group(&mut resources, resource(&span.process));
        group(scopes, scope(span)).push(span_json(span));
    }
    let scope_spans = |(scope, spans)| json!({ "scope": scope, "spans": spans });
    let resource_spans: Vec<Json> = resources
        .into_iter()
        .map(|(resource, scopes)| {
            let scopes: Vec<Json> = scopes.into_iter().map(scope_spans).collect();
            json!({ "resource": resource, "scopeSpans": scopes })
        })
        .collect();
    json!({ "resourceSpans": resource_spans })
}

/// Looks from the end: neighbours mostly share their group.
fn group<T: Default>(groups: &mut Groups<T>, head: Json) -> &mut T {
    let at = groups.iter().rposition(|(other, _)| *other == head).unwrap_or_else(|| {
        groups.push((head, T::default()));
        groups.len() - 1
    });
    &mut groups[at].1
}

fn resource(process: &Process) -> Json {
    let own = [("service.name", &process.service), ("service.instance.id", &process.instance)];
    let own = own.into_iter().filter_map(|(key, text)| {
        let value = Value::Quoted(text.clone()?);
        Some(attribute(key, &value))
    });
    let further = process.resource.iter().map(|(key, value)| attribute(key, value));
    json!({ "attributes": own.chain(further).collect::<Vec<_>>() })
}

fn scope(span: &Span) -> Json {
    let mut scope = Map::new();
    let texts = [("name", &span.line.scope), ("version", &span.line.scope_version)];
    for (key, text) in texts {
        insert_text(&mut scope, key, text.as_ref(), span.numbers);
    }
    Json::Object(scope)
}

fn span_json(span: &Span) -> Json {
    let mut json = Map::new();
    json.insert("traceId".to_owned(), json!(span.trace_id));
    json.insert("spanId".to_owned(), json!(span.span_id));
    if let Some(parent) = &span.parent_span_id {
        json.insert("parentSpanId".to_owned(), json!(parent));
    }
    insert_text(&mut json, "traceState", span.line.trace_state.as_ref(), span.numbers);
    json.insert("name".to_owned(), json!(span.name));
    json.insert("kind".to_owned(), json!(span.line.kind));
    json.insert("startTimeUnixNano".to_owned(), json!(span.start_unix_nano.to_string()));
    json.insert("endTimeUnixNano".to_owned(), json!(span.end_unix_nano.to_string()));
    json.insert("attributes".to_owned(), attributes(&span.line.attributes, span.numbers));
    if !span.line.events.is_empty() {
        let events = span.line.events.iter().map(|event| event_json(event, span));
        json.insert("events".to_owned(), events.collect());
    }
    let mut status = Map::new();
    if span.line.status != 0 {
        status.insert("code".to_owned(), json!(span.line.status));
    }
    insert_text(&mut status, "message", span.line.status_message.as_ref(), span.numbers);
    json.insert("status".to_owned(), Json::Object(status));
    if span.flags != 0 {
        json.insert("flags".to_owned(), json!(span.flags));
    }
    Json::Object(json)
}

fn event_json(event: &Event, span: &Span) -> Json {
    json!({
        "timeUnixNano": span.end_unix_nano.to_string(),
        "name": span.numbers.fill(&event.name),
        "attributes": attributes(&event.attributes, span.numbers),
    })
}

fn insert_text(map: &mut Map<String, Json>, key: &str, text: Option<&String>, numbers: Numbers) {
    if let Some(text) = text {
        map.insert(key.to_owned(), json!(numbers.fill(text)));
    }
}

fn attributes(attributes: &[(String, Value)], numbers: Numbers) -> Json {
    attributes.iter().map(|(key, value)| attribute(key, &numbers.fill_value(value))).collect()
}

/// Returns the OTLP attribute: a bare integer, `true` or `false` has its type, all else is text.
fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Bare(text) => {
            if let Ok(number) = text.parse::<i64>() {
                json!({ "intValue": number.to_string() })
            } else if let Ok(bool) = text.parse::<bool>() {
                json!({ "boolValue": bool })
            } else {
                json!({ "stringValue": text })
            }
        }
        Value::Quoted(text) => json!({ "stringValue": text }),
    };
    json!({ "key": key, "value": value })
}
