//! What the tests of this crate share: decoding with a fixed clock.

use arrow::array::RecordBatch;
use timesink_otlp::{Decoded, Decoder, DecoderOptions, MessageError};

/// 2027-01-15, after every recording.
pub(crate) const NOW: i64 = 1_800_000_000_000_000_000;

pub(crate) fn decode(read: impl FnOnce(&mut Decoder) -> Result<(), MessageError>) -> Decoded {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW));
    read(&mut decoder).expect("the framing is whole");
    decoder.finish()
}

pub(crate) fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}
