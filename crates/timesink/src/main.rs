//! The `timesink` command: flags and configuration in; diagnostics, JSON lines, an exit code out.
//!
//! Nothing here knows how to detect anything: [`analysis`] calls the engine, [`output`] writes what
//! it found. A command is a file in [`commands`], an option a field in [`config::Options`].

mod analysis;
mod cli;
mod commands;
mod config;
mod ended;
mod input;
mod output;
mod surroundings;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use cli::Cli;
use ended::{Ended, Fault};
use output::Console;
use surroundings::Surroundings;

fn main() -> ExitCode {
    keep_quiet_of_queries();
    let code = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        // The panic's message is already on standard error.
        let _ = writeln!(std::io::stderr(), "{}", ended::REPORT_IT);
        ended::INTERNAL
    });
    ExitCode::from(code)
}

/// A panic on a query's threads fails that query alone, whose error says so.
fn keep_quiet_of_queries() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(timesink_query::THREAD_NAME) {
            report(panic);
        }
    }));
}

/// Parses the command line, runs the command and returns the exit code.
fn run() -> u8 {
    let matches = match Cli::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version are no errors; a closed pipe is none of ours.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(ended::REFUSED);
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let surroundings = Surroundings::look();
    let mut console = Console::new(cli.color, &surroundings);
    let result = commands::run(cli, &matches, &surroundings, &mut console);
    conclude(result, &mut console)
}

/// Writes what is left to write, and turns the result into the exit code.
fn conclude(result: anyhow::Result<Ended>, console: &mut Console) -> u8 {
    let result = result.and_then(|ended| {
        let written = console.out.flush().map_err(anyhow::Error::from);
        ended::once_written(written, ended)
    });
    match result {
        Ok(ended) => ended.code(),
        Err(error) => {
            let fault = Fault::of(&error);
            if fault != Fault::ClosedPipe {
                // What was written before the error stays readable before it.
                let _ = console.out.flush();
                console.error(&format!("{error:#}"));
            }
            fault.code()
        }
    }
}
