//! [`Engine`]: spans in, findings out. Nothing else knows how to detect anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, MapArray, RecordBatch};
use hashbrown::HashSet;
use timesink_facts::packed::Text;
use timesink_model::schema::Columns;
use timesink_model::schema::spans::PROMOTED;
use timesink_model::{Confidence, Finding, Traffic, rank};
use timesink_query::{Database, Limits, Reader};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use crate::config::{RuleSettings, RulesConfig};
use crate::context::{Context, Wanted};
use crate::instances::{Instances, read};
use crate::mute::{Marks, Mute, ToldApart};
use crate::params::{self, ParamKeys};
use crate::plans::{self, Plans};
use crate::rule::{Rule, RuleSet};
use crate::{Error, causes, grouping};

/// Runs a set of rules under one configuration.
#[derive(Debug, Clone)]
pub struct Engine {
    rules: RuleSet,
    config: RulesConfig,
    /// Made once, for the limits that were asked for first.
    plans: Arc<OnceCell<Arc<Plans>>>,
}

/// How one rule fared. *Clean*, *undecided* and *skipped* never look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// So many, those muted included.
    Findings(usize),
    Clean,
    /// No finding, but there are places of which the spans cannot tell: [`RuleRun::undecided`].
    Undecided,
    /// No span carries what it requires.
    Skipped {
        missing: Vec<String>,
    },
    /// It could not be run; the others were.
    Failed {
        reason: String,
    },
    /// The configuration switched it off.
    Disabled,
}

/// One rule's run.
#[derive(Debug, Clone)]
pub struct RuleRun {
    pub rule: String,
    pub outcome: Outcome,
    /// By service and endpoint.
    pub undecided: Vec<Undecided>,
    pub took: Duration,
}

impl RuleRun {
    /// Returns a sentence that says why the rule could not be run, if so.
    pub fn failure(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Failed { reason } => Some(format!("rule `{}` failed: {reason}", self.rule)),
            _ => None,
        }
    }
}

/// An endpoint of which a rule can say neither yes nor no.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undecided {
    pub service_name: String,
    pub endpoint: String,
    /// What the spans lack.
    pub reason: String,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Ranked by the time wasted.
    pub findings: Vec<Finding>,
    /// Those that configuration or spans mute, ranked likewise.
    pub muted: Vec<Finding>,
    /// What the configuration muted until a day that is over, and was found again.
    pub mutes_over: Vec<Mute>,
    /// One for each rule, by name.
    pub runs: Vec<RuleRun>,
    /// In how many traces each of them could have shown.
    pub traffic: Traffic,
    pub spans: usize,
    pub traces: usize,
    pub repeated_spans: usize,
}

impl Engine {
    /// Makes an engine of these rules.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] and [`Error::UnknownRule`] when the configuration names what no rule
    /// knows.
    pub fn new(rules: RuleSet, config: RulesConfig) -> Result<Self, Error> {
        config.check(&rules)?;
        Ok(Self { rules, config, plans: Arc::default() })
    }

    /// Whether a finding, or what cannot be told, would be certain if the services measured
    /// themselves.
    pub fn gains_from_companion(&self, analysis: &Analysis) -> bool {
        let gains =
            |rule: &str| self.rules.get(rule).is_ok_and(|rule| rule.manifest.gains_from_companion);
        let is_sure = |finding: &Finding| finding.confidence == Confidence::Certain;
        analysis.findings.iter().any(|finding| !is_sure(finding) && gains(&finding.rule))
            || analysis.runs.iter().any(|run| !run.undecided.is_empty() && gains(&run.rule))
    }

    /// Returns the rules it runs.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    pub(crate) fn config(&self) -> &RulesConfig {
        &self.config
    }

    /// Returns the columns of spans and facts that an analysis needs: spans may lack all others.
    pub fn columns(&self) -> Columns {
        let of_pass = timesink_facts::COLUMNS.map(str::to_owned);
        Columns::named(plans::columns(&self.rules, &self.config).into_iter().chain(of_pass))
    }

    /// Returns those of them that are still needed once the trace pass has read the spans.
    pub fn columns_after_pass(&self) -> Columns {
        Columns::named(plans::columns(&self.rules, &self.config))
    }

    /// Plans the rules for databases under these limits: what [`Engine::analyze`] does first
    /// otherwise, and what needs no spans.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] only: a rule that cannot be planned fails when it is run.
    pub async fn plan(&self, limits: Limits) -> Result<(), Error> {
        self.plans(limits).await.map(|_| ())
    }

    async fn plans(&self, limits: Limits) -> Result<Arc<Plans>, Error> {
        let make = || async { Plans::make(&self.rules, &self.config, limits).await.map(Arc::new) };
        let known = self.plans.get_or_try_init(make).await?;
        if known.limits == limits { Ok(Arc::clone(known)) } else { make().await }
    }

    /// Runs every rule over the spans of a database.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] only: a rule that fails is an [`Outcome::Failed`], the others go on.
    pub async fn analyze(&self, database: &Database) -> Result<Analysis, Error> {
        let plans = self.plans(database.limits()).await?;
        let run = Arc::new(Running {
            reader: plans.reader(database)?,
            keys: ParamKeys::find(database.spans_with_facts()),
            plans,
            database: database.clone(),
        });
        let mut tasks = JoinSet::new();
        for (number, rule) in self.rules.rules().iter().enumerate() {
            let (rule, settings) = (rule.clone(), self.config.of(rule.name()));
            let run = Arc::clone(&run);
            tasks.spawn(async move {
                let began = Instant::now();
                let result = run.rule(number, &rule, &settings).await;
                (number, result, began.elapsed())
            });
        }
        let mut results = tasks.join_all().await;
        results.sort_by_key(|(number, ..)| *number);
        self.conclude(database, &results)
    }

    fn conclude(
        &self,
        database: &Database,
        results: &[(usize, Result<Run, Error>, Duration)],
    ) -> Result<Analysis, Error> {
        let context = {
            let wanted = wanted(results);
            Context::read(database, &wanted)?
        };
        let mut found = Vec::new();
        let mut runs = Vec::new();
        let results = results.iter().map(|(number, result, took)| (*number, result, *took));
        for (number, result, took) in results {
            let rule = &self.rules.rules()[number];
            let mut undecided = Vec::new();
            let result = result.as_ref().map_err(failure).and_then(|run| {
                if let Run::Done(instances) = run {
                    let spans = database.spans_with_facts();
                    check_traces(rule, instances, &context, spans).map_err(|e| failure(&e))?;
                }
                Ok(run)
            });
            let outcome = match result {
                Ok(Run::Disabled) => Outcome::Disabled,
                Ok(Run::Skipped(missing)) => Outcome::Skipped { missing: missing.clone() },
                Ok(Run::Done(instances)) => {
                    let of_rule = grouping::findings(rule, instances, &context);
                    undecided = grouping::undecided(instances, &context);
                    let count = of_rule.len();
                    found.extend(of_rule);
                    match count {
                        0 if undecided.is_empty() => Outcome::Clean,
                        0 => Outcome::Undecided,
                        count => Outcome::Findings(count),
                    }
                }
                Err(reason) => Outcome::Failed { reason },
            };
            runs.push(RuleRun { rule: rule.name().to_owned(), outcome, undecided, took });
        }
        let mut findings = causes::linked(&self.rules, found, database.spans_with_facts())?;
        rank(&mut findings);
        let traffic = traffic(&runs, &context);
        let marks = Marks::read(database.spans_with_facts())?;
        let ToldApart { findings, muted, over } = self.config.mutes.tell_apart(findings, &marks);
        Ok(Analysis {
            findings,
            muted,
            mutes_over: over,
            runs,
            traffic,
            spans: database.spans(),
            traces: database.traces(),
            repeated_spans: database.repeated_spans(),
        })
    }
}

/// Says why a rule failed; the run says whose it is.
fn failure(error: &Error) -> String {
    match error {
        Error::Rule { reason, .. } => reason.clone(),
        error => error.to_string(),
    }
}

fn traffic(runs: &[RuleRun], context: &Context<'_>) -> Traffic {
    let mut traffic = Traffic::default();
    for ((service, endpoint), known) in &context.endpoints {
        let endpoint = ((*service).to_owned(), (*endpoint).to_owned());
        traffic.traces.insert(endpoint, known.traces as u64);
    }
    for RuleRun { rule, outcome, undecided, .. } in runs {
        let (Outcome::Findings(_) | Outcome::Clean | Outcome::Undecided) = outcome else {
            continue;
        };
        traffic.rules.insert(rule.clone());
        for place in undecided {
            let (service, endpoint) = (place.service_name.clone(), place.endpoint.clone());
            traffic.undecided.insert((rule.clone(), service, endpoint));
        }
    }
    traffic
}

fn wanted(results: &[(usize, Result<Run, Error>, Duration)]) -> Wanted<'_> {
    let mut wanted = Wanted::new();
    let done = results.iter().filter_map(|(_, result, _)| match result {
        Ok(Run::Done(instances)) => Some(instances),
        _ => None,
    });
    for row in done.flat_map(|instances| instances.rows.iter().chain(&instances.undecided)) {
        wanted.entry(&row.trace_id).or_default().insert(&row.span_id);
    }
    wanted
}

/// Refuses rows that point into no trace: nobody could look at what they found. The span itself
/// may be missing: the parent of a loop that was lost, while its children arrived.
fn check_traces(
    rule: &Rule,
    instances: &Instances,
    context: &Context<'_>,
    spans: &[RecordBatch],
) -> Result<(), Error> {
    let astray: Vec<_> = grouping::astray(instances, context).collect();
    if astray.is_empty() {
        return Ok(());
    }
    let mut unknown: HashSet<&str> = astray.iter().map(|row| row.trace_id.as_str()).collect();
    let columns = spans.iter().filter_map(|batch| batch.column_by_name("trace_id"));
    for trace_id in columns.filter_map(Text::of).flat_map(Text::iter).flatten() {
        unknown.remove(trace_id);
    }
    let Some(row) = astray.iter().find(|row| unknown.contains(row.trace_id.as_str())) else {
        return Ok(());
    };
    let reason = format!("a row points at trace `{}`: there is none", row.trace_id);
    Err(Error::Rule { rule: rule.name().to_owned(), reason })
}

enum Run {
    Disabled,
    Skipped(Vec<String>),
    Done(Instances),
}

/// What the rules share while they run.
struct Running {
    plans: Arc<Plans>,
    reader: Reader,
    keys: ParamKeys,
    database: Database,
}

impl Running {
    async fn rule(
        &self,
        number: usize,
        rule: &Rule,
        settings: &RuleSettings,
    ) -> Result<Run, Error> {
        if settings.disabled {
            return Ok(Run::Disabled);
        }
        let missing = missing_attributes(rule, self.database.spans_with_facts());
        if !missing.is_empty() {
            return Ok(Run::Skipped(missing));
        }
        let params = self.keys.table(rule, settings)?;
        let plan = self.plans.of(number, rule).await?;
        let result = self.reader.query(plan, vec![(params::TABLE, params)]).await?;
        Ok(Run::Done(read(rule.name(), &result)?))
    }
}

/// Returns a session in which `params` holds the rule's thresholds.
pub(crate) fn session(
    rule: &Rule,
    settings: &RuleSettings,
    database: &Database,
    keys: &ParamKeys,
) -> Result<timesink_query::Session, Error> {
    let session = database.session()?;
    let params = keys.table(rule, settings)?;
    session.register(params::TABLE, params.schema(), vec![params])?;
    Ok(session)
}

/// Returns the required attributes that no span carries.
pub(crate) fn missing_attributes(rule: &Rule, spans: &[RecordBatch]) -> Vec<String> {
    let required = rule.manifest.requires.iter();
    required.filter(|attribute| !is_carried(attribute, spans)).cloned().collect()
}

fn is_carried(attribute: &str, spans: &[RecordBatch]) -> bool {
    match PROMOTED.iter().find(|promoted| promoted.attribute == attribute) {
        Some(promoted) => spans.iter().any(|batch| {
            let column = batch.column_by_name(promoted.column);
            column.is_some_and(|column| column.logical_null_count() < column.len())
        }),
        None => spans.iter().any(|batch| has_key(batch, attribute)),
    }
}

/// Where attributes stand that have no column of their own.
pub(crate) const MAPS: [&str; 2] = ["attributes", "resource_attributes"];

fn has_key(batch: &RecordBatch, attribute: &str) -> bool {
    MAPS.iter().any(|name| {
        let column = batch.column_by_name(name);
        let map = column.and_then(|column| column.as_any().downcast_ref::<MapArray>());
        map.is_some_and(|map| {
            map.keys().as_string::<i32>().iter().any(|key| key == Some(attribute))
        })
    })
}
