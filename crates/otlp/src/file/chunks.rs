//! [`Chunks`]: a row of messages, cut into pieces of whole messages for the workers.
//!
//! Where the pieces are cut depends on the content alone, so what comes out does not depend on how
//! the bytes arrived or on how many threads decode them.

use std::ops::Range;

use crate::MessageError;

use super::detect::varint;
use super::part::describe;
use super::source::Source;
use super::{Broken, Compression, ReadOptions};

/// The size of a piece: large enough to make good batches, small enough to keep threads busy.
const CHUNK_BYTES: usize = 1 << 20;

/// How messages follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A message a line.
    Lines,
    /// A varint with the length before each message, as protobuf's `writeDelimitedTo` does.
    Varint,
    /// Four bytes with the length, the highest first, as the Collector's file exporter writes.
    BigEndian,
    /// One message. Each of its fields is as good as a message with that field alone.
    Fields,
}

/// What stands before the content of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// How many bytes it takes.
    pub(crate) bytes: usize,
    /// How many bytes of content follow, if it says so.
    pub(crate) length: Option<usize>,
}

/// One piece of the content.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) framing: Framing,
    pub(crate) bytes: Vec<u8>,
    /// Where `bytes` starts in the content.
    pub(crate) offset: u64,
    pub(crate) messages: Vec<Range<usize>>,
    /// The number of the first message, from 0: with lines, one less than its line.
    pub(crate) first_message: u64,
    /// Whether the last message is cut off. [`Chunks::broken`] says so already.
    pub(crate) is_cut: bool,
}

impl Chunk {
    /// Says where in the file message `number` of this piece is broken.
    pub(crate) fn broken(&self, number: usize, error: MessageError) -> Broken {
        let (at, what) = describe(error);
        let line = self.first_message + number as u64 + 1;
        Broken {
            line: (self.framing == Framing::Lines).then_some(line),
            byte: self.offset + (self.messages[number].start + at) as u64,
            what,
        }
    }
}

/// Cuts what a [`Source`] gives.
pub(crate) struct Chunks<'a> {
    source: Source<'a>,
    framing: Framing,
    message_bytes_max: usize,
    /// What was read and not handed out.
    carry: Vec<u8>,
    offset: u64,
    messages: u64,
    broken: Vec<Broken>,
    is_cut_noted: bool,
    /// Set where the framing itself breaks: nothing behind it can be made out.
    is_lost: bool,
}

/// The next message in the bytes that are there.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It is whole: its content, and where the one behind it starts.
    Whole {
        content: Range<usize>,
        end: usize,
    },
    /// Its content starts at `content`, perhaps behind the bytes that are there, and so many bytes
    /// are missing; 0 when nothing says how many.
    Cut {
        content: usize,
        missing: usize,
    },
    /// There is nothing more.
    Nothing,
    Lost {
        expected: &'static str,
    },
}

impl<'a> Chunks<'a> {
    /// Takes the source with what was already read of it.
    pub(crate) fn new(
        source: Source<'a>,
        head: Vec<u8>,
        framing: Framing,
        options: &ReadOptions,
    ) -> Self {
        Self {
            source,
            framing,
            message_bytes_max: options.message_bytes_max,
            carry: head,
            offset: 0,
            messages: 0,
            broken: Vec::new(),
            is_cut_noted: false,
            is_lost: false,
        }
    }

    /// Leaves out bytes at the start, which end a line.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.messages += memchr::memchr_iter(b'\n', &self.carry[..bytes]).count() as u64;
        self.carry.drain(..bytes);
        self.offset += bytes as u64;
    }

    pub(crate) fn compression(&self) -> Compression {
        self.source.compression()
    }

    /// Returns whether there is nothing left to hand out.
    pub(crate) fn is_done(&self) -> bool {
        self.is_lost || (self.carry.is_empty() && !self.source.is_open())
    }

    /// Returns the parts that could not be read; where the input itself broke off comes last.
    pub(crate) fn finish(mut self) -> Vec<Broken> {
        if !self.is_cut_noted
            && let Some(failure) = self.source.failure()
        {
            self.note_broken(failure.to_owned());
        }
        self.broken
    }

    /// Returns the next piece.
    pub(crate) fn next(&mut self) -> Option<Chunk> {
        let mut wanted = CHUNK_BYTES;
        while !self.is_done() {
            let mut bytes = std::mem::take(&mut self.carry);
            self.source.fill(&mut bytes, wanted);
            let (messages, end, next) = self.cut(&bytes);
            if !messages.is_empty() {
                self.carry.extend_from_slice(&bytes[end..]);
                bytes.truncate(end);
                return Some(self.hand_out(bytes, messages, false));
            }
            self.carry = bytes;
            match next {
                Next::Cut { content, missing } => {
                    let needed = self.carry.len().saturating_add(missing);
                    if needed - content > self.message_bytes_max {
                        self.leave_out(needed);
                    } else if self.source.is_open() {
                        wanted = needed.max(2 * self.carry.len());
                    } else {
                        return Some(self.hand_out_cut(content));
                    }
                }
                Next::Lost { expected } => self.lose(expected),
                Next::Nothing | Next::Whole { .. } => {}
            }
        }
        None
    }

    /// Finds the messages that are whole, where they end, and what is behind them.
    fn cut(&self, bytes: &[u8]) -> (Vec<Range<usize>>, usize, Next) {
        let mut messages = Vec::new();
        let mut at = 0;
        let is_last = !self.source.is_open() && self.source.failure().is_none();
        loop {
            match self.framing.next(bytes, at, is_last) {
                Next::Whole { content, end } => {
                    messages.push(content);
                    at = end;
                }
                next => return (messages, at, next),
            }
        }
    }

    fn hand_out(&mut self, bytes: Vec<u8>, messages: Vec<Range<usize>>, is_cut: bool) -> Chunk {
        let (offset, first_message) = (self.offset, self.messages);
        self.offset += bytes.len() as u64;
        self.messages += messages.len() as u64;
        Chunk { framing: self.framing, bytes, offset, messages, first_message, is_cut }
    }

    /// Hands out what is there of the last message: its first spans may be whole.
    fn hand_out_cut(&mut self, content: usize) -> Chunk {
        let what = self.source.failure().unwrap_or("file ends within a message: it was cut off");
        self.note_broken_at(self.carry.len(), what.to_owned());
        self.is_cut_noted = true;
        let bytes = std::mem::take(&mut self.carry);
        let content = content.min(bytes.len())..bytes.len();
        self.hand_out(bytes, vec![content], true)
    }

    /// Leaves out a message that is too large: a line to its end, any other by its length.
    fn leave_out(&mut self, length: usize) {
        self.note_broken(self.too_large(length));
        self.messages += 1;
        let mut rest = length as u64;
        loop {
            let found = match self.framing {
                Framing::Lines => memchr::memchr(b'\n', &self.carry).map(|newline| newline + 1),
                _ => usize::try_from(rest).ok().filter(|rest| *rest <= self.carry.len()),
            };
            let gone = found.unwrap_or(self.carry.len());
            self.carry.drain(..gone);
            self.offset += gone as u64;
            rest -= (gone as u64).min(rest);
            if found.is_some() || !self.source.is_open() {
                return;
            }
            self.source.fill(&mut self.carry, CHUNK_BYTES);
        }
    }

    fn too_large(&self, length: usize) -> String {
        let size = match self.framing {
            Framing::Lines => "line".to_owned(),
            _ => format!("message of {length} bytes"),
        };
        let bytes_max = self.message_bytes_max;
        format!("{size} is over the limit of {bytes_max} bytes (`message_bytes_max`)")
    }

    fn lose(&mut self, expected: &'static str) {
        self.note_broken(format!("expected {expected}; nothing behind it can be made out"));
        self.is_lost = true;
    }

    /// Says what is wrong with the next message.
    fn note_broken(&mut self, what: String) {
        self.note_broken_at(0, what);
    }

    /// Says what is wrong with the next message, so many bytes behind where it begins.
    fn note_broken_at(&mut self, bytes: usize, what: String) {
        let line = (self.framing == Framing::Lines).then_some(self.messages + 1);
        self.broken.push(Broken { line, byte: self.offset + bytes as u64, what });
    }
}

impl Framing {
    /// Reads what stands before a message; `None` where it is cut off or broken.
    pub(crate) fn prefix(self, bytes: &[u8]) -> Option<Prefix> {
        match self {
            Self::Lines | Self::Fields => Some(Prefix { bytes: 0, length: None }),
            Self::Varint => {
                let (length, bytes) = varint(bytes)?;
                Some(Prefix { bytes, length: Some(usize::try_from(length).ok()?) })
            }
            Self::BigEndian => {
                let length = u32::from_be_bytes(*bytes.first_chunk()?);
                Some(Prefix { bytes: 4, length: Some(length as usize) })
            }
        }
    }

    /// Finds the message at `at`. `is_last` says that no bytes follow those that are there.
    fn next(self, bytes: &[u8], at: usize, is_last: bool) -> Next {
        if at == bytes.len() {
            return Next::Nothing;
        }
        match self {
            Self::Lines => next_line(bytes, at, is_last),
            Self::Fields => next_field(bytes, at),
            Self::Varint | Self::BigEndian => self.next_delimited(bytes, at),
        }
    }

    fn next_delimited(self, bytes: &[u8], at: usize) -> Next {
        let Some(prefix) = self.prefix(&bytes[at..]) else {
            return cut_prefix(bytes, at, "a message's length, a varint");
        };
        let length = prefix.length.unwrap_or_default();
        delimited(bytes, at + prefix.bytes, at + prefix.bytes, length)
    }
}

/// A prefix has at most ten bytes: with more than that there, it is broken.
fn cut_prefix(bytes: &[u8], at: usize, expected: &'static str) -> Next {
    match bytes.len() - at {
        0..10 => Next::Cut { content: bytes.len(), missing: 0 },
        _ => Next::Lost { expected },
    }
}

/// A message whose content starts at `content` and whose last `length` bytes start at `start`.
fn delimited(bytes: &[u8], content: usize, start: usize, length: usize) -> Next {
    match start.checked_add(length) {
        Some(end) if end <= bytes.len() => Next::Whole { content: content..end, end },
        end => {
            let missing = end.unwrap_or(usize::MAX) - bytes.len();
            Next::Cut { content, missing }
        }
    }
}

fn next_line(bytes: &[u8], at: usize, is_last: bool) -> Next {
    match memchr::memchr(b'\n', &bytes[at..]) {
        Some(newline) => Next::Whole { content: at..at + newline, end: at + newline + 1 },
        None if is_last => Next::Whole { content: at..bytes.len(), end: bytes.len() },
        None => Next::Cut { content: at, missing: 0 },
    }
}

/// The field of a message, its tag included (encoding guide, "Message Structure").
fn next_field(bytes: &[u8], at: usize) -> Next {
    match varint(&bytes[at..]) {
        Some((tag, tag_bytes)) if tag & 7 == 3 => next_group(bytes, at, at + tag_bytes),
        _ => next_plain_field(bytes, at),
    }
}

fn next_plain_field(bytes: &[u8], at: usize) -> Next {
    const EXPECTED: &str = "a field of `ExportTraceServiceRequest`";
    let Some((tag, tag_bytes)) = varint(&bytes[at..]) else {
        return cut_prefix(bytes, at, EXPECTED);
    };
    let value = at + tag_bytes;
    let wire_type = tag & 7;
    let (start, length) = match wire_type {
        0 | 2 => match varint(&bytes[value..]) {
            None => return cut_prefix(bytes, value, EXPECTED),
            Some((_, length)) if wire_type == 0 => (value, length),
            Some((length, bytes)) => (value + bytes, usize::try_from(length).unwrap_or(usize::MAX)),
        },
        1 => (value, 8),
        5 => (value, 4),
        _ => return Next::Lost { expected: EXPECTED },
    };
    delimited(bytes, at, start, length)
}

/// The group whose tag stands at `at`: proto3 does not have them, and readers step over them.
fn next_group(bytes: &[u8], at: usize, content: usize) -> Next {
    const EXPECTED: &str = "the end of a group";
    let (mut position, mut open) = (content, 1_usize);
    while open > 0 {
        let Some((tag, tag_bytes)) = varint(bytes.get(position..).unwrap_or_default()) else {
            return match bytes.len().saturating_sub(position) {
                0..10 => Next::Cut { content: at, missing: 0 },
                _ => Next::Lost { expected: EXPECTED },
            };
        };
        match (tag & 7, next_field_end(bytes, position)) {
            (3, _) => (open, position) = (open + 1, position + tag_bytes),
            (4, _) => (open, position) = (open - 1, position + tag_bytes),
            (_, Some(end)) => position = end,
            (0..=2 | 5, None) => return Next::Cut { content: at, missing: 0 },
            (_, None) => return Next::Lost { expected: EXPECTED },
        }
    }
    Next::Whole { content: at..position, end: position }
}

/// Where the field at `at`, which is no group, ends; `None` if it is cut off or broken.
fn next_field_end(bytes: &[u8], at: usize) -> Option<usize> {
    match next_plain_field(bytes, at) {
        Next::Whole { end, .. } => Some(end),
        _ => None,
    }
}
