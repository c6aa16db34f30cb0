//! [`Taken`]: what the steps that look at whole processes need, taken of one shard.

use std::ops::RangeInclusive;

use super::Portion;
use super::heads::{Head, Heads};
use super::parts::{Flags, Part, Parts, What};
use super::plan::{Plan, Slices};
use crate::Error;
use crate::gaps::Gap;
use crate::rows::{Kind, NONE, Serving};
use crate::silence::WINDOW_NANOS_MIN;
use crate::stall::MEASURED_NANOS_MIN;
use crate::walk::Walk;
use crate::wire::Call;

pub(super) struct Taken<'w> {
    walk: &'w Walk,
    /// Of its processes among all.
    numbers: Vec<u32>,
    plan: &'w Plan,
    tables: Vec<Table>,
}

/// What goes into one table.
#[derive(Default)]
struct Table {
    heads: Heads,
    slices: Vec<Parts>,
}

impl<'w> Taken<'w> {
    pub(super) fn new(walk: &'w Walk, numbers: Vec<u32>, plan: &'w Plan) -> Self {
        let parts = |slices: &Slices| (0..slices.count()).map(|_| Parts::default()).collect();
        let table = |slices| Table { heads: Heads::default(), slices: parts(slices) };
        Self { walk, numbers, plan, tables: plan.tables.iter().map(table).collect() }
    }

    /// Returns what there is, table by table.
    pub(super) fn portions(mut self) -> Result<Vec<Portion>, Error> {
        self.take_heads();
        self.take_spans();
        self.take_gaps();
        let mut portions = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            if !table.heads.rows.is_empty() {
                let rows = table.heads.table()?;
                portions.push(Portion { table: number, slice: None, rows });
            }
            for (slice, parts) in table.slices.iter().enumerate() {
                if !parts.rows.is_empty() {
                    let rows = parts.table()?;
                    portions.push(Portion { table: number, slice: Some(slice), rows });
                }
            }
        }
        Ok(portions)
    }

    fn take_heads(&mut self) {
        let Walk { rows, served, processes, .. } = self.walk;
        let mut shown = vec![Flags::default(); self.numbers.len()];
        for at in 0..rows.len() {
            let flags = &mut shown[rows.process[at] as usize];
            *flags = flags.and(self.shows(at));
        }
        for (local, flags) in shown.into_iter().enumerate() {
            let process = self.numbers[local];
            let head = Head { flags, ..Head::of_process(process) };
            self.tables[self.plan.table_of[process as usize] as usize].heads.rows.push(head);
        }
        let is_served = |at: usize| served.kind(rows, at) == Kind::Server;
        let mut trace = 0;
        let mut groups: Vec<(u32, usize)> =
            processes.groups.iter().enumerate().map(|(at, group)| (group.root, at)).collect();
        groups.sort_unstable();
        for (root, number) in groups {
            while rows.traces[trace].end <= root as usize {
                trace += 1;
            }
            let group = &processes.groups[number];
            let process = self.numbers[group.process as usize];
            let heads = &mut self.tables[self.plan.table_of[process as usize] as usize].heads;
            let endpoint = heads.texts.intern(rows.text(rows.name[root as usize]));
            heads.rows.push(Head {
                process,
                group: number as u32,
                trace: rows.trace_ids[trace],
                root,
                flags: Flags::default(),
                crowd: processes.head(rows, group, is_served, endpoint),
            });
        }
    }

    /// Returns what a span shows of its process.
    fn shows(&self, at: usize) -> Flags {
        let Walk { rows, served, .. } = self.walk;
        let serving = if served.is_request(at) { rows.serving[at] } else { Serving::Unknown };
        let is_django = serving == Serving::DjangoAsgi;
        Flags::default()
            .with(Flags::WATCHED, rows.event_loop[at].is_some())
            .with(Flags::EVENT_LOOP, is_django || serving == Serving::EventLoop)
            .with(Flags::TOLD_BY_REQUESTS, is_django || serving == Serving::Django)
    }

    fn take_spans(&mut self) {
        let Walk { rows, tree, times, .. } = self.walk;
        for (number, trace) in rows.traces.iter().enumerate() {
            let trace_id = rows.trace_ids[number];
            for at in trace.clone() {
                self.take_span(at, trace_id);
                let call = (rows.kind[at] == Kind::Client)
                    .then(|| Call::read(rows, tree, times, at))
                    .flatten();
                for way in call.iter().flat_map(|call| call.way_there(rows, times)) {
                    let server = call.as_ref().map_or(0, |call| call.server);
                    let part = Part {
                        process: self.numbers[rows.process[server as usize] as usize],
                        span: at as u32,
                        start: way.start,
                        end: way.end,
                        ..Part::of(What::Call, trace_id)
                    };
                    let slices = self.slices(&part).between(part.start, part.end);
                    self.add(part, slices, [NONE; 2]);
                }
            }
        }
    }

    fn take_span(&mut self, at: usize, trace: u128) {
        let Walk { rows, served, entries, processes, .. } = self.walk;
        let entry = entries.of(at);
        let is_entry = entries.is_entry(at);
        let flags = Flags::default()
            .with(Flags::LEAF, processes.is_leaf[at])
            .with(Flags::REQUEST, served.is_request(at))
            .with(Flags::SERVER, served.kind(rows, at) == Kind::Server)
            .with(Flags::ENTRY, is_entry)
            .with(Flags::CALLER, is_entry && entry.is_caller)
            .with(Flags::WAITS, entry.waits())
            .with(Flags::NOTE, rows.is_note[at]);
        let part = Part {
            process: self.numbers[rows.process[at] as usize],
            span: at as u32,
            start: rows.start[at],
            end: rows.end[at],
            flags,
            span_id: if is_entry { entry.id } else { 0 },
            group: processes.group_of[at],
            ..Part::of(What::Span, trace)
        };
        let slices = if part.is_candidate() {
            self.around(&part)
        } else {
            self.slices(&part).between(part.start, part.end)
        };
        self.add(part, slices, [NONE, at as u32]);
    }

    fn take_gaps(&mut self) {
        let Walk { rows, gaps, .. } = self.walk;
        let mut trace = 0;
        for (number, gap) in gaps.iter().enumerate() {
            while rows.traces[trace].end <= gap.span as usize {
                trace += 1;
            }
            let part = self.gap(number, gap, rows.trace_ids[trace]);
            let around = self.around(&part);
            self.add(part, around, [gap.before, gap.after]);
            if gap.after != NONE {
                let process = self.numbers[rows.process[gap.after as usize] as usize];
                let wait = Part { what: What::Wait, process, ..part };
                let slice = self.slices(&wait).of(wait.end);
                self.add(wait, slice..=slice, [NONE, gap.after]);
            }
        }
    }

    fn gap(&self, number: usize, gap: &Gap, trace: u128) -> Part {
        let Walk { rows, served, processes, .. } = self.walk;
        let span = gap.span as usize;
        let is_leaf = processes.is_leaf[span] && !served.is_request(span);
        Part {
            process: self.numbers[rows.process[span] as usize],
            span: gap.span,
            gap: number as u32,
            start: gap.start,
            end: gap.end,
            flags: Flags::default()
                .with(Flags::LEAF, is_leaf)
                .with(Flags::BEFORE, gap.before != NONE)
                .with(Flags::AFTER, gap.after != NONE),
            group: processes.group_of[span],
            ..Part::of(What::Gap, trace)
        }
    }

    fn slices(&self, part: &Part) -> &'w Slices {
        &self.plan.tables[self.plan.table_of[part.process as usize] as usize]
    }

    /// Returns the slices in which others may be heard that tell of a part.
    fn around(&self, part: &Part) -> RangeInclusive<usize> {
        let window = (part.end - part.start).max(WINDOW_NANOS_MIN);
        self.slices(part)
            .between(part.start.saturating_sub(window), part.end.saturating_add(window))
    }

    /// Puts a part into some slices of its table, with the operations of the spans before it and of
    /// it, or after it.
    fn add(&mut self, part: Part, slices: RangeInclusive<usize>, [before, of]: [u32; 2]) {
        let meaning = &self.walk.meaning;
        let text = |at: u32| match at {
            NONE => "",
            at => meaning.texts.text(meaning.operation[at as usize]),
        };
        let table = &mut self.tables[self.plan.table_of[part.process as usize] as usize];
        for parts in &mut table.slices[slices] {
            let [before, operation] = [before, of].map(|at| parts.texts.intern(text(at)));
            parts.rows.push(Part { operation, before, ..part });
        }
    }
}

impl Part {
    /// Whether it is a leaf span or a note worth measuring.
    pub(super) fn is_candidate(&self) -> bool {
        let is_leaf = self.flags.has(Flags::LEAF) && !self.flags.has(Flags::REQUEST);
        (is_leaf || self.flags.has(Flags::NOTE)) && self.end - self.start >= MEASURED_NANOS_MIN
    }
}
