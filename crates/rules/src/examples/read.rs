//! The spans of some traces, with their gaps and their stretches of the critical path.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringViewArray,
};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef};
use arrow::error::ArrowError;
use hashbrown::{HashMap, HashSet};
use timesink_facts::packed::{Text, unpack_batch};
use timesink_facts::{PassOptions, PathSection};
use timesink_model::Stretch;
use timesink_query::{Database, SPANS_WITH_FACTS};

use crate::Error;

/// A span on the clock of its root, ns since the epoch.
#[derive(Debug, Default)]
pub(super) struct Span<'a> {
    pub(super) id: &'a str,
    pub(super) parent_id: Option<&'a str>,
    pub(super) entry_id: &'a str,
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) service: &'a str,
    pub(super) operation: &'a str,
    pub(super) query_shape: Option<&'a str>,
    pub(super) template: Option<&'a str>,
    pub(super) server_service: Option<&'a str>,
    pub(super) server_address: Option<&'a str>,
    pub(super) server_port: Option<i64>,
    pub(super) is_error: bool,
    pub(super) start: i64,
    pub(super) duration: i64,
    /// By start.
    pub(super) critical: Vec<Stretch>,
    /// By start.
    pub(super) gaps: Vec<Gap<'a>>,
}

impl Span<'_> {
    pub(super) fn end(&self) -> i64 {
        self.start.saturating_add(self.duration)
    }

    /// Returns for how long it is itself on the critical path.
    pub(super) fn critical_nanos(&self) -> i64 {
        self.critical.iter().map(|stretch| stretch.duration_nanos).sum()
    }
}

/// A stretch that no child covers.
#[derive(Debug)]
pub(super) struct Gap<'a> {
    pub(super) stretch: Stretch,
    pub(super) position: &'a str,
    pub(super) before: &'a str,
    pub(super) after: &'a str,
}

/// The rows of the traces that were asked for.
#[derive(Debug)]
pub(super) struct Traces {
    spans: Vec<RecordBatch>,
    gaps: RecordBatch,
    /// Those of one trace stand together.
    sections: Vec<PathSection>,
    places: HashMap<String, Places>,
}

/// Where the rows of one trace are.
#[derive(Debug, Default)]
struct Places {
    /// By batch, then row.
    spans: Vec<(usize, usize)>,
    gaps: Vec<usize>,
    sections: Range<usize>,
}

impl Traces {
    pub(super) fn read(database: &Database, trace_ids: &[&str]) -> Result<Self, Error> {
        let wanted: HashSet<&str> = trace_ids.iter().copied().collect();
        let spans_schema = schema(database, SPANS_WITH_FACTS)?;
        let mut spans = Vec::new();
        for batch in database.spans_with_facts() {
            let rows = of_traces(batch, &wanted, &spans_schema)?;
            if rows.num_rows() > 0 {
                spans.push(rows);
            }
        }
        // The path of a trace depends on no other trace, but for its clocks, which are known.
        let sections = timesink_facts::critical_path(&spans, &PassOptions::default())
            .map_err(timesink_query::Error::from)?;
        let gaps_schema = schema(database, "gaps")?;
        let gaps = database.gaps().iter().map(|gaps| of_traces(gaps, &wanted, &gaps_schema));
        let gaps = gaps.collect::<Result<Vec<_>, _>>()?;
        let gaps = concat_batches(&gaps_schema, &gaps).map_err(internal)?;
        let places = places(&spans, &gaps, &sections)?;
        Ok(Self { spans, gaps, sections, places })
    }

    /// Returns the spans of a trace, by start.
    pub(super) fn spans(&self, trace_id: &str) -> Result<Vec<Span<'_>>, Error> {
        let Some(places) = self.places.get(trace_id) else { return Ok(Vec::new()) };
        let mut spans = Vec::with_capacity(places.spans.len());
        let mut skews: HashMap<&str, i64> = HashMap::new();
        for of_batch in places.spans.chunk_by(|(one, _), (other, _)| one == other) {
            let rows = of_batch.iter().map(|(_, row)| *row);
            read_spans(&self.spans[of_batch[0].0], rows, &mut spans, &mut skews)?;
        }
        spans.sort_by_key(|span| (span.start, std::cmp::Reverse(span.duration), span.id));
        let by_id: HashMap<&str, usize> =
            spans.iter().enumerate().map(|(at, span)| (span.id, at)).collect();
        for section in &self.sections[places.sections.clone()] {
            if let Some(&at) = by_id.get(section.span_id.as_str()) {
                spans[at].critical.push(Stretch {
                    start_nanos: section.start_unix_nano,
                    duration_nanos: section.end_unix_nano - section.start_unix_nano,
                });
            }
        }
        for (span_id, mut gap) in read_gaps(&self.gaps, &places.gaps)? {
            if let Some(&at) = by_id.get(span_id) {
                let skew = skews.get(span_id).copied().unwrap_or(0);
                gap.stretch.start_nanos = gap.stretch.start_nanos.saturating_add(skew);
                spans[at].gaps.push(gap);
            }
        }
        for span in &mut spans {
            span.critical.sort_by_key(|stretch| stretch.start_nanos);
            span.gaps.sort_by_key(|gap| gap.stretch.start_nanos);
        }
        Ok(spans)
    }
}

/// Looks at each row once, however many traces there are.
fn places(
    spans: &[RecordBatch],
    gaps: &RecordBatch,
    sections: &[PathSection],
) -> Result<HashMap<String, Places>, Error> {
    let mut places: HashMap<String, Places> = HashMap::new();
    for (number, batch) in spans.iter().enumerate() {
        for (row, trace_id) in text(batch, "trace_id")?.iter().flatten().enumerate() {
            places.entry_ref(trace_id).or_default().spans.push((number, row));
        }
    }
    for (row, trace_id) in text(gaps, "trace_id")?.iter().flatten().enumerate() {
        places.entry_ref(trace_id).or_default().gaps.push(row);
    }
    let mut at = 0;
    for of_trace in sections.chunk_by(|one, other| one.trace_id == other.trace_id) {
        let range = at..at + of_trace.len();
        at = range.end;
        places.entry_ref(of_trace[0].trace_id.as_str()).or_default().sections = range;
    }
    Ok(places)
}

fn schema(database: &Database, table: &str) -> Result<SchemaRef, Error> {
    database.schema(table).ok_or_else(|| Error::Internal(format!("there is no table `{table}`")))
}

/// Returns the rows of some traces, unpacked.
fn of_traces(
    batch: &RecordBatch,
    wanted: &HashSet<&str>,
    schema: &SchemaRef,
) -> Result<RecordBatch, Error> {
    let ids = Text::of(column(batch, "trace_id")?).ok_or_else(|| missing("trace_id"))?;
    let is_wanted: BooleanArray =
        ids.iter().map(|id| Some(id.is_some_and(|id| wanted.contains(id)))).collect();
    if is_wanted.true_count() == 0 {
        return Ok(RecordBatch::new_empty(Arc::clone(schema)));
    }
    let rows = filter_record_batch(batch, &is_wanted).map_err(internal)?;
    unpack_batch(&rows, schema).map_err(internal)
}

fn read_spans<'a>(
    batch: &'a RecordBatch,
    rows: impl Iterator<Item = usize>,
    spans: &mut Vec<Span<'a>>,
    skews: &mut HashMap<&'a str, i64>,
) -> Result<(), Error> {
    let text = |name| text(batch, name);
    let int = |name| int(batch, name);
    let (span_id, parent, entry) =
        (text("span_id")?, text("parent_span_id")?, text("entry_span_id")?);
    let (name, kind, service) = (text("name")?, text("kind")?, text("service_name")?);
    let (operation, shape) = (text("operation")?, text("query_shape")?);
    let (template, server) = (text("jinja2_template_name")?, text("server_service_name")?);
    let (address, port) = (text("server_address")?, int("server_port")?);
    let (start, duration) = (int("start_time_unix_nano")?, int("duration_nanos")?);
    let (skew, status) = (int("skew_nanos")?, text("status_code")?);
    for row in rows {
        skews.insert(span_id.value(row), skew.value(row));
        spans.push(Span {
            id: span_id.value(row),
            parent_id: optional(parent, row),
            entry_id: entry.value(row),
            name: name.value(row),
            kind: kind.value(row),
            service: service.value(row),
            operation: operation.value(row),
            query_shape: optional(shape, row),
            template: optional(template, row),
            server_service: optional(server, row),
            server_address: optional(address, row),
            server_port: port.is_valid(row).then(|| port.value(row)),
            is_error: status.value(row) == "ERROR",
            start: start.value(row).saturating_add(skew.value(row)),
            duration: duration.value(row),
            critical: Vec::new(),
            gaps: Vec::new(),
        });
    }
    Ok(())
}

/// Returns gaps with the ids of their spans, on the clocks of their processes.
fn read_gaps<'a>(batch: &'a RecordBatch, rows: &[usize]) -> Result<Vec<(&'a str, Gap<'a>)>, Error> {
    let (span_id, position) = (text(batch, "span_id")?, text(batch, "position")?);
    let (before, after) = (text(batch, "before")?, text(batch, "after")?);
    let (start, nanos) = (int(batch, "start_time_unix_nano")?, int(batch, "nanos")?);
    let gap = |row: usize| Gap {
        stretch: Stretch { start_nanos: start.value(row), duration_nanos: nanos.value(row) },
        position: position.value(row),
        before: optional(before, row).unwrap_or_default(),
        after: optional(after, row).unwrap_or_default(),
    };
    Ok(rows.iter().map(|&row| (span_id.value(row), gap(row))).collect())
}

fn optional(texts: &StringViewArray, row: usize) -> Option<&str> {
    texts.is_valid(row).then(|| texts.value(row))
}

fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringViewArray, Error> {
    column(batch, name)?.as_string_view_opt().ok_or_else(|| missing(name))
}

fn int<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, Error> {
    column(batch, name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(name))
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, Error> {
    batch.column_by_name(name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::Internal(format!("a table of the trace pass has no column `{name}`"))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn internal(error: ArrowError) -> Error {
    Error::Internal(error.to_string())
}
