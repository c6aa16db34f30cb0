//! How many requests a sampled one stands for, from its trace state.
//!
//! Source: OpenTelemetry specification, "`TraceState`: Probability Sampling" (`ot=th:`): the
//! threshold `T` is up to 14 hex digits, padded with zeros on the right, and the adjusted count is
//! `2^56 / (2^56 - T)`.

/// What a trace state says of sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// The trace state does not say.
    Unknown,
    /// It has a threshold that the specification does not allow.
    Malformed,
    /// Each such span stands for that many.
    Counted(f64),
}

impl Sampling {
    /// Returns the adjusted count, where there is one.
    pub fn adjusted_count(self) -> Option<f64> {
        match self {
            Self::Counted(count) => Some(count),
            Self::Unknown | Self::Malformed => None,
        }
    }
}

/// Reads the OpenTelemetry entry of a W3C `tracestate`.
pub fn sampling(trace_state: &str) -> Sampling {
    let mut entries = trace_state.split(',').map(str::trim);
    let Some(ours) = entries.find_map(|entry| entry.strip_prefix("ot=")) else {
        return Sampling::Unknown;
    };
    match ours.split(';').find_map(|field| field.trim().strip_prefix("th:")) {
        Some(threshold) => counted(threshold),
        None => Sampling::Unknown,
    }
}

const THRESHOLD_DIGITS_MAX: usize = 14;

fn counted(threshold: &str) -> Sampling {
    let digits = threshold.len();
    let is_lower_hex = threshold.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if digits == 0 || digits > THRESHOLD_DIGITS_MAX || !is_lower_hex {
        return Sampling::Malformed;
    }
    let value = u64::from_str_radix(threshold, 16).expect("at most 14 hex digits fit 56 bits");
    let rejected = value << (4 * (THRESHOLD_DIGITS_MAX - digits));
    let all = 1_u64 << 56;
    Sampling::Counted(all as f64 / (all - rejected) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_threshold_among_other_entries() {
        assert_eq!(sampling("rojo=1,ot=rv:1;th:8,x=y"), Sampling::Counted(2.0));
        assert_eq!(sampling("ot=th:0"), Sampling::Counted(1.0));
        assert_eq!(sampling("rojo=1"), Sampling::Unknown);
        assert_eq!(sampling("ot=rv:1"), Sampling::Unknown);
    }

    #[test]
    fn refuses_what_the_specification_does_not_allow() {
        for broken in ["ot=th:", "ot=th:8A", "ot=th:xyz", "ot=th:123456789012345"] {
            assert_eq!(sampling(broken), Sampling::Malformed, "{broken}");
        }
    }
}
