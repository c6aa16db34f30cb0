//! [`Draft`]: the fields of the span that is being read, in any order, until it is judged whole.

use crate::columns::inline_view;
use crate::rejected::{Reason, Repair};
use crate::values::{HEX, push_int};

/// An id of `N` hex digits as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Id<const N: usize> {
    #[default]
    Absent,
    Zero,
    /// Lower-case hex digits, not all zero.
    Hex([u8; N]),
    /// Not as long as it must be, or not hex.
    Broken,
}

impl<const N: usize> Id<N> {
    /// Takes an id as OTLP JSON has it: hex digits of either case, empty for none.
    #[inline]
    pub(crate) fn from_hex(text: &[u8]) -> Self {
        let Ok(digits) = <&[u8; N]>::try_from(text) else {
            return if text.is_empty() { Self::Absent } else { Self::Broken };
        };
        // Without branches, for the compiler to take 16 digits at a time. Bit 6 tells letters.
        let lower = digits.map(|digit| digit | (digit & 0x40) >> 1);
        let is_hex = lower.iter().fold(true, |is_hex, digit| {
            is_hex & ((digit.wrapping_sub(b'0') < 10) | (digit.wrapping_sub(b'a') < 6))
        });
        match (is_hex, lower == [b'0'; N]) {
            (false, _) => Self::Broken,
            (true, true) => Self::Zero,
            (true, false) => Self::Hex(lower),
        }
    }

    /// Returns the id's digits, as many zeros for a zero id, nothing for an absent one, and `None`
    /// for a broken one.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Absent => Some(b""),
            Self::Zero => Some(&[b'0'; N]),
            Self::Hex(digits) => Some(digits),
            Self::Broken => None,
        }
    }

    /// Takes an id as protobuf has it: half as many bytes, empty for none.
    #[inline]
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Absent;
        }
        if bytes.len() * 2 != N {
            return Self::Broken;
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Self::Zero;
        }
        let mut hex = [0; N];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        Self::Hex(hex)
    }
}

/// Why the span that is being read is refused, and the byte of the message where that showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) offset: usize,
}

/// What was mended, each at most once a span.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Repairs {
    noted: [bool; Repair::ALL.len()],
}

impl Repairs {
    pub(crate) fn note(&mut self, repair: Repair) {
        self.noted[repair as usize] = true;
    }

    pub(crate) fn note_if(&mut self, happened: bool, repair: Repair) {
        self.noted[repair as usize] |= happened;
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Repair> {
        Repair::ALL.into_iter().filter(move |repair| self.noted[*repair as usize])
    }

    pub(crate) fn any(self) -> bool {
        self.noted.contains(&true)
    }
}

/// The single fields of a span. Attributes, events and links go into their columns at once and are
/// taken back if the span is refused; texts are views into the batch's arena.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Draft {
    pub(crate) trace_id: Id<32>,
    pub(crate) span_id: Id<16>,
    pub(crate) parent_span_id: Id<16>,
    pub(crate) trace_state: u128,
    pub(crate) name: u128,
    pub(crate) status_message: u128,
    pub(crate) start_time_unix_nano: i64,
    pub(crate) end_time_unix_nano: i64,
    pub(crate) kind: i32,
    pub(crate) status_code: i32,
    pub(crate) flags: u32,
    pub(crate) dropped_attributes_count: u32,
    pub(crate) dropped_events_count: u32,
    pub(crate) dropped_links_count: u32,
    pub(crate) repairs: Repairs,
}

impl Draft {
    /// Returns the ids that the span must have, or why it is refused.
    pub(crate) fn ids(&self) -> Result<([u8; 32], [u8; 16]), Reason> {
        match (self.trace_id, self.span_id, self.parent_span_id) {
            (Id::Hex(_), Id::Hex(_), Id::Broken) => Err(Reason::ParentSpanId),
            (Id::Hex(trace_id), Id::Hex(span_id), _) => Ok((trace_id, span_id)),
            (Id::Hex(_), _, _) => Err(Reason::SpanId),
            _ => Err(Reason::TraceId),
        }
    }
}

/// The names of span kinds by number (trace.proto, `SpanKind`).
pub(crate) const KINDS: [&str; 6] =
    ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

/// The number of the kind SERVER.
pub(crate) const SERVER: i32 = 2;

/// The number of the kind CLIENT.
pub(crate) const CLIENT: i32 = 3;

/// The names of status codes by number (trace.proto, `StatusCode`).
pub(crate) const STATUS_CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// The views of span kinds by number.
pub(crate) const KIND_VIEWS: [u128; KINDS.len()] = views(KINDS);

/// The views of status codes by number.
pub(crate) const STATUS_CODE_VIEWS: [u128; STATUS_CODES.len()] = views(STATUS_CODES);

const fn views<const N: usize>(names: [&str; N]) -> [u128; N] {
    let mut views = [0; N];
    let mut number = 0;
    while number < N {
        views[number] = inline_view(names[number].as_bytes()).expect("names are short");
        number += 1;
    }
    views
}

/// Returns the view of an enum's name, or, for a number unknown to OTLP 1.11, of its digits.
#[inline]
pub(crate) fn enum_view(names: &[u128], number: i32) -> u128 {
    if let Some(view) = usize::try_from(number).ok().and_then(|number| names.get(number)) {
        return *view;
    }
    let mut digits = Vec::new();
    push_int(&mut digits, i64::from(number));
    inline_view(&digits).expect("a 32-bit number has at most 11 characters")
}

/// Returns the number of an enum's text, the reverse of [`enum_view`].
pub(crate) fn enum_number(names: &[&str], text: &str) -> i32 {
    match names.iter().position(|name| *name == text) {
        Some(number) => number as i32,
        None => text.parse().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hex_of_either_case() {
        let upper = Id::<16>::from_hex(b"EEE19B7EC3C1B174");
        assert_eq!(upper, Id::Hex(*b"eee19b7ec3c1b174"));
        assert_eq!(Id::<16>::from_hex(b"eee19b7ec3c1b17"), Id::Broken);
        assert_eq!(Id::<16>::from_hex(b"eee19b7ec3c1b17g"), Id::Broken);
        assert_eq!(Id::<16>::from_hex(b"eee19b7ec3c1b17@"), Id::Broken);
        assert_eq!(Id::<16>::from_hex(b"0000000000000000"), Id::Zero);
        assert_eq!(Id::<16>::from_hex(b""), Id::Absent);
    }

    #[test]
    fn every_byte_is_hex_or_not() {
        for byte in 0..=255_u8 {
            let mut text = *b"1234567812345678";
            text[7] = byte;
            let is_hex = matches!(Id::<16>::from_hex(&text), Id::Hex(_));
            assert_eq!(is_hex, byte.is_ascii_hexdigit(), "{byte}");
        }
    }

    #[test]
    fn takes_bytes_of_the_right_length() {
        assert_eq!(
            Id::<16>::from_bytes(&[0xab, 1, 2, 3, 4, 5, 6, 7]),
            Id::Hex(*b"ab01020304050607")
        );
        assert_eq!(Id::<16>::from_bytes(&[1; 7]), Id::Broken);
        assert_eq!(Id::<16>::from_bytes(&[0; 8]), Id::Zero);
        assert_eq!(Id::<16>::from_bytes(&[]), Id::Absent);
    }

    #[test]
    fn numbers_unknown_to_otlp_are_digits() {
        for number in [0, 2, 5, 6, -1, i32::MIN, i32::MAX] {
            let view = enum_view(&KIND_VIEWS, number).to_le_bytes();
            let text = std::str::from_utf8(&view[4..4 + usize::from(view[0])]).expect("ASCII");
            assert_eq!(enum_number(&KINDS, text), number);
        }
    }
}
