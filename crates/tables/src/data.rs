//! A data directory: the tables, and the log behind them. [`Tables`] writes, [`Look`] reads.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use object_store::ObjectStore;
use timesink_model::schema::{self, Columns, facts, findings, gaps, quarantine, spans};
use timesink_store::log::Replayed;
use timesink_store::{Journal, LocalDisk, Logged};

use crate::file::hours_before;
use crate::snapshot;
use crate::table::NANOS_PER_MILLI;
use crate::walked::Walked;
use crate::{
    Compacted, Error, Joining, Layout, LiveFile, Location, Settle, Snapshot, Table, hour_of,
};

/// Findings are kept for thirteen months, ns: to be compared with the same time of the last year.
const FINDINGS_KEPT_NANOS: i64 = 400 * 24 * 3600 * 1_000_000_000;

/// Of the bytes that the tables may take, `quarantine` takes at most one part of so many: a sender
/// whose clock is wrong drives nobody else's spans out.
const QUARANTINE_PARTS: u64 = 10;

/// Facts that are so much older than the oldest spans are of spans that are gone, whatever their
/// hour: a clock that stands still makes spans of one hour for ever.
const WALKED_WITHIN_HOURS: i64 = 24;

/// A writer can bring rows into the tables, and let the log go, between the two looks of a reader:
/// then it looks again.
const LOOKS_MAX: usize = 5;

/// The tables of a data directory, open to be written by whoever holds its
/// [`WriterLock`](timesink_store::WriterLock).
#[derive(Debug)]
pub struct Tables {
    spans: Table,
    quarantine: Table,
    walked: Walked,
    findings: Table,
    /// Returns now, ns since the epoch.
    clock: fn() -> i64,
}

/// The tables of a data directory at one moment, and what the log has that they have not.
#[derive(Debug)]
pub struct Look {
    pub spans: Snapshot,
    pub quarantine: Snapshot,
    /// None where an older version wrote last.
    pub findings: Option<Snapshot>,
    /// Where the trace pass was looked at as well, and the directory has its tables.
    pub walked: Option<LookWalked>,
    pub behind: Logged,
    /// What came of reading the log.
    pub replayed: Replayed,
}

/// The tables of the trace pass at the same moment.
#[derive(Debug)]
pub struct LookWalked {
    pub facts: Snapshot,
    pub gaps: Snapshot,
    /// Spans of the log whose traces may have no facts yet, by record.
    pub unsettled: Vec<(u64, Vec<RecordBatch>)>,
}

/// What a look is to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// What was received.
    Received,
    /// What the trace pass made of it, too.
    Walked,
}

impl Tables {
    /// Opens tables in their place, or makes them. `clock` returns now, ns since the epoch.
    ///
    /// # Errors
    ///
    /// As [`Table::open`].
    pub async fn open(store: Arc<dyn ObjectStore>, clock: fn() -> i64) -> Result<Self, Error> {
        let (spans, quarantine) = (spans::table(), quarantine::table());
        let store = || Arc::clone(&store);
        let spans = Table::open(store(), &spans, Layout::SPANS, clock).await?;
        Ok(Self {
            walked: Walked::open(store(), &spans, clock).await?,
            spans,
            quarantine: Table::open(store(), &quarantine, Layout::QUARANTINE, clock).await?,
            findings: Table::open(store(), &findings::table(), Layout::FINDINGS, clock).await?,
            clock,
        })
    }

    /// Returns the last record of the log of which a table has anything.
    pub fn through(&self) -> u64 {
        self.spans.through().max(self.quarantine.through())
    }

    /// Returns up to which record `spans` and `quarantine` both have all.
    pub fn both_through(&self) -> u64 {
        self.spans.through().min(self.quarantine.through())
    }

    /// Notes that the tables need nothing of the records up to one that do not wait.
    pub fn pass(&mut self, record: u64) {
        self.walked.pass(record);
    }

    /// Returns up to which record the tables need the log no more, of what was appended.
    pub fn settled_through(&self) -> u64 {
        self.walked.settled_through()
    }

    /// Returns the memory that spans hold whose traces have not settled, about.
    pub fn unsettled_bytes(&self) -> u64 {
        self.walked.unsettled_bytes()
    }

    /// Returns whether a part of the log is in the tables, as far as they have to have it.
    pub fn have(&self, part: &Logged) -> bool {
        let has = |table: &Table, batches: &[RecordBatch]| {
            batches.is_empty() || part.record <= table.through()
        };
        has(&self.spans, &part.spans)
            && has(&self.quarantine, &part.quarantine)
            && (part.spans.is_empty() || part.record <= self.walked.through())
    }

    /// Appends parts of the log, in order; what is in the tables already is passed by.
    ///
    /// # Errors
    ///
    /// As [`Table::append`]: one table may have its rows, and the other not.
    pub async fn append(&mut self, parts: &[&Logged]) -> Result<(), Error> {
        let rows = |of: fn(&Logged) -> &[RecordBatch]| {
            let rows = parts.iter().map(|part| (part.record, of(part)));
            rows.filter(|(_, rows)| !rows.is_empty()).collect::<Vec<_>>()
        };
        self.spans.append(&rows(|part| &part.spans)).await?;
        self.quarantine.append(&rows(|part| &part.quarantine)).await?;
        let now = Instant::now();
        for part in parts {
            self.walked.add(part.record, &part.spans, now)?;
        }
        Ok(())
    }

    /// Appends rows of `findings` at a place. Appended again, they are there once.
    ///
    /// # Errors
    ///
    /// As [`Table::append`].
    pub async fn append_findings(&mut self, place: u64, rows: &RecordBatch) -> Result<(), Error> {
        self.findings.append(&[(place, std::slice::from_ref(rows))]).await
    }

    /// Returns the place of the next rows of `findings`: behind all that are there.
    pub fn next_findings(&self) -> u64 {
        self.findings.through() + 1
    }

    /// Lets spans go whose traces have no facts yet: they get none.
    ///
    /// # Errors
    ///
    /// As [`Table::append`], and they wait on.
    pub async fn give_up_facts(&mut self) -> Result<(), Error> {
        self.walked.give_up().await
    }

    /// Brings the facts and gaps of traces that have settled into the tables.
    ///
    /// # Errors
    ///
    /// As [`Table::append`]; what was not settled is with the next call.
    pub async fn settle(&mut self, settle: Settle) -> Result<(), Error> {
        self.walked.settle(&self.spans, settle, Instant::now()).await
    }

    /// Sets how much memory, bytes, stored spans may take at once that are read because others of
    /// their traces came late. What is too much together is walked in parts; a trace that is too
    /// large by itself is walked without its stored spans: those that came have facts of their own.
    pub fn read_at_most(&mut self, bytes: u64) {
        self.walked.read_bytes_max = bytes;
    }

    /// Notes in the tables that they lack nothing of the log: then readers pass by what it still
    /// holds.
    ///
    /// # Errors
    ///
    /// As [`Table::append`].
    pub async fn catch_up(&mut self) -> Result<(), Error> {
        let through = self.through();
        self.spans.append(&[(through, &[])]).await?;
        self.quarantine.append(&[(through, &[])]).await?;
        if self.walked.is_settled() {
            self.walked.facts.append(&[(through, &[])]).await?;
            self.walked.gaps.append(&[(through, &[])]).await?;
        }
        Ok(())
    }

    /// Takes rows out that begin before a time, ns since the epoch, if one is named, findings that
    /// are too old then, and the oldest spans, with what belongs to them, until all tables take
    /// `bytes_max`, about; returns how many files held them. All tables are looked at, also if one
    /// fails: a full disk is to become emptier.
    ///
    /// # Errors
    ///
    /// As [`Table::expire`].
    pub async fn expire(
        &mut self,
        before: Option<i64>,
        bytes_max: Option<u64>,
    ) -> Result<usize, Error> {
        let first = before.map(hour_of);
        let of_quarantine = bytes_max.map(|max| max / QUARANTINE_PARTS);
        let quarantine = self.quarantine.expire(first.as_deref(), of_quarantine).await;
        let of_spans = bytes_max.map(|max| self.bytes_of_spans(max)).transpose()?;
        let spans = self.spans.expire(first.as_deref(), of_spans).await;
        // Facts of spans that are gone are of no use; the others stay as long as their spans.
        let first = first.max(self.spans.oldest_hour()?);
        let long_gone = first.as_deref().and_then(|first| hours_before(first, WALKED_WITHIN_HOURS));
        let hours: HashSet<_> = self.spans.files()?.into_iter().map(|file| file.hour).collect();
        let is_before =
            |file: &LiveFile, first: Option<&str>| first.is_some_and(|first| file.age() < first);
        let are_gone = |file: &LiveFile| match file.hour {
            _ if hours.is_empty() || is_before(file, long_gone.as_deref()) => true,
            // Spans of many hours, and their facts, lie in files of no hour.
            None => is_before(file, first.as_deref()),
            Some(_) => !hours.contains(&file.hour) && !hours.contains(&None),
        };
        let Walked { facts, gaps, .. } = &mut self.walked;
        let facts = facts.expire_of(None, Some(0), are_gone).await;
        let gaps = gaps.expire_of(None, Some(0), are_gone).await;
        let old = hour_of(self.now().saturating_sub(FINDINGS_KEPT_NANOS));
        let findings = self.findings.expire(before.map(|_| &old[..]), None).await;
        let others = quarantine?.len() + facts?.len() + gaps?.len() + findings?.len();
        Ok(spans?.len() + others)
    }

    /// Returns how much spans may take, bytes, for all tables to take at most so much: facts and
    /// gaps go with them.
    fn bytes_of_spans(&self, max: u64) -> Result<u64, Error> {
        let bytes = |table: &Table| {
            let files = table.files()?;
            Ok::<_, Error>(files.iter().map(|file| file.bytes).sum::<u64>())
        };
        let Walked { facts, gaps, .. } = &self.walked;
        let spans = u128::from(bytes(&self.spans)?);
        let with_facts = spans + u128::from(bytes(facts)?) + u128::from(bytes(gaps)?);
        let others = bytes(&self.quarantine)? + bytes(&self.findings)?;
        let room = u128::from(max.saturating_sub(others));
        Ok((room * spans / with_facts.max(1)) as u64)
    }

    /// Removes files that are no part of the tables, and were seen to be none so long ago; returns
    /// how many.
    ///
    /// # Errors
    ///
    /// As [`Table::sweep`].
    pub async fn sweep(&mut self, seen_for: Duration) -> Result<usize, Error> {
        let spans = self.spans.sweep(seen_for).await;
        let mut swept = 0;
        for table in self.others() {
            swept += table.sweep(seen_for).await?;
        }
        Ok(spans? + swept)
    }

    /// Removes files that are no part of the tables at once: nobody may be reading them.
    ///
    /// # Errors
    ///
    /// As [`Table::sweep`].
    pub async fn sweep_now(&mut self) -> Result<usize, Error> {
        self.sweep(Duration::MAX).await?;
        self.sweep(Duration::ZERO).await
    }

    /// Joins some small files, of hours that were over at a time, ns since the epoch, also few and
    /// larger ones. Where nothing is to be joined, none were.
    ///
    /// # Errors
    ///
    /// As [`Table::compact`].
    pub async fn join(&mut self, over: i64, joining: Joining) -> Result<Compacted, Error> {
        let over = hour_of(over);
        let mut all = self.spans.compact(&over, joining).await?;
        for table in self.others() {
            let joined = table.compact(&over, joining).await?;
            all.files_before += joined.files_before;
            all.files_after += joined.files_after;
        }
        Ok(all)
    }

    /// Returns all tables but `spans`.
    fn others(&mut self) -> [&mut Table; 4] {
        let Walked { facts, gaps, .. } = &mut self.walked;
        [&mut self.quarantine, facts, gaps, &mut self.findings]
    }

    /// Takes note of what the log lacks that the tables still need of it.
    ///
    /// # Errors
    ///
    /// As [`Table::append`].
    pub async fn note_lost(&mut self, replayed: &Replayed) -> Result<(), Error> {
        self.walked.note_lost(&self.spans, replayed).await
    }

    /// Takes over all rows of another data directory, the tables' and the log's.
    ///
    /// # Errors
    ///
    /// As [`Table::copy`].
    pub async fn copy(&mut self, from: &Look) -> Result<(), Error> {
        self.spans.copy(&from.spans).await?;
        self.quarantine.copy(&from.quarantine).await?;
        if let Some(findings) = &from.findings {
            self.findings.copy(findings).await?;
        }
        if let Some(LookWalked { facts, gaps, .. }) = &from.walked {
            self.walked.facts.copy(facts).await?;
            self.walked.gaps.copy(gaps).await?;
        }
        self.walked.copy_mark(from.walked.as_ref().map(|walked| &walked.facts)).await?;
        self.take_all(from).await
    }

    /// Brings all that a look saw in the log into the tables: nothing comes any more.
    ///
    /// # Errors
    ///
    /// As [`Table::append`].
    pub async fn take_all(&mut self, look: &Look) -> Result<(), Error> {
        self.note_lost(&look.replayed).await?;
        let Logged { spans, quarantine, record } = &look.behind;
        self.spans.append(&[(*record, spans)]).await?;
        self.quarantine.append(&[(*record, quarantine)]).await?;
        if let Some(LookWalked { unsettled, .. }) = &look.walked {
            let now = Instant::now();
            for (record, spans) in unsettled {
                self.walked.add(*record, spans, now)?;
            }
        }
        self.settle(Settle::AtOnce).await?;
        self.catch_up().await
    }

    /// Returns when the rows were written that there are, ns since the epoch, one time for each
    /// file, in no order.
    ///
    /// # Errors
    ///
    /// As [`Table::files`].
    pub fn written(&self) -> Result<Vec<i64>, Error> {
        let mut written = Vec::new();
        for table in [&self.spans, &self.quarantine, &self.walked.facts, &self.findings] {
            let files = table.files()?;
            written.extend(files.iter().map(|file| file.modified.saturating_mul(NANOS_PER_MILLI)));
        }
        Ok(written)
    }

    /// Returns now, ns since the epoch.
    pub fn now(&self) -> i64 {
        (self.clock)()
    }
}

impl Look {
    /// Looks at a data directory, in which a process may write; what is only in the log may take so
    /// many bytes of memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoTables`] when it is none; [`Error::Log`] and the errors of [`Snapshot::open`]
    /// when it cannot be read, [`Error::Gap`] when log and tables do not belong together.
    pub async fn at(data: &Path, wanted: Wanted, bytes_max: u64) -> Result<Self, Error> {
        let store = Location::of(data)?.ok_or(Error::NoTables)?.store()?;
        for _ in 0..LOOKS_MAX {
            let spans = Snapshot::open(Arc::clone(&store), &spans::table()).await?;
            let quarantine = Snapshot::open(Arc::clone(&store), &quarantine::table()).await?;
            let walked = match wanted {
                Wanted::Received => None,
                Wanted::Walked => walked(&store).await?,
            };
            let findings = if_there(&store, &findings::table()).await?;
            let [of_spans, of_quarantine] = [spans.through(), quarantine.through()];
            let settled = walked.as_ref().map(|(facts, gaps)| facts.through().min(gaps.through()));
            let through = [settled.unwrap_or(of_spans).min(of_spans), of_quarantine];
            let recovered = match Journal::read(&LocalDisk, data, through, bytes_max) {
                Err(timesink_store::Error::Io { cause, .. })
                    if cause.kind() == ErrorKind::NotFound =>
                {
                    continue;
                }
                recovered => recovered?,
            };
            // Nothing that the tables lack was removed from the log before it was read.
            let replayed = recovered.replayed;
            if replayed.first().is_none_or(|first| first <= through[0] + 1) {
                let unsettled = recovered.logged.iter().filter(|part| !part.spans.is_empty());
                let unsettled = unsettled.map(|part| (part.record, part.spans.clone())).collect();
                let walked = walked.map(|(facts, gaps)| LookWalked { facts, gaps, unsettled });
                let is_behind = |part: &Logged| part.spans.is_empty() || part.record > of_spans;
                let behind = Logged::merge(recovered.logged.into_iter().filter(is_behind));
                return Ok(Self { spans, quarantine, findings, walked, behind, replayed });
            }
        }
        Err(Error::Gap)
    }
}

/// Opens the tables of the trace pass, if there are any: an older version made none.
async fn walked(store: &Arc<dyn ObjectStore>) -> Result<Option<(Snapshot, Snapshot)>, Error> {
    let facts = if_there(store, &facts::stored()).await?;
    // They are made one after the other.
    Ok(facts.zip(if_there(store, &gaps::stored()).await?))
}

async fn if_there(
    store: &Arc<dyn ObjectStore>,
    table: &schema::Table,
) -> Result<Option<Snapshot>, Error> {
    if !snapshot::is_there(Arc::clone(store), table.name).await? {
        return Ok(None);
    }
    Snapshot::open(Arc::clone(store), table).await.map(Some)
}

/// Rows of the table `findings`.
#[derive(Debug, Default)]
pub struct StoredFindings {
    pub rows: Vec<RecordBatch>,
    /// Why some are not to be had: a file is damaged.
    pub damage: Option<Error>,
}

/// Returns rows of the table `findings` of a data directory, those of files that were written since
/// a time, ns since the epoch: the youngest files first.
///
/// # Errors
///
/// As [`Snapshot::read`], but for files that are damaged.
pub async fn stored_findings(data: &Path, since: i64) -> Result<StoredFindings, Error> {
    let mut stored = StoredFindings::default();
    let Some(location) = Location::of(data)? else { return Ok(stored) };
    let store = location.store()?;
    let Some(findings) = if_there(&store, &findings::table()).await? else { return Ok(stored) };
    let mut files = findings.files()?;
    files.retain(|file| file.modified >= since / NANOS_PER_MILLI);
    files.sort_unstable_by(|a, b| (b.modified, &b.path).cmp(&(a.modified, &a.path)));
    for file in &files {
        match rows_of(&findings, file).await {
            Ok(rows) => stored.rows.extend(rows),
            Err(error) if error.is_damage() => stored.damage = Some(error),
            Err(error) => return Err(error),
        }
    }
    Ok(stored)
}

async fn rows_of(table: &Snapshot, file: &LiveFile) -> Result<Vec<RecordBatch>, Error> {
    table.read(file, &Columns::All).await?.collect()
}
