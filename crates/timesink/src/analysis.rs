//! From files to the tables and findings: the one way in which every command gets them.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use timesink_facts::PassOptions;
use timesink_facts::packed::Text;
use timesink_model::schema::{Columns, quarantine};
use timesink_model::{Finding, first_causes, folded};
use timesink_otlp::ReadOptions;
use timesink_output::words::Found;
use timesink_query::{Database, Limits};
use timesink_rules::{Analysis, Engine, RuleSet};
use timesink_shards::Shards;
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, in_file};
use crate::input::Input;
use crate::opened::Reading;
use crate::output::Console;

/// Threads that wait for queries and make findings of their rows.
const WORKERS_MAX: usize = 4;

/// Makes the runtime that waits for queries; these have threads of their own.
pub(crate) fn runtime(cores: usize) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(cores.clamp(1, WORKERS_MAX))
        .enable_all()
        .build()
        .context("failed to start threads")
}

/// Returns the rules at hand: the shipped ones and those of `rules_dirs`.
pub(crate) fn rules(config: &Config) -> Result<RuleSet> {
    let mut rules = RuleSet::embedded()?;
    for directory in &config.rules_dirs {
        rules.add_folder(directory)?;
    }
    rules.check_names()?;
    Ok(rules)
}

/// Returns an engine of all rules, or of those in `only` if it names any.
pub(crate) fn engine(config: &Config, only: &[String]) -> Result<Engine> {
    let rules = rules(config)?;
    let mut settings = config.rules.clone();
    for name in only {
        rules.get(name)?;
    }
    for rule in rules.rules().iter().filter(|_| !only.is_empty()) {
        let is_named = only.iter().any(|name| name == rule.name());
        settings.rules.entry(rule.name().to_owned()).or_default().disabled = !is_named;
    }
    in_file(config.file.as_deref(), Engine::new(rules, settings).map_err(Into::into))
}

/// So many spans are packed while rules look at them: they take some 300 MiB as they are. Fewer are
/// read faster than they are packed.
const PACKED_SPANS_MIN: usize = 1 << 18;

/// Runs the trace pass and makes the tables. Quarantined spans are a table of their own. Of spans
/// that were read for rules alone only the columns in `kept` are, and they may be packed.
pub(crate) fn database(input: &mut Input, kept: &Columns, limits: Limits) -> Result<Database> {
    let mut options = pass_options(input, kept);
    if *kept != Columns::All {
        options.packed_spans_min = PACKED_SPANS_MIN;
    }
    let spans = std::mem::take(&mut input.decoded.spans);
    let facts = timesink_facts::run(spans, &options).map_err(timesink_query::Error::from)?;
    let mut database = Database::of_facts(facts, limits)?;
    add_quarantine(&mut database, input);
    Ok(database)
}

/// As [`database`], of spans on disk, of which `is_asked_for` leaves out what nobody asked for.
pub(crate) fn history_database(
    shards: Shards,
    input: &Input,
    reading: &Reading,
    is_asked_for: impl Fn(Vec<RecordBatch>) -> Result<Vec<RecordBatch>>,
) -> Result<Database> {
    let options = pass_options(input, &reading.kept);
    let bytes_max = reading.options.decoded_bytes_max;
    let mut facts = shards.facts(&options, bytes_max, is_asked_for)?.into_iter();
    let first = facts.next().context("there is always a shard")?;
    let mut database = Database::of_shards(first, facts.collect(), reading.limits)?;
    add_quarantine(&mut database, input);
    Ok(database)
}

fn pass_options(input: &Input, kept: &Columns) -> PassOptions {
    let columns = input.columns.clone();
    PassOptions { columns, span_columns: kept.clone(), ..PassOptions::default() }
}

fn add_quarantine(database: &mut Database, input: &Input) {
    let table = quarantine::table();
    database.add(table.name, table.schema().into(), input.decoded.quarantine.clone());
}

/// Returns how to read spans of which an analysis is made, and nothing else is asked.
pub(crate) fn read_options(config: &Config, engine: &Engine) -> ReadOptions {
    let mut options = config.read.clone();
    options.decoder.columns = engine.columns();
    options
}

/// Begins to plan the rules, which needs no spans: files can be read meanwhile.
pub(crate) fn begin_planning(runtime: &Runtime, engine: &Engine, limits: Limits) {
    let engine = engine.clone();
    // What goes wrong is told when the rules are run.
    runtime.spawn(async move { engine.plan(limits).await });
}

/// Runs the rules.
pub(crate) fn analyze(
    runtime: &Runtime,
    engine: &Engine,
    database: &Database,
    console: &Console,
) -> Result<Analysis> {
    let _progress = console.progress("running the rules");
    Ok(runtime.block_on(engine.analyze(database))?)
}

/// What of an analysis is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shown<'a> {
    pub(crate) analysis: &'a Analysis,
    /// The first ones.
    pub(crate) findings: &'a [Finding],
    pub(crate) services: usize,
}

impl<'a> Shown<'a> {
    /// Shows every finding.
    pub(crate) fn all(analysis: &'a Analysis, services: usize) -> Self {
        Self { analysis, findings: &analysis.findings, services }
    }

    /// Shows so many of the costliest findings, each with what it causes.
    pub(crate) fn top(self, top: Option<usize>) -> Self {
        let count = first_causes(self.findings, top.unwrap_or(usize::MAX));
        Self { findings: &self.findings[..count], ..self }
    }

    /// Returns what was found, and in what.
    pub(crate) fn headline(self) -> String {
        let found = Found {
            findings: self.findings,
            total: folded(&self.analysis.findings).len(),
            spans: self.analysis.spans,
            traces: self.analysis.traces,
            services: self.services,
        };
        found.headline()
    }
}

/// Returns the names of the services among the spans.
pub(crate) fn services(database: &Database) -> BTreeSet<&str> {
    let columns = database
        .spans_with_facts()
        .iter()
        .filter_map(|batch| batch.column_by_name("service_name").and_then(Text::of));
    let mut services = BTreeSet::new();
    let mut last = None;
    for name in columns.flat_map(|column| column.iter().flatten()) {
        if last.replace(name) != Some(name) {
            services.insert(name);
        }
    }
    services
}
