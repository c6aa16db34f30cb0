//! [`Journal`]: batches of spans into the log, and out of it after a crash.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use hashbrown::HashSet;
use timesink_model::schema::{quarantine, spans};

use crate::lock::WriterLock;
use crate::log::{Log, LogOptions, Record, Replayed};
use crate::seen::{Seen, SpanKey};
use crate::{Disk, Error, batch};

/// The folder of the log in the data directory.
const LOG: &str = "log";

/// Rows of a record: what a crash leaves of it is read whole or not at all, and held in memory.
const RECORD_ROWS: usize = 1 << 15;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Spans = 1,
    Quarantine = 2,
}

/// The log of a data directory, open to be written by one process.
#[derive(Debug)]
pub struct Journal {
    log: Log,
    seen: Seen,
    /// Spans that were written since the last sync.
    unsynced: HashSet<SpanKey>,
    #[expect(dead_code, reason = "held for as long as it writes")]
    lock: WriterLock,
}

/// What was written: what had come before is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    pub spans: Vec<RecordBatch>,
    pub quarantine: Vec<RecordBatch>,
    /// The number of the last record.
    pub record: u64,
    /// Spans that had come before.
    pub repeated: u64,
}

/// What the log held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovered {
    pub spans: Vec<RecordBatch>,
    pub quarantine: Vec<RecordBatch>,
    /// Memory that they hold, about.
    pub bytes: u64,
    pub replayed: Replayed,
}

impl Journal {
    /// Opens the log of a data directory, which is made if it is not there, and reads what is
    /// behind the record `after`; without it, all that is there.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process writes there, [`Error::Io`] when the system refuses,
    /// [`Error::Foreign`] and [`Error::Record`] when what is there cannot be read.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: LogOptions,
        after: Option<u64>,
    ) -> Result<(Self, Recovered), Error> {
        disk.create_folder(folder).map_err(|cause| Error::io("create", folder, cause))?;
        let lock = WriterLock::take(folder)?;
        let mut recovered = Recovered::default();
        let visit = |record: Record<'_>| recovered.add(record);
        let (log, replayed) = Log::open(disk, &folder.join(LOG), options, after, visit)?;
        recovered.replayed = replayed;
        let mut journal = Self { log, seen: Seen::default(), unsynced: HashSet::new(), lock };
        // What came twice was written twice, when the answer to the first was lost with a crash.
        recovered.spans = journal.unseen(&recovered.spans)?;
        recovered.quarantine = journal.unseen(&recovered.quarantine)?;
        journal.seen.add(std::mem::take(&mut journal.unsynced));
        Ok((journal, recovered))
    }

    /// Writes batches of `spans` and of `quarantine`, but for spans that were written before.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses: what was written is not to be acknowledged.
    pub fn append(
        &mut self,
        spans: &[RecordBatch],
        quarantine: &[RecordBatch],
    ) -> Result<Appended, Error> {
        let rows =
            |batches: &[RecordBatch]| -> usize { batches.iter().map(RecordBatch::num_rows).sum() };
        let all = rows(spans) + rows(quarantine);
        let appended = self.append_unseen(spans, quarantine);
        let mut appended = appended.inspect_err(|_| self.unsynced.clear())?;
        appended.repeated = (all - rows(&appended.spans) - rows(&appended.quarantine)) as u64;
        Ok(appended)
    }

    fn append_unseen(
        &mut self,
        spans: &[RecordBatch],
        quarantine: &[RecordBatch],
    ) -> Result<Appended, Error> {
        let (spans, quarantine) = (self.unseen(spans)?, self.unseen(quarantine)?);
        let record = self.write(&spans, &quarantine)?;
        Ok(Appended { spans, quarantine, record, repeated: 0 })
    }

    /// Forgets what was written and not synced: it is not acknowledged, and may come again.
    pub fn forget_unsynced(&mut self) {
        self.unsynced.clear();
        self.log.abandon();
    }

    /// Returns the rows that were not written before, without batches that have none.
    fn unseen(&mut self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, Error> {
        let unseen = batches.iter().map(|batch| self.seen.unseen(batch, &mut self.unsynced));
        let unseen = unseen.collect::<Result<Vec<_>, _>>().map_err(Error::Batch)?;
        Ok(unseen.into_iter().filter(|batch| batch.num_rows() > 0).collect())
    }

    fn write(&mut self, spans: &[RecordBatch], quarantine: &[RecordBatch]) -> Result<u64, Error> {
        let spans = spans.iter().map(|batch| (Kind::Spans, batch));
        let quarantine = quarantine.iter().map(|batch| (Kind::Quarantine, batch));
        let mut payloads = Vec::new();
        for (kind, batch) in spans.chain(quarantine) {
            for at in (0..batch.num_rows()).step_by(RECORD_ROWS) {
                let rows = batch.slice(at, RECORD_ROWS.min(batch.num_rows() - at));
                payloads.push((kind as u32, batch::encode(&rows).map_err(Error::Batch)?));
            }
        }
        let records = payloads.iter().map(|(kind, payload)| (*kind, payload.as_slice()));
        self.log.append(&records.collect::<Vec<_>>())
    }

    /// Makes safe what was written, and returns the number of the last record that is.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses: what was not safe before is not to be acknowledged.
    pub fn sync(&mut self) -> Result<u64, Error> {
        let written = std::mem::take(&mut self.unsynced);
        let synced = self.log.sync()?;
        self.seen.add(written);
        Ok(synced)
    }

    /// Forgets which spans were written before the last call: they are known for as long as it
    /// takes to be called twice.
    pub fn age(&mut self) {
        self.seen.age();
    }

    /// Removes what is safe elsewhere, up to a record. Returns how many files went.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub fn remove_through(&mut self, record: u64) -> Result<usize, Error> {
        self.log.remove_through(record)
    }
}

impl Recovered {
    fn add(&mut self, record: Record<'_>) -> Result<(), Error> {
        let sequence = record.sequence;
        let unreadable = |cause| Error::Record { sequence, cause };
        let (table, batches) = match Kind::of(record.kind) {
            Some(Kind::Spans) => (spans::table(), &mut self.spans),
            Some(Kind::Quarantine) => (quarantine::table(), &mut self.quarantine),
            None => {
                let what = format!("it is of kind {}, of a later version", record.kind);
                return Err(unreadable(ArrowError::NotYetImplemented(what)));
            }
        };
        let schema = Arc::new(table.schema());
        let batch = batch::decode(record.payload, &schema).map_err(unreadable)?;
        self.bytes += batch::memory_bytes(&batch);
        batches.push(batch);
        Ok(())
    }
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        [Self::Spans, Self::Quarantine].into_iter().find(|kind| *kind as u32 == number)
    }
}
