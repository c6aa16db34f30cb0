//! `timesink store`: what a data directory holds, and what an operator does with it.

mod copy;
mod export;
mod info;
mod upkeep;
mod verify;

use std::path::Path;

use anyhow::{Context, Result};
use timesink_store::WriterLock;
use timesink_tables::{Location, Look, Tables, Wanted, claim};
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::Run;
use crate::cli::StoreCommand;
use crate::ended::Ended;
use crate::stored::unreadable;
use crate::surroundings::now_unix_nano;

pub(super) fn run(command: &StoreCommand, run: &mut Run<'_>) -> Result<Ended> {
    match command {
        StoreCommand::Info(args) => info::run(args, run),
        StoreCommand::Compact(args) => upkeep::compact(args, run),
        StoreCommand::Expire(args) => upkeep::expire(args, run),
        StoreCommand::Verify(args) => verify::run(args, run),
        StoreCommand::Export(args) => export::run(args, run),
        StoreCommand::Backup(args) => copy::backup(args, run),
        StoreCommand::Restore(args) => copy::restore(args, run),
    }
}

/// Makes what tables are read and written on.
fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("failed to start threads")
}

/// Looks at a data directory; a process may write there.
fn look(data: &Path, runtime: &Runtime, run: &Run<'_>) -> Result<Look> {
    let bytes_max = run.config.read.decoded_bytes_max;
    let look = runtime.block_on(Look::at(data, Wanted::Walked, bytes_max));
    look.with_context(|| unreadable(data))
}

/// A data directory that nobody else writes while it is held.
struct Held {
    tables: Tables,
    /// Held for as long as it is written.
    lock: WriterLock,
}

/// Opens a data directory to be written, which has to be one.
fn hold_made(data: &Path, runtime: &Runtime) -> Result<Held> {
    if Location::of(data).with_context(|| unreadable(data))?.is_none() {
        return Err(timesink_tables::Error::NoTables).with_context(|| unreadable(data));
    }
    hold(data, None, runtime)
}

/// Opens a data directory to be written, or makes it, in a bucket if one is named.
fn hold(data: &Path, bucket: Option<&Url>, runtime: &Runtime) -> Result<Held> {
    let open = || -> Result<_> {
        let lock = WriterLock::take(data)?;
        let place = Location::made(data, bucket)?;
        runtime.block_on(claim(data, &place))?;
        let tables = runtime.block_on(Tables::open(place.store()?, now_unix_nano))?;
        Ok(Held { tables, lock })
    };
    open().with_context(|| format!("failed to write the data directory `{}`", data.display()))
}

/// Returns a number with its noun: `1 file`, `2 files`.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Returns bytes as people read them: `12.3 MiB`.
fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        (value, unit) = (value / 1024.0, unit + 1);
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
