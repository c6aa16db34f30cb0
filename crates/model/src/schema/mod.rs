//! The Arrow schema of every table. Columns are appended, never renamed, reordered or retyped.
//!
//! A column is NULL when its value is unknown, never a made-up zero. Times are nanoseconds since
//! the Unix epoch in `Int64` (Delta has no unsigned integers), ids lower-case hex text.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};

pub mod facts;
pub mod findings;
pub mod gaps;
pub mod quarantine;
pub mod spans;

/// One column: its name, Arrow type, whether it may be NULL, and what it says.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: &'static str,
    pub data_type: DataType,
    pub nullable: bool,
    /// One sentence with the unit and, where the value comes from a specification, its source.
    pub doc: &'static str,
}

impl Column {
    pub(crate) fn required(name: &'static str, data_type: DataType, doc: &'static str) -> Self {
        Self { name, data_type, nullable: false, doc }
    }

    pub(crate) fn optional(name: &'static str, data_type: DataType, doc: &'static str) -> Self {
        Self { name, data_type, nullable: true, doc }
    }
}

/// A table that SQL can read: its name, one sentence, and its columns in order.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: &'static str,
    pub doc: &'static str,
    pub columns: Vec<Column>,
}

impl Table {
    /// Returns the Arrow schema of the table.
    pub fn schema(&self) -> Schema {
        Schema::new(
            self.columns
                .iter()
                .map(|c| Field::new(c.name, c.data_type.clone(), c.nullable))
                .collect::<Vec<_>>(),
        )
    }

    /// Returns the table without some columns.
    fn without(mut self, columns: &[&str]) -> Self {
        self.columns.retain(|column| !columns.contains(&column.name));
        self
    }
}

/// Which columns of its tables a reader asks for: what nobody asks for need not be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Columns {
    #[default]
    All,
    /// Those of these names.
    Named(Arc<BTreeSet<String>>),
}

impl Columns {
    /// Returns the columns of these names.
    pub fn named(names: impl IntoIterator<Item = String>) -> Self {
        Self::Named(Arc::new(names.into_iter().collect()))
    }

    /// Returns whether a column is asked for.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.contains(name),
        }
    }

    /// Returns the schema of a table with the columns that are asked for.
    pub fn schema(&self, table: &Table) -> Schema {
        let fields = table.schema().fields().clone();
        Schema::new(fields.into_iter().filter(|f| self.has(f.name())).cloned().collect::<Vec<_>>())
    }
}

/// Returns every table, in the order documents list them.
pub fn tables() -> Vec<Table> {
    vec![spans::table(), facts::table(), gaps::table(), findings::table(), quarantine::table()]
}

/// Text of any length. Views: a value repeated over many rows is stored once.
pub(crate) const TEXT: DataType = DataType::Utf8View;

/// A map of text to text; entries keep the order in which they arrived, and may repeat a key.
/// A NULL value is an attribute that arrived without one.
pub fn attributes_type() -> DataType {
    let entries = Fields::from(vec![
        Field::new("keys", DataType::Utf8, false),
        Field::new("values", DataType::Utf8, true),
    ]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}
