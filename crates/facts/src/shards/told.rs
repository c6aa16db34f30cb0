//! [`Told`]: what the steps that look at whole processes found, on its way back to a shard.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, PrimitiveArray, RecordBatch,
    UInt8Array, UInt32Array,
};
use arrow::datatypes::{ArrowPrimitiveType, Float64Type, Int64Type, UInt8Type, UInt32Type};

use super::parts::values;
use crate::Error;
use crate::crowd::Ways;
use crate::gaps::Occupancy;
use crate::requests::RequestSilence;
use crate::silence::Silence;

/// What something is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// A process, in every shard that has spans of it.
    Process,
    /// A span, of which its place among the entries is told.
    Span,
    /// A span, during which others were silent.
    Silence,
    /// A gap, during which others were silent.
    GapSilence,
    /// A span that others stalled.
    Stalled,
    /// A gap that others stalled.
    GapStalled,
    /// A gap that waits for an operation.
    Wait,
    /// A part of the way there of a call.
    Call,
}

impl What {
    const ALL: [Self; 8] = [
        Self::Process,
        Self::Span,
        Self::Silence,
        Self::GapSilence,
        Self::Stalled,
        Self::GapStalled,
        Self::Wait,
        Self::Call,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What was told of something; the rest is as it is of nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) what: What,
    /// Position of the span or call, number of the gap or process.
    pub(super) at: u32,
    /// The entry is the nth of its process, from 1; 0 for other spans.
    pub(super) entry_number: u32,
    pub(super) open: u32,
    pub(super) stalled: i64,
    pub(super) silence: Option<Silence>,
    pub(super) requests: Option<RequestSilence>,
    pub(super) occupancy: Option<Occupancy>,
    pub(super) server_busy: i64,
    pub(super) ways: Ways,
}

const WHAT: &str = "what";
const AT: &str = "at";
const ENTRY_NUMBER: &str = "entry_number";
const OPEN: &str = "open";
const STALLED: &str = "stalled";
const SERVER_BUSY: &str = "server_busy";
const EVENT_LOOP: &str = "is_event_loop";
const TOLD_BY_REQUESTS: &str = "is_told_by_requests";
const WATCHED: &str = "is_watched";
/// Of a [`Silence`]; NULL where there is none, as in the next two.
const SILENCE: [&str; 4] = ["silence_nanos", "foreign_edges", "concurrent_traces", "waiting_nanos"];
const EXPECTED: &str = "expected_edges";
/// Of a [`RequestSilence`].
const REQUESTS: [&str; 3] = ["request_silence_nanos", "request_edges", "request_waiting_nanos"];
const EXPECTED_REQUESTS: &str = "expected_request_edges";
/// Of an [`Occupancy`].
const OCCUPANCY: [&str; 3] = ["running", "running_max", "ended_before"];

impl Told {
    pub(super) fn of(what: What, at: u32) -> Self {
        Self {
            what,
            at,
            entry_number: 0,
            open: 0,
            stalled: 0,
            silence: None,
            requests: None,
            occupancy: None,
            server_busy: 0,
            ways: Ways::default(),
        }
    }
}

/// Returns the table of what was told.
pub(super) fn table(told: &[Told]) -> Result<RecordBatch, Error> {
    let u32s = |of: fn(&Told) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(told.iter().map(of)))
    };
    let ints = |of: fn(&Told) -> Option<i64>| -> ArrayRef {
        Arc::new(told.iter().map(of).collect::<Int64Array>())
    };
    let floats = |of: fn(&Told) -> Option<f64>| -> ArrayRef {
        Arc::new(told.iter().map(of).collect::<Float64Array>())
    };
    let flags = |of: fn(&Told) -> bool| -> ArrayRef {
        Arc::new(told.iter().map(|told| Some(of(told))).collect::<BooleanArray>())
    };
    let what = UInt8Array::from_iter_values(told.iter().map(|told| told.what as u8));
    Ok(RecordBatch::try_from_iter([
        (WHAT, Arc::new(what) as ArrayRef),
        (AT, u32s(|told| told.at)),
        (ENTRY_NUMBER, u32s(|told| told.entry_number)),
        (OPEN, u32s(|told| told.open)),
        (STALLED, ints(|told| Some(told.stalled))),
        (SERVER_BUSY, ints(|told| Some(told.server_busy))),
        (EVENT_LOOP, flags(|told| told.ways.by_spans)),
        (TOLD_BY_REQUESTS, flags(|told| told.ways.by_requests)),
        (WATCHED, flags(|told| told.ways.is_watched)),
        (SILENCE[0], ints(|told| Some(told.silence?.silence_nanos))),
        (SILENCE[1], ints(|told| Some(i64::from(told.silence?.foreign_edges)))),
        (SILENCE[2], ints(|told| Some(i64::from(told.silence?.concurrent_traces)))),
        (SILENCE[3], ints(|told| Some(told.silence?.waiting_nanos))),
        (EXPECTED, floats(|told| Some(told.silence?.expected_edges))),
        (REQUESTS[0], ints(|told| Some(told.requests?.silence_nanos))),
        (REQUESTS[1], ints(|told| Some(i64::from(told.requests?.edges)))),
        (REQUESTS[2], ints(|told| Some(told.requests?.waiting_nanos))),
        (EXPECTED_REQUESTS, floats(|told| Some(told.requests?.expected_edges))),
        (OCCUPANCY[0], ints(|told| Some(i64::from(told.occupancy?.running)))),
        (OCCUPANCY[1], ints(|told| Some(i64::from(told.occupancy?.running_max)))),
        (OCCUPANCY[2], ints(|told| told.occupancy?.ended_before)),
    ])?)
}

/// Calls `take` with each row of a table.
pub(super) fn read(table: &RecordBatch, mut take: impl FnMut(Told)) -> Result<(), Error> {
    let what = values::<UInt8Type>(table, WHAT)?;
    let at = values::<UInt32Type>(table, AT)?;
    let entry_number = values::<UInt32Type>(table, ENTRY_NUMBER)?;
    let open = values::<UInt32Type>(table, OPEN)?;
    let stalled = values::<Int64Type>(table, STALLED)?;
    let server_busy = values::<Int64Type>(table, SERVER_BUSY)?;
    let (is_event_loop, is_told) = (flags(table, EVENT_LOOP)?, flags(table, TOLD_BY_REQUESTS)?);
    let is_watched = flags(table, WATCHED)?;
    let [silence, edges, traces, waiting] = ints(table, SILENCE)?;
    let expected = values::<Float64Type>(table, EXPECTED)?;
    let [request_silence, request_edges, request_waiting] = ints(table, REQUESTS)?;
    let expected_requests = values::<Float64Type>(table, EXPECTED_REQUESTS)?;
    let [running, running_max, ended_before] = ints(table, OCCUPANCY)?;
    for row in 0..table.num_rows() {
        let silence = || {
            Some(Silence {
                silence_nanos: value(silence, row)?,
                foreign_edges: value(edges, row)? as u32,
                concurrent_traces: value(traces, row)? as u32,
                waiting_nanos: value(waiting, row)?,
                expected_edges: value(expected, row)?,
            })
        };
        let requests = || {
            Some(RequestSilence {
                silence_nanos: value(request_silence, row)?,
                edges: value(request_edges, row)? as u32,
                waiting_nanos: value(request_waiting, row)?,
                expected_edges: value(expected_requests, row)?,
            })
        };
        let occupancy = || {
            Some(Occupancy {
                running: value(running, row)? as u32,
                running_max: value(running_max, row)? as u32,
                ended_before: value(ended_before, row),
            })
        };
        take(Told {
            what: What::of(what.value(row)).ok_or(Error::MissingColumn(WHAT))?,
            at: at.value(row),
            entry_number: entry_number.value(row),
            open: open.value(row),
            stalled: stalled.value(row),
            silence: silence(),
            requests: requests(),
            occupancy: occupancy(),
            server_busy: server_busy.value(row),
            ways: Ways {
                by_spans: is_event_loop.value(row),
                by_requests: is_told.value(row),
                is_watched: is_watched.value(row),
            },
        });
    }
    Ok(())
}

fn ints<'t, const N: usize>(
    table: &'t RecordBatch,
    names: [&'static str; N],
) -> Result<[&'t Int64Array; N], Error> {
    let mut columns = Vec::with_capacity(N);
    for name in names {
        columns.push(values::<Int64Type>(table, name)?);
    }
    columns.try_into().map_err(|_| Error::MissingColumn(AT))
}

fn flags<'t>(table: &'t RecordBatch, name: &'static str) -> Result<&'t BooleanArray, Error> {
    let column = table.column_by_name(name).and_then(|column| column.as_boolean_opt());
    column.ok_or(Error::MissingColumn(name))
}

fn value<T: ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}
