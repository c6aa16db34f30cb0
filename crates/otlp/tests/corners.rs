//! Corners of one span, in both encodings: what is taken, with which meaning, and what is refused.

mod common;

use std::fmt::Write;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::array_value_to_string;
use common::{NOW, decode, rows};
use timesink_otlp::{Decoded, Decoder, DecoderOptions, MessageError, Reason, Repair};

/// A whole span in JSON; of a repeated field the last counts, so that a case appends its own.
const SPAN: &str = r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331",
"name":"GET /","kind":2,"startTimeUnixNano":"1000","endTimeUnixNano":"3000""#;

fn json(fields: &str) -> Decoded {
    let comma = if fields.is_empty() { "" } else { "," };
    let span = format!("{{{SPAN}{comma}{fields}}}");
    let good = format!("{{{SPAN}}}");
    // The span stands between two good ones, which it must not harm.
    let text =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{good},{span},{good}]}}]}}]}}"#);
    decode(|decoder| decoder.json(text.as_bytes()))
}

/// The same span in protobuf, followed by the bytes of further fields.
fn protobuf(fields: &[u8]) -> Decoded {
    let mut span = vec![0x0a, 16];
    span.extend([0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd]);
    span.extend([0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c]);
    span.extend([0x12, 8, 0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    span.extend(b"\x2a\x05GET /\x30\x02");
    span.push(0x39);
    span.extend(1000_u64.to_le_bytes());
    span.push(0x41);
    span.extend(3000_u64.to_le_bytes());
    let good = span.clone();
    span.extend(fields);
    let spans = [field(2, &good), field(2, &span), field(2, &good)].concat();
    let message = field(1, &field(2, &spans));
    decode(|decoder| decoder.protobuf(&message))
}

fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encode_length_delimiter(bytes.len(), &mut out).expect("memory");
    out.extend(bytes);
    out
}

/// Checks columns of the middle span, and that nothing was refused or mended.
fn taken(decoded: &Decoded, columns: &[(&str, &str)]) {
    assert!(decoded.repaired.is_empty(), "{:?}", decoded.repaired);
    taken_mended(decoded, columns);
}

fn taken_mended(decoded: &Decoded, columns: &[(&str, &str)]) {
    assert!(decoded.rejected.is_empty(), "{:?}", decoded.rejected);
    let [batch] = decoded.spans.as_slice() else { panic!("not one batch") };
    assert_eq!(batch.num_rows(), 3);
    for (name, expected) in columns {
        assert_eq!(column(batch, name, 1), *expected, "{name}");
    }
}

fn column(batch: &RecordBatch, name: &str, row: usize) -> String {
    let column = batch.column_by_name(name).expect(name);
    if column.is_null(row) { "NULL".to_owned() } else { text_of(column, row) }
}

fn text_of(column: &arrow::array::ArrayRef, row: usize) -> String {
    array_value_to_string(column, row).expect("a printable column")
}

/// Checks that the middle span alone was refused, for that reason.
fn refused(decoded: &Decoded, reason: Reason) {
    let reasons: Vec<_> = decoded.rejected.iter().map(|(reason, c)| (reason, c.count)).collect();
    assert_eq!(reasons, [(reason, 1)]);
    assert_eq!(rows(&decoded.spans), 2);
}

fn mended(decoded: &Decoded, repair: Repair) {
    let repairs: Vec<_> = decoded.repaired.iter().map(|(repair, c)| (repair, c.count)).collect();
    assert_eq!(repairs, [(repair, 1)]);
}

#[test]
fn a_span_has_its_columns() {
    let columns = [
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
        ("span_id", "b7ad6b7169203331"),
        ("parent_span_id", "NULL"),
        ("trace_state", "NULL"),
        ("flags", "0"),
        ("name", "GET /"),
        ("kind", "SERVER"),
        ("status_code", "UNSET"),
        ("status_message", "NULL"),
        ("start_time_unix_nano", "1000"),
        ("end_time_unix_nano", "3000"),
        ("duration_nanos", "2000"),
        ("service_name", "NULL"),
        ("scope_name", "NULL"),
        ("scope_attributes", "NULL"),
        ("scope_attribute_kinds", "NULL"),
        ("attributes", "{}"),
        ("attribute_kinds", ""),
        ("resource_attributes", "{}"),
        ("resource_attribute_kinds", ""),
        ("events", "NULL"),
        ("links", "NULL"),
        ("dropped_attributes_count", "0"),
        ("resource_dropped_attributes_count", "0"),
    ];
    for decoded in [json(""), protobuf(&[])] {
        taken(&decoded, &columns);
        let start_time = decoded.spans[0].column_by_name("start_time").expect("a column");
        let micros = start_time.as_primitive::<TimestampMicrosecondType>();
        assert_eq!(micros.values(), &[1, 1, 1]);
    }
}

#[test]
fn a_bad_id_costs_its_span() {
    for (fields, reason) in [
        (r#""traceId":"""#, Reason::TraceId),
        (r#""traceId":"00000000000000000000000000000000""#, Reason::TraceId),
        (r#""traceId":"0af7651916cd43dd8448eb211c80319""#, Reason::TraceId),
        (r#""traceId":"0af7651916cd43dd8448eb211c80319x""#, Reason::TraceId),
        (r#""traceId":17"#, Reason::TraceId),
        (r#""traceId":{"a":[1,2]}"#, Reason::TraceId),
        (r#""spanId":"""#, Reason::SpanId),
        (r#""spanId":"0000000000000000""#, Reason::SpanId),
        (r#""spanId":"b7ad6b71692033310""#, Reason::SpanId),
        (r#""parentSpanId":"b7ad""#, Reason::ParentSpanId),
    ] {
        refused(&json(fields), reason);
    }
    refused(&protobuf(&field(1, &[])), Reason::TraceId);
    refused(&protobuf(&field(1, &[0; 16])), Reason::TraceId);
    refused(&protobuf(&field(1, &[1; 17])), Reason::TraceId);
    refused(&protobuf(&field(2, &[0; 8])), Reason::SpanId);
    refused(&protobuf(&field(2, &[1; 7])), Reason::SpanId);
    refused(&protobuf(&field(4, &[1; 7])), Reason::ParentSpanId);
}

#[test]
fn ids_are_lower_case_and_a_zero_parent_is_none() {
    let upper = r#""spanId":"B7AD6B7169203331","parentSpanId":"EEE19B7EC3C1B174""#;
    taken(&json(upper), &[("span_id", "b7ad6b7169203331"), ("parent_span_id", "eee19b7ec3c1b174")]);
    let zero = r#""parentSpanId":"0000000000000000""#;
    taken(&json(zero), &[("parent_span_id", "NULL")]);
    taken(&protobuf(&field(4, &[0; 8])), &[("parent_span_id", "NULL")]);
}

#[test]
fn a_span_that_is_its_own_parent_is_a_root() {
    for decoded in [
        json(r#""parentSpanId":"b7ad6b7169203331""#),
        protobuf(&field(4, &[0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31])),
    ] {
        taken_mended(&decoded, &[("parent_span_id", "NULL")]);
        mended(&decoded, Repair::OwnParent);
    }
}

#[test]
fn a_time_over_the_year_2262_costs_its_span() {
    refused(&json(r#""endTimeUnixNano":"9223372036854775808""#), Reason::Time);
    refused(&json(r#""endTimeUnixNano":"99999999999999999999999""#), Reason::Time);
    refused(&json(r#""startTimeUnixNano":-1"#), Reason::Time);
    refused(&json(r#""startTimeUnixNano":"yesterday""#), Reason::Time);
    refused(&json(r#""startTimeUnixNano":[]"#), Reason::Time);
    refused(&json(r#""events":[{"timeUnixNano":"9223372036854775808"}]"#), Reason::Time);
    let late = [&[0x41][..], &[0xff; 8]].concat();
    refused(&protobuf(&late), Reason::Time);
    let late_event = [&[0x09][..], &[0xff; 8]].concat();
    refused(&protobuf(&field(11, &late_event)), Reason::Time);
}

#[test]
fn times_that_cannot_be_true_go_to_the_quarantine() {
    let day = 24 * 3600 * 1_000_000_000_i64;
    let check = |start: i64, end: i64, reason: &str| {
        let decoded = json(&format!(r#""startTimeUnixNano":{start},"endTimeUnixNano":{end}"#));
        assert!(decoded.rejected.is_empty());
        let [batch] = decoded.quarantine.as_slice() else {
            assert_eq!((reason, rows(&decoded.spans)), ("", 3));
            return;
        };
        assert_eq!((batch.num_rows(), rows(&decoded.spans)), (1, 2));
        assert_eq!(column(batch, "reason", 0), reason);
        assert_eq!(column(batch, "duration_nanos", 0), (end - start).to_string());
        let schema = timesink_model::schema::quarantine::table().schema();
        assert_eq!(*batch.schema(), schema);
    };
    check(5, 4, "ends before it starts");
    check(5, 5, "");
    check(5, 5 + 7 * day, "");
    check(5, 6 + 7 * day, "lasts longer than 7 days");
    check(NOW + day, NOW + day, "");
    check(NOW + day + 1, NOW + day + 1, "starts more than a day in the future");
    check(i64::MAX, i64::MAX, "starts more than a day in the future");
    check(0, i64::MAX, "lasts longer than 7 days");
}

#[test]
fn a_batch_of_quarantined_spans_alone_has_no_spans() {
    let text = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{SPAN},"endTimeUnixNano":1}}]}}]}}]}}"#
    );
    let decoded = decode(|decoder| decoder.json(text.as_bytes()));
    assert_eq!((decoded.spans.len(), rows(&decoded.quarantine)), (0, 1));
}

#[test]
fn numbers_are_numbers_or_strings_and_enums_names_too() {
    let fields = r#""startTimeUnixNano":1e3,"endTimeUnixNano":"5000","flags":"769",
        "kind":"SPAN_KIND_CLIENT","status":{"code":"STATUS_CODE_ERROR","message":"no"},
        "droppedAttributesCount":1,"droppedEventsCount":"2","droppedLinksCount":3.0"#;
    let columns = [
        ("start_time_unix_nano", "1000"),
        ("end_time_unix_nano", "5000"),
        ("flags", "769"),
        ("kind", "CLIENT"),
        ("status_code", "ERROR"),
        ("status_message", "no"),
        ("dropped_attributes_count", "1"),
        ("dropped_events_count", "2"),
        ("dropped_links_count", "3"),
    ];
    taken(&json(fields), &columns);
    taken(&json(r#""kind":"5""#), &[("kind", "CONSUMER")]);
    taken(&json(r#""kind":"INTERNAL""#), &[("kind", "INTERNAL")]);
}

#[test]
fn numbers_unknown_to_otlp_are_kept_as_text() {
    let columns = [("kind", "77"), ("status_code", "-3")];
    taken(&json(r#""kind":77,"status":{"code":-3}"#), &columns);
    let minus_three = [0x18, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let fields = [&[0x30, 77][..], &field(15, &minus_three)].concat();
    taken(&protobuf(&fields), &columns);
}

#[test]
fn a_value_of_the_wrong_type_costs_its_span() {
    for fields in [
        r#""name":5"#,
        r#""kind":"SPAN_KIND_MAGIC""#,
        r#""kind":1.5"#,
        r#""flags":-1"#,
        r#""flags":4294967296"#,
        r#""status":"bad""#,
        r#""status":{"code":[]}"#,
        r#""attributes":{}"#,
        r#""attributes":[5]"#,
        r#""attributes":[{"key":5}]"#,
        r#""attributes":[{"key":"a","value":5}]"#,
        r#""attributes":[{"key":"a","value":{"stringValue":5}}]"#,
        r#""attributes":[{"key":"a","value":{"intValue":"5x"}}]"#,
        r#""attributes":[{"key":"a","value":{"intValue":1.5}}]"#,
        r#""attributes":[{"key":"a","value":{"intValue":"9223372036854775808"}}]"#,
        r#""attributes":[{"key":"a","value":{"doubleValue":"wide"}}]"#,
        r#""attributes":[{"key":"a","value":{"boolValue":"true"}}]"#,
        r#""attributes":[{"key":"a","value":{"bytesValue":"!"}}]"#,
        r#""attributes":[{"key":"a","value":{"arrayValue":[]}}]"#,
        r#""attributes":[{"key":"a","value":{"arrayValue":{"values":{}}}}]"#,
        r#""attributes":[{"key":"a","value":{"kvlistValue":{"values":[1]}}}]"#,
        r#""events":[1]"#,
        r#""events":[{"name":1}]"#,
        r#""links":"none""#,
        r#""droppedEventsCount":{}"#,
    ] {
        refused(&json(fields), Reason::Malformed);
    }
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[7,{{{SPAN}}}]}}]}}]}}"#);
    let decoded = decode(|decoder| decoder.json(text.as_bytes()));
    assert_eq!((decoded.rejected.total(), rows(&decoded.spans)), (1, 1));
}

#[test]
fn bytes_that_break_inside_a_span_cost_that_span() {
    for fields in [
        // A length that reaches behind the span, an end of a group, no field 0, a cut number.
        &[0x2a, 0x7f][..],
        &[0x0c],
        &[0x00, 0x01],
        &[0x41, 1, 2],
        // The same inside an attribute, its value, an event, a link and the status.
        &field(9, &[0x0a, 0x7f]),
        &field(9, &field(2, &[0x0a, 0x7f])),
        &field(9, &field(2, &field(5, &field(1, &[0x0a, 0x7f])))),
        &field(11, &[0x12, 0x7f]),
        &field(13, &[0x12, 0x7f]),
        &field(15, &[0x12, 0x7f]),
    ] {
        refused(&protobuf(fields), Reason::Malformed);
    }
}

#[test]
fn unknown_fields_and_wrong_wire_types_are_skipped() {
    let unknown = r#""futureField":{"deep":[[{"x":"\"]}"}],null,true,-1.5e3]},"name":null"#;
    taken(&json(unknown), &[("name", "GET /")]);
    let group = [0xa3, 0x06, 0x08, 0x01, 0xa4, 0x06];
    let unknown = [&[0xa0, 0x06, 0x01][..], &group, &[0xa2, 0x06, 1, b'x']].concat();
    taken(&protobuf(&unknown), &[("name", "GET /")]);
    // The name as a number, the start time as bytes, the kind as 32 bits.
    let wrong = [&[0x28, 0x07][..], &[0x3a, 1, 0], &[0x35, 1, 0, 0, 0]].concat();
    let columns = [("name", "GET /"), ("start_time_unix_nano", "1000"), ("kind", "SERVER")];
    taken(&protobuf(&wrong), &columns);
}

#[test]
fn of_a_repeated_field_the_last_counts() {
    let fields = r#""name":"first","name":"last","attributes":[{"key":"a"}],
        "attributes":[{"key":"b","value":{"intValue":1,"stringValue":"last"}}],
        "status":{"code":2},"status":{"message":"alone"},
        "events":[{},{}],"events":[{"name":"only"}]"#;
    let columns = [
        ("name", "last"),
        ("attributes", "{b: last}"),
        ("status_code", "UNSET"),
        ("status_message", "alone"),
        (
            "events",
            "[{time_unix_nano: 0, name: only, attributes: {}, attribute_kinds: , \
             dropped_attributes_count: 0}]",
        ),
    ];
    taken(&json(fields), &columns);
    // Protobuf merges messages and appends to lists.
    let status = [field(15, &[0x18, 2]), field(15, &field(2, b"both"))].concat();
    let attribute = field(9, &[field(1, b"b"), field(2, &[0x18, 1, 0x0a, 1, b'l'])].concat());
    let fields = [&field(5, b"last")[..], &status, &attribute].concat();
    let columns = [
        ("name", "last"),
        ("status_code", "ERROR"),
        ("status_message", "both"),
        ("attributes", "{b: l}"),
    ];
    taken(&protobuf(&fields), &columns);
}

/// *Scenario*: a key comes twice, with few or many others. *Guarantee*: the column and the map have
/// the last value, and it is said.
#[test]
fn of_attributes_with_the_same_key_the_last_counts() {
    let attribute = |key: &str, value: &str| {
        format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
    };
    let binary = |key: &str, value: &str| {
        [field(1, key.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
    };
    for others in [0, 40] {
        let mut pairs = vec![("http.route".to_owned(), "/a"), ("b".to_owned(), "1")];
        pairs.extend((0..others).map(|number| (format!("key{number}"), "x")));
        pairs.push(("http.route".to_owned(), "/b"));
        let kept: Vec<String> = pairs[1..].iter().map(|(k, v)| format!("{k}: {v}")).collect();
        let map = format!("{{{}}}", kept.join(", "));
        let list: Vec<String> = pairs.iter().map(|(key, value)| attribute(key, value)).collect();
        let list = format!(r#""attributes":[{}]"#, list.join(","));
        let fields: Vec<u8> = pairs.iter().flat_map(|(k, v)| field(9, &binary(k, v))).collect();
        for decoded in [json(&list), protobuf(&fields)] {
            taken_mended(&decoded, &[("attributes", &map), ("http_route", "/b")]);
            let kinds = "s".repeat(kept.len());
            taken_mended(&decoded, &[("attribute_kinds", &kinds)]);
            mended(&decoded, Repair::Key);
        }
        for place in ["events", "links"] {
            let ids = r#""traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331""#;
            let decoded = json(&format!(r#""{place}":[{{{ids},{list}}}]"#));
            mended(&decoded, Repair::Key);
            let items = column(&decoded.spans[0], place, 1);
            assert!(items.contains(&format!("attributes: {map}")), "{items}");
        }
        let text = format!(
            r#"{{"resourceSpans":[{{"resource":{{{list}}},"scopeSpans":[
            {{"scope":{{{list}}},"spans":[{{{SPAN}}},{{{SPAN}}}]}}]}}]}}"#
        );
        let decoded = decode(|decoder| decoder.json(text.as_bytes()));
        assert_eq!(column(&decoded.spans[0], "resource_attributes", 1), map);
        assert_eq!(column(&decoded.spans[0], "scope_attributes", 1), map);
        assert_eq!(decoded.repaired.total(), 2);
    }
}

#[test]
fn text_that_is_not_utf_8_gets_the_replacement_character() {
    let decoded = protobuf(&field(5, b"caf\xe9"));
    taken_mended(&decoded, &[("name", "caf\u{fffd}")]);
    mended(&decoded, Repair::Text);
    let attribute = field(9, &[field(1, b"\xff"), field(2, &field(1, b"\xfe"))].concat());
    let decoded = protobuf(&attribute);
    taken_mended(&decoded, &[("attributes", "{\u{fffd}: \u{fffd}}")]);
    mended(&decoded, Repair::Text);
    let decoded = json(r#""name":"\ud800""#);
    taken_mended(&decoded, &[("name", "\u{fffd}")]);
    mended(&decoded, Repair::Text);
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{SPAN}}}]}}]}}]}}"#);
    let latin_1: Vec<u8> = text.bytes().map(|b| if b == b'G' { 0xe9 } else { b }).collect();
    let decoded = decode(|decoder| decoder.json(&latin_1));
    assert_eq!(column(&decoded.spans[0], "name", 0), "\u{fffd}ET /");
    mended(&decoded, Repair::Text);
}

/// Checks the text and the kinds of a list of attributes, written as JSON.
fn attributes(values: &[&str], kinds: &str, expected: &str) {
    let mut list = String::new();
    for (number, value) in values.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let key = ["k", "l", "m"][number];
        write!(list, r#"{comma}{{"key":"{key}","value":{value}}}"#).expect("memory");
    }
    let decoded = json(&format!(r#""attributes":[{list}]"#));
    taken(&decoded, &[("attribute_kinds", kinds), ("attributes", expected)]);
}

#[test]
fn every_type_of_value_has_its_text() {
    attributes(&[r#"{"stringValue":"x\ny"}"#], "s", "{k: x\ny}");
    attributes(&[r#"{"stringValue":""}"#], "s", "{k: }");
    attributes(&[r#"{"intValue":"-9223372036854775808"}"#], "i", "{k: -9223372036854775808}");
    attributes(&[r#"{"intValue":"007"}"#, r#"{"intValue":-0}"#], "ii", "{k: 7, l: 0}");
    attributes(&[r#"{"intValue":12}"#, r#"{"intValue":1e2}"#], "ii", "{k: 12, l: 100}");
    attributes(&[r#"{"doubleValue":1}"#, r#"{"doubleValue":"0.1"}"#], "dd", "{k: 1.0, l: 0.1}");
    attributes(&[r#"{"doubleValue":1e300}"#], "d", "{k: 1e300}");
    attributes(
        &[r#"{"doubleValue":"NaN"}"#, r#"{"doubleValue":"-Infinity"}"#],
        "dd",
        "{k: NaN, l: -Infinity}",
    );
    attributes(&[r#"{"boolValue":true}"#, r#"{"boolValue":false}"#], "bb", "{k: true, l: false}");
    attributes(&[r#"{"bytesValue":"AQI="}"#, r#"{"bytesValue":"_w"}"#], "yy", "{k: AQI=, l: /w==}");
    attributes(&["{}", "null", r#"{"future":1}"#], "nnn", "{k: , l: , m: }");
    attributes(&[r#"{"arrayValue":{}}"#], "a", "{k: []}");
    attributes(&[r#"{"kvlistValue":{"values":null}}"#], "k", "{k: {}}");
}

#[test]
fn lists_are_json_that_loses_nothing() {
    let array = r#"{"arrayValue":{"values":[{"intValue":1},{"doubleValue":1},{"stringValue":"a\""},
        {"boolValue":true},{},{"bytesValue":"AQI="},{"doubleValue":"NaN"},
        {"arrayValue":{"values":[]}}]}}"#;
    let expected = r#"{k: [1,1.0,"a\"",true,null,{"$bytes":"AQI="},{"$double":"NaN"},[]]}"#;
    attributes(&[array], "a", expected);
    let list = r#"{"kvlistValue":{"values":[{"key":"b","value":{"intValue":1}},
        {"value":{"intValue":2},"key":"a"},{"key":"b"},{"key":"$bytes","value":{}},
        {"key":"$$","value":{"kvlistValue":{}}}]}}"#;
    attributes(&[list], "k", r#"{k: {"b":1,"a":2,"b":null,"$$bytes":null,"$$$":{}}}"#);
}

#[test]
fn values_nested_deeper_than_64_levels_end_in_null() {
    let nest = |depth: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(depth);
        let close = "]}}".repeat(depth);
        format!(r#""attributes":[{{"key":"k","value":{open}{close}}}]"#)
    };
    let text = |depth: usize, inner: &str| {
        format!("{{k: {}{inner}{}}}", "[".repeat(depth), "]".repeat(depth))
    };
    taken(&json(&nest(64)), &[("attributes", &text(64, ""))]);
    let decoded = json(&nest(65));
    taken_mended(&decoded, &[("attributes", &text(64, "null"))]);
    mended(&decoded, Repair::Value);

    let value = |depth: usize| (0..depth).fold(Vec::new(), |inner, _| field(5, &field(1, &inner)));
    let attribute = |depth| field(9, &[field(1, b"k"), field(2, &value(depth))].concat());
    // The innermost array holds one value that is none.
    taken(&protobuf(&attribute(64)), &[("attributes", &text(64, "null"))]);
    let decoded = protobuf(&attribute(65));
    taken_mended(&decoded, &[("attributes", &text(64, "null"))]);
    mended(&decoded, Repair::Value);
}

#[test]
fn a_hundred_thousand_levels_do_not_overflow_the_stack() {
    let deep = 100_000;
    let open = r#"{"kvlistValue":{"values":[{"key":"k","value":"#.repeat(deep);
    let close = "}]}}".repeat(deep);
    let fields = format!(r#""attributes":[{{"key":"k","value":{open}{{}}{close}}}]"#);
    mended(&json(&fields), Repair::Value);
    let mut value = Vec::new();
    for _ in 0..20_000 {
        value = field(5, &field(1, &value));
    }
    mended(&protobuf(&field(9, &field(2, &value))), Repair::Value);
}

#[test]
fn events_and_links_keep_everything() {
    let fields = r#""events":[{"timeUnixNano":"7","name":"exception","droppedAttributesCount":3,
        "attributes":[{"key":"exception.type","value":{"stringValue":"E"}}]},{}],
        "links":[{"traceId":"0AF7651916CD43DD8448EB211C80319C","spanId":"00f067aa0ba902b7",
        "traceState":"a=b","flags":769,"droppedAttributesCount":1,
        "attributes":[{"key":"n","value":{"intValue":1}}]}]"#;
    let columns = [
        (
            "events",
            "[{time_unix_nano: 7, name: exception, attributes: {exception.type: E}, \
             attribute_kinds: s, dropped_attributes_count: 3}, {time_unix_nano: 0, name: , \
             attributes: {}, attribute_kinds: , dropped_attributes_count: 0}]",
        ),
        (
            "links",
            "[{trace_id: 0af7651916cd43dd8448eb211c80319c, span_id: 00f067aa0ba902b7, \
             trace_state: a=b, flags: 769, attributes: {n: 1}, attribute_kinds: i, \
             dropped_attributes_count: 1}]",
        ),
    ];
    taken(&json(fields), &columns);
}

#[test]
fn a_link_whose_ids_are_not_ids_is_left_out() {
    let links = r#""links":[{"traceId":"xyz","attributes":[{"key":"a"}],"traceState":"t"},
        {"spanId":"00f067aa0ba902b7"}]"#;
    let expected = "[{trace_id: , span_id: 00f067aa0ba902b7, trace_state: , flags: 0, \
        attributes: {}, attribute_kinds: , dropped_attributes_count: 0}]";
    let decoded = json(links);
    taken_mended(&decoded, &[("links", expected)]);
    mended(&decoded, Repair::Item);
    let links = [
        field(13, &field(1, &[1; 15])),
        field(13, &field(2, &[0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 2, 0xb7])),
    ];
    let decoded = protobuf(&links.concat());
    taken_mended(&decoded, &[("links", expected)]);
    mended(&decoded, Repair::Item);
}

#[test]
fn a_resource_may_stand_behind_its_spans() {
    let span = format!("{{{SPAN}}}");
    let text = format!(
        r#"{{"resourceSpans":[
        {{"schemaUrl":"r1","scopeSpans":[{{"spans":[{span}],"schemaUrl":"s1","scope":{{"name":"n",
            "version":"v","droppedAttributesCount":4,"attributes":[{{"key":"x"}}]}}}},
            {{"spans":[{span}]}}],
         "resource":{{"droppedAttributesCount":5,"attributes":[
            {{"key":"service.name","value":{{"stringValue":"shop"}}}},
            {{"key":"process.pid","value":{{"intValue":"12"}}}}]}}}},
        {{"scope_spans":[{{"spans":[{span}]}}]}}]}}"#
    );
    let decoded = decode(|decoder| decoder.json(text.as_bytes()));
    let batch = &decoded.spans[0];
    for (name, expected) in [
        ("service_name", ["shop", "shop", "NULL"]),
        ("process_pid", ["12", "12", "NULL"]),
        ("resource_schema_url", ["r1", "r1", "NULL"]),
        ("resource_attribute_kinds", ["si", "si", ""]),
        ("resource_dropped_attributes_count", ["5", "5", "0"]),
        ("scope_name", ["n", "NULL", "NULL"]),
        ("scope_version", ["v", "NULL", "NULL"]),
        ("scope_schema_url", ["s1", "NULL", "NULL"]),
        ("scope_attributes", ["{x: }", "NULL", "NULL"]),
        ("scope_attribute_kinds", ["n", "NULL", "NULL"]),
        ("scope_dropped_attributes_count", ["4", "0", "0"]),
    ] {
        let found: Vec<_> = (0..3).map(|row| column(batch, name, row)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_broken_attribute_of_a_resource_costs_itself() {
    let text = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[
        {{"key":"a","value":{{"intValue":"x"}}}},7,
        {{"key":"service.name","value":{{"stringValue":"shop"}}}}],"droppedAttributesCount":-1}},
        "scopeSpans":[{{"scope":5,"spans":[{{{SPAN}}}]}}]}}]}}"#
    );
    let decoded = decode(|decoder| decoder.json(text.as_bytes()));
    assert_eq!(column(&decoded.spans[0], "resource_attributes", 0), "{service.name: shop}");
    assert_eq!(decoded.repaired.total(), 2, "{:?}", decoded.repaired);

    let good = field(1, &[field(1, b"service.name"), field(2, &field(1, b"shop"))].concat());
    let resource = [&field(1, &[0x0a, 0x7f])[..], &good, &[0x10, 9], &[0x0a, 0x7f]].concat();
    let span = [field(1, &[1; 16]), field(2, &[1; 8])].concat();
    let message = field(1, &[field(1, &resource), field(2, &field(2, &span))].concat());
    let decoded = decode(|decoder| decoder.protobuf(&message));
    let batch = &decoded.spans[0];
    assert_eq!(column(batch, "resource_attributes", 0), "{service.name: shop}");
    assert_eq!(column(batch, "resource_dropped_attributes_count", 0), "9");
    mended(&decoded, Repair::Item);
}

#[test]
fn a_repeated_resource_is_merged_in_protobuf_and_replaced_in_json() {
    let attribute = |key: &[u8]| field(1, &field(1, &field(1, key)));
    let span = [field(1, &[1; 16]), field(2, &[1; 8])].concat();
    let spans = field(2, &field(2, &span));
    let message = field(1, &[attribute(b"a"), spans, attribute(b"b")].concat());
    let decoded = decode(|decoder| decoder.protobuf(&message));
    assert_eq!(column(&decoded.spans[0], "resource_attributes", 0), "{a: , b: }");
    let text = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{{"key":"a"}}]}},"scopeSpans":
        [{{"spans":[{{{SPAN}}}]}}],"resource":{{"attributes":[{{"key":"b"}}]}}}}]}}"#
    );
    let decoded = decode(|decoder| decoder.json(text.as_bytes()));
    assert_eq!(column(&decoded.spans[0], "resource_attributes", 0), "{b: }");
}

#[test]
fn a_broken_message_says_where_and_keeps_what_it_read() {
    let check = |text: &str, kept: usize, expected: &str| {
        let mut decoder = Decoder::new(DecoderOptions::new(NOW));
        let error = decoder.json(text.as_bytes()).expect_err(text).to_string();
        assert_eq!(error, expected, "{text}");
        assert_eq!(rows(&decoder.finish().spans), kept, "{text}");
    };
    check("", 0, "byte 0: expected `{`, found the end of the message");
    check("[1]", 0, "byte 0: expected `{`, found `[`");
    check("{\"a\":1} x", 0, "byte 8: expected the end of the message, found `x`");
    check("{\"resourceSpans\":{}}", 0, "byte 17: expected `[`, found `{`");
    check(
        "{\"resourceSpans\":[{\"scopeSpans\":[",
        0,
        "byte 33: expected `{`, found the end of the message",
    );
    let span = SPAN.replace('\n', "");
    let text =
        format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{{span}}},{{\"name\"}}");
    let at = text.len() - 1;
    check(&text, 1, &format!("byte {at}: expected `:`, found `}}`"));

    let span = field(2, &[field(1, &[1; 16]), field(2, &[1; 8])].concat());
    let whole = field(1, &field(2, &span.repeat(2)));
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    let error = decoder.protobuf(&whole[..whole.len() - 1]).expect_err("cut").to_string();
    assert_eq!(error, "byte 1: expected a length within the message around it, found 0x3e");
    let output = decoder.finish();
    assert_eq!((rows(&output.spans), output.rejected.total()), (1, 1));
}

#[test]
fn a_break_between_spans_costs_the_rest_of_its_scope_only() {
    let span = field(2, &[field(1, &[1; 16]), field(2, &[1; 8])].concat());
    let broken = field(2, &[&span[..], &[0x0c], &span].concat());
    let whole = field(2, &span);
    let message = field(1, &[broken, whole].concat());
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    let error = decoder.protobuf(&message).expect_err("a broken scope").to_string();
    assert_eq!(error, "byte 34: expected a field of a known wire type, found 0x0c");
    assert_eq!(rows(&decoder.finish().spans), 2);
}

#[test]
fn limits_are_named() {
    let mut options = DecoderOptions::new(NOW);
    options.message_bytes_max = 10;
    let mut decoder = Decoder::new(options);
    let error = decoder.json(b"{\"a\":12345}").expect_err("11 bytes");
    assert_eq!(error, MessageError::TooLarge { bytes: 11, bytes_max: 10 });
    let text = "message of 11 bytes is over the limit of 10 (`message_bytes_max`)";
    assert_eq!(error.to_string(), text);
    assert_eq!(decoder.protobuf(&[0; 11]), Err(error));
    assert_eq!(decoder.json(b"{\"a\":1234}"), Ok(()));
}

#[test]
fn a_large_resource_over_many_spans_is_refused_at_the_limit() {
    let span = format!("{{{SPAN}}}");
    let resource = |spans: usize, bytes: usize| {
        let spans = vec![span.as_str(); spans].join(",");
        let value = "x".repeat(bytes);
        format!(
            r#"{{"resource":{{"attributes":[{{"key":"","value":{{"stringValue":"{value}"}}}}]}},
            "scopeSpans":[{{"spans":[{spans}]}}]}}"#
        )
    };
    let check = |bytes: usize, taken: usize| {
        let mut options = DecoderOptions::new(NOW);
        // Three spans with 100 bytes of text and 9 of bookkeeping each, one with 0 and 9.
        options.repeated_bytes_max = 3 * 109 + 9;
        options.batch_rows_max = 2;
        let mut decoder = Decoder::new(options);
        let text = format!(r#"{{"resourceSpans":[{},{}]}}"#, resource(3, bytes), resource(1, 0));
        decoder.json(text.as_bytes()).expect("whole");
        assert_eq!(decoder.spans_accepted(), taken as u64);
        let output = decoder.finish();
        assert_eq!(rows(&output.spans), taken);
        let reasons: Vec<_> = output.rejected.iter().collect();
        match (taken, reasons.as_slice()) {
            (4, []) => {}
            (1, [(Reason::RepeatedBytes, counted)]) => {
                assert_eq!(counted.count, 3);
                let example = "113 bytes on each of 3 spans, limit 336 a message";
                assert_eq!(counted.example, example);
            }
            (3, [(Reason::RepeatedBytes, counted)]) => assert_eq!(counted.count, 1),
            found => panic!("{found:?}"),
        }
    };
    check(100, 4);
    check(103, 3);
    check(104, 1);
}

#[test]
fn an_empty_request_succeeds() {
    for text in ["{}", r#"{"resourceSpans":null}"#, "\u{feff}{\"resourceSpans\":[]}\n"] {
        let decoded = decode(|decoder| decoder.json(text.as_bytes()));
        assert!(decoded.spans.is_empty() && decoded.quarantine.is_empty(), "{text}");
    }
    let decoded = decode(|decoder| decoder.protobuf(&[]));
    assert!(decoded.spans.is_empty());
    let both = r#"{"resourceLogs":[],"resourceSpans":[]}"#;
    assert!(decode(|decoder| decoder.json(both.as_bytes())).rejected.is_empty());
}

#[test]
fn batches_have_the_schema_of_the_table() {
    let decoded = json("");
    let schema = timesink_model::schema::spans::table().schema();
    assert_eq!(*decoded.spans[0].schema(), schema);
}

#[test]
fn parts_decoded_apart_are_joined_in_order() {
    let merged = Decoded::merge(vec![json(""), json(r#""traceId":"x""#), json(r#""spanId":"x""#)]);
    assert_eq!(rows(&merged.spans), 7);
    let reasons: Vec<_> = merged.rejected.iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, [Reason::TraceId, Reason::SpanId]);
}

/// Scenario: one span has more attributes than any real one, among them one with a column.
/// Guarantee: all of them are there, and the column is filled.
#[test]
fn a_span_of_a_hundred_thousand_attributes_is_taken() {
    let mut fields = Vec::new();
    for number in 0..100_000 {
        let key = format!("key{number}");
        fields.extend(field(9, &[field(1, key.as_bytes()), field(2, &[0x18, 7])].concat()));
    }
    fields.extend(field(9, &[field(1, b"http.route"), field(2, &field(1, b"/"))].concat()));
    let decoded = protobuf(&fields);
    taken(&decoded, &[("http_route", "/")]);
    assert_eq!(column(&decoded.spans[0], "attribute_kinds", 1).len(), 100_001);
}

/// Scenario: spans of a megabyte each.
/// Guarantee: a batch ends at 64 MiB of text, long before its rows do.
#[test]
fn a_batch_of_much_text_ends_early() {
    let span = |name: u8| {
        let name = field(5, &vec![name; 1 << 20]);
        field(2, &[name, field(1, &[1; 16]), field(2, &[1; 8])].concat())
    };
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    // A text that comes again is stored once: each has its own.
    for names in [b'!'..b'I', b'I'..b'q'] {
        let spans: Vec<u8> = names.flat_map(span).collect();
        decoder.protobuf(&field(1, &field(2, &spans))).expect("whole");
    }
    let batches: Vec<_> = decoder.finish().spans.iter().map(RecordBatch::num_rows).collect();
    assert_eq!(batches, [64, 16]);
}
