//! The command that is run: started with our terminal, waited for, its end told as a shell does.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::environment::Environment;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Code(u8),
    Signal(i32),
}

impl Exit {
    /// Returns the code that a shell would: 128 and the signal's number.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code as u8),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// Runs the command to its end. A terminal sends Ctrl-C to it and to us: it decides what to do.
pub(super) fn run(
    command: &[OsString],
    environment: &Environment,
    has_terminal: bool,
) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let mut ends = signal(SignalKind::terminate())?;
        let mut hangups = signal(SignalKind::hangup())?;
        let mut child = start(command, environment)?;
        loop {
            tokio::select! {
                status = child.wait() => {
                    return Ok(Exit::from(status.context("failed to wait for the command")?));
                }
                _ = interrupts.recv() => if !has_terminal { pass_on(&child, Signal::INT) },
                _ = ends.recv() => pass_on(&child, Signal::TERM),
                _ = hangups.recv() => pass_on(&child, Signal::HUP),
            }
        }
    })
}

fn start(command: &[OsString], environment: &Environment) -> Result<Child> {
    let Some((program, arguments)) = command.split_first() else {
        bail!("expected a command to run");
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for name in Environment::removed() {
        command.env_remove(name);
    }
    let started = command.envs(environment.variables()).spawn();
    started.map_err(|error| NotRun { program: program.clone(), cause: error }.into())
}

/// The command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("failed to run `{}`: {cause}", program.to_string_lossy())]
pub(crate) struct NotRun {
    program: OsString,
    cause: std::io::Error,
}

impl NotRun {
    /// Returns the exit code that a shell has for it (POSIX, 2.8.2).
    pub(crate) fn code(&self) -> u8 {
        if self.cause.kind() == ErrorKind::NotFound { 127 } else { 126 }
    }
}

/// A child that has just ended gets no signal, and needs none.
fn pass_on(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_a_shell_does() {
        assert_eq!(Exit::from(ExitStatus::from_raw(3 << 8)).code(), 3);
        assert_eq!(Exit::from(ExitStatus::from_raw(15)), Exit::Signal(15));
        assert_eq!(Exit::Signal(15).code(), 143);
        assert_eq!(Exit::Code(0).code(), 0);
    }
}
