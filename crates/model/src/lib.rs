//! The words of timesink: the Arrow schema of every table, [`Finding`], the product, and
//! [`History`], what became of it.
//!
//! Everything here is plain data. Reading bytes is `timesink-otlp`'s job, computing facts is
//! `timesink-facts`', judging is the rules'. Read [`schema::spans`] first.

mod duration;
mod example;
mod finding;
mod folded;
mod history;
mod process;
pub mod schema;

pub use duration::parse_duration_nanos;
pub use example::{ExampleGap, ExampleSpan, ExampleTrace, Stretch};
pub use finding::{
    Confidence, Evidence, Finding, Measure, MeasureValue, Muted, Remediation, Severity, Status,
};
pub use folded::{Folded, first_causes, folded, rank};
pub use history::{FINDINGS_MAX, FORGOTTEN_AFTER_NANOS, History, Period, Traffic};
pub use process::{COMPANION_SCOPE, EVENT_LOOP_SCOPES, is_note};

/// Nanoseconds of one millisecond.
pub const NANOS_PER_MILLI: i64 = 1_000_000;

/// Nanoseconds of one second.
pub const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The `service_name` of spans whose resource has none
/// (semantic conventions, resource `service`: SDKs must default to `unknown_service`).
pub const UNKNOWN_SERVICE: &str = "unknown_service";
