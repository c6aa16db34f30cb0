//! [`Builder`]: where the readers of both encodings put what they find, one resource at a time.
//!
//! A reader opens a resource, reads scopes and spans in whatever order the message has them, and
//! closes: only then do the spans get the columns of their resource, so that a resource that stands
//! behind its spans costs nothing. Batches that fill up meanwhile wait for it.

use std::sync::Arc;

use crate::DecoderOptions;
use crate::batch::{Batch, Common};
use crate::budget::Budget;
use crate::decoder::Decoded;
use crate::draft::{Refusal, Repairs};
use crate::kept::Kept;
use crate::promote::Plans;
use crate::redact::Redactor;
use crate::rejected::{Reason, Rejected};

/// Text and lists of a batch, bytes, at which the next one begins. With the largest message, whose
/// text grows at most sixfold (a control character becomes `\u0000`, an attribute of six bytes a
/// hash of 32), or with all the text that a message may repeat, it stays below the 2 GiB that
/// Arrow's offsets can count.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The largest message that any options allow, bytes.
pub(crate) const MESSAGE_BYTES_CEILING: usize = 256 << 20;

/// The most repeated text that any options allow, bytes.
const REPEATED_BYTES_CEILING: usize = 1 << 30;

const _: () = assert!(BATCH_BYTES_MAX + 6 * MESSAGE_BYTES_CEILING < i32::MAX as usize);
const _: () = assert!(BATCH_BYTES_MAX + REPEATED_BYTES_CEILING < i32::MAX as usize);

#[derive(Debug)]
pub(crate) struct Builder {
    options: DecoderOptions,
    kept: Arc<Kept>,
    /// Shared with the other decoders of a read. Once it is overspent what was decoded is of no
    /// use: spans are let go so that memory does not grow on.
    budget: Arc<Budget>,
    /// The resource and the scope that are being read.
    pub(crate) resource: Common,
    pub(crate) scope: Common,
    /// The batch being filled.
    batch: Batch,
    /// Full batches that wait for the resource of their last spans.
    full: Vec<Batch>,
    /// How spans of the last keys fill the promoted columns.
    plans: Plans,
    /// Hides what must not be kept, if anything.
    redactor: Option<Box<Redactor>>,
    /// Bytes of resource and scope text that the message may still repeat.
    repeatable_bytes: usize,
    accepted: u64,
    decoded: Decoded,
}

impl Builder {
    pub(crate) fn new(options: DecoderOptions, budget: Arc<Budget>) -> Self {
        let kept = Kept::of(&options.columns);
        let redactor = options.redaction.clone().map(|redaction| Redactor::new(redaction).into());
        Self {
            options,
            budget,
            resource: Common::default(),
            scope: Common::default(),
            batch: Batch::new(Arc::clone(&kept)),
            full: Vec::new(),
            plans: Plans::new(kept.of_span),
            redactor,
            kept,
            repeatable_bytes: 0,
            accepted: 0,
            decoded: Decoded::default(),
        }
    }

    pub(crate) fn options(&self) -> &DecoderOptions {
        &self.options
    }

    pub(crate) fn is_overspent(&self) -> bool {
        self.budget.is_overspent()
    }

    /// Begins a message.
    pub(crate) fn open_message(&mut self) {
        self.repeatable_bytes = self.options.repeated_bytes_max.min(REPEATED_BYTES_CEILING);
    }

    pub(crate) fn open_resource(&mut self) {
        self.resource.clear();
    }

    pub(crate) fn open_scope(&mut self) {
        self.scope.clear();
    }

    /// The batch that takes the next span.
    #[inline]
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// Takes the span just read into the batch, or refuses it.
    pub(crate) fn end_span(&mut self, read: Result<(), Refusal>, offset: usize) {
        let committed = read.and_then(|()| {
            if let Some(redactor) = &mut self.redactor {
                self.batch.redact(redactor);
            }
            let committed = self.batch.commit(self.options.now_unix_nano, &mut self.plans);
            committed.map_err(|reason| Refusal { reason, offset })
        });
        match committed {
            Ok(repairs) => {
                self.note(repairs, || format!("span at byte {offset}"));
                self.accepted += 1;
                self.begin_batch_if_full();
            }
            Err(refusal) => self.refuse(refusal, offset),
        }
    }

    fn refuse(&mut self, refusal: Refusal, span_offset: usize) {
        self.batch.roll_back();
        self.reject(refusal.reason, 1, || match refusal.offset {
            offset if offset == span_offset => format!("span at byte {span_offset}"),
            offset => format!("span at byte {span_offset}, seen at byte {offset}"),
        });
    }

    pub(crate) fn reject(&mut self, reason: Reason, count: u64, example: impl FnOnce() -> String) {
        self.decoded.rejected.add_many(reason, count, example);
    }

    /// Counts what was mended.
    pub(crate) fn note(&mut self, repairs: Repairs, example: impl Fn() -> String) {
        if repairs.any() {
            for repair in repairs.iter() {
                self.decoded.repaired.add(repair, &example);
            }
        }
    }

    fn begin_batch_if_full(&mut self) {
        let batch = &self.batch;
        if batch.rows() < self.options.batch_rows_max && batch.byte_size() < BATCH_BYTES_MAX {
            return;
        }
        let mut next = Batch::new(Arc::clone(&self.kept));
        next.reserve_like(batch);
        self.full.push(std::mem::replace(&mut self.batch, next));
    }

    /// Ends the scope: gives it to its spans.
    pub(crate) fn close_scope(&mut self) {
        let rows = self.open_batches().map(|batch| batch.scope_row_count()).sum::<usize>();
        self.scope.settle_keys();
        if let Some(redactor) = &mut self.redactor {
            redactor.redact(&mut self.scope.attributes, 0, None);
        }
        let repairs = self.scope.repairs;
        self.note(repairs, || "a scope".to_owned());
        let bytes = self.scope.byte_size();
        if !self.may_repeat(rows, bytes) {
            let forgotten = self.open_batches().map(Batch::forget_scope).sum();
            self.refuse_repeated(forgotten, bytes);
        } else if !self.budget.spend(rows.saturating_mul(bytes)) {
            let forgotten: usize = self.open_batches().map(Batch::forget_scope).sum();
            self.accepted -= forgotten as u64;
        }
        let scope = std::mem::take(&mut self.scope);
        self.open_batches().for_each(|batch| batch.close_scope(&scope));
        self.scope = scope;
    }

    /// Ends the resource: gives it to its spans, and finishes the batches that waited for it.
    pub(crate) fn close_resource(&mut self) {
        let rows = self.open_batches().map(|batch| batch.resource_row_count()).sum::<usize>();
        self.resource.settle_keys();
        if let Some(redactor) = &mut self.redactor {
            redactor.redact(&mut self.resource.attributes, 0, None);
        }
        let repairs = self.resource.repairs;
        self.note(repairs, || "a resource".to_owned());
        let bytes = self.resource.byte_size();
        if !self.may_repeat(rows, bytes) {
            let forgotten = self.open_batches().map(Batch::forget_resource).sum();
            self.refuse_repeated(forgotten, bytes);
        } else if !self.budget.spend(rows.saturating_mul(bytes)) {
            let forgotten: usize = self.open_batches().map(Batch::forget_resource).sum();
            self.accepted -= forgotten as u64;
        }
        let resource = std::mem::take(&mut self.resource);
        self.open_batches().for_each(|batch| batch.close_resource(&resource));
        self.resource = resource;
        self.begin_batch_if_full();
        for batch in std::mem::take(&mut self.full) {
            self.finish_batch(batch);
        }
    }

    fn open_batches(&mut self) -> impl Iterator<Item = &mut Batch> {
        self.full.iter_mut().chain(std::iter::once(&mut self.batch))
    }

    fn may_repeat(&mut self, rows: usize, bytes: usize) -> bool {
        match self.repeatable_bytes.checked_sub(rows.saturating_mul(bytes)) {
            Some(rest) => {
                self.repeatable_bytes = rest;
                true
            }
            None => false,
        }
    }

    fn refuse_repeated(&mut self, spans: usize, bytes: usize) {
        self.accepted -= spans as u64;
        let bytes_max = self.options.repeated_bytes_max;
        self.reject(Reason::RepeatedBytes, spans as u64, || {
            format!("{bytes} bytes on each of {spans} spans, limit {bytes_max} a message")
        });
    }

    fn finish_batch(&mut self, batch: Batch) {
        if !self.budget.spend(batch.own_memory_bytes()) {
            return;
        }
        let (spans, quarantine) = batch.finish();
        self.decoded.spans.extend(spans);
        self.decoded.quarantine.extend(quarantine);
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.budget.spent().saturating_add(self.batch.own_memory_bytes() as u64)
    }

    pub(crate) fn take_rejected(&mut self) -> Rejected {
        std::mem::take(&mut self.decoded.rejected)
    }

    pub(crate) fn finish(mut self) -> Decoded {
        let last = std::mem::replace(&mut self.batch, Batch::new(Arc::clone(&self.kept)));
        self.finish_batch(last);
        self.decoded
    }
}
