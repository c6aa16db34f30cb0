//! `timesink completions`: the completion script of a shell.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::ended::Ended;
use crate::output::Console;

pub(super) fn run(shell: Shell, console: &mut Console) -> Result<Ended> {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    // Written to memory first: clap panics when the pipe it writes to is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    console.out.write_all(&script)?;
    Ok(Ended::Done)
}
