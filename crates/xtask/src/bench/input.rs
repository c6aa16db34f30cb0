//! All recordings as files: OTLP JSON lines, once and many times over, OTLP protobuf, a few spans.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::read::MultiGzDecoder;
use timesink_otlp::{Decoded, encode_protobuf};

use crate::workspace::target;

/// How far a copy lies before the one before it: longer than any recording took.
const COPY_NANOS: u64 = 3_600_000_000_000;

/// When recordings begin that are joined as if they had been made together: 25 November 2025.
const BEGIN_UNIX_NANO: u64 = 1_764_028_800_000_000_000;

/// The joined file, and its bytes.
pub(crate) struct Input {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) files: usize,
}

impl Input {
    /// Returns its messages, one a line.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
    }
}

/// Joins every `*.jsonl.gz` of a folder, in the order of their names.
pub(crate) fn join(folder: &Path) -> Result<Input> {
    join_with(folder, |_| {})
}

/// The same, with all of them begun at one time, as if they had been recorded side by side.
pub(crate) fn join_begun_together(folder: &Path) -> Result<Input> {
    join_with(folder, |json| begin_at(json, BEGIN_UNIX_NANO))
}

fn join_with(folder: &Path, change: impl Fn(&mut [u8])) -> Result<Input> {
    let named = || format!("failed to list recordings in `{}`", folder.display());
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(named)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.retain(|path| path.to_string_lossy().ends_with(".jsonl.gz"));
    paths.sort();
    if paths.is_empty() {
        bail!("expected recordings `*.jsonl.gz` in `{}`", folder.display());
    }
    let mut bytes = Vec::new();
    for path in &paths {
        let begin = bytes.len();
        let file =
            File::open(path).with_context(|| format!("failed to open `{}`", path.display()))?;
        MultiGzDecoder::new(file)
            .read_to_end(&mut bytes)
            .with_context(|| format!("failed to unpack `{}`", path.display()))?;
        change(&mut bytes[begin..]);
        if bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
    }
    let path = written("bench-traces.jsonl", |file| file.write_all(&bytes))?;
    Ok(Input { path, bytes, files: paths.len() })
}

/// Writes the recordings several times over, each copy with ids and times of its own.
pub(super) fn copies(input: &Input, count: u8) -> Result<PathBuf> {
    written("bench-copies.jsonl", |file| {
        (0..count).try_for_each(|number| {
            let mut copy = copy(&input.bytes, number);
            put_times(&mut copy, |nanos| nanos.saturating_sub(COPY_NANOS * u64::from(number)));
            file.write_all(&copy)
        })
    })
}

/// Writes all spans as protobuf, one message a batch, each behind its length.
pub(super) fn protobuf(decoded: &Decoded) -> Result<PathBuf> {
    written("bench-traces.pb", |file| {
        decoded.spans.iter().map(encode_protobuf).try_for_each(|message| {
            file.write_all(&varint(message.len()))?;
            file.write_all(&message)
        })
    })
}

/// Writes the first spans, as one protobuf message.
pub(super) fn few(decoded: &Decoded, spans: usize) -> Result<PathBuf> {
    let first = decoded.spans.first().context("expected spans in the recordings")?;
    let few = first.slice(0, spans.min(first.num_rows()));
    written("bench-few.pb", |file| file.write_all(&encode_protobuf(&few)))
}

fn written(
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
) -> Result<PathBuf> {
    let path = target()?.join(name);
    let named = || format!("failed to write `{}`", path.display());
    let mut file = BufWriter::new(File::create(&path).with_context(named)?);
    write(&mut file).and_then(|()| file.flush()).with_context(named)?;
    Ok(path)
}

/// Returns a copy of OTLP JSON, the first as it is: traces, spans and instances of services are
/// others.
pub(crate) fn copy(json: &[u8], number: u8) -> Vec<u8> {
    const INSTANCE: &[u8] = br#""service.instance.id","value":{"stringValue":""#;
    let mut copy = json.to_vec();
    let ends_with = |end: usize, key: &[u8]| json[..end].ends_with(key);
    for at in 0..json.len() {
        if ends_with(at, b"Id\":\"") {
            let digits = hex_digits(&json[at..]);
            for start in (0..digits).step_by(ID_DIGITS).filter(|_| matches!(digits, 16 | 32)) {
                let part = at + start..at + start + ID_DIGITS;
                copy[part.clone()].copy_from_slice(other_id(&json[part], number).as_bytes());
            }
        } else if ends_with(at, INSTANCE) && hex_digits(&json[at..]) == UUID_DIGITS {
            let part = at..at + UUID_DIGITS;
            let other = other_id(&json[part.clone()], number);
            copy[part].copy_from_slice(&other.as_bytes()[other.len() - UUID_DIGITS..]);
        }
    }
    copy
}

fn hex_digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count()
}

/// Moves all times of recordings by as much as puts the first of them at a time, ns since the
/// epoch.
pub(crate) fn begin_at(json: &mut [u8], begin_unix_nano: u64) {
    let first = times(json).map(|(_, nanos)| nanos).filter(|nanos| *nanos > 0).min();
    let first = first.unwrap_or_default();
    put_times(json, |nanos| nanos - first + begin_unix_nano);
}

/// Puts others in the place of times that are known: one that is not is 0.
fn put_times(json: &mut [u8], other: impl Fn(u64) -> u64) {
    for (digits, nanos) in times(json).collect::<Vec<_>>() {
        if nanos > 0 {
            put(&mut json[digits], other(nanos));
        }
    }
}

/// Returns where times are in OTLP JSON, and what they are, ns since the epoch.
fn times(json: &[u8]) -> impl Iterator<Item = (Range<usize>, u64)> {
    const KEY: &[u8] = b"UnixNano\":\"";
    let begins = json.windows(KEY.len()).enumerate().filter(|(_, key)| *key == KEY);
    begins.filter_map(|(at, _)| {
        let begin = at + KEY.len();
        let digits = json[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = begin..begin + digits;
        let nanos = String::from_utf8_lossy(&json[digits.clone()]).parse().ok()?;
        Some((digits, nanos))
    })
}

/// Writes a number in the place of one with as many digits.
fn put(digits: &mut [u8], number: u64) {
    let width = digits.len();
    digits.copy_from_slice(format!("{number:0width$}").as_bytes());
}

/// Hex digits of a span's id; a trace's has twice as many.
const ID_DIGITS: usize = 16;

/// Hex digits of a UUID before its first dash.
const UUID_DIGITS: usize = 8;

/// Returns hex digits that look as random as those of an id do: each number has its own for each.
fn other_id(digits: &[u8], number: u8) -> String {
    let text = String::from_utf8_lossy(digits);
    if number == 0 {
        return text.into_owned();
    }
    let id = u64::from_str_radix(&text, 16).unwrap_or_default();
    // The steps of SplitMix64, which can be undone: two ids never become one.
    let mixed = id.wrapping_add(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", mixed ^ (mixed >> 31))
}

/// Writes a length as protobuf does, seven bits a byte.
fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_ids_of_its_own() {
        let json = concat!(
            r#"{"key":"service.instance.id","value":{"stringValue":"d083f4bf-f30d"},"#,
            r#""traceId":"00ff0000000000000000000000000001","spanId":"0100000000000001","#,
            r#""name":"\"Id\":\"x","startTimeUnixNano":"7200000000001"}"#,
        );
        assert_eq!(copy(json.as_bytes(), 0), json.as_bytes());
        let copied = copy(json.as_bytes(), 2);
        let copied: serde_json::Value = serde_json::from_slice(&copied).expect("JSON");
        let (trace, span) = (&copied["traceId"], &copied["spanId"]);
        assert_eq!(copied["name"], "\"Id\":\"x");
        assert_eq!(copied["startTimeUnixNano"], "7200000000001");
        let instance = copied["value"]["stringValue"].as_str().expect("text");
        assert!(instance.ends_with("-f30d") && instance != "d083f4bf-f30d", "{instance}");
        let digits = |id: &serde_json::Value| id.as_str().map(str::len);
        assert_eq!((digits(trace), digits(span)), (Some(32), Some(16)));
        assert!(trace != "00ff0000000000000000000000000001" && span != "0100000000000001");
        assert_eq!(other_id(b"0100000000000001", 2), span.as_str().expect("text"));
    }

    #[test]
    fn a_recording_is_begun_at_a_time() {
        let mut json = br#"{"startTimeUnixNano":"7200000000005","endTimeUnixNano":"7200000000009",
            "timeUnixNano":"0","startTimeUnixNano":"7200000000003"}"#
            .to_vec();
        begin_at(&mut json, 9_000_000_000_000);
        let nanos: Vec<u64> = times(&json).map(|(_, nanos)| nanos).collect();
        assert_eq!(nanos, [9_000_000_000_002, 9_000_000_000_006, 0, 9_000_000_000_000]);
    }

    #[test]
    fn lengths_are_written_seven_bits_a_byte() {
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(300), [0xac, 0x02]);
    }
}
