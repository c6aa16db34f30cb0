//! Any bytes as an OTLP JSON object.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timesink_otlp::{Decoder, DecoderOptions, encode_json};

const NOW: i64 = 1_800_000_000_000_000_000;

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
