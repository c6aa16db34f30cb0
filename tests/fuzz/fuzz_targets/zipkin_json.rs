//! Any bytes as a Zipkin document.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use timesink_fuzz::{check_document, json};
use timesink_otlp::Format;

fuzz_mutator!(|data: &mut [u8], size: usize, size_max: usize, seed: u32| {
    json::mutate(data, size, size_max, seed)
});

fuzz_target!(|document: &[u8]| -> libfuzzer_sys::Corpus {
    check_document(document, Format::ZipkinJson)
});
