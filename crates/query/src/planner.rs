//! [`Planner`]: queries that are known before the rows are, planned once for any rows.
//!
//! A plan depends on the columns of tables alone. So rules are planned while files are read, each
//! view that several queries read is planned and computed once for all, and what a query itself
//! reads more than once is a part of its own. [`crate::Reader`] runs the plans.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Column;
use datafusion::common::tree_node::{TransformedResult, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query, Statement as SqlStatement};
use timesink_model::schema::{facts, gaps, quarantine, spans};
use tokio::sync::Mutex;

use crate::database::runtime;
use crate::merged::{self, SPANS_WITH_FACTS};
use crate::outline::{Outline, outlines, suited};
use crate::session::{check_read_only, shared_state, with_tables};
use crate::split::{expressions, relations, split, with_views};
use crate::steps::parse;
use crate::threads::Threads;
use crate::views::{VIEWS, View};
use crate::{Error, Limits};

/// Rows of a table, of what is found in it, and of what a query brings along, about: that one is
/// larger than the other is all that planning asks.
const ROWS_OF_TABLE: usize = 1_000_000;
const ROWS_OF_PART: usize = 100_000;
const ROWS_OF_OWN: usize = 100;

/// Plans the queries that it was told of, over the columns that they name.
#[derive(Debug, Clone)]
pub struct Planner {
    pub(crate) state: SessionState,
    pub(crate) threads: Threads,
    pub(crate) limits: Limits,
    tables: Vec<Outline>,
    /// Those that several queries name, or views that queries name.
    pub(crate) views: Vec<(&'static str, Arc<PlannedQuery>)>,
    /// Those that one names: they are a part of it, and their rows are nowhere kept.
    views_of_one: Vec<&'static View>,
    words: Arc<BTreeSet<String>>,
}

/// A query's plan, for any rows.
#[derive(Debug)]
pub struct PlannedQuery {
    pub(crate) parts: Vec<PlannedPart>,
}

/// What a query computes once.
#[derive(Debug)]
pub(crate) struct PlannedPart {
    /// The table that its rows are for the parts behind it; `None` for the last, the query itself.
    pub(crate) name: Option<Arc<str>>,
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    /// The tables that it reads.
    pub(crate) reads: Vec<Arc<str>>,
    /// Held by a run. Runs of one plan share what some nodes keep, the values of subqueries for
    /// example, and one that is over its time goes on until its next step.
    pub(crate) turn: Mutex<()>,
}

impl PlannedQuery {
    /// Returns the names of the tables that it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = &Arc<str>> {
        self.parts.iter().flat_map(|part| &part.reads)
    }
}

impl Planner {
    /// Makes a planner for queries, which will run side by side, and plans the views that several
    /// read, one `at_once` among them. Those `later` may never be planned: a view that they alone
    /// read is a part of each.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a table or view of ours is broken.
    pub async fn new(limits: Limits, at_once: &[&str], later: &[&str]) -> Result<Self, Error> {
        let queries = &[at_once, later].concat();
        let threads = Threads::new(limits.partitions);
        let partitions = (limits.partitions / queries.len().max(1)).max(1);
        let limits = Limits { partitions, ..limits };
        let named = Named::by(queries);
        let soon = Named::by(at_once);
        let is_part = |view: &&View| {
            let is_shared = named.readers(view).count() > 1 && soon.readers(view).count() > 0;
            !is_shared && !named.is_redefined(view)
        };
        let (views_of_one, views) = named.views.iter().copied().partition(is_part);
        let words = named.words();
        let table = |name: &str, schema: &Schema| Outline {
            name: name.into(),
            schema: Arc::new(named_columns(schema, &words)),
            rows: ROWS_OF_TABLE,
            partitions,
        };
        let tables = vec![
            table("spans", &spans::table().schema()),
            table("facts", &facts::table().schema()),
            table("gaps", &gaps::table().schema()),
            table("quarantine", &quarantine::table().schema()),
            table(SPANS_WITH_FACTS, &merged::schema()),
        ];
        let planner = Self {
            state: in_one_pass(shared_state(runtime(&limits)?, &limits)),
            threads: threads.clone(),
            limits,
            tables,
            views: Vec::new(),
            views_of_one,
            words: Arc::new(words),
        };
        threads.run(Box::pin(planner.with_views(views)), 1, limits.time_max).await
    }

    async fn with_views(mut self, views: Vec<&'static View>) -> Result<Self, Error> {
        for view in views {
            let query = self.plan_parts(view.sql, &[], |plan| self.named_of(plan)).await?;
            let last = query.parts.last().expect("a query has a part");
            self.tables.push(Outline { name: view.name.into(), ..self.part(last.plan.schema()) });
            self.views.push((view.name, Arc::new(query)));
        }
        Ok(self)
    }

    /// Plans a query over the tables, the views and tables of its own, which are named here with
    /// their columns.
    ///
    /// # Errors
    ///
    /// [`Error::Query`], [`Error::Length`] and [`Error::ReadOnly`] when the text is no query over
    /// these tables, [`Error::Time`] when planning it takes too long.
    pub async fn plan(
        &self,
        sql: &str,
        own: Vec<(&'static str, SchemaRef)>,
    ) -> Result<PlannedQuery, Error> {
        let (planner, sql) = (self.clone(), sql.to_owned());
        let work = async move { planner.plan_parts(&sql, &own, Ok).await };
        self.threads.run(Box::pin(work), 1, self.limits.time_max).await
    }

    /// Returns the tables without the views.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Outline> {
        self.tables.iter().filter(|table| !self.views.iter().any(|(name, _)| **name == *table.name))
    }

    async fn plan_parts(
        &self,
        sql: &str,
        own: &[(&'static str, SchemaRef)],
        finish: impl Fn(LogicalPlan) -> Result<LogicalPlan, DataFusionError>,
    ) -> Result<PlannedQuery, Error> {
        let mut tables = self.tables.clone();
        tables.extend(own.iter().map(|(name, schema)| Outline {
            name: (*name).into(),
            rows: ROWS_OF_OWN,
            ..self.part(Arc::clone(schema))
        }));
        let is_table = |name: &str| tables.iter().any(|table| &*table.name == name);
        let mut parts = Vec::new();
        let query = with_views(parse(sql)?, &self.views_of_one)?;
        for part in split(query, is_table) {
            let name: Option<Arc<str>> = part.name.map(Into::into);
            let plan = self.plan_part(part.query, &tables, &finish).await?;
            if let Some(name) = &name {
                tables.push(Outline { name: Arc::clone(name), ..self.part(plan.schema()) });
            }
            let reads = outlines(&plan).map_err(|error| Error::of_planning(&error))?;
            parts.push(PlannedPart { name, plan, reads, turn: Mutex::default() });
        }
        Ok(PlannedQuery { parts })
    }

    async fn plan_part(
        &self,
        query: Query,
        tables: &[Outline],
        finish: impl Fn(LogicalPlan) -> Result<LogicalPlan, DataFusionError>,
    ) -> Result<Arc<dyn ExecutionPlan>, Error> {
        let named = relations(&query);
        let read = tables.iter().filter(|table| named.iter().any(|name| **name == *table.name));
        let state = with_tables(&self.state, read.cloned())?;
        let statement = Statement::Statement(Box::new(SqlStatement::Query(Box::new(query))));
        let refused = |error: DataFusionError| Error::of_planning(&error);
        let plan = state.statement_to_plan(statement).await.map_err(refused)?;
        check_read_only(&plan)?;
        let plan = finish(plan).map_err(refused)?;
        let plan = state.create_physical_plan(&plan).await.map_err(refused)?;
        plan.transform_up(suited).data().map_err(refused)
    }

    fn part(&self, schema: SchemaRef) -> Outline {
        let partitions = self.limits.partitions;
        Outline { name: "".into(), schema, rows: ROWS_OF_PART, partitions }
    }

    /// Leaves out of a view what no query names.
    fn named_of(&self, plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let columns = plan.schema().iter().map(|(qualifier, field)| (qualifier.cloned(), field));
        let named = columns.filter(|(_, field)| self.words.contains(field.name()));
        let named: Vec<Expr> =
            named.map(|(q, field)| Expr::Column(Column::new(q, field.name()))).collect();
        LogicalPlanBuilder::from(plan).project(named)?.build()
    }
}

/// Returns the columns that spans with their facts need so that these queries can be run over them:
/// whatever the queries and their views name.
pub fn columns_of(queries: &[&str]) -> BTreeSet<String> {
    Named::by(queries).words()
}

/// What queries and their views name; each word may be a column.
struct Named<'a> {
    /// The queries, then the views.
    texts: Vec<(&'a str, HashSet<String>)>,
    queries: usize,
    /// In the order of [`VIEWS`].
    views: Vec<&'static View>,
}

impl<'a> Named<'a> {
    fn by(queries: &[&'a str]) -> Self {
        let text = |sql: &'a str| (sql, words(sql));
        let mut texts: Vec<_> = queries.iter().map(|sql| text(sql)).collect();
        let mut views = Vec::new();
        // A view reads those before it alone.
        for view in VIEWS.iter().rev() {
            if texts.iter().any(|(_, words)| words.contains(view.name)) {
                texts.push(text(view.sql));
                views.push(view);
            }
        }
        views.reverse();
        Self { texts, queries: queries.len(), views }
    }

    fn words(&self) -> BTreeSet<String> {
        self.texts.iter().flat_map(|(_, words)| words).cloned().collect()
    }

    /// Returns the queries, then the views, that name a view.
    fn readers(&self, view: &View) -> impl Iterator<Item = &'a str> {
        let readers = self.texts.iter().filter(|(_, words)| words.contains(view.name));
        readers.map(|(sql, _)| *sql)
    }

    /// Returns whether a query has an expression of its own by the name of a view, perhaps over it.
    fn is_redefined(&self, view: &View) -> bool {
        // Parsing a query takes as long as planning a small one, and is asked of the few that name
        // a view which is not shared. What cannot be parsed is told where it is planned.
        let reads = |(_, words): &&(&str, HashSet<String>)| words.contains(view.name);
        self.texts[..self.queries].iter().filter(reads).any(|(sql, _)| {
            parse(sql).is_ok_and(|query| expressions(&query).any(|name| name == view.name))
        })
    }
}

/// What the engine's planner does for files, for limits of rows, for fields of structs, and to
/// check itself: nothing for our tables, and each walks the whole plan, some more than once.
const LEFT_OUT: [&str; 10] = [
    "extract_leaf_expressions",
    "push_down_leaf_projections",
    "aggregate_statistics",
    "FilterPushdown",
    "FilterPushdown(Post)",
    "HashJoinBuffering",
    "PushdownSort",
    "TopKRepartition",
    "WindowTopN",
    "SanityCheckPlan",
];

/// Lets the engine plan with what matters to queries over tables in memory, once: a second and a
/// third pass of the optimizer find hardly anything, and take as long as the first.
fn in_one_pass(state: SessionState) -> SessionState {
    let mut config = state.config().clone();
    config.options_mut().optimizer.max_passes = 1;
    config.options_mut().optimizer.enable_dynamic_filter_pushdown = false;
    let is_kept = |name: &str| !LEFT_OUT.contains(&name);
    let logical = state.optimizers().iter().filter(|rule| is_kept(rule.name())).cloned();
    let physical = state.physical_optimizers().iter().filter(|rule| is_kept(rule.name())).cloned();
    let (logical, physical) = (logical.collect(), physical.collect());
    SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_optimizer_rules(logical)
        .with_physical_optimizer_rules(physical)
        .build()
}

/// Returns what can be a name in the text of a query, in lower case. Words of strings and comments
/// are among them: what is none costs a column, what is missed would cost the query.
fn words(sql: &str) -> HashSet<String> {
    let words = sql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// Leaves out of a table what no query names: a plan carries each column through all its steps.
fn named_columns(schema: &Schema, words: &BTreeSet<String>) -> Schema {
    let named = schema.fields().iter().filter(|field| words.contains(field.name()));
    Schema::new(named.cloned().collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_views(query: &str, expected: &[&str]) {
        let names: Vec<&str> = Named::by(&[query]).views.iter().map(|view| view.name).collect();
        assert_eq!(names, expected, "{query}");
    }

    #[test]
    fn views_are_those_that_a_query_names_and_what_these_read() {
        check_views("SELECT 1 FROM spans", &[]);
        check_views("SELECT 1 FROM ENTRIES", &["entries"]);
        check_views("SELECT 1 FROM service_edges", &["entries", "service_edges"]);
        for quoted in ["/* it's */", "\"it's\"", "\"a--b\"", r"E'it\'s'", "$$it's$$", "'ä--'"] {
            check_views(&format!("SELECT {quoted} FROM entries"), &["entries"]);
        }
    }
}
