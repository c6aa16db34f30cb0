//! `quarantine`: spans whose times cannot be true, kept out of every sum.

use super::{Column, TEXT, Table, spans};

/// The longest duration a span may claim: 7 days.
pub const DURATION_NANOS_MAX: i64 = 7 * 24 * 3600 * crate::NANOS_PER_SECOND;

/// How far in the future a span may start: a day.
pub const FUTURE_NANOS_MAX: i64 = 24 * 3600 * crate::NANOS_PER_SECOND;

/// Returns the table's description: the columns of `spans`, then the reason.
pub fn table() -> Table {
    let mut columns = spans::table().columns;
    columns.push(Column::required("reason", TEXT, "Why the span is not believed."));
    Table {
        name: "quarantine",
        doc: "Spans that end before they start, last over 7 days or lie over a day in the future.",
        columns,
    }
}
