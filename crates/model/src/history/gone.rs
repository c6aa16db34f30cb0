//! [`is_gone`]: whether a finding that was not found is no longer there, or only was not met.
//!
//! A finding that shows in a share p of an endpoint's traces is missed by n of them with the
//! chance (1-p)^n. Its share is estimated from the traces in which it was last seen, and on the
//! low side: few traces say little, and a share too high would call a rare finding resolved.
//!
//! | it was in      | share at least | resolved after |
//! |----------------|----------------|----------------|
//! | 10 of 10       | 0.722          | 3 traces       |
//! | 31 of 40       | 0.625          | 4 traces       |
//! | 1 of 1         | 0.207          | 13 traces      |
//! | 1 of 10        | 0.0179         | 167 traces     |
//! | 1 of 1,000     | 0.000177       | 16,968 traces  |
//!
//! Limit: traces are taken to be alike. Of a finding that one customer or one hour of the day
//! brings about, the others say nothing; it is called resolved, and regressed when it is back.

/// The quantile of the standard normal distribution that leaves 2.5 % above it: with it, 95 % of
/// Wilson's intervals hold the true share. The level that most tables print, so that anyone can
/// check ours.
const QUANTILE: f64 = 1.959_963_984_540_054;

/// A finding is called resolved when, were it still there, traces without it would be rarer than
/// this. One in twenty, for a share that is itself on the low side: a false *resolved* is rare,
/// and the next period corrects it; a smaller chance would keep quiet endpoints open for weeks.
const MISSED_CHANCE_MAX: f64 = 0.05;

/// Returns whether `unseen` traces without a finding say that it is gone, when it was last in
/// `affected` of `seen` traces. Without traces nothing is gone.
pub(super) fn is_gone(affected: i64, seen: i64, unseen: u64) -> bool {
    let missed_chance = (1.0 - share_at_least(affected, seen)).powf(unseen as f64);
    missed_chance < MISSED_CHANCE_MAX
}

/// Returns the lower end of the 95 % score interval of a share (E. B. Wilson, Probable inference,
/// the law of succession, and statistical inference, JASA 22, 1927; recommended for few trials by
/// Brown, Cai and `DasGupta`, Interval estimation for a binomial proportion, Statistical Science
/// 16, 2001). Counts that cannot be are brought to `0 <= hits <= trials`; of no
/// hits, or no trials, it is 0.
fn share_at_least(hits: i64, trials: i64) -> f64 {
    if hits <= 0 || trials <= 0 {
        return 0.0;
    }
    let trials_count = trials as f64;
    let share = hits.min(trials) as f64 / trials_count;
    let square = QUANTILE * QUANTILE;
    let middle = share + square / (2.0 * trials_count);
    let variance = share * (1.0 - share) / trials_count;
    let spread = QUANTILE * (variance + square / (4.0 * trials_count * trials_count)).sqrt();
    ((middle - spread) / (1.0 + square / trials_count)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of 81/263, 15/148, 0/20 and 1/29 the values are in R. G. Newcombe, Two-sided confidence
    /// intervals for the single proportion, Statistics in Medicine 17, 1998, table I, method 3; of
    /// the others they were computed from Wilson's formula apart from this code.
    #[test]
    fn shares_are_those_of_the_tables() {
        let cases = [
            (10, 10, 0.7225),
            (1, 10, 0.0179),
            (5, 10, 0.2366),
            (1, 1, 0.2065),
            (81, 263, 0.2553),
            (15, 148, 0.0624),
            (1, 29, 0.0061),
            (0, 20, 0.0),
        ];
        for (hits, trials, expected) in cases {
            let share = share_at_least(hits, trials);
            assert!((share - expected).abs() < 0.000_05, "{hits}/{trials}: {share}");
        }
    }

    #[test]
    fn counts_that_cannot_be_are_no_share_or_a_whole_one() {
        for (hits, trials) in [(0, 0), (1, 0), (-1, 10), (1, -1), (i64::MIN, i64::MAX)] {
            assert!(share_at_least(hits, trials) == 0.0, "{hits}/{trials}");
        }
        assert!((share_at_least(11, 10) - share_at_least(10, 10)).abs() < f64::EPSILON);
    }

    #[test]
    fn as_many_traces_are_enough_as_the_table_above_says() {
        let cases = [(10, 10, 3), (31, 40, 4), (1, 1, 13), (1, 10, 167), (1, 1_000, 16_968)];
        for (affected, seen, enough) in cases {
            assert!(!is_gone(affected, seen, enough - 1), "{affected}/{seen}");
            assert!(is_gone(affected, seen, enough), "{affected}/{seen}");
        }
    }

    proptest! {
        #[test]
        fn a_share_is_never_above_what_was_seen(hits: i64, trials: i64) {
            let share = share_at_least(hits, trials);
            let seen = if trials > 0 { hits.max(0) as f64 / trials as f64 } else { 0.0 };
            prop_assert!((0.0..=seen.min(1.0)).contains(&share), "{share} of {seen}");
        }

        #[test]
        fn more_hits_are_a_higher_share(trials in 1..10_000_i64, hits in 0..10_000_i64) {
            let hits = hits % trials;
            prop_assert!(share_at_least(hits, trials) < share_at_least(hits + 1, trials));
        }

        /// Guarantee: more traces never take a finding's end back, and without traces it has none.
        #[test]
        fn what_is_gone_stays_gone_with_more_traces(
            affected: i64, seen: i64, unseen: u64, more: u64,
        ) {
            prop_assert!(!is_gone(affected, seen, 0));
            let later = unseen.saturating_add(more);
            prop_assert!(!is_gone(affected, seen, unseen) || is_gone(affected, seen, later));
        }
    }
}
