//! The command that is run: started with our terminal, waited for, its end told as a shell does.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
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

/// A signal that may come, and whether a terminal sends it to the command as well.
const SIGNALS: [(Signal, bool); 4] =
    [(Signal::INT, true), (Signal::QUIT, true), (Signal::HUP, true), (Signal::TERM, false)];

/// Runs the command to its end. Signals are passed on to it, but for those that the terminal sends
/// to both of us: it decides what to do. Once it has ended, a signal ends us.
pub(super) fn run(command: &[OsString], environment: &Environment) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("failed to start a thread")?;
    let running = Running::default();
    {
        let _guard = runtime.enter();
        for (signal, is_from_terminal) in SIGNALS {
            runtime.spawn(pass_on(signal, is_from_terminal, listen(signal)?, running.clone()));
        }
    }
    let exit = runtime.block_on(async {
        let mut child = running.start(command, environment)?;
        let status = child.wait().await.context("failed to wait for the command");
        *running.locked() = None;
        Ok(Exit::from(status?))
    });
    // Who listens for signals does so to the end of the process: the system's own answer to them is
    // gone once anybody listens.
    std::mem::forget(runtime);
    exit
}

/// The command that runs.
#[derive(Debug, Clone, Default)]
struct Running(Arc<Mutex<Option<Pid>>>);

impl Running {
    fn locked(&self) -> MutexGuard<'_, Option<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the command; a signal that comes meanwhile waits for it.
    fn start(&self, command: &[OsString], environment: &Environment) -> Result<Child> {
        let mut running = self.locked();
        let child = start(command, environment)?;
        *running = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(child)
    }
}

fn listen(number: Signal) -> Result<tokio::signal::unix::Signal> {
    signal(SignalKind::from_raw(number.as_raw())).context("failed to listen for signals")
}

/// Gives each signal to the command that runs; without one, ends the process as the signal would.
async fn pass_on(
    number: Signal,
    is_from_terminal: bool,
    mut signals: tokio::signal::unix::Signal,
    running: Running,
) {
    while signals.recv().await.is_some() {
        match *running.locked() {
            Some(_) if is_from_terminal && has_terminal() => {}
            // A command that has just ended gets no signal, and needs none.
            Some(pid) => drop(kill_process(pid, number)),
            None => end(number),
        }
    }
}

#[expect(clippy::exit, clippy::disallowed_methods, reason = "what a signal does by itself")]
fn end(number: Signal) {
    std::process::exit(128 + number.as_raw());
}

/// Returns whether we are in the foreground of a terminal: it sends its signals to the command,
/// which is in the same group, as well.
fn has_terminal() -> bool {
    let terminal = File::open("/dev/tty");
    terminal.is_ok_and(|terminal| tcgetpgrp(terminal).is_ok_and(|group| group == getpgrp()))
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
