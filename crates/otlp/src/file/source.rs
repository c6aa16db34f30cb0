//! [`Source`]: the decompressed bytes of a file, up to a limit and up to where it breaks.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use super::{Compression, FileError};

/// Compressed bytes are read in pieces of this size.
const INPUT_BUFFER_BYTES: usize = 256 << 10;

/// A buffer grows to this size at once, and from there as bytes come.
const RESERVED_BYTES_MAX: u64 = 4 << 20;

/// Where the bytes come from. What cannot be read ends it; [`Source::failure`] then says why.
pub(crate) struct Source<'a> {
    input: Box<dyn Read + 'a>,
    compression: Compression,
    read: u64,
    bytes_max: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Ended,
    Failed(String),
}

impl<'a> Source<'a> {
    /// Looks at the first bytes and puts the decompressor that they ask for before the input.
    pub(crate) fn open(mut input: impl Read + 'a, bytes_max: u64) -> Result<Self, FileError> {
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        let looked = input.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic);
        if let Err(error) = looked
            && magic.is_empty()
        {
            return Err(FileError::Input(error));
        }
        let compression = compression(&magic);
        let input = io::Cursor::new(magic).chain(input);
        Ok(Self {
            input: decompress(input, compression).map_err(FileError::Input)?,
            compression,
            read: 0,
            bytes_max,
            state: State::Open,
        })
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Appends bytes until `buffer` has `length`; fewer only where the input ends.
    pub(crate) fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) {
        let start = buffer.len();
        let wanted = length.saturating_sub(start);
        let allowed = (self.bytes_max - self.read).min(wanted as u64);
        if !self.is_open() || wanted == 0 {
            return;
        }
        // What is there may be far less than what is allowed.
        buffer.reserve(allowed.min(RESERVED_BYTES_MAX) as usize);
        let filled = self.input.by_ref().take(allowed).read_to_end(buffer);
        let got = buffer.len() - start;
        self.read += got as u64;
        match filled {
            Err(error) => self.state = State::Failed(self.describe(&error)),
            Ok(_) if (got as u64) < allowed => self.state = State::Ended,
            Ok(_) if got < wanted => self.reach_limit(),
            Ok(_) => {}
        }
    }

    /// At the limit: a file of exactly that size is fine.
    fn reach_limit(&mut self) {
        let mut one_more = [0];
        self.state = match self.input.read(&mut one_more) {
            Ok(0) => State::Ended,
            Ok(_) => State::Failed(format!(
                "file is over the limit of {} bytes (`file_bytes_max`); the rest was not read",
                self.bytes_max
            )),
            Err(error) => State::Failed(self.describe(&error)),
        };
    }

    /// Returns whether there may be more.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Returns why the input ended before its end, if it did.
    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.state {
            State::Failed(failure) => Some(failure),
            State::Open | State::Ended => None,
        }
    }

    fn describe(&self, error: &io::Error) -> String {
        let compression = self.compression;
        let is_cut = error.kind() == io::ErrorKind::UnexpectedEof
            || error.to_string().contains("incomplete frame");
        match (compression, is_cut) {
            (Compression::Plain, _) => format!("failed to read on: {error}"),
            (_, true) => format!("{compression} data ends early: the file was cut off"),
            (_, false) => format!("{compression} data is damaged: {error}"),
        }
    }
}

const MAGIC_BYTES: usize = 4;

/// RFC 1952 section 2.3.1; RFC 8878 sections 3.1.1 and 3.1.2 (a skippable frame may come first).
fn compression(magic: &[u8]) -> Compression {
    match magic {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
        _ => Compression::Plain,
    }
}

/// Returns whether these bytes are compressed in a way that [`Source`] takes off.
pub(crate) fn is_compressed(bytes: &[u8]) -> bool {
    compression(&bytes[..bytes.len().min(MAGIC_BYTES)]) != Compression::Plain
}

fn decompress<'a>(
    input: impl Read + 'a,
    compression: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    let buffered = |input| BufReader::with_capacity(INPUT_BUFFER_BYTES, input);
    Ok(match compression {
        Compression::Plain => Box::new(input),
        Compression::Gzip => Box::new(gzip(buffered(input))),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(buffered(input))?),
    })
}

fn gzip<'a>(input: impl BufRead + 'a) -> impl Read + 'a {
    Members { current: Some(GzDecoder::new(input)) }
}

/// The members of a gzip file, one after the other. Zeros behind a member are padding, as of tapes
/// and block devices; `gzip` passes them by too.
struct Members<R> {
    current: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.current {
            let got = member.read(buffer)?;
            if got > 0 || buffer.is_empty() {
                return Ok(got);
            }
            if skip_zeros(member.get_mut())? {
                let input = self.current.take().map(GzDecoder::into_inner);
                self.current = input.map(GzDecoder::new);
            } else {
                self.current = None;
            }
        }
        Ok(0)
    }
}

/// Steps over zeros. Returns whether something stands behind them.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let is_all = zeros == bytes.len();
        if bytes.is_empty() || !is_all {
            let is_more = !bytes.is_empty();
            input.consume(zeros);
            return Ok(is_more);
        }
        input.consume(zeros);
    }
}
