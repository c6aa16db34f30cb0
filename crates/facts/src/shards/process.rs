//! One process after the other, over the spans of all shards.

use hashbrown::HashMap;

use super::parts::{Flags, Part, What};
use super::told::Told;
use crate::PassOptions;
use crate::entry::{Entry, count_open};
use crate::gaps::{Gap, Runs};
use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::process::{OneProcess, Processes};
use crate::rows::{Kind, NONE, ProcessKey, Rows};
use crate::served::Served;
use crate::stall;
use crate::wire::Busy;

/// A part, and the shard that it is of.
pub(super) type Sharded = (usize, Part);

/// Calls `tell` with what each of the processes tells, and the shard that it is for. All parts of a
/// process are there.
pub(super) fn each(
    mut parts: Vec<Sharded>,
    options: &PassOptions,
    mut tell: impl FnMut(usize, Told),
) {
    parts.sort_unstable_by_key(|(_, part)| {
        (part.process, part.what, part.trace, part.span, part.gap, part.start)
    });
    for parts in parts.chunk_by(|(_, a), (_, b)| a.process == b.process) {
        Process::read(parts).tell(options, &mut tell);
    }
}

/// One process, its spans in canonical order.
struct Process<'p> {
    spans: &'p [Sharded],
    gaps: &'p [Sharded],
    waits: &'p [Sharded],
    calls: &'p [Sharded],
    rows: Rows,
    served: Served,
    processes: Processes,
}

impl<'p> Process<'p> {
    fn read(parts: &'p [Sharded]) -> Self {
        let of = |what: What| {
            let from = parts.partition_point(|(_, part)| part.what < what);
            let to = parts.partition_point(|(_, part)| part.what <= what);
            &parts[from..to]
        };
        let spans = of(What::Span);
        let rows = rows(spans);
        let are = |flag: Flags| spans.iter().map(move |(_, part)| part.flags.has(flag));
        let process = OneProcess {
            serves_on_event_loop: are(Flags::EVENT_LOOP).any(|is| is),
            told_by_requests: are(Flags::TOLD_BY_REQUESTS).any(|is| is),
            watched: are(Flags::WATCHED).any(|is| is),
            leaves: are(Flags::LEAF).collect(),
        };
        let members = members(spans);
        let group = |at: u32| (spans[at as usize].1.trace, spans[at as usize].1.group);
        let is_root = |at: &u32| spans[*at as usize].1.flags.has(Flags::GROUP_ROOT);
        let groups = members.chunk_by(|&a, &b| group(a) == group(b));
        let groups = groups.map(|run| (run.iter().copied().find(is_root).unwrap_or(run[0]), run));
        Self {
            processes: Processes::of_one(&rows, groups, process),
            served: Served::of_process(are(Flags::REQUEST).collect()),
            gaps: of(What::Gap),
            waits: of(What::Wait),
            calls: of(What::Call),
            spans,
            rows,
        }
    }

    fn tell(&self, options: &PassOptions, tell: &mut impl FnMut(usize, Told)) {
        let mut gaps = Vec::with_capacity(self.gaps.len());
        let mut operations: Vec<Sym> = self.spans.iter().map(|(_, part)| part.operation).collect();
        for (_, part) in self.gaps {
            gaps.push(self.gap(part, &mut operations));
        }
        let meaning = Meaning::of_operations(operations);
        let Self { rows, served, processes, .. } = self;
        let stalls = stall::measure(rows, served, processes, &meaning, &mut gaps, options);
        let mut entries = self.entries();
        let waits = |_: &[Entry], at: usize| self.flags(at).has(Flags::WAITS);
        let open = count_open(rows, &mut entries, waits);
        let busy = Busy::new(rows, &entries);
        let mut numbers = vec![0; rows.len()];
        for entry in entries {
            numbers[entry.span as usize] = entry.number;
        }
        for (at, (shard, part)) in self.spans.iter().enumerate() {
            let told = Told {
                entry_number: numbers[at],
                open: open[at],
                stalled: stalls.stalled_nanos[at],
                silence: stalls.silences.get(at).copied(),
                requests: stalls.requests.get(at).copied(),
                is_event_loop: processes.is_event_loop[0],
                is_told_by_requests: processes.is_told_by_requests[0],
                is_watched: processes.is_watched[0],
                ..Told::of(What::Span, part.span)
            };
            tell(*shard, told);
        }
        for ((shard, part), gap) in self.gaps.iter().zip(gaps) {
            let told = Told {
                stalled: gap.stalled,
                silence: gap.silence,
                requests: gap.requests,
                ..Told::of(What::Gap, part.gap)
            };
            tell(*shard, told);
        }
        self.tell_waits(tell);
        for calls in self.calls.chunk_by(|(_, a), (_, b)| (a.trace, a.span) == (b.trace, b.span)) {
            let (shard, call) = calls[0];
            let server_busy = calls.iter().map(|(_, way)| busy.within(0, way.start, way.end)).sum();
            tell(shard, Told { server_busy, ..Told::of(What::Call, call.span) });
        }
    }

    /// Tells what gaps wait for, that something of this process follows.
    fn tell_waits(&self, tell: &mut impl FnMut(usize, Told)) {
        let mut runs: HashMap<Sym, Runs> = HashMap::new();
        for (_, part) in self.waits {
            runs.entry(part.operation).or_default();
        }
        for (number, trace) in self.rows.traces.iter().enumerate() {
            for (_, part) in &self.spans[trace.clone()] {
                if let Some(runs) = runs.get_mut(&part.operation) {
                    runs.add(part.start, part.end, number as u32);
                }
            }
        }
        runs.values_mut().for_each(Runs::order);
        for (shard, part) in self.waits {
            let own = self.rows.trace_ids.partition_point(|&trace| trace < part.trace) as u32;
            let occupancy = runs[&part.operation].at(part.start, part.end, own);
            tell(*shard, Told { occupancy: Some(occupancy), ..Told::of(What::Wait, part.gap) });
        }
    }

    fn flags(&self, at: usize) -> Flags {
        self.spans[at].1.flags
    }

    /// Returns a gap; what comes before and after it is put behind the operations of the spans.
    fn gap(&self, part: &Part, operations: &mut Vec<Sym>) -> Gap {
        let mut place = |flag: Flags, operation: Sym| {
            if !part.flags.has(flag) {
                return NONE;
            }
            operations.push(operation);
            operations.len() as u32 - 1
        };
        let before = place(Flags::BEFORE, part.before);
        let after = place(Flags::AFTER, part.operation);
        let key = (part.trace, part.span);
        let span = self.spans.partition_point(|(_, span)| (span.trace, span.span) < key) as u32;
        Gap::new(span, part.start, part.end, before, after)
    }

    fn entries(&self) -> Vec<Entry> {
        let spans = self.spans.iter().enumerate();
        let entries = spans.filter(|(_, (_, part))| part.flags.has(Flags::ENTRY));
        entries
            .map(|(at, (_, part))| Entry {
                span: at as u32,
                id: part.span_id,
                start: part.start,
                end: part.end,
                number: 0,
                is_caller: part.flags.has(Flags::CALLER),
            })
            .collect()
    }
}

/// Returns the columns that the steps read, which ask of the process nothing but whether it is the
/// same one.
fn rows(spans: &[Sharded]) -> Rows {
    let kind = |part: &Part| {
        if part.flags.has(Flags::SERVER) { Kind::Server } else { Kind::Other }
    };
    let mut rows = Rows {
        input: (0..spans.len() as u32).collect(),
        start: spans.iter().map(|(_, part)| part.start).collect(),
        end: spans.iter().map(|(_, part)| part.end).collect(),
        kind: spans.iter().map(|(_, part)| kind(part)).collect(),
        name: spans.iter().map(|(_, part)| part.name).collect(),
        is_note: spans.iter().map(|(_, part)| part.flags.has(Flags::NOTE)).collect(),
        process: vec![0; spans.len()],
        process_keys: vec![ProcessKey::default()],
        ..Rows::default()
    };
    let mut first = 0;
    for trace in spans.chunk_by(|(_, a), (_, b)| a.trace == b.trace) {
        rows.traces.push(first..first + trace.len());
        rows.trace_ids.push(trace[0].1.trace);
        first += trace.len();
    }
    rows
}

/// Returns the spans that are in a group, group by group.
fn members(spans: &[Sharded]) -> Vec<u32> {
    let part = |at: u32| &spans[at as usize].1;
    let mut members: Vec<u32> = (0..spans.len() as u32).collect();
    members.retain(|&at| part(at).group != NONE);
    members.sort_by_key(|&at| (part(at).trace, part(at).group));
    members
}
