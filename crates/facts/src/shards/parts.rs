//! [`Part`]: what the steps that look at whole processes need of a shard, and the table in which it
//! waits for them.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, AsArray, Int64Array, PrimitiveArray, RecordBatch, UInt8Array,
    UInt32Array, UInt64Array,
};
use arrow::datatypes::{Int64Type, UInt8Type, UInt32Type, UInt64Type};

use super::words;
use crate::Error;
use crate::intern::{Interner, Sym};
use crate::rows::NONE;

/// What a part is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Span,
    Gap,
    /// A gap, for the process whose operation comes after it.
    Wait,
    /// A stretch of a call on its way there, for the server's process.
    Call,
}

impl What {
    const ALL: [Self; 4] = [Self::Span, Self::Gap, Self::Wait, Self::Call];

    /// Returns what a number of a table stands for.
    pub(super) fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What is true of a span, or of a gap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flags(pub(super) u32);

impl Flags {
    /// Of a gap: its span is one, and no request.
    pub(super) const LEAF: Self = Self(1);
    pub(super) const REQUEST: Self = Self(1 << 1);
    /// A request that is no message.
    pub(super) const SERVER: Self = Self(1 << 2);
    pub(super) const ENTRY: Self = Self(1 << 4);
    /// An entry that made requests in its own process.
    pub(super) const CALLER: Self = Self(1 << 5);
    /// Its entry waits for requests that it made in its own process.
    pub(super) const WAITS: Self = Self(1 << 6);
    /// It shows that its process runs an event loop.
    pub(super) const EVENT_LOOP: Self = Self(1 << 7);
    /// It shows that only requests can tell whether its process stands still.
    pub(super) const TOLD_BY_REQUESTS: Self = Self(1 << 8);
    /// A child ended before the gap.
    pub(super) const BEFORE: Self = Self(1 << 9);
    /// A child starts after the gap.
    pub(super) const AFTER: Self = Self(1 << 10);

    pub(super) const NOTE: Self = Self(1 << 11);
    /// It shows that its process says when its event loop stands still.
    pub(super) const WATCHED: Self = Self(1 << 12);

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Returns these flags and others.
    pub(super) fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Returns these flags, and another if it holds.
    pub(super) fn with(self, flag: Self, holds: bool) -> Self {
        if holds { Self(self.0 | flag.0) } else { self }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) process: u32,
    pub(super) what: What,
    pub(super) trace: u128,
    /// Position of the span in its shard, of a gap's or a call's too.
    pub(super) span: u32,
    /// Number of the gap in its shard.
    pub(super) gap: u32,
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) flags: Flags,
    /// Of an entry.
    pub(super) span_id: u64,
    /// Number of the span's group in its shard, of a gap's too, or `NONE`.
    pub(super) group: u32,
    /// Of a span, or what comes after a gap.
    pub(super) operation: Sym,
    /// What comes before a gap.
    pub(super) before: Sym,
}

impl Part {
    /// Returns a part of which nothing is known.
    pub(super) fn of(what: What, trace: u128) -> Self {
        Self {
            process: 0,
            what,
            trace,
            span: 0,
            gap: 0,
            start: 0,
            end: 0,
            flags: Flags::default(),
            span_id: 0,
            group: NONE,
            operation: Sym(0),
            before: Sym(0),
        }
    }
}

/// Parts, and the texts that they name.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) rows: Vec<Part>,
    pub(super) texts: Interner,
}

/// Returns how many spans the parts of a table are of.
pub(super) fn spans_in(table: &RecordBatch) -> usize {
    let what = table.column_by_name(WHAT).and_then(|what| what.as_primitive_opt::<UInt8Type>());
    let is_span = |&number: &u8| What::of(number) == Some(What::Span);
    what.map_or(0, |what| what.values().iter().filter(|number| is_span(number)).count())
}

const PROCESS: &str = "process";
const WHAT: &str = "what";
const TRACE: [&str; 2] = ["trace_high", "trace_low"];
const SPAN: &str = "span";
const GAP: &str = "gap";
const START: &str = "start";
const END: &str = "end";
const FLAGS: &str = "flags";
const SPAN_ID: &str = "span_id";
const GROUP: &str = "group";
const OPERATION: &str = "operation";
const BEFORE: &str = "before";

impl Parts {
    /// Returns the table.
    pub(super) fn table(&self) -> Result<RecordBatch, Error> {
        let u32s = |of: fn(&Part) -> u32| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(self.rows.iter().map(of)))
        };
        let u64s = |of: fn(&Part) -> u64| -> ArrayRef {
            Arc::new(UInt64Array::from_iter_values(self.rows.iter().map(of)))
        };
        let times = |of: fn(&Part) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(self.rows.iter().map(of)))
        };
        let texts = words::distinct(&self.texts);
        let words = |of: fn(&Part) -> Sym| words::column(&texts, self.rows.iter().map(of));
        let what = UInt8Array::from_iter_values(self.rows.iter().map(|row| row.what as u8));
        Ok(RecordBatch::try_from_iter([
            (PROCESS, u32s(|row| row.process)),
            (WHAT, Arc::new(what) as ArrayRef),
            (TRACE[0], u64s(|row| (row.trace >> 64) as u64)),
            (TRACE[1], u64s(|row| row.trace as u64)),
            (SPAN, u32s(|row| row.span)),
            (GAP, u32s(|row| row.gap)),
            (START, times(|row| row.start)),
            (END, times(|row| row.end)),
            (FLAGS, u32s(|row| row.flags.0)),
            (SPAN_ID, u64s(|row| row.span_id)),
            (GROUP, u32s(|row| row.group)),
            (OPERATION, words(|row| row.operation)?),
            (BEFORE, words(|row| row.before)?),
        ])?)
    }

    /// Appends the rows of a table.
    pub(super) fn read(&mut self, table: &RecordBatch) -> Result<(), Error> {
        let (process, span) = (u32s(table, PROCESS)?, u32s(table, SPAN)?);
        let (gap, flags, group) = (u32s(table, GAP)?, u32s(table, FLAGS)?, u32s(table, GROUP)?);
        let [high, low] = [u64s(table, TRACE[0])?, u64s(table, TRACE[1])?];
        let (start, end) = (values::<Int64Type>(table, START)?, values::<Int64Type>(table, END)?);
        let what = values::<UInt8Type>(table, WHAT)?;
        let span_id = u64s(table, SPAN_ID)?;
        let operation = words::read(&mut self.texts, table, OPERATION)?;
        let before = words::read(&mut self.texts, table, BEFORE)?;
        let part = |row: usize| {
            Ok::<_, Error>(Part {
                process: process.value(row),
                what: What::of(what.value(row)).ok_or(Error::MissingColumn(WHAT))?,
                trace: u128::from(high.value(row)) << 64 | u128::from(low.value(row)),
                span: span.value(row),
                gap: gap.value(row),
                start: start.value(row),
                end: end.value(row),
                flags: Flags(flags.value(row)),
                span_id: span_id.value(row),
                group: group.value(row),
                operation: operation[row],
                before: before[row],
            })
        };
        for row in 0..table.num_rows() {
            self.rows.push(part(row)?);
        }
        Ok(())
    }
}

/// Returns a column of numbers.
pub(super) fn values<'t, T: ArrowPrimitiveType>(
    table: &'t RecordBatch,
    name: &'static str,
) -> Result<&'t PrimitiveArray<T>, Error> {
    let column = table.column_by_name(name).and_then(|column| column.as_primitive_opt());
    column.ok_or(Error::MissingColumn(name))
}

fn u32s<'t>(table: &'t RecordBatch, name: &'static str) -> Result<&'t UInt32Array, Error> {
    values::<UInt32Type>(table, name)
}

fn u64s<'t>(table: &'t RecordBatch, name: &'static str) -> Result<&'t UInt64Array, Error> {
    values::<UInt64Type>(table, name)
}
