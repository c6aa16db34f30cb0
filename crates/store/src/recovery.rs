//! [`Recovery`]: what the log held when it was opened, read again as it is asked for.
//!
//! Opening the log reads of each span what tells it from others, on all cores, and nothing else:
//! so a writer is ready soon, however much there is, and holds one record at a time.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;

use crate::journal::{Kind, LOG, decoded};
use crate::log::{Log, LogOptions, Place, Replayed, Segments};
use crate::seen::{Hashers, KEY_COLUMNS, Seen, SpanKey};
use crate::{Disk, Error, Logged, batch};

/// Records that wait for each thread.
const WAITING_MAX: usize = 2;

/// What the log held, in order.
#[derive(Debug)]
pub struct Recovery {
    disk: Arc<dyn Disk>,
    segments: Segments,
    records: VecDeque<Held>,
    bytes: u64,
    /// What came of reading the log.
    pub replayed: Replayed,
}

/// A record that is read again.
#[derive(Debug)]
struct Held {
    place: Place,
    bytes: u64,
    /// The rows that had not come before, unless that is all.
    new: Option<BooleanArray>,
}

impl Recovery {
    /// Returns the bytes in the log of what is still to come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the next record, without rows that had come before; `None` behind the last.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::open`](crate::Journal::open); it can be tried again.
    pub fn next_logged(&mut self) -> Result<Option<Logged>, Error> {
        let Some(held) = self.records.front() else { return Ok(None) };
        let record = self.segments.record(&*self.disk, held.place)?;
        let mut logged = decoded(record)?;
        if let Some(new) = &held.new {
            for batch in logged.spans.iter_mut().chain(&mut logged.quarantine) {
                *batch = filter_record_batch(batch, new).map_err(Error::Batch)?;
            }
        }
        self.bytes -= held.bytes;
        self.records.pop_front();
        Ok(Some(logged))
    }
}

/// Opens a log, and notes the spans that it has as seen.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    folder: &Path,
    options: LogOptions,
    after: Option<u64>,
    seen: &mut Seen,
) -> Result<(Log, Recovery), Error> {
    let folder = folder.join(LOG);
    let mut held = VecDeque::new();
    let mut bytes = 0;
    let (opened, keys) = with_readers(&seen.hashers(), |jobs| {
        Log::open(Arc::clone(&disk), &folder, options, after, |place, record| {
            let kind = Kind::of_record(&record)?;
            let job = Job { number: held.len(), kind, payload: record.payload.to_vec() };
            held.push_back((place, record.origin, record.payload.len() as u64));
            bytes += record.payload.len() as u64;
            // The readers end after this.
            jobs.send(job).expect("readers wait for jobs until there is nobody to send any");
            Ok::<_, Error>(())
        })
    });
    let (log, replayed) = opened?;
    let mut records = VecDeque::with_capacity(held.len());
    for ((place, sequence, bytes), keys) in held.into_iter().zip(keys) {
        let keys = keys.map_err(|cause| Error::Record { sequence, cause })?;
        let is_new = seen.mark(&keys);
        let are_all = is_new.iter().all(|is_new| *is_new);
        let new = (!are_all).then(|| BooleanArray::from(is_new));
        records.push_back(Held { place, bytes, new });
    }
    let segments = Segments::new(folder);
    Ok((log, Recovery { disk, segments, records, bytes, replayed }))
}

/// A record of which the keys are wanted.
struct Job {
    number: usize,
    kind: Kind,
    payload: Vec<u8>,
}

type Keys = Result<Vec<SpanKey>, ArrowError>;

/// Runs `give` beside threads that read the keys of the records that it sends; returns what it
/// returned, and the keys in order.
fn with_readers<R>(hashers: &Hashers, give: impl FnOnce(&SyncSender<Job>) -> R) -> (R, Vec<Keys>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, jobs) = sync_channel(threads * WAITING_MAX);
    let jobs = Mutex::new(jobs);
    let mut keys: Vec<(usize, Keys)> = Vec::new();
    let given = std::thread::scope(|scope| {
        let reader = || read_keys(&jobs, hashers);
        let readers: Vec<_> = (0..threads).map(|_| scope.spawn(reader)).collect();
        let given = give(&sender);
        drop(sender);
        for reader in readers {
            keys.extend(reader.join().expect("no reader panics"));
        }
        given
    });
    keys.sort_unstable_by_key(|(number, _)| *number);
    (given, keys.into_iter().map(|(_, keys)| keys).collect())
}

fn read_keys(jobs: &Mutex<Receiver<Job>>, hashers: &Hashers) -> Vec<(usize, Keys)> {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    let mut keys = Vec::new();
    while let Some(Job { number, kind, payload }) = next() {
        let batch = batch::decode_part(&payload, &key_schema(kind));
        keys.push((number, batch.map(|batch| hashers.keys(&batch).collect())));
    }
    keys
}

/// Returns the columns of a table that tell a span.
fn key_schema(kind: Kind) -> SchemaRef {
    let schema = kind.table().schema();
    let is_key = |field: &&arrow::datatypes::FieldRef| KEY_COLUMNS.contains(&field.name().as_str());
    Arc::new(Schema::new(schema.fields().iter().filter(is_key).cloned().collect::<Vec<_>>()))
}
