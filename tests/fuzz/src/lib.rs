//! What several targets share: the clock, small limits, and what must hold of a trace file.

mod dice;
pub mod json;

use libfuzzer_sys::Corpus;
use timesink_otlp::{
    Decoder, DecoderOptions, FileContent, FileError, Format, ReadOptions, encode_json,
    encode_protobuf, read,
};

pub use dice::Dice;

/// The clock of all targets.
pub const NOW: i64 = 1_800_000_000_000_000_000;

/// A small file must not decompress to more than this here.
const BYTES_MAX: usize = 1 << 20;

/// Reads a file under limits that a fuzzer can reach.
pub fn read_with(file: &[u8], threads: usize) -> Result<FileContent, FileError> {
    let options = ReadOptions {
        threads,
        message_bytes_max: BYTES_MAX / 4,
        document_bytes_max: BYTES_MAX / 2,
        file_bytes_max: BYTES_MAX as u64,
        decoded_bytes_max: 64 * BYTES_MAX as u64,
        ..ReadOptions::new(NOW)
    };
    read(file, &options)
}

/// Reads a document of one format: what it holds is accepted when it is sent on as OTLP, and each
/// span is kept, quarantined or refused whatever stands beside it.
pub fn check_document(document: &[u8], format: Format) -> Corpus {
    let Ok(content) = read_with(document, 1) else { return Corpus::Keep };
    if content.format != format {
        return Corpus::Reject;
    }
    let batches = || content.decoded.spans.iter().chain(&content.decoded.quarantine);
    let spans: usize = batches().map(|batch| batch.num_rows()).sum();
    let mut json = Decoder::new(DecoderOptions::new(NOW));
    let mut protobuf = Decoder::new(DecoderOptions::new(NOW));
    for batch in batches() {
        json.json(&encode_json(batch)).expect("what we write is whole");
        protobuf.protobuf(&encode_protobuf(batch)).expect("what we write is whole");
    }
    assert_eq!((json.spans_accepted(), protobuf.spans_accepted()), (spans as u64, spans as u64));
    let again = read_with(document, 1).expect("it was read before");
    assert_eq!(again.decoded.spans, content.decoded.spans);
    Corpus::Keep
}
