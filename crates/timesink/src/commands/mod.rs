//! One file a command: what it is given, the engine it asks, the output it writes.

mod analyze;
mod completions;
mod demo;
mod doctor;
mod explain;
mod report;
mod rules;
mod run;
mod serve;
mod sql;
mod store;
mod token;

pub(crate) use self::run::NotRun;

use anyhow::Result;
use clap::ArgMatches;

use crate::cli::{Cli, Command, ConfigCommand};
use crate::config::{self, Config};
use crate::ended::Ended;
use crate::output::Console;
use crate::surroundings::Surroundings;

/// What every command may use.
pub(crate) struct Run<'a> {
    pub(crate) config: Config,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) console: &'a mut Console,
}

/// Runs the command that was named.
pub(crate) fn run(
    cli: Cli,
    matches: &ArgMatches,
    surroundings: &Surroundings,
    console: &mut Console,
) -> Result<Ended> {
    // Start-up files of shells call it in any folder, with any configuration there.
    if let Command::Completions { shell } = cli.command {
        return completions::run(shell, console);
    }
    let path = cli.config.as_deref();
    let flags = cli.all_options();
    let (config, sources) = config::load(path, &flags, matches, surroundings)?;
    let mut run = Run { config, surroundings, console };
    match cli.command {
        Command::Serve(_) => serve::run(&mut run),
        Command::Run(args) => run::run(&args, &mut run),
        Command::Analyze(args) => analyze::run(&args, &mut run),
        Command::Explain(args) => explain::run(&args, &mut run),
        Command::Doctor(args) => doctor::run(&args, &mut run),
        Command::Store(command) => store::run(&command, &mut run),
        Command::Sql(args) => sql::run(args, &mut run),
        Command::Rules(command) => rules::run(&command, &mut run),
        Command::Demo(args) => demo::run(&args, &mut run),
        Command::Config(ConfigCommand::Show(_)) => config::show(&sources, &mut run),
        Command::Token(args) => token::run(&args, &mut run),
        Command::Completions { shell } => completions::run(shell, run.console),
    }
}
