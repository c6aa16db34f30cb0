//! [`Rows`]: the spans as plain columns in canonical order (trace, start, span id), so that every
//! later step works on neighbouring memory and no step depends on the order of arrival.

use std::ops::Range;

use arrow::array::{Array, RecordBatch, StringViewArray};
use hashbrown::HashMap;
use timesink_model::schema::quarantine::DURATION_NANOS_MAX;

use crate::Error;
use crate::batch::{Batch, SpanKey, value};
use crate::intern::{Interner, Sym};
use crate::parallel::both;

/// The most spans that one pass takes: positions are `u32`, and so are those of their starts and
/// ends and of the sections of critical paths, of which there are up to two a span and one more.
pub(crate) const SPANS_MAX: usize = 1 << 30;

/// The latest time that the pass reckons with, in the year 2116; what lies beyond, or before 1970,
/// is taken as the limit. Sums and differences of such times, of skews and of durations that the
/// quarantine lets pass cannot overflow.
const TIME_NANOS_MAX: i64 = 1 << 62;

/// No such span.
pub(crate) const NONE: u32 = u32::MAX;

/// No thread has this id.
pub(crate) const NO_THREAD: i64 = 0;

/// Bit 9 of the span flags: the parent is in another process (OTLP `SpanFlags`).
const FLAG_PARENT_IS_REMOTE: i64 = 512;

/// A span's kind, as rules care about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Other,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl Kind {
    fn parse(text: &str) -> Self {
        match text {
            "INTERNAL" => Self::Internal,
            "SERVER" => Self::Server,
            "CLIENT" => Self::Client,
            "PRODUCER" => Self::Producer,
            "CONSUMER" => Self::Consumer,
            _ => Self::Other,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Other => "UNSPECIFIED",
            Self::Internal => "INTERNAL",
            Self::Server => "SERVER",
            Self::Client => "CLIENT",
            Self::Producer => "PRODUCER",
            Self::Consumer => "CONSUMER",
        }
    }

    /// Whether such a span is a request to its service.
    pub(crate) fn is_request(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }
}

/// An ASGI message span, `<route> http send` or `http receive`: neither a child nor cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asgi {
    No,
    Send,
    /// A part of the request, for which the entry waited.
    Receive,
    /// The client is gone, or another message: nothing that an entry waits for to do its work.
    Other,
}

/// What tells one process from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessKey {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) pid: Option<i64>,
    pub(crate) host: String,
}

/// What a request shows of how its process serves requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serving {
    /// Nothing, or by threads.
    Unknown,
    EventLoop,
    /// On an event loop, with threads for its queries.
    DjangoAsgi,
    /// On an event loop or by threads.
    Django,
}

impl ProcessKey {
    /// Whether no other process of the service has this key: a pid is 1 in every container, and a
    /// host has many processes.
    pub(crate) fn has_identity(&self) -> bool {
        !self.instance.is_empty() || (self.pid.is_some() && !self.host.is_empty())
    }
}

/// The spans, one element a span in every column, in canonical order.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) strings: Interner,
    /// Position in the input, batches end to end.
    pub(crate) input: Vec<u32>,
    pub(crate) span_id: Vec<u64>,
    /// 0 for none.
    pub(crate) parent_id: Vec<u64>,
    pub(crate) start: Vec<i64>,
    pub(crate) end: Vec<i64>,
    pub(crate) kind: Vec<Kind>,
    pub(crate) name: Vec<Sym>,
    pub(crate) scope: Vec<Sym>,
    pub(crate) service: Vec<Sym>,
    /// Index into `process_keys`.
    pub(crate) process: Vec<u32>,
    pub(crate) parent_is_remote: Vec<bool>,
    pub(crate) failed: Vec<bool>,
    pub(crate) asgi: Vec<Asgi>,
    /// Whether it says when its process stood still: it is no work, and neither child nor cover.
    pub(crate) is_note: Vec<bool>,
    /// Whether it starts on a running event loop, where its process says when one stands still.
    pub(crate) event_loop: Vec<Option<bool>>,
    /// The thread that it starts on, [`NO_THREAD`] where nobody says so.
    pub(crate) thread: Vec<i64>,
    /// Whether it is INTERNAL and carries what server instrumentations write on a request.
    pub(crate) is_served: Vec<bool>,
    /// What the span shows of how its process serves requests, if it is one.
    pub(crate) serving: Vec<Serving>,
    pub(crate) db_system: Vec<Sym>,
    pub(crate) db_query: Vec<Sym>,
    pub(crate) http_method: Vec<Sym>,
    pub(crate) url: Vec<Sym>,
    pub(crate) rpc_service: Vec<Sym>,
    pub(crate) rpc_method: Vec<Sym>,
    /// How many spans it stands for, by `input`; of those that tell.
    pub(crate) adjusted_counts: HashMap<u32, f64>,
    /// Sorted by key, so that numbers do not depend on arrival.
    pub(crate) process_keys: Vec<ProcessKey>,
    /// Host key of each process, for clock skew: hosts that are one have one clock.
    pub(crate) process_hosts: Vec<Sym>,
    /// Each trace's positions, in order of trace id.
    pub(crate) traces: Vec<Range<usize>>,
    pub(crate) trace_ids: Vec<u128>,
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.input.len()
    }

    pub(crate) fn text(&self, sym: Sym) -> &str {
        self.strings.text(sym)
    }

    pub(crate) fn duration(&self, at: usize) -> i64 {
        self.end[at] - self.start[at]
    }

    /// Returns how many spans it stands for, if it tells.
    pub(crate) fn adjusted_count(&self, at: usize) -> Option<f64> {
        self.adjusted_counts.get(&self.input[at]).copied()
    }

    /// Frees what only the first steps read: who calls whom, and what is called.
    pub(crate) fn forget_calls(&mut self) {
        self.span_id = Vec::new();
        self.parent_id = Vec::new();
        for column in [
            &mut self.db_system,
            &mut self.db_query,
            &mut self.http_method,
            &mut self.url,
            &mut self.rpc_service,
            &mut self.rpc_method,
        ] {
            *column = Vec::new();
        }
    }

    /// Reads the spans of all batches; `keys` are theirs, batches end to end.
    pub(crate) fn read(batches: &[RecordBatch], keys: &[SpanKey]) -> Result<Self, Error> {
        let batches = batches.iter().map(Batch::read).collect::<Result<Vec<_>, _>>()?;
        let (numbers, mut texts) =
            both(|| Numbers::read(&batches, keys), || Texts::read(&batches, keys.len()));
        let order = numbers.order;
        Ok(Self {
            strings: texts.strings,
            span_id: numbers.span_id,
            parent_id: numbers.parent_id,
            start: numbers.start,
            end: numbers.end,
            kind: numbers.kind,
            name: ordered(&mut texts.name, &order),
            scope: ordered(&mut texts.scope, &order),
            service: ordered(&mut texts.service, &order),
            process: ordered(&mut texts.process, &order),
            parent_is_remote: numbers.parent_is_remote,
            failed: numbers.failed,
            asgi: numbers.asgi,
            is_note: numbers.is_note,
            event_loop: numbers.event_loop,
            thread: numbers.thread,
            is_served: numbers.is_served,
            serving: numbers.serving,
            db_system: ordered(&mut texts.db_system, &order),
            db_query: ordered(&mut texts.db_query, &order),
            http_method: ordered(&mut texts.http_method, &order),
            url: ordered(&mut texts.url, &order),
            rpc_service: ordered(&mut texts.rpc_service, &order),
            rpc_method: ordered(&mut texts.rpc_method, &order),
            adjusted_counts: numbers.adjusted_counts,
            process_keys: texts.process_keys,
            process_hosts: texts.process_hosts,
            traces: numbers.traces,
            trace_ids: numbers.trace_ids,
            input: order,
        })
    }
}

/// Takes a column, which is in order of arrival, and returns it in another order.
fn ordered<T: Copy>(column: &mut Vec<T>, order: &[u32]) -> Vec<T> {
    let column = std::mem::take(column);
    order.iter().map(|&at| column[at as usize]).collect()
}

/// The columns of [`Rows`] that hold no numbers of texts, in canonical order.
#[derive(Default)]
struct Numbers {
    order: Vec<u32>,
    span_id: Vec<u64>,
    parent_id: Vec<u64>,
    start: Vec<i64>,
    end: Vec<i64>,
    kind: Vec<Kind>,
    parent_is_remote: Vec<bool>,
    failed: Vec<bool>,
    asgi: Vec<Asgi>,
    is_note: Vec<bool>,
    event_loop: Vec<Option<bool>>,
    thread: Vec<i64>,
    is_served: Vec<bool>,
    serving: Vec<Serving>,
    adjusted_counts: HashMap<u32, f64>,
    traces: Vec<Range<usize>>,
    trace_ids: Vec<u128>,
}

impl Numbers {
    fn read(batches: &[Batch<'_>], keys: &[SpanKey]) -> Self {
        let mut numbers = Self::with_capacity(keys.len());
        for batch in batches {
            numbers.read_batch(batch);
        }
        numbers.sort(keys);
        numbers
    }

    fn with_capacity(spans: usize) -> Self {
        Self {
            parent_id: Vec::with_capacity(spans),
            start: Vec::with_capacity(spans),
            end: Vec::with_capacity(spans),
            kind: Vec::with_capacity(spans),
            parent_is_remote: Vec::with_capacity(spans),
            failed: Vec::with_capacity(spans),
            asgi: Vec::with_capacity(spans),
            is_note: Vec::with_capacity(spans),
            event_loop: Vec::with_capacity(spans),
            thread: Vec::with_capacity(spans),
            is_served: Vec::with_capacity(spans),
            serving: Vec::with_capacity(spans),
            ..Self::default()
        }
    }

    fn read_batch(&mut self, batch: &Batch<'_>) {
        let first = self.start.len() as u32;
        let all = 0..batch.len();
        self.parent_id.extend(all.clone().map(|row| batch.parent_id(row)));
        for (&start, &end) in batch.start.values().iter().zip(batch.end.values()) {
            let start = start.clamp(0, TIME_NANOS_MAX);
            self.start.push(start);
            self.end.push(end.clamp(start, start + DURATION_NANOS_MAX));
        }
        let kind = |row| Kind::parse(value(batch.kind, row));
        self.kind.extend(all.clone().map(kind));
        let parent_is_remote = |flags: Option<i64>| flags.unwrap_or(0) & FLAG_PARENT_IS_REMOTE != 0;
        self.parent_is_remote.extend(batch.flags.iter().map(parent_is_remote));
        self.failed.extend(all.clone().map(|row| value(batch.status_code, row) == "ERROR"));
        self.asgi.extend(all.clone().map(|row| asgi(value(batch.asgi, row))));
        self.is_note.extend(all.clone().map(|row| batch.is_note(row)));
        self.event_loop.extend(batch.event_loop);
        self.thread.extend(batch.thread.iter().map(|thread| thread.unwrap_or(NO_THREAD)));
        let is_served = |row| kind(row) == Kind::Internal && batch.is_served(row);
        self.is_served.extend(all.clone().map(is_served));
        self.serving.extend(all.clone().map(|row| match kind(row) {
            Kind::Server => batch.serving(row),
            Kind::Internal if batch.is_served(row) => batch.serving(row),
            _ => Serving::Unknown,
        }));
        for row in all.filter(|row| batch.trace_state.is_valid(*row)) {
            if let Some(count) = crate::sampling(batch.trace_state.value(row)).adjusted_count() {
                self.adjusted_counts.insert(first + row as u32, count);
            }
        }
    }

    fn sort(&mut self, keys: &[SpanKey]) {
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        order.sort_unstable_by_key(|&at| {
            let key = &keys[at as usize];
            (key.trace, self.start[at as usize], key.span)
        });
        let trace_id = |at: usize| keys[order[at] as usize].trace;
        self.traces = trace_ranges(order.len(), trace_id);
        self.trace_ids = self.traces.iter().map(|trace| trace_id(trace.start)).collect();
        self.span_id = order.iter().map(|&at| keys[at as usize].span).collect();
        self.parent_id = ordered(&mut self.parent_id, &order);
        self.start = ordered(&mut self.start, &order);
        self.end = ordered(&mut self.end, &order);
        self.kind = ordered(&mut self.kind, &order);
        self.parent_is_remote = ordered(&mut self.parent_is_remote, &order);
        self.failed = ordered(&mut self.failed, &order);
        self.asgi = ordered(&mut self.asgi, &order);
        self.is_note = ordered(&mut self.is_note, &order);
        self.event_loop = ordered(&mut self.event_loop, &order);
        self.thread = ordered(&mut self.thread, &order);
        self.is_served = ordered(&mut self.is_served, &order);
        self.serving = ordered(&mut self.serving, &order);
        self.order = order;
    }
}

/// The columns of [`Rows`] that number texts and processes, in order of arrival.
struct Texts {
    strings: Interner,
    name: Vec<Sym>,
    scope: Vec<Sym>,
    service: Vec<Sym>,
    process: Vec<u32>,
    db_system: Vec<Sym>,
    db_query: Vec<Sym>,
    http_method: Vec<Sym>,
    url: Vec<Sym>,
    rpc_service: Vec<Sym>,
    rpc_method: Vec<Sym>,
    process_numbers: HashMap<ProcessKey, u32>,
    process_keys: Vec<ProcessKey>,
    process_hosts: Vec<Sym>,
}

impl Texts {
    fn read(batches: &[Batch<'_>], spans: usize) -> Self {
        let mut texts = Self::with_capacity(spans);
        for batch in batches {
            texts.read_resources(batch);
            texts.read_batch(batch);
        }
        texts.number_processes();
        texts
    }

    fn with_capacity(spans: usize) -> Self {
        Self {
            strings: Interner::new(),
            name: Vec::with_capacity(spans),
            scope: Vec::with_capacity(spans),
            service: Vec::with_capacity(spans),
            process: Vec::with_capacity(spans),
            db_system: Vec::with_capacity(spans),
            db_query: Vec::with_capacity(spans),
            http_method: Vec::with_capacity(spans),
            url: Vec::with_capacity(spans),
            rpc_service: Vec::with_capacity(spans),
            rpc_method: Vec::with_capacity(spans),
            process_numbers: HashMap::new(),
            process_keys: Vec::new(),
            process_hosts: Vec::new(),
        }
    }

    fn read_batch(&mut self, batch: &Batch<'_>) {
        for (column, syms) in [
            (batch.name, &mut self.name),
            (batch.scope, &mut self.scope),
            (batch.db_system, &mut self.db_system),
            (batch.db_query, &mut self.db_query),
            (batch.http_method, &mut self.http_method),
            (batch.url, &mut self.url),
            (batch.rpc_service, &mut self.rpc_service),
            (batch.rpc_method, &mut self.rpc_method),
        ] {
            intern(column, &mut self.strings, syms);
        }
    }

    fn read_resources(&mut self, batch: &Batch<'_>) {
        let mut last = None;
        for row in 0..batch.len() {
            let resource = (batch.resource(row), batch.pid(row));
            let (service, process) = match last {
                Some((known, service, process)) if known == resource => (service, process),
                _ => {
                    let service = self.strings.intern(value(batch.service, row));
                    (service, self.process(batch.process_key(row)))
                }
            };
            last = Some((resource, service, process));
            self.service.push(service);
            self.process.push(process);
        }
    }

    fn process(&mut self, key: ProcessKey) -> u32 {
        let next = self.process_numbers.len() as u32;
        *self.process_numbers.entry(key).or_insert(next)
    }

    /// Gives processes numbers in the order of their keys.
    fn number_processes(&mut self) {
        let mut keys: Vec<(ProcessKey, u32)> = self.process_numbers.drain().collect();
        keys.sort_unstable();
        let mut renumbered = vec![0; keys.len()];
        for (new, (_, old)) in keys.iter().enumerate() {
            renumbered[*old as usize] = new as u32;
        }
        for process in &mut self.process {
            *process = renumbered[*process as usize];
        }
        self.process_keys = keys.into_iter().map(|(key, _)| key).collect();
        self.process_hosts = host_keys(&self.process_keys, &mut self.strings);
    }
}

/// Texts of a column whose numbers are remembered.
const REMEMBERED_TEXTS: usize = 64;

/// Appends the numbers of a column's texts. Equal views of one array are equal texts, and the
/// decoder stores a repeated text once: most texts are known without a look at them.
fn intern(column: &StringViewArray, strings: &mut Interner, syms: &mut Vec<Sym>) {
    // The view of the empty text is 0.
    let mut remembered = [(0, Sym(0)); REMEMBERED_TEXTS];
    if column.null_count() == column.len() {
        syms.resize(syms.len() + column.len(), Sym(0));
        return;
    }
    for (row, &view) in column.views().iter().enumerate() {
        if column.is_null(row) {
            syms.push(Sym(0));
            continue;
        }
        let mixed = (view ^ (view >> 64)) as u64;
        let slot = (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % REMEMBERED_TEXTS;
        if remembered[slot].0 != view {
            remembered[slot] = (view, strings.intern(column.value(row)));
        }
        syms.push(remembered[slot].1);
    }
}

fn asgi(event_type: &str) -> Asgi {
    match event_type {
        "" => Asgi::No,
        "websocket.send" => Asgi::Send,
        sent if sent.starts_with("http.response.") => Asgi::Send,
        "http.request" | "websocket.receive" => Asgi::Receive,
        _ => Asgi::Other,
    }
}

/// Two processes on one host share a clock; a process without a host is a host of its own, which
/// has one name whatever other processes there are.
fn host_keys(keys: &[ProcessKey], strings: &mut Interner) -> Vec<Sym> {
    let host = |key: &ProcessKey| match key.host.as_str() {
        "" => strings.intern(&format!("\0{}\0{}\0{:?}", key.service, key.instance, key.pid)),
        host => strings.intern(host),
    };
    keys.iter().map(host).collect()
}

/// Returns where each trace lies among so many spans.
fn trace_ranges(spans: usize, trace_id: impl Fn(usize) -> u128) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for at in 1..=spans {
        if at == spans || trace_id(at) != trace_id(start) {
            ranges.push(start..at);
            start = at;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Pass, batch, span, span_at};

    #[test]
    fn times_beyond_the_limits_are_the_limits() {
        let extremes = [
            (i64::MIN, i64::MAX),
            (i64::MAX, i64::MIN),
            (i64::MAX, i64::MAX),
            (i64::MIN, i64::MIN),
            (-5, 10),
            (10, 5),
        ];
        let span = |(id, &(start, end)): (u64, &(i64, i64))| span_at(id, id - 1, start, end);
        let spans: Vec<_> = (1..).zip(&extremes).map(span).collect();
        let pass = Pass::over(&spans);
        let durations = (1..=6).map(|id| pass.int(id, "entry_duration_nanos"));
        assert!(durations.into_iter().all(|nanos| nanos == Some(DURATION_NANOS_MAX)));
        let own = (1..=6).map(|id| pass.int(id, "self_nanos").expect("never NULL"));
        assert!(own.into_iter().all(|nanos| (0..=DURATION_NANOS_MAX).contains(&nanos)));
        // The times themselves stay as they arrived.
        assert_eq!(pass.facts.spans[0], batch(&spans));
    }

    #[test]
    fn a_batch_of_another_schema_is_refused() {
        let spans = batch(&[span(1, 0, 0, 1)]);
        let position = spans.schema().index_of("kind").expect("a column of spans");
        let without: Vec<usize> = (0..spans.num_columns()).filter(|&c| c != position).collect();
        let without = spans.project(&without).expect("columns that are there");
        match crate::run(vec![without], &crate::PassOptions::default()) {
            Err(Error::MissingColumn(name)) => assert_eq!(name, "kind"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn messages_of_asgi_are_sends_receives_or_neither() {
        let cases = [
            ("", Asgi::No),
            ("http.response.start", Asgi::Send),
            ("http.response.body", Asgi::Send),
            ("websocket.send", Asgi::Send),
            ("http.request", Asgi::Receive),
            ("websocket.receive", Asgi::Receive),
            ("http.disconnect", Asgi::Other),
            ("websocket.accept", Asgi::Other),
        ];
        for (event_type, expected) in cases {
            assert_eq!(asgi(event_type), expected, "{event_type}");
        }
    }

    /// Long texts share a buffer, and more of them than are remembered.
    #[test]
    fn equal_texts_of_a_column_have_one_number() {
        let text = |row: usize| match row % 7 {
            0 => None,
            1 => Some(String::new()),
            _ => Some(format!("a text that is not inline, number {}", row * row % 200)),
        };
        let texts: Vec<Option<String>> = (0..2000).map(text).collect();
        let column: StringViewArray = texts.iter().map(Option::as_deref).collect();
        let (mut strings, mut syms) = (Interner::new(), Vec::new());
        intern(&column, &mut strings, &mut syms);
        let found: Vec<&str> = syms.iter().map(|&sym| strings.text(sym)).collect();
        let expected: Vec<&str> = texts.iter().map(|t| t.as_deref().unwrap_or("")).collect();
        assert_eq!(found, expected);
        assert_eq!(
            strings.len(),
            texts.iter().flatten().collect::<std::collections::BTreeSet<_>>().len()
        );
    }
}
