//! The trace notation: traces as text that a reader can check against the picture in their head.
//!
//! One line a span; indentation (two spaces a level) is parenthood; columns are split by spaces:
//!
//! ```text
//! # service    kind    name               start  duration
//! checkout     SERVER  GET /cart          0ms    120ms
//!   checkout   CLIENT  SELECT shop.item   5ms    3ms   x4  db.query.text="SELECT * FROM item"
//! --- x20 every 40ms
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | service | `service.name`; `-` for a resource without one |
//! | kind | UNSPECIFIED, INTERNAL, SERVER, CLIENT, PRODUCER or CONSUMER |
//! | name | up to the first word that is a time, or quoted |
//! | start, duration | `3s`, `1.5ms`, `20us`, `-7ns`; the start counts from the block's zero |
//! | `x4`, `x4/5ms` | the span with its children four times, end to end or starting 5 ms apart |
//! | `key=value` | integer, `true` and `false` are typed; `"quoted"` is text (`\"`, `\\`, `\n`) |
//! | `--- x20 every 40ms` | the trace above 20 times, with ids of their own, starting 40 ms apart |
//! | `---` | a new trace begins; its times count from the same zero |
//! | `#` | a comment, at the start of a line |
//!
//! The zero is [`ZERO_UNIX_NANO`]. `{i}` in a name or value is the number of the repetition it
//! stands in, `{t}` that of its trace, both from 1. Several lines without indentation are several
//! roots of one trace.
//!
//! Some keys are not attributes of the span:
//!
//! | key | meaning |
//! |---|---|
//! | `scope`, `scope.version` | the instrumentation scope; without `scope` there is none |
//! | `status`, `status.message` | OK, ERROR or UNSET, and the message |
//! | `instance` | `service.instance.id`; by default `<service>-1`; `-` for none |
//! | `resource.KEY` | the resource attribute `KEY` |
//! | `flags` | by default 768 under a parent of another process, else 256; 0 sends none |
//! | `trace_state` | the W3C trace state |
//! | `id` | names the span, for `parent`; the same name twice in a trace is the same id twice |
//! | `parent` | the parent's `id`; an unknown one makes an orphan; 16 hex digits are an id |
//! | `event`, `event.KEY` | an event at the span's end, and an attribute of the latest event |
//!
//! `instance` and `resource.KEY` hold for the lines below of the same service, too: they are one
//! process. Read [`parse`] first.

mod error;
mod expand;
mod json;
mod line;
mod text;

#[cfg(test)]
mod tests;

use timesink_otlp::{Decoded, Decoder, DecoderOptions, MessageError};

pub use error::NotationError;
use line::{Repeat, SpanLine};
use text::Words;

/// The zero of a block's times: 2026-01-01T00:00:00Z.
pub const ZERO_UNIX_NANO: i64 = 1_767_225_600_000_000_000;

/// The clock of tests: an hour after the zero, so that spans of a block lie in the past.
pub const NOW_UNIX_NANO: i64 = ZERO_UNIX_NANO + 3600 * 1_000_000_000;

/// The most spans that a block may stand for; repetitions multiply quickly.
pub const SPANS_MAX: u64 = 100_000;

/// The most text that they may be, each as long as the longest line.
pub const BYTES_MAX: u64 = 128 << 20;

/// The deepest indentation.
pub const LEVELS_MAX: usize = 100;

/// A block of traces that was read and found good.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notation {
    traces: Vec<Trace>,
}

/// One trace: its lines in order, and how often it happens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Trace {
    lines: Vec<SpanLine>,
    repeat: Repeat,
}

/// Reads a block of trace notation.
///
/// # Errors
/// The first line that is not notation, with what was expected there.
pub fn parse(text: &str) -> Result<Notation, NotationError> {
    let mut traces = Vec::new();
    let mut lines: Vec<SpanLine> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = Words::new(number, line);
        if words.is_done() || line.trim_start().starts_with('#') {
            continue;
        }
        if line.starts_with("---") {
            if lines.is_empty() {
                return Err(words.expected("a span before the line that ends its trace"));
            }
            let repeat = line::parse_separator(&mut words)?;
            traces.push(Trace { lines: std::mem::take(&mut lines), repeat });
        } else {
            let levels_max = lines.last().map_or(0, |above| above.level + 1);
            lines.push(SpanLine::parse(&mut words, levels_max)?);
        }
    }
    if !lines.is_empty() {
        traces.push(Trace { lines, repeat: Repeat::default() });
    }
    let notation = Notation { traces };
    let count = notation.span_count();
    if count > SPANS_MAX {
        return Err(NotationError::TooManySpans { count, count_max: SPANS_MAX });
    }
    let longest = text.lines().map(str::len).max().unwrap_or(0);
    if count.saturating_mul(longest as u64) > BYTES_MAX {
        return Err(NotationError::TooLong { count, longest, bytes_max: BYTES_MAX });
    }
    Ok(notation)
}

impl Notation {
    /// Puts several blocks together: traces keep their times and get ids that differ.
    pub fn join(blocks: impl IntoIterator<Item = Self>) -> Self {
        Self { traces: blocks.into_iter().flat_map(|block| block.traces).collect() }
    }

    /// Returns how many spans the block stands for.
    pub fn span_count(&self) -> u64 {
        self.traces.iter().map(expand::span_count).fold(0, u64::saturating_add)
    }

    /// Returns the block as one OTLP JSON object.
    pub fn otlp_json(&self) -> String {
        json::export_request(&expand::spans(&self.traces)).to_string()
    }

    /// Returns what the decoder makes of the block, quarantined and refused spans included.
    ///
    /// # Errors
    /// The block is larger than a message may be.
    pub fn decode(&self) -> Result<Decoded, MessageError> {
        let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
        decoder.json(self.otlp_json().as_bytes())?;
        Ok(decoder.finish())
    }
}
