//! The `timesink` command: flags and configuration in; diagnostics, reports, an exit code out.
//!
//! Nothing here knows how to detect anything: [`analysis`] calls the engine, [`output`] writes what
//! it found. A command is a file in [`commands`], an option a field in [`config::Options`].

mod analysis;
mod cli;
mod commands;
mod config;
mod ended;
mod input;
mod noted;
mod opened;
mod output;
mod replace;
mod since;
mod stored;
mod surroundings;
#[cfg(test)]
mod tests;
mod usage;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use cli::Color;
use ended::{Ended, Fault};
use output::Console;
use surroundings::Surroundings;

/// The system's own keeps what was freed between blocks that are not: a large analysis then holds
/// half as much again as it needs.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let surroundings = Surroundings::look();
    let (cli, matches) = match usage::parse(&arguments) {
        Ok(parsed) => parsed,
        Err(error) => return tell(&error, &surroundings),
    };
    let mut console = Console::new(cli.color, &surroundings);
    let result = commands::run(cli, &matches, &surroundings, &mut console);
    conclude(result, &mut console)
}

/// Writes help, the version or what is wrong with the usage.
fn tell(error: &clap::Error, surroundings: &Surroundings) -> u8 {
    match error.print() {
        Err(unwritten) if !error.use_stderr() && unwritten.kind() != ErrorKind::BrokenPipe => {
            let console = Console::new(Color::Auto, surroundings);
            console.error(&output::unwritten(&unwritten).to_string());
            ended::REFUSED
        }
        _ => u8::try_from(error.exit_code()).unwrap_or(ended::REFUSED),
    }
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
