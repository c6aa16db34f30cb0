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
/// nothing can be told from it. They are known until nothing came of them for a while, and no more
/// of them than take an eighth of what the window may hold, beside it.
#[derive(Debug)]
pub(super) struct Gone {
    young: HashSet<u128>,
    old: HashSet<u128>,
    ids_max: usize,
    /// Since when the young ones are noted.
    since: Option<Instant>,
}

impl Gone {
    /// Of a window that may hold so many bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        let ids_max = (bytes_max / PARTS / ID_BYTES).clamp(1, IDS_MAX as u64) as usize;
        Self { young: HashSet::new(), old: HashSet::new(), ids_max, since: None }
    }

    pub(super) fn add(&mut self, trace: u128) {
        if self.young.len() >= self.ids_max {
            self.age();
        }
        self.young.insert(trace);
    }

    /// Returns whether a trace of which spans come went before; it is known for as long again.
    pub(super) fn comes_again(&mut self, trace: u128) -> bool {
        if self.young.contains(&trace) {
            return true;
        }
        let comes_again = self.old.contains(&trace);
        if comes_again && self.young.len() < self.ids_max {
            self.young.insert(trace);
        }
        comes_again
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
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: u64 = 1 << 40;

    #[test]
    fn a_trace_is_known_for_a_while() {
        let at = Instant::now();
        let mut gone = Gone::new(MUCH);
        gone.expire(at);
        gone.add(1);
        gone.add(2);
        gone.expire(at + KNOWN_FOR);
        assert!(gone.comes_again(1) && !gone.comes_again(3));
        gone.expire(at + KNOWN_FOR * 2);
        assert!(gone.comes_again(1), "spans of it came");
        assert!(!gone.comes_again(2));
    }

    /// Scenario: so many go that a set is full just before its time is over.
    /// Guarantee: those that went last are known for a while all the same.
    #[test]
    fn a_set_that_is_full_is_not_forgotten_at_once() {
        let at = Instant::now();
        let mut gone = Gone::new(1 << 20);
        gone.expire(at);
        let ids_max = gone.ids_max as u128;
        (0..=ids_max).for_each(|trace| gone.add(trace));
        gone.expire(at + KNOWN_FOR);
        assert!(gone.comes_again(ids_max - 1) && gone.comes_again(ids_max));
    }

    #[test]
    fn so_many_are_known_at_most() {
        for (bytes_max, most) in [(MUCH, 2 * IDS_MAX as u64 * ID_BYTES), (1 << 20, 1 << 17)] {
            let mut gone = Gone::new(bytes_max);
            for trace in 0..5 * IDS_MAX as u128 {
                gone.add(trace);
                gone.comes_again(trace / 2);
            }
            let bytes = (gone.young.len() + gone.old.len()) as u64 * ID_BYTES;
            assert!(bytes <= most, "{bytes} of {most}");
            assert!(gone.comes_again(5 * IDS_MAX as u128 - 1) && !gone.comes_again(0));
        }
    }
}
