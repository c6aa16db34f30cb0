//! What the process is given from outside, read once, here and nowhere else: the clock, the cores,
//! the terminal. Flags and `TIMESINK_*` are read by [`crate::usage`].

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::time::UNIX_EPOCH;

/// The columns of output that goes to no terminal.
pub(crate) const COLUMNS: usize = 100;

#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    pub(crate) now_unix_nano: i64,
    /// Threads that can run at once.
    pub(crate) cores: usize,
    pub(crate) is_terminal: Streams,
    pub(crate) columns: usize,
    /// `TIMESINK_TOKEN`: a flag would show it to whoever lists the processes.
    pub(crate) token: Option<String>,
    /// The user or the terminal asks for plain text: `NO_COLOR`, `TERM=dumb`.
    pub(crate) plain: bool,
}

/// Something of each standard stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Streams {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Surroundings {
    pub(crate) fn look() -> Self {
        Self {
            now_unix_nano: now_unix_nano(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            is_terminal: Streams {
                stdout: std::io::stdout().is_terminal(),
                stderr: std::io::stderr().is_terminal(),
            },
            columns: terminal_size::terminal_size().map_or(COLUMNS, |(width, _)| width.0.into()),
            token: variable("TIMESINK_TOKEN").map(|token| token.to_string_lossy().into_owned()),
            plain: wants_plain_text(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub(crate) fn now_unix_nano() -> i64 {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Follows <https://no-color.org>: set and not empty.
fn wants_plain_text() -> bool {
    variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb")
}

/// Returns a variable of the environment that is set, and not to nothing.
pub(crate) fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
