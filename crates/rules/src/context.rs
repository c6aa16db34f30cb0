//! What is known of the spans beside a rule's own rows: endpoints, libraries, the window.

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::Float64Type;
use hashbrown::{HashMap, HashSet};
use timesink_facts::packed::{Int, Text};
use timesink_query::Database;

use crate::Error;
use crate::columns::{column, int, text};
use crate::mute;
use crate::test_cases::TestCases;

/// The columns of spans and facts that findings are made of.
pub(crate) const COLUMNS: [&str; 19] = [
    "trace_id",
    "span_id",
    "entry_span_id",
    "service_name",
    "endpoint",
    "kind",
    "service_version",
    "scope_name",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "skew_nanos",
    "adjusted_count",
    "test_case_name",
    "parent_span_id",
    "process_id",
    "process_pid",
    "has_process_identity",
    "depth",
    mute::COLUMN,
];

/// The columns of one batch of `spans_with_facts` that findings are made of.
struct Batch<'a> {
    trace_id: Text<'a>,
    span_id: Text<'a>,
    entry_span_id: Text<'a>,
    service: Text<'a>,
    endpoint: Text<'a>,
    version: Text<'a>,
    scope: Text<'a>,
    start: Int<'a>,
    end: Int<'a>,
    skew: Int<'a>,
    pid: Int<'a>,
    /// `None` where no span tells.
    adjusted_count: Option<&'a Float64Array>,
}

impl<'a> Batch<'a> {
    fn read(batch: &'a RecordBatch) -> Result<Self, Error> {
        let (text, int) = (|name: &str| text(batch, name), |name: &str| int(batch, name));
        Ok(Self {
            trace_id: text("trace_id")?,
            span_id: text("span_id")?,
            entry_span_id: text("entry_span_id")?,
            service: text("service_name")?,
            endpoint: text("endpoint")?,
            version: text("service_version")?,
            scope: text("scope_name")?,
            start: int("start_time_unix_nano")?,
            end: int("end_time_unix_nano")?,
            skew: int("skew_nanos")?,
            pid: int("process_pid")?,
            adjusted_count: column(batch, "adjusted_count")?.as_primitive_opt::<Float64Type>(),
        })
    }
}

impl Batch<'_> {
    fn start(&self, row: usize) -> i64 {
        self.start.get(row).unwrap_or_default()
    }

    fn end(&self, row: usize) -> i64 {
        self.end.get(row).unwrap_or_default()
    }

    fn adjusted_count(&self, row: usize) -> Option<f64> {
        let counts = self.adjusted_count.filter(|counts| counts.is_valid(row));
        counts.map(|counts| counts.value(row))
    }
}

/// One endpoint of a service.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) traces: i64,
    pub(crate) nanos: i128,
    /// The time of all the requests that the sampled ones stand for; unknown if that of one is.
    pub(crate) nanos_estimated: Option<i128>,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self { traces: 0, nanos: 0, nanos_estimated: Some(0) }
    }
}

/// What a finding says of the span that a rule's row points at.
#[derive(Debug, Clone)]
pub(crate) struct SpanFacts<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) entry_span_id: &'a str,
    pub(crate) version: Option<&'a str>,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// To be added to its times so that they fit its root's clock, ns.
    pub(crate) skew: i64,
    pub(crate) pid: Option<i64>,
    pub(crate) adjusted_count: Option<f64>,
}

/// The ids of the spans that rules point at, by trace id.
pub(crate) type Wanted<'a> = HashMap<&'a str, HashSet<&'a str>>;

/// Everything that findings need besides the rules' rows.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) endpoints: HashMap<(&'a str, &'a str), Endpoint>,
    /// Last segments of the scopes seen in each service.
    pub(crate) libraries: HashMap<&'a str, HashSet<&'a str>>,
    pub(crate) spans: HashMap<(&'a str, &'a str), SpanFacts<'a>>,
    pub(crate) window: (i64, i64),
    tests: TestCases<'a>,
}

impl<'a> Context<'a> {
    /// Reads the spans of a database once.
    pub(crate) fn read(database: &'a Database, wanted: &Wanted<'_>) -> Result<Self, Error> {
        let mut context = Self {
            endpoints: HashMap::new(),
            libraries: HashMap::new(),
            spans: HashMap::new(),
            window: (i64::MAX, i64::MIN),
            tests: TestCases::read(database.spans_with_facts())?,
        };
        for shard in database.shards() {
            let mut traces_of_endpoint = HashSet::new();
            for batch in shard {
                context.read_batch(&Batch::read(batch)?, wanted, &mut traces_of_endpoint);
            }
        }
        Ok(context)
    }

    /// Returns the test that a span ran in.
    pub(crate) fn test_case(&self, trace_id: &str, span_id: &str) -> Option<&'a str> {
        self.tests.of(trace_id, span_id)
    }

    fn read_batch(
        &mut self,
        batch: &Batch<'a>,
        wanted: &Wanted<'_>,
        traces_of_endpoint: &mut HashSet<(&'a str, &'a str, &'a str)>,
    ) {
        // Texts are looked at once for each pair of views, which are numbers.
        let mut seen_libraries = HashSet::new();
        let mut last_trace = None;
        for row in 0..batch.span_id.len() {
            let (start, end) = (batch.start(row), batch.end(row));
            self.window = (self.window.0.min(start), self.window.1.max(end));
            let (service, span_id) = (batch.service.value(row), batch.span_id.value(row));
            if let Some(scope) = batch.scope.get(row)
                && seen_libraries.insert((batch.service.view(row), batch.scope.view(row)))
            {
                self.libraries.entry(service).or_default().insert(last_segment(scope));
            }
            let trace_id = batch.trace_id.value(row);
            if batch.entry_span_id.value(row) == span_id {
                let endpoint = batch.endpoint.value(row);
                let known = self.endpoints.entry((service, endpoint)).or_default();
                known.nanos += i128::from(end - start);
                // Whole nanoseconds: their sum does not depend on the order.
                let estimated = batch
                    .adjusted_count(row)
                    .map(|count| (count * (end - start) as f64).round() as i128);
                known.nanos_estimated =
                    known.nanos_estimated.zip(estimated).map(|(sum, more)| sum + more);
                known.traces += i64::from(traces_of_endpoint.insert((service, endpoint, trace_id)));
            }
            let trace = batch.trace_id.view(row);
            let (_, wanted_of_trace) = match last_trace {
                Some(known @ (view, _)) if view == trace => known,
                _ => (trace, wanted.get(trace_id)),
            };
            last_trace = Some((trace, wanted_of_trace));
            if wanted_of_trace.is_some_and(|spans| spans.contains(span_id)) {
                self.spans.insert((trace_id, span_id), span_facts(batch, row));
            }
        }
    }
}

fn span_facts<'a>(batch: &Batch<'a>, row: usize) -> SpanFacts<'a> {
    SpanFacts {
        endpoint: batch.endpoint.value(row),
        entry_span_id: batch.entry_span_id.value(row),
        version: batch.version.get(row),
        start: batch.start(row),
        end: batch.end(row),
        skew: batch.skew.get(row).unwrap_or_default(),
        pid: batch.pid.get(row),
        adjusted_count: batch.adjusted_count(row),
    }
}

fn last_segment(scope: &str) -> &str {
    scope.rsplit('.').next().unwrap_or(scope)
}
