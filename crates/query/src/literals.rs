//! [`literals`]: the texts that a query can answer with in a column, where its own text says so.

use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Value};

use crate::Error;
use crate::steps::parse;

/// Returns the texts that a query writes out for a column of its answer, directly or as the results
/// of a `CASE`.
///
/// # Errors
///
/// [`Error::Query`] when the text is not one query, [`Error::Length`] when it is too long.
pub fn literals(sql: &str, column: &str) -> Result<Vec<String>, Error> {
    let query = parse(sql)?;
    let mut texts = Vec::new();
    let mut bodies = vec![query.body.as_ref()];
    while let Some(body) = bodies.pop() {
        match body {
            SetExpr::Query(query) => bodies.push(&query.body),
            SetExpr::SetOperation { left, right, .. } => bodies.extend([right.as_ref(), left]),
            SetExpr::Select(select) => {
                for item in &select.projection {
                    match item {
                        SelectItem::ExprWithAlias { expr, alias } if alias.value == column => {
                            add_results(expr, &mut texts);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(texts)
}

fn add_results(expr: &Expr, texts: &mut Vec<String>) {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        match expr {
            Expr::Nested(inner) => open.push(inner),
            Expr::Case { conditions, else_result, .. } => {
                open.extend(else_result.as_deref());
                open.extend(conditions.iter().rev().map(|case| &case.result));
            }
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &value.value {
                    texts.push(text.clone());
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_literals(sql: &str, expected: &[&str]) {
        assert_eq!(literals(sql, "word").unwrap(), expected, "{sql}");
    }

    #[test]
    fn finds_what_a_column_can_be() {
        check_literals("SELECT 'a' AS word, 'b' AS other", &["a"]);
        check_literals("SELECT CASE WHEN x THEN 'a' ELSE ('b') END AS word FROM t", &["a", "b"]);
        check_literals("(SELECT 'a' AS word) UNION ALL SELECT 'b' AS word", &["a", "b"]);
        check_literals("WITH t AS (SELECT 'c' AS word) SELECT word FROM t", &[]);
        check_literals("SELECT upper('c') AS word", &[]);
    }
}
