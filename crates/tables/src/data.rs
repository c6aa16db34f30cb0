//! A data directory: the tables, and the log behind them. [`Tables`] writes, [`Look`] reads.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use timesink_model::schema::{quarantine, spans};
use timesink_store::log::Replayed;
use timesink_store::{Journal, LocalDisk, Logged};

use crate::{Compacted, DiskStore, Error, Layout, Snapshot, Table, hour_of};

/// The folder of the tables in a data directory.
pub const TABLES: &str = "tables";

/// A writer can bring rows into the tables, and let the log go, between the two looks of a reader:
/// then it looks again.
const LOOKS_MAX: usize = 5;

/// The tables of a data directory, open to be written by whoever holds its
/// [`WriterLock`](timesink_store::WriterLock).
#[derive(Debug)]
pub struct Tables {
    spans: Table,
    quarantine: Table,
    /// Returns now, ns since the epoch.
    clock: fn() -> i64,
}

/// The tables of a data directory at one moment, and what the log has that they have not.
#[derive(Debug)]
pub struct Look {
    pub spans: Snapshot,
    pub quarantine: Snapshot,
    pub behind: Logged,
    /// What came of reading the log.
    pub replayed: Replayed,
}

impl Tables {
    /// Opens the tables of a data directory, or makes them. `clock` returns now, ns since the
    /// epoch.
    ///
    /// # Errors
    ///
    /// As [`Table::open`].
    pub async fn open(data: &Path, clock: fn() -> i64) -> Result<Self, Error> {
        let store = Arc::new(DiskStore::new(Arc::new(LocalDisk), data.join(TABLES)));
        let (spans, quarantine) = (spans::table(), quarantine::table());
        let other: Arc<DiskStore> = Arc::clone(&store);
        Ok(Self {
            spans: Table::open(store, &spans, Layout::SPANS, clock).await?,
            quarantine: Table::open(other, &quarantine, Layout::QUARANTINE, clock).await?,
            clock,
        })
    }

    /// Returns the last record of the log of which a table has anything.
    pub fn through(&self) -> u64 {
        self.spans.through().max(self.quarantine.through())
    }

    /// Returns whether a part of the log is in the tables, as far as they have to have it.
    pub fn have(&self, part: &Logged) -> bool {
        let has = |table: &Table, batches: &[RecordBatch]| {
            batches.is_empty() || part.record <= table.through()
        };
        has(&self.spans, &part.spans) && has(&self.quarantine, &part.quarantine)
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
        self.quarantine.append(&rows(|part| &part.quarantine)).await
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
        self.quarantine.append(&[(through, &[])]).await
    }

    /// Takes rows out that begin before a time, ns since the epoch, and the oldest spans beyond
    /// `bytes_max`; returns how many files held them. Both tables are looked at, also if the first
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
        let spans = self.spans.expire(first.as_deref(), bytes_max).await;
        let quarantine = self.quarantine.expire(first.as_deref(), None).await;
        Ok(spans?.len() + quarantine?.len())
    }

    /// Removes files that are no part of the tables, and were seen to be none by then, ns since the
    /// epoch; returns how many.
    ///
    /// # Errors
    ///
    /// As [`Table::sweep`].
    pub async fn sweep(&mut self, seen_before: i64) -> Result<usize, Error> {
        let spans = self.spans.sweep(seen_before).await;
        let quarantine = self.quarantine.sweep(seen_before).await;
        Ok(spans? + quarantine?)
    }

    /// Removes files that are no part of the tables at once: nobody may be reading them.
    ///
    /// # Errors
    ///
    /// As [`Table::sweep`].
    pub async fn sweep_now(&mut self) -> Result<usize, Error> {
        self.sweep(i64::MIN).await?;
        self.sweep(i64::MAX).await
    }

    /// Joins some small files, of hours that were over at a time, ns since the epoch, also few;
    /// where nothing is to be joined, none were.
    ///
    /// # Errors
    ///
    /// As [`Table::compact`].
    pub async fn join(&mut self, over: i64) -> Result<Compacted, Error> {
        let over = hour_of(over);
        let spans = self.spans.compact(&over).await?;
        let quarantine = self.quarantine.compact(&over).await?;
        Ok(Compacted {
            files_before: spans.files_before + quarantine.files_before,
            files_after: spans.files_after + quarantine.files_after,
        })
    }

    /// Takes over all rows of another data directory, the tables' and the log's.
    ///
    /// # Errors
    ///
    /// As [`Table::copy`].
    pub async fn copy(&mut self, from: &Look) -> Result<(), Error> {
        self.spans.copy(&from.spans).await?;
        self.quarantine.copy(&from.quarantine).await?;
        self.append(&[&from.behind]).await
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
    pub async fn at(data: &Path, bytes_max: u64) -> Result<Self, Error> {
        if !data.join(TABLES).is_dir() {
            return Err(Error::NoTables);
        }
        for _ in 0..LOOKS_MAX {
            let store = Arc::new(DiskStore::new(Arc::new(LocalDisk), data.join(TABLES)));
            let spans = Snapshot::open(Arc::clone(&store) as _, &spans::table()).await?;
            let quarantine = Snapshot::open(store, &quarantine::table()).await?;
            let through = [spans.through(), quarantine.through()];
            let recovered = match Journal::read(&LocalDisk, data, through, bytes_max) {
                Err(timesink_store::Error::Io { cause, .. })
                    if cause.kind() == ErrorKind::NotFound =>
                {
                    continue;
                }
                recovered => recovered?,
            };
            // Nothing that the tables lack was removed from the log before it was read.
            if recovered.replayed.first().is_none_or(|first| first <= through[0] + 1) {
                let (behind, replayed) = (Logged::merge(recovered.logged), recovered.replayed);
                return Ok(Self { spans, quarantine, behind, replayed });
            }
        }
        Err(Error::Gap)
    }
}
