//! [`Kept`]: which columns a decoder makes, looked up once.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{Schema, SchemaRef};
use hashbrown::HashMap;
use timesink_model::schema::spans::{Level, PROMOTED};
use timesink_model::schema::{Columns, quarantine, spans};

use crate::semconv::COLUMNS_MAX;

/// What of spans is kept. What is not is read and checked all the same: whether a span is taken
/// does not depend on who asks.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one a column, as the lists below have")]
pub(crate) struct Kept {
    pub(crate) spans: SchemaRef,
    /// The place of each column in `spans`.
    pub(crate) numbers: HashMap<String, usize>,
    pub(crate) quarantine: SchemaRef,
    pub(crate) attributes: bool,
    pub(crate) resource_attributes: bool,
    pub(crate) scope_attributes: bool,
    pub(crate) events: bool,
    pub(crate) links: bool,
    /// Of the promoted columns of spans, by number.
    pub(crate) of_span: [bool; COLUMNS_MAX],
    /// Of the promoted columns of resources, by number.
    pub(crate) of_resource: [bool; COLUMNS_MAX],
}

/// Made once: a receiver has a new decoder for each group of messages.
static ALL: LazyLock<Arc<Kept>> = LazyLock::new(|| Arc::new(Kept::new(&Columns::All)));

impl Kept {
    pub(crate) fn of(columns: &Columns) -> Arc<Self> {
        match columns {
            Columns::All => Arc::clone(&ALL),
            Columns::Named(_) => Arc::new(Self::new(columns)),
        }
    }

    fn new(columns: &Columns) -> Self {
        let schema = columns.schema(&spans::table());
        let reason = quarantine::table().schema();
        let reason = reason.fields().last().cloned();
        let quarantined = schema.fields().iter().cloned().chain(reason).collect::<Vec<_>>();
        let any = |names: [&str; 2]| names.into_iter().any(|name| columns.has(name));
        Self {
            numbers: schema.fields().iter().map(|f| f.name().clone()).zip(0..).collect(),
            spans: Arc::new(schema),
            quarantine: Arc::new(Schema::new(quarantined)),
            attributes: any(["attributes", "attribute_kinds"]),
            resource_attributes: any(["resource_attributes", "resource_attribute_kinds"]),
            scope_attributes: any(["scope_attributes", "scope_attribute_kinds"]),
            events: columns.has("events"),
            links: columns.has("links"),
            of_span: promoted(columns, Level::Span),
            of_resource: promoted(columns, Level::Resource),
        }
    }
}

fn promoted(columns: &Columns, level: Level) -> [bool; COLUMNS_MAX] {
    let mut kept = [false; COLUMNS_MAX];
    let of_level = PROMOTED.iter().filter(|promoted| promoted.level == level);
    for (kept, promoted) in kept.iter_mut().zip(of_level) {
        *kept = columns.has(promoted.column);
    }
    kept
}
