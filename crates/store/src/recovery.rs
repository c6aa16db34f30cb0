//! [`Recovery`]: what the log held when it was opened, read again as it is asked for.
//!
//! Opening the log reads of each span what tells it from others, on all cores, and nothing else:
//! so a writer is ready soon, however much there is, and holds one record at a time.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
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
            logged.spans.retain(|batch| batch.num_rows() > 0);
            logged.quarantine.retain(|batch| batch.num_rows() > 0);
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
    let hashers = seen.hashers();
    let mut marked = Marked { seen, records: VecDeque::new(), bytes: 0, early: BTreeMap::new() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (sender, jobs) = sync_channel(threads * WAITING_MAX);
    let (done, keys) = channel();
    let jobs = Mutex::new(jobs);
    let opened = std::thread::scope(|scope| {
        for done in std::iter::repeat_n(done, threads) {
            scope.spawn({
                let (jobs, hashers) = (&jobs, &hashers);
                move || read_keys(jobs, hashers, &done)
            });
        }
        // They end when there is nobody to send a job any more.
        let sender = sender;
        let mut sent = 0;
        let opened = Log::open(Arc::clone(&disk), &folder, options, after, |place, record| {
            let (kind, sequence) = (Kind::of_record(&record)?, record.origin);
            let job = Job { number: sent, place, sequence, kind };
            let sending = sender.send((job, record.payload.to_vec()));
            sending.expect("readers take jobs until there is nobody to send any");
            sent += 1;
            keys.try_iter().try_for_each(|keys| marked.take(keys))
        });
        drop(sender);
        let opened = opened?;
        keys.iter().try_for_each(|keys| marked.take(keys))?;
        Ok::<_, Error>(opened)
    });
    let (log, replayed) = opened?;
    let Marked { records, bytes, .. } = marked;
    let segments = Segments::new(folder);
    Ok((log, Recovery { disk, segments, records, bytes, replayed }))
}

/// A record of which the keys are wanted.
struct Job {
    number: usize,
    place: Place,
    sequence: u64,
    kind: Kind,
}

/// The keys of a record, and the bytes of its payload.
type Keys = (Job, u64, Result<Vec<SpanKey>, ArrowError>);

/// Records in order, as far as their keys are known.
struct Marked<'s> {
    seen: &'s mut Seen,
    records: VecDeque<Held>,
    bytes: u64,
    /// Those that are known before one that was sent first: as many as there are readers, about.
    early: BTreeMap<usize, Keys>,
}

impl Marked<'_> {
    fn take(&mut self, keys: Keys) -> Result<(), Error> {
        self.early.insert(keys.0.number, keys);
        while let Some((job, bytes, keys)) = self.early.remove(&self.records.len()) {
            let keys = keys.map_err(|cause| Error::Record { sequence: job.sequence, cause })?;
            let is_new = self.seen.mark(&keys);
            let are_all = is_new.iter().all(|is_new| *is_new);
            let new = (!are_all).then(|| BooleanArray::from(is_new));
            self.records.push_back(Held { place: job.place, bytes, new });
            self.bytes += bytes;
        }
        Ok(())
    }
}

fn read_keys(jobs: &Mutex<Receiver<(Job, Vec<u8>)>>, hashers: &Hashers, done: &Sender<Keys>) {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
    while let Some((job, payload)) = next() {
        let table = job.kind.table().schema();
        let batch = batch::decode_part(&payload, &key_schema(&table), &table);
        let keys = batch.map(|batch| hashers.keys(&batch).collect());
        // Whoever asked gave up, for an error of another record.
        if done.send((job, payload.len() as u64, keys)).is_err() {
            break;
        }
    }
}

/// Returns the columns of a table that tell a span.
fn key_schema(schema: &Schema) -> SchemaRef {
    let is_key = |field: &&arrow::datatypes::FieldRef| KEY_COLUMNS.contains(&field.name().as_str());
    Arc::new(Schema::new(schema.fields().iter().filter(is_key).cloned().collect::<Vec<_>>()))
}
