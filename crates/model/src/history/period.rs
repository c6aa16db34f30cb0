//! [`Period`]: what history is counted in.

use std::num::NonZeroU32;

use crate::NANOS_PER_SECOND;

/// A slice `[start, end)` of time, counted from the epoch: windows slide, periods do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Period {
    pub start_unix_nano: i64,
    pub end_unix_nano: i64,
}

impl Period {
    /// Returns the period of that length in which a time lies. At the ends of time, the years 1677
    /// and 2262, it is cut.
    pub fn containing(unix_nano: i64, seconds: NonZeroU32) -> Self {
        let nanos = i64::from(seconds.get()) * NANOS_PER_SECOND;
        let start_unix_nano = unix_nano.saturating_sub(unix_nano.rem_euclid(nanos));
        let number_end = i128::from(unix_nano.div_euclid(nanos)) + 1;
        let end = number_end * i128::from(nanos);
        Self { start_unix_nano, end_unix_nano: i64::try_from(end).unwrap_or(i64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn periods_are_counted_from_the_epoch() {
        let quarter = NonZeroU32::new(900).unwrap();
        let at = |seconds: i64| {
            let period = Period::containing(seconds * NANOS_PER_SECOND, quarter);
            let seconds = |nanos: i64| nanos / NANOS_PER_SECOND;
            (seconds(period.start_unix_nano), seconds(period.end_unix_nano))
        };
        assert_eq!(at(0), (0, 900));
        assert_eq!(at(899), (0, 900));
        assert_eq!(at(900), (900, 1800));
        assert_eq!(at(-1), (-900, 0));
    }

    proptest! {
        #[test]
        fn a_period_contains_its_time_and_is_that_of_all_its_times(
            time: i64, seconds: NonZeroU32,
        ) {
            let period = Period::containing(time, seconds);
            prop_assert!(period.start_unix_nano <= time);
            prop_assert!(time < period.end_unix_nano || period.end_unix_nano == i64::MAX);
            prop_assert_eq!(Period::containing(period.start_unix_nano, seconds), period);
            prop_assert_eq!(Period::containing(period.end_unix_nano - 1, seconds), period);
        }
    }
}
