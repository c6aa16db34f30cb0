//! A walk through messages of OTLP JSON: their resources, spans, attributes and times.
//!
//! A message is an `ExportTraceServiceRequest`, a recording a list of them. What is not there or
//! of another type is passed over: the recordings are ours, and what is wrong with them stays so.

use std::collections::BTreeSet;

use serde_json::Value;

static NULL: Value = Value::Null;

/// Returns the items of a list in an object.
pub(super) fn list<'a>(object: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    object.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Returns the items of a list in an object, to be changed.
pub(super) fn list_mut<'a>(
    object: &'a mut Value,
    key: &str,
) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Returns each span behind the resource that it is of.
pub(super) fn spans(messages: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    messages.iter().flat_map(|message| list(message, "resourceSpans")).flat_map(|of_resource| {
        let resource = of_resource.get("resource").unwrap_or(&NULL);
        let scopes = list(of_resource, "scopeSpans");
        scopes.flat_map(|scope| list(scope, "spans")).map(move |span| (resource, span))
    })
}

/// Calls `change` with each resource.
pub(super) fn each_resource(messages: &mut [Value], change: impl FnMut(&mut Value)) {
    let of_resources = messages.iter_mut().flat_map(|message| list_mut(message, "resourceSpans"));
    of_resources.filter_map(|of_resource| of_resource.get_mut("resource")).for_each(change);
}

/// Calls `change` with each resource and each of its spans.
pub(super) fn each_span(messages: &mut [Value], mut change: impl FnMut(&Value, &mut Value)) {
    for of_resource in messages.iter_mut().flat_map(|message| list_mut(message, "resourceSpans")) {
        let resource = of_resource.get("resource").cloned().unwrap_or_default();
        for scope in list_mut(of_resource, "scopeSpans") {
            list_mut(scope, "spans").for_each(|span| change(&resource, span));
        }
    }
}

/// Leaves the spans for which `keep` is true.
pub(super) fn retain_spans(messages: &mut [Value], mut keep: impl FnMut(&Value, &Value) -> bool) {
    for of_resource in messages.iter_mut().flat_map(|message| list_mut(message, "resourceSpans")) {
        let resource = of_resource.get("resource").cloned().unwrap_or_default();
        for scope in list_mut(of_resource, "scopeSpans") {
            if let Some(spans) = scope.get_mut("spans").and_then(Value::as_array_mut) {
                spans.retain(|span| keep(&resource, span));
            }
        }
    }
}

/// Returns a field of text, empty where there is none.
pub(super) fn field<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Returns the value of an attribute of a resource or span, under its type.
pub(super) fn attribute<'a>(holder: &'a Value, key: &str) -> Option<&'a Value> {
    list(holder, "attributes").find(|attribute| field(attribute, "key") == key)?.get("value")
}

/// Returns an attribute that is text, empty where there is none.
pub(super) fn text<'a>(holder: &'a Value, key: &str) -> &'a str {
    attribute(holder, key).map_or("", |value| field(value, "stringValue"))
}

/// Puts others in the place of attributes that are text: `other` is given key and text.
pub(super) fn put_texts(holder: &mut Value, other: impl Fn(&str, &str) -> Option<String>) {
    for attribute in list_mut(holder, "attributes") {
        let other = match attribute.pointer("/value/stringValue") {
            Some(Value::String(text)) => other(field(attribute, "key"), text),
            _ => None,
        };
        if let (Some(other), Some(text)) = (other, attribute.pointer_mut("/value/stringValue")) {
            *text = Value::String(other);
        }
    }
}

/// Kinds of spans: as a number, as the Python SDK writes them, and by name.
pub(super) const SERVER: (u64, &str) = (2, "SPAN_KIND_SERVER");
pub(super) const PRODUCER: (u64, &str) = (4, "SPAN_KIND_PRODUCER");
pub(super) const CONSUMER: (u64, &str) = (5, "SPAN_KIND_CONSUMER");

/// Returns whether a span is of a kind.
pub(super) fn is_kind(span: &Value, (number, name): (u64, &str)) -> bool {
    span.get("kind").and_then(Value::as_u64) == Some(number) || field(span, "kind") == name
}

/// Returns the `service.name` of a resource.
pub(super) fn service(resource: &Value) -> &str {
    text(resource, "service.name")
}

/// Returns the services that have spans.
pub(super) fn services(messages: &[Value]) -> BTreeSet<String> {
    spans(messages).map(|(resource, _)| service(resource).to_owned()).collect()
}

/// Returns a time, ns since the epoch; none where it is 0, which is not known.
fn nanos(value: Option<&Value>) -> Option<i128> {
    let nanos = match value? {
        Value::String(digits) => digits.parse().ok()?,
        number => i128::from(number.as_u64()?),
    };
    (nanos > 0).then_some(nanos)
}

/// Puts others in the place of all times that are known; `other` is given the resource.
pub(super) fn put_times(messages: &mut [Value], other: impl Fn(&Value, i128) -> i128) {
    each_span(messages, |resource, span| {
        for key in ["startTimeUnixNano", "endTimeUnixNano"] {
            put_time(span, key, |nanos| other(resource, nanos));
        }
        for event in list_mut(span, "events") {
            put_time(event, "timeUnixNano", |nanos| other(resource, nanos));
        }
    });
}

fn put_time(object: &mut Value, key: &str, other: impl Fn(i128) -> i128) {
    if let (Some(nanos), Some(time)) = (nanos(object.get(key)), object.get_mut(key)) {
        *time = Value::String(other(nanos).max(1).to_string());
    }
}

/// Returns when the first span starts and the last one ends, ns since the epoch.
pub(super) fn extent(messages: &[Value]) -> Option<(i128, i128)> {
    let starts = spans(messages).filter_map(|(_, span)| nanos(span.get("startTimeUnixNano")));
    let ends = spans(messages).filter_map(|(_, span)| nanos(span.get("endTimeUnixNano")));
    Some((starts.min()?, ends.max()?))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    const URL: &str = "http://stock/items/7?a=b";

    /// Two requests to `shop` on one process, the first of which calls `stock`.
    pub(in crate::metamorphic) fn tiny() -> Vec<Value> {
        let resource = |service: &str, instance: &str| {
            json!({"attributes": [
                {"key": "service.name", "value": {"stringValue": service}},
                {"key": "service.instance.id", "value": {"stringValue": instance}},
            ]})
        };
        let span = |trace: &str, id: &str, parent: &str, kind: u8, name: &str, times: [u64; 2]| {
            json!({
                "traceId": trace.repeat(16),
                "spanId": id.repeat(8),
                "parentSpanId": parent.repeat(8),
                "name": name,
                "kind": kind,
                "startTimeUnixNano": times[0].to_string(),
                "endTimeUnixNano": times[1].to_string(),
                "attributes": [{"key": "http.url", "value": {"stringValue": URL}}],
                "events": [{"timeUnixNano": times[0].to_string(), "name": "exception"}],
            })
        };
        let shop = [
            span("01", "01", "", 2, "GET /carts/{id}", [1_000, 1_900]),
            span("01", "02", "01", 3, "GET", [1_100, 1_501]),
            span("02", "03", "", 2, "GET /carts/{id}", [5_000, 5_300]),
        ];
        let stock = [span("01", "04", "02", 2, "GET /items/{i}", [1_200, 1_400])];
        let instance = "d083f4bf-f30d-4c00-8000-0123456789ab";
        vec![
            json!({"resourceSpans": [
                {"resource": resource("shop", instance), "scopeSpans": [{"spans": shop}]},
            ]}),
            json!({"resourceSpans": [
                {"resource": resource("stock", "stock-1"), "scopeSpans": [{"spans": stock}]},
            ]}),
        ]
    }

    #[test]
    fn finds_spans_services_and_times() {
        let messages = tiny();
        assert_eq!(spans(&messages).count(), 4);
        assert_eq!(services(&messages).into_iter().collect::<Vec<_>>(), ["shop", "stock"]);
        assert_eq!(extent(&messages), Some((1_000, 5_300)));
        assert_eq!(extent(&[]), None);
    }

    #[test]
    fn a_time_that_is_not_known_stays_so() {
        let mut object = json!({"a": "0", "b": "5", "c": 6});
        for key in ["a", "b", "c", "d"] {
            put_time(&mut object, key, |nanos| nanos - 100);
        }
        assert_eq!(object, json!({"a": "0", "b": "1", "c": "1"}));
    }

    #[test]
    fn attributes_are_changed_where_they_are_text() {
        let mut holder = json!({"attributes": [
            {"key": "a", "value": {"stringValue": "x"}},
            {"key": "b", "value": {"intValue": "1"}},
        ]});
        put_texts(&mut holder, |key, text| Some(format!("{key}{text}")));
        assert_eq!((text(&holder, "a"), text(&holder, "b")), ("ax", ""));
        assert!(attribute(&holder, "b").is_some() && attribute(&holder, "c").is_none());
    }
}
