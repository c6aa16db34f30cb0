//! [`Console`]: the streams a command writes to, and how they want to be written to.

use std::io::{self, BufWriter, Stdout, Write};

use super::paint::Paint;
use super::progress::Progress;
use super::safe;
use crate::cli::Color;
use crate::surroundings::Surroundings;

/// The narrowest and widest that text is wrapped to: a narrower terminal breaks the lines itself.
/// The first line of a finding is not wrapped, so that it can be searched for.
const COLUMNS: std::ops::RangeInclusive<usize> = 60..=120;

#[derive(Debug)]
pub(crate) struct Console {
    /// Standard output. Findings and rows go here, nothing else.
    pub(crate) out: StandardOutput,
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
            out: StandardOutput(BufWriter::with_capacity(1 << 16, std::io::stdout())),
            paint: paint(surroundings.stdout_is_terminal),
            columns: surroundings.columns.clamp(*COLUMNS.start(), *COLUMNS.end()),
            error_paint: paint(surroundings.stderr_is_terminal),
            shows_progress: surroundings.stderr_is_terminal,
        }
    }

    /// Starts to show what goes on, if it takes long and somebody looks; dropped, it is wiped.
    pub(crate) fn progress(&self, stage: &str) -> Progress {
        Progress::new(stage, self.shows_progress)
    }

    pub(crate) fn warn(&self, text: &str) {
        diagnose(&self.error_paint.warning("warning"), text);
    }

    pub(crate) fn error(&self, text: &str) {
        diagnose(&self.error_paint.error("error"), text);
    }
}

/// Standard output, buffered; its errors say what could not be written.
#[derive(Debug)]
pub(crate) struct StandardOutput(BufWriter<Stdout>);

impl Write for StandardOutput {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer).map_err(|error| unwritten(&error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(|error| unwritten(&error))
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
