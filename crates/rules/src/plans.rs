//! [`Plans`]: the queries of rules, planned before there are spans.

use std::collections::BTreeSet;
use std::sync::Arc;

use timesink_model::schema::spans::PROMOTED;
use timesink_query::{Database, Limits, PlannedQuery, Planner, Reader, columns_of};
use tokio::task::JoinSet;

use crate::Error;
use crate::config::RulesConfig;
use crate::context;
use crate::engine::MAPS;
use crate::params;
use crate::rule::{Rule, RuleSet};

/// The plans of all rules that are not switched off, by number.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) limits: Limits,
    planner: Planner,
    rules: Vec<Planned>,
}

/// Returns the columns of spans and facts that rules and findings read.
pub(crate) fn columns(rules: &RuleSet) -> BTreeSet<String> {
    let queries: Vec<&str> = rules.rules().iter().map(|rule| rule.sql.as_str()).collect();
    let mut names = columns_of(&queries);
    names.extend(context::COLUMNS.map(str::to_owned));
    let required = rules.rules().iter().flat_map(|rule| &rule.manifest.requires);
    for attribute in required {
        match PROMOTED.iter().find(|promoted| promoted.attribute == attribute) {
            Some(promoted) => names.extend([promoted.column.to_owned()]),
            None => names.extend(MAPS.map(str::to_owned)),
        }
    }
    names
}

/// A rule's plan, or why there is none.
type Planned = Option<Result<Arc<PlannedQuery>, String>>;

impl Plans {
    /// Plans rules, which will run side by side; a rule whose query cannot be planned fails alone.
    pub(crate) async fn make(
        rules: &RuleSet,
        config: &RulesConfig,
        limits: Limits,
    ) -> Result<Self, Error> {
        let rules = rules.rules();
        let is_running = |rule: &&Rule| !config.of(rule.name()).disabled;
        let queries: Vec<&str> =
            rules.iter().filter(is_running).map(|rule| rule.sql.as_str()).collect();
        let planner = Planner::new(limits, &queries).await?;
        let mut tasks = JoinSet::new();
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| is_running(rule)) {
            let (planner, sql) = (planner.clone(), rule.sql.clone());
            let own = vec![(params::TABLE, params::schema(rule))];
            tasks.spawn(async move { (number, planner.plan(&sql, own).await) });
        }
        let mut plans: Vec<Planned> = vec![None; rules.len()];
        for (number, plan) in tasks.join_all().await {
            plans[number] = Some(plan.map(Arc::new).map_err(|error| error.to_string()));
        }
        Ok(Self { limits, planner, rules: plans })
    }

    /// Returns the plan of a rule by its number.
    pub(crate) fn of(&self, number: usize, rule: &Rule) -> Result<Arc<PlannedQuery>, Error> {
        match &self.rules[number] {
            Some(Ok(plan)) => Ok(Arc::clone(plan)),
            Some(Err(reason)) => Err(refused(rule, reason.clone())),
            None => Err(refused(rule, "it is switched off".to_owned())),
        }
    }

    /// Returns a reader of a database for these plans.
    pub(crate) fn reader(&self, database: &Database) -> Result<Reader, Error> {
        Ok(Reader::new(self.planner.clone(), database)?)
    }
}

fn refused(rule: &Rule, reason: String) -> Error {
    Error::Rule { rule: rule.name().to_owned(), reason }
}
