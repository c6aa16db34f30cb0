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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// Returns the table of what was told of things of one kind: of the columns those that it has.
pub(super) fn table(what: What, told: &[Told]) -> Result<RecordBatch, Error> {
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
    let kinds: ArrayRef = Arc::new(UInt8Array::from_value(what as u8, told.len()));
    let mut columns = vec![(WHAT, kinds), (AT, u32s(|told| told.at))];
    columns.extend(match what {
        What::Process => vec![
            (EVENT_LOOP, flags(|told| told.ways.by_spans)),
            (TOLD_BY_REQUESTS, flags(|told| told.ways.by_requests)),
            (WATCHED, flags(|told| told.ways.is_watched)),
        ],
        What::Span => {
            vec![(ENTRY_NUMBER, u32s(|told| told.entry_number)), (OPEN, u32s(|told| told.open))]
        }
        What::Silence | What::GapSilence => vec![
            (SILENCE[0], ints(|told| Some(told.silence?.silence_nanos))),
            (SILENCE[1], ints(|told| Some(i64::from(told.silence?.foreign_edges)))),
            (SILENCE[2], ints(|told| Some(i64::from(told.silence?.concurrent_traces)))),
            (SILENCE[3], ints(|told| Some(told.silence?.waiting_nanos))),
            (EXPECTED, floats(|told| Some(told.silence?.expected_edges))),
            (REQUESTS[0], ints(|told| Some(told.requests?.silence_nanos))),
            (REQUESTS[1], ints(|told| Some(i64::from(told.requests?.edges)))),
            (REQUESTS[2], ints(|told| Some(told.requests?.waiting_nanos))),
            (EXPECTED_REQUESTS, floats(|told| Some(told.requests?.expected_edges))),
        ],
        What::Stalled | What::GapStalled => vec![(STALLED, ints(|told| Some(told.stalled)))],
        What::Wait => vec![
            (OCCUPANCY[0], ints(|told| Some(i64::from(told.occupancy?.running)))),
            (OCCUPANCY[1], ints(|told| Some(i64::from(told.occupancy?.running_max)))),
            (OCCUPANCY[2], ints(|told| told.occupancy?.ended_before)),
        ],
        What::Call => vec![(SERVER_BUSY, ints(|told| Some(told.server_busy)))],
    });
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Calls `take` with each row of a table; what its kind lacks is as it is of nothing.
pub(super) fn read(table: &RecordBatch, mut take: impl FnMut(Told)) -> Result<(), Error> {
    let what = values::<UInt8Type>(table, WHAT)?;
    let at = values::<UInt32Type>(table, AT)?;
    let u32s = |name| column(table, name).map(AsArray::as_primitive::<UInt32Type>);
    let ints = |name| column(table, name).map(AsArray::as_primitive::<Int64Type>);
    let floats = |name| column(table, name).map(AsArray::as_primitive::<Float64Type>);
    let flags = |name| column(table, name).map(AsArray::as_boolean);
    let (entry_number, open) = (u32s(ENTRY_NUMBER), u32s(OPEN));
    let (stalled, server_busy) = (ints(STALLED), ints(SERVER_BUSY));
    let [silence, edges, traces, waiting] = SILENCE.map(ints);
    let [request_silence, request_edges, request_waiting] = REQUESTS.map(ints);
    let [running, running_max, ended_before] = OCCUPANCY.map(ints);
    let (expected, expected_requests) = (floats(EXPECTED), floats(EXPECTED_REQUESTS));
    let ways = [EVENT_LOOP, TOLD_BY_REQUESTS, WATCHED].map(flags);
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
        let [by_spans, by_requests, is_watched] =
            ways.map(|flags| flags.is_some_and(|flags| flags.value(row)));
        take(Told {
            what: What::of(what.value(row)).ok_or(Error::MissingColumn(WHAT))?,
            at: at.value(row),
            entry_number: value(entry_number, row).unwrap_or_default(),
            open: value(open, row).unwrap_or_default(),
            stalled: value(stalled, row).unwrap_or_default(),
            silence: silence(),
            requests: requests(),
            occupancy: occupancy(),
            server_busy: value(server_busy, row).unwrap_or_default(),
            ways: Ways { by_spans, by_requests, is_watched },
        });
    }
    Ok(())
}

fn column<'t>(table: &'t RecordBatch, name: &str) -> Option<&'t dyn Array> {
    table.column_by_name(name).map(AsRef::as_ref)
}

fn value<T: ArrowPrimitiveType>(
    column: Option<&PrimitiveArray<T>>,
    row: usize,
) -> Option<T::Native> {
    column.filter(|column| column.is_valid(row)).map(|column| column.value(row))
}
