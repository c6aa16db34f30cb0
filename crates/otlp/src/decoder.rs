//! [`Decoder`]: any number of OTLP messages in, Arrow batches out.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use timesink_model::schema::Columns;

use crate::budget::Budget;
use crate::builder::{Builder, MESSAGE_BYTES_CEILING};
use crate::draft::Repairs;
use crate::json::Syntax;
use crate::protobuf::Break;
use crate::redact::Redaction;
use crate::rejected::{Reason, Rejected, Repair, Tally};
use crate::{otlp_json, protobuf};

/// What a [`Decoder`] needs to know. Everything has a default except the clock.
#[derive(Debug, Clone)]
pub struct DecoderOptions {
    /// Now, ns since the epoch: spans that start over a day later are quarantined.
    pub now_unix_nano: i64,
    /// Rows of a full batch; more begin the next one.
    pub batch_rows_max: usize,
    /// The largest message taken, bytes; at most 256 MiB.
    pub message_bytes_max: usize,
    /// The most text that one message may repeat by giving every span its resource and scope,
    /// bytes, at most 1 GiB: a large resource over many tiny spans would otherwise fill the memory.
    pub repeated_bytes_max: usize,
    /// The columns of `spans` to make; batches have no others.
    pub columns: Columns,
    /// What of attributes and statements to hide. Default: nothing.
    pub redaction: Option<Arc<Redaction>>,
}

impl DecoderOptions {
    /// Returns the defaults, for a clock that says `now_unix_nano`.
    pub fn new(now_unix_nano: i64) -> Self {
        Self {
            now_unix_nano,
            batch_rows_max: 8192,
            message_bytes_max: 64 << 20,
            repeated_bytes_max: 512 << 20,
            columns: Columns::All,
            redaction: None,
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

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logs => "logs",
            Self::Metrics => "metrics",
            Self::Profiles => "profiles",
        })
    }
}

/// Why a message could not be read to its end. The spans that could be read are kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The outer framing is broken: not JSON, or protobuf whose lengths do not add up.
    #[error("byte {offset}: expected {expected}, found {found}")]
    Malformed { offset: usize, expected: &'static str, found: String },
    /// The message is larger than [`DecoderOptions::message_bytes_max`].
    #[error("message of {bytes} bytes is over the limit of {bytes_max} (`message_bytes_max`)")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// A whole document that holds another signal and no traces.
    #[error("expected traces (`resourceSpans`), found {signal}")]
    OtherSignal { signal: Signal },
}

/// Collects the spans of any number of messages into Arrow batches.
///
/// ```
/// use timesink_otlp::{Decoder, DecoderOptions};
///
/// let mut decoder = Decoder::new(DecoderOptions::new(1_800_000_000_000_000_000));
/// decoder.json(br#"{"resourceSpans":[{"scopeSpans":[{"spans":[
///     {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"GET /"},
///     {"traceId":"not an id","spanId":"eee19b7ec3c1b175"}
/// ]}]}]}"#)?;
/// let decoded = decoder.finish();
/// assert_eq!(decoded.spans[0].num_rows(), 1);
/// assert_eq!(decoded.rejected.total(), 1);
/// # Ok::<(), timesink_otlp::MessageError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    builder: Builder,
}

/// What came out: batches of `spans` and of `quarantine`, and what was refused or mended.
#[derive(Debug, Default)]
pub struct Decoded {
    /// Batches with the schema of `timesink_model::schema::spans::table()`, of which the columns
    /// that were not asked for are left out.
    pub spans: Vec<RecordBatch>,
    /// Batches with the schema of `timesink_model::schema::quarantine::table()`, likewise.
    pub quarantine: Vec<RecordBatch>,
    pub rejected: Rejected,
    /// How many spans, resources and scopes were taken with something mended; one can be counted
    /// under several repairs. JSON that is not UTF-8 counts once a message.
    pub repaired: Tally<Repair>,
}

impl Decoder {
    /// Returns an empty decoder.
    pub fn new(options: DecoderOptions) -> Self {
        Self::within(options, Arc::default())
    }

    /// Returns an empty decoder that shares a budget with others. Once that is overspent it takes
    /// messages without reading them.
    pub(crate) fn within(options: DecoderOptions, budget: Arc<Budget>) -> Self {
        Self { builder: Builder::new(options, budget) }
    }

    pub(crate) fn is_overspent(&self) -> bool {
        self.builder.is_overspent()
    }

    /// Takes one `ExportTraceServiceRequest` (the same bytes as a `TracesData`).
    ///
    /// # Errors
    /// The message is too large, or its outer framing is broken; what is readable is kept.
    pub fn protobuf(&mut self, message: &[u8]) -> Result<(), MessageError> {
        self.open_message(message)?;
        if self.is_overspent() {
            return Ok(());
        }
        match protobuf::read_request(message, &mut self.builder) {
            None => Ok(()),
            Some(broken) => Err(malformed_protobuf(message, broken)),
        }
    }

    /// Takes one OTLP JSON object.
    ///
    /// # Errors
    /// The message is too large, is not one JSON object, or holds another signal; the spans before
    /// a break are kept.
    pub fn json(&mut self, message: &[u8]) -> Result<(), MessageError> {
        self.open_message(message)?;
        if self.is_overspent() {
            return Ok(());
        }
        let text = self.utf8(message);
        let read = otlp_json::read_request(&text, &mut self.builder);
        let contents = read.map_err(|syntax| malformed_json(&text, syntax))?;
        match contents.other {
            Some(signal) if !contents.has_traces => Err(MessageError::OtherSignal { signal }),
            _ => Ok(()),
        }
    }

    fn open_message(&mut self, message: &[u8]) -> Result<(), MessageError> {
        let bytes_max = self.builder.options().message_bytes_max.min(MESSAGE_BYTES_CEILING);
        if message.len() > bytes_max {
            return Err(MessageError::TooLarge { bytes: message.len(), bytes_max });
        }
        self.builder.open_message();
        Ok(())
    }

    /// Returns the text without a byte order mark, with U+FFFD in place of what is not UTF-8.
    fn utf8<'a>(&mut self, message: &'a [u8]) -> Cow<'a, [u8]> {
        let message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
        if std::str::from_utf8(message).is_ok() {
            return Cow::Borrowed(message);
        }
        let mut repairs = Repairs::default();
        repairs.note(Repair::Text);
        self.builder.note(repairs, || "a JSON message that is not UTF-8".to_owned());
        Cow::Owned(String::from_utf8_lossy(message).into_owned().into_bytes())
    }

    /// Counts a span that the caller could not even turn into a message.
    pub fn reject(&mut self, reason: Reason, example: impl FnOnce() -> String) {
        self.builder.reject(reason, 1, example);
    }

    /// Returns how many spans were taken so far, quarantined ones included.
    pub fn spans_accepted(&self) -> u64 {
        self.builder.accepted()
    }

    /// Returns what was refused since the last call, and forgets it: a receiver answers each
    /// message with its own refusals.
    pub fn take_rejected(&mut self) -> Rejected {
        self.builder.take_rejected()
    }

    /// Returns about how much memory what was collected takes, bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.builder.memory_bytes()
    }

    /// Returns everything collected.
    pub fn finish(self) -> Decoded {
        self.builder.finish()
    }
}

fn malformed_protobuf(message: &[u8], Break { offset, expected }: Break) -> MessageError {
    let found = match message.get(offset) {
        None => END.to_owned(),
        Some(byte) => format!("0x{byte:02x}"),
    };
    MessageError::Malformed { offset, expected, found }
}

fn malformed_json(text: &[u8], Syntax { offset, expected }: Syntax) -> MessageError {
    let found = match text.get(offset) {
        None => END.to_owned(),
        Some(byte @ b' '..=b'~') => format!("`{}`", char::from(*byte)),
        Some(byte) => format!("byte 0x{byte:02x}"),
    };
    MessageError::Malformed { offset, expected, found }
}

const END: &str = "the end of the message";

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
