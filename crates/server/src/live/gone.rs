//! [`Gone`]: traces that left the window before their time.

use std::time::{Duration, Instant};

use hashbrown::HashSet;

/// Spans of one trace come so far apart at most: exporters send what they have every few seconds.
const KNOWN_FOR: Duration = Duration::from_mins(1);

/// Ids of a set, at most.
const IDS_MAX: usize = 1 << 18;

/// The part of what the window may hold that each set may, one of so many.
const PARTS: u64 = 16;

/// Memory of an id, bytes, about.
const ID_BYTES: u64 = 24;

/// The traces that went while memory was short: what comes of them later is a part of a trace, and
/// nothing can be told from it. They are known for a while, and no more of them than take an eighth
/// of what the window may hold, beside it.
#[derive(Debug, Default)]
pub(super) struct Gone {
    young: HashSet<u128>,
    old: HashSet<u128>,
    /// Since when the young ones are noted.
    since: Option<Instant>,
}

impl Gone {
    /// Notes a trace of a window that may hold so many bytes.
    pub(super) fn add(&mut self, trace: u128, bytes_max: u64) {
        if self.young.len() as u64 >= (bytes_max / PARTS / ID_BYTES).min(IDS_MAX as u64) {
            self.age();
        }
        self.young.insert(trace);
    }

    /// Returns whether a trace of which spans come went before; it is known for as long again.
    pub(super) fn comes_again(&mut self, trace: u128) -> bool {
        self.young.contains(&trace) || self.old.remove(&trace) && self.young.insert(trace)
    }

    /// Forgets those of which nothing came for some time.
    pub(super) fn expire(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= KNOWN_FOR {
            self.age();
            self.since = Some(now);
        }
    }

    fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: u64 = 1 << 40;

    #[test]
    fn a_trace_is_known_for_a_while() {
        let at = Instant::now();
        let mut gone = Gone::default();
        gone.expire(at);
        gone.add(1, MUCH);
        gone.add(2, MUCH);
        gone.expire(at + KNOWN_FOR);
        assert!(gone.comes_again(1) && !gone.comes_again(3));
        gone.expire(at + KNOWN_FOR * 2);
        assert!(gone.comes_again(1), "spans of it came");
        assert!(!gone.comes_again(2));
    }

    #[test]
    fn so_many_are_known_at_most() {
        for (bytes_max, most) in [(MUCH, 2 * IDS_MAX as u64 * ID_BYTES), (1 << 20, 1 << 17)] {
            let mut gone = Gone::default();
            (0..5 * IDS_MAX as u128).for_each(|trace| gone.add(trace, bytes_max));
            let bytes = (gone.young.len() + gone.old.len()) as u64 * ID_BYTES;
            assert!(bytes <= most, "{bytes} of {most}");
            assert!(gone.comes_again(5 * IDS_MAX as u128 - 1) && !gone.comes_again(0));
        }
    }
}
