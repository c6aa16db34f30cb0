//! [`Answer`]: what an exporter is told, whatever protocol it speaks.

use std::time::Duration;

use timesink_otlp::{MessageError, Rejected};
use timesink_output::safe;

/// The longest text of an answer, in characters: what a span contains must not come back at length.
pub(crate) const TEXT_CHARS_MAX: usize = 1024;

/// When to try again, once there may be room.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

// One byte holds it where it is encoded by hand; SDKs give up on what waits past their timeout.
const _: () = assert!(RETRY_AFTER.as_secs() < 10);

/// The answer to one export request (OTLP 1.11, "OTLP/gRPC Response" and "OTLP/HTTP Response").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All of it was taken: `partial_success` stays unset.
    Success,
    /// Some of it was refused, or there is something to say: `partial_success`.
    Partial { rejected: u64, message: String },
    /// None of it was taken, or it could not be read to its end.
    Refused(Refusal),
}

/// Why an export is refused, by what the exporter does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not to send it again: it cannot be read.
    Malformed(String),
    /// Not to send it again: it is over a limit.
    TooLarge(String),
    /// To send it again, later.
    Busy(String),
    /// To send it faster.
    TooSlow(String),
    /// To compress it another way.
    Compression(String),
    /// To show the token.
    Unauthenticated(&'static str),
    /// To ask from somewhere else.
    Forbidden(&'static str),
    /// To ask for something else.
    Unknown(String),
    /// To keep to gRPC.
    Protocol(String),
    /// To report it.
    Internal(String),
}

impl Answer {
    /// Returns the answer to a message of which so much was taken and refused.
    pub(crate) fn of_message(
        accepted: u64,
        rejected: &Rejected,
        error: Option<&MessageError>,
    ) -> Self {
        match error {
            None if rejected.is_empty() => Self::Success,
            None => {
                let message = why_rejected(rejected);
                Self::Partial { rejected: rejected.total(), message }
            }
            Some(MessageError::TooLarge { bytes, bytes_max }) => {
                Self::Refused(too_large(*bytes, *bytes_max))
            }
            Some(error) => {
                let kept = match accepted {
                    0 => String::new(),
                    1 => "; the span before that was taken".to_owned(),
                    spans => format!("; the {spans} spans before that were taken"),
                };
                Self::Refused(Refusal::Malformed(bounded(&format!("{error}{kept}"))))
            }
        }
    }

    /// Returns a word for the metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Partial { .. } => "partial_success",
            Self::Refused(refusal) => match refusal {
                Refusal::Malformed(_) => "malformed",
                Refusal::TooLarge(_) => "too_large",
                Refusal::Busy(_) => "busy",
                Refusal::TooSlow(_) => "too_slow",
                Refusal::Compression(_) => "unknown_compression",
                Refusal::Unauthenticated(_) => "unauthenticated",
                Refusal::Forbidden(_) => "forbidden",
                Refusal::Unknown(_) => "unknown_request",
                Refusal::Protocol(_) => "protocol_error",
                Refusal::Internal(_) => "internal_error",
            },
        }
    }
}

impl Refusal {
    /// Returns what to tell the exporter.
    pub(crate) fn message(&self) -> &str {
        match self {
            Self::Malformed(text)
            | Self::TooLarge(text)
            | Self::Busy(text)
            | Self::TooSlow(text)
            | Self::Compression(text)
            | Self::Unknown(text)
            | Self::Protocol(text)
            | Self::Internal(text) => text,
            Self::Unauthenticated(text) | Self::Forbidden(text) => text,
        }
    }
}

/// Returns the refusal of a message that is over the limit.
pub(crate) fn too_large(bytes: usize, bytes_max: usize) -> Refusal {
    Refusal::TooLarge(format!(
        "message of {bytes} bytes is over the limit of {bytes_max} (`receiver.message_mib_max`): \
         export fewer spans at a time"
    ))
}

/// Returns each reason with its count and first example.
fn why_rejected(rejected: &Rejected) -> String {
    let reasons = rejected.iter().map(|(reason, counted)| {
        let spans = if counted.count == 1 { "span" } else { "spans" };
        match counted.example.as_str() {
            "" => format!("{} {spans}: {reason}", counted.count),
            example => format!("{} {spans}: {reason} (for example {example})", counted.count),
        }
    });
    bounded(&reasons.collect::<Vec<_>>().join("; "))
}

/// Cuts a text, and shows what would steer a terminal: exporters write answers to their logs.
pub(crate) fn bounded(text: &str) -> String {
    let safe = safe::line(text);
    if safe.chars().nth(TEXT_CHARS_MAX).is_none() {
        return safe.into_owned();
    }
    // One character stays for the sign that there was more.
    safe.chars().take(TEXT_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_bounded_and_on_one_line(
            text in "(.|\n|\u{7f}){0,40}",
            times in prop_oneof![Just(1), 30..200_usize],
        ) {
            let text = text.repeat(times);
            let bounded = bounded(&text);
            prop_assert!(bounded.chars().count() <= TEXT_CHARS_MAX);
            prop_assert!(!bounded.contains(char::is_control));
            prop_assert!(bounded.ends_with('…') || bounded.chars().count() >= text.chars().count());
        }
    }
}
