//! The trace pass over more spans than memory holds, in *shards* that have each trace whole.
//!
//! The result is that of [`crate::run`] over all spans at once. Three things ask for more than one
//! trace: how far the clocks of two hosts are apart (all calls between them tell), what went on in
//! a process at the same time (all its spans tell), and how processes are numbered. So shards are
//! gone through three times. First for [`Clocks`]; then [`Period::parts`] takes of each shard what
//! its processes need, [`Period::processes`] looks at one process after the other, over all shards;
//! and [`Period::finish`] makes the facts of a shard from both. What lies between the steps are
//! tables that the caller keeps where there is room.

mod parts;
mod process;
mod told;

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use hashbrown::HashMap;

use crate::entry::Entries;
use crate::gaps::Gap;
use crate::repeated::{Distinct, drop_repeated};
use crate::rows::{Kind, NONE, ProcessKey, Rows, Serving};
use crate::skew;
use crate::sparse::Sparse;
use crate::stall::Stalls;
use crate::tree::Tree;
use crate::walk::Walk;
use crate::wire::Call;
use crate::{Error, Facts, PassOptions, emit};
use parts::{Flags, Part, Parts, What};
use told::Told;

/// Names of two hosts, the caller's first.
type Hosts = (String, String);

/// What shards tell of clocks, and which processes there are. It takes 8 bytes a call from one host
/// to another.
#[derive(Debug, Default)]
pub struct Clocks {
    deltas: HashMap<Hosts, Vec<i64>>,
    processes: BTreeSet<ProcessKey>,
}

impl Clocks {
    /// Adds a shard.
    ///
    /// # Errors
    ///
    /// As [`crate::run`].
    pub fn add(&mut self, spans: Vec<RecordBatch>) -> Result<(), Error> {
        let Distinct { batches, keys, .. } = drop_repeated(spans)?;
        let rows = Rows::read(&batches, &keys)?;
        let tree = Tree::build(&rows);
        for ((from, to), deltas) in skew::deltas(&rows, &tree) {
            let hosts = (rows.text(from).to_owned(), rows.text(to).to_owned());
            self.deltas.entry(hosts).or_default().extend(deltas);
        }
        self.processes.extend(rows.process_keys);
        Ok(())
    }

    /// Returns what all shards told together, once each was added.
    pub fn settle(self, options: &PassOptions) -> Period {
        Period {
            offsets: skew::offsets(self.deltas, options.skew_nanos_max),
            processes: self.processes.into_iter().collect(),
        }
    }
}

/// What all shards tell together.
#[derive(Debug)]
pub struct Period {
    /// By how much the clocks of two hosts differ, ns.
    offsets: HashMap<Hosts, i64>,
    /// In the order of their numbers.
    processes: Vec<ProcessKey>,
}

impl Period {
    /// Returns what the processes of a shard need, in so many tables: each process is in the same
    /// one of every shard.
    ///
    /// # Errors
    ///
    /// As [`crate::run`].
    pub fn parts(&self, spans: Vec<RecordBatch>, tables: usize) -> Result<Vec<RecordBatch>, Error> {
        let Distinct { batches, keys, .. } = drop_repeated(spans)?;
        let rows = Rows::read(&batches, &keys)?;
        let walk = self.walk(rows);
        let mut parts: Vec<Parts> = (0..tables.max(1)).map(|_| Parts::default()).collect();
        Taken { walk: &walk, numbers: self.numbers(&walk.rows) }.into_parts(&mut parts);
        parts.iter().map(Parts::table).collect()
    }

    /// Returns how many spans a table of [`Period::parts`] has.
    pub fn spans_in(table: &RecordBatch) -> usize {
        parts::spans_in(table)
    }

    /// Looks at the processes of one table of every shard. Returns what it tells the shards that
    /// have any of them, by their numbers.
    ///
    /// # Errors
    ///
    /// [`Error::MissingColumn`] when a table is none of [`Period::parts`].
    pub fn processes(
        &self,
        tables: &[RecordBatch],
        options: &PassOptions,
    ) -> Result<Vec<(usize, RecordBatch)>, Error> {
        let mut parts = Parts::default();
        let mut sharded = Vec::new();
        for (shard, table) in tables.iter().enumerate() {
            parts.read(table)?;
            sharded.extend(parts.rows.drain(..).map(|part| (shard, part)));
        }
        let mut told: Vec<Vec<Told>> = vec![Vec::new(); tables.len()];
        process::each(sharded, options, |shard, row| told[shard].push(row));
        let told = told.iter().enumerate().filter(|(_, told)| !told.is_empty());
        told.map(|(shard, told)| Ok((shard, told::table(told)?))).collect()
    }

    /// Returns what the pass over all spans says of those of a shard, to which the processes told
    /// these tables.
    ///
    /// # Errors
    ///
    /// As [`crate::run`], and [`Error::MissingColumn`] when a table is none of
    /// [`Period::processes`].
    pub fn finish(
        &self,
        spans: Vec<RecordBatch>,
        told: &[RecordBatch],
        options: &PassOptions,
    ) -> Result<Facts, Error> {
        let Distinct { batches, keys, repeated } = drop_repeated(spans)?;
        let rows = Rows::read(&batches, &keys)?;
        drop(keys);
        let spans = emit::Given::new(batches, rows.len(), options)?;
        let mut walk = self.walk(rows);
        walk.forget_times();
        let mut gaps = std::mem::take(&mut walk.gaps);
        self.number(&mut walk);
        let mut stalls = Stalls {
            silences: Sparse::new(walk.rows.len()),
            requests: Sparse::new(walk.rows.len()),
            stalled_nanos: vec![0; walk.rows.len()],
        };
        for table in told {
            told::read(table, |told| keep(told, &mut walk, &mut gaps, &mut stalls))?;
        }
        crate::emit(&walk, &stalls, &gaps, spans, options, repeated)
    }

    fn walk(&self, rows: Rows) -> Walk {
        Walk::over(rows, |rows, tree| {
            let mut offsets = HashMap::new();
            for pair in skew::deltas(rows, tree).into_keys() {
                let hosts = (rows.text(pair.0).to_owned(), rows.text(pair.1).to_owned());
                offsets.extend(self.offsets.get(&hosts).map(|&offset| (pair, offset)));
            }
            skew::move_by(rows, tree, &offsets)
        })
    }

    /// Returns the numbers of a shard's processes among all.
    fn numbers(&self, rows: &Rows) -> Vec<u32> {
        let number = |key| self.processes.partition_point(|known| known < key) as u32;
        rows.process_keys.iter().map(number).collect()
    }

    /// Gives processes their numbers among all.
    fn number(&self, walk: &mut Walk) {
        let numbers = self.numbers(&walk.rows);
        for process in &mut walk.rows.process {
            *process = numbers[*process as usize];
        }
        walk.rows.process_keys.clone_from(&self.processes);
        walk.processes.is_event_loop = vec![false; self.processes.len()];
        walk.processes.is_told_by_requests = vec![false; self.processes.len()];
        walk.processes.is_watched = vec![false; self.processes.len()];
    }
}

/// What is taken of a shard.
struct Taken<'w> {
    walk: &'w Walk,
    /// Of its processes among all.
    numbers: Vec<u32>,
}

impl Taken<'_> {
    /// Puts each part where its process is.
    fn into_parts(self, tables: &mut [Parts]) {
        let Walk { rows, tree, times, gaps, .. } = self.walk;
        for (number, trace) in rows.traces.iter().enumerate() {
            let trace_id = rows.trace_ids[number];
            for at in trace.clone() {
                self.add(tables, rows.process[at], |parts| self.span(parts, at, trace_id));
                let call = (rows.kind[at] == Kind::Client)
                    .then(|| Call::read(rows, tree, times, at))
                    .flatten();
                for way in call.iter().flat_map(|call| call.way_there(rows, times)) {
                    let server = call.as_ref().map_or(0, |call| call.server);
                    let part = |_: &mut Parts| Part {
                        span: at as u32,
                        start: way.start,
                        end: way.end,
                        ..Part::of(What::Call, trace_id)
                    };
                    self.add(tables, rows.process[server as usize], part);
                }
            }
        }
        let mut trace = 0;
        for (number, gap) in gaps.iter().enumerate() {
            while rows.traces[trace].end <= gap.span as usize {
                trace += 1;
            }
            let trace_id = rows.trace_ids[trace];
            let process = rows.process[gap.span as usize];
            self.add(tables, process, |parts| self.gap(parts, number, gap, trace_id));
            if gap.after != NONE {
                let part = |parts: &mut Parts| Part {
                    what: What::Wait,
                    ..self.gap(parts, number, gap, trace_id)
                };
                self.add(tables, rows.process[gap.after as usize], part);
            }
        }
    }

    fn add(&self, tables: &mut [Parts], process: u32, part: impl FnOnce(&mut Parts) -> Part) {
        let process = self.numbers[process as usize];
        let count = tables.len();
        let parts = &mut tables[process as usize % count];
        let part = Part { process, ..part(parts) };
        parts.rows.push(part);
    }

    fn span(&self, parts: &mut Parts, at: usize, trace: u128) -> Part {
        let Walk { rows, served, entries, processes, meaning, .. } = self.walk;
        let serving = if served.is_request(at) { rows.serving[at] } else { Serving::Unknown };
        let is_django = serving == Serving::DjangoAsgi;
        let group = processes.group_of[at];
        let is_root = group != NONE && processes.groups[group as usize].root == at as u32;
        let entry = entries.of(at);
        let is_entry = entries.is_entry(at);
        let flags = Flags::default()
            .with(Flags::LEAF, processes.is_leaf[at])
            .with(Flags::REQUEST, served.is_request(at))
            .with(Flags::SERVER, served.kind(rows, at) == Kind::Server)
            .with(Flags::GROUP_ROOT, is_root)
            .with(Flags::ENTRY, is_entry)
            .with(Flags::CALLER, is_entry && entry.is_caller)
            .with(Flags::WAITS, entry.waits())
            .with(Flags::NOTE, rows.is_note[at])
            .with(Flags::WATCHED, rows.event_loop[at].is_some())
            .with(Flags::EVENT_LOOP, is_django || serving == Serving::EventLoop)
            .with(Flags::TOLD_BY_REQUESTS, is_django || serving == Serving::Django);
        let name = if is_root { rows.text(rows.name[at]) } else { "" };
        Part {
            span: at as u32,
            start: rows.start[at],
            end: rows.end[at],
            flags,
            span_id: if is_entry { entry.id } else { 0 },
            group,
            name: parts.texts.intern(name),
            operation: parts.texts.intern(meaning.texts.text(meaning.operation[at])),
            ..Part::of(What::Span, trace)
        }
    }

    fn gap(&self, parts: &mut Parts, number: usize, gap: &Gap, trace: u128) -> Part {
        let meaning = &self.walk.meaning;
        let mut operation = |at: u32| match at {
            NONE => parts.texts.intern(""),
            at => parts.texts.intern(meaning.texts.text(meaning.operation[at as usize])),
        };
        Part {
            span: gap.span,
            gap: number as u32,
            start: gap.start,
            end: gap.end,
            flags: Flags::default()
                .with(Flags::BEFORE, gap.before != NONE)
                .with(Flags::AFTER, gap.after != NONE),
            before: operation(gap.before),
            operation: operation(gap.after),
            ..Part::of(What::Gap, trace)
        }
    }
}

/// Puts what a process told where the pass would have.
fn keep(told: Told, walk: &mut Walk, gaps: &mut [Gap], stalls: &mut Stalls) {
    let at = told.at as usize;
    match told.what {
        What::Span => keep_span(&told, at, walk, stalls),
        What::Gap => {
            gaps[at].stalled = told.stalled;
            gaps[at].silence = told.silence;
            gaps[at].requests = told.requests;
        }
        What::Wait => gaps[at].occupancy = told.occupancy,
        What::Call => {
            if let Some(wire) = walk.wires.parts.get_mut(at) {
                wire.server_busy = told.server_busy;
            }
        }
    }
}

fn keep_span(told: &Told, at: usize, walk: &mut Walk, stalls: &mut Stalls) {
    let Entries { all, of, open, .. } = &mut walk.entries;
    open[at] = told.open;
    let entry = &mut all[of[at] as usize];
    if entry.span == at as u32 {
        entry.number = told.entry_number;
    }
    stalls.stalled_nanos[at] = told.stalled;
    if let Some(silence) = told.silence {
        stalls.silences.set(at, silence);
    }
    if let Some(requests) = told.requests {
        stalls.requests.set(at, requests);
    }
    let process = walk.rows.process[at] as usize;
    walk.processes.is_event_loop[process] = told.is_event_loop;
    walk.processes.is_told_by_requests[process] = told.is_told_by_requests;
    walk.processes.is_watched[process] = told.is_watched;
}
