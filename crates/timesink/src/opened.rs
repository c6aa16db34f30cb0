//! [`open`]: from what a command names to its tables. Spans of files lie in memory, those of a data
//! directory in temporary files, as there may be any number of them.

use std::path::Path;

use anyhow::{Result, bail};
use timesink_model::schema::Columns;
use timesink_otlp::ReadOptions;
use timesink_query::{Database, Limits};
use timesink_rules::Engine;

use crate::commands::Run;
use crate::input::{self, Input, Sources};
use crate::output::warn_of_lost_records;
use crate::stored::Part;
use crate::{analysis, stored};

/// What is read, and how.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) options: ReadOptions,
    /// The columns of spans that are of use after the trace pass.
    pub(crate) kept: Columns,
    /// What queries may use.
    pub(crate) limits: Limits,
}

impl Reading {
    /// Reads for any query.
    pub(crate) fn whole(sources: Sources<'_>, run: &Run<'_>) -> Self {
        let limits = limits(sources, run);
        Self { options: run.config.read.clone(), kept: Columns::All, limits }
    }

    /// Reads for rules; `options` name their columns, or all.
    pub(crate) fn of_rules(
        sources: Sources<'_>,
        options: ReadOptions,
        engine: &Engine,
        run: &Run<'_>,
    ) -> Self {
        let is_whole = options.decoder.columns == Columns::All;
        let kept = if is_whole { Columns::All } else { engine.columns_after_pass() };
        Self { options, kept, limits: limits(sources, run) }
    }
}

fn limits(sources: Sources<'_>, run: &Run<'_>) -> Limits {
    let is_history = sources.only_data().is_some();
    if is_history { run.config.history_limits } else { run.config.limits }
}

/// Tables, and what was read for them.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) input: Input,
}

/// Reads what a command names, and runs the trace pass over it.
pub(crate) fn open(sources: Sources<'_>, reading: &Reading, run: &Run<'_>) -> Result<Opened> {
    if let Some(folder) = sources.only_data() {
        return open_history(folder, sources, reading, run);
    }
    let now = run.surroundings.now_unix_nano;
    let mut input = input::read(sources, &reading.options, now, run.console)?;
    let _progress = run.console.progress("walking the traces");
    let database = analysis::database(&mut input, &reading.kept, reading.limits)?;
    Ok(Opened { database, input })
}

fn open_history(
    folder: &Path,
    sources: Sources<'_>,
    reading: &Reading,
    run: &Run<'_>,
) -> Result<Opened> {
    let now = run.surroundings.now_unix_nano;
    let sharded = {
        let _progress = run.console.progress(&format!("reading {}", folder.display()));
        let since = sources.since.map(|since| since.time(now));
        stored::sharded(Part { folder, since, findings: sources.findings }, &reading.options)?
    };
    warn_of_lost_records(run.console, &sharded.replayed);
    let input = sharded.input;
    let _progress = run.console.progress("walking the traces");
    let is_asked_for = |spans| match sources.since {
        Some(since) => since.kept(spans, now),
        None => Ok(spans),
    };
    let database = analysis::history_database(sharded.shards, &input, reading, is_asked_for)?;
    if let (0, Some(since), true) = (database.spans(), sources.since, sharded.has_spans) {
        bail!("no trace begins at {} or later (`--since`)", since.at(now));
    }
    Ok(Opened { database, input })
}
