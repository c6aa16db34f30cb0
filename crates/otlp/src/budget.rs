//! [`Budget`]: how much memory the spans of one read may take, counted by all of its threads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of decoded spans, up to a limit. Whether the limit is passed depends on what is decoded
/// alone, not on the order in which threads come to it.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: u64,
    spent: AtomicU64,
}

impl Default for Budget {
    /// Returns a budget that nothing passes.
    fn default() -> Self {
        Self::new(u64::MAX)
    }
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, spent: AtomicU64::new(0) }
    }

    /// Counts bytes that are about to be taken, or just were. Returns whether they are within the
    /// limit.
    pub(crate) fn spend(&self, bytes: usize) -> bool {
        let before = self.spent.fetch_add(bytes as u64, Ordering::Relaxed);
        before.saturating_add(bytes as u64) <= self.bytes_max
    }

    /// Returns how many bytes were counted so far.
    pub(crate) fn spent(&self) -> u64 {
        self.spent.load(Ordering::Relaxed)
    }

    /// Returns whether more was asked for than there is: nothing decoded from now on is of use.
    pub(crate) fn is_overspent(&self) -> bool {
        self.spent.load(Ordering::Relaxed) > self.bytes_max
    }
}
