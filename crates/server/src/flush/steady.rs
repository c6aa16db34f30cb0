//! [`Steady`]: whether the system's clock can be gone by to take out what is old.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// The system's clock has jumped when it and the time that passed differ by so much.
const JUMP_MIN: Duration = Duration::from_mins(10);

/// Between rows, or behind the last, the clock may have jumped where it says that so much lies
/// between them: it is more than a night, and than the day between two runs of a nightly job.
const QUIET_MAX: Duration = Duration::from_hours(36);

/// So long after a jump the clock is taken as right: if it were not, somebody had set it back.
const RIGHT_AFTER: Duration = Duration::from_hours(24);

/// Compares the system's clock with the time that passes.
#[derive(Debug)]
pub(super) struct Steady {
    looked: Duration,
    /// What the system's clock said then, ns since the epoch.
    said: i64,
    unsure_until: Option<Duration>,
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

/// Returns the time that has passed since a moment that stays the same. A machine that sleeps
/// counts as long as it sleeps, where the system tells that (Linux, proc(5), `/proc/uptime`).
pub(super) fn passed() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let uptime = std::fs::read_to_string("/proc/uptime").ok();
    let seconds = uptime.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let since_boot = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    since_boot.unwrap_or_else(|| BEGAN.elapsed())
}

impl Steady {
    /// Begins with the time that has passed, what the system's clock says, and what it said when
    /// the rows were written that there are, ns since the epoch. Returns also what it said last
    /// before it may have jumped, if so.
    ///
    /// Rows that were written by a clock that was wrong do not vouch for it: the time without any
    /// before them tells. A clock that has been set back takes out nothing too early.
    pub(super) fn new(
        passed: Duration,
        unix_nano: i64,
        mut written: Vec<i64>,
    ) -> (Self, Option<i64>) {
        written.retain(|&time| time < unix_nano);
        written.push(unix_nano);
        written.sort_unstable();
        let is_quiet = |pair: &&[i64]| nanos_between(pair[0], pair[1]) >= QUIET_MAX.as_nanos();
        let jump = written.windows(2).rfind(is_quiet).map(|pair| (pair[0], pair[1]));
        let lately = jump.and_then(|(said, to)| {
            let since = Duration::from_nanos(nanos_between(to, unix_nano) as u64);
            Some((said, RIGHT_AFTER.checked_sub(since).filter(|left| !left.is_zero())?))
        });
        let unsure_until = lately.map(|(_, left)| passed + left);
        (Self { looked: passed, said: unix_nano, unsure_until }, lately.map(|(said, _)| said))
    }

    /// Looks at the clock.
    pub(super) fn look(&mut self, passed: Duration, unix_nano: i64) -> Clock {
        let since = passed.saturating_sub(self.looked).as_nanos() as i64;
        let differs = unix_nano.saturating_sub(self.said).saturating_sub(since).unsigned_abs();
        let said = std::mem::replace(&mut self.said, unix_nano);
        self.looked = passed;
        if u128::from(differs) >= JUMP_MIN.as_nanos() {
            self.unsure_until = Some(passed + RIGHT_AFTER);
            return Clock::Jumped { said };
        }
        let is_right = self.unsure_until.is_none_or(|until| passed >= until);
        if is_right { Clock::Right } else { Clock::Unsure }
    }
}

fn nanos_between(earlier: i64, later: i64) -> u128 {
    u128::from(later.abs_diff(earlier))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;
    const HOUR: i64 = 60 * MINUTE;
    const MONTH: i64 = 31 * 24 * HOUR;

    fn after(nanos: i64) -> Duration {
        Duration::from_nanos(nanos as u64)
    }

    /// Scenario: the clock jumps a month ahead, stays there for some looks, and is set back; or it
    /// was wrong before, and stays.
    /// Guarantee: what it says then is not gone by; after a day it is.
    #[test]
    fn a_clock_that_jumped_is_not_gone_by_for_a_day() {
        let (mut steady, _) = Steady::new(after(0), 0, vec![-MINUTE]);
        let mut look =
            |minutes: i64, off: i64| steady.look(after(minutes * MINUTE), minutes * MINUTE + off);
        assert_eq!([look(1, 0), look(2, MINUTE)], [Clock::Right; 2], "it goes on");
        assert_eq!(look(3, MONTH), Clock::Jumped { said: 3 * MINUTE });
        assert_eq!([look(4, MONTH), look(5, MONTH)], [Clock::Unsure; 2]);
        let said = 5 * MINUTE + MONTH;
        assert_eq!(look(6, 0), Clock::Jumped { said }, "back is a jump, too");
        assert_eq!(look(6 + 23 * 60, 0), Clock::Unsure);
        assert_eq!(look(6 + 24 * 60, 0), Clock::Right);
    }

    /// Scenario: a process begins a while after rows were written; or soon after rows that were,
    /// by a clock that was wrong, or after a long pause; or the clock was set back since.
    /// Guarantee: for a day from the jump on it may be wrong, however often processes begin.
    #[test]
    fn a_clock_may_be_wrong_at_the_start() {
        let began = after(7 * MINUTE);
        let now = 2 * MONTH;
        let at_start = |ago: &[i64]| {
            let written = ago.iter().map(|ago| now - ago).collect();
            let (mut steady, said) = Steady::new(began, now, written);
            let first = steady.look(began + after(MINUTE), now + MINUTE);
            let day = 24 * HOUR;
            assert_eq!(steady.look(began + after(day), now + day), Clock::Right, "{ago:?}");
            (first == Clock::Right, said.map(|said| now - said))
        };
        assert_eq!(at_start(&[]), (true, None), "nothing can go");
        assert_eq!(at_start(&[0, 35 * HOUR]), (true, None));
        assert_eq!(at_start(&[36 * HOUR]), (false, Some(36 * HOUR)));
        assert_eq!(at_start(&[HOUR, MONTH, MONTH + HOUR]), (false, Some(MONTH)));
        assert_eq!(at_start(&[22 * HOUR, MONTH]), (false, Some(MONTH)));
        assert_eq!(at_start(&[25 * HOUR, MONTH]), (true, None), "a day later");
        assert_eq!(at_start(&[-MONTH, HOUR, 2 * HOUR]), (true, None), "it was set back");
        assert_eq!(at_start(&[24 * HOUR, 48 * HOUR]), (true, None), "a nightly job");
    }

    #[test]
    fn time_passes() {
        let before = passed();
        assert!(before <= passed());
    }
}
