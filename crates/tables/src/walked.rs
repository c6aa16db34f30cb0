//! [`Walked`]: the tables `facts` and `gaps`, which the trace pass fills.
//!
//! A trace is walked once it has settled: so its facts are those of all its spans. Spans that come
//! later bring its facts about anew, in place of those before. What only all spans of a process
//! tell is not kept ([`PROCESS_WIDE`](facts::PROCESS_WIDE)).
//!
//! Until then its spans stay in the log: the tables say up to which record they need none of it.
//! After a crash traces can come again that have facts: those, too, are put in place of what is
//! there.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use object_store::ObjectStore;
use timesink_facts::PassOptions;
use timesink_model::schema::{self, Columns, facts, gaps};
use timesink_store::log::Replayed;
use timesink_store::trace_ids;

use crate::done::{Done, LATE_MILLIS_MAX, Late};
use crate::file::{NANOS_PER_HOUR, numbers};
use crate::found::{SpanIds, without_a_parent};
use crate::hours::{Times, times_of};
use crate::merge::fitted;
use crate::snapshot::{LiveFile, Snapshot, recent};
use crate::table::Found;
use crate::table::NANOS_PER_MILLI;
use crate::unsettled::{Settle, Unsettled};
use crate::{Error, Layout, Table};

/// The column by which a span has its time.
const START: &str = "start_time_unix_nano";

/// So many hours before spans of a trace that may have been forgotten others of it are looked for;
/// then so many, where spans lack a parent.
const HOURS_BEFORE: [i64; 2] = [1, 24];

/// Bytes of memory that stored spans of late traces may take at once, when they are read to be
/// walked again by a command: some 700,000 spans.
const READ_BYTES_MAX: u64 = 256 << 20;

/// The two tables, and what they lack.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) facts: Table,
    pub(crate) gaps: Table,
    unsettled: Unsettled,
    /// Traces that have facts, those that were walked lately.
    done: Done,
    options: PassOptions,
    /// The longest that a trace had to settle.
    settle_max: Duration,
    /// What the pass reads of spans that are in their table, and how much of it at once, bytes.
    read: SchemaRef,
    pub(crate) read_bytes_max: u64,
    clock: fn() -> i64,
}

impl Walked {
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        spans: &Table,
        clock: fn() -> i64,
    ) -> Result<Self, Error> {
        let other = Arc::clone(&store);
        let read = Columns::named(timesink_facts::COLUMNS.map(str::to_owned));
        let mut facts = Table::open(store, &facts::stored(), Layout::FACTS, clock).await?;
        let mut gaps = Table::open(other, &gaps::stored(), Layout::GAPS, clock).await?;
        if facts.whole_since().await?.is_none() {
            // Spans that are there already get no facts.
            let next_hour = clock().div_euclid(NANOS_PER_HOUR) + 1;
            let whole_since = if spans.files()?.is_empty() { 0 } else { next_hour };
            facts.mark_whole_since(whole_since, spans.through()).await?;
            gaps.append(&[(spans.through(), &[])]).await?;
        }
        Ok(Self {
            facts,
            gaps,
            unsettled: Unsettled::default(),
            done: Done::default(),
            settle_max: Duration::ZERO,
            options: stored_columns(),
            read: Arc::new(read.schema(&schema::spans::table())),
            read_bytes_max: READ_BYTES_MAX,
            clock,
        })
    }

    /// Returns up to which record of the log both tables have all.
    pub(crate) fn through(&self) -> u64 {
        self.facts.through().min(self.gaps.through())
    }

    /// Takes spans whose traces the tables lack.
    ///
    /// # Errors
    ///
    /// [`Error::Batch`] when they are of another table.
    pub(crate) fn add(
        &mut self,
        record: u64,
        of_record: &[RecordBatch],
        now: Instant,
    ) -> Result<(), Error> {
        if record > self.through() {
            let parts = of_record.iter().map(|batch| fitted(batch, &self.read));
            let parts = parts.collect::<Result<Vec<_>, _>>();
            let parts = parts.map_err(|refused| refused.of_table(schema::spans::table().name))?;
            self.unsettled.add(record, parts, now);
        }
        Ok(())
    }

    /// Notes that nothing is needed of the records up to one that do not wait.
    pub(crate) fn pass(&mut self, record: u64) {
        self.unsettled.add(record, Vec::new(), Instant::now());
    }

    /// Returns the memory that spans hold which wait, about.
    pub(crate) fn unsettled_bytes(&self) -> u64 {
        self.unsettled.bytes()
    }

    /// Returns whether no span waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled.is_empty()
    }

    /// Returns up to which record nothing waits, of all that came.
    pub(crate) fn settled_through(&self) -> u64 {
        self.unsettled.through().max(self.through())
    }

    /// Walks the traces that have settled; all their spans are in the table `spans`. Late ones are
    /// walked a part at a time, if they are too large together. Where a file is damaged that has to
    /// be read for a late one, they are given up: that file stays so.
    ///
    /// # Errors
    ///
    /// As [`Table::append`]: settled again, each trace has its facts once.
    pub(crate) async fn settle(
        &mut self,
        spans: &Table,
        settle: Settle,
        now: Instant,
    ) -> Result<(), Error> {
        if let Settle::After(time) = settle {
            self.settle_max = self.settle_max.max(time);
        }
        let mut due = self.unsettled.due(settle, now);
        if due.is_empty() {
            return Ok(());
        }
        let mut damage = self.know_done().await?;
        let mut late_max = usize::MAX;
        while !due.is_empty() {
            match self.walk(spans, &due, late_max).await {
                Ok(Walk::Done(walked)) => {
                    due.retain(|id| !walked.contains(id));
                    late_max = late_max.saturating_mul(2);
                }
                Ok(Walk::TooMuch { late }) => late_max = (late / 2).max(1),
                Ok(Walk::Damaged { late, cause }) => {
                    self.give_up_on(&late).await?;
                    due.retain(|id| !late.contains(id));
                    damage = damage.or(Some(cause));
                }
                Err(error) => {
                    if error.is_damage() {
                        // One table may have them already: walked again they would be there twice.
                        self.give_up_on(&due).await?;
                    }
                    return Err(error);
                }
            }
        }
        damage.map_or(Ok(()), Err)
    }

    /// Walks traces, with what the tables have of those that are late: so many of these at most,
    /// the others are left. One that is too large by itself is walked without, and so from now on.
    async fn walk(
        &mut self,
        spans: &Table,
        due: &HashSet<u128>,
        late_max: usize,
    ) -> Result<Walk, Error> {
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        let mut all = self.unsettled.spans(due).map_err(refused)?;
        let times = times_of(&all).map_err(refused)?;
        let mut late = self.done.late(&times, self.now_millis(), self.walked_before());
        let left = late.cut(late_max);
        let due: HashSet<u128> = due.iter().copied().filter(|id| !left.contains(id)).collect();
        let through = self.unsettled.through_without(&due).max(self.through());
        if !left.is_empty() {
            all = self.unsettled.spans(&due).map_err(refused)?;
        }
        // Those that came are in the table, too: what comes twice counts once.
        let found = match self.spans_of(spans, &late, &times).await {
            Err(cause) if cause.is_damage() => {
                return Ok(Walk::Damaged { late: late.ids().collect(), cause });
            }
            found => found?,
        };
        let mut found = match found {
            Some(found) => found,
            None if late.count() > 1 => return Ok(Walk::TooMuch { late: late.count() }),
            None => {
                self.done.is_too_large(late.ids());
                late = Late::default();
                Found::default()
            }
        };
        all.append(&mut found.rows);
        let mut times = times_of(&all).map_err(refused)?;
        let walked = timesink_facts::run(all, &self.options).map_err(Error::Walk)?;
        // Also what is walked by itself may have come before.
        times.retain(|id, _| self.done.knows(*id) || found.traces.contains_key(id));
        let mut again = SpanIds::default();
        for facts in &walked.facts {
            again.add(facts, &times);
        }
        // From here on they may have facts, also after an error.
        self.done.add(due.iter().copied(), self.now_millis());
        for (&id, &written) in &found.traces {
            self.done.may_be_written_since(id, written);
        }
        self.facts.replace(&again, &walked.facts, through).await?;
        self.gaps.replace(&again, &[walked.gaps], through).await?;
        self.done.walked_whole(late.known.iter().chain(found.traces.keys()), self.now_millis());
        self.unsettled.forget(&due).map_err(refused)?;
        Ok(Walk::Done(due))
    }

    fn now_millis(&self) -> i64 {
        (self.clock)() / NANOS_PER_MILLI
    }

    /// Lets spans go that wait: their traces get no facts. The tables say that they are not whole.
    ///
    /// # Errors
    ///
    /// As [`Table::append`], and they wait on.
    pub(crate) async fn give_up(&mut self) -> Result<(), Error> {
        self.give_up_on(&self.unsettled.due(Settle::AtOnce, Instant::now())).await
    }

    /// The same of some traces.
    async fn give_up_on(&mut self, traces: &HashSet<u128>) -> Result<(), Error> {
        let through = self.unsettled.through_without(traces).max(self.through());
        self.mark_not_whole(through).await?;
        self.gaps.append(&[(through, &[])]).await?;
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        self.unsettled.forget(traces).map_err(refused)
    }

    /// Notes that until this hour facts are missing, and which records of the log are not needed.
    async fn mark_not_whole(&mut self, through: u64) -> Result<(), Error> {
        let next_hour = (self.clock)().div_euclid(NANOS_PER_HOUR) + 1;
        self.facts.mark_whole_since(next_hour, through).await
    }

    /// Takes over since when another table has all rows; without one none are there yet.
    pub(crate) async fn copy_mark(&mut self, from: Option<&Snapshot>) -> Result<(), Error> {
        let hour = match from {
            Some(from) => from.whole_hour().await?.map(|hour| (hour, from.through())),
            None => None,
        };
        match hour {
            Some((hour, through)) => self.facts.mark_whole_since(hour, through).await,
            None => self.mark_not_whole(0).await,
        }
    }

    /// Notes that facts are missing if the log lacks records whose spans are in their table and
    /// were not walked.
    pub(crate) async fn note_lost(
        &mut self,
        spans: &Table,
        replayed: &Replayed,
    ) -> Result<(), Error> {
        let needed = self.through() + 1..=spans.through();
        let is_cut = replayed.first().is_none_or(|first| first > *needed.start());
        let overlaps = |lost: &RangeInclusive<u64>| {
            lost.start() <= needed.end() && needed.start() <= lost.end()
        };
        let is_missing = is_cut || replayed.lost.iter().any(overlaps);
        if needed.is_empty() || !is_missing {
            return Ok(());
        }
        self.mark_not_whole(0).await
    }

    /// Returns what a table has of traces that are late, of which spans came at some times; `None`
    /// when that is too much.
    async fn spans_of(
        &self,
        spans: &Table,
        late: &Late,
        times: &HashMap<u128, Times>,
    ) -> Result<Option<Found>, Error> {
        let max = self.read_bytes_max;
        let known = Arc::new(late.known.clone());
        let (since, hours) = (self.written_since(late), Late::hours(&known, times, 1));
        // A process that was down for long walks what was written before that.
        let may_have = |file: &LiveFile| file.modified >= since || hours.have(file);
        let Some(mut found) = spans.rows_of(&known, may_have, &self.read, max).await? else {
            return Ok(None);
        };
        // When known ones were written is known.
        found.traces.clear();
        let mut sought = late.sought.clone();
        for before in HOURS_BEFORE {
            let of = Arc::new(std::mem::take(&mut sought));
            let hours = Late::hours(&of, times, before);
            let max = max - found.bytes;
            let may_have = |file: &LiveFile| hours.have(file);
            let Some(other) = spans.rows_of(&of, may_have, &self.read, max).await? else {
                return Ok(None);
            };
            sought = without_a_parent(&other.rows);
            found.add(other);
        }
        Ok(Some(found))
    }

    /// Returns since when files were written that can have rows of traces that are known.
    fn written_since(&self, late: &Late) -> i64 {
        late.walked_since.unwrap_or(i64::MAX).saturating_sub(self.walked_before())
    }

    /// Returns how long before a trace was walked its first spans were written at most, ms.
    fn walked_before(&self) -> i64 {
        LATE_MILLIS_MAX + 2 * self.settle_max.as_millis() as i64
    }

    /// Notes the traces that were walked before this process began. What a damaged file says is
    /// not known, and not to be had: returns that, once.
    async fn know_done(&mut self) -> Result<Option<Error>, Error> {
        if self.done.is_filled {
            return Ok(None);
        }
        let files = self.facts.files()?;
        let since = recent(&files, self.now_millis());
        let mut damage = None;
        // In the order in which they were walked.
        let mut lately: Vec<_> = files.iter().filter(|file| file.modified >= since).collect();
        lately.sort_unstable_by_key(|file| (file.modified, &file.path));
        for file in lately {
            match self.know_done_of(file).await {
                Err(error) if error.is_damage() => damage = Some(error),
                known => known?,
            }
        }
        if damage.is_some() {
            self.mark_not_whole(0).await?;
        }
        let is_all = files.iter().all(|file| file.modified >= since);
        self.done.know_since(if is_all { i64::MIN } else { since });
        self.done.is_filled = true;
        Ok(damage)
    }

    async fn know_done_of(&mut self, file: &LiveFile) -> Result<(), Error> {
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        let known: SchemaRef = Arc::new(known_schema());
        for batch in self.facts.read(file, &known).await? {
            let batch = batch?;
            self.done.add(trace_ids(&batch), file.modified);
            // The first of them may have been walked when they had begun, and all of them now.
            let starts = numbers(&batch, START).map_err(refused)?.values();
            for (id, start) in trace_ids(&batch).into_iter().zip(starts) {
                let day_before = file.modified - 24 * 3_600_000;
                let start = start.div_euclid(NANOS_PER_MILLI).max(day_before);
                self.done.may_be_written_since(id, start);
            }
        }
        Ok(())
    }
}

/// What came of a walk.
enum Walk {
    /// These traces have facts.
    Done(HashSet<u128>),
    /// Nothing: the stored spans of so many late ones are too much at once.
    TooMuch { late: usize },
    /// Nothing: a file is damaged that may have stored spans of these late ones.
    Damaged { late: HashSet<u128>, cause: Error },
}

/// Returns how the trace pass makes what the tables keep, and nothing else.
pub fn stored_columns() -> PassOptions {
    let columns = facts::stored().columns.into_iter().chain(gaps::stored().columns);
    PassOptions {
        columns: Columns::named(columns.map(|column| column.name.to_owned())),
        span_columns: Columns::named(["start_time_unix_nano".to_owned()]),
        ..PassOptions::default()
    }
}

fn known_schema() -> Schema {
    Columns::named(["trace_id", START].map(str::to_owned)).schema(&facts::stored())
}
