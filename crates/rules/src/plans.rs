//! [`Plans`]: the queries of rules, planned before there are spans.

use std::sync::Arc;

use timesink_query::{Database, Limits, PlannedQuery, Planner, Reader};
use tokio::task::JoinSet;

use crate::Error;
use crate::config::RulesConfig;
use crate::params;
use crate::rule::{Rule, RuleSet};

/// The plans of all rules that are not switched off, by number.
#[derive(Debug)]
pub(crate) struct Plans {
    pub(crate) limits: Limits,
    planner: Planner,
    rules: Vec<Planned>,
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
        let mut planned: Vec<Planned> = vec![None; rules.len()];
        for (number, plan) in tasks.join_all().await {
            planned[number] = Some(plan.map(Arc::new).map_err(|error| error.to_string()));
        }
        Ok(Self { limits, planner, rules: planned })
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
