//! [`Journal`]: batches of spans into the log, and out of it after a crash.

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use hashbrown::HashSet;
use timesink_model::schema::{Table, quarantine, spans};

use crate::log::{Log, LogOptions, Record, Replayed};
use crate::recovery::{self, Recovery};
use crate::seen::{Seen, SpanKey};
use crate::{Disk, Error, batch};

/// The folder of the log in the data directory.
pub(crate) const LOG: &str = "log";

/// Rows of a record: what a crash leaves of it is read whole or not at all, and held in memory.
const RECORD_ROWS: usize = 1 << 15;

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
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
}

/// What is in the log: what had come before is left out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logged {
    pub spans: Vec<RecordBatch>,
    pub quarantine: Vec<RecordBatch>,
    /// The number of the last record that holds any of it: the same in copies of it.
    pub record: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Appended {
    pub logged: Logged,
    /// Spans that had come before.
    pub repeated: u64,
}

/// What the log holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recovered {
    /// In order, one for each record.
    pub logged: Vec<Logged>,
    /// Memory that they hold, about.
    pub bytes: u64,
    pub replayed: Replayed,
}

impl Journal {
    /// Opens the log of a data directory to be written, by whoever holds its
    /// [`WriterLock`](crate::WriterLock), and looks at what is behind the record `after`; without
    /// it, at all that is there. What came twice was written twice, when the answer to the first
    /// was lost with a crash: it is recovered once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses, [`Error::Foreign`] and [`Error::Record`] when what is
    /// there cannot be read.
    pub fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: LogOptions,
        after: Option<u64>,
    ) -> Result<(Self, Recovery), Error> {
        let mut seen = Seen::default();
        let (log, recovery) = recovery::open(disk, folder, options, after, &mut seen)?;
        Ok((Self { log, seen, unsynced: HashSet::new() }, recovery))
    }

    /// Reads what the log of a data directory has behind records, and writes nothing: the first is
    /// that of `spans`, the second that of `quarantine`. A process may write there.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::open`], and [`Error::Memory`] when it takes more than `bytes_max`.
    pub fn read(
        disk: &dyn Disk,
        folder: &Path,
        after: [u64; 2],
        bytes_max: u64,
    ) -> Result<Recovered, Error> {
        let mut recovered = Recovered::default();
        let [of_spans, of_quarantine] = after;
        // A record and its copy can both be there: the process ended while it was copied.
        let mut taken = HashSet::new();
        let visit = |_, record: Record<'_>| {
            let after = match Kind::of(record.kind) {
                Some(Kind::Quarantine) => of_quarantine,
                _ => of_spans,
            };
            if record.origin > after && taken.insert(record.origin) {
                recovered.add(record)?;
            }
            let is_over = recovered.bytes > bytes_max;
            if is_over { Err(Error::Memory { bytes_max }) } else { Ok(()) }
        };
        let from = of_spans.min(of_quarantine);
        recovered.replayed = Log::read(disk, &folder.join(LOG), from, visit)?;
        Ok(recovered)
    }

    /// Reads all that the log of a data directory holds, and keeps nothing of it.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::open`].
    pub fn check(disk: &dyn Disk, folder: &Path) -> Result<Replayed, Error> {
        let visit = |_, record: Record<'_>| decoded(record).map(drop);
        Log::read(disk, &folder.join(LOG), 0, visit)
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
        let logged = self.append_unseen(spans, quarantine);
        let logged = logged.inspect_err(|_| self.unsynced.clear())?;
        let repeated = (all - rows(&logged.spans) - rows(&logged.quarantine)) as u64;
        Ok(Appended { logged, repeated })
    }

    fn append_unseen(
        &mut self,
        spans: &[RecordBatch],
        quarantine: &[RecordBatch],
    ) -> Result<Logged, Error> {
        let (spans, quarantine) = (self.unseen(spans)?, self.unseen(quarantine)?);
        let record = self.write(&spans, &quarantine)?;
        Ok(Logged { spans, quarantine, record })
    }

    /// Knows as many spans again as so many bytes hold, about.
    pub fn limit_known(&mut self, bytes: u64) {
        self.seen.limit(bytes);
    }

    /// Notes that what was written is answered before it is synced: it is known from now on.
    pub fn answered(&mut self) {
        self.seen.add(std::mem::take(&mut self.unsynced));
        self.log.answered();
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

    /// Gives no record a number that is not behind this one: what the tables have by such a number
    /// is not taken again.
    pub fn go_on_behind(&mut self, record: u64) {
        self.log.go_on_behind(record);
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

impl Logged {
    /// Returns all that is in one.
    pub fn merge(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.spans.extend(part.spans);
            all.quarantine.extend(part.quarantine);
            all.record = all.record.max(part.record);
        }
        all
    }
}

impl Recovered {
    fn add(&mut self, record: Record<'_>) -> Result<(), Error> {
        let logged = decoded(record)?;
        let batches = logged.spans.iter().chain(&logged.quarantine);
        self.bytes += batches.map(batch::memory_bytes).sum::<u64>();
        self.logged.push(logged);
        Ok(())
    }
}

/// Returns what a record holds.
pub(crate) fn decoded(record: Record<'_>) -> Result<Logged, Error> {
    let sequence = record.origin;
    let kind = Kind::of_record(&record)?;
    let schema = Arc::new(kind.table().schema());
    let batch = batch::decode(record.payload, &schema);
    let batch = batch.map_err(|cause| Error::Record { sequence, cause })?;
    let mut logged = Logged { record: sequence, ..Logged::default() };
    match kind {
        Kind::Spans => logged.spans.push(batch),
        Kind::Quarantine => logged.quarantine.push(batch),
    }
    Ok(logged)
}

impl Kind {
    fn of(number: u32) -> Option<Self> {
        [Self::Spans, Self::Quarantine].into_iter().find(|kind| *kind as u32 == number)
    }

    /// Returns what a record holds, unless a later version wrote it.
    pub(crate) fn of_record(record: &Record<'_>) -> Result<Self, Error> {
        Self::of(record.kind).ok_or_else(|| {
            let what = format!("it is of kind {}, of a later version", record.kind);
            Error::Record { sequence: record.origin, cause: ArrowError::NotYetImplemented(what) }
        })
    }

    pub(crate) fn table(self) -> Table {
        match self {
            Self::Spans => spans::table(),
            Self::Quarantine => quarantine::table(),
        }
    }
}
