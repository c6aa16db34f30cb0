//! [`Steady`]: whether the system's clock can be gone by to take out what is old.

use std::time::{Duration, Instant};

/// The system's clock has jumped when it and the time that passed differ by so much.
const JUMP_MIN: Duration = Duration::from_mins(10);

/// A process that was down for longer cannot tell its clock from one that is wrong.
const DOWN_MAX: Duration = Duration::from_hours(24);

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

/// What a look at the clock tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// It can be gone by.
    Right,
    /// It jumped since the last look, when it said so, ns since the epoch.
    Jumped { said: i64 },
    /// It jumped before that, and may be wrong.
    Unsure,
}

impl Steady {
    /// Begins with what the system's clock says, ns since the epoch, and what it said when the last
    /// rows were written, if there are any.
    pub(super) fn new(now: Instant, unix_nano: i64, written: Option<i64>) -> Self {
        let is_near = |written: i64| {
            let since = i128::from(unix_nano) - i128::from(written);
            -(JUMP_MIN.as_nanos() as i128) < since && since < DOWN_MAX.as_nanos() as i128
        };
        let jumped = written.is_some_and(|written| !is_near(written)).then_some(now);
        Self { looked: now, said: unix_nano, jumped }
    }

    /// Returns whether the clock can be gone by, as far as that is known.
    pub(super) fn is_right(&self, now: Instant) -> bool {
        self.jumped.is_none_or(|jumped| now.duration_since(jumped) >= RIGHT_AFTER)
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, now: Instant, unix_nano: i64) -> Clock {
        let passed = now.duration_since(self.looked).as_nanos() as i64;
        let differs = unix_nano.saturating_sub(self.said).saturating_sub(passed).unsigned_abs();
        let said = std::mem::replace(&mut self.said, unix_nano);
        self.looked = now;
        if u128::from(differs) >= JUMP_MIN.as_nanos() {
            self.jumped = Some(now);
            return Clock::Jumped { said };
        }
        if self.is_right(now) { Clock::Right } else { Clock::Unsure }
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
        let mut steady = Steady::new(began, 0, Some(-MINUTE));
        let mut look = |minutes: i64, off: i64| steady.look(after(minutes), minutes * MINUTE + off);
        assert_eq!([look(1, 0), look(2, MINUTE)], [Clock::Right; 2], "it goes on");
        assert_eq!(look(3, MONTH), Clock::Jumped { said: 3 * MINUTE });
        assert_eq!([look(4, MONTH), look(5, MONTH)], [Clock::Unsure; 2]);
        let said = 5 * MINUTE + MONTH;
        assert_eq!(look(6, 0), Clock::Jumped { said }, "back is a jump, too");
        assert_eq!(look(6 + 23 * 60, 0), Clock::Unsure);
        assert_eq!(look(6 + 24 * 60, 0), Clock::Right);
    }

    /// Scenario: a process begins a while after rows were written, or before, by its clock.
    /// Guarantee: after a day, and before, the clock may be wrong, for a day.
    #[test]
    fn a_clock_may_be_wrong_at_the_start() {
        let began = Instant::now();
        let right = |since: i64| Steady::new(began, MONTH, Some(MONTH - since)).is_right(began);
        assert!(right(0) && right(23 * 60 * MINUTE) && right(-9 * MINUTE));
        assert!(!right(24 * 60 * MINUTE) && !right(MONTH) && !right(-10 * MINUTE));
        assert!(Steady::new(began, MONTH, None).is_right(began), "nothing can go");
        let mut steady = Steady::new(began, MONTH, Some(0));
        let day = 24 * 60;
        let after = began + Duration::from_nanos((day * MINUTE) as u64);
        assert_eq!(steady.look(after, MONTH + day * MINUTE), Clock::Right);
    }
}
