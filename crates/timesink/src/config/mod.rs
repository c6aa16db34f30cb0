//! Configuration: flags, environment and file become [`Options`] (as written), which become
//! [`Config`] (checked and complete) in [`load`]. Only [`Config`] travels.

mod file;
mod mute;
mod options;
mod server;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use clap::parser::ValueSource;
use timesink_otlp::{ReadOptions, Redaction};
use timesink_query::Limits;
use timesink_rules::RulesConfig;

use crate::surroundings::Surroundings;
use file::File;
pub(crate) use options::{
    LiveOptions, Options, ReceiverOptions, RedactionOptions, ServeOptions, StoreOptions,
};
pub(crate) use server::ServerConfig;
pub(crate) use show::{quoted, show, shown};

/// The file that is read if there is one and `--config` names no other.
const DEFAULT_FILE: &str = "timesink.toml";

const MIB: u64 = 1 << 20;

/// The most MiB that an option may allow: 1 TiB.
const MIB_MAX: u64 = 1 << 20;

/// The most that `query.seconds_max` may allow: a day.
const QUERY_SECONDS_MAX: u64 = 86_400;

/// Everything a command needs to know, checked and complete.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Folders of rule folders beside the shipped rules.
    pub(crate) rules_dirs: Vec<PathBuf>,
    pub(crate) rules: RulesConfig,
    /// The file that `rules` is from.
    pub(crate) file: Option<PathBuf>,
    pub(crate) limits: Limits,
    /// Those of queries over a walked history: they may take their time, and go to disk.
    pub(crate) history_limits: Limits,
    pub(crate) read: ReadOptions,
    /// What is hidden of files where their rows are shown.
    pub(crate) rows_redaction: Option<Arc<Redaction>>,
    pub(crate) server: ServerConfig,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File(PathBuf),
    Environment,
    Flag,
}

/// Where each value comes from, by key.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    matches: &'a ArgMatches,
    file: Option<File>,
}

impl<'a> Sources<'a> {
    /// Returns the source of a key such as `query.threads`.
    pub(crate) fn of(&self, key: &str) -> Source {
        let below = |matches: &&'a ArgMatches| matches.subcommand().map(|(_, below)| below);
        let mut places = std::iter::successors(Some(self.matches), below);
        let given = places.find(|matches| matches.try_contains_id(key).is_ok());
        match given.and_then(|matches| matches.value_source(key)) {
            Some(ValueSource::CommandLine) => Source::Flag,
            Some(ValueSource::EnvVariable) => Source::Environment,
            _ => match &self.file {
                Some(file) if file.holds(key) => Source::File(file.path.clone()),
                _ => Source::Default,
            },
        }
    }
}

impl Sources<'_> {
    /// Names in an error where the value of a key comes from; a flag is before the user's eyes.
    fn naming<T>(&self, key: &str, result: Result<T>) -> Result<T> {
        match self.of(key) {
            Source::File(path) => in_file(Some(&path), result),
            Source::Environment => result.with_context(|| variable(key)),
            Source::Flag | Source::Default => result,
        }
    }
}

/// Returns the name of the variable that holds a key's value.
fn variable(key: &str) -> String {
    format!("TIMESINK_{}", key.replace('.', "_").to_uppercase())
}

/// Puts flags, environment, file and defaults together; the one named first wins.
pub(crate) fn load<'a>(
    path: Option<&Path>,
    flags: &Options,
    matches: &'a ArgMatches,
    surroundings: &Surroundings,
) -> Result<(Config, Sources<'a>)> {
    let file = match path {
        Some(path) => Some(File::read(path)?),
        None => File::read_if_present(Path::new(DEFAULT_FILE))?,
    };
    let written = file.as_ref().map(|file| file.options.clone()).unwrap_or_default();
    let sources = Sources { matches, file };
    let mut flags = flags.clone();
    if sources.of("rules_dirs") == Source::Environment {
        flags.rules_dirs = flags.rules_dirs.iter().flat_map(std::env::split_paths).collect();
    }
    let config = config(&flags, written, &sources, surroundings)?;
    Ok((config, sources))
}

fn config(
    flags: &Options,
    file: Options,
    sources: &Sources<'_>,
    surroundings: &Surroundings,
) -> Result<Config> {
    let bytes = |key: &str, mib, default| sources.naming(key, bytes(key, mib, default));
    let within = |key: &str, value, max, unit| sources.naming(key, within(key, value, max, unit));
    let path = sources.file.as_ref().map(|file| file.path.clone());
    let (query, input) = (flags.query.or(&file.query), flags.input.or(&file.input));
    let defaults = Limits::default();
    let mut read = ReadOptions::new(surroundings.now_unix_nano);
    read.threads = surroundings.cores;
    read.message_bytes_max =
        bytes("input.message_mib_max", input.message_mib_max, read.message_bytes_max)?;
    read.document_bytes_max =
        bytes("input.document_mib_max", input.document_mib_max, read.document_bytes_max)?;
    let file_bytes_max = usize::try_from(read.file_bytes_max)?;
    read.file_bytes_max = bytes("input.file_mib_max", input.file_mib_max, file_bytes_max)? as u64;
    let decoded_bytes_max = usize::try_from(read.decoded_bytes_max)?;
    read.decoded_bytes_max =
        bytes("input.decoded_mib_max", input.decoded_mib_max, decoded_bytes_max)? as u64;
    let seconds = query.seconds_max.unwrap_or(defaults.time_max.as_secs());
    let history_seconds = query.seconds_max.unwrap_or(QUERY_SECONDS_MAX);
    read.decoder.redaction = server::redaction_of_files(flags, &file, sources)?;
    let rows_redaction = server::redaction_of_rows(flags, &file, sources)?;
    let limits = Limits {
        memory_bytes_max: bytes(
            "query.memory_mib_max",
            query.memory_mib_max,
            defaults.memory_bytes_max,
        )?,
        time_max: Duration::from_secs(within(
            "query.seconds_max",
            seconds,
            QUERY_SECONDS_MAX,
            "seconds",
        )?),
        rows_max: usize::try_from(within(
            "query.rows_max",
            query.rows_max.unwrap_or(defaults.rows_max as u64),
            1_000_000_000,
            "rows",
        )?)?,
        partitions: usize::try_from(within(
            "query.threads",
            query.threads.unwrap_or(surroundings.cores as u64),
            256,
            "threads",
        )?)?,
        may_spill: false,
    };
    let history_limits =
        Limits { time_max: Duration::from_secs(history_seconds), may_spill: true, ..limits };
    let server = server::config(flags, &file, sources)?;
    let folders = if flags.rules_dirs.is_empty() { &file.rules_dirs } else { &flags.rules_dirs };
    let rules_dirs = folders.clone();
    let rules = in_file(path.as_deref(), file.rules_config())?;
    Ok(Config {
        rules_dirs,
        rules,
        file: path,
        limits,
        history_limits,
        read,
        rows_redaction,
        server,
    })
}

/// Names the configuration file in an error of what it holds.
pub(crate) fn in_file<T>(file: Option<&Path>, result: Result<T>) -> Result<T> {
    result.with_context(|| match file {
        Some(path) => format!("configuration `{}`", path.display()),
        None => "configuration".to_owned(),
    })
}

fn bytes(key: &str, mib: Option<u64>, default: usize) -> Result<usize> {
    let mib = mib.unwrap_or(default as u64 / MIB);
    let mib = within(key, mib, MIB_MAX, "MiB")?;
    usize::try_from(mib * MIB).with_context(|| format!("`{key}` is {mib}: too much to address"))
}

fn within(key: &str, value: u64, max: u64, unit: &str) -> Result<u64> {
    if !(1..=max).contains(&value) {
        bail!("`{key}` is {value}: expected 1 to {max} {unit}");
    }
    Ok(value)
}
