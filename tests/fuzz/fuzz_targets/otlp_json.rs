//! Any bytes as an OTLP JSON object.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use timesink_fuzz::{NOW, json};
use timesink_otlp::{Decoder, DecoderOptions, encode_json};

fuzz_mutator!(|data: &mut [u8], size: usize, size_max: usize, seed: u32| {
    json::mutate(data, size, size_max, seed)
});

fuzz_target!(|message: &[u8]| {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    let _ = decoder.json(message);
    let accepted = decoder.spans_accepted();
    let decoded = decoder.finish();
    let mut again = Decoder::new(DecoderOptions::new(NOW));
    for batch in decoded.spans.iter().chain(&decoded.quarantine) {
        again.json(&encode_json(batch)).expect("what we write is whole");
    }
    assert_eq!(again.spans_accepted(), accepted);
});
