//! The stages of the engine, each on the output of the one before.

use anyhow::Result;
use timesink_otlp::{Decoded, Decoder, DecoderOptions, encode_protobuf};

use super::input::Input;
use super::{Measure, median};

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// Measures every stage; returns the number of spans, too.
pub(super) fn all(input: &Input, runs: usize) -> Result<(u64, Vec<Measure>)> {
    let mut measures = Vec::new();
    let mut add = |name, median| measures.push(Measure { name, median, peak_bytes: None });

    let (time, decoded) = median(runs, || decode_json(input))?;
    add("decode JSON", time);

    let messages: Vec<Vec<u8>> = decoded.spans.iter().map(encode_protobuf).collect();
    let (time, _) = median(runs, || decode_protobuf(&messages))?;
    add("decode protobuf", time);

    let spans = decoded.spans.iter().map(|batch| batch.num_rows() as u64).sum();
    Ok((spans, measures))
}

fn decode_json(input: &Input) -> Result<Decoded> {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
    for message in input.messages() {
        decoder.json(message)?;
    }
    Ok(decoder.finish())
}

fn decode_protobuf(messages: &[Vec<u8>]) -> Result<Decoded> {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
    for message in messages {
        decoder.protobuf(message)?;
    }
    Ok(decoder.finish())
}
