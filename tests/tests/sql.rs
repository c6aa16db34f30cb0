//! The SQL surface: every `tests/sql/*.slt` over the traces of `tests/sql/traces.txt`.
//!
//! `TIMESINK_UPDATE=1` writes the results into the files, to be read before they are committed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{
    DB, DBOutput, DefaultColumnType, Runner, default_normalizer, default_validator,
    strict_column_validator,
};
use timesink_model::schema;
use timesink_query::{Database, Error, Limits, QueryResult, Session};
use timesink_testkit::notation;
use tokio::runtime::{Handle, Runtime};

#[test]
fn every_file_gives_its_results() {
    let failed = Runtime::new().expect("a runtime").block_on(run_all());
    let hint = "`TIMESINK_UPDATE=1 cargo test --workspace --test sql` writes the results";
    assert!(failed.is_empty(), "{}\n{hint}", failed.join("\n"));
}

#[test]
fn every_table_has_its_schema_asserted() {
    let asserted = std::fs::read_to_string(folder().join("tables.slt")).expect("tables.slt");
    for table in schema::tables() {
        let query = format!("WHERE table_name = '{}'", table.name);
        assert!(asserted.contains(&query), "no schema of `{}`", table.name);
    }
}

/// Runs or rewrites every file; returns what did not fit.
async fn run_all() -> Vec<String> {
    let database = database().expect("tables and views");
    let mut failed = Vec::new();
    for path in files() {
        let connect = || std::future::ready(database.session().map(Connection));
        let mut runner = Runner::new(connect);
        runner.with_column_validator(strict_column_validator);
        if is_update() {
            let (validator, normalizer) = (default_validator, default_normalizer);
            runner
                .update_test_file(&path, " ", validator, normalizer, strict_column_validator)
                .await
                .expect("the file is written");
        } else if let Err(error) = runner.run_file_async(&path).await {
            failed.push(error.to_string());
        }
    }
    failed
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sql")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("tests/sql");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn is_update() -> bool {
    #[expect(clippy::disallowed_methods, reason = "asked for by the person who runs the tests")]
    std::env::var("TIMESINK_UPDATE").is_ok_and(|value| value == "1")
}

/// One thread: rows without an order come in the order of the traces.
fn database() -> Result<Database, Error> {
    let traces = std::fs::read_to_string(folder().join("traces.txt")).expect("traces.txt");
    let traces = notation::parse(&traces).unwrap_or_else(|e| panic!("traces.txt: {e}"));
    let decoded = notation::decoded(&traces);
    let limits = Limits { partitions: 1, ..Limits::default() };
    let mut database = Database::open(decoded.spans, limits)?;
    let table = |table: schema::Table| Arc::new(table.schema());
    database.add("quarantine", table(schema::quarantine::table()), decoded.quarantine);
    database.add("findings", table(schema::findings::table()), Vec::new());
    Ok(database)
}

struct Connection(Session);

impl DB for Connection {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        // The trait is not async, and the runner is: step out of it for the query.
        let result = tokio::task::block_in_place(|| Handle::current().block_on(self.0.query(sql)))?;
        Ok(DBOutput::Rows { types: types(&result.schema), rows: rows(&result) })
    }
}

fn types(schema: &Schema) -> Vec<DefaultColumnType> {
    let letter = |data_type: &DataType| match data_type {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => DefaultColumnType::Text,
        data_type if data_type.is_integer() => DefaultColumnType::Integer,
        data_type if data_type.is_floating() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Any,
    };
    schema.fields().iter().map(|field| letter(field.data_type())).collect()
}

fn rows(result: &QueryResult) -> Vec<Vec<String>> {
    result.batches.iter().flat_map(rows_of).collect()
}

fn rows_of(batch: &RecordBatch) -> Vec<Vec<String>> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("a type with a text form"))
        .collect();
    let text = |column: &ArrayFormatter, row: usize| match column.value(row).to_string().as_str() {
        "" => "(empty)".to_owned(),
        text => text.to_owned(),
    };
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| text(column, row)).collect())
        .collect()
}
