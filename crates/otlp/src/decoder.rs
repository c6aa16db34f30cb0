//! [`Decoder`]: any number of OTLP messages in, Arrow batches out.

use arrow::array::RecordBatch;

use crate::rejected::{Reason, Rejected, Repair, Tally};

/// What a [`Decoder`] needs to know. Everything has a default except the clock.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// Now, ns since the epoch: spans that start over a day later are quarantined.
    pub now_unix_nano: i64,
    /// Rows of a full batch; more begin the next one.
    pub batch_rows_max: usize,
    /// The largest message taken, bytes.
    pub message_bytes_max: usize,
    /// The most text that one message may repeat by giving every span its resource and scope,
    /// bytes: a large resource over many tiny spans would otherwise fill the memory.
    pub repeated_bytes_max: usize,
}

impl DecoderOptions {
    /// Returns the defaults, for a clock that says `now_unix_nano`.
    pub fn new(now_unix_nano: i64) -> Self {
        Self {
            now_unix_nano,
            batch_rows_max: 8192,
            message_bytes_max: 64 << 20,
            repeated_bytes_max: 512 << 20,
        }
    }
}

/// A signal of OTLP that is not traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Logs,
    Metrics,
    Profiles,
}

/// Why a message could not be read to its end. Spans before the break are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The outer framing is broken: not JSON, or protobuf that ends too early.
    #[error("byte {offset}: expected {expected}, found {found}")]
    Malformed { offset: usize, expected: &'static str, found: String },
    /// The message is larger than [`DecoderOptions::message_bytes_max`].
    #[error("message of {bytes} bytes is over the limit of {bytes_max} (`message_bytes_max`)")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// A well-formed document that holds another signal and no traces.
    #[error("expected traces (`resourceSpans`), found {signal:?}")]
    OtherSignal { signal: Signal },
}

/// Collects the spans of any number of messages into Arrow batches.
#[derive(Debug)]
pub struct Decoder {
    decoded: Decoded,
}

/// What came out: batches of `spans` and of `quarantine`, and what was refused or mended.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Batches with the schema of `timesink_model::schema::spans::table()`.
    pub spans: Vec<RecordBatch>,
    /// Batches with the schema of `timesink_model::schema::quarantine::table()`.
    pub quarantine: Vec<RecordBatch>,
    pub rejected: Rejected,
    /// Spans taken with something mended. A span can be counted under several repairs.
    pub repaired: Tally<Repair>,
}

impl Decoder {
    /// Returns an empty decoder.
    pub fn new(_options: DecoderOptions) -> Self {
        Self { decoded: Decoded::default() }
    }

    /// Takes one `ExportTraceServiceRequest` (the same bytes as a `TracesData`).
    ///
    /// # Errors
    /// The outer framing is broken; the spans before the break are kept.
    pub fn protobuf(&mut self, message: &[u8]) -> Result<(), MessageError> {
        let _ = message;
        Ok(())
    }

    /// Takes one OTLP JSON object.
    ///
    /// # Errors
    /// The text is not one JSON object; the spans before the break are kept.
    pub fn json(&mut self, message: &[u8]) -> Result<(), MessageError> {
        let _ = message;
        Ok(())
    }

    /// Counts a span that the caller could not even turn into a message.
    pub fn reject(&mut self, reason: Reason, example: impl FnOnce() -> String) {
        self.decoded.rejected.add(reason, example);
    }

    /// Returns how many spans were accepted so far, quarantined ones included.
    pub fn spans_accepted(&self) -> u64 {
        0
    }

    /// Returns everything collected.
    pub fn finish(self) -> Decoded {
        self.decoded
    }
}

impl Decoded {
    /// Joins what several decoders collected, in the order given.
    pub fn merge(parts: Vec<Decoded>) -> Decoded {
        let mut all = Decoded::default();
        for part in parts {
            all.spans.extend(part.spans);
            all.quarantine.extend(part.quarantine);
            all.rejected.merge(part.rejected);
            all.repaired.merge(part.repaired);
        }
        all
    }
}
