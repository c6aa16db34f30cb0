//! [`Walked`]: the tables `facts` and `gaps`, which the trace pass fills.
//!
//! A trace is walked once it has settled: so its facts are those of all its spans. Spans that come
//! later bring its facts about anew, in place of those before. What only all spans of a process tell
//! is not kept ([`PROCESS_WIDE`](facts::PROCESS_WIDE)).
//!
//! Until then its spans stay in the log: the tables say up to which record they need none of it.
//! After a crash traces can come again that have facts: those, too, are put in place of what is
//! there.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use object_store::ObjectStore;
use timesink_facts::PassOptions;
use timesink_model::schema::{Columns, facts, gaps, spans};
use timesink_store::trace_ids;

use crate::snapshot::recent;
use crate::table::NANOS_PER_MILLI;
use crate::unsettled::{Settle, Unsettled};
use crate::{Error, Layout, Table};

/// Traces that are known to have facts, at most twice: some 20 bytes each.
const DONE_MAX: usize = 2_000_000;

/// Spans that come later than this after the others find none of them any more, ms.
const LATE_MILLIS_MAX: i64 = 2 * 3600 * 1000;

/// The two tables, and what they lack.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) facts: Table,
    pub(crate) gaps: Table,
    unsettled: Unsettled,
    /// Traces that have facts, those that were walked lately.
    done: Done,
    options: PassOptions,
    /// What the pass reads of spans that are in their table.
    read: SchemaRef,
    clock: fn() -> i64,
}

#[derive(Debug, Default)]
struct Done {
    young: HashSet<u128>,
    old: HashSet<u128>,
    /// Whether those are in it that the tables had when they were opened.
    is_filled: bool,
}

impl Walked {
    pub(crate) async fn open(
        store: Arc<dyn ObjectStore>,
        clock: fn() -> i64,
    ) -> Result<Self, Error> {
        let other = Arc::clone(&store);
        let columns = facts::stored().columns.into_iter().chain(gaps::stored().columns);
        let columns = Columns::named(columns.map(|column| column.name.to_owned()));
        let start = "start_time_unix_nano".to_owned();
        let read = Columns::named(timesink_facts::COLUMNS.map(str::to_owned));
        Ok(Self {
            facts: Table::open(store, &facts::stored(), Layout::FACTS, clock).await?,
            gaps: Table::open(other, &gaps::stored(), Layout::GAPS, clock).await?,
            unsettled: Unsettled::default(),
            done: Done::default(),
            options: PassOptions {
                columns,
                span_columns: Columns::named([start]),
                ..PassOptions::default()
            },
            read: Arc::new(read.schema(&spans::table())),
            clock,
        })
    }

    /// Returns up to which record of the log both tables have all.
    pub(crate) fn through(&self) -> u64 {
        self.facts.through().min(self.gaps.through())
    }

    /// Takes spans whose traces the tables lack.
    pub(crate) fn add(&mut self, record: u64, spans: &[RecordBatch], now: Instant) {
        if record > self.through() {
            self.unsettled.add(record, spans, now);
        }
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
        self.unsettled.through()
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
        let mut due = self.unsettled.due(settle, now);
        if due.is_empty() {
            return Ok(());
        }
        let done = self.done_before().await?;
        let late: HashSet<u128> = due.iter().filter(|id| done.has(id)).copied().collect();
        let through = self.unsettled.through_without(&due);
        let refused = |cause| Error::Batch { table: facts::stored().name.to_owned(), cause };
        let of_late = self.spans_of(spans, &late).await?;
        due.retain(|id| !late.contains(id));
        let mut all = self.unsettled.spans(&due).map_err(refused)?;
        all.extend(of_late);
        let walked = timesink_facts::run(all, &self.options).map_err(Error::Walk)?;
        due.extend(&late);
        // From here on they may have facts, also after an error.
        self.done.add(&due);
        let since = self.late_since();
        self.facts.replace(&late, since, &walked.facts, through).await?;
        self.gaps.replace(&late, since, &[walked.gaps], through).await?;
        self.unsettled.forget(&due).map_err(refused)
    }

    /// Returns all spans of traces that were walked before.
    async fn spans_of(
        &self,
        spans: &Table,
        traces: &HashSet<u128>,
    ) -> Result<Vec<RecordBatch>, Error> {
        if traces.is_empty() {
            return Ok(Vec::new());
        }
        spans.rows_of(&Arc::new(traces.clone()), self.late_since(), &self.read).await
    }

    fn late_since(&self) -> i64 {
        (self.clock)() / NANOS_PER_MILLI - LATE_MILLIS_MAX
    }

    /// Returns the traces that were walked lately, those before this process among them.
    async fn done_before(&mut self) -> Result<&Done, Error> {
        if !self.done.is_filled {
            let files = self.facts.files()?;
            let since = recent(&files);
            let ids: SchemaRef = Arc::new(id_schema());
            for file in files.iter().rev().filter(|file| file.modified >= since) {
                for batch in self.facts.read(file, &ids).await? {
                    self.done.add(&trace_ids(&batch?).into_iter().collect());
                }
            }
            self.done.is_filled = true;
        }
        Ok(&self.done)
    }
}

fn id_schema() -> Schema {
    Columns::named(["trace_id".to_owned()]).schema(&facts::stored())
}

impl Done {
    fn has(&self, trace: &u128) -> bool {
        self.young.contains(trace) || self.old.contains(trace)
    }

    fn add(&mut self, traces: &HashSet<u128>) {
        self.young.extend(traces);
        if self.young.len() > DONE_MAX {
            self.old = std::mem::take(&mut self.young);
        }
    }
}
