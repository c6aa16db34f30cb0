//! Durations as people write them: `90s`, `15m`, `2h`, `7d`.

use crate::NANOS_PER_SECOND;

/// Units, with their seconds.
const UNITS: [(char, i64); 4] = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];

/// Reads a whole number and a unit, in nanoseconds; `None` for anything else, and for what is too
/// long to be counted, some 292 years.
pub fn parse_duration_nanos(text: &str) -> Option<i64> {
    let (seconds, number) =
        UNITS.iter().find_map(|&(unit, seconds)| Some((seconds, text.strip_suffix(unit)?)))?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(NANOS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_number_and_a_unit() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)]
        {
            assert_eq!(parse_duration_nanos(text), Some(seconds * NANOS_PER_SECOND), "{text}");
        }
        for text in ["", "m", "15", "-5m", "+5m", "1w", "1.5h", "5 m", "99999999999d", "5mm"] {
            assert_eq!(parse_duration_nanos(text), None, "{text}");
        }
    }
}
