//! Shapes: what is left of a statement, a URL or a span name without its values.
//!
//! Spans that do the same work with other values must compare equal, and no value may be shown. So
//! two promises: **no literal survives**, and **a literal, a placeholder and another literal give
//! the same text**, as do lists of any length. Start with [`query_shape`]; [`sql_shape`] is the
//! largest part. Nothing here fails, recurses or takes more than linear time, whatever the text.
//! What the promises cost is measured and tested in `tests/shapes.rs`, known misses included.
//!
//! # Known limits
//!
//! - Letter case is settled for the words of `keyword.rs` however they are written; other unquoted
//!   words in capitals become lower case, so `MY_FUNCTION()` is `my_function()`, but
//!   `My_Function()` stays as it is: names keep their case.
//! - `x IS TRUE` and `x IS FALSE` are `x IS ?`: booleans are always values. `IS NULL` and `NOT
//!   NULL` stay.
//! - To `SQLite`, `"bob"` is a string where no column has the name. Beside a comparison, in an IN
//!   list and in VALUES it is therefore a value: `a = "b"` hides a column, `a = t."b"` does not.
//! - In a dialect we do not know, `"x"` is a value unless it stands where only a name can, and a
//!   string with `\'` in it ends the shape, because the dialects disagree on where such a string
//!   ends.
//! - A session variable (`@x`) cannot be told from a named placeholder and becomes `?` as well.

mod command;
mod document;
mod keyword;
mod lexer;
mod literals;
mod masked;
mod name;
mod output;
mod sql;
mod summary;
mod system;
mod url;

pub use command::command_shape;
pub use masked::masked_statement;
pub use name::name_shape;
pub use output::SHAPE_BYTES_MAX;
pub use sql::sql_shape;
pub use summary::{Summary, sql_summary};
pub use system::Dialect;
pub use url::{URL_SHAPE_BYTES_MAX, url_shape};

use command::read_command;
use lexer::Lexer;
use sql::read_sql;
use system::Language;

/// Returns the shape of a database statement, in the language of `db_system` (`db.system.name`).
///
/// A text without a known system is read as SQL with the most careful quoting rules, unless it
/// opens like a JSON document.
pub fn query_shape(db_system: Option<&str>, text: &str) -> String {
    read_statement(db_system, text).shape
}

/// A statement of a database, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) shape: String,
    /// Stands for the literals that the shape shows as `?`, in order; `None` without any. Of a list
    /// that the shape shortens, those of the elements that it keeps count.
    pub(crate) literals_hash: Option<i64>,
    /// It asks for many rows at once, such as with a list of more than one element.
    pub(crate) is_batch: bool,
}

impl Statement {
    /// What is no statement of a database has a shape and nothing else.
    pub(crate) fn call(shape: String) -> Self {
        Self { shape, literals_hash: None, is_batch: false }
    }
}

/// Reads a statement as [`query_shape`] does.
pub(crate) fn read_statement(db_system: Option<&str>, text: &str) -> Statement {
    match Language::of(db_system) {
        Some(Language::Sql(dialect)) => read_sql(text, dialect),
        Some(_) => read_command(db_system, text),
        None => {
            let start = Lexer::skip_empty(text, Dialect::Other);
            let is_document = start.starts_with(['{', '[']);
            if is_document { read_command(None, start) } else { read_sql(text, Dialect::Other) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Statement, read_statement};

    const POSTGRES: Option<&str> = Some("postgresql");

    fn read(system: Option<&str>, text: &str) -> Statement {
        let statement = read_statement(system, text);
        // What a shape shows are placeholders.
        assert_eq!(read_statement(system, &statement.shape).literals_hash, None, "{text}");
        statement
    }

    fn check_same_literals(system: Option<&str>, texts: &[&str]) {
        let hash = |text: &str| read(system, text).literals_hash;
        assert!(hash(texts[0]).is_some(), "{}", texts[0]);
        for text in texts {
            assert_eq!(hash(text), hash(texts[0]), "{text}");
        }
    }

    fn check_other_literals(system: Option<&str>, texts: &[&str]) {
        let read = |text: &&str| read(system, text);
        let statements: Vec<Statement> = texts.iter().map(read).collect();
        for (at, statement) in statements.iter().enumerate() {
            assert_eq!(statement.shape, statements[0].shape, "{texts:?}");
            let is_other = |other: &Statement| other.literals_hash != statement.literals_hash;
            assert!(statements[..at].iter().all(is_other), "{texts:?}");
        }
    }

    fn check_batch(system: Option<&str>, expected: bool, texts: &[&str]) {
        for text in texts {
            assert_eq!(read(system, text).is_batch, expected, "{text}");
        }
    }

    /// The number is stored, so it may not change from one version to the next.
    #[test]
    fn the_hash_of_literals_is_that_of_fnv_1a() {
        let hash = read(POSTGRES, "SELECT a FROM b WHERE c = 7").literals_hash;
        // Of the bytes 0x37 0xff.
        assert_eq!(hash, Some(0x07f1_c907_b4b4_476b));
    }

    #[test]
    fn comments_blanks_and_the_length_of_lists_do_not_count() {
        check_same_literals(
            POSTGRES,
            &[
                "SELECT a FROM b WHERE c = 7 AND d IN (1, 2, 3)",
                "SELECT a FROM b WHERE c = 7 AND d IN (1, 2) /*traceparent='00-1-2-01'*/",
                "-- of the cart\nselect a\n  from b where c=7 and d in (1,5,6,7,8)",
            ],
        );
        check_same_literals(
            POSTGRES,
            &["INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO t VALUES (1, 'a')"],
        );
        check_same_literals(Some("redis"), &["MGET a b c", "mget a b", "MGET  a"]);
        check_same_literals(Some("redis"), &["GET a\nGET b", "GET a\nGET b\nGET c"]);
        check_same_literals(
            Some("mongodb"),
            &["find {'a': {'$in': [1, 2]}}", "find { \"a\": {\"$in\": [1, 2, 3]} }"],
        );
    }

    #[test]
    fn every_literal_outside_of_lists_counts() {
        let select = |rest: &str| format!("SELECT a FROM b WHERE c IN (1, 2) AND d = {rest}");
        let rests = ["7", "8", "-7", "'7'", "7.0", "E'7'", "NULL", "true", "$1.5", "$$7$$"];
        let texts = rests.map(select);
        check_other_literals(POSTGRES, &texts.each_ref().map(String::as_str));
        check_other_literals(POSTGRES, &["a = 'xy' AND b = 'z'", "a = 'x' AND b = 'yz'"]);
        check_other_literals(POSTGRES, &["a = 1 AND b = 2", "a = 2 AND b = 1"]);
        check_other_literals(POSTGRES, &["a = 1 AND b = $1", "a = 2 AND b = $1"]);
        // A list of one element is a literal like any other.
        check_other_literals(POSTGRES, &["a IN (1)", "a IN (2)"]);
        check_other_literals(POSTGRES, &["VALUES (1, 2)", "VALUES (1, 3)"]);
        check_other_literals(Some("redis"), &["GET a", "GET b", "GET a b"]);
        check_other_literals(Some("redis"), &["SET a x\ny\nz", "SET a x\ny\nzz"]);
        check_other_literals(Some("memcached"), &["get a", "get b"]);
        check_other_literals(
            Some("mongodb"),
            &[
                "find {'_id': ObjectId('5f')}",
                "find {'_id': ObjectId('60')}",
                "find {'_id': 5}",
                "find {'_id': '?'}",
            ],
        );
        check_other_literals(Some("mongodb"), &["find {'a.1.b': 2}", "find {'a.2.b': 2}"]);
        check_other_literals(None, &["{'2020': 1}", "{'2021': 1}"]);
    }

    /// What is beyond the longest shape counts as well.
    #[test]
    fn literals_of_a_shape_that_is_cut_count() {
        let columns = "column_of_a_table, ".repeat(400);
        let select = |id| format!("SELECT {columns} a FROM b WHERE c = {id}");
        check_other_literals(POSTGRES, &[&select(1), &select(2)]);
    }

    #[test]
    fn placeholders_and_names_made_up_anew_are_no_literals() {
        let sql = [
            "SELECT a FROM b WHERE c = $1 AND d = %s AND e = %(e)s AND f = :f AND g = ?",
            "SELECT a FROM b WHERE c = @p1 AND d = {0} AND e IN (%s, %s) AND f = - $2",
            "FETCH FORWARD FROM \"_django_curs_1404_sync_1\"",
            "SAVEPOINT s1404_x2; RELEASE SAVEPOINT \"s1404_x2\"",
            "SELECT a, b FROM c -- 7",
            "BEGIN",
            "",
        ];
        for text in sql {
            assert_eq!(read(POSTGRES, text).literals_hash, None, "{text}");
        }
        for (system, text) in [("redis", "MGET ? ?\nPING"), ("mongodb", "find books")] {
            assert_eq!(read(Some(system), text).literals_hash, None, "{text}");
        }
    }

    #[test]
    fn a_list_or_rows_of_more_than_one_element_are_a_batch() {
        check_batch(
            POSTGRES,
            true,
            &[
                "a IN (1, 2)",
                "a IN (%s, %s)",
                "(a, b) IN ((1, 2), (3, 4))",
                "(a, b) IN (VALUES (1, 2), (3, 4))",
                // The driver writes the list.
                "a IN %s",
                "a = ANY($1)",
                "a = ANY (%(ids)s::int[])",
                "a = ANY (CAST($1 AS int[]))",
                "a = ANY(ARRAY[1, 2])",
                "a = ANY('{1, 2}'::int[])",
                "INSERT INTO t (a, b) VALUES (1, 2), (3, 4)",
                "INSERT INTO t VALUES ROW($1, $2), ROW($3, $4)",
                "a NOT IN (1, 2) AND b IN (3, 4)",
                // Cut off by its sender.
                "a IN (17, 18",
            ],
        );
        check_batch(
            POSTGRES,
            false,
            &[
                "a IN (1)",
                "a IN ($1)",
                "(a, b) IN ((1, 2))",
                "a IN (SELECT b, c FROM d WHERE e = 1)",
                "a = ANY(SELECT b FROM c WHERE d = $1)",
                "$1 = ANY(tags)",
                "a NOT IN (1, 2)",
                "a <> ALL($1)",
                "f(1, 2)",
                "tags @> ARRAY['x', 'y']",
                "INSERT INTO t (a, b) VALUES (1, 2)",
                "INSERT INTO t VALUES (1, 2) RETURNING a, b",
                "INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a), b = VALUES(b)",
                "SELECT a, b FROM c UNION ALL SELECT $1, 2",
                "",
            ],
        );
    }

    #[test]
    fn commands_with_several_keys_and_pipelines_are_batches() {
        let redis = Some("redis");
        check_batch(redis, true, &["MGET ? ?", "mset a 1 b 2", "DEL a b", "GET ?\nGET ?"]);
        check_batch(redis, true, &["SADD a b\nEXPIRE a 1", "JSON.MGET a b $"]);
        check_batch(redis, false, &["MGET ?", "MSET a 1", "GET ?", "HMGET user:1 name email"]);
        check_batch(redis, false, &["JSON.MGET a $", "PING", "MULTI\nSET a 1\nEXEC", "SET a b\nc"]);
        check_batch(Some("memcached"), true, &["get_many a b", "set_multi ?", "get a\nget b"]);
        check_batch(Some("memcached"), false, &["get a", "set a b", "version"]);
    }

    #[test]
    fn lists_of_documents_and_further_rows_are_batches() {
        let mongo = Some("mongodb");
        check_batch(mongo, true, &["getMore books", "{'getMore': 17, 'collection': 'books'}"]);
        check_batch(mongo, true, &["find books {'a': {'$in': [1, 2]}}"]);
        check_batch(mongo, true, &["insert books [{'a': 1}, {'a': 2}]"]);
        check_batch(mongo, true, &["{'insert': 'books', 'documents': [{'a': 1}, {'a': 2}]}"]);
        check_batch(mongo, false, &["find books {'a': {'$in': [1]}, 'b': [2, 3]}"]);
        check_batch(mongo, false, &["insert books [{'a': 1, 'b': [1, 2]}]", "find"]);
        check_batch(mongo, false, &["aggregate books [{'$match': {'a': 1}}, {'$limit': 5}]"]);
    }
}
