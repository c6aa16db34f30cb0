//! `timesink sql`: one query over the tables of trace files.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use timesink_facts::shape::{Dialect, sql_shape};
use timesink_model::schema::findings;
use timesink_query::{QueryResult, Session, StoredDatabase, words};
use timesink_server::Act;

use super::Run;
use crate::cli::{RowFormat, SqlArgs};
use crate::ended::{Ended, once_written};
use crate::input::Sources;
use crate::noted::note;
use crate::opened::{self, Opened, Reading};
use crate::{analysis, output, stored};

pub(super) fn run(args: SqlArgs, run: &mut Run<'_>) -> Result<Ended> {
    let data = args.stored.data.as_deref();
    let (query, files) = query_and_files(args.file.as_deref(), args.arguments, data.is_some())?;
    let since = args.stored.since;
    if let Some(folder) = data {
        note(folder, Act::Reads, &format!("sql {}", sql_shape(&query, Dialect::PostgreSql)), run);
    }
    if let Some(folder) = data
        && files.is_empty()
        && since.is_none()
        && let Some(result) = of_stored(folder, &query, run)?
    {
        return once_written(write(&result, args.format, run), Ended::Done);
    }
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let table = findings::table();
    let findings = data.is_some() && words(&query)?.contains(table.name);
    let sources = Sources { files: &files, data, since, findings };
    let mut reading = Reading::whole(sources, run);
    reading.options.decoder.redaction.clone_from(&run.config.rows_redaction);
    let Opened { mut database, input } = opened::open(sources, &reading, run)?;
    if findings {
        database.add(table.name, table.schema().into(), input.findings.clone());
    }
    output::warn_of_damage(run.console, &input.damaged);
    output::warn_of_losses(run.console, &input);
    let result = {
        let _progress = run.console.progress("running the query");
        runtime.block_on(answer(database.session()?, &query))?
    };
    once_written(write(&result, args.format, run), Ended::of_reading(&input))
}

/// Answers a query from the files of a data directory, which need not fit into memory, if they have
/// what it asks for.
fn of_stored(folder: &Path, query: &str, run: &mut Run<'_>) -> Result<Option<QueryResult>> {
    let names = StoredDatabase::tables_for(query);
    if names.is_empty() {
        return Ok(None);
    }
    let _progress = run.console.progress("running the query");
    let Some((tables, replayed)) = stored::tables(folder, &run.config.read, &names)? else {
        return Ok(None);
    };
    output::warn_of_lost_records(run.console, &replayed);
    let database = StoredDatabase::new(tables, run.config.limits)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    Ok(Some(runtime.block_on(answer(database.session()?, query))?))
}

async fn answer(session: Session, query: &str) -> Result<QueryResult, timesink_query::Error> {
    session.query(query).await
}

/// The first argument is the query, unless a file holds it.
fn query_and_files(
    file: Option<&Path>,
    arguments: Vec<PathBuf>,
    has_data: bool,
) -> Result<(String, Vec<PathBuf>)> {
    if let Some(file) = file {
        let query = std::fs::read_to_string(file)
            .with_context(|| format!("failed to read query `{}`", file.display()))?;
        return Ok((query, arguments));
    }
    let mut arguments = arguments.into_iter();
    let Some(query) = arguments.next() else {
        bail!("no query is named: expected `timesink sql --data DIR QUERY`");
    };
    let query = query.to_string_lossy().into_owned();
    let files: Vec<PathBuf> = arguments.collect();
    if files.is_empty() && !has_data {
        bail!("no trace file is named: expected `timesink sql QUERY FILES...`, `-` for stdin");
    }
    Ok((query, files))
}

fn write(result: &QueryResult, format: RowFormat, run: &mut Run<'_>) -> Result<()> {
    let paint = run.console.paint;
    let out = &mut run.console.out;
    match format {
        RowFormat::Json => output::json(out, result),
        RowFormat::Csv => output::csv(out, result),
        RowFormat::Table => {
            let was_cut = output::table(out, &result.schema, &result.batches, paint)?;
            let rows: usize = result.batches.iter().map(RecordBatch::num_rows).sum();
            let plural = if rows == 1 { "" } else { "s" };
            let cut =
                if was_cut { "; long cells are cut, `--format json` has them whole" } else { "" };
            Ok(writeln!(out, "{}", paint.dim(&format!("({rows} row{plural}{cut})")))?)
        }
    }
}
