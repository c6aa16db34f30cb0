//! [`Console`]: the streams a command writes to, and how they want to be written to.

use std::io::{self, BufWriter, Stdout, Write};

use anyhow::Result;

use super::paint::Paint;
use super::progress::Progress;
use super::safe;
use crate::cli::Color;
use crate::surroundings::{self, Surroundings};

/// The narrowest and widest that text is wrapped to: a narrower terminal breaks the lines itself.
/// The first line of a finding is not wrapped, so that it can be searched for.
const COLUMNS: std::ops::RangeInclusive<usize> = 60..=120;

#[derive(Debug)]
pub(crate) struct Console {
    /// Standard output. Findings and rows go here, nothing else.
    pub(crate) out: Out,
    pub(crate) paint: Paint,
    /// Where to wrap lines.
    pub(crate) columns: usize,
    error_paint: Paint,
    shows_progress: bool,
}

impl Console {
    pub(crate) fn new(color: Color, surroundings: &Surroundings) -> Self {
        let paint = |is_terminal: bool| match color {
            Color::Auto => Paint::new(is_terminal && !surroundings.plain),
            Color::Always => Paint::new(true),
            Color::Never => Paint::new(false),
        };
        Self {
            out: Out::Standard(BufWriter::with_capacity(1 << 16, std::io::stdout())),
            paint: paint(surroundings.is_terminal.stdout),
            columns: surroundings.columns.clamp(*COLUMNS.start(), *COLUMNS.end()),
            error_paint: paint(surroundings.is_terminal.stderr),
            shows_progress: surroundings.is_terminal.stderr,
        }
    }

    /// Starts to show what goes on, if it takes long and somebody looks; dropped, it is wiped.
    pub(crate) fn progress(&self, stage: &str) -> Progress {
        Progress::new(stage, self.shows_progress)
    }

    /// Returns what is written meanwhile, plain and as wide as for no terminal.
    pub(crate) fn in_memory(
        &mut self,
        write: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let out = std::mem::replace(&mut self.out, Out::Memory(Vec::new()));
        let paint = std::mem::replace(&mut self.paint, Paint::new(false));
        let columns = std::mem::replace(&mut self.columns, surroundings::COLUMNS);
        let written = write(self);
        let memory = std::mem::replace(&mut self.out, out);
        (self.paint, self.columns) = (paint, columns);
        written?;
        match memory {
            Out::Memory(bytes) => Ok(bytes),
            Out::Standard(_) => Ok(Vec::new()),
        }
    }

    pub(crate) fn note(&self, text: &str) {
        diagnose(&self.error_paint.note("note"), text);
    }

    pub(crate) fn warn(&self, text: &str) {
        diagnose(&self.error_paint.warning("warning"), text);
    }

    pub(crate) fn error(&self, text: &str) {
        diagnose(&self.error_paint.error("error"), text);
    }
}

/// Standard output, buffered; its errors say what could not be written. Or, for a while, memory.
#[derive(Debug)]
pub(crate) enum Out {
    Standard(BufWriter<Stdout>),
    Memory(Vec<u8>),
}

impl Write for Out {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(buffer).map_err(|error| unwritten(&error)),
            Self::Memory(bytes) => bytes.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush().map_err(|error| unwritten(&error)),
            Self::Memory(_) => Ok(()),
        }
    }
}

/// Returns the error with what it was about, of the same kind.
pub(crate) fn unwritten(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("failed to write to standard output: {error}"))
}

/// Writes one line for each line of text to standard error; nobody is left to tell if it fails.
fn diagnose(label: &str, text: &str) {
    let mut stderr = std::io::stderr().lock();
    for (number, line) in text.lines().enumerate() {
        let line = safe::line(line);
        let _ = match number {
            0 => writeln!(stderr, "{label}: {line}"),
            _ => writeln!(stderr, "  {line}"),
        };
    }
}
