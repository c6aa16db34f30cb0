//! How a command ends, and the exit code that says so.

use std::io;

use anyhow::Result;

use crate::commands::NotRun;
use crate::input::Input;

/// What an internal error asks for, where the library has not already said it.
pub(crate) const REPORT_IT: &str =
    "internal error, please report it with the command and, if you can, the file";

/// The exit code of wrong usage and unreadable input.
pub(crate) const REFUSED: u8 = 2;

/// The exit code of an internal error.
pub(crate) const INTERNAL: u8 = 3;

/// How a command that ran to its end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ended {
    Done,
    /// A finding reached the severity of `--fail-on`.
    Tripped,
    /// Something could not be read or run, and the rest was: as with `grep`, scripts get to know.
    Incomplete,
    /// The command that was run ended with this code.
    Command(u8),
}

impl Ended {
    /// Returns how a command ends that only reads.
    pub(crate) fn of_reading(input: &Input) -> Self {
        if input.damaged.is_empty() { Self::Done } else { Self::Incomplete }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Tripped => 1,
            Self::Incomplete => REFUSED,
            Self::Command(code) => code,
        }
    }
}

/// Returns how a command ended whose output went wherever it could: whoever closed the pipe has
/// seen enough, and what was found stays found.
pub(crate) fn once_written(written: Result<()>, ended: Ended) -> Result<Ended> {
    match written {
        Err(error) if Fault::of(&error) != Fault::ClosedPipe => Err(error),
        _ => Ok(ended),
    }
}

/// What an error asks of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// To change the command, the configuration or the input.
    Expected,
    /// To report it.
    Internal,
    /// To name another command to run; with the code that a shell has for it.
    NotRun(u8),
    /// Nothing: whoever read our output has seen enough.
    ClosedPipe,
}

impl Fault {
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let found = error.chain().find_map(|cause| {
            if cause.downcast_ref().is_some_and(is_closed_pipe) {
                return Some(Self::ClosedPipe);
            }
            if let Some(not_run) = cause.downcast_ref::<NotRun>() {
                return Some(Self::NotRun(not_run.code()));
            }
            let internal = cause.downcast_ref().is_some_and(is_internal_rules_error)
                || cause.downcast_ref().is_some_and(is_internal_query_error)
                || cause.downcast_ref().is_some_and(is_internal_server_error)
                || cause.downcast_ref().is_some_and(timesink_output::Error::is_internal)
                || cause.is::<Broken>();
            internal.then_some(Self::Internal)
        });
        found.unwrap_or(Self::Expected)
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Expected => REFUSED,
            Self::Internal => INTERNAL,
            Self::NotRun(code) => code,
            Self::ClosedPipe => 0,
        }
    }
}

/// An invariant of this crate broke.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{REPORT_IT}: {}", self.0)
    }
}

impl std::error::Error for Broken {}

fn is_closed_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

fn is_internal_rules_error(error: &timesink_rules::Error) -> bool {
    match error {
        timesink_rules::Error::Internal(_) => true,
        timesink_rules::Error::Query(error) => is_internal_query_error(error),
        _ => false,
    }
}

fn is_internal_query_error(error: &timesink_query::Error) -> bool {
    matches!(error, timesink_query::Error::Internal(_))
}

fn is_internal_server_error(error: &timesink_server::Error) -> bool {
    matches!(error, timesink_server::Error::Internal(_))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_closed_pipe_changes_no_end() {
        let error = |kind: io::ErrorKind| Err(io::Error::from(kind).into());
        assert_eq!(
            once_written(error(io::ErrorKind::BrokenPipe), Ended::Tripped).unwrap(),
            Ended::Tripped
        );
        assert!(once_written(error(io::ErrorKind::StorageFull), Ended::Done).is_err());
    }

    #[test]
    fn faults_are_told_apart_through_their_contexts() {
        let of = |error: anyhow::Error| Fault::of(&error);
        let pipe = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(of(anyhow::Error::new(pipe).context("failed to write")), Fault::ClosedPipe);
        let query = timesink_query::Error::Internal("a view".to_owned());
        assert_eq!(of(timesink_rules::Error::Query(query).into()), Fault::Internal);
        let refused: anyhow::Result<()> = Err(timesink_query::Error::Rows(1).into());
        assert_eq!(of(refused.context("`x`").unwrap_err()), Fault::Expected);
        assert_eq!(of(anyhow::anyhow!("no such thing")), Fault::Expected);
    }
}
