//! [`Steady`]: whether the system's clock can be gone by to take out what is old.

use std::time::{Duration, Instant};

/// The system's clock has jumped when it and the time that passed differ by so much.
const JUMP_MIN: Duration = Duration::from_hours(1);

/// So long after a jump the clock is taken as right: if it were not, somebody had set it back.
const RIGHT_AFTER: Duration = Duration::from_hours(24);

/// Compares the system's clock with the time that passes.
#[derive(Debug)]
pub(super) struct Steady {
    looked: Instant,
    /// What the system's clock said then, ns since the epoch.
    said: i64,
    jumped: Option<Instant>,
}

impl Steady {
    pub(super) fn new(now: Instant, unix_nano: i64) -> Self {
        Self { looked: now, said: unix_nano, jumped: None }
    }

    /// Looks at the clock; returns whether it has not jumped for a while.
    pub(super) fn look(&mut self, now: Instant, unix_nano: i64) -> bool {
        let passed = now.duration_since(self.looked).as_nanos() as i64;
        let differs = unix_nano.saturating_sub(self.said).saturating_sub(passed).unsigned_abs();
        if u128::from(differs) >= JUMP_MIN.as_nanos() {
            self.jumped = Some(now);
        }
        (self.looked, self.said) = (now, unix_nano);
        self.jumped.is_none_or(|jumped| now.duration_since(jumped) >= RIGHT_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;
    const MONTH: i64 = 31 * 24 * 60 * MINUTE;

    /// Scenario: the clock jumps a month ahead, stays there for some looks, and is set back; or it
    /// was wrong before, and stays.
    /// Guarantee: what it says then is not gone by; after a day it is.
    #[test]
    fn a_clock_that_jumped_is_not_gone_by_for_a_day() {
        let began = Instant::now();
        let after = |minutes: i64| began + Duration::from_nanos((minutes * MINUTE) as u64);
        let mut steady = Steady::new(began, 0);
        let mut look = |minutes: i64, off: i64| steady.look(after(minutes), minutes * MINUTE + off);
        assert!(look(1, 0) && look(2, MINUTE), "it goes on");
        assert!(!look(3, MONTH) && !look(4, MONTH) && !look(5, MONTH), "it jumped");
        assert!(!look(6, 0), "back is a jump, too");
        assert!(!look(6 + 23 * 60, 0));
        assert!(look(6 + 24 * 60, 0));
    }
}
