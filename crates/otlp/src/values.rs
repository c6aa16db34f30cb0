//! Attribute values as text, and back.
//!
//! | kind | text |
//! |---|---|
//! | `s` | the string as it is |
//! | `i` | decimal digits |
//! | `d` | the shortest digits that give the same double, with `.` or `e`; or a word (see below) |
//! | `b` | `true` or `false` |
//! | `y` | base64 (RFC 4648 section 4, with padding) |
//! | `a`, `k` | JSON: `[1,1.0,"a",true,null]`, `{"key":[]}`; order and repeated keys are kept |
//! | `n` | NULL: the attribute came without a value |
//!
//! The words are `NaN`, `Infinity` and `-Infinity`. What JSON lacks is said with a `$` inside
//! arrays and key-value lists: bytes are `{"$bytes":"AQI="}`, doubles without digits
//! `{"$double":"NaN"}`, and a key of the sender that starts with `$` has it doubled. There is one
//! `NaN`: its payload bits are not kept.

use std::io::Write as _;

use base64::Engine as _;
use base64::alphabet::{STANDARD as DIGITS, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::attributes::kind;
use crate::json::{Cursor, unescape};
use crate::wire::Writer;

/// How deep arrays and key-value lists nest. What lies deeper is taken as `null` and counted as
/// repaired: real attributes nest two or three levels, and readers of the text recurse.
pub(crate) const NESTING_MAX: usize = 64;

pub(crate) fn push_int(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..]);
}

pub(crate) fn push_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

pub(crate) fn push_double(out: &mut Vec<u8>, value: f64) {
    match non_finite(value) {
        Some(word) => out.extend_from_slice(word.as_bytes()),
        None => write!(out, "{value:?}").expect("writing to memory does not fail"),
    }
}

fn non_finite(value: f64) -> Option<&'static str> {
    if value.is_finite() {
        return None;
    }
    Some(match value {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    })
}

pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let length = base64::encoded_len(bytes.len(), true).expect("a message is smaller than memory");
    out.resize(start + length, 0);
    STANDARD.encode_slice(bytes, &mut out[start..]).expect("the slice has the encoded length");
}

/// Appends a JSON string. `text` is valid UTF-8.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut done = 0;
    for (at, byte) in text.iter().enumerate() {
        if !matches!(byte, b'"' | b'\\' | 0..=0x1f) {
            continue;
        }
        out.extend_from_slice(&text[done..at]);
        done = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&text[done..]);
}

pub(crate) const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a key of the sender inside a key-value list, and the colon.
pub(crate) fn push_json_key(out: &mut Vec<u8>, key: &[u8]) {
    out.push(b'"');
    if key.first() == Some(&b'$') {
        out.push(b'$');
    }
    push_escaped(out, key);
    out.extend_from_slice(b"\":");
}

/// Appends bytes inside an array or key-value list.
pub(crate) fn push_json_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"$bytes\":\"");
    push_base64(out, bytes);
    out.extend_from_slice(b"\"}");
}

/// Appends a double inside an array or key-value list.
pub(crate) fn push_json_double(out: &mut Vec<u8>, value: f64) {
    match non_finite(value) {
        Some(word) => {
            out.extend_from_slice(b"{\"$double\":\"");
            out.extend_from_slice(word.as_bytes());
            out.extend_from_slice(b"\"}");
        }
        None => push_double(out, value),
    }
}

/// A value of OTLP's `AnyValue`, read back from its text to be sent again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    None,
    String(Vec<u8>),
    Int(i64),
    Double(f64),
    Bool(bool),
    Array(Vec<Value>),
    KvList(Vec<(Vec<u8>, Value)>),
    Bytes(Vec<u8>),
}

impl Value {
    /// Reads the value of an attribute. Text that its kind does not allow, which we never write,
    /// is read as a string.
    pub(crate) fn parse(kind: u8, text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::None };
        let parsed = match kind {
            kind::INT => text.parse().ok().map(Self::Int),
            kind::DOUBLE => parse_double(text.as_bytes()).map(Self::Double),
            kind::BOOL => text.parse().ok().map(Self::Bool),
            kind::BYTES => STANDARD.decode(text).ok().map(Self::Bytes),
            kind::ARRAY | kind::KVLIST => Self::parse_json(text.as_bytes()),
            kind::NONE => Some(Self::None),
            _ => None,
        };
        parsed.unwrap_or_else(|| Self::String(text.as_bytes().to_vec()))
    }

    fn parse_json(text: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        let value = Self::nested(&mut cursor, 0)?;
        cursor.at_end().then_some(value)
    }

    fn nested(cursor: &mut Cursor<'_>, depth: usize) -> Option<Self> {
        match cursor.peek()? {
            _ if depth > NESTING_MAX => None,
            b'"' => Some(Self::String(string(cursor)?)),
            b'[' => {
                let mut values = Vec::new();
                let mut array = cursor.array().ok()?;
                while cursor.element(&mut array).ok()? {
                    values.push(Self::nested(cursor, depth + 1)?);
                }
                Some(Self::Array(values))
            }
            b'{' => {
                let mut entries = Vec::new();
                let mut object = cursor.object().ok()?;
                while let Some(key) = cursor.member(&mut object).ok()? {
                    entries.push((key.into_owned(), Self::nested(cursor, depth + 1)?));
                }
                Self::object(entries)
            }
            _ => Self::scalar(cursor.token()),
        }
    }

    fn scalar(token: &[u8]) -> Option<Self> {
        match token {
            b"null" => Some(Self::None),
            b"true" => Some(Self::Bool(true)),
            b"false" => Some(Self::Bool(false)),
            _ if token.iter().any(|b| matches!(b, b'.' | b'e' | b'E')) => {
                parse_double(token).map(Self::Double)
            }
            _ => std::str::from_utf8(token).ok()?.parse().ok().map(Self::Int),
        }
    }

    /// A key-value list, or one of the two things that JSON lacks.
    fn object(mut entries: Vec<(Vec<u8>, Value)>) -> Option<Self> {
        if let [(key, Self::String(text))] = entries.as_slice() {
            match key.as_slice() {
                b"$bytes" => return STANDARD.decode(text).ok().map(Self::Bytes),
                b"$double" => return parse_double(text).map(Self::Double),
                _ => {}
            }
        }
        for (key, _) in &mut entries {
            if key.starts_with(b"$$") {
                key.remove(0);
            }
        }
        Some(Self::KvList(entries))
    }

    /// Writes the fields of an `AnyValue` (common.proto).
    pub(crate) fn write_protobuf(&self, writer: &mut Writer) {
        match self {
            Self::None => {}
            Self::String(text) => writer.bytes(1, text),
            Self::Bool(value) => writer.varint(2, u64::from(*value)),
            Self::Int(value) => writer.varint(3, *value as u64),
            Self::Double(value) => writer.fixed64(4, value.to_bits()),
            Self::Array(values) => writer.message(5, |array| {
                for value in values {
                    array.message(1, |w| value.write_protobuf(w));
                }
            }),
            Self::KvList(entries) => writer.message(6, |list| {
                for (key, value) in entries {
                    list.message(1, |entry| {
                        entry.bytes(1, key);
                        entry.message(2, |w| value.write_protobuf(w));
                    });
                }
            }),
            Self::Bytes(bytes) => writer.bytes(7, bytes),
        }
    }

    /// Writes an `AnyValue` object of OTLP JSON.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::None => out.extend_from_slice(b"{"),
            Self::String(text) => {
                out.extend_from_slice(b"{\"stringValue\":");
                push_json_string(out, text);
            }
            Self::Bool(value) => {
                out.extend_from_slice(b"{\"boolValue\":");
                push_bool(out, *value);
            }
            Self::Int(value) => {
                out.extend_from_slice(b"{\"intValue\":\"");
                push_int(out, *value);
                out.push(b'"');
            }
            Self::Double(value) => {
                out.extend_from_slice(b"{\"doubleValue\":");
                match non_finite(*value) {
                    Some(word) => push_json_string(out, word.as_bytes()),
                    None => push_double(out, *value),
                }
            }
            Self::Array(values) => {
                out.extend_from_slice(b"{\"arrayValue\":{\"values\":[");
                push_separated(out, values, |out, value| value.write_json(out));
                out.extend_from_slice(b"]}");
            }
            Self::KvList(entries) => {
                out.extend_from_slice(b"{\"kvlistValue\":{\"values\":[");
                push_separated(out, entries, |out, (key, value)| {
                    push_key_value(out, key, value);
                });
                out.extend_from_slice(b"]}");
            }
            Self::Bytes(bytes) => {
                out.extend_from_slice(b"{\"bytesValue\":\"");
                push_base64(out, bytes);
                out.push(b'"');
            }
        }
        out.push(b'}');
    }
}

/// Appends a `KeyValue` object of OTLP JSON.
pub(crate) fn push_key_value(out: &mut Vec<u8>, key: &[u8], value: &Value) {
    out.extend_from_slice(b"{\"key\":");
    push_json_string(out, key);
    out.extend_from_slice(b",\"value\":");
    value.write_json(out);
    out.push(b'}');
}

/// Appends items with commas between them.
pub(crate) fn push_separated<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut push: impl FnMut(&mut Vec<u8>, T),
) {
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        push(out, item);
    }
}

/// Reads a double as OTLP JSON and our own text write it.
pub(crate) fn parse_double(text: &[u8]) -> Option<f64> {
    match text {
        b"NaN" => Some(f64::NAN),
        b"Infinity" => Some(f64::INFINITY),
        b"-Infinity" => Some(f64::NEG_INFINITY),
        _ => {
            let starts_like_a_number = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
            let text = std::str::from_utf8(text).ok().filter(|_| starts_like_a_number)?;
            text.parse().ok().filter(|value: &f64| value.is_finite())
        }
    }
}

/// Reads a 64-bit integer of decimal digits, with a minus perhaps.
#[inline]
pub(crate) fn parse_decimal(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = parse_digits(digits)?;
    if is_negative { 0_i64.checked_sub_unsigned(magnitude) } else { magnitude.try_into().ok() }
}

/// Reads digits, as many leading zeros as there are aside at most 19: they fit into 64 bits.
#[inline]
fn parse_digits(digits: &[u8]) -> Option<u64> {
    const DIGITS_MAX: usize = 19;
    let mut digits = digits;
    while let ([b'0', rest @ ..], true) = (digits, digits.len() > DIGITS_MAX) {
        digits = rest;
    }
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    digits.iter().try_fold(0, |value, digit| {
        digit.is_ascii_digit().then(|| value * 10 + u64::from(digit - b'0'))
    })
}

/// Returns whether the bytes are UTF-8. Most are ASCII, which is seen eight bytes at a time.
#[inline]
pub(crate) fn is_utf8(bytes: &[u8]) -> bool {
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let (eights, rest) = bytes.as_chunks::<8>();
    let seen = eights.iter().fold(0, |seen, eight| seen | u64::from_le_bytes(*eight));
    let rest = rest.iter().fold(0, |seen, byte| seen | byte);
    (seen & HIGH_BITS == 0 && rest < 0x80) || std::str::from_utf8(bytes).is_ok()
}

/// Reads base64 as protobuf JSON allows it: the standard digits or those for URLs, with padding
/// or without.
pub(crate) fn parse_base64(digits: &[u8]) -> Option<Vec<u8>> {
    const TOLERANT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let is_for_urls = digits.iter().any(|digit| matches!(digit, b'-' | b'_'));
    let alphabet = if is_for_urls { &URL_SAFE } else { &DIGITS };
    GeneralPurpose::new(alphabet, TOLERANT).decode(digits).ok()
}

fn string(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let raw = cursor.string().ok()?;
    let mut text = Vec::new();
    unescape(raw, &mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::kind::{ARRAY, BOOL, BYTES, DOUBLE, INT, KVLIST, NONE, STRING};

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn integers_are_their_digits() {
        for value in [0, 7, -7, 10, i64::MAX, i64::MIN] {
            let digits = text(|out| push_int(out, value));
            assert_eq!(digits, value.to_string());
            assert_eq!(parse_decimal(digits.as_bytes()), Some(value));
        }
        for zeros in [1, 30] {
            let padded = format!("-{}12", "0".repeat(zeros));
            assert_eq!(parse_decimal(padded.as_bytes()), Some(-12));
        }
        let refused = ["", "-", "+1", "1.0", "1e3", " 1", "0x1", "--1"];
        let too_large = ["9223372036854775808", "-9223372036854775809", "18446744073709551616"];
        for text in refused.iter().chain(&too_large).chain(&["99999999999999999999"]) {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn doubles_never_look_like_integers() {
        for value in [0.0, -0.0, 1.0, 0.1, 1e15, 1e16, 1e300, 5e-324, f64::MAX, f64::MIN] {
            let digits = text(|out| push_double(out, value));
            assert!(digits.contains(['.', 'e']), "{digits}");
            assert_eq!(parse_double(digits.as_bytes()).map(f64::to_bits), Some(value.to_bits()));
        }
        assert!(parse_double(b"NaN").is_some_and(f64::is_nan));
        for refused in ["", "inf", "nan", "+1", "infinity", "1e999", "0x1", ".5", "1,5"] {
            assert_eq!(parse_double(refused.as_bytes()), None, "{refused}");
        }
    }

    #[test]
    fn utf_8_is_told_at_every_offset() {
        for length in 0..20 {
            for at in 0..length {
                let mut bytes = vec![b'a'; length];
                assert!(is_utf8(&bytes));
                bytes[at] = 0xff;
                assert!(!is_utf8(&bytes));
            }
        }
        assert!(is_utf8("grün, 緑, 🟩".as_bytes()));
    }

    #[test]
    fn text_is_read_back_by_its_kind() {
        let list = |entries: &[(&str, Value)]| {
            Value::KvList(entries.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.clone())).collect())
        };
        let string = |text: &str| Value::String(text.as_bytes().to_vec());
        for (kind, text, expected) in [
            (STRING, "12", string("12")),
            (INT, "12", Value::Int(12)),
            (DOUBLE, "12.0", Value::Double(12.0)),
            (DOUBLE, "-Infinity", Value::Double(f64::NEG_INFINITY)),
            (BOOL, "false", Value::Bool(false)),
            (BYTES, "AQI=", Value::Bytes(vec![1, 2])),
            (BYTES, "", Value::Bytes(vec![])),
            (ARRAY, "[]", Value::Array(vec![])),
            (ARRAY, r#"[1,1.0,1e16,"\u0001",null]"#, {
                let doubles = [Value::Double(1.0), Value::Double(1e16)];
                let [one, large] = doubles;
                Value::Array(vec![Value::Int(1), one, large, string("\u{1}"), Value::None])
            }),
            (KVLIST, r#"{"$bytes":"AQI="}"#, Value::Bytes(vec![1, 2])),
            (KVLIST, r#"{"$$bytes":"AQI="}"#, list(&[("$bytes", string("AQI="))])),
            (KVLIST, r#"{"$$":1,"$$":2}"#, list(&[("$", Value::Int(1)), ("$", Value::Int(2))])),
            (ARRAY, r#"[{"$double":"Infinity"}]"#, {
                Value::Array(vec![Value::Double(f64::INFINITY)])
            }),
        ] {
            assert_eq!(Value::parse(kind, Some(text)), expected, "{text}");
        }
        assert_eq!(Value::parse(NONE, None), Value::None);
        assert_eq!(Value::parse(STRING, None), Value::None);
    }

    #[test]
    fn text_that_its_kind_does_not_allow_is_a_string() {
        let deep = "[".repeat(NESTING_MAX + 2) + &"]".repeat(NESTING_MAX + 2);
        for (kind, text) in [
            (INT, "x"),
            (DOUBLE, "x"),
            (BOOL, "yes"),
            (BYTES, "!"),
            (ARRAY, "[1"),
            (ARRAY, "[1] 2"),
            (ARRAY, "[01x]"),
            (KVLIST, "{\"$bytes\":\"!\"}"),
            (ARRAY, &deep),
            (b'?', "x"),
        ] {
            let expected = Value::String(text.as_bytes().to_vec());
            assert_eq!(Value::parse(kind, Some(text)), expected, "{text}");
        }
    }

    #[test]
    fn base64_is_taken_in_every_form_that_protobuf_json_allows() {
        for digits in ["-_8=", "-_8", "+/8=", "+/8"] {
            assert_eq!(parse_base64(digits.as_bytes()), Some(vec![0xfb, 0xff]), "{digits}");
        }
        assert_eq!(parse_base64(b"+_8="), None);
        assert_eq!(parse_base64(b"A"), None);
    }
}
