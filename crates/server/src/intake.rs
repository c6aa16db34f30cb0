//! [`Intake`]: from messages to batches of spans, within a budget of memory.
//!
//! Where there is a log, what was decoded is gathered, made safe by [`crate::durable`], and only
//! then harvested: nobody sees a span that a crash could take back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use crate::Error;
use timesink_otlp::{Decoded, Decoder, DecoderOptions, MessageError, Redaction, Rejected};
use timesink_store::Logged;
use tokio::sync::oneshot;

/// How the message of a request is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

/// What came of one message.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) accepted: u64,
    pub(crate) rejected: Rejected,
    pub(crate) error: Option<MessageError>,
    /// Says when its spans are safe, or why they are not, where there is a log.
    pub(crate) safe: Option<oneshot::Receiver<Safe>>,
}

/// Whether spans are in the log, and the log on the disk; otherwise why not.
pub(crate) type Safe = Result<(), String>;

/// Takes messages on any number of threads; what they brought waits to be harvested.
///
/// Many small messages share a decoder, so that their spans come out in batches worth having.
#[derive(Debug)]
pub(crate) struct Intake {
    slots: Box<[Mutex<Slot>]>,
    /// Where the next message looks first for a decoder that is free.
    next: AtomicUsize,
    message_bytes_max: usize,
    clock: fn() -> i64,
    redaction: Option<Arc<Redaction>>,
    memory_bytes_max: u64,
    /// What the decoders hold.
    pending_bytes: AtomicU64,
    /// What was harvested and is still held, as its holder says.
    kept_bytes: AtomicU64,
    /// Messages that there was no room for.
    turned_away: AtomicU64,
    /// What was refused since the last harvest.
    rejected: Mutex<Rejected>,
    /// Where there is a log.
    log: Option<OfLog>,
}

/// What waits for the log, and what came out of it.
#[derive(Debug, Default)]
struct OfLog {
    arrived: Mutex<Vec<Harvest>>,
    /// Whether what the log held when it was opened is still to come.
    is_recovering: AtomicBool,
    /// Up to this record the window needs it no more.
    released: AtomicU64,
    /// Up to this record it is in the tables.
    flushed: AtomicU64,
    /// What is held to be brought into the tables.
    flushing_bytes: AtomicU64,
    /// What is held until its traces have settled.
    unsettled_bytes: AtomicU64,
    state: Mutex<LogState>,
    /// Wakes whoever writes the log.
    wake: Condvar,
}

#[derive(Debug, Default)]
struct LogState {
    has_messages: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Slot {
    decoder: Decoder,
    /// What of `pending_bytes` is of this decoder.
    bytes: u64,
    /// Those whose spans are to be made safe.
    waiting: Vec<oneshot::Sender<Safe>>,
}

/// What was decoded since the last group was gathered.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) decoded: Decoded,
    /// What it holds, about.
    pub(crate) bytes: u64,
    /// What is held for spans that are lost, because of a fault of ours.
    lost_bytes: u64,
    broken: usize,
    waiting: Vec<oneshot::Sender<Safe>>,
}

/// Everything that came since the last harvest.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) decoded: Decoded,
    /// What it holds, about.
    pub(crate) bytes: u64,
    /// Decoders whose spans are lost, because of a fault of ours.
    pub(crate) broken: usize,
    /// The last record of the log that holds any of it; 0 without a log.
    pub(crate) record: u64,
}

impl OfLog {
    fn held_bytes(&self) -> u64 {
        let flushing = self.flushing_bytes.load(Ordering::Relaxed);
        flushing.saturating_add(self.unsettled_bytes.load(Ordering::Relaxed))
    }
}

impl Group {
    /// Returns whether nothing was decoded.
    pub(crate) fn is_empty(&self) -> bool {
        self.decoded.spans.is_empty() && self.decoded.quarantine.is_empty() && self.broken == 0
    }
}

impl Harvest {
    /// Returns an error when something that came is not in it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_whole(self.broken)
    }
}

/// Returns an error when a fault of ours cost spans, so often.
pub(crate) fn check_whole(faults: usize) -> Result<(), Error> {
    match faults {
        0 => Ok(()),
        faults => Err(Error::Internal(format!("{faults} faults as spans came: some are lost"))),
    }
}

impl Intake {
    pub(crate) fn new(
        threads: usize,
        message_bytes_max: usize,
        memory_bytes_max: u64,
        clock: fn() -> i64,
        redaction: Option<Arc<Redaction>>,
        has_log: bool,
    ) -> Self {
        let new = || Mutex::new(Slot::new(message_bytes_max, clock, redaction.clone()));
        let slots = std::iter::repeat_with(new).take(threads.max(1)).collect();
        Self {
            slots,
            next: AtomicUsize::new(0),
            message_bytes_max,
            clock,
            redaction,
            memory_bytes_max,
            pending_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            rejected: Mutex::default(),
            log: has_log.then(OfLog::default),
        }
    }

    /// Returns whether there is room for a message, and counts one for which there is none.
    pub(crate) fn has_room(&self) -> bool {
        let has_room = self.memory_bytes() < self.memory_bytes_max;
        if !has_room {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Returns how many messages there was no room for.
    pub(crate) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Returns the bytes that the spans taken hold, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let of_log = self.waiting_bytes();
        let pending = self.pending_bytes.load(Ordering::Relaxed);
        // What the window keeps and the tables wait for counts twice: it may leave the one first.
        pending.saturating_add(self.kept_bytes.load(Ordering::Relaxed)).saturating_add(of_log)
    }

    /// Returns whether what comes is kept in a log.
    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Returns the bytes that are held for the tables, about.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.log.as_ref().map_or(0, OfLog::held_bytes)
    }

    pub(crate) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// Returns whether something came since the last harvest, or is known to come.
    pub(crate) fn has_pending(&self) -> bool {
        let is_recovering = |log: &OfLog| log.is_recovering.load(Ordering::Relaxed);
        self.pending_bytes.load(Ordering::Relaxed) > 0
            || self.log.as_ref().is_some_and(is_recovering)
    }

    /// Notes how many bytes of what was harvested are still held.
    pub(crate) fn keep(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes one message. It computes: never on an async thread.
    pub(crate) fn take(&self, encoding: Encoding, message: &[u8]) -> Taken {
        let mut slot = self.free_slot();
        let Slot { decoder, bytes: counted, waiting } = &mut *slot;
        let (spans, bytes) = (decoder.spans_accepted(), decoder.memory_bytes());
        let result = match encoding {
            Encoding::Protobuf => decoder.protobuf(message),
            Encoding::Json => decoder.json(message),
        };
        let grown = decoder.memory_bytes().saturating_sub(bytes);
        *counted += grown;
        self.pending_bytes.fetch_add(grown, Ordering::Relaxed);
        let (accepted, rejected) = (decoder.spans_accepted() - spans, decoder.take_rejected());
        let safe = self.log.as_ref().filter(|_| accepted > 0).map(|_| {
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            receiver
        });
        drop(slot);
        // Also for what was refused, and is held until the next group.
        if let (Some(log), true) = (&self.log, grown > 0 || safe.is_some()) {
            locked(&log.state).has_messages = true;
            log.wake.notify_one();
        }
        if !rejected.is_empty() {
            locked(&self.rejected).merge(rejected.clone());
        }
        Taken { accepted, rejected, error: result.err(), safe }
    }

    /// Waits until something was decoded, or for a while; returns false once the intake is closed.
    pub(crate) fn wait_for_messages(&self, time_max: Duration) -> bool {
        let Some(log) = &self.log else { return false };
        let state = locked(&log.state);
        let is_idle = |state: &mut LogState| !state.has_messages && !state.is_closed;
        let waited = log.wake.wait_timeout_while(state, time_max, is_idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.has_messages = false;
        !state.is_closed
    }

    /// Ends the waiting for messages.
    pub(crate) fn close(&self) {
        if let Some(log) = &self.log {
            locked(&log.state).is_closed = true;
            log.wake.notify_all();
        }
    }

    /// Returns what was decoded since the last time. It still counts as pending.
    pub(crate) fn gather(&self) -> Group {
        let mut parts = Vec::new();
        let (mut bytes, mut lost_bytes, mut broken) = (0, 0, 0);
        let mut waiting = Vec::new();
        for slot in &self.slots {
            let fresh = Slot::new(self.message_bytes_max, self.clock, self.redaction.clone());
            let slot = std::mem::replace(&mut *locked(slot), fresh);
            // A panic costs the spans of this decoder, not those of the others.
            if let Ok(part) = catch_unwind(AssertUnwindSafe(|| slot.decoder.finish())) {
                parts.push(part);
                bytes += slot.bytes;
                waiting.extend(slot.waiting);
            } else {
                // Who waits is told by the end of its channel.
                broken += 1;
                lost_bytes += slot.bytes;
            }
        }
        Group { decoded: Decoded::merge(parts), bytes, lost_bytes, broken, waiting }
    }

    /// Takes a group that is safe as far as a record of the log, and says so to those who wait.
    pub(crate) fn arrive(&self, group: Group, record: u64) {
        let Group { decoded, bytes, lost_bytes, broken, waiting } = group;
        self.pending_bytes.fetch_sub(lost_bytes, Ordering::Relaxed);
        if let Some(log) = &self.log {
            locked(&log.arrived).push(Harvest { decoded, bytes, broken, record });
        }
        for waiting in waiting {
            // Who has gone is told nothing.
            let _ = waiting.send(Ok(()));
        }
    }

    /// Says that what the log held is still to come.
    pub(crate) fn recovering(&self) {
        if let Some(log) = &self.log {
            log.is_recovering.store(true, Ordering::Relaxed);
        }
    }

    /// Takes a part of what the log held when it was opened.
    pub(crate) fn arrive_again(&self, part: Logged, bytes: u64) {
        let Logged { spans, quarantine, record } = part;
        let decoded = Decoded { spans, quarantine, ..Decoded::default() };
        self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(log) = &self.log {
            locked(&log.arrived).push(Harvest { decoded, bytes, broken: 0, record });
        }
    }

    /// Says that all that the log held has come, up to a record.
    pub(crate) fn recovered(&self, record: u64) {
        if let Some(log) = &self.log {
            locked(&log.arrived).push(Harvest { record, ..Harvest::default() });
            log.is_recovering.store(false, Ordering::Relaxed);
        }
    }

    /// Notes that so many bytes wait to be brought into the tables.
    pub(crate) fn flushing(&self, bytes: u64) {
        if let Some(log) = &self.log {
            log.flushing_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Notes how many bytes are held until their traces have settled.
    pub(crate) fn unsettled(&self, bytes: u64) {
        if let Some(log) = &self.log {
            log.unsettled_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// Notes up to which record of the log all is in the tables, and the bytes that are let go.
    pub(crate) fn flushed(&self, record: u64, bytes: u64) {
        if let Some(log) = &self.log {
            log.flushed.fetch_max(record, Ordering::Relaxed);
            log.flushing_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Notes up to which record the window needs the log no more.
    pub(crate) fn release(&self, record: u64) {
        if let Some(log) = &self.log {
            log.released.fetch_max(record, Ordering::Relaxed);
        }
    }

    /// Returns up to which record the log is not needed any more.
    pub(crate) fn released(&self) -> u64 {
        let of = |log: &OfLog| {
            let (released, flushed) = (&log.released, &log.flushed);
            released.load(Ordering::Relaxed).min(flushed.load(Ordering::Relaxed))
        };
        self.log.as_ref().map_or(0, of)
    }

    /// Lets a group go that holds no span.
    pub(crate) fn let_go(&self, group: &Group) {
        self.pending_bytes.fetch_sub(group.bytes + group.lost_bytes, Ordering::Relaxed);
    }

    /// Lets a group go that could not be made safe, and says why to those who wait.
    pub(crate) fn refuse(&self, group: Group, why: &dyn std::fmt::Display) {
        self.let_go(&group);
        for waiting in group.waiting {
            let _ = waiting.send(Err(why.to_string()));
        }
    }

    /// Returns all that came, and is safe where there is a log, and begins anew.
    pub(crate) fn harvest(&self) -> Harvest {
        let parts = if let Some(log) = &self.log {
            std::mem::take(&mut *locked(&log.arrived))
        } else {
            let Group { decoded, bytes, lost_bytes, broken, .. } = self.gather();
            self.pending_bytes.fetch_sub(lost_bytes, Ordering::Relaxed);
            vec![Harvest { decoded, bytes, broken, record: 0 }]
        };
        let mut harvest = Harvest::default();
        let mut decoded = Vec::new();
        for part in parts {
            harvest.bytes += part.bytes;
            harvest.broken += part.broken;
            harvest.record = harvest.record.max(part.record);
            decoded.push(part.decoded);
        }
        // Counted as kept before it is not pending any more: never less than what there is.
        self.kept_bytes.fetch_add(harvest.bytes, Ordering::Relaxed);
        self.pending_bytes.fetch_sub(harvest.bytes, Ordering::Relaxed);
        harvest.decoded = Decoded::merge(decoded);
        harvest.decoded.rejected.merge(std::mem::take(&mut *locked(&self.rejected)));
        harvest
    }

    fn free_slot(&self) -> MutexGuard<'_, Slot> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let slot = |at: usize| &self.slots[(first + at) % self.slots.len()];
        let free = (0..self.slots.len()).find_map(|at| match slot(at).try_lock() {
            Ok(slot) => Some(slot),
            Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| locked(slot(0)))
    }
}

/// Whoever panicked with it left what it held as it was: of a decoder, one message is half done.
pub(crate) fn locked<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    fn new(
        message_bytes_max: usize,
        clock: fn() -> i64,
        redaction: Option<Arc<Redaction>>,
    ) -> Self {
        let now = DecoderOptions::new(clock());
        let options = DecoderOptions { message_bytes_max, redaction, ..now };
        Self { decoder: Decoder::new(options), bytes: 0, waiting: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::RecordBatch;

    use super::*;

    const SPAN: &[u8] = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /",
         "startTimeUnixNano":"1000000000","endTimeUnixNano":"1000000001"},
        {"traceId":"no id","spanId":"eee19b7ec3c1b175"}]}]}]}"#;

    fn intake(memory_bytes_max: u64) -> Intake {
        Intake::new(2, 1 << 20, memory_bytes_max, || 1_800_000_000_000_000_000, None, false)
    }

    #[test]
    fn every_message_is_answered_with_its_own_counts() {
        let intake = intake(1 << 30);
        for _ in 0..3 {
            let taken = intake.take(Encoding::Json, SPAN);
            assert_eq!((taken.accepted, taken.rejected.total(), taken.error), (1, 1, None));
        }
        let broken = intake.take(Encoding::Json, b"{");
        assert!(broken.error.is_some() && broken.accepted == 0 && broken.rejected.is_empty());
        assert!(intake.has_pending());
        let harvest = intake.harvest();
        assert!(!intake.has_pending());
        let rows = |harvest: &Harvest| {
            harvest.decoded.spans.iter().map(RecordBatch::num_rows).sum::<usize>()
        };
        assert_eq!(rows(&harvest), 3);
        assert!(harvest.bytes > 0);
        assert_eq!(harvest.decoded.rejected.total(), 3);
        assert_eq!(rows(&intake.harvest()), 0);
    }

    /// Scenario: work panics with a decoder, and another decoder is in use.
    /// Guarantee: the first is free again.
    #[test]
    fn a_panic_leaves_a_decoder_free() {
        let intake = intake(1 << 30);
        let panicked = std::thread::scope(|scope| {
            let work = || {
                let _slot = intake.free_slot();
                panic!("of the test");
            };
            scope.spawn(work).join()
        });
        assert!(panicked.is_err());
        let in_use = intake.free_slot();
        drop(intake.free_slot());
        // It looks first at the one that is in use.
        assert_eq!(intake.take(Encoding::Json, SPAN).accepted, 1);
        drop(in_use);
        let harvest = intake.harvest();
        assert_eq!(harvest.decoded.spans.len(), 1);
        assert!(harvest.check().is_ok());
        assert!(Harvest { broken: 1, ..harvest }.check().is_err());
    }

    #[test]
    fn it_is_full_until_what_it_holds_is_let_go() {
        let intake = intake(100);
        assert!(intake.has_room());
        intake.take(Encoding::Json, SPAN);
        assert!(!intake.has_room());
        let _harvest = intake.harvest();
        assert!(!intake.has_room());
        intake.keep(0);
        assert!(intake.has_room());
        assert_eq!(intake.turned_away(), 2);
    }
}
