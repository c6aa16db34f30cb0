//! [`Intake`]: from messages to batches of spans, within a budget of memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::Error;
use timesink_otlp::{Decoded, Decoder, DecoderOptions, MessageError, Rejected};

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
}

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
    memory_bytes_max: u64,
    /// What the decoders hold.
    pending_bytes: AtomicU64,
    /// What was harvested and is still held, as its holder says.
    kept_bytes: AtomicU64,
    /// Messages that there was no room for.
    turned_away: AtomicU64,
    /// What was refused since the last harvest.
    rejected: Mutex<Rejected>,
}

#[derive(Debug)]
struct Slot {
    decoder: Decoder,
    /// What of `pending_bytes` is of this decoder.
    bytes: u64,
}

/// Everything that came since the last harvest.
#[derive(Debug)]
pub(crate) struct Harvest {
    pub(crate) decoded: Decoded,
    /// What it holds, about.
    pub(crate) bytes: u64,
    /// Decoders whose spans are lost, because of a fault of ours.
    pub(crate) broken: usize,
}

impl Harvest {
    /// Returns an error when something that came is not in it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.broken {
            0 => Ok(()),
            broken => Err(Error::Internal(format!("a panic in {broken} decoders: spans are lost"))),
        }
    }
}

impl Intake {
    pub(crate) fn new(
        threads: usize,
        message_bytes_max: usize,
        memory_bytes_max: u64,
        clock: fn() -> i64,
    ) -> Self {
        let new = || Mutex::new(Slot::new(message_bytes_max, clock));
        Self {
            slots: std::iter::repeat_with(new).take(threads.max(1)).collect(),
            next: AtomicUsize::new(0),
            message_bytes_max,
            clock,
            memory_bytes_max,
            pending_bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            rejected: Mutex::default(),
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
        let pending = self.pending_bytes.load(Ordering::Relaxed);
        pending.saturating_add(self.kept_bytes.load(Ordering::Relaxed))
    }

    pub(crate) fn memory_bytes_max(&self) -> u64 {
        self.memory_bytes_max
    }

    /// Returns whether something came since the last harvest.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_bytes.load(Ordering::Relaxed) > 0
    }

    /// Notes how many bytes of what was harvested are still held.
    pub(crate) fn keep(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes one message. It computes: never on an async thread.
    pub(crate) fn take(&self, encoding: Encoding, message: &[u8]) -> Taken {
        let mut slot = self.free_slot();
        let Slot { decoder, bytes: counted } = &mut *slot;
        let (spans, bytes) = (decoder.spans_accepted(), decoder.memory_bytes());
        let result = match encoding {
            Encoding::Protobuf => decoder.protobuf(message),
            Encoding::Json => decoder.json(message),
        };
        let grown = decoder.memory_bytes().saturating_sub(bytes);
        *counted += grown;
        self.pending_bytes.fetch_add(grown, Ordering::Relaxed);
        let (accepted, rejected) = (decoder.spans_accepted() - spans, decoder.take_rejected());
        drop(slot);
        if !rejected.is_empty() {
            locked(&self.rejected).merge(rejected.clone());
        }
        Taken { accepted, rejected, error: result.err() }
    }

    /// Returns all that came, and begins anew.
    pub(crate) fn harvest(&self) -> Harvest {
        let mut parts = Vec::new();
        let (mut bytes, mut broken) = (0, 0);
        for slot in &self.slots {
            let fresh = Slot::new(self.message_bytes_max, self.clock);
            let Slot { decoder, bytes: held } = std::mem::replace(&mut *locked(slot), fresh);
            // Counted as kept before it is not pending any more: never less than what there is.
            self.kept_bytes.fetch_add(held, Ordering::Relaxed);
            self.pending_bytes.fetch_sub(held, Ordering::Relaxed);
            // A panic costs the spans of this decoder, not those of the others.
            match catch_unwind(AssertUnwindSafe(|| decoder.finish())) {
                Ok(part) => {
                    parts.push(part);
                    bytes += held;
                }
                Err(_) => broken += 1,
            }
        }
        let mut decoded = Decoded::merge(parts);
        decoded.rejected.merge(std::mem::take(&mut *locked(&self.rejected)));
        Harvest { decoded, bytes, broken }
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
    fn new(message_bytes_max: usize, clock: fn() -> i64) -> Self {
        let options = DecoderOptions { message_bytes_max, ..DecoderOptions::new(clock()) };
        Self { decoder: Decoder::new(options), bytes: 0 }
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
        Intake::new(2, 1 << 20, memory_bytes_max, || 1_800_000_000_000_000_000)
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
