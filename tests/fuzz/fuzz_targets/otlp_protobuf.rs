//! Any bytes as an OTLP protobuf message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timesink_fuzz::NOW;
use timesink_otlp::{Decoder, DecoderOptions, encode_protobuf};

fuzz_target!(|message: &[u8]| {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    let _ = decoder.protobuf(message);
    let accepted = decoder.spans_accepted();
    let decoded = decoder.finish();
    let mut again = Decoder::new(DecoderOptions::new(NOW));
    for batch in decoded.spans.iter().chain(&decoded.quarantine) {
        again.protobuf(&encode_protobuf(batch)).expect("what we write is whole");
    }
    assert_eq!(again.spans_accepted(), accepted);
});
