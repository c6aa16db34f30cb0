//! Files joined as a server joins them that has no time: what it costs, and what it is good for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use timesink_tables::{Compacted, Joining, Location, Tables};
use tokio::runtime::Runtime;

use crate::ingest::process::cpu_time_of_this_process;
use crate::workspace::run;

/// Joins the files of a copy of a data directory, and prints what that cost.
pub(super) fn join(data: &Path, copy: &Path) -> Result<()> {
    // Files are never written again: names for them are enough.
    run(Command::new("cp").args(["--archive", "--link"]).args([data, copy]))?;
    let runtime = Runtime::new()?;
    let store = Location::of(copy)?.context("a data directory")?.store()?;
    let mut tables = runtime.block_on(Tables::open(store, || 0))?;
    let cpu = cpu_time_of_this_process()?;
    let mut all = Compacted::default();
    loop {
        let joined = runtime.block_on(tables.join(i64::MAX, Joining::Splice))?;
        if joined.files_before == 0 {
            break;
        }
        all.files_before += joined.files_before;
        all.files_after += joined.files_after;
    }
    let cpu = cpu_time_of_this_process()?.saturating_sub(cpu).as_secs_f64();
    let Compacted { files_before, files_after } = all;
    println!("spliced {files_before} files as {files_after}, {cpu:.1} s of CPU");
    Ok(())
}
