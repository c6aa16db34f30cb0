//! prost's view of a message, span by span, to compare with.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

/// A span with its resource and scope, each with its schema URL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flat {
    pub(crate) resource: (Resource, String),
    pub(crate) scope: (InstrumentationScope, String),
    pub(crate) span: Span,
}

/// Returns the spans of a message in order, what OTLP cannot tell apart made equal.
pub(crate) fn flatten(request: ExportTraceServiceRequest) -> Vec<Flat> {
    let mut spans = Vec::new();
    for resource_spans in request.resource_spans {
        let mut resource = resource_spans.resource.unwrap_or_default();
        resource.entity_refs.clear();
        settle_own(&mut resource.attributes);
        for scope_spans in resource_spans.scope_spans {
            let mut scope = scope_spans.scope.unwrap_or_default();
            settle_own(&mut scope.attributes);
            for mut span in scope_spans.spans {
                settle_span(&mut span);
                spans.push(Flat {
                    resource: (resource.clone(), resource_spans.schema_url.clone()),
                    scope: (scope.clone(), scope_spans.schema_url.clone()),
                    span,
                });
            }
        }
    }
    spans
}

fn settle_span(span: &mut Span) {
    span.status.get_or_insert_default();
    if span.parent_span_id == [0; 8] || span.parent_span_id == span.span_id {
        span.parent_span_id.clear();
    }
    settle_own(&mut span.attributes);
    span.events.iter_mut().for_each(|event| settle_own(&mut event.attributes));
    span.links.iter_mut().for_each(|link| settle_own(&mut link.attributes));
}

/// Of attributes with the same key the last one counts.
fn settle_own(attributes: &mut Vec<KeyValue>) {
    settle_all(attributes);
    let keys: Vec<String> = attributes.iter().map(|attribute| attribute.key.clone()).collect();
    let mut number = 0;
    attributes.retain(|attribute| {
        number += 1;
        !keys[number..].contains(&attribute.key)
    });
}

fn settle_all(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        settle(attribute.value.get_or_insert_default());
    }
}

fn settle(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::ArrayValue(array)) => array.values.iter_mut().for_each(settle),
        Some(Value::KvlistValue(list)) => settle_all(&mut list.values),
        _ => {}
    }
}
