//! `timesink store info`: rows, files and bytes of a data directory.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use serde_json::{Value, json};
use timesink_server::Act;
use timesink_store::WriterLock;
use timesink_tables::{LiveFile, Look, LookWalked, Snapshot};

use super::{counted, look, runtime, size};
use crate::cli::{InfoFormat, StoreInfoArgs};
use crate::commands::Run;
use crate::ended::{Ended, once_written};
use crate::noted::note;
use crate::output::warn_of_lost_records;

/// The folder of the log in a data directory.
const LOG: &str = "log";

/// What is told of a table.
struct Told {
    name: &'static str,
    files: usize,
    rows: u64,
    bytes: u64,
    /// The first and the last hour in which rows begin.
    hours: Option<(String, String)>,
    /// Rows that are in the log alone.
    behind: usize,
}

pub(super) fn run(args: &StoreInfoArgs, run: &mut Run<'_>) -> Result<Ended> {
    let data = &args.data.data;
    note(data, Act::Reads, "store info", run);
    let runtime = runtime()?;
    let look = look(data, &runtime, run)?;
    warn_of_lost_records(run.console, &look.replayed);
    let Look { spans, quarantine, findings, walked, behind, .. } = &look;
    let mut tables = vec![told(spans, &behind.spans)?, told(quarantine, &behind.quarantine)?];
    if let Some(LookWalked { facts, gaps, .. }) = walked {
        tables.extend([told(facts, &[])?, told(gaps, &[])?]);
    }
    if let Some(findings) = findings {
        tables.push(told(findings, &[])?);
    }
    let (log_files, log_bytes) = log(data)?;
    let writer = WriterLock::holder(data)?;
    let written = match args.format {
        InfoFormat::Json => {
            let tables: Vec<Value> = tables.iter().map(Told::json).collect();
            let writer = writer.as_ref().map(|holder| holder.0);
            let info = json!({
                "tables": tables,
                "log": {"files": log_files, "bytes": log_bytes},
                "is_written": writer.is_some(),
                "writer_pid": writer.flatten(),
            });
            writeln!(run.console.out, "{info:#}")
        }
        InfoFormat::Text => {
            let who =
                writer.map_or("nobody writes in it".to_owned(), |w| format!("{w} writes in it"));
            let log = format!("log: {}, {}", counted(log_files, "file"), size(log_bytes));
            let lines = tables.iter().map(Told::line).chain([log, who]);
            writeln!(run.console.out, "{}", lines.collect::<Vec<_>>().join("\n"))
        }
    };
    once_written(written.map_err(Into::into), Ended::Done)
}

fn told(table: &Snapshot, behind: &[RecordBatch]) -> Result<Told> {
    let files = table.files()?;
    let hours = files.iter().filter_map(|file| file.hour.clone());
    let hours = hours.clone().min().zip(hours.max());
    Ok(Told {
        name: table.name(),
        files: files.len(),
        rows: files.iter().filter_map(|file| file.rows).sum(),
        bytes: files.iter().map(|file: &LiveFile| file.bytes).sum(),
        hours,
        behind: behind.iter().map(RecordBatch::num_rows).sum(),
    })
}

impl Told {
    fn json(&self) -> Value {
        let (first, last) = self.hours.clone().unzip();
        json!({
            "table": self.name,
            "files": self.files,
            "rows": self.rows,
            "bytes": self.bytes,
            "first_hour": first,
            "last_hour": last,
            "rows_in_log_alone": self.behind,
        })
    }

    /// `spans: 80315 rows in 12 files, 3.1 MiB (40 B a row), 2026-11-28T10 to 2026-11-28T12; ...`
    fn line(&self) -> String {
        let Self { name, files, rows, bytes, hours, behind } = self;
        let each = bytes.checked_div(*rows).map(|each| format!(" ({each} B a row)"));
        let hours = hours.as_ref().map(|(first, last)| format!(", {first} to {last}"));
        let (each, hours) = (each.unwrap_or_default(), hours.unwrap_or_default());
        let (rows, files) = (counted(*rows as usize, "row"), counted(*files, "file"));
        let behind = counted(*behind, "more row");
        format!(
            "{name}: {rows} in {files}, {}{each}{hours}; {behind} in the log alone",
            size(*bytes)
        )
    }
}

/// Returns the files and bytes of the log.
fn log(data: &Path) -> Result<(usize, u64)> {
    let folder = data.join(LOG);
    let read = || -> std::io::Result<(usize, u64)> {
        let mut sum = (0, 0);
        for entry in std::fs::read_dir(&folder)? {
            // One may have been removed meanwhile.
            if let Ok(known) = entry?.metadata() {
                sum = (sum.0 + 1, sum.1 + known.len());
            }
        }
        Ok(sum)
    };
    match read() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((0, 0)),
        sum => sum.with_context(|| format!("failed to read `{}`", folder.display())),
    }
}
