//! `timesink rules run`: the rules over the history of a data directory, however long it is.

use anyhow::{Result, bail};

use super::super::Run;
use super::super::analyze::ended;
use super::super::report::{self, Material};
use crate::cli::{FailOn, RulesRunArgs};
use crate::ended::{Ended, once_written};
use crate::{analysis, output, stored};

pub(super) fn run(args: &RulesRunArgs, run: &mut Run<'_>) -> Result<Ended> {
    let config = &run.config;
    let engine = analysis::engine(config, &args.rules)?;
    report::check(&args.report)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    analysis::begin_planning(&runtime, &engine, config.history_limits);
    let options = report::read_options(&args.report, config, &engine);
    let now = run.surroundings.now_unix_nano;
    let since = args.since.map(|since| since.time(now));
    let sharded = {
        let _progress = run.console.progress(&format!("reading {}", args.data.display()));
        stored::sharded(&args.data, &options, since)?
    };
    output::warn_of_lost_records(run.console, &sharded.replayed);
    let input = sharded.input;
    let database = {
        let _progress = run.console.progress("walking the traces");
        let kept = |spans| match args.since {
            Some(since) => since.kept(spans, now),
            None => Ok(spans),
        };
        analysis::history_database(sharded.shards, &input, &engine, config, kept)?
    };
    if let (0, Some(since), true) = (database.spans(), args.since, sharded.has_spans) {
        bail!("no trace begins at {} or later (`--since`)", since.at(now));
    }
    let analysis = analysis::analyze(&runtime, &engine, &database, run.console)?;
    let material =
        Material { analysis: &analysis, database: &database, input: &input, rules: engine.rules() };
    let written = report::write(&args.report, material, run);
    once_written(written, ended(&analysis, &input, args.fail_on.map(FailOn::severity)))
}
