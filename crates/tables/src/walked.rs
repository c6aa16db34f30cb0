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

use crate::file::NANOS_PER_HOUR;
use crate::found::SpanIds;
use crate::merge::fitted;
use crate::snapshot::{LiveFile, Snapshot, recent};
use crate::table::NANOS_PER_MILLI;
use crate::unsettled::{Settle, Unsettled};
use crate::{Error, Layout, Table};

/// Traces that are known to have facts, at most twice: some 40 bytes each.
const DONE_MAX: usize = 1_000_000;

/// The spans of a trace that was walked were written so long before at most, ms, and twice as long
/// as it takes to settle.
const LATE_MILLIS_MAX: i64 = 30 * 60 * 1000;

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
    /// What the pass reads of spans that are in their table.
    read: SchemaRef,
    clock: fn() -> i64,
}

#[derive(Debug, Default)]
struct Done {
    /// Each with the time when it was walked first, ms since the epoch: its spans are in files that
    /// were written some time before, or later.
    young: HashMap<u128, i64>,
    old: HashMap<u128, i64>,
    /// Whether those are in it that the tables had when they were opened.
    is_filled: bool,
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

    /// Walks the traces that have settled; all their spans are in the table `spans`. Where a file
    /// is damaged that has to be read for a late one, they are given up: that file stays so.
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
        let due = self.unsettled.due(settle, now);
        if due.is_empty() {
            return Ok(());
        }
        let damage = self.know_done().await?;
        let late = self.done.times_of(&due, self.now_millis() - LATE_MILLIS_MAX);
        let walked = self.walk(spans, &due, &late).await;
        if walked.as_ref().is_err_and(Error::is_damage) {
            // One table may have them already: walked again they would be there twice.
            self.give_up_on(&due).await?;
        }
        walked.and(damage.map_or(Ok(()), Err))
    }

    /// Walks traces, of which some are late.
    async fn walk(
        &mut self,
        spans: &Table,
        due: &HashSet<u128>,
        late: &HashMap<u128, i64>,
    ) -> Result<(), Error> {
        let through = self.unsettled.through_without(due).max(self.through());
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        // Of late traces they are in the table, too: what comes twice counts once.
        let mut all = self.unsettled.spans(due).map_err(refused)?;
        all.extend(self.spans_of(spans, late).await?);
        let walked = timesink_facts::run(all, &self.options).map_err(Error::Walk)?;
        let traces = late.keys().copied().collect();
        let mut again = SpanIds::default();
        for facts in &walked.facts {
            again.add(facts, &traces);
        }
        // From here on they may have facts, also after an error.
        self.done.add(due.iter().copied(), self.now_millis());
        let since = self.written_since(late);
        self.facts.replace(&again, since, &walked.facts, through).await?;
        self.gaps.replace(&again, since, &[walked.gaps], through).await?;
        self.unsettled.forget(due).map_err(refused)
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

    /// Returns all spans of traces that were walked before.
    async fn spans_of(
        &self,
        spans: &Table,
        late: &HashMap<u128, i64>,
    ) -> Result<Vec<RecordBatch>, Error> {
        if late.is_empty() {
            return Ok(Vec::new());
        }
        let traces = Arc::new(late.keys().copied().collect());
        spans.rows_of(&traces, self.written_since(late), &self.read).await
    }

    /// Returns since when files were written that can have rows of traces, by when these were
    /// walked first: their first spans came some time before.
    fn written_since(&self, late: &HashMap<u128, i64>) -> i64 {
        let before = LATE_MILLIS_MAX + 2 * self.settle_max.as_millis() as i64;
        late.values().min().copied().unwrap_or(i64::MAX).saturating_sub(before)
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
        for file in files.iter().filter(|file| file.modified >= since) {
            match self.know_done_of(file).await {
                Err(error) if error.is_damage() => damage = Some(error),
                known => known?,
            }
        }
        if damage.is_some() {
            self.mark_not_whole(0).await?;
        }
        self.done.is_filled = true;
        Ok(damage)
    }

    async fn know_done_of(&mut self, file: &LiveFile) -> Result<(), Error> {
        let ids: SchemaRef = Arc::new(id_schema());
        for batch in self.facts.read(file, &ids).await? {
            self.done.add(trace_ids(&batch?), file.modified);
        }
        Ok(())
    }
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

fn id_schema() -> Schema {
    Columns::named(["trace_id".to_owned()]).schema(&facts::stored())
}

impl Done {
    /// Returns those of some traces that were walked, and when first, ms since the epoch. One that
    /// was so before a time goes on for ever: what comes of it is walked by itself.
    fn times_of(&self, traces: &HashSet<u128>, since: i64) -> HashMap<u128, i64> {
        let time = |id: &u128| self.young.get(id).or_else(|| self.old.get(id)).copied();
        let times = traces.iter().filter_map(|id| Some((*id, time(id)?)));
        times.filter(|(_, first)| *first >= since).collect()
    }

    /// Where a clock was set back, the earlier time counts: files are not passed by.
    fn add(&mut self, traces: impl IntoIterator<Item = u128>, time: i64) {
        for id in traces {
            let first = self.old.get(&id).map_or(time, |old| time.min(*old));
            let known = self.young.entry(id).or_insert(first);
            *known = first.min(*known);
        }
        if self.young.len() > DONE_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}
