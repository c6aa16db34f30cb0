//! `facts`: what the trace pass adds beside each span.

use arrow_schema::DataType;

use super::{Column, TEXT, Table};

/// The columns that only all spans of a process tell: those of one trace do not.
pub const PROCESS_WIDE: [&str; 16] = [
    "entry_number",
    "open_entries",
    "stalled_nanos",
    "silence_nanos",
    "expected_edges",
    "foreign_edges",
    "concurrent_traces",
    "process_id",
    "is_event_loop",
    "server_busy_nanos",
    "waiting_nanos",
    "is_told_by_requests",
    "request_silence_nanos",
    "request_edges",
    "expected_request_edges",
    "is_watched",
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
        Column::required("span_id", TEXT, "The span."),
        Column::required(
            "depth",
            int.clone(),
            "Steps up to the root or orphan above it; 0 for that one.",
        ),
        Column::required("root_span_id", TEXT, "The root or orphan above it."),
        Column::required(
            "entry_span_id",
            TEXT,
            "The nearest request or root above it in its service: SERVER, CONSUMER, or INTERNAL with what server instrumentations write and no request above it in its process, as a test's client makes; siblings under one lost local parent share that parent's id; zeros for a note of no request.",
        ),
        Column::optional(
            "endpoint",
            TEXT,
            "The entry's name; NULL when the entry's span was lost, and for a note of no request.",
        ),
        Column::required(
            "name_path",
            TEXT,
            "Names from the entry down to the span's parent, joined by ` > `, digits as `?`; repeated and deep tails are shortened.",
        ),
        Column::required(
            "is_orphan",
            DataType::Boolean,
            "Whether it names a parent that is not there.",
        ),
        Column::required(
            "is_complete",
            DataType::Boolean,
            "Whether its trace has one root and no orphan, notes aside.",
        ),
        Column::optional(
            "entry_number",
            int.clone(),
            "Its entry is the nth of its process, from 1; NULL under a lost entry.",
        ),
        Column::required(
            "open_entries",
            int.clone(),
            "Entries of its process open at its start, its own included; another that made requests in the process itself, a test say, only waits for them and is left out.",
        ),
        Column::required(
            "skew_nanos",
            int.clone(),
            "To be added to its times so that they fit its root's clock, ns.",
        ),
        Column::required("self_nanos", int.clone(), "Time that no child but notes covers, ns."),
        Column::required(
            "critical_nanos",
            int.clone(),
            "Its share of the critical path of its tiling, ns.",
        ),
        Column::optional(
            "wire_nanos",
            int.clone(),
            "On a client span with a server child: the time before its first server child and after its last that no child in its own process covers, ns; with the server as its only child its duration less the server's.",
        ),
        Column::optional(
            "wire_before_nanos",
            int.clone(),
            "The part of the wire before the first server span, after skew correction, ns.",
        ),
        Column::optional(
            "wire_after_nanos",
            int.clone(),
            "The part of the wire after the last server span, after skew correction, ns.",
        ),
        Column::optional(
            "wire_critical_nanos",
            int.clone(),
            "The part of the wire on the critical path of its tiling, ns. Critical shares and critical wires of a tiling add up to its head's duration.",
        ),
        Column::required(
            "sequence_id",
            int.clone(),
            "Siblings with one number ran one after the other without overlap.",
        ),
        Column::optional(
            "query_shape",
            TEXT,
            "`db.query.text` without its literals; for an HTTP or RPC call the method and URL shape; NULL for other spans.",
        ),
        Column::optional(
            "duplicate_of",
            TEXT,
            "The span of another instrumentation that saw the same query.",
        ),
        Column::optional(
            "adjusted_count",
            DataType::Float64,
            "How many requests it stands for; NULL when the trace state does not say.",
        ),
        Column::required(
            "stalled_nanos",
            int.clone(),
            "How long it was held up by a stall of its event loop that another request caused, ns.",
        ),
        Column::optional(
            "silence_nanos",
            int.clone(),
            "On a leaf of an event-loop process: from the last start or end of a concurrent request's span inside it, else from its start, to its end, ns.",
        ),
        Column::optional(
            "expected_edges",
            DataType::Float64,
            "Starts and ends of concurrent requests to be expected in that silence, by their rate around it.",
        ),
        Column::optional(
            "foreign_edges",
            int.clone(),
            "Starts and ends of concurrent requests inside the span.",
        ),
        Column::optional(
            "concurrent_traces",
            int.clone(),
            "Other requests of the process that overlap its own: traces, or where no request is above several of a trace, each of those.",
        ),
        // Appended.
        Column::required(
            "process_id",
            int.clone(),
            "Number of its process (service, instance id, pid, host), stable within one run.",
        ),
        Column::required(
            "is_event_loop",
            DataType::Boolean,
            "Whether its process serves requests on an event loop.",
        ),
        Column::required(
            "has_process_identity",
            DataType::Boolean,
            "Whether its resource tells one process from another: `service.instance.id`, or `process.pid` together with a host; a pid is 1 in every container.",
        ),
        Column::required(
            "is_leaf",
            DataType::Boolean,
            "Whether it has no child in its process, and is no note.",
        ),
        Column::required(
            "pause_nanos",
            int.clone(),
            "Critical time of its entry that no operation covers, between the operation before and this one, ns; 0 for the entry's first operation.",
        ),
        Column::optional(
            "server_service_name",
            TEXT,
            "On a client span: the service of its server child.",
        ),
        Column::optional("server_span_id", TEXT, "On a client span: its server child."),
        Column::required("tiling_span_id", TEXT, "The head of its tiling."),
        Column::required(
            "own_nanos",
            int.clone(),
            "On an entry: its duration less the time covered by calls to recorded services, ns; else its self time.",
        ),
        Column::required(
            "operation",
            TEXT,
            "What a person calls it: scope and query shape, or its name.",
        ),
        Column::required(
            "entry_kind",
            TEXT,
            "The kind of its entry, SERVER for an INTERNAL request; UNSPECIFIED under a lost entry.",
        ),
        Column::required(
            "entry_duration_nanos",
            int.clone(),
            "Its entry's duration, ns; under a lost entry the extent of what is left of it.",
        ),
        Column::optional("parent_kind", TEXT, "The kind of its parent; NULL without one."),
        Column::optional(
            "server_busy_nanos",
            int.clone(),
            "How long of `wire_before_nanos` the server's process had other entries open, ns.",
        ),
        Column::optional(
            "waiting_nanos",
            int.clone(),
            "How long other requests of the process were open during `silence_nanos` (else `request_silence_nanos`), added up, ns.",
        ),
        Column::required(
            "is_told_by_requests",
            DataType::Boolean,
            "Whether its process may run an event loop beside threads, as Django does under ASGI, so that only requests can tell that it stands still.",
        ),
        Column::optional(
            "request_silence_nanos",
            int.clone(),
            "Where `is_told_by_requests` and another request is open, on a leaf: ns from the last start or end of another request in it, else from its start, to its end.",
        ),
        Column::optional(
            "request_edges",
            int.clone(),
            "Starts and ends of other requests inside the span.",
        ),
        Column::optional(
            "expected_request_edges",
            DataType::Float64,
            "Such starts and ends to be expected in the span, by their rate within 100 ms around it.",
        ),
        Column::optional(
            "literals_hash",
            int.clone(),
            "Stands for the literals of `db.query.text` in their order, of a shortened list those of the elements that `query_shape` shows; NULL without a literal.",
        ),
        Column::required(
            "is_batch",
            DataType::Boolean,
            "Whether `db.query.text` asks for many rows at once: an IN or ANY list, VALUES with several rows, several keys or commands, a `getMore`; false without a statement.",
        ),
        Column::required(
            "tiling_duration_nanos",
            int.clone(),
            "The duration of the head of its tiling, ns: what runs in the background of a request is a part of its task, not of the request.",
        ),
        Column::required(
            "is_watched",
            DataType::Boolean,
            "Whether its process says itself when its event loops stand still for 20 ms or more (`timesink-otel`).",
        ),
        Column::optional(
            "is_on_event_loop",
            DataType::Boolean,
            "Whether the span starts on a running event loop: `timesink.event_loop`, or of a span without `thread.id` what its parent in the same process has; NULL where nobody says so.",
        ),
        Column::optional(
            "starting_thread_id",
            int.clone(),
            "The thread that the span starts on: `thread.id`, or that of its parent in the same process; NULL where nobody says so.",
        ),
        Column::required("start_time_unix_nano", int, "As in `spans`."),
    ];
    Table {
        name: "facts",
        doc: "What the trace pass adds beside each span: one row a span, in any order. A *note* is a span that says when its process stood still (a blocked event loop or a pause of the garbage collector by `timesink-otel`, a slow callback by Logfire): no work, and neither child nor cover of its parent.",
        columns,
    }
}
