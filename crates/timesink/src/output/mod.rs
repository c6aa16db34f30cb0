//! Everything that is written on a terminal: findings as diagnostics, rows as a table, JSON or CSV.
//!
//! What a span contains is never trusted: it reaches the output through [`safe`] alone. Reports for
//! other readers are made by `timesink-output`.

mod checkup;
mod console;
mod finding;
mod paint;
mod progress;
mod rows;
mod summary;
mod wrap;

pub(crate) use checkup::{Checkup, write_checkup};
pub(crate) use console::{Console, unwritten};
pub(crate) use finding::{Detail, one_line, write_finding};
pub(crate) use paint::Paint;
pub(crate) use rows::{compact_rows, csv, json, table};
pub(crate) use summary::{
    notices, warn_of_damage, warn_of_losses, warn_of_lost_records, write_summary, write_warnings,
};
pub(crate) use timesink_output::safe;
pub(crate) use wrap::wrap;
