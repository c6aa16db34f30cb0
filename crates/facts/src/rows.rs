//! [`Rows`]: the spans as plain columns in canonical order (trace, start, span id), so that every
//! later step works on neighbouring memory and no step depends on the order of arrival.

use std::cmp::Ordering;
use std::ops::Range;

use arrow::array::{
    Array, AsArray, BooleanArray, Int64Array, MapArray, RecordBatch, StringViewArray,
    make_comparator,
};
use arrow::compute::{SortOptions, filter_record_batch};
use arrow::datatypes::Int64Type;
use hashbrown::{HashMap, hash_map::Entry};
use timesink_model::EVENT_LOOP_SCOPES;
use timesink_model::schema::quarantine::DURATION_NANOS_MAX;

use crate::Error;
use crate::intern::{Interner, Sym};

/// The most spans that one pass takes: the text of as many span ids and entry ids is what one
/// Arrow buffer holds (offsets of views are 31 bits, Arrow columnar format).
pub(crate) const SPANS_MAX: usize = 1 << 26;

/// The latest time that the pass reckons with, in the year 2116; what lies beyond, or before 1970,
/// is taken as the limit. Sums and differences of such times, of skews and of durations that the
/// quarantine lets pass cannot overflow.
const TIME_NANOS_MAX: i64 = 1 << 62;

/// No such span.
pub(crate) const NONE: u32 = u32::MAX;

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

    /// Whether such a span begins the work of its service.
    pub(crate) fn is_entry(self) -> bool {
        matches!(self, Self::Server | Self::Consumer)
    }
}

/// An ASGI message span, `<route> http send` or `http receive`: neither a child nor cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asgi {
    No,
    Send,
    Receive,
}

/// What tells one process from another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ProcessKey {
    pub(crate) service: String,
    pub(crate) instance: String,
    pub(crate) pid: Option<i64>,
    pub(crate) host: String,
}

impl ProcessKey {
    pub(crate) fn has_identity(&self) -> bool {
        !self.instance.is_empty() || self.pid.is_some() || !self.host.is_empty()
    }
}

/// The spans, one element a span in every column, in canonical order.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    pub(crate) strings: Interner<'a>,
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
    /// Whether the span shows that its process serves requests on an event loop.
    pub(crate) shows_event_loop: Vec<bool>,
    pub(crate) db_system: Vec<Sym>,
    pub(crate) db_query: Vec<Sym>,
    pub(crate) http_method: Vec<Sym>,
    pub(crate) url: Vec<Sym>,
    pub(crate) rpc_service: Vec<Sym>,
    pub(crate) rpc_method: Vec<Sym>,
    pub(crate) adjusted_count: Vec<Option<f64>>,
    /// Sorted by key, so that numbers do not depend on arrival.
    pub(crate) process_keys: Vec<ProcessKey>,
    /// Host key of each process, for clock skew: hosts that are one have one clock.
    pub(crate) process_hosts: Vec<Sym>,
    /// Each trace's positions, in order of trace id.
    pub(crate) traces: Vec<Range<usize>>,
    pub(crate) trace_ids: Vec<u128>,
}

impl Rows<'_> {
    pub(crate) fn len(&self) -> usize {
        self.input.len()
    }

    pub(crate) fn text(&self, sym: Sym) -> &str {
        self.strings.text(sym)
    }

    pub(crate) fn duration(&self, at: usize) -> i64 {
        self.end[at] - self.start[at]
    }
}

/// The columns of one batch that the pass reads.
struct Batch<'a> {
    trace_id: &'a StringViewArray,
    span_id: &'a StringViewArray,
    parent_span_id: &'a StringViewArray,
    trace_state: &'a StringViewArray,
    flags: &'a Int64Array,
    name: &'a StringViewArray,
    kind: &'a StringViewArray,
    status_code: &'a StringViewArray,
    start: &'a Int64Array,
    end: &'a Int64Array,
    service: &'a StringViewArray,
    instance: &'a StringViewArray,
    pid: &'a Int64Array,
    host_name: &'a StringViewArray,
    host_id: &'a StringViewArray,
    host_ip: &'a StringViewArray,
    scope: &'a StringViewArray,
    http_method: &'a StringViewArray,
    url: &'a StringViewArray,
    db_system: &'a StringViewArray,
    db_query: &'a StringViewArray,
    rpc_service: &'a StringViewArray,
    rpc_method: &'a StringViewArray,
    asgi: &'a StringViewArray,
    attributes: &'a MapArray,
}

fn text<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a StringViewArray, Error> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_string_view_opt())
        .ok_or(Error::MissingColumn(name))
}

fn int<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a Int64Array, Error> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or(Error::MissingColumn(name))
}

impl<'a> Batch<'a> {
    fn read(batch: &'a RecordBatch) -> Result<Self, Error> {
        Ok(Self {
            trace_id: text(batch, "trace_id")?,
            span_id: text(batch, "span_id")?,
            parent_span_id: text(batch, "parent_span_id")?,
            trace_state: text(batch, "trace_state")?,
            flags: int(batch, "flags")?,
            name: text(batch, "name")?,
            kind: text(batch, "kind")?,
            status_code: text(batch, "status_code")?,
            start: int(batch, "start_time_unix_nano")?,
            end: int(batch, "end_time_unix_nano")?,
            service: text(batch, "service_name")?,
            instance: text(batch, "service_instance_id")?,
            pid: int(batch, "process_pid")?,
            host_name: text(batch, "host_name")?,
            host_id: text(batch, "host_id")?,
            host_ip: text(batch, "host_ip")?,
            scope: text(batch, "scope_name")?,
            http_method: text(batch, "http_request_method")?,
            url: text(batch, "url_full")?,
            db_system: text(batch, "db_system_name")?,
            db_query: text(batch, "db_query_text")?,
            rpc_service: text(batch, "rpc_service")?,
            rpc_method: text(batch, "rpc_method")?,
            asgi: text(batch, "asgi_event_type")?,
            attributes: batch
                .column_by_name("attributes")
                .and_then(|column| column.as_map_opt())
                .ok_or(Error::MissingColumn("attributes"))?,
        })
    }

    /// Returns what tells the resources of this batch apart, row by row.
    fn resource(&self, row: usize) -> [u128; 5] {
        [self.service, self.instance, self.host_name, self.host_id, self.host_ip].map(|column| {
            // Equal views of one array are equal texts; unequal ones only cost a look-up.
            if column.is_null(row) { u128::MAX } else { column.views()[row] }
        })
    }

    fn process_key(&self, row: usize) -> ProcessKey {
        let owned = |column: &StringViewArray| value(column, row).to_owned();
        let host = [self.host_id, self.host_ip, self.host_name]
            .into_iter()
            .map(|column| value(column, row))
            .find(|host| !host.is_empty())
            .unwrap_or_default();
        ProcessKey {
            service: owned(self.service),
            instance: owned(self.instance),
            pid: self.pid.is_valid(row).then(|| self.pid.value(row)),
            host: host.to_owned(),
        }
    }
}

fn value(column: &StringViewArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row) }
}

/// Reads an id of up to 32 hex digits; ids were checked when they were decoded.
fn id(hex: &str) -> u128 {
    hex.bytes().fold(0, |id, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => 0,
        };
        (id << 4) | u128::from(value)
    })
}

/// Returns the batches without spans that arrived before, and how many those were.
///
/// Of several spans with one id the greatest counts, by end, by start, then column by column: a
/// choice that does not depend on the order of arrival.
pub(crate) fn drop_repeated(batches: &[RecordBatch]) -> Result<(Vec<RecordBatch>, usize), Error> {
    let seen: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if seen > SPANS_MAX {
        return Err(Error::TooManySpans { seen, max: SPANS_MAX });
    }
    let columns = batches.iter().map(Batch::read).collect::<Result<Vec<_>, _>>()?;
    let mut kept: HashMap<(u128, u64), (usize, usize)> = HashMap::with_capacity(seen);
    let mut dropped: Vec<(usize, usize)> = Vec::new();
    for (at, batch) in columns.iter().enumerate() {
        for row in 0..batch.span_id.len() {
            let key = (id(batch.trace_id.value(row)), id(batch.span_id.value(row)) as u64);
            match kept.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert((at, row));
                }
                Entry::Occupied(mut occupied) => {
                    let (other, other_row) = *occupied.get();
                    let order = compare((&batches[at], row), (&batches[other], other_row));
                    let greater = order == Ordering::Greater;
                    dropped.push(if greater { occupied.insert((at, row)) } else { (at, row) });
                }
            }
        }
    }
    if dropped.is_empty() {
        return Ok((batches.to_vec(), 0));
    }
    let count = dropped.len();
    Ok((without(batches, &dropped)?, count))
}

fn without(batches: &[RecordBatch], dropped: &[(usize, usize)]) -> Result<Vec<RecordBatch>, Error> {
    let mut keep: Vec<Vec<bool>> = batches.iter().map(|b| vec![true; b.num_rows()]).collect();
    for &(batch, row) in dropped {
        keep[batch][row] = false;
    }
    batches
        .iter()
        .zip(keep)
        .map(|(batch, keep)| Ok(filter_record_batch(batch, &BooleanArray::from(keep))?))
        .collect()
}

type Row<'a> = (&'a RecordBatch, usize);

fn compare((left, a): Row<'_>, (right, b): Row<'_>) -> Ordering {
    let by_time = ["end_time_unix_nano", "start_time_unix_nano"].into_iter().map(|name| {
        let time = |batch: &RecordBatch, row| int(batch, name).map_or(0, |times| times.value(row));
        time(left, a).cmp(&time(right, b))
    });
    let columns = left.columns().iter().zip(right.columns());
    let by_column = columns.map(|(left, right)| compare_values((left, a), (right, b)));
    by_time.chain(by_column).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_values((left, a): (&dyn Array, usize), (right, b): (&dyn Array, usize)) -> Ordering {
    match (left.is_null(a), right.is_null(b)) {
        (false, false) => {}
        (a_is_null, b_is_null) => return b_is_null.cmp(&a_is_null),
    }
    if let (Some(left), Some(right)) = (left.as_string_view_opt(), right.as_string_view_opt()) {
        return left.value(a).cmp(right.value(b));
    }
    if let (Some(left), Some(right)) =
        (left.as_primitive_opt::<Int64Type>(), right.as_primitive_opt::<Int64Type>())
    {
        return left.value(a).cmp(&right.value(b));
    }
    if let (Some(left), Some(right)) = (left.as_map_opt(), right.as_map_opt()) {
        return entries(left, a).cmp(entries(right, b));
    }
    // What is left is rare, or follows from what was compared. Columns of different types do not
    // occur: the batches have one schema.
    make_comparator(left, right, SortOptions::default())
        .map_or(Ordering::Equal, |compare| compare(a, b))
}

/// Returns the keys and values of one row of a map of text to text.
fn entries(map: &MapArray, row: usize) -> impl Iterator<Item = (&str, Option<&str>)> {
    let (keys, values) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>());
    let offsets = map.value_offsets();
    let range = offsets[row] as usize..offsets[row + 1] as usize;
    keys.zip(values).into_iter().flat_map(move |(keys, values)| {
        let value = |at: usize| values.is_valid(at).then(|| values.value(at));
        range.clone().map(move |at| (keys.value(at), value(at)))
    })
}

/// Gathers the rows of all batches, in order of arrival, before they are sorted.
struct Reader<'a> {
    rows: Rows<'a>,
    trace_id: Vec<u128>,
    process_numbers: HashMap<ProcessKey, u32>,
}

impl<'a> Rows<'a> {
    /// Reads the spans of all batches, each span once.
    pub(crate) fn read(batches: &'a [RecordBatch]) -> Result<Self, Error> {
        let mut reader = Reader::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for batch in batches {
            reader.read(&Batch::read(batch)?);
        }
        Ok(reader.finish())
    }

    fn with_capacity(spans: usize) -> Self {
        Rows {
            strings: Interner::new(),
            input: Vec::with_capacity(spans),
            span_id: Vec::with_capacity(spans),
            parent_id: Vec::with_capacity(spans),
            start: Vec::with_capacity(spans),
            end: Vec::with_capacity(spans),
            kind: Vec::with_capacity(spans),
            name: Vec::with_capacity(spans),
            scope: Vec::with_capacity(spans),
            service: Vec::with_capacity(spans),
            process: Vec::with_capacity(spans),
            parent_is_remote: Vec::with_capacity(spans),
            failed: Vec::with_capacity(spans),
            asgi: Vec::with_capacity(spans),
            shows_event_loop: Vec::with_capacity(spans),
            db_system: Vec::with_capacity(spans),
            db_query: Vec::with_capacity(spans),
            http_method: Vec::with_capacity(spans),
            url: Vec::with_capacity(spans),
            rpc_service: Vec::with_capacity(spans),
            rpc_method: Vec::with_capacity(spans),
            adjusted_count: Vec::with_capacity(spans),
            process_keys: Vec::new(),
            process_hosts: Vec::new(),
            traces: Vec::new(),
            trace_ids: Vec::new(),
        }
    }
}

impl<'a> Reader<'a> {
    fn with_capacity(spans: usize) -> Self {
        Self {
            rows: Rows::with_capacity(spans),
            trace_id: Vec::with_capacity(spans),
            process_numbers: HashMap::new(),
        }
    }

    fn read(&mut self, batch: &Batch<'a>) {
        let mut last_resource = None;
        for row in 0..batch.span_id.len() {
            let resource = (batch.resource(row), batch.process_key_pid(row));
            let (service, process) = match last_resource {
                Some((known, service, process)) if known == resource => (service, process),
                _ => {
                    let service = self.rows.strings.intern(value(batch.service, row));
                    (service, self.process(batch.process_key(row)))
                }
            };
            last_resource = Some((resource, service, process));
            self.rows.service.push(service);
            self.rows.process.push(process);
            self.read_span(batch, row);
        }
    }

    fn process(&mut self, key: ProcessKey) -> u32 {
        let next = self.process_numbers.len() as u32;
        *self.process_numbers.entry(key).or_insert(next)
    }

    fn read_span(&mut self, batch: &Batch<'a>, row: usize) {
        let rows = &mut self.rows;
        self.trace_id.push(id(batch.trace_id.value(row)));
        rows.input.push(rows.input.len() as u32);
        rows.span_id.push(id(batch.span_id.value(row)) as u64);
        rows.parent_id.push(id(value(batch.parent_span_id, row)) as u64);
        let start = batch.start.value(row).clamp(0, TIME_NANOS_MAX);
        rows.start.push(start);
        rows.end.push(batch.end.value(row).clamp(start, start + DURATION_NANOS_MAX));
        let kind = Kind::parse(batch.kind.value(row));
        rows.kind.push(kind);
        rows.name.push(rows.strings.intern(value(batch.name, row)));
        let scope = value(batch.scope, row);
        rows.scope.push(rows.strings.intern(scope));
        let flags = if batch.flags.is_valid(row) { batch.flags.value(row) } else { 0 };
        rows.parent_is_remote.push(flags & FLAG_PARENT_IS_REMOTE != 0);
        rows.failed.push(value(batch.status_code, row) == "ERROR");
        rows.asgi.push(asgi(value(batch.asgi, row)));
        let mut attribute = |column: &'a StringViewArray| {
            if column.is_null(row) { Sym(0) } else { rows.strings.intern(column.value(row)) }
        };
        rows.db_system.push(attribute(batch.db_system));
        rows.db_query.push(attribute(batch.db_query));
        rows.http_method.push(attribute(batch.http_method));
        rows.url.push(attribute(batch.url));
        rows.rpc_service.push(attribute(batch.rpc_service));
        rows.rpc_method.push(attribute(batch.rpc_method));
        rows.shows_event_loop.push(kind == Kind::Server && batch.serves_on_event_loop(row));
        rows.adjusted_count.push(match value(batch.trace_state, row) {
            "" => None,
            state => crate::sampling(state).adjusted_count(),
        });
    }

    fn finish(mut self) -> Rows<'a> {
        self.number_processes();
        self.sort();
        self.rows
    }

    /// Gives processes numbers in the order of their keys.
    fn number_processes(&mut self) {
        let mut keys: Vec<(ProcessKey, u32)> = self.process_numbers.drain().collect();
        keys.sort_unstable();
        let mut renumbered = vec![0; keys.len()];
        for (new, (_, old)) in keys.iter().enumerate() {
            renumbered[*old as usize] = new as u32;
        }
        for process in &mut self.rows.process {
            *process = renumbered[*process as usize];
        }
        self.rows.process_keys = keys.into_iter().map(|(key, _)| key).collect();
        self.rows.process_hosts = host_keys(&self.rows.process_keys, &mut self.rows.strings);
    }

    fn sort(&mut self) {
        let rows = &self.rows;
        let trace_id = &self.trace_id;
        let mut order: Vec<u32> = (0..rows.input.len() as u32).collect();
        order.sort_unstable_by_key(|&at| {
            let at = at as usize;
            (trace_id[at], rows.start[at], rows.span_id[at])
        });
        let traces = trace_ranges(trace_id, &order);
        let id_of = |trace: &Range<usize>| trace_id[order[trace.start] as usize];
        self.rows.trace_ids = traces.iter().map(id_of).collect();
        self.rows.traces = traces;
        self.rows.reorder(&order);
    }
}

impl Rows<'_> {
    fn reorder(&mut self, order: &[u32]) {
        fn permute<T: Copy>(column: &mut Vec<T>, order: &[u32]) {
            *column = order.iter().map(|&at| column[at as usize]).collect();
        }
        permute(&mut self.input, order);
        permute(&mut self.span_id, order);
        permute(&mut self.parent_id, order);
        permute(&mut self.start, order);
        permute(&mut self.end, order);
        permute(&mut self.kind, order);
        permute(&mut self.name, order);
        permute(&mut self.scope, order);
        permute(&mut self.service, order);
        permute(&mut self.process, order);
        permute(&mut self.parent_is_remote, order);
        permute(&mut self.failed, order);
        permute(&mut self.asgi, order);
        permute(&mut self.shows_event_loop, order);
        permute(&mut self.db_system, order);
        permute(&mut self.db_query, order);
        permute(&mut self.http_method, order);
        permute(&mut self.url, order);
        permute(&mut self.rpc_service, order);
        permute(&mut self.rpc_method, order);
        permute(&mut self.adjusted_count, order);
    }
}

impl Batch<'_> {
    fn process_key_pid(&self, row: usize) -> Option<i64> {
        self.pid.is_valid(row).then(|| self.pid.value(row))
    }

    fn serves_on_event_loop(&self, row: usize) -> bool {
        let last = value(self.scope, row).rsplit('.').next().unwrap_or_default();
        EVENT_LOOP_SCOPES.contains(&last) || (last == "django" && self.is_django_asgi(row))
    }

    /// Whether a SERVER span of Django is from an ASGI server: only then it has a URL, but no host
    /// name. The WSGI instrumentation records a host name, and under Django's own `runserver`
    /// (`wsgiref`, which gives no raw target) a URL as well. Current names tell nothing.
    fn is_django_asgi(&self, row: usize) -> bool {
        self.url.is_valid(row)
            && !entries(self.attributes, row).any(|(key, _)| key == "net.host.name")
    }
}

fn asgi(event_type: &str) -> Asgi {
    match event_type {
        "" => Asgi::No,
        sent if sent.starts_with("http.response") || sent.ends_with(".send") => Asgi::Send,
        _ => Asgi::Receive,
    }
}

/// Two processes on one host share a clock; a process without a host is a host of its own.
fn host_keys(keys: &[ProcessKey], strings: &mut Interner<'_>) -> Vec<Sym> {
    let own = |number: usize| format!("\0process {number}");
    keys.iter()
        .enumerate()
        .map(|(number, key)| match key.host.as_str() {
            "" => strings.intern_owned(own(number)),
            host => strings.intern_owned(host.to_owned()),
        })
        .collect()
}

fn trace_ranges(trace_id: &[u128], order: &[u32]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for at in 1..=order.len() {
        let ends =
            at == order.len() || trace_id[order[at] as usize] != trace_id[order[start] as usize];
        if ends {
            ranges.push(start..at);
            start = at;
        }
    }
    ranges
}
