//! Everything that is written: findings as diagnostics or JSON lines, rows as a table, JSON or CSV.
//!
//! What a span contains is never trusted: it reaches the output through [`safe`] alone.

mod console;
mod finding;
mod jsonl;
mod paint;
mod progress;
mod rows;
pub(crate) mod safe;
mod summary;
mod wrap;

pub(crate) use console::{Console, unwritten};
pub(crate) use finding::{Detail, one_line, write_finding};
pub(crate) use jsonl::write_jsonl;
pub(crate) use paint::Paint;
pub(crate) use rows::{compact_rows, csv, json, table};
pub(crate) use summary::{headline, warn_of_damage, warn_of_losses, write_summary, write_warnings};
pub(crate) use wrap::wrap;
