//! From the columns of a batch to Arrow arrays under the schemas of `spans` and `quarantine`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use timesink_model::schema::attributes_type;
use timesink_model::schema::spans::{Level, PROMOTED};

use super::items::{Events, Links};
use super::{Batch, ResourceColumns, ScopeColumns, SpanColumns};
use crate::attributes::{Attributes, EmptyRow, FinishedAttributes, list_of};
use crate::columns::{IntColumn, NullArrays, TextColumn, view};
use crate::kept::Kept;
use crate::promote::PromotedColumns;

impl Batch {
    /// Returns the batch, and the rows that belong into the quarantine as a batch of their own.
    pub(crate) fn finish(mut self) -> (Option<RecordBatch>, Option<RecordBatch>) {
        if self.rows == 0 {
            return (None, None);
        }
        let quarantined = std::mem::take(&mut self.quarantined);
        let kept = Arc::clone(&self.kept);
        let batch = self.into_record_batch();
        if quarantined.is_empty() {
            return (Some(batch), None);
        }
        split_quarantined(&batch, &quarantined, &kept.quarantine)
    }

    fn into_record_batch(self) -> RecordBatch {
        let rows = self.rows;
        let mut texts = self.arena.bytes;
        texts.shrink_to_fit();
        let arena = [Buffer::from_vec(texts)];
        let mut made = Made::new(&self.kept, rows);
        let mut promoted = arena.to_vec();
        if self.kept.attributes {
            promoted.push(made.attributes("attributes", "attribute_kinds", self.attributes));
        }
        made.span_columns(self.span, &promoted, &arena);
        made.scope_columns(self.scope, &arena);
        made.resource_columns(self.resource, &arena);
        if let Some(events) = self.events.filter(|_| self.kept.events) {
            made.events(*events);
        }
        if let Some(links) = self.links.filter(|_| self.kept.links) {
            made.links(*links);
        }
        let columns = made.finish();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.kept.spans), columns, &options)
            .expect("every column was made for this schema")
    }
}

fn split_quarantined(
    batch: &RecordBatch,
    quarantined: &[(usize, &'static str)],
    schema: &SchemaRef,
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
    columns.push(Arc::new(reasons.collect::<StringViewArray>()));
    let kept_out = RecordBatch::try_new(Arc::clone(schema), columns)
        .expect("the columns of spans, then the reason");
    let believed = filter(is_believed);
    ((believed.num_rows() > 0).then_some(believed), Some(kept_out))
}

/// The arrays of a batch by column number, while they are made.
struct Made<'k> {
    kept: &'k Kept,
    rows: usize,
    arrays: Vec<Option<ArrayRef>>,
    /// All zeros, shared by the counts that nothing filled.
    zeros: Option<ArrayRef>,
}

impl<'k> Made<'k> {
    fn new(kept: &'k Kept, rows: usize) -> Self {
        let columns = kept.spans.fields().len();
        Self { kept, rows, arrays: vec![None; columns], zeros: None }
    }

    fn is_kept(&self, column: &str) -> bool {
        self.kept.numbers.contains_key(column)
    }

    /// Puts an array of a column that is kept.
    fn put(&mut self, column: &str, array: Option<ArrayRef>) {
        self.arrays[self.kept.numbers[column]] = array;
    }

    fn data_type(&self, column: &str) -> DataType {
        self.kept.spans.field(self.kept.numbers[column]).data_type().clone()
    }

    fn text(&mut self, name: &str, column: TextColumn, buffers: &[Buffer]) {
        if self.is_kept(name) {
            self.put(name, column.finish(self.rows, buffers));
        }
    }

    fn int(&mut self, name: &str, column: IntColumn) {
        if self.is_kept(name) {
            self.put(name, column.finish(self.rows));
        }
    }

    /// Counts are never NULL: a batch without any has zeros.
    fn count(&mut self, name: &str, column: IntColumn) {
        if !self.is_kept(name) {
            return;
        }
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
        let finished = attributes.finish(&attributes_type(), EmptyRow::Empty);
        let kinds = kinds_views(&finished);
        let buffers = [finished.kinds];
        if self.is_kept(name) {
            self.put(name, Some(finished.map));
        }
        self.text(kinds_name, kinds, &buffers);
        finished.values
    }

    fn span_columns(&mut self, span: SpanColumns, promoted: &[Buffer], arena: &[Buffer]) {
        let starts = span.start_time_unix_nano.values();
        let ends = span.end_time_unix_nano.values();
        if self.is_kept("duration_nanos") {
            let durations: Vec<i64> = starts.iter().zip(ends).map(|(s, e)| e - s).collect();
            self.put("duration_nanos", Some(Arc::new(Int64Array::from(durations))));
        }
        if self.is_kept("start_time") {
            let micros: Vec<i64> = starts.iter().map(|start| start / 1000).collect();
            let start_time = TimestampMicrosecondArray::new(ScalarBuffer::from(micros), None);
            self.put("start_time", Some(Arc::new(start_time.with_timezone("UTC"))));
        }
        self.text("trace_id", span.trace_id, arena);
        self.text("span_id", span.span_id, arena);
        self.text("parent_span_id", span.parent_span_id, arena);
        self.text("trace_state", span.trace_state, arena);
        self.text("name", span.name, arena);
        self.text("kind", span.kind, arena);
        self.text("status_code", span.status_code, arena);
        self.text("status_message", span.status_message, arena);
        self.int("flags", span.flags);
        self.int("start_time_unix_nano", span.start_time_unix_nano);
        self.int("end_time_unix_nano", span.end_time_unix_nano);
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
        if let Some(mut attributes) = scope.attributes.filter(|_| self.is_kept("scope_attributes"))
        {
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
        if self.is_kept("resource_attributes") {
            let data_type = self.data_type("resource_attributes");
            let finished = resource.attributes.finish(&data_type, EmptyRow::Empty);
            self.put("resource_attributes", Some(finished.map));
        }
        self.promoted(Level::Resource, resource.promoted, arena);
        self.count("resource_dropped_attributes_count", resource.dropped_attributes_count);
    }

    fn promoted(&mut self, level: Level, columns: PromotedColumns, buffers: &[Buffer]) {
        let names = PROMOTED.iter().filter(|p| p.level == level).map(|p| p.column);
        for (name, array) in names.zip(columns.finish(self.rows, buffers)) {
            if self.is_kept(name) {
                self.put(name, array);
            }
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
        let fields = self.kept.spans.fields();
        let arrays = self.arrays.into_iter().zip(fields);
        arrays.map(|(array, f)| array.unwrap_or_else(|| nulls.of(f.data_type()))).collect()
    }
}

/// The kinds of each row: they lie one after the other, as long as the row has attributes.
fn kinds_views(finished: &FinishedAttributes) -> TextColumn {
    let mut column = TextColumn::default();
    for (row, ends) in finished.row_offsets.windows(2).enumerate() {
        let (start, end) = (ends[0] as usize, ends[1] as usize);
        column.put(row, view(&finished.kinds[start..end], 0, start));
    }
    column
}
