//! The trace pass over more spans than memory holds, in *shards* that have each trace whole.
//!
//! The result is that of [`crate::run`] over all spans at once. Three things ask for more than one
//! trace: how far the clocks of two hosts are apart (all calls between them tell), what went on in
//! a process at the same time (all its spans tell), and how processes are numbered. So shards are
//! gone through three times. First for [`Clocks`]; then [`Period::parts`] takes of each shard what
//! its processes need, [`Period::processes`] looks at one process after the other, over all shards,
//! at a large one in *slices* of time; and [`Period::finish`] makes the facts of a shard from both.
//! What lies between the steps are tables that the caller keeps where there is room.

mod heads;
mod parts;
mod plan;
mod process;
mod taken;
mod told;
mod words;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use hashbrown::HashMap;

use crate::entry::Entries;
use crate::gaps::Gap;
use crate::repeated::{Distinct, drop_repeated};
use crate::rows::{ProcessKey, Rows};
use crate::skew;
use crate::stall::Stalls;
use crate::tree::Tree;
use crate::walk::Walk;
use crate::{Error, Facts, PassOptions, emit};
use plan::{Density, Plan};
use taken::Taken;
use told::{Told, What};

/// Names of two hosts, the caller's first.
type Hosts = (String, String);

/// What shards tell of clocks, and which processes there are. It takes 8 bytes a call from one host
/// to another, and up to some 20 KiB a process.
#[derive(Debug, Default)]
pub struct Clocks {
    deltas: HashMap<Hosts, Vec<i64>>,
    processes: BTreeMap<ProcessKey, Density>,
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
        let mut starts: Vec<Vec<i64>> = vec![Vec::new(); rows.process_keys.len()];
        for (&process, &start) in rows.process.iter().zip(&rows.start) {
            starts[process as usize].push(start);
        }
        for (key, starts) in rows.process_keys.into_iter().zip(starts) {
            self.processes.entry(key).or_default().add(starts);
        }
        Ok(())
    }

    /// Returns what all shards told together, once each was added. Of so many spans, processes are
    /// looked at together, or time is divided.
    pub fn settle(self, options: &PassOptions, spans_max: usize) -> Period {
        Period {
            offsets: skew::offsets(self.deltas, options.skew_nanos_max),
            plan: Plan::new(&self.processes, spans_max.max(1)),
            processes: self.processes.into_keys().collect(),
        }
    }
}

/// What all shards tell together.
#[derive(Debug)]
pub struct Period {
    /// By how much the clocks of two hosts differ, ns.
    offsets: HashMap<Hosts, i64>,
    plan: Plan,
    /// In the order of their numbers.
    processes: Vec<ProcessKey>,
}

impl Period {
    /// Returns how many tables there are of what processes need.
    pub fn tables(&self) -> usize {
        self.plan.tables.len()
    }

    /// Returns in how many slices of time a table is divided.
    pub fn slices(&self, table: usize) -> usize {
        self.plan.tables[table].count()
    }

    /// Returns what the processes of a shard need, of tables in which it has any.
    ///
    /// # Errors
    ///
    /// As [`crate::run`].
    pub fn parts(&self, spans: Vec<RecordBatch>) -> Result<Vec<Portion>, Error> {
        let Distinct { batches, keys, .. } = drop_repeated(spans)?;
        let rows = Rows::read(&batches, &keys)?;
        let walk = self.walk(rows);
        Taken::new(&walk, self.numbers(&walk.rows), &self.plan).portions()
    }

    /// Returns how many spans a slice of a table has.
    pub fn spans_in(slice: &RecordBatch) -> usize {
        parts::spans_in(slice)
    }

    /// Returns how many groups of spans, of a request most often, the heads of a table are of.
    pub fn requests_in(heads: &RecordBatch) -> usize {
        heads::requests_in(heads)
    }

    /// Looks at the processes of a table, and calls `tell` with what that tells a shard by its
    /// number. `heads` of the table, and each of its slices as often as it is asked for, come with
    /// the numbers of their shards.
    ///
    /// # Errors
    ///
    /// [`Error::MissingColumn`] when one is not of [`Period::parts`], and those of `slice` and
    /// `tell`.
    pub fn processes<E: From<Error>>(
        &self,
        table: usize,
        heads: &[Sharded],
        slice: impl Fn(usize) -> Result<Vec<Sharded>, E>,
        tell: impl FnMut(usize, RecordBatch) -> Result<(), E>,
        options: &PassOptions,
    ) -> Result<(), E> {
        process::each(heads, &self.plan.tables[table], slice, tell, options)
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
        // Told by the traces of this shard alone; the processes tell it part by part.
        walk.wires.parts.values_mut().for_each(|wire| wire.server_busy = 0);
        let mut stalls = Stalls::none(walk.rows.len());
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

/// What the processes of one table need of a shard.
#[derive(Debug)]
pub struct Portion {
    pub table: usize,
    /// Which slice of the table it is in; its heads are in none.
    pub slice: Option<usize>,
    pub rows: RecordBatch,
}

/// The number of a shard, and something of it.
pub type Sharded = (usize, RecordBatch);

/// Puts what a process told where the pass would have.
fn keep(told: Told, walk: &mut Walk, gaps: &mut [Gap], stalls: &mut Stalls) {
    let at = told.at as usize;
    match told.what {
        What::Process => {
            walk.processes.is_event_loop[at] = told.ways.by_spans;
            walk.processes.is_told_by_requests[at] = told.ways.by_requests;
            walk.processes.is_watched[at] = told.ways.is_watched;
        }
        What::Span => {
            let Entries { all, of, open, .. } = &mut walk.entries;
            open[at] = told.open;
            let entry = &mut all[of[at] as usize];
            if entry.span == told.at {
                entry.number = told.entry_number;
            }
        }
        What::Silence => {
            if let Some(silence) = told.silence {
                stalls.silences.set(at, silence);
            }
            if let Some(requests) = told.requests {
                stalls.requests.set(at, requests);
            }
        }
        What::GapSilence => {
            gaps[at].silence = told.silence;
            gaps[at].requests = told.requests;
        }
        What::Stalled => stalls.stalled_nanos[at] = told.stalled,
        What::GapStalled => gaps[at].stalled = told.stalled,
        What::Wait => gaps[at].occupancy = told.occupancy,
        What::Call => {
            if let Some(wire) = walk.wires.parts.get_mut(at) {
                wire.server_busy += told.server_busy;
            }
        }
    }
}
