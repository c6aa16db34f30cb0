//! Batches back to OTLP, exactly: every value, in the order in which it arrived.
//!
//! Neighbouring rows of one resource and one scope share it in the message. What OTLP cannot tell
//! apart is not told apart: an absent resource, scope or status from an empty one. Of attributes
//! with the same key, which OTLP forbids, the decoder kept the last one.

use arrow::array::{
    Array, AsArray, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StringViewArray,
    StructArray,
};
use arrow::datatypes::Int64Type;

use crate::draft::{KINDS, STATUS_CODES, enum_number};
use crate::values::{Value, push_int, push_json_string, push_key_value, push_separated};
use crate::wire::Writer;

/// Returns the rows as the bytes of one `ExportTraceServiceRequest`.
///
/// # Panics
/// The batch does not have the columns of `spans`; those of `quarantine` will do.
pub fn encode_protobuf(batch: &RecordBatch) -> Vec<u8> {
    let rows = Rows::new(batch);
    let mut writer = Writer::default();
    for scopes in rows.resources() {
        writer.message(1, |w| write_resource_spans(w, &rows, &scopes));
    }
    writer.bytes
}

/// Returns the rows as one OTLP JSON object.
///
/// # Panics
/// The batch does not have the columns of `spans`; those of `quarantine` will do.
pub fn encode_json(batch: &RecordBatch) -> Vec<u8> {
    let rows = Rows::new(batch);
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"resourceSpans\":[");
    push_separated(&mut out, rows.resources(), |out, scopes| {
        push_resource_spans(out, &rows, &scopes);
    });
    out.extend_from_slice(b"]}");
    out
}

/// Rows that are encoded between two looks at how much it is.
const ROWS_AT_A_TIME: usize = 256;

/// Returns the rows of all batches as one OTLP JSON object, or `None` when it would have more than
/// `bytes_max` bytes: not much more than that is held.
///
/// # Panics
/// As [`encode_json`].
pub fn encode_json_within(batches: &[RecordBatch], bytes_max: usize) -> Option<Vec<u8>> {
    let mut out = b"{\"resourceSpans\":[".to_vec();
    let mut is_first = true;
    for batch in batches {
        for at in (0..batch.num_rows()).step_by(ROWS_AT_A_TIME) {
            let slice = batch.slice(at, ROWS_AT_A_TIME.min(batch.num_rows() - at));
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            let rows = Rows::new(&slice);
            push_separated(&mut out, rows.resources(), |out, scopes| {
                push_resource_spans(out, &rows, &scopes);
            });
            if out.len() > bytes_max {
                return None;
            }
        }
    }
    out.extend_from_slice(b"]}");
    (out.len() <= bytes_max).then_some(out)
}

type Row = usize;

/// The columns that OTLP has a place for.
struct Rows<'a> {
    count: usize,
    trace_id: &'a StringViewArray,
    span_id: &'a StringViewArray,
    parent_span_id: &'a StringViewArray,
    trace_state: &'a StringViewArray,
    flags: &'a Int64Array,
    name: &'a StringViewArray,
    kind: &'a StringViewArray,
    status_code: &'a StringViewArray,
    status_message: &'a StringViewArray,
    start_time_unix_nano: &'a Int64Array,
    end_time_unix_nano: &'a Int64Array,
    attributes: Map<'a>,
    dropped_attributes_count: &'a Int64Array,
    events: &'a ListArray,
    dropped_events_count: &'a Int64Array,
    links: &'a ListArray,
    dropped_links_count: &'a Int64Array,
    resource: Common<'a>,
    scope: Common<'a>,
}

/// The columns of a resource or of a scope.
struct Common<'a> {
    name: Option<&'a StringViewArray>,
    version: Option<&'a StringViewArray>,
    schema_url: &'a StringViewArray,
    attributes: Map<'a>,
    dropped_attributes_count: &'a Int64Array,
}

/// A map of attributes with its kinds.
struct Map<'a> {
    rows: &'a MapArray,
    keys: &'a StringArray,
    values: &'a StringArray,
    kinds: Kinds<'a>,
}

enum Kinds<'a> {
    View(&'a StringViewArray),
    Plain(&'a StringArray),
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Self {
        let column = |name| batch.column_by_name(name).expect("a column of `spans`").as_ref();
        let text = |name| column(name).as_string_view();
        let int = |name| column(name).as_primitive::<Int64Type>();
        let map = |name, kinds| Map::new(column(name).as_map(), Kinds::View(text(kinds)));
        Self {
            count: batch.num_rows(),
            trace_id: text("trace_id"),
            span_id: text("span_id"),
            parent_span_id: text("parent_span_id"),
            trace_state: text("trace_state"),
            flags: int("flags"),
            name: text("name"),
            kind: text("kind"),
            status_code: text("status_code"),
            status_message: text("status_message"),
            start_time_unix_nano: int("start_time_unix_nano"),
            end_time_unix_nano: int("end_time_unix_nano"),
            attributes: map("attributes", "attribute_kinds"),
            dropped_attributes_count: int("dropped_attributes_count"),
            events: column("events").as_list(),
            dropped_events_count: int("dropped_events_count"),
            links: column("links").as_list(),
            dropped_links_count: int("dropped_links_count"),
            resource: Common {
                name: None,
                version: None,
                schema_url: text("resource_schema_url"),
                attributes: map("resource_attributes", "resource_attribute_kinds"),
                dropped_attributes_count: int("resource_dropped_attributes_count"),
            },
            scope: Common {
                name: Some(text("scope_name")),
                version: Some(text("scope_version")),
                schema_url: text("scope_schema_url"),
                attributes: map("scope_attributes", "scope_attribute_kinds"),
                dropped_attributes_count: int("scope_dropped_attributes_count"),
            },
        }
    }

    /// Groups neighbouring rows: for each resource, for each of its scopes, the rows.
    fn resources(&self) -> Vec<Vec<Vec<Row>>> {
        let mut resources: Vec<Vec<Vec<Row>>> = Vec::new();
        for row in 0..self.count {
            let is_new_resource = row == 0 || !self.resource.is_same(row - 1, row);
            if is_new_resource {
                resources.push(Vec::new());
            }
            let scopes = resources.last_mut().expect("the first row begins a resource");
            if is_new_resource || !self.scope.is_same(row - 1, row) {
                scopes.push(Vec::new());
            }
            scopes.last_mut().expect("a new resource begins a scope").push(row);
        }
        resources
    }
}

impl Common<'_> {
    fn is_same(&self, a: Row, b: Row) -> bool {
        let is_same_text = |column: &StringViewArray| text(column, a) == text(column, b);
        self.name.is_none_or(is_same_text)
            && self.version.is_none_or(is_same_text)
            && is_same_text(self.schema_url)
            && self.dropped_attributes_count.value(a) == self.dropped_attributes_count.value(b)
            && self.attributes.is_same(a, b)
    }
}

impl<'a> Map<'a> {
    fn new(map: &'a MapArray, kinds: Kinds<'a>) -> Self {
        Self { rows: map, keys: map.keys().as_string(), values: map.values().as_string(), kinds }
    }

    fn entries(&self, row: Row) -> std::ops::Range<usize> {
        let ends = self.rows.value_offsets();
        ends[row] as usize..ends[row + 1] as usize
    }

    /// Returns the attributes of a row with their values.
    fn row(&self, row: Row) -> impl Iterator<Item = (&'a str, Value)> {
        let kinds = match self.kinds {
            Kinds::View(kinds) => text(kinds, row),
            Kinds::Plain(kinds) => kinds.value(row),
        };
        let kinds = kinds.as_bytes().iter().copied().chain(std::iter::repeat(b's'));
        let (keys, values) = (self.keys, self.values);
        self.entries(row).zip(kinds).map(move |(entry, kind)| {
            let text = values.is_valid(entry).then(|| values.value(entry));
            (keys.value(entry), Value::parse(kind, text))
        })
    }

    fn is_same(&self, a: Row, b: Row) -> bool {
        let (a_entries, b_entries) = (self.entries(a), self.entries(b));
        let is_same_entry = |(a, b): (usize, usize)| {
            self.keys.value(a) == self.keys.value(b)
                && self.values.is_valid(a) == self.values.is_valid(b)
                && self.values.value(a) == self.values.value(b)
        };
        let is_same_kinds = match self.kinds {
            Kinds::View(kinds) => text(kinds, a) == text(kinds, b),
            Kinds::Plain(kinds) => kinds.value(a) == kinds.value(b),
        };
        is_same_kinds
            && a_entries.len() == b_entries.len()
            && a_entries.zip(b_entries).all(is_same_entry)
    }
}

/// The text of a row, empty for NULL.
fn text(column: &StringViewArray, row: Row) -> &str {
    if column.is_valid(row) { column.value(row) } else { "" }
}

/// The events, or links, of a batch as columns.
struct Items<'a> {
    structs: &'a StructArray,
    attributes: Map<'a>,
}

impl<'a> Items<'a> {
    fn new(list: &'a ListArray) -> Self {
        let structs = list.values().as_struct();
        let column = |name| structs.column_by_name(name).expect("a field of events and links");
        let kinds = Kinds::Plain(column("attribute_kinds").as_string());
        Self { structs, attributes: Map::new(column("attributes").as_map(), kinds) }
    }

    fn text(&self, field: &str, item: usize) -> &'a str {
        let column = self.structs.column_by_name(field).expect("a field of events or links");
        let column: &StringArray = column.as_string();
        if column.is_valid(item) { column.value(item) } else { "" }
    }

    fn int(&self, field: &str, item: usize) -> i64 {
        let column = self.structs.column_by_name(field).expect("a field of events or links");
        column.as_primitive::<Int64Type>().value(item)
    }
}

fn items_of(list: &ListArray, row: Row) -> std::ops::Range<usize> {
    if list.is_null(row) {
        return 0..0;
    }
    let ends = list.value_offsets();
    ends[row] as usize..ends[row + 1] as usize
}

fn write_resource_spans(writer: &mut Writer, rows: &Rows<'_>, scopes: &[Vec<Row>]) {
    let first = scopes[0][0];
    let resource = &rows.resource;
    writer.message(1, |w| {
        write_attributes(w, 1, &resource.attributes, first);
        write_count(w, 2, resource.dropped_attributes_count.value(first));
    });
    for spans in scopes {
        writer.message(2, |w| write_scope_spans(w, rows, spans));
    }
    write_text(writer, 3, text(resource.schema_url, first));
}

fn write_scope_spans(writer: &mut Writer, rows: &Rows<'_>, spans: &[Row]) {
    let first = spans[0];
    let scope = &rows.scope;
    writer.message(1, |w| {
        write_text(w, 1, scope.name.map_or("", |name| text(name, first)));
        write_text(w, 2, scope.version.map_or("", |version| text(version, first)));
        write_attributes(w, 3, &scope.attributes, first);
        write_count(w, 4, scope.dropped_attributes_count.value(first));
    });
    let (events, links) = (Items::new(rows.events), Items::new(rows.links));
    for row in spans {
        writer.message(2, |w| write_span(w, rows, &events, &links, *row));
    }
    write_text(writer, 3, text(scope.schema_url, first));
}

fn write_span(
    writer: &mut Writer,
    rows: &Rows<'_>,
    events: &Items<'_>,
    links: &Items<'_>,
    row: Row,
) {
    write_id(writer, 1, rows.trace_id.value(row));
    write_id(writer, 2, rows.span_id.value(row));
    write_text(writer, 3, text(rows.trace_state, row));
    write_id(writer, 4, text(rows.parent_span_id, row));
    write_text(writer, 5, rows.name.value(row));
    write_number(writer, 6, enum_number(&KINDS, rows.kind.value(row)));
    writer.fixed64(7, rows.start_time_unix_nano.value(row) as u64);
    writer.fixed64(8, rows.end_time_unix_nano.value(row) as u64);
    write_attributes(writer, 9, &rows.attributes, row);
    write_count(writer, 10, rows.dropped_attributes_count.value(row));
    for item in items_of(rows.events, row) {
        writer.message(11, |w| {
            w.fixed64(1, events.int("time_unix_nano", item) as u64);
            write_text(w, 2, events.text("name", item));
            write_attributes(w, 3, &events.attributes, item);
            write_count(w, 4, events.int("dropped_attributes_count", item));
        });
    }
    write_count(writer, 12, rows.dropped_events_count.value(row));
    for item in items_of(rows.links, row) {
        writer.message(13, |w| {
            write_id(w, 1, links.text("trace_id", item));
            write_id(w, 2, links.text("span_id", item));
            write_text(w, 3, links.text("trace_state", item));
            write_attributes(w, 4, &links.attributes, item);
            write_count(w, 5, links.int("dropped_attributes_count", item));
            write_flags(w, 6, links.int("flags", item));
        });
    }
    write_count(writer, 14, rows.dropped_links_count.value(row));
    writer.message(15, |w| {
        write_text(w, 2, text(rows.status_message, row));
        write_number(w, 3, enum_number(&STATUS_CODES, rows.status_code.value(row)));
    });
    write_flags(writer, 16, rows.flags.value(row));
}

fn write_attributes(writer: &mut Writer, field: u32, attributes: &Map<'_>, row: Row) {
    for (key, value) in attributes.row(row) {
        writer.message(field, |entry| {
            write_text(entry, 1, key);
            entry.message(2, |w| value.write_protobuf(w));
        });
    }
}

fn write_text(writer: &mut Writer, field: u32, text: &str) {
    if !text.is_empty() {
        writer.bytes(field, text.as_bytes());
    }
}

fn write_id(writer: &mut Writer, field: u32, hex: &str) {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or(0) as u8;
    let bytes: Vec<u8> =
        hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    if !bytes.is_empty() {
        writer.bytes(field, &bytes);
    }
}

fn write_number(writer: &mut Writer, field: u32, number: i32) {
    if number != 0 {
        // Negative enum numbers are sign-extended to 64 bits (encoding guide, "Signed Integers").
        writer.varint(field, i64::from(number) as u64);
    }
}

fn write_count(writer: &mut Writer, field: u32, count: i64) {
    if count != 0 {
        writer.varint(field, count as u64);
    }
}

fn write_flags(writer: &mut Writer, field: u32, flags: i64) {
    if flags != 0 {
        writer.fixed32(field, flags as u32);
    }
}

fn push_resource_spans(out: &mut Vec<u8>, rows: &Rows<'_>, scopes: &[Vec<Row>]) {
    let first = scopes[0][0];
    let resource = &rows.resource;
    let mut object = Object::open(out);
    object.object("resource", |object| {
        push_attributes(object, &resource.attributes, first);
        object.count("droppedAttributesCount", resource.dropped_attributes_count.value(first));
    });
    object.array("scopeSpans", scopes, |out, spans| push_scope_spans(out, rows, spans));
    object.text("schemaUrl", text(resource.schema_url, first));
    object.close();
}

fn push_scope_spans(out: &mut Vec<u8>, rows: &Rows<'_>, spans: &[Row]) {
    let first = spans[0];
    let scope = &rows.scope;
    let (events, links) = (Items::new(rows.events), Items::new(rows.links));
    let mut object = Object::open(out);
    object.object("scope", |object| {
        object.text("name", scope.name.map_or("", |name| text(name, first)));
        object.text("version", scope.version.map_or("", |version| text(version, first)));
        push_attributes(object, &scope.attributes, first);
        object.count("droppedAttributesCount", scope.dropped_attributes_count.value(first));
    });
    object.array("spans", spans, |out, row| push_span(out, rows, &events, &links, *row));
    object.text("schemaUrl", text(scope.schema_url, first));
    object.close();
}

fn push_span(out: &mut Vec<u8>, rows: &Rows<'_>, events: &Items<'_>, links: &Items<'_>, row: Row) {
    let mut object = Object::open(out);
    object.text("traceId", rows.trace_id.value(row));
    object.text("spanId", rows.span_id.value(row));
    object.text("traceState", text(rows.trace_state, row));
    object.text("parentSpanId", text(rows.parent_span_id, row));
    object.text("name", rows.name.value(row));
    object.count("kind", i64::from(enum_number(&KINDS, rows.kind.value(row))));
    object.nanos("startTimeUnixNano", rows.start_time_unix_nano.value(row));
    object.nanos("endTimeUnixNano", rows.end_time_unix_nano.value(row));
    push_attributes(&mut object, &rows.attributes, row);
    object.count("droppedAttributesCount", rows.dropped_attributes_count.value(row));
    object.array("events", items_of(rows.events, row), |out, item| {
        let mut event = Object::open(out);
        event.nanos("timeUnixNano", events.int("time_unix_nano", item));
        event.text("name", events.text("name", item));
        push_attributes(&mut event, &events.attributes, item);
        event.count("droppedAttributesCount", events.int("dropped_attributes_count", item));
        event.close();
    });
    object.count("droppedEventsCount", rows.dropped_events_count.value(row));
    object.array("links", items_of(rows.links, row), |out, item| {
        let mut link = Object::open(out);
        link.text("traceId", links.text("trace_id", item));
        link.text("spanId", links.text("span_id", item));
        link.text("traceState", links.text("trace_state", item));
        push_attributes(&mut link, &links.attributes, item);
        link.count("droppedAttributesCount", links.int("dropped_attributes_count", item));
        link.count("flags", links.int("flags", item));
        link.close();
    });
    object.count("droppedLinksCount", rows.dropped_links_count.value(row));
    object.object("status", |status| {
        status.text("message", text(rows.status_message, row));
        status.count("code", i64::from(enum_number(&STATUS_CODES, rows.status_code.value(row))));
    });
    object.count("flags", rows.flags.value(row));
    object.close();
}

fn push_attributes(object: &mut Object<'_>, attributes: &Map<'_>, row: Row) {
    let row = attributes.row(row);
    object.array("attributes", row, |out, (key, value)| {
        push_key_value(out, key.as_bytes(), &value);
    });
}

/// Writes one JSON object. Fields of their default value are left out, as OTLP JSON does.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    fn open(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    fn key(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        push_json_string(self.out, name.as_bytes());
        self.out.push(b':');
        self.out
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            push_json_string(self.key(name), text.as_bytes());
        }
    }

    fn count(&mut self, name: &str, count: i64) {
        if count != 0 {
            push_int(self.key(name), count);
        }
    }

    /// 64-bit integers are strings.
    fn nanos(&mut self, name: &str, nanos: i64) {
        let out = self.key(name);
        out.push(b'"');
        push_int(out, nanos);
        out.push(b'"');
    }

    fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        let mut object = Object::open(self.key(name));
        write(&mut object);
        object.close();
    }

    fn array<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        push: impl FnMut(&mut Vec<u8>, T),
    ) {
        let mut items = items.into_iter().peekable();
        if items.peek().is_some() {
            let out = self.key(name);
            out.push(b'[');
            push_separated(out, items, push);
            out.push(b']');
        }
    }

    fn close(self) {
        self.out.push(b'}');
    }
}
