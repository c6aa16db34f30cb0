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
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use object_store::ObjectStore;
use timesink_facts::PassOptions;
use timesink_model::schema::{self, Columns, facts, gaps};
use timesink_store::trace_ids;

use crate::found::SpanIds;
use crate::merge::fitted;
use crate::snapshot::{Snapshot, recent};
use crate::table::NANOS_PER_MILLI;
use crate::unsettled::{Settle, Unsettled};
use crate::{Error, Layout, Table};

/// Traces that are known to have facts, at most twice: some 40 bytes each.
const DONE_MAX: usize = 1_000_000;

/// The spans of a trace that was walked were written so long before at most, ms, and twice as long
/// as it takes to settle.
const LATE_MILLIS_MAX: i64 = 30 * 60 * 1000;

const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

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

    /// Walks the traces that have settled; all their spans are in the table `spans`.
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
        self.know_done().await?;
        let late = self.done.times_of(&due);
        let through = self.unsettled.through_without(&due).max(self.through());
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        // Of late traces they are in the table, too: what comes twice counts once.
        let mut all = self.unsettled.spans(&due).map_err(refused)?;
        all.extend(self.spans_of(spans, &late).await?);
        let walked = timesink_facts::run(all, &self.options).map_err(Error::Walk)?;
        let traces = late.keys().copied().collect();
        let mut again = SpanIds::default();
        for facts in &walked.facts {
            again.add(facts, &traces);
        }
        // From here on they may have facts, also after an error.
        self.done.add(due.iter().copied(), (self.clock)() / NANOS_PER_MILLI);
        let since = self.written_since(&late);
        self.facts.replace(&again, since, &walked.facts, through).await?;
        self.gaps.replace(&again, since, &[walked.gaps], through).await?;
        self.unsettled.forget(&due).map_err(refused)
    }

    /// Lets spans go that wait: their traces get no facts. The tables say that they are not whole.
    ///
    /// # Errors
    ///
    /// As [`Table::append`], and they wait on.
    pub(crate) async fn give_up(&mut self) -> Result<(), Error> {
        let all = self.unsettled.due(Settle::AtOnce, Instant::now());
        let through = self.unsettled.through_without(&all).max(self.through());
        let next_hour = (self.clock)().div_euclid(NANOS_PER_HOUR) + 1;
        self.facts.mark_whole_since(next_hour, through).await?;
        self.gaps.append(&[(through, &[])]).await?;
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        self.unsettled.forget(&all).map_err(refused)
    }

    /// Takes over since when another table has all rows.
    pub(crate) async fn copy_mark(&mut self, from: &Snapshot) -> Result<(), Error> {
        match from.whole_hour().await? {
            Some(hour) => self.facts.mark_whole_since(hour, from.through()).await,
            None => Ok(()),
        }
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

    /// Notes the traces that were walked before this process began.
    async fn know_done(&mut self) -> Result<(), Error> {
        if self.done.is_filled {
            return Ok(());
        }
        let files = self.facts.files()?;
        let since = recent(&files);
        let ids: SchemaRef = Arc::new(id_schema());
        for file in files.iter().filter(|file| file.modified >= since) {
            for batch in self.facts.read(file, &ids).await? {
                self.done.add(trace_ids(&batch?), file.modified);
            }
        }
        self.done.is_filled = true;
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
    /// Returns those of some traces that were walked, and when first, ms since the epoch.
    fn times_of(&self, traces: &HashSet<u128>) -> HashMap<u128, i64> {
        let time = |id: &u128| self.young.get(id).or_else(|| self.old.get(id)).copied();
        traces.iter().filter_map(|id| Some((*id, time(id)?))).collect()
    }

    fn add(&mut self, traces: impl IntoIterator<Item = u128>, time: i64) {
        for id in traces {
            let first = self.old.get(&id).copied().unwrap_or(time);
            self.young.entry(id).or_insert(first);
        }
        if self.young.len() > DONE_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}
