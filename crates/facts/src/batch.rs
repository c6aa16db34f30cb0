//! [`Batch`]: the columns of a batch of `spans` that the pass reads, each checked once.

use arrow::array::{
    Array, AsArray, BooleanArray, Int64Array, MapArray, RecordBatch, StringViewArray,
};
use arrow::datatypes::Int64Type;
use timesink_model::{EVENT_LOOP_SCOPES, is_note};

use crate::Error;
use crate::rows::{ProcessKey, Serving};

/// The columns of one batch that the pass reads.
pub(crate) struct Batch<'a> {
    pub(crate) trace_id: &'a StringViewArray,
    pub(crate) span_id: &'a StringViewArray,
    pub(crate) parent_span_id: &'a StringViewArray,
    pub(crate) trace_state: &'a StringViewArray,
    pub(crate) flags: &'a Int64Array,
    pub(crate) name: &'a StringViewArray,
    pub(crate) kind: &'a StringViewArray,
    pub(crate) status_code: &'a StringViewArray,
    pub(crate) start: &'a Int64Array,
    pub(crate) end: &'a Int64Array,
    pub(crate) service: &'a StringViewArray,
    pub(crate) instance: &'a StringViewArray,
    pub(crate) pid: &'a Int64Array,
    pub(crate) host_name: &'a StringViewArray,
    pub(crate) host_id: &'a StringViewArray,
    pub(crate) host_ip: &'a StringViewArray,
    pub(crate) scope: &'a StringViewArray,
    pub(crate) http_method: &'a StringViewArray,
    pub(crate) http_route: &'a StringViewArray,
    pub(crate) url_scheme: &'a StringViewArray,
    pub(crate) url: &'a StringViewArray,
    pub(crate) db_system: &'a StringViewArray,
    pub(crate) db_query: &'a StringViewArray,
    pub(crate) rpc_service: &'a StringViewArray,
    pub(crate) rpc_method: &'a StringViewArray,
    pub(crate) asgi: &'a StringViewArray,
    pub(crate) http_target: &'a StringViewArray,
    pub(crate) event_loop: &'a BooleanArray,
    pub(crate) thread: &'a Int64Array,
}

/// The columns of `spans` that the pass reads: a batch may lack all others.
pub const COLUMNS: [&str; 29] = [
    "trace_id",
    "span_id",
    "parent_span_id",
    "trace_state",
    "flags",
    "name",
    "kind",
    "status_code",
    "start_time_unix_nano",
    "end_time_unix_nano",
    "service_name",
    "service_instance_id",
    "process_pid",
    "host_name",
    "host_id",
    "host_ip",
    "scope_name",
    "http_request_method",
    "url_full",
    "db_system_name",
    "db_query_text",
    "rpc_service",
    "rpc_method",
    "asgi_event_type",
    "http_target",
    "http_route",
    "url_scheme",
    "timesink_event_loop",
    "thread_id",
];

impl<'a> Batch<'a> {
    pub(crate) fn read(batch: &'a RecordBatch) -> Result<Self, Error> {
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
            http_route: text(batch, "http_route")?,
            url_scheme: text(batch, "url_scheme")?,
            url: text(batch, "url_full")?,
            db_system: text(batch, "db_system_name")?,
            db_query: text(batch, "db_query_text")?,
            rpc_service: text(batch, "rpc_service")?,
            rpc_method: text(batch, "rpc_method")?,
            asgi: text(batch, "asgi_event_type")?,
            http_target: text(batch, "http_target")?,
            event_loop: flag(batch, "timesink_event_loop")?,
            thread: int(batch, "thread_id")?,
        })
    }

    /// Returns what tells the resources of this batch apart, row by row.
    pub(crate) fn resource(&self, row: usize) -> [u128; 5] {
        [self.service, self.instance, self.host_name, self.host_id, self.host_ip].map(|column| {
            // Equal views of one array are equal texts; unequal ones only cost a look-up.
            if column.is_null(row) { u128::MAX } else { column.views()[row] }
        })
    }

    pub(crate) fn process_key(&self, row: usize) -> ProcessKey {
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

    pub(crate) fn len(&self) -> usize {
        self.span_id.len()
    }

    pub(crate) fn pid(&self, row: usize) -> Option<i64> {
        self.pid.is_valid(row).then(|| self.pid.value(row))
    }

    /// Whether a span carries what server instrumentations write on a request: its method, and the
    /// route, which only servers have, or the scheme, which they must write and clients do not.
    pub(crate) fn is_served(&self, row: usize) -> bool {
        self.http_method.is_valid(row)
            && (self.http_route.is_valid(row) || self.url_scheme.is_valid(row))
    }

    /// Whether a span is a note on its process.
    pub(crate) fn is_note(&self, row: usize) -> bool {
        is_note(value(self.scope, row), value(self.name, row), value(self.kind, row))
    }

    /// Returns what a request shows of how its process serves requests.
    pub(crate) fn serving(&self, row: usize) -> Serving {
        match value(self.scope, row).rsplit('.').next().unwrap_or_default() {
            scope if EVENT_LOOP_SCOPES.contains(&scope) => Serving::EventLoop,
            "django" => self.django_serving(row),
            _ => Serving::Unknown,
        }
    }

    /// Returns how Django serves, by the older names: the ASGI instrumentation records both URL and
    /// target, that of WSGI the target or, where the server gives no raw one (`wsgiref`, the test
    /// client), the URL. Current names are the same for both.
    fn django_serving(&self, row: usize) -> Serving {
        match (self.url.is_valid(row), self.http_target.is_valid(row)) {
            (true, true) => Serving::DjangoAsgi,
            (false, false) => Serving::Django,
            _ => Serving::Unknown,
        }
    }
}

fn text<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a StringViewArray, Error> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_string_view_opt())
        .ok_or(Error::MissingColumn(name))
}

pub(crate) fn int<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a Int64Array, Error> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or(Error::MissingColumn(name))
}

fn flag<'a>(batch: &'a RecordBatch, name: &'static str) -> Result<&'a BooleanArray, Error> {
    let column = batch.column_by_name(name).and_then(|column| column.as_boolean_opt());
    column.ok_or(Error::MissingColumn(name))
}

/// Returns a text, empty where there is none.
pub(crate) fn value(column: &StringViewArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row) }
}

/// Returns the keys and values of one row of a map of text to text.
pub(crate) fn entries(map: &MapArray, row: usize) -> impl Iterator<Item = (&str, Option<&str>)> {
    let (keys, values) = (map.keys().as_string_opt::<i32>(), map.values().as_string_opt::<i32>());
    let offsets = map.value_offsets();
    let range = offsets[row] as usize..offsets[row + 1] as usize;
    keys.zip(values).into_iter().flat_map(move |(keys, values)| {
        let value = |at: usize| values.is_valid(at).then(|| values.value(at));
        range.clone().map(move |at| (keys.value(at), value(at)))
    })
}

/// Identifies a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanKey {
    pub(crate) trace: u128,
    pub(crate) span: u64,
}

impl Batch<'_> {
    pub(crate) fn span_key(&self, row: usize) -> SpanKey {
        SpanKey { trace: id(self.trace_id.value(row)), span: id(self.span_id.value(row)) as u64 }
    }

    /// 0 for none.
    pub(crate) fn parent_id(&self, row: usize) -> u64 {
        id(value(self.parent_span_id, row)) as u64
    }
}

/// Reads an id of up to 32 hex digits; ids were checked when they were decoded.
fn id(hex: &str) -> u128 {
    let (eights, rest) = hex.as_bytes().as_chunks::<8>();
    let id = eights.iter().fold(0, |id, &eight| (id << 32) | u128::from(eight_digits(eight)));
    rest.iter().fold(id, |id, &digit| (id << 4) | u128::from(nibbles(u64::from(digit)) & 15))
}

/// Reads eight hex digits at once.
fn eight_digits(hex: [u8; 8]) -> u32 {
    let digits = nibbles(u64::from_be_bytes(hex));
    let pairs = (digits | (digits >> 4)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | (pairs >> 8)) & 0x0000_ffff_0000_ffff;
    (fours | (fours >> 16)) as u32
}

/// Returns the value of each byte that is a hex digit: letters have bit 6, and come after 9.
fn nibbles(digits: u64) -> u64 {
    (digits & 0x0f0f_0f0f_0f0f_0f0f) + 9 * ((digits >> 6) & 0x0101_0101_0101_0101)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hex_ids_of_any_length() {
        for hex in ["", "0", "a", "1f", "0123456789abcdef", "fedcba9876543210fedcba9876543210"] {
            let expected = u128::from_str_radix(hex, 16).unwrap_or(0);
            assert_eq!(id(hex), expected, "{hex}");
            assert_eq!(id(&hex.to_uppercase()), expected, "{hex}");
        }
    }
}
