//! `gaps`: stretches of an entry or INTERNAL span that no child covers.

use arrow_schema::DataType;

use super::{Column, TEXT, Table};

/// The shortest stretch that is a gap: 1 ms.
pub const GAP_NANOS_MIN: i64 = crate::NANOS_PER_MILLI;

/// The columns that only all spans of a process tell: those of one trace do not.
pub const PROCESS_WIDE: [&str; 12] = [
    "after_running",
    "after_ended_nanos",
    "after_running_max",
    "silence_nanos",
    "expected_edges",
    "foreign_edges",
    "concurrent_traces",
    "stalled_nanos",
    "waiting_nanos",
    "request_silence_nanos",
    "request_edges",
    "expected_request_edges",
];

/// Returns the table as a data directory keeps it: without the columns that are
/// [`PROCESS_WIDE`].
pub fn stored() -> Table {
    table().without(&PROCESS_WIDE)
}

/// Returns the table's description.
pub fn table() -> Table {
    let int = DataType::Int64;
    let columns = vec![
        Column::required("trace_id", TEXT, "The trace."),
        Column::required("entry_span_id", TEXT, "The entry of the span with the gap."),
        Column::required("span_id", TEXT, "The span with the gap: an entry or an INTERNAL span."),
        Column::required(
            "start_time_unix_nano",
            int.clone(),
            "Start of the gap, ns since the epoch, by the process's own clock; when it waited for a client's upload, the end of that.",
        ),
        Column::required("nanos", int.clone(), "Length of the gap, ns; at least 1 ms."),
        Column::required(
            "position",
            TEXT,
            "`lead` before the first child, `between` two, `tail` after the last, `whole` without any.",
        ),
        Column::optional(
            "before",
            TEXT,
            "The operation that ended before it; NULL in a lead or whole.",
        ),
        Column::optional(
            "after",
            TEXT,
            "The operation that starts after it; NULL in a tail or whole.",
        ),
        Column::required(
            "critical_nanos",
            int.clone(),
            "The part of it on the critical path of its tiling, ns.",
        ),
        Column::optional(
            "after_running",
            int.clone(),
            "How many operations like `after` run elsewhere in the process at the gap's end.",
        ),
        Column::optional(
            "after_ended_nanos",
            int.clone(),
            "How long before the gap's end such an operation of another trace ended, ns; NULL when none did inside the gap.",
        ),
        Column::optional(
            "after_running_max",
            int.clone(),
            "The most operations like `after` that ever ran at once in the process.",
        ),
        Column::optional("silence_nanos", int.clone(), "As in `facts`, for the gap."),
        Column::optional("expected_edges", DataType::Float64, "As in `facts`, for the gap."),
        Column::optional("foreign_edges", int.clone(), "As in `facts`, for the gap."),
        Column::optional("concurrent_traces", int.clone(), "As in `facts`, for the gap."),
        Column::required(
            "stalled_nanos",
            int.clone(),
            "How long of it was a stall of the event loop that another request caused, ns.",
        ),
        Column::required(
            "before_failed",
            DataType::Boolean,
            "Whether the operation before it failed: a backoff sleep looks like work.",
        ),
        Column::optional("waiting_nanos", int.clone(), "As in `facts`, for the gap."),
        Column::optional("before_kind", TEXT, "The kind of the span before it."),
        Column::optional("request_silence_nanos", int.clone(), "As in `facts`, for the gap."),
        Column::optional("request_edges", int, "As in `facts`, for the gap."),
        Column::optional(
            "expected_request_edges",
            DataType::Float64,
            "As in `facts`, for the gap.",
        ),
    ];
    Table {
        name: "gaps",
        doc: "One row for each stretch of at least 1 ms of an entry or INTERNAL span that no child covers. In an ASGI entry the tail ends at the first send. A gap in which receives of `http.request` or `websocket.receive` took 1 ms or more begins at the end of the last of them: to wait for the client's upload is no work and no gap.",
        columns,
    }
}
