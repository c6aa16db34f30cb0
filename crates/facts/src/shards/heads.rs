//! [`Head`]: what is known of a group, or of a process, before its spans are looked at.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt32Array, UInt64Array};
use arrow::datatypes::{Int64Type, UInt32Type, UInt64Type};

use super::parts::{Flags, values};
use super::words;
use crate::Error;
use crate::crowd::{self, Extent};
use crate::intern::{Interner, Sym};
use crate::rows::NONE;

/// A group, or a process where the group is [`NONE`], of one shard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) process: u32,
    /// Number of the group in its shard.
    pub(super) group: u32,
    pub(super) trace: u128,
    /// Position of the group's root in its shard.
    pub(super) root: u32,
    /// Of a process: what its spans show.
    pub(super) flags: Flags,
    /// What the group says to those beside it.
    pub(super) crowd: crowd::Head,
}

impl Head {
    /// Returns that the spans of a process show nothing yet.
    pub(super) fn of_process(process: u32) -> Self {
        let crowd = crowd::Head {
            start: 0,
            end: 0,
            endpoint: Sym(0),
            is_served: false,
            edges: Extent::NONE,
            requests: Extent::NONE,
        };
        Self { process, group: NONE, trace: 0, root: 0, flags: Flags::default(), crowd }
    }
}

/// Heads, and the texts that they name.
#[derive(Debug, Default)]
pub(super) struct Heads {
    pub(super) rows: Vec<Head>,
    pub(super) texts: Interner,
}

/// Returns how many groups a table of heads is of.
pub(super) fn requests_in(table: &RecordBatch) -> usize {
    let groups = values::<UInt32Type>(table, GROUP);
    groups.map_or(0, |groups| groups.values().iter().filter(|&&group| group != NONE).count())
}

const PROCESS: &str = "process";
const GROUP: &str = "group";
const TRACE: [&str; 2] = ["trace_high", "trace_low"];
const ROOT: &str = "root";
const FLAGS: &str = "flags";
const START: &str = "start";
const END: &str = "end";
const ENDPOINT: &str = "endpoint";
const EDGES: [&str; 2] = ["first_edge", "last_edge"];
const REQUESTS: [&str; 2] = ["first_request", "last_request"];

impl Heads {
    /// Returns the table.
    pub(super) fn table(&self) -> Result<RecordBatch, Error> {
        let u32s = |of: fn(&Head) -> u32| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(self.rows.iter().map(of)))
        };
        let u64s = |of: fn(&Head) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(self.rows.iter().map(of)))
        };
        let times = |of: fn(&crowd::Head) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(self.rows.iter().map(|row| of(&row.crowd))))
        };
        let flags = |row: &Head| row.flags.with(Flags::SERVER, row.crowd.is_served).0;
        let endpoints = self.rows.iter().map(|row| row.crowd.endpoint);
        Ok(RecordBatch::try_from_iter([
            (PROCESS, u32s(|row| row.process)),
            (GROUP, u32s(|row| row.group)),
            (TRACE[0], u64s(|row| (row.trace >> 64) as u64)),
            (TRACE[1], u64s(|row| row.trace as u64)),
            (ROOT, u32s(|row| row.root)),
            (FLAGS, Arc::new(UInt32Array::from_iter_values(self.rows.iter().map(flags)))),
            (START, times(|head| head.start)),
            (END, times(|head| head.end)),
            (ENDPOINT, words::column(&words::distinct(&self.texts), endpoints)?),
            (EDGES[0], times(|head| head.edges.first)),
            (EDGES[1], times(|head| head.edges.last)),
            (REQUESTS[0], times(|head| head.requests.first)),
            (REQUESTS[1], times(|head| head.requests.last)),
        ])?)
    }

    /// Appends the rows of a table.
    pub(super) fn read(&mut self, table: &RecordBatch) -> Result<(), Error> {
        let u32s = |name| values::<UInt32Type>(table, name);
        let u64s = |name| values::<UInt64Type>(table, name);
        let times = |name| values::<Int64Type>(table, name);
        let (process, group, root) = (u32s(PROCESS)?, u32s(GROUP)?, u32s(ROOT)?);
        let (high, low, flags) = (u64s(TRACE[0])?, u64s(TRACE[1])?, u32s(FLAGS)?);
        let (start, end) = (times(START)?, times(END)?);
        let edges = [times(EDGES[0])?, times(EDGES[1])?];
        let requests = [times(REQUESTS[0])?, times(REQUESTS[1])?];
        let endpoint = words::read(&mut self.texts, table, ENDPOINT)?;
        for (row, endpoint) in endpoint.into_iter().enumerate() {
            let extent = |[first, last]: [&Int64Array; 2]| Extent {
                first: first.value(row),
                last: last.value(row),
            };
            let flags = Flags(flags.value(row));
            let crowd = crowd::Head {
                start: start.value(row),
                end: end.value(row),
                endpoint,
                is_served: flags.has(Flags::SERVER),
                edges: extent(edges),
                requests: extent(requests),
            };
            self.rows.push(Head {
                process: process.value(row),
                group: group.value(row),
                trace: u128::from(high.value(row)) << 64 | u128::from(low.value(row)),
                root: root.value(row),
                flags,
                crowd,
            });
        }
        Ok(())
    }
}
