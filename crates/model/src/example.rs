//! [`ExampleTrace`]: one trace behind a finding, ready to be drawn.

/// A trace with the spans that are worth looking at, on one clock.
///
/// All times are nanoseconds from the start of the trace. No text holds a literal of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExampleTrace {
    /// Lower-case hex.
    pub trace_id: String,
    /// The start of its first span, on the clock of its root.
    pub start_unix_nano: i64,
    /// From the start of its first span to the end of its last one.
    pub duration_nanos: i64,
    /// Names, in the order in which they appear.
    pub services: Vec<String>,
    /// All its spans; those beyond a limit are not in `spans`.
    pub spans_total: usize,
    /// From the top of the tree down, siblings by start.
    pub spans: Vec<ExampleSpan>,
}

/// A span of an [`ExampleTrace`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExampleSpan {
    /// Lower-case hex.
    pub span_id: String,
    /// Its parent as it arrived, which may not be there.
    pub parent_span_id: Option<String>,
    pub name: String,
    pub service_name: String,
    pub kind: String,
    /// Of a call, what people call it: the library, then the statement without its literals or the
    /// method and URL shape. `None` for other spans.
    pub subject: Option<String>,
    /// Steps up to the span without a parent among those shown.
    pub depth: usize,
    pub start_nanos: i64,
    pub duration_nanos: i64,
    pub is_error: bool,
    /// Where it is itself on the critical path, by start.
    pub critical: Vec<Stretch>,
    /// Where no child covers it, by start.
    pub gaps: Vec<ExampleGap>,
    /// The findings that are about it.
    pub finding_ids: Vec<String>,
}

/// A stretch of a span that no child covers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExampleGap {
    pub stretch: Stretch,
    /// The findings that are about it.
    pub finding_ids: Vec<String>,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stretch {
    pub start_nanos: i64,
    pub duration_nanos: i64,
}
