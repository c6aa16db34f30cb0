//! Any text as trace notation, and as a page of cases.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use timesink_testkit::{cases, notation};

/// Repetitions multiply: what stands for more is counted and not made.
const SPANS_MAX: u64 = 2_000;

fuzz_target!(|text: &[u8]| {
    let Ok(text) = std::str::from_utf8(text) else { return };
    let _ = cases::parse(Path::new("cases.md"), text);
    let Ok(notation) = notation::parse(text) else { return };
    if notation.span_count() > SPANS_MAX {
        return;
    }
    let decoded = notation.decode().unwrap();
    let batches = decoded.spans.iter().chain(&decoded.quarantine);
    let rows: usize = batches.map(|batch| batch.num_rows()).sum();
    assert_eq!(rows as u64 + decoded.rejected.total(), notation.span_count());
});
