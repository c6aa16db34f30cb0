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
mod name;
mod output;
mod sql;
mod summary;
mod system;
mod url;

pub use command::command_shape;
pub use name::name_shape;
pub use output::SHAPE_BYTES_MAX;
pub use sql::sql_shape;
pub use summary::{Summary, sql_summary};
pub use system::Dialect;
pub use url::{URL_SHAPE_BYTES_MAX, url_shape};

use lexer::Lexer;
use system::Language;

/// Returns the shape of a database statement, in the language of `db_system` (`db.system.name`).
///
/// A text without a known system is read as SQL with the most careful quoting rules, unless it
/// opens like a JSON document.
pub fn query_shape(db_system: Option<&str>, text: &str) -> String {
    match Language::of(db_system) {
        Some(Language::Sql(dialect)) => sql_shape(text, dialect),
        Some(_) => command_shape(db_system, text),
        None => {
            let start = Lexer::skip_empty(text, Dialect::Other);
            let is_document = start.starts_with(['{', '[']);
            if is_document { command_shape(None, start) } else { sql_shape(text, Dialect::Other) }
        }
    }
}
