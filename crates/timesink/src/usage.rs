//! [`parse`]: the command line, and what clap leaves to us: colours of its own messages, variables
//! that are set to nothing, and errors in variables that no flag should be blamed for.

use std::ffi::{OsStr, OsString};

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgMatches, ColorChoice, Command, CommandFactory, Error, FromArgMatches};

use crate::cli::Cli;
use crate::surroundings::variable;

/// Parses the command line and the environment; help and version are errors here, as for clap.
pub(crate) fn parse(arguments: &[OsString]) -> Result<(Cli, ArgMatches), Error> {
    let mut command = Cli::command().color(color(arguments)).mut_args(without_empty_variable);
    let matches = command
        .try_get_matches_from_mut(arguments)
        .map_err(|error| blaming_variable(error, &command))?;
    Ok((Cli::from_arg_matches(&matches)?, matches))
}

/// A variable that is set to nothing is as good as unset: `TIMESINK_CONFIG= timesink ...`.
fn without_empty_variable(arg: Arg) -> Arg {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg }
}

/// Help and usage errors are written before there are options: finds `--color` by itself.
fn color(arguments: &[OsString]) -> ColorChoice {
    let mut words = arguments.iter().filter_map(|word| word.to_str()).take_while(|w| *w != "--");
    let mut wanted = variable("TIMESINK_COLOR").and_then(|value| value.into_string().ok());
    while let Some(word) = words.next() {
        let value = if word == "--color" { words.next() } else { word.strip_prefix("--color=") };
        wanted = value.map(str::to_owned).or(wanted);
    }
    match wanted.as_deref() {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Names the variable in place of the flag where the value is the variable's.
fn blaming_variable(mut error: Error, command: &Command) -> Error {
    let [Some(ContextValue::String(blamed)), Some(ContextValue::String(value))] =
        [ContextKind::InvalidArg, ContextKind::InvalidValue].map(|kind| error.get(kind))
    else {
        return error;
    };
    let option = command.get_arguments().find(|arg| arg.to_string() == *blamed);
    let name = option.and_then(Arg::get_env).filter(|name| {
        let written = variable(name);
        written.is_some_and(|written| written.to_string_lossy() == value.as_str())
    });
    if let Some(name) = name {
        let name = ContextValue::String(name.to_string_lossy().into_owned());
        error.insert(ContextKind::InvalidArg, name);
    }
    error
}
