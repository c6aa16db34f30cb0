//! `timesink sql`: one query over the tables of trace files.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use timesink_query::{Database, QueryResult};

use super::Run;
use crate::cli::{RowFormat, SqlArgs};
use crate::ended::{Ended, once_written};
use crate::{analysis, input, output};

pub(super) fn run(args: SqlArgs, run: &mut Run<'_>) -> Result<Ended> {
    let (query, files) = query_and_files(args.file.as_deref(), args.arguments)?;
    let mut input = input::read(&files, &run.config.read, run.console)?;
    let runtime = analysis::runtime(run.surroundings.cores)?;
    let database = analysis::whole_database(&mut input, &run.config, run.console)?;
    output::warn_of_damage(run.console, &input.damaged);
    output::warn_of_losses(run.console, &input);
    let result = {
        let _progress = run.console.progress("running the query");
        runtime.block_on(answer(&database, &query))?
    };
    once_written(write(&result, args.format, run), Ended::of_reading(&input))
}

async fn answer(database: &Database, query: &str) -> Result<QueryResult, timesink_query::Error> {
    database.session()?.query(query).await
}

/// The first argument is the query, unless a file holds it.
fn query_and_files(file: Option<&Path>, arguments: Vec<PathBuf>) -> Result<(String, Vec<PathBuf>)> {
    if let Some(file) = file {
        let query = std::fs::read_to_string(file)
            .with_context(|| format!("failed to read query `{}`", file.display()))?;
        return Ok((query, arguments));
    }
    let mut arguments = arguments.into_iter();
    let query = arguments.next().unwrap_or_default().to_string_lossy().into_owned();
    let files: Vec<PathBuf> = arguments.collect();
    if files.is_empty() {
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
