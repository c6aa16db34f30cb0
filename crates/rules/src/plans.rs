//! [`Plans`]: the queries of rules, planned before there are spans.

use std::collections::BTreeSet;
use std::sync::Arc;

use timesink_model::schema::spans::PROMOTED;
use timesink_query::{Database, Limits, PlannedQuery, Planner, Reader, columns_of};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;

use crate::Error;
use crate::config::RulesConfig;
use crate::context;
use crate::engine::MAPS;
use crate::params;
use crate::rule::{Rule, RuleSet};

/// The plans of rules, by number.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) limits: Limits,
    planner: Planner,
    rules: Vec<Planned>,
}

/// Returns the columns of spans and facts that findings read, and rules that are not switched off.
pub(crate) fn columns(rules: &RuleSet, config: &RulesConfig) -> BTreeSet<String> {
    let running = || rules.rules().iter().filter(|rule| !config.of(rule.name()).disabled);
    let queries: Vec<&str> = running().map(|rule| rule.sql.as_str()).collect();
    let mut names = columns_of(&queries);
    names.extend(context::COLUMNS.map(str::to_owned));
    let required = running().flat_map(|rule| &rule.manifest.requires);
    for attribute in required {
        match PROMOTED.iter().find(|promoted| promoted.attribute == attribute) {
            Some(promoted) => names.extend([promoted.column.to_owned()]),
            None => names.extend(MAPS.map(str::to_owned)),
        }
    }
    names
}

/// A rule's plan once it is made, or why there is none.
type Planned = OnceCell<Result<Arc<PlannedQuery>, String>>;

impl Plans {
    /// Plans rules, which will run side by side; a rule whose query cannot be planned fails alone.
    /// Rules that require an attribute are planned once there are spans that carry it.
    pub(crate) async fn make(
        rules: &RuleSet,
        config: &RulesConfig,
        limits: Limits,
    ) -> Result<Self, Error> {
        let rules = rules.rules();
        let is_running = |rule: &&Rule| !config.of(rule.name()).disabled;
        let is_at_once = |rule: &&Rule| rule.manifest.requires.is_empty();
        let (at_once, later): (Vec<_>, Vec<_>) =
            rules.iter().filter(is_running).partition(is_at_once);
        let planner = Planner::new(limits, &texts(&at_once), &texts(&later)).await?;
        let mut tasks = JoinSet::new();
        let is_planned = |rule: &&Rule| is_running(rule) && is_at_once(rule);
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| is_planned(rule)) {
            let (planner, rule) = (planner.clone(), rule.clone());
            tasks.spawn(async move { (number, planned(&planner, &rule).await) });
        }
        let mut plans: Vec<Planned> = rules.iter().map(|_| OnceCell::new()).collect();
        for (number, plan) in tasks.join_all().await {
            plans[number] = OnceCell::new_with(Some(plan));
        }
        Ok(Self { limits, planner, rules: plans })
    }

    /// Returns the plan of a rule by its number.
    pub(crate) async fn of(&self, number: usize, rule: &Rule) -> Result<Arc<PlannedQuery>, Error> {
        let plan = self.rules[number].get_or_init(|| planned(&self.planner, rule)).await;
        plan.clone().map_err(|reason| Error::Rule { rule: rule.name().to_owned(), reason })
    }

    /// Returns a reader of a database for these plans.
    pub(crate) fn reader(&self, database: &Database) -> Result<Reader, Error> {
        Ok(Reader::new(self.planner.clone(), database)?)
    }
}

fn texts<'a>(rules: &[&'a Rule]) -> Vec<&'a str> {
    rules.iter().map(|rule| rule.sql.as_str()).collect()
}

async fn planned(planner: &Planner, rule: &Rule) -> Result<Arc<PlannedQuery>, String> {
    let own = vec![(params::TABLE, params::schema(rule))];
    let plan = planner.plan(&rule.sql, own).await;
    plan.map(Arc::new).map_err(|error| error.to_string())
}
