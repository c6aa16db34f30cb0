//! [`Spare`]: whether a thread has time beside what comes.

use std::time::{Duration, Instant};

/// It has, as long as what comes takes less than this part of its time.
const BUSY_SHARE: f64 = 0.5;

/// Adds up what the thread did for what comes.
#[derive(Debug)]
pub(super) struct Spare {
    since: Instant,
    worked: Duration,
}

impl Spare {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, worked: Duration::ZERO }
    }

    /// Notes that something was done for so long.
    pub(super) fn worked(&mut self, time: Duration) {
        self.worked += time;
    }

    /// Returns whether it had time since the last look.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.since);
        let has_time = self.worked < passed.mul_f64(BUSY_SHARE);
        *self = Self::new(now);
        has_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_half_of_the_time_has_none() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let mut spare = Spare::new(began);
        for _ in 0..3 {
            spare.worked(Duration::from_secs(10));
        }
        assert!(!spare.look(after(60)));
        spare.worked(Duration::from_secs(29));
        assert!(spare.look(after(120)), "what was before does not count");
        assert!(spare.look(after(180)), "it rests");
    }
}
