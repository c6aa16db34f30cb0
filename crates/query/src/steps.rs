//! The steps of a query: its common table expressions, each as a query of its own.

use datafusion::sql::sqlparser::ast::{Query, SetExpr, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::{Error, text};

/// One common table expression of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub name: String,
    /// The comment that stands above or at the head of it, in one line.
    pub caption: String,
    /// A query that returns the rows of this step.
    pub sql: String,
}

impl Step {
    /// Returns a query for its rows of one trace: of a long history it may have more rows than a
    /// query returns.
    pub fn of_trace(&self, trace_id: &str) -> String {
        // tidy-allow(sql): of a step's own text and an id in quotes.
        format!("SELECT * FROM ({}) WHERE trace_id = '{}'", self.sql, trace_id.replace('\'', "''"))
    }
}

/// Returns the steps of a query in the order in which they are written.
///
/// # Errors
///
/// [`Error::Query`] when the text is not one query, [`Error::Length`] when it is too long.
pub fn steps(sql: &str) -> Result<Vec<Step>, Error> {
    let query = parse(sql)?;
    let Some(with) = query.with else { return Ok(Vec::new()) };
    let mut steps = Vec::new();
    for (at, table) in with.cte_tables.iter().enumerate() {
        let name = table.alias.name.value.clone();
        let mut before = with.clone();
        before.cte_tables.truncate(at + 1);
        steps.push(Step {
            caption: caption(sql, &name),
            // tidy-allow(sql): a step is put together from a rule's own text.
            sql: format!("{before} SELECT * FROM {}", table.alias.name),
            name,
        });
    }
    Ok(steps)
}

pub(crate) fn parse(sql: &str) -> Result<Query, Error> {
    let tokens = text::tokens(sql)?;
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokens);
    let statements = parser.parse_statements().map_err(|error| Error::Query(error.to_string()))?;
    match statements.into_iter().next() {
        Some(Statement::Query(query)) if !matches!(*query.body, SetExpr::Insert(_)) => Ok(*query),
        _ => Err(Error::ReadOnly("the text is not a query".to_owned())),
    }
}

/// Returns the first comment behind `name AS (`, its lines joined.
fn caption(sql: &str, name: &str) -> String {
    let head = format!("{name} AS (");
    let Some(at) = sql.find(&head) else { return String::new() };
    let lines = sql[at + head.len()..].lines().skip_while(|line| line.trim().is_empty());
    let comment = lines.map_while(|line| line.trim().strip_prefix("--")).map(str::trim);
    comment.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_carries_the_ones_before_it() {
        let sql = "WITH a AS (\n    -- Keeps one.\n    -- And all.\n    SELECT 1 AS x\n), \
                   b AS (SELECT x FROM a)\nSELECT x FROM b";
        let steps = steps(sql).unwrap();
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].caption, "Keeps one. And all.");
        assert_eq!(steps[1].name, "b");
        assert!(steps[1].sql.starts_with("WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a)"));
        assert!(steps[1].sql.ends_with("SELECT * FROM b"));
        assert!(steps[1].of_trace("a'b").ends_with("FROM b) WHERE trace_id = 'a''b'"));
    }

    #[test]
    fn refuses_what_is_not_a_query() {
        assert!(steps("DROP TABLE spans").is_err());
        assert!(steps("SELEC 1").is_err());
    }
}
