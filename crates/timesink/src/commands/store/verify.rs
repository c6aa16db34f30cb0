//! `timesink store verify`: reads every byte of a data directory that counts.

use std::io::Write;

use anyhow::{Context, Result};
use timesink_server::Act;
use timesink_store::{Journal, LocalDisk, WriterLock};
use timesink_tables::{Layout, Look, LookWalked, Snapshot};
use tokio::runtime::Runtime;

use super::{counted, look, runtime};
use crate::cli::DataArgs;
use crate::commands::Run;
use crate::ended::{Ended, once_written};
use crate::noted::note;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Verified {
    files: usize,
    records: u64,
    pub(super) problems: Vec<String>,
}

pub(super) fn run(args: &DataArgs, run: &mut Run<'_>) -> Result<Ended> {
    let runtime = runtime()?;
    note(&args.data, Act::Reads, "store verify", run);
    let look = look(&args.data, &runtime, run)?;
    let verified = {
        let _progress = run.console.progress("reading all files");
        verify(args, &look, &runtime)?
    };
    let Verified { files, records, problems } = verified;
    for problem in &problems {
        run.console.error(problem);
    }
    let (files, records) = (counted(files, "file"), counted(records as usize, "record"));
    let found = match problems.len() {
        0 => "no problems".to_owned(),
        count => counted(count, "problem"),
    };
    let written =
        writeln!(run.console.out, "{files} of the tables, {records} of the log read: {found}");
    let ended = if problems.is_empty() { Ended::Done } else { Ended::Incomplete };
    once_written(written.map_err(Into::into), ended)
}

/// Reads all files of tables and log.
pub(super) fn verify(args: &DataArgs, look: &Look, runtime: &Runtime) -> Result<Verified> {
    let mut verified = Verified::default();
    let mut tables = vec![(&look.spans, Layout::SPANS), (&look.quarantine, Layout::QUARANTINE)];
    if let Some(LookWalked { facts, gaps, .. }) = &look.walked {
        tables.extend([(facts, Layout::FACTS), (gaps, Layout::GAPS)]);
    }
    tables.extend(look.findings.iter().map(|findings| (findings, Layout::FINDINGS)));
    for (table, layout) in tables {
        runtime.block_on(verified.table(table, &layout))?;
    }
    let is_written = WriterLock::holder(&args.data)?.is_some();
    match Journal::check(&LocalDisk, &args.data) {
        Ok(replayed) => {
            verified.records = replayed.records;
            let lost = replayed.lost.iter().map(|lost| {
                format!("records {} to {} of the log are lost", lost.start(), lost.end())
            });
            verified.problems.extend(lost);
            // Of a log that is written the end may be half there.
            if replayed.bytes_skipped > 0 && !is_written {
                let skipped = replayed.bytes_skipped;
                verified.problems.push(format!(
                    "{skipped} bytes of the log are no records: exports that were under way when \
                     the process ended, or damage"
                ));
            }
        }
        Err(error) => verified.problems.push(error.to_string()),
    }
    Ok(verified)
}

impl Verified {
    async fn table(&mut self, table: &Snapshot, layout: &Layout) -> Result<()> {
        let files = table.files().context("failed to read the table's log")?;
        for file in &files {
            self.files += 1;
            if let Err(error) = table.check(file, layout).await {
                self.problems.push(error.to_string());
            }
        }
        Ok(())
    }
}
