//! The stages of the engine, each on the output of the one before.

use anyhow::Result;
use timesink_otlp::{Decoded, Decoder, DecoderOptions};

use super::input::Input;
use super::{Measure, median};

/// A clock later than every recording, whose spans are so never quarantined as future ones.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// Measures every stage; returns the number of spans, too.
pub(super) fn all(input: &Input, runs: usize) -> Result<(u64, Vec<Measure>)> {
    let (json, decoded) = median(runs, || decode_json(input))?;
    let spans = decoded.spans.iter().map(|batch| batch.num_rows() as u64).sum();
    let measures = vec![Measure { name: "decode JSON", median: json, peak_bytes: None }];
    Ok((spans, measures))
}

fn decode_json(input: &Input) -> Result<Decoded> {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
    for message in input.messages() {
        decoder.json(message)?;
    }
    Ok(decoder.finish())
}
