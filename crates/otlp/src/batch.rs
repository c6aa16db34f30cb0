//! [`Batch`]: one batch of `spans` under construction.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use hashbrown::HashMap;
use timesink_model::schema::spans::{Level, PROMOTED};
use timesink_model::schema::{attributes_type, quarantine, spans};

use crate::attributes::{Attributes, EmptyRow, FinishedAttributes, Texts, list_of, offset};
use crate::columns::{Arena, Column, IntColumn, NullArrays, TextColumn, view};
use crate::draft::{Draft, Id, KIND_VIEWS, Repairs, SERVER, STATUS_CODE_VIEWS, enum_view};
use crate::promote::{Promoted, PromotedColumns, Source};
use crate::rejected::{Reason, Repair};
use crate::semconv;

static SPANS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(spans::table().schema()));

static QUARANTINE_SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(quarantine::table().schema()));

static COLUMN_NUMBERS: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
    let columns = spans::table().columns;
    columns.iter().enumerate().map(|(number, column)| (column.name, number)).collect()
});

const ENDS_BEFORE_START: &str = "ends before it starts";
const TOO_LONG: &str = "lasts longer than 7 days";
const IN_THE_FUTURE: &str = "starts more than a day in the future";

/// A resource or a scope: what all its spans have in common.
#[derive(Debug, Default)]
pub(crate) struct Common {
    pub(crate) name: Vec<u8>,
    pub(crate) version: Vec<u8>,
    pub(crate) schema_url: Vec<u8>,
    /// At most one row, not closed.
    pub(crate) attributes: Attributes,
    pub(crate) dropped_attributes_count: u32,
    pub(crate) repairs: Repairs,
}

impl Common {
    pub(crate) fn clear(&mut self) {
        self.clear_fields();
        self.schema_url.clear();
        self.repairs = Repairs::default();
    }

    /// Forgets the fields of the `Resource` or `Scope` message itself.
    pub(crate) fn clear_fields(&mut self) {
        self.name.clear();
        self.version.clear();
        self.attributes.clear();
        self.dropped_attributes_count = 0;
    }

    /// Bytes that each of its spans may carry.
    pub(crate) fn byte_size(&self) -> usize {
        let texts = [&self.name, &self.version, &self.schema_url];
        self.attributes.byte_size() + texts.into_iter().map(Vec::len).sum::<usize>()
    }
}

/// Columns of a batch, one value a span, and the draft of the next span.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) draft: Draft,
    pub(crate) arena: Arena,
    pub(crate) attributes: Attributes,
    events: Option<Box<Events>>,
    links: Option<Box<Links>>,
    /// Where the arena ended before the draft.
    arena_start: usize,
    rows: usize,
    /// Rows that have the columns of their scope, of their resource.
    scope_rows: usize,
    resource_rows: usize,
    span: SpanColumns,
    scope: ScopeColumns,
    resource: ResourceColumns,
    /// The rows to keep out, with the reason.
    quarantined: Vec<(usize, &'static str)>,
    last_trace_id: Option<([u8; 32], u128)>,
}

#[derive(Debug, Default)]
struct SpanColumns {
    trace_id: TextColumn,
    span_id: TextColumn,
    parent_span_id: TextColumn,
    trace_state: TextColumn,
    flags: IntColumn,
    name: TextColumn,
    kind: TextColumn,
    status_code: TextColumn,
    status_message: TextColumn,
    start_time_unix_nano: IntColumn,
    end_time_unix_nano: IntColumn,
    promoted: PromotedColumns,
    dropped_attributes_count: IntColumn,
    dropped_events_count: IntColumn,
    dropped_links_count: IntColumn,
}

#[derive(Debug, Default)]
struct ScopeColumns {
    name: TextColumn,
    version: TextColumn,
    schema_url: TextColumn,
    attributes: Option<Box<Attributes>>,
    attribute_kinds: TextColumn,
    dropped_attributes_count: IntColumn,
}

#[derive(Debug, Default)]
struct ResourceColumns {
    promoted: PromotedColumns,
    schema_url: TextColumn,
    attributes: Attributes,
    attribute_kinds: TextColumn,
    dropped_attributes_count: IntColumn,
}

/// The events of all spans of a batch.
#[derive(Debug, Default)]
pub(crate) struct Events {
    row_ends: Vec<i32>,
    time_unix_nano: Vec<i64>,
    pub(crate) names: Texts,
    pub(crate) attributes: Attributes,
    dropped_attributes_count: Vec<i64>,
}

/// The links of all spans of a batch.
#[derive(Debug, Default)]
pub(crate) struct Links {
    row_ends: Vec<i32>,
    trace_ids: Texts,
    span_ids: Texts,
    pub(crate) trace_states: Texts,
    flags: Vec<i64>,
    pub(crate) attributes: Attributes,
    dropped_attributes_count: Vec<i64>,
}

impl Events {
    /// Takes what was written since the last event as one.
    pub(crate) fn close(&mut self, time_unix_nano: i64, dropped_attributes_count: u32) {
        self.time_unix_nano.push(time_unix_nano);
        self.names.close();
        self.attributes.close_row();
        self.dropped_attributes_count.push(i64::from(dropped_attributes_count));
    }

    fn truncate_rows(&mut self, rows: usize) {
        self.row_ends.truncate(rows + 1);
        let count = self.row_ends[rows] as usize;
        self.time_unix_nano.truncate(count);
        self.names.truncate(count);
        self.attributes.truncate_rows(count);
        self.dropped_attributes_count.truncate(count);
    }

    fn byte_size(&self) -> usize {
        self.names.bytes.len() + self.attributes.byte_size() + self.time_unix_nano.len() * 24
    }
}

impl Links {
    /// Takes what was written since the last link as one. Returns whether it is one: a link whose
    /// ids are not ids is left out. Zeros and absent ids are kept, as zeros and empty text.
    pub(crate) fn close(
        &mut self,
        trace_id: Id<32>,
        span_id: Id<16>,
        flags: u32,
        dropped_attributes_count: u32,
    ) -> bool {
        let (Some(trace_id), Some(span_id)) = (trace_id.text(), span_id.text()) else {
            self.trace_states.reopen();
            self.attributes.reopen_row();
            return false;
        };
        self.trace_ids.push(trace_id);
        self.span_ids.push(span_id);
        self.trace_states.close();
        self.flags.push(i64::from(flags));
        self.attributes.close_row();
        self.dropped_attributes_count.push(i64::from(dropped_attributes_count));
        true
    }

    fn truncate_rows(&mut self, rows: usize) {
        self.row_ends.truncate(rows + 1);
        let count = self.row_ends[rows] as usize;
        self.trace_ids.truncate(count);
        self.span_ids.truncate(count);
        self.trace_states.truncate(count);
        self.flags.truncate(count);
        self.attributes.truncate_rows(count);
        self.dropped_attributes_count.truncate(count);
    }

    fn byte_size(&self) -> usize {
        self.trace_states.bytes.len() + self.attributes.byte_size() + self.flags.len() * 96
    }
}

impl Batch {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of text and lists so far.
    pub(crate) fn byte_size(&self) -> usize {
        self.arena.bytes.len()
            + self.attributes.byte_size()
            + self.resource.attributes.byte_size()
            + self.scope.attributes.as_ref().map_or(0, |attributes| attributes.byte_size())
            + self.events.as_ref().map_or(0, |events| events.byte_size())
            + self.links.as_ref().map_or(0, |links| links.byte_size())
    }

    /// Makes room for as much as `full` holds: batches of one sender are alike.
    pub(crate) fn reserve_like(&mut self, full: &Self) {
        self.arena.bytes.reserve(full.arena.bytes.len());
        self.attributes.reserve_like(&full.attributes);
    }

    /// Forgets the draft, and with it the attributes, events and links written since.
    pub(crate) fn roll_back(&mut self) {
        self.draft = Draft::default();
        self.arena.bytes.truncate(self.arena_start);
        self.attributes.truncate_rows(self.rows);
        if let Some(events) = &mut self.events {
            events.truncate_rows(self.rows);
        }
        if let Some(links) = &mut self.links {
            links.truncate_rows(self.rows);
        }
    }

    /// Returns where to write an event of the draft, and where to note repairs.
    pub(crate) fn events(&mut self) -> (&mut Events, &mut Repairs) {
        let row_ends = || vec![0; self.rows + 1];
        let events = self
            .events
            .get_or_insert_with(|| Box::new(Events { row_ends: row_ends(), ..Events::default() }));
        (events, &mut self.draft.repairs)
    }

    /// Returns where to write a link of the draft, and where to note repairs.
    pub(crate) fn links(&mut self) -> (&mut Links, &mut Repairs) {
        let row_ends = || vec![0; self.rows + 1];
        let links = self
            .links
            .get_or_insert_with(|| Box::new(Links { row_ends: row_ends(), ..Links::default() }));
        (links, &mut self.draft.repairs)
    }

    /// Forgets the draft's attributes, which are written again.
    pub(crate) fn reopen_attributes(&mut self) {
        self.attributes.reopen_row();
    }

    /// Forgets the draft's events, which are written again.
    pub(crate) fn reopen_events(&mut self) {
        if let Some(events) = &mut self.events {
            events.truncate_rows(self.rows);
        }
    }

    /// Forgets the draft's links, which are written again.
    pub(crate) fn reopen_links(&mut self) {
        if let Some(links) = &mut self.links {
            links.truncate_rows(self.rows);
        }
    }

    /// Makes the draft a row and returns what was mended in it, or says why it is refused.
    pub(crate) fn commit(&mut self, now_unix_nano: i64) -> Result<Repairs, Reason> {
        let (trace_id, span_id) = self.draft.ids()?;
        self.put_ids(trace_id, span_id);
        self.put_fields();
        self.put_promoted();
        self.attributes.close_row();
        if let Some(events) = &mut self.events {
            events.row_ends.push(offset(events.time_unix_nano.len()));
        }
        if let Some(links) = &mut self.links {
            links.row_ends.push(offset(links.flags.len()));
        }
        if let Some(reason) = quarantine_reason(&self.draft, now_unix_nano) {
            self.quarantined.push((self.rows, reason));
        }
        self.rows += 1;
        self.arena_start = self.arena.bytes.len();
        Ok(std::mem::take(&mut self.draft).repairs)
    }

    fn put_ids(&mut self, trace_id: [u8; 32], span_id: [u8; 16]) {
        let trace_view = match self.last_trace_id {
            Some((last, view)) if last == trace_id => view,
            _ => self.arena.put(&trace_id),
        };
        self.last_trace_id = Some((trace_id, trace_view));
        self.span.trace_id.put(self.rows, trace_view);
        self.span.span_id.put(self.rows, self.arena.put(&span_id));
        match self.draft.parent_span_id {
            Id::Hex(parent) if parent == span_id => {
                self.draft.repairs.note(Repair::OwnParent);
            }
            Id::Hex(parent) => {
                self.span.parent_span_id.put(self.rows, self.arena.put(&parent));
            }
            Id::Absent | Id::Zero | Id::Broken => {}
        }
    }

    fn put_fields(&mut self) {
        let (row, draft, span) = (self.rows, &self.draft, &mut self.span);
        put_text(&mut span.trace_state, row, draft.trace_state);
        put_text(&mut span.status_message, row, draft.status_message);
        span.name.put(row, draft.name);
        span.kind.put(row, enum_view(&KIND_VIEWS, draft.kind));
        span.status_code.put(row, enum_view(&STATUS_CODE_VIEWS, draft.status_code));
        span.flags.put(row, i64::from(draft.flags));
        span.start_time_unix_nano.put(row, draft.start_time_unix_nano);
        span.end_time_unix_nano.put(row, draft.end_time_unix_nano);
        put_count(&mut span.dropped_attributes_count, row, draft.dropped_attributes_count);
        put_count(&mut span.dropped_events_count, row, draft.dropped_events_count);
        put_count(&mut span.dropped_links_count, row, draft.dropped_links_count);
    }

    fn put_promoted(&mut self) {
        let entries = self.attributes.row_start()..self.attributes.len();
        if entries.is_empty() {
            return;
        }
        let is_server = self.draft.kind == SERVER;
        let source = Source { attributes: &self.attributes, entries, is_server };
        let (row, columns, arena) = (self.rows, &mut self.span.promoted, &mut self.arena);
        source.each(&semconv::SPAN, |column, promoted| match promoted {
            Promoted::Stored { offset, text } => {
                columns.text(column).put(row, view(text, VALUES_BUFFER, offset));
            }
            Promoted::Text(text) => columns.text(column).put(row, arena.put(&text)),
            Promoted::Int(value) => columns.int(column).put(row, value),
            Promoted::Bool(value) => columns.bool(column).put(row, value),
        });
    }

    /// Gives the rows since the last scope their scope.
    pub(crate) fn close_scope(&mut self, scope: &Common) {
        let rows = self.scope_rows..self.rows;
        self.scope_rows = self.rows;
        if rows.is_empty() {
            return;
        }
        let (columns, arena) = (&mut self.scope, &mut self.arena);
        put_run(&mut columns.name, arena, &rows, &scope.name);
        put_run(&mut columns.version, arena, &rows, &scope.version);
        put_run(&mut columns.schema_url, arena, &rows, &scope.schema_url);
        put_run(&mut columns.attribute_kinds, arena, &rows, scope.attributes.kinds());
        if scope.attributes.len() > 0 {
            let attributes = columns.attributes.get_or_insert_default();
            attributes.pad_rows(rows.start);
            attributes.repeat(&scope.attributes, rows.len());
        }
        put_count_run(&mut columns.dropped_attributes_count, rows, scope.dropped_attributes_count);
        self.arena_start = self.arena.bytes.len();
    }

    /// Gives the rows since the last resource their resource.
    pub(crate) fn close_resource(&mut self, resource: &Common) {
        let rows = self.resource_rows..self.rows;
        self.resource_rows = self.rows;
        if rows.is_empty() {
            return;
        }
        let (columns, arena) = (&mut self.resource, &mut self.arena);
        put_run(&mut columns.schema_url, arena, &rows, &resource.schema_url);
        let kinds = arena.put(resource.attributes.kinds());
        columns.attribute_kinds.put_run(rows.clone(), kinds);
        columns.attributes.repeat(&resource.attributes, rows.len());
        let entries = 0..resource.attributes.len();
        let source = Source { attributes: &resource.attributes, entries, is_server: false };
        let promoted_columns = &mut columns.promoted;
        source.each(&semconv::RESOURCE, |column, promoted| match promoted {
            Promoted::Stored { text, .. } => {
                promoted_columns.text(column).put_run(rows.clone(), arena.put(text));
            }
            Promoted::Text(text) => {
                promoted_columns.text(column).put_run(rows.clone(), arena.put(&text));
            }
            Promoted::Int(value) => promoted_columns.int(column).put_run(rows.clone(), value),
            Promoted::Bool(value) => promoted_columns.bool(column).put_run(rows.clone(), value),
        });
        let count = resource.dropped_attributes_count;
        put_count_run(&mut columns.dropped_attributes_count, rows, count);
        self.arena_start = self.arena.bytes.len();
    }

    /// Forgets the rows of the scope that is being read. Returns how many.
    pub(crate) fn forget_scope(&mut self) -> usize {
        self.truncate_rows(self.scope_rows)
    }

    /// Forgets the rows of the resource that is being read. Returns how many.
    pub(crate) fn forget_resource(&mut self) -> usize {
        self.truncate_rows(self.resource_rows)
    }

    pub(crate) fn scope_row_count(&self) -> usize {
        self.rows - self.scope_rows
    }

    pub(crate) fn resource_row_count(&self) -> usize {
        self.rows - self.resource_rows
    }

    fn truncate_rows(&mut self, rows: usize) -> usize {
        let forgotten = self.rows - rows;
        self.rows = rows;
        self.scope_rows = self.scope_rows.min(rows);
        self.arena_start = self.arena.bytes.len();
        self.roll_back();
        self.span.truncate(rows);
        self.scope.truncate(rows);
        self.quarantined.retain(|(row, _)| *row < rows);
        forgotten
    }

    /// Returns the batch, and the rows that belong into the quarantine as a batch of their own.
    pub(crate) fn finish(mut self) -> (Option<RecordBatch>, Option<RecordBatch>) {
        if self.rows == 0 {
            return (None, None);
        }
        let quarantined = std::mem::take(&mut self.quarantined);
        let batch = self.into_record_batch();
        if quarantined.is_empty() {
            return (Some(batch), None);
        }
        split_quarantined(&batch, &quarantined)
    }

    fn into_record_batch(self) -> RecordBatch {
        let rows = self.rows;
        let arena = [Buffer::from_vec(self.arena.bytes)];
        let schema = Arc::clone(&SPANS_SCHEMA);
        let mut made = Made::new(&schema, rows);
        let values = made.attributes("attributes", "attribute_kinds", self.attributes);
        made.span_columns(self.span, &[arena[0].clone(), values], &arena);
        made.scope_columns(self.scope, &arena);
        made.resource_columns(self.resource, &arena);
        if let Some(events) = self.events {
            made.events(*events);
        }
        if let Some(links) = self.links {
            made.links(*links);
        }
        let columns = made.finish();
        RecordBatch::try_new(schema, columns).expect("every column was made for this schema")
    }
}

/// The buffer number of the attributes' values in the span's promoted columns.
const VALUES_BUFFER: u32 = Arena::BUFFER + 1;

fn quarantine_reason(draft: &Draft, now_unix_nano: i64) -> Option<&'static str> {
    let (start, end) = (draft.start_time_unix_nano, draft.end_time_unix_nano);
    if end < start {
        Some(ENDS_BEFORE_START)
    } else if end - start > quarantine::DURATION_NANOS_MAX {
        Some(TOO_LONG)
    } else if start.saturating_sub(now_unix_nano) > quarantine::FUTURE_NANOS_MAX {
        Some(IN_THE_FUTURE)
    } else {
        None
    }
}

fn split_quarantined(
    batch: &RecordBatch,
    quarantined: &[(usize, &'static str)],
) -> (Option<RecordBatch>, Option<RecordBatch>) {
    let mut is_believed = vec![true; batch.num_rows()];
    for (row, _) in quarantined {
        is_believed[*row] = false;
    }
    let is_quarantined: Vec<bool> = is_believed.iter().map(|believed| !believed).collect();
    let filter = |rows: Vec<bool>| {
        filter_record_batch(batch, &BooleanArray::from(rows)).expect("one flag for each row")
    };
    let kept_out = filter(is_quarantined);
    let mut columns = kept_out.columns().to_vec();
    let reasons = quarantined.iter().map(|(_, reason)| Some(*reason));
    columns.push(Arc::new(StringViewArray::from_iter(reasons)));
    let kept_out = RecordBatch::try_new(Arc::clone(&QUARANTINE_SCHEMA), columns)
        .expect("the columns of spans, then the reason");
    let believed = filter(is_believed);
    ((believed.num_rows() > 0).then_some(believed), Some(kept_out))
}

impl SpanColumns {
    fn truncate(&mut self, rows: usize) {
        for column in [
            &mut self.trace_id,
            &mut self.span_id,
            &mut self.parent_span_id,
            &mut self.trace_state,
            &mut self.name,
            &mut self.kind,
            &mut self.status_code,
            &mut self.status_message,
        ] {
            column.truncate(rows);
        }
        for column in [
            &mut self.flags,
            &mut self.start_time_unix_nano,
            &mut self.end_time_unix_nano,
            &mut self.dropped_attributes_count,
            &mut self.dropped_events_count,
            &mut self.dropped_links_count,
        ] {
            column.truncate(rows);
        }
        self.promoted.truncate(rows);
    }
}

impl ScopeColumns {
    fn truncate(&mut self, rows: usize) {
        let Self { name, version, schema_url, attribute_kinds, .. } = self;
        for column in [name, version, schema_url, attribute_kinds] {
            column.truncate(rows);
        }
        if let Some(attributes) = &mut self.attributes
            && rows < attributes.rows()
        {
            attributes.truncate_rows(rows);
        }
        self.dropped_attributes_count.truncate(rows);
    }
}

/// Puts a text, unless it is empty: then the column stays NULL.
fn put_text(column: &mut TextColumn, row: usize, view: u128) {
    if view != 0 {
        column.put(row, view);
    }
}

fn put_run(column: &mut TextColumn, arena: &mut Arena, rows: &Range<usize>, text: &[u8]) {
    if !text.is_empty() {
        column.put_run(rows.clone(), arena.put(text));
    }
}

/// Puts a count; zeros before the first other one cost nothing.
fn put_count(column: &mut IntColumn, row: usize, count: u32) {
    if count != 0 {
        column.put(row, i64::from(count));
    }
}

fn put_count_run(column: &mut IntColumn, rows: Range<usize>, count: u32) {
    if count != 0 {
        column.put_run(rows, i64::from(count));
    }
}

/// The arrays of a batch by column number, while they are made.
struct Made<'s> {
    schema: &'s SchemaRef,
    rows: usize,
    arrays: Vec<Option<ArrayRef>>,
    /// All zeros, shared by the counts that nothing filled.
    zeros: Option<ArrayRef>,
}

impl<'s> Made<'s> {
    fn new(schema: &'s SchemaRef, rows: usize) -> Self {
        Self { schema, rows, arrays: vec![None; schema.fields().len()], zeros: None }
    }

    fn put(&mut self, column: &str, array: Option<ArrayRef>) {
        self.arrays[COLUMN_NUMBERS[column]] = array;
    }

    fn data_type(&self, column: &str) -> DataType {
        self.schema.field(COLUMN_NUMBERS[column]).data_type().clone()
    }

    fn text(&mut self, name: &str, column: TextColumn, buffers: &[Buffer]) {
        self.put(name, column.finish(self.rows, buffers));
    }

    /// Counts are never NULL: a batch without any has zeros.
    fn count(&mut self, name: &str, column: IntColumn) {
        let array = match column.finish_zeroed(self.rows) {
            Some(array) => array,
            None => Arc::clone(
                self.zeros.get_or_insert_with(|| Arc::new(Int64Array::from(vec![0; self.rows]))),
            ),
        };
        self.put(name, Some(array));
    }

    /// Puts the map and its kinds; returns the buffer of the values.
    fn attributes(&mut self, name: &str, kinds_name: &str, attributes: Attributes) -> Buffer {
        let finished = attributes.finish(&self.data_type(name), EmptyRow::Empty);
        let kinds = kinds_views(&finished);
        let buffers = [finished.kinds];
        self.put(name, Some(finished.map));
        self.put(kinds_name, kinds.finish(self.rows, &buffers));
        finished.values
    }

    fn span_columns(&mut self, span: SpanColumns, promoted: &[Buffer], arena: &[Buffer]) {
        let starts = span.start_time_unix_nano.values();
        let ends = span.end_time_unix_nano.values();
        let durations: Vec<i64> = starts.iter().zip(ends).map(|(s, e)| e - s).collect();
        let micros: Vec<i64> = starts.iter().map(|start| start / 1000).collect();
        let start_time = TimestampMicrosecondArray::new(ScalarBuffer::from(micros), None);
        self.put("duration_nanos", Some(Arc::new(Int64Array::from(durations))));
        self.put("start_time", Some(Arc::new(start_time.with_timezone("UTC"))));
        self.text("trace_id", span.trace_id, arena);
        self.text("span_id", span.span_id, arena);
        self.text("parent_span_id", span.parent_span_id, arena);
        self.text("trace_state", span.trace_state, arena);
        self.text("name", span.name, arena);
        self.text("kind", span.kind, arena);
        self.text("status_code", span.status_code, arena);
        self.text("status_message", span.status_message, arena);
        self.put("flags", span.flags.finish(self.rows));
        self.put("start_time_unix_nano", span.start_time_unix_nano.finish(self.rows));
        self.put("end_time_unix_nano", span.end_time_unix_nano.finish(self.rows));
        self.promoted(Level::Span, span.promoted, promoted);
        self.count("dropped_attributes_count", span.dropped_attributes_count);
        self.count("dropped_events_count", span.dropped_events_count);
        self.count("dropped_links_count", span.dropped_links_count);
    }

    fn scope_columns(&mut self, scope: ScopeColumns, arena: &[Buffer]) {
        self.text("scope_name", scope.name, arena);
        self.text("scope_version", scope.version, arena);
        self.text("scope_schema_url", scope.schema_url, arena);
        self.text("scope_attribute_kinds", scope.attribute_kinds, arena);
        if let Some(mut attributes) = scope.attributes {
            attributes.pad_rows(self.rows);
            let data_type = self.data_type("scope_attributes");
            let finished = attributes.finish(&data_type, EmptyRow::Null);
            self.put("scope_attributes", Some(finished.map));
        }
        self.count("scope_dropped_attributes_count", scope.dropped_attributes_count);
    }

    fn resource_columns(&mut self, resource: ResourceColumns, arena: &[Buffer]) {
        self.text("resource_schema_url", resource.schema_url, arena);
        self.text("resource_attribute_kinds", resource.attribute_kinds, arena);
        let data_type = self.data_type("resource_attributes");
        let finished = resource.attributes.finish(&data_type, EmptyRow::Empty);
        self.put("resource_attributes", Some(finished.map));
        self.promoted(Level::Resource, resource.promoted, arena);
        self.count("resource_dropped_attributes_count", resource.dropped_attributes_count);
    }

    fn promoted(&mut self, level: Level, columns: PromotedColumns, buffers: &[Buffer]) {
        let names = PROMOTED.iter().filter(|p| p.level == level).map(|p| p.column);
        for (name, array) in names.zip(columns.finish(self.rows, buffers)) {
            self.put(name, array);
        }
    }

    fn events(&mut self, events: Events) {
        let data_type = self.data_type("events");
        let attributes = events.attributes.finish(&attributes_type(), EmptyRow::Empty);
        let kinds = attributes.kinds_array();
        let items: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(events.time_unix_nano)),
            events.names.finish(None).0,
            attributes.map,
            kinds,
            Arc::new(Int64Array::from(events.dropped_attributes_count)),
        ];
        self.put("events", Some(list_of(&data_type, events.row_ends, items)));
    }

    fn links(&mut self, links: Links) {
        let data_type = self.data_type("links");
        let attributes = links.attributes.finish(&attributes_type(), EmptyRow::Empty);
        let kinds = attributes.kinds_array();
        let has_state =
            (0..links.trace_states.len()).map(|n| !links.trace_states.get(n).is_empty());
        let has_state = has_state.collect();
        let items: Vec<ArrayRef> = vec![
            links.trace_ids.finish(None).0,
            links.span_ids.finish(None).0,
            links.trace_states.finish(Some(has_state)).0,
            Arc::new(Int64Array::from(links.flags)),
            attributes.map,
            kinds,
            Arc::new(Int64Array::from(links.dropped_attributes_count)),
        ];
        self.put("links", Some(list_of(&data_type, links.row_ends, items)));
    }

    fn finish(self) -> Vec<ArrayRef> {
        let mut nulls = NullArrays::new(self.rows);
        let fields = self.schema.fields();
        let arrays = self.arrays.into_iter().zip(fields);
        arrays.map(|(array, f)| array.unwrap_or_else(|| nulls.of(f.data_type()))).collect()
    }
}

/// The kinds of each row: they lie one after the other, as long as the row has attributes.
fn kinds_views(finished: &FinishedAttributes) -> TextColumn {
    let mut column: TextColumn = Column::default();
    for (row, ends) in finished.row_offsets.windows(2).enumerate() {
        let (start, end) = (ends[0] as usize, ends[1] as usize);
        column.put(row, view(&finished.kinds[start..end], 0, start));
    }
    column
}
