//! Properties over any message and any bytes: prost is the oracle where it can read.

mod common;
mod flat;

use common::{NOW, decode, rows};
use flat::flatten;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use timesink_model::schema::{Columns, spans};
use timesink_otlp::{
    Decoded, Decoder, DecoderOptions, encode_json, encode_json_within, encode_protobuf,
};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z.]{1,20}",
        // Anything: quotes, backslashes, control characters, all planes of Unicode.
        any::<String>(),
        Just("\u{0}\u{1f}\"\\/\u{7f}😀 long enough for a view of its own".to_owned()),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        Just("$".to_owned()),
        Just("$bytes".to_owned()),
        Just("$$double".to_owned()),
        Just("db.statement".to_owned()),
        Just("http.status_code".to_owned()),
        Just("code.namespace".to_owned()),
        Just("code.function".to_owned()),
    ]
}

fn finite() -> impl Strategy<Value = f64> {
    prop_oneof![
        // NaN is not equal to itself, and serde_json misreads the last bit of some doubles.
        any::<f64>().prop_filter("exact in serde", |value| {
            value.is_finite()
                && serde_json::from_str::<f64>(&format!("{value:?}")).ok() == Some(*value)
        }),
        any::<i32>().prop_map(f64::from),
        Just(-0.0),
        Just(1e300),
        Just(5e-324),
    ]
}

fn value() -> impl Strategy<Value = Option<Value>> {
    let leaf = prop_oneof![
        1 => Just(None),
        4 => text().prop_map(|text| Some(Value::StringValue(text))),
        2 => any::<bool>().prop_map(|value| Some(Value::BoolValue(value))),
        2 => any::<i64>().prop_map(|value| Some(Value::IntValue(value))),
        2 => finite().prop_map(|value| Some(Value::DoubleValue(value))),
        2 => vec(any::<u8>(), 0..20).prop_map(|bytes| Some(Value::BytesValue(bytes))),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let inner = inner.prop_map(|value| AnyValue { value });
        let array = vec(inner.clone(), 0..5).prop_map(|values| ArrayValue { values });
        let entry = (key(), inner).prop_map(|(key, value)| KeyValue {
            key,
            value: Some(value),
            key_strindex: 0,
        });
        let list = vec(entry, 0..5).prop_map(|values| KeyValueList { values });
        prop_oneof![
            array.prop_map(|array| Some(Value::ArrayValue(array))),
            list.prop_map(|list| Some(Value::KvlistValue(list))),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let attribute = (key(), value()).prop_map(|(key, value)| KeyValue {
        key,
        value: Some(AnyValue { value }),
        key_strindex: 0,
    });
    vec(attribute, 0..6)
}

fn id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), length).prop_filter("zero is no id", |id| id.iter().any(|byte| *byte != 0))
}

fn absent_or(id: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(Vec::new()), id]
}

prop_compose! {
    fn event()(
        time_unix_nano in 0..=i64::MAX as u64,
        name in text(),
        attributes in attributes(),
        dropped_attributes_count in any::<u32>(),
    ) -> Event {
        Event { time_unix_nano, name, attributes, dropped_attributes_count }
    }
}

prop_compose! {
    fn link()(
        trace_id in absent_or(vec(any::<u8>(), 16)),
        span_id in absent_or(vec(any::<u8>(), 8)),
        trace_state in text(),
        attributes in attributes(),
        dropped_attributes_count in any::<u32>(),
        flags in any::<u32>(),
    ) -> Link {
        Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags }
    }
}

prop_compose! {
    fn span()(
        ids in (id(16), id(8), absent_or(id(8))),
        texts in (text(), text()),
        kind in prop_oneof![0..6, any::<i32>()],
        start in 0..NOW as u64,
        nanos in 0..7 * 24 * 3600 * 1_000_000_000_u64,
        attributes in attributes(),
        events in vec(event(), 0..3),
        links in vec(link(), 0..3),
        counts in (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()),
        status in prop::option::of((text(), prop_oneof![0..3, any::<i32>()])),
    ) -> Span {
        Span {
            trace_id: ids.0,
            span_id: ids.1,
            parent_span_id: ids.2,
            trace_state: texts.0,
            name: texts.1,
            kind,
            start_time_unix_nano: start,
            end_time_unix_nano: start + nanos,
            attributes,
            events,
            links,
            dropped_attributes_count: counts.0,
            dropped_events_count: counts.1,
            dropped_links_count: counts.2,
            flags: counts.3,
            status: status.map(|(message, code)| Status { message, code }),
        }
    }
}

prop_compose! {
    fn scope_spans()(
        scope in prop::option::of((text(), text(), attributes(), any::<u32>())),
        spans in vec(span(), 0..4),
        schema_url in text(),
    ) -> ScopeSpans {
        let scope = scope.map(|(name, version, attributes, dropped_attributes_count)| {
            InstrumentationScope { name, version, attributes, dropped_attributes_count }
        });
        ScopeSpans { scope, spans, schema_url }
    }
}

prop_compose! {
    fn resource_spans()(
        resource in prop::option::of((attributes(), any::<u32>())),
        scope_spans in vec(scope_spans(), 0..3),
        schema_url in text(),
    ) -> ResourceSpans {
        let resource = resource.map(|(attributes, dropped_attributes_count)| {
            Resource { attributes, dropped_attributes_count, entity_refs: Vec::new() }
        });
        ResourceSpans { resource, scope_spans, schema_url }
    }
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    vec(resource_spans(), 0..3)
        .prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

fn count(request: &ExportTraceServiceRequest) -> usize {
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    scopes.map(|scope| scope.spans.len()).sum()
}

/// Decodes in batches of `rows_max`, and sends it again as one message.
fn there_and_back(
    rows_max: usize,
    read: impl FnOnce(&mut Decoder),
    encode: impl Fn(&arrow::array::RecordBatch) -> ExportTraceServiceRequest,
) -> (Decoded, ExportTraceServiceRequest) {
    let mut options = DecoderOptions::new(NOW);
    options.batch_rows_max = rows_max;
    let mut into = Decoder::new(options);
    read(&mut into);
    let decoded = into.finish();
    let resource_spans =
        decoded.spans.iter().flat_map(|batch| encode(batch).resource_spans).collect();
    (decoded, ExportTraceServiceRequest { resource_spans })
}

fn by_protobuf(batch: &arrow::array::RecordBatch) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(encode_protobuf(batch).as_slice()).expect("our own bytes")
}

fn by_json(batch: &arrow::array::RecordBatch) -> ExportTraceServiceRequest {
    serde_json::from_slice(&encode_json(batch)).expect("our own text")
}

/// Checks that spans decoded for some columns are those columns of spans decoded whole.
fn check_columns(request: &ExportTraceServiceRequest, kept: &[bool]) -> Result<(), TestCaseError> {
    let message = request.encode_to_vec();
    let decoded = |columns: Columns| {
        let mut decoder = Decoder::new(DecoderOptions { columns, ..DecoderOptions::new(NOW) });
        decoder.protobuf(&message).expect("prost wrote it");
        decoder.finish()
    };
    let whole = decoded(Columns::All);
    let names = spans::table().columns.into_iter().zip(kept).filter(|(_, is_kept)| **is_kept);
    let columns = Columns::named(names.map(|(column, _)| column.name.to_owned()));
    let part = decoded(columns.clone());
    prop_assert_eq!(part.rejected.total(), whole.rejected.total());
    let batches = |decoded: &Decoded| [decoded.spans.clone(), decoded.quarantine.clone()].concat();
    let (whole, part) = (batches(&whole), batches(&part));
    prop_assert_eq!(whole.len(), part.len());
    for (whole, part) in whole.iter().zip(&part) {
        prop_assert_eq!(whole.num_rows(), part.num_rows());
        for (field, column) in whole.schema().fields().iter().zip(whole.columns()) {
            let is_there = columns.has(field.name()) || field.name() == "reason";
            let expected = is_there.then_some(column);
            prop_assert_eq!(part.column_by_name(field.name()), expected, "{}", field.name());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Scenario: any message that prost can write, in batches of any size.
    /// Guarantee: every span and every attribute comes back, in order, by either encoding.
    #[test]
    fn protobuf_comes_back_as_it_was(request in request(), rows_max in 1..4_usize) {
        let bytes = request.encode_to_vec();
        let spans = count(&request);
        let sent = flatten(request);
        for encode in [by_protobuf, by_json] {
            let read = |decoder: &mut Decoder| decoder.protobuf(&bytes).expect("a whole message");
            let (decoded, back) = there_and_back(rows_max, read, encode);
            prop_assert!(decoded.rejected.is_empty());
            prop_assert_eq!(rows(&decoded.spans), spans);
            prop_assert!(decoded.spans.iter().all(|batch| batch.num_rows() <= rows_max));
            prop_assert_eq!(flatten(back), sent.clone());
        }
    }

    /// Scenario: the same as OTLP JSON, as serde writes it.
    /// Guarantee: the same batches as from protobuf.
    /// Scenario: a reader asks for some columns of any message.
    /// Guarantee: the same spans are taken and refused, and the columns are as they are otherwise.
    #[test]
    fn columns_that_nobody_asks_for_are_left_out_and_change_nothing(
        request in request(),
        kept in vec(any::<bool>(), 100),
    ) {
        check_columns(&request, &kept)?;
    }

    #[test]
    fn json_gives_the_batches_of_protobuf(request in request()) {
        let bytes = request.encode_to_vec();
        let text = serde_json::to_vec(&request).expect("JSON");
        let from_protobuf = decode(|decoder| decoder.protobuf(&bytes));
        let from_json = decode(|decoder| decoder.json(&text));
        prop_assert_eq!(from_json.spans, from_protobuf.spans);
        prop_assert_eq!(from_json.rejected, from_protobuf.rejected);
    }

    /// Scenario: the bytes of one span are replaced by others, its length stays.
    /// Guarantee: that span costs at most itself, and is counted where it is not taken.
    #[test]
    fn one_bad_span_costs_one_span(
        spans in vec(span(), 1..5),
        which in any::<prop::sample::Index>(),
        noise in vec(any::<u8>(), 1..64),
    ) {
        let which = which.index(spans.len());
        let mut scope_spans = Vec::new();
        for (number, span) in spans.iter().enumerate() {
            let mut bytes = span.encode_to_vec();
            if number == which {
                bytes.iter_mut().zip(noise.iter().cycle()).for_each(|(byte, noise)| *byte ^= noise);
            }
            put_message(&mut scope_spans, 2, &bytes);
        }
        let (mut resource_spans, mut message) = (Vec::new(), Vec::new());
        put_message(&mut resource_spans, 2, &scope_spans);
        put_message(&mut message, 1, &resource_spans);
        let decoded = decode(|decoder| decoder.protobuf(&message));
        let taken = rows(&decoded.spans) + rows(&decoded.quarantine);
        prop_assert_eq!(taken + decoded.rejected.total() as usize, spans.len());
        prop_assert!(taken + 1 >= spans.len());
    }

    /// Scenario: a message is cut off anywhere.
    /// Guarantee: no panic; every span that is there whole is taken, and the break is reported.
    #[test]
    fn a_message_cut_off_keeps_its_whole_spans(
        request in request(),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = request.encode_to_vec();
        let text = serde_json::to_vec(&request).expect("JSON");
        prop_assume!(!bytes.is_empty());
        let cut = &bytes[..at.index(bytes.len())];
        let mut decoder = Decoder::new(DecoderOptions::new(NOW));
        let read = decoder.protobuf(cut);
        let whole = whole_spans(&request, cut.len());
        prop_assert_eq!(decoder.spans_accepted() as usize, whole);
        let decoded = decoder.finish();
        prop_assert_eq!(rows(&decoded.spans), whole);
        prop_assert!(read.is_err() || decoded.rejected.is_empty());

        let mut decoder = Decoder::new(DecoderOptions::new(NOW));
        prop_assert!(decoder.json(&text[..at.index(text.len())]).is_err());
        let accepted = decoder.spans_accepted() as usize;
        prop_assert!(accepted <= count(&request));
        prop_assert_eq!(rows(&decoder.finish().spans), accepted);
    }

    /// Scenario: any bytes at all.
    /// Guarantee: no panic, and what is said to be accepted is there.
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::new(DecoderOptions::new(NOW));
        let _ = decoder.protobuf(&bytes);
        let _ = decoder.json(&bytes);
        let accepted = decoder.spans_accepted() as usize;
        let decoded = decoder.finish();
        prop_assert_eq!(rows(&decoded.spans) + rows(&decoded.quarantine), accepted);
    }

    /// Scenario: some bytes of a message are changed, put in or taken out.
    /// Guarantee: no panic, and what is said to be accepted is there.
    #[test]
    fn a_damaged_message_is_taken_or_refused(
        request in request(),
        damages in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3), 1..6),
    ) {
        let text = serde_json::to_vec(&request).expect("JSON");
        for (message, is_json) in [(request.encode_to_vec(), false), (text, true)] {
            let damaged = damage(message, &damages);
            let mut decoder = Decoder::new(DecoderOptions::new(NOW));
            let _ = if is_json { decoder.json(&damaged) } else { decoder.protobuf(&damaged) };
            let accepted = decoder.spans_accepted() as usize;
            let decoded = decoder.finish();
            prop_assert_eq!(rows(&decoded.spans) + rows(&decoded.quarantine), accepted);
            for batch in &decoded.spans {
                let again = decode(|decoder| decoder.protobuf(&encode_protobuf(batch)));
                prop_assert_eq!(rows(&again.spans), batch.num_rows());
                let again = decode(|decoder| decoder.json(&encode_json(batch)));
                prop_assert_eq!(rows(&again.spans), batch.num_rows());
            }
            let all = encode_json_within(&decoded.spans, usize::MAX).expect("there is no limit");
            let again = decode(|decoder| decoder.json(&all));
            prop_assert_eq!(rows(&again.spans), rows(&decoded.spans));
            let is_within = |bytes_max| encode_json_within(&decoded.spans, bytes_max).is_some();
            prop_assert!(is_within(all.len()) && !is_within(all.len() - 1));
        }
    }
}

fn damage(mut bytes: Vec<u8>, damages: &[(prop::sample::Index, u8, i32)]) -> Vec<u8> {
    for (at, byte, how) in damages {
        if bytes.is_empty() {
            break;
        }
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = *byte,
            1 => bytes.insert(at, *byte),
            _ => {
                bytes.remove(at);
            }
        }
    }
    bytes
}

fn put_message(out: &mut Vec<u8>, field: u8, message: &[u8]) {
    out.push(field << 3 | 2);
    prost::encode_length_delimiter(message.len(), out).expect("memory");
    out.extend_from_slice(message);
}

/// How many spans end within the first `length` bytes of the message as prost writes it.
fn whole_spans(request: &ExportTraceServiceRequest, length: usize) -> usize {
    let mut ends = Vec::new();
    let mut at = 0;
    for resource_spans in &request.resource_spans {
        at += prefix(resource_spans.encoded_len());
        let end = at + resource_spans.encoded_len();
        if let Some(resource) = &resource_spans.resource {
            at += prefix(resource.encoded_len()) + resource.encoded_len();
        }
        for scope_spans in &resource_spans.scope_spans {
            at += prefix(scope_spans.encoded_len());
            let end = at + scope_spans.encoded_len();
            if let Some(scope) = &scope_spans.scope {
                at += prefix(scope.encoded_len()) + scope.encoded_len();
            }
            for span in &scope_spans.spans {
                at += prefix(span.encoded_len()) + span.encoded_len();
                ends.push(at);
            }
            at = end;
        }
        at = end;
    }
    ends.iter().filter(|end| **end <= length).count()
}

/// Bytes of the tag and the length before a message.
fn prefix(length: usize) -> usize {
    1 + prost::length_delimiter_len(length)
}
