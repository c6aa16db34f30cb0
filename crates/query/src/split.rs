//! [`split`]: a query in parts, so that what it reads more than once is computed once.
//!
//! The engine puts a common table expression in the place of each name of it: one that two others
//! read is planned and run twice, one that those are read from four times, and so on.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, Query, Visit, With, visit_relations,
};

use crate::Error;
use crate::steps::parse;
use crate::views::View;

/// A query to be run after the parts before it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    /// The table that its rows are for the parts behind it; `None` for the query itself, the last.
    pub(crate) name: Option<String>,
    pub(crate) query: Query,
}

/// Splits a query at the common table expressions that it names more than once.
///
/// A query of another shape than rules have (recursive, nested or renaming `WITH`, a name that a
/// table has) stays whole.
pub(crate) fn split(mut query: Query, is_table: impl Fn(&str) -> bool) -> Vec<Part> {
    let Some(with) = query.with.take_if(|with| is_plain(with, &is_table)) else {
        return vec![Part { name: None, query }];
    };
    let mut steps: Vec<Step> = with.cte_tables.iter().map(Step::new).collect();
    let of_query = relations(&query);
    for at in 0..steps.len() {
        let behind = steps[at + 1..].iter().flat_map(|step| &step.reads).chain(&of_query);
        steps[at].is_kept = behind.filter(|name| **name == steps[at].name).count() > 1;
    }
    let part = |name: Option<String>, query: &Query, reads: &[String], before: &[Step]| {
        let inlined = inlined(reads, before);
        let cte_tables: Vec<Cte> = inlined.into_iter().cloned().collect();
        let with = (!cte_tables.is_empty()).then(|| With { cte_tables, ..with.clone() });
        Part { name, query: Query { with, ..query.clone() } }
    };
    let kept = steps.iter().enumerate().filter(|(_, step)| step.is_kept);
    let mut parts: Vec<Part> = kept
        .map(|(at, s)| part(Some(s.name.clone()), &s.cte.query, &s.reads, &steps[..at]))
        .collect();
    parts.push(part(None, &query, &of_query, &steps));
    parts
}

/// Puts views that a query reads, and those that these read, before its common table expressions.
///
/// # Errors
///
/// [`Error::Query`] when a view of ours is broken.
pub(crate) fn with_views(mut query: Query, views: &[&View]) -> Result<Query, Error> {
    let mut named: HashSet<String> = relations(&query).into_iter().collect();
    let own: HashSet<String> = expressions(&query).collect();
    let mut with = query.with.take();
    // A view reads those before it alone.
    for view in views.iter().rev() {
        if !named.contains(view.name) || own.contains(view.name) {
            continue;
        }
        // tidy-allow(sql): a view of ours, under its own name.
        let text = format!("WITH {} AS ({}\n) SELECT 1", view.name, view.sql);
        let Some(view) = parse(&text)?.with else { continue };
        named.extend(view.cte_tables.iter().flat_map(|cte| relations(&cte.query)));
        match &mut with {
            Some(with) => with.cte_tables.splice(0..0, view.cte_tables).for_each(drop),
            None => with = Some(view),
        }
    }
    query.with = with;
    Ok(query)
}

/// A common table expression.
struct Step<'a> {
    cte: &'a Cte,
    name: String,
    reads: Vec<String>,
    /// Whether its rows are kept in a table.
    is_kept: bool,
}

impl<'a> Step<'a> {
    fn new(cte: &'a Cte) -> Self {
        let reads = relations(&cte.query);
        Self { cte, name: folded(&cte.alias.name), reads, is_kept: false }
    }
}

fn is_plain(with: &With, is_table: impl Fn(&str) -> bool) -> bool {
    let mut names = HashSet::new();
    let plain = |cte: &Cte| {
        let name = folded(&cte.alias.name);
        !is_table(&name)
            && cte.alias.columns.is_empty()
            && cte.query.with.is_none()
            && names.insert(name)
    };
    !with.recursive && with.cte_tables.iter().all(plain)
}

/// Returns what the names in `reads` stand for, and what those read in turn, as far as it is in no
/// table.
fn inlined<'a>(reads: &[String], before: &[Step<'a>]) -> Vec<&'a Cte> {
    let mut named: HashSet<&str> = reads.iter().map(String::as_str).collect();
    let mut inlined = Vec::new();
    for step in before.iter().rev() {
        if !step.is_kept && named.contains(step.name.as_str()) {
            named.extend(step.reads.iter().map(String::as_str));
            inlined.push(step.cte);
        }
    }
    inlined.reverse();
    inlined
}

/// Returns the names of a query's common table expressions.
pub(crate) fn expressions(query: &Query) -> impl Iterator<Item = String> {
    let tables = query.with.iter().flat_map(|with| &with.cte_tables);
    tables.map(|cte| folded(&cte.alias.name))
}

/// Returns the names of the tables that a query reads, as often as it names them.
pub(crate) fn relations(query: &impl Visit) -> Vec<String> {
    let mut names = Vec::new();
    let _: ControlFlow<()> = visit_relations(query, |ObjectName(parts)| {
        if let [part] = parts.as_slice() {
            names.extend(part.as_ident().map(folded));
        }
        ControlFlow::Continue(())
    });
    names
}

/// Names are lower case unless they are quoted.
fn folded(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the parts of a query; `t` is a table.
    fn check(sql: &str, expected: &[&str]) {
        let parts = split(parse(sql).unwrap(), |name| name == "t");
        let texts = parts.iter().map(|part| match &part.name {
            Some(name) => format!("{name}: {}", part.query),
            None => part.query.to_string(),
        });
        assert_eq!(texts.collect::<Vec<_>>(), expected, "{sql}");
    }

    #[test]
    fn what_is_read_twice_is_a_part() {
        check(
            "WITH a AS (SELECT 1 FROM t), b AS (SELECT 2 FROM A) SELECT 3 FROM b, a",
            &["a: SELECT 1 FROM t", "WITH b AS (SELECT 2 FROM A) SELECT 3 FROM b, a"],
        );
        check(
            "WITH a AS (SELECT 1 FROM t), b AS (SELECT 2 FROM a), c AS (SELECT 3 FROM a) \
             SELECT 4 FROM b x JOIN b y ON x.z IN (SELECT w FROM c)",
            &[
                "a: SELECT 1 FROM t",
                "b: SELECT 2 FROM a",
                "WITH c AS (SELECT 3 FROM a) \
                 SELECT 4 FROM b x JOIN b y ON x.z IN (SELECT w FROM c)",
            ],
        );
    }

    #[test]
    fn what_is_read_once_stays_where_it_is_read() {
        let whole = "WITH a AS (SELECT 1 FROM t), b AS (SELECT 2 FROM a) SELECT 3 FROM b";
        check(whole, &[whole]);
        check(
            "WITH a AS (SELECT 1 FROM t), b AS (SELECT 2 FROM a), unread AS (SELECT 1 FROM b) \
             SELECT 3 FROM b",
            &["b: WITH a AS (SELECT 1 FROM t) SELECT 2 FROM a", "SELECT 3 FROM b"],
        );
    }

    #[test]
    fn a_view_of_one_query_stands_before_its_own_expressions() {
        let views = [
            View { name: "v", sql: "SELECT 1 FROM t" },
            View { name: "w", sql: "-- One row.\nSELECT 2 FROM v" },
        ];
        let views: Vec<&View> = views.iter().collect();
        for (sql, expected) in [
            ("SELECT 3 FROM t", "SELECT 3 FROM t"),
            ("SELECT 3 FROM V", "WITH v AS (SELECT 1 FROM t) SELECT 3 FROM V"),
            (
                "WITH a AS (SELECT 3 FROM w) SELECT 4 FROM a",
                "WITH v AS (SELECT 1 FROM t), w AS (SELECT 2 FROM v), a AS (SELECT 3 FROM w) \
                 SELECT 4 FROM a",
            ),
            // Its own, whatever the view is.
            ("WITH v AS (SELECT 3) SELECT 4 FROM v", "WITH v AS (SELECT 3) SELECT 4 FROM v"),
        ] {
            let query = with_views(parse(sql).unwrap(), &views).unwrap();
            assert_eq!(query.to_string(), expected, "{sql}");
        }
    }

    #[test]
    fn queries_of_other_shapes_stay_whole() {
        for whole in [
            "SELECT 1 FROM t",
            "WITH RECURSIVE a AS (SELECT 1 FROM t) SELECT 1 FROM a, a",
            "WITH t AS (SELECT 1 FROM t) SELECT 1 FROM t, t",
            "WITH a (x) AS (SELECT 1 FROM t) SELECT 1 FROM a, a",
            "WITH a AS (WITH b AS (SELECT 1) SELECT 1 FROM b, b) SELECT 1 FROM a, a",
        ] {
            check(whole, &[whole]);
        }
    }

    #[test]
    fn quoted_names_are_as_they_are_written() {
        check(
            "WITH \"A\" AS (SELECT 1 FROM t), a AS (SELECT 2 FROM t) SELECT 3 FROM \"A\", \"A\", a",
            &["A: SELECT 1 FROM t", "WITH a AS (SELECT 2 FROM t) SELECT 3 FROM \"A\", \"A\", a"],
        );
    }
}
