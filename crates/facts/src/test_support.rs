//! For tests: spans written down in a line each, and what the pass says of them, by span id.
//!
//! Shared by unit tests and, through `#[path]`, by the tests under `tests/`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, MapBuilder, RecordBatch, StringBuilder,
    StringViewArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use timesink_model::NANOS_PER_MILLI;
use timesink_model::schema;

/// Where the time of tests begins: 14 November 2023.
pub(crate) const BASE: i64 = 1_700_000_000_000_000_000;

/// A span. Those of one service are one process unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) trace: u128,
    pub(crate) id: u64,
    pub(crate) parent: u64,
    pub(crate) kind: &'static str,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) flags: i64,
    pub(crate) texts: BTreeMap<&'static str, String>,
    pub(crate) pid: Option<i64>,
    pub(crate) thread: Option<i64>,
    pub(crate) attributes: Vec<(&'static str, &'static str)>,
}

/// Returns an INTERNAL span `span ID` of service `app`; times are milliseconds from [`BASE`], and
/// the parent 0 is none.
pub(crate) fn span(id: u64, parent: u64, start_millis: i64, end_millis: i64) -> Span {
    let at = |millis: i64| BASE + millis * NANOS_PER_MILLI;
    span_at(id, parent, at(start_millis), at(end_millis))
}

/// As [`span`], in nanoseconds since the epoch.
pub(crate) fn span_at(id: u64, parent: u64, start: i64, end: i64) -> Span {
    let span = Span {
        trace: 1,
        id,
        parent,
        kind: "INTERNAL",
        start,
        end,
        flags: 256,
        texts: BTreeMap::new(),
        pid: None,
        thread: None,
        attributes: Vec::new(),
    };
    span.named(format!("span {id}")).service("app")
}

impl Span {
    /// Sets a text column of `spans`.
    pub(crate) fn with(mut self, column: &'static str, text: impl Into<String>) -> Self {
        self.texts.insert(column, text.into());
        self
    }

    pub(crate) fn named(self, name: impl Into<String>) -> Self {
        self.with("name", name)
    }

    pub(crate) fn service(self, service: &str) -> Self {
        self.with("service_name", service).instance(format!("{service}-1"))
    }

    pub(crate) fn instance(self, instance: impl Into<String>) -> Self {
        self.with("service_instance_id", instance)
    }

    pub(crate) fn without(mut self, column: &'static str) -> Self {
        self.texts.remove(column);
        self
    }

    pub(crate) fn scope(self, library: &str) -> Self {
        self.with("scope_name", format!("opentelemetry.instrumentation.{library}"))
    }

    pub(crate) fn trace(mut self, trace: u128) -> Self {
        self.trace = trace;
        self
    }

    pub(crate) fn pid(mut self, pid: i64) -> Self {
        self.pid = Some(pid);
        self
    }

    pub(crate) fn thread(mut self, id: i64) -> Self {
        self.thread = Some(id);
        self
    }

    pub(crate) fn flags(mut self, flags: i64) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn attribute(mut self, key: &'static str, value: &'static str) -> Self {
        self.attributes.push((key, value));
        self
    }

    pub(crate) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn server(self) -> Self {
        self.kind("SERVER")
    }

    /// An INTERNAL span with what server instrumentations write, as under the span of a test.
    pub(crate) fn in_process(self) -> Self {
        self.with("http_request_method", "GET").with("http_route", "/")
    }

    pub(crate) fn client(self) -> Self {
        self.kind("CLIENT")
    }

    /// A client span of psycopg with a statement.
    pub(crate) fn query(self, statement: &str) -> Self {
        let span = self.client().scope("psycopg").named("SELECT");
        span.with("db_system_name", "postgresql").with("db_query_text", statement)
    }

    /// It says that its process stood still.
    pub(crate) fn note(self) -> Self {
        self.with("scope_name", "timesink_otel").named("timesink.event_loop.blocked")
    }

    /// Its process says when its event loop stands still.
    pub(crate) fn watched(self) -> Self {
        self.with("timesink_event_loop", "true")
    }

    /// An ASGI message span of its parent.
    pub(crate) fn asgi(self, event_type: &str) -> Self {
        self.with("asgi_event_type", event_type)
    }
}

/// Returns the spans as one batch of `spans`.
pub(crate) fn batch(spans: &[Span]) -> RecordBatch {
    let table = schema::spans::table();
    let columns = table.columns.iter();
    let columns =
        columns.map(|column| array(spans, column.name, &column.data_type, column.nullable));
    RecordBatch::try_new(Arc::new(table.schema()), columns.collect()).expect("a batch of spans")
}

fn array(spans: &[Span], name: &str, data_type: &DataType, is_nullable: bool) -> ArrayRef {
    match data_type {
        DataType::Utf8View => {
            let text = |span: &Span| text(span, name).or((!is_nullable).then(String::new));
            Arc::new(spans.iter().map(text).collect::<StringViewArray>())
        }
        DataType::Int64 => {
            let int = |span: &Span| int(span, name).or((!is_nullable).then_some(0));
            Arc::new(spans.iter().map(int).collect::<Int64Array>())
        }
        DataType::Timestamp(..) => {
            let micros = spans.iter().map(|span| span.start / 1000);
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
        }
        DataType::Map(..) if !is_nullable => maps(spans, name),
        DataType::Boolean => {
            let flag = |span: &Span| span.texts.get(name).map(|text| text == "true");
            Arc::new(spans.iter().map(flag).collect::<BooleanArray>())
        }
        other => new_null_array(other, spans.len()),
    }
}

fn text(span: &Span, column: &str) -> Option<String> {
    match column {
        "trace_id" => Some(format!("{:032x}", span.trace)),
        "span_id" => Some(format!("{:016x}", span.id)),
        "parent_span_id" => (span.parent != 0).then(|| format!("{:016x}", span.parent)),
        "kind" => Some(span.kind.to_owned()),
        "status_code" => Some(span.texts.get(column).cloned().unwrap_or("UNSET".to_owned())),
        _ => span.texts.get(column).cloned(),
    }
}

fn int(span: &Span, column: &str) -> Option<i64> {
    match column {
        "start_time_unix_nano" => Some(span.start),
        "end_time_unix_nano" => Some(span.end),
        "duration_nanos" => Some(span.end.saturating_sub(span.start)),
        "flags" => Some(span.flags),
        "process_pid" => span.pid,
        "thread_id" => span.thread,
        _ => None,
    }
}

fn maps(spans: &[Span], column: &str) -> ArrayRef {
    let names = arrow::array::builder::MapFieldNames {
        entry: "entries".to_owned(),
        key: "keys".to_owned(),
        value: "values".to_owned(),
    };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for span in spans {
        for (key, value) in span.attributes.iter().filter(|_| column == "attributes") {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true).expect("as many keys as values");
    }
    Arc::new(maps.finish())
}

/// What the pass says.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) facts: timesink_facts::Facts,
    /// Batch and row of each span.
    rows: BTreeMap<u64, (usize, usize)>,
}

/// A row of `gaps`; times are milliseconds from [`BASE`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GapRow {
    pub(crate) span: u64,
    pub(crate) position: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Pass {
    pub(crate) fn over(spans: &[Span]) -> Self {
        Self::over_batches(&[batch(spans)])
    }

    pub(crate) fn over_batches(batches: &[RecordBatch]) -> Self {
        Self::with(batches, &timesink_facts::PassOptions::default())
    }

    pub(crate) fn with(batches: &[RecordBatch], options: &timesink_facts::PassOptions) -> Self {
        let facts = timesink_facts::run(batches.to_vec(), options).expect("batches of spans");
        let mut rows = BTreeMap::new();
        for (number, batch) in facts.facts.iter().enumerate() {
            let ids = batch["span_id"].as_string_view();
            let ids = ids.iter().flatten().map(span_id).enumerate();
            rows.extend(ids.map(|(row, id)| (id, (number, row))));
        }
        Self { facts, rows }
    }

    fn column(&self, id: u64, name: &str) -> Option<(&dyn Array, usize)> {
        let &(batch, row) = self.rows.get(&id).unwrap_or_else(|| panic!("no span {id}"));
        let column = self.facts.facts[batch].column_by_name(name);
        let column = column.unwrap_or_else(|| panic!("no column {name}"));
        column.is_valid(row).then_some((column.as_ref(), row))
    }

    pub(crate) fn int(&self, id: u64, column: &str) -> Option<i64> {
        self.column(id, column).map(|(column, row)| column.as_primitive::<Int64Type>().value(row))
    }

    /// As [`Self::int`], in milliseconds.
    pub(crate) fn millis(&self, id: u64, column: &str) -> Option<f64> {
        self.int(id, column).map(|nanos| nanos as f64 / NANOS_PER_MILLI as f64)
    }

    pub(crate) fn float(&self, id: u64, column: &str) -> Option<f64> {
        self.column(id, column).map(|(column, row)| column.as_primitive::<Float64Type>().value(row))
    }

    pub(crate) fn flag(&self, id: u64, column: &str) -> bool {
        self.optional_flag(id, column).expect("not NULL")
    }

    pub(crate) fn optional_flag(&self, id: u64, column: &str) -> Option<bool> {
        self.column(id, column).map(|(column, row)| column.as_boolean().value(row))
    }

    pub(crate) fn text(&self, id: u64, column: &str) -> Option<&str> {
        self.column(id, column).map(|(column, row)| column.as_string_view().value(row))
    }

    /// A column of span ids.
    pub(crate) fn id(&self, id: u64, column: &str) -> Option<u64> {
        self.text(id, column).map(span_id)
    }

    pub(crate) fn gaps(&self) -> Vec<GapRow> {
        let gaps = &self.facts.gaps;
        let text = |name: &str, row: usize| {
            let column = gaps[name].as_string_view();
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let millis = |nanos: i64| nanos as f64 / NANOS_PER_MILLI as f64;
        let row = |row: usize| {
            let start = gap_int(gaps, "start_time_unix_nano", row).expect("required") - BASE;
            let nanos = gap_int(gaps, "nanos", row).expect("required");
            GapRow {
                span: span_id(&text("span_id", row).expect("required")),
                position: text("position", row).expect("required"),
                start: millis(start),
                end: millis(start + nanos),
                before: text("before", row),
                after: text("after", row),
            }
        };
        (0..gaps.num_rows()).map(row).collect()
    }

    /// An integer column of the gaps, row by row.
    pub(crate) fn gap_ints(&self, column: &str) -> Vec<Option<i64>> {
        (0..self.facts.gaps.num_rows()).map(|row| gap_int(&self.facts.gaps, column, row)).collect()
    }
}

fn gap_int(gaps: &RecordBatch, column: &str, row: usize) -> Option<i64> {
    let column = gaps[column].as_primitive::<Int64Type>();
    column.is_valid(row).then(|| column.value(row))
}

pub(crate) fn span_id(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).expect("an id in hex")
}
