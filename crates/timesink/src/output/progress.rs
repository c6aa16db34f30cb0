//! [`Progress`]: one line on standard error that says what goes on, once it takes long.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::safe;

/// Work that is done sooner shows nothing.
const SHOWN_AFTER: Duration = Duration::from_millis(400);

/// Between two updates of the line.
const UPDATED_EVERY: Duration = Duration::from_millis(100);

/// Shows one stage; wiped when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    stage: String,
    is_on: bool,
    next: Instant,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(stage: &str, is_on: bool) -> Self {
        let stage = safe::line(stage).into_owned();
        Self { stage, is_on, next: Instant::now() + SHOWN_AFTER, is_shown: false }
    }

    /// Returns a reader that shows how much was read of `input`.
    pub(crate) fn count<R: Read>(self, input: R) -> Counted<R> {
        Counted { input, bytes: 0, progress: self }
    }

    fn update(&mut self, bytes: u64) {
        let now = Instant::now();
        if !self.is_on || now < self.next {
            return;
        }
        self.next = now + UPDATED_EVERY;
        self.is_shown = true;
        // Erase to the end of the line, so that a shorter text leaves nothing behind.
        let _ = write!(io::stderr(), "\r{}: {} MiB\x1b[K", self.stage, bytes >> 20);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// A reader that tells how much it has read.
#[derive(Debug)]
pub(crate) struct Counted<R> {
    input: R,
    bytes: u64,
    progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes += read as u64;
        self.progress.update(self.bytes);
        Ok(read)
    }
}
