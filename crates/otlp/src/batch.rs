//! [`Batch`]: one batch of `spans` under construction.

mod finish;
mod items;

use std::ops::Range;
use std::sync::Arc;

use timesink_model::schema::quarantine;

use crate::attributes::Attributes;
use crate::columns::{Arena, IntColumn, TextColumn, view};
use crate::draft::{CLIENT, Draft, Id, KIND_VIEWS, Repairs, SERVER, STATUS_CODE_VIEWS, enum_view};
use crate::kept::Kept;
use crate::promote::{Plans, Promoted, PromotedColumns, RepeatedKey, Source};
use crate::redact::Redactor;
use crate::rejected::{Reason, Repair};
use crate::semconv;

use items::{Events, Links};

const ENDS_BEFORE_START: &str = "ends before it starts";
const TOO_LONG: &str = "lasts longer than 7 days";
const IN_THE_FUTURE: &str = "starts more than a day in the future";

/// Bytes that the columns take which every batch has: views, integers, offsets and NULLs.
const ROW_BYTES: usize = 256;

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

    /// Keeps one attribute of each key.
    pub(crate) fn settle_keys(&mut self) {
        self.repairs.note_if(self.attributes.keep_last_of_each_key(), Repair::Key);
    }

    /// Bytes that each of its spans may carry.
    pub(crate) fn byte_size(&self) -> usize {
        let texts = [&self.name, &self.version, &self.schema_url];
        self.attributes.byte_size() + texts.into_iter().map(Vec::len).sum::<usize>()
    }
}

/// Columns of a batch, one value a span, and the draft of the next span.
#[derive(Debug)]
pub(crate) struct Batch {
    kept: Arc<Kept>,
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

impl Batch {
    pub(crate) fn new(kept: Arc<Kept>) -> Self {
        Self {
            kept,
            draft: Draft::default(),
            arena: Arena::default(),
            attributes: Attributes::default(),
            events: None,
            links: None,
            arena_start: 0,
            rows: 0,
            scope_rows: 0,
            resource_rows: 0,
            span: SpanColumns::default(),
            scope: ScopeColumns::default(),
            resource: ResourceColumns::default(),
            quarantined: Vec::new(),
            last_trace_id: None,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of text and lists so far.
    pub(crate) fn byte_size(&self) -> usize {
        self.own_byte_size()
            + self.resource.attributes.byte_size()
            + self.scope.attributes.as_ref().map_or(0, |attributes| attributes.byte_size())
    }

    /// Bytes of memory, about, but for what resources and scopes repeat.
    pub(crate) fn own_memory_bytes(&self) -> usize {
        let promoted = self.span.promoted.count() + self.resource.promoted.count();
        self.own_byte_size() + self.rows * (ROW_BYTES + promoted * size_of::<u128>())
    }

    fn own_byte_size(&self) -> usize {
        self.arena.bytes.len()
            + self.attributes.byte_size()
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
        self.attributes.truncate_rows(self.rows_if(self.kept.attributes));
        self.reopen_events();
        self.reopen_links();
    }

    /// The rows of a column that may not be kept: the draft is written there in either case.
    fn rows_if(&self, is_kept: bool) -> usize {
        if is_kept { self.rows } else { 0 }
    }

    /// Returns where to write an event of the draft, and where to note repairs.
    pub(crate) fn events(&mut self) -> (&mut Events, &mut Repairs) {
        let rows = self.rows_if(self.kept.events);
        let events = self.events.get_or_insert_with(|| Box::new(Events::new(rows)));
        (events, &mut self.draft.repairs)
    }

    /// Returns where to write a link of the draft, and where to note repairs.
    pub(crate) fn links(&mut self) -> (&mut Links, &mut Repairs) {
        let rows = self.rows_if(self.kept.links);
        let links = self.links.get_or_insert_with(|| Box::new(Links::new(rows)));
        (links, &mut self.draft.repairs)
    }

    /// Forgets the draft's attributes, which are written again.
    pub(crate) fn reopen_attributes(&mut self) {
        self.attributes.reopen_row();
    }

    /// Forgets the draft's events, which are written again.
    pub(crate) fn reopen_events(&mut self) {
        let rows = self.rows_if(self.kept.events);
        if let Some(events) = &mut self.events {
            events.truncate_rows(rows);
        }
    }

    /// Forgets the draft's links, which are written again.
    pub(crate) fn reopen_links(&mut self) {
        let rows = self.rows_if(self.kept.links);
        if let Some(links) = &mut self.links {
            links.truncate_rows(rows);
        }
    }

    /// Hides what of the draft must not be kept.
    pub(crate) fn redact(&mut self, redactor: &mut Redactor) {
        let system = redactor.system(&self.attributes);
        let system = system.as_deref();
        if self.draft.kind == CLIENT {
            self.redact_name(redactor, system);
        }
        let row = self.attributes.rows();
        redactor.redact(&mut self.attributes, row, system);
        let rows = self.rows_if(self.kept.events);
        if let Some(events) = &mut self.events {
            let first = events.count(rows);
            redactor.redact(&mut events.attributes, first, system);
        }
        let rows = self.rows_if(self.kept.links);
        if let Some(links) = &mut self.links {
            let first = links.count(rows);
            redactor.redact(&mut links.attributes, first, system);
        }
    }

    fn redact_name(&mut self, redactor: &mut Redactor, system: Option<&str>) {
        let view = self.draft.name.to_le_bytes();
        let name = self.arena.text(&view);
        let Some(name) = redactor.name(&self.attributes, name, system) else {
            return;
        };
        let others = [self.draft.trace_state, self.draft.status_message];
        // A text from before the draft is what other spans have.
        if !others.contains(&self.draft.name) {
            self.arena.blank(self.draft.name, self.arena_start);
        }
        self.draft.name = self.arena.put_again(name.as_bytes());
    }

    /// Makes the draft a row and returns what was mended in it, or says why it is refused.
    pub(crate) fn commit(
        &mut self,
        now_unix_nano: i64,
        plans: &mut Plans,
    ) -> Result<Repairs, Reason> {
        let (trace_id, span_id) = self.draft.ids()?;
        self.put_ids(trace_id, span_id);
        self.put_fields();
        self.put_promoted(plans);
        self.close_lists();
        if let Some(reason) = quarantine_reason(&self.draft, now_unix_nano) {
            self.quarantined.push((self.rows, reason));
        }
        self.rows += 1;
        self.arena_start = self.arena.bytes.len();
        Ok(std::mem::take(&mut self.draft).repairs)
    }

    /// Takes the draft's attributes, events and links as those of a row, or forgets them.
    fn close_lists(&mut self) {
        if self.kept.attributes {
            self.attributes.close_row();
        } else {
            self.attributes.reopen_row();
        }
        match &mut self.events {
            Some(events) if self.kept.events => events.close_row(),
            _ => self.reopen_events(),
        }
        match &mut self.links {
            Some(links) if self.kept.links => links.close_row(),
            _ => self.reopen_links(),
        }
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
                self.span.parent_span_id.put(self.rows, self.arena.put_again(&parent));
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

    fn put_promoted(&mut self, plans: &mut Plans) {
        if self.put_unique(plans).is_err() {
            self.attributes.keep_last_of_each_key();
            self.draft.repairs.note(Repair::Key);
            let settled = self.put_unique(plans);
            debug_assert!(settled.is_ok(), "each key was kept once");
        }
    }

    fn put_unique(&mut self, plans: &mut Plans) -> Result<(), RepeatedKey> {
        let entries = self.attributes.row_start()..self.attributes.len();
        let is_server = self.draft.kind == SERVER;
        let source = Source { attributes: &self.attributes, entries, is_server };
        let (row, columns, arena) = (self.rows, &mut self.span.promoted, &mut self.arena);
        let is_stored = self.kept.attributes;
        source.each(&semconv::SPAN, plans, |column, promoted| match promoted {
            Promoted::Stored { offset, text } if is_stored => {
                columns.text(column).put(row, view(text, VALUES_BUFFER, offset));
            }
            Promoted::Stored { text, .. } => columns.text(column).put(row, arena.put_again(text)),
            Promoted::Text(text) => columns.text(column).put(row, arena.put_again(&text)),
            Promoted::Int(value) => columns.int(column).put(row, value),
            Promoted::Bool(value) => columns.bool(column).put(row, value),
        })
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
        if self.kept.scope_attributes && scope.attributes.len() > 0 {
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
        if self.kept.resource_attributes {
            let kinds = arena.put(resource.attributes.kinds());
            columns.attribute_kinds.put_run(rows.clone(), kinds);
            columns.attributes.repeat(&resource.attributes, rows.len());
        }
        let entries = 0..resource.attributes.len();
        let source = Source { attributes: &resource.attributes, entries, is_server: false };
        let promoted_columns = &mut columns.promoted;
        let unique = source.each(
            &semconv::RESOURCE,
            &mut Plans::new(self.kept.of_resource),
            |column, promoted| match promoted {
                Promoted::Stored { text, .. } => {
                    promoted_columns.text(column).put_run(rows.clone(), arena.put(text));
                }
                Promoted::Text(text) => {
                    promoted_columns.text(column).put_run(rows.clone(), arena.put(&text));
                }
                Promoted::Int(value) => {
                    promoted_columns.int(column).put_run(rows.clone(), value);
                }
                Promoted::Bool(value) => {
                    promoted_columns.bool(column).put_run(rows.clone(), value);
                }
            },
        );
        debug_assert!(unique.is_ok(), "a resource is settled before it is given to its spans");
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
