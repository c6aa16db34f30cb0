//! How soon a server that was killed is ready again, with a log that is in no table yet.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use timesink_model::schema::spans;
use timesink_tables::{Location, Snapshot};
use tokio::runtime::Runtime;

use super::bars::Bars;
use super::fill;
use crate::bench::input::Input;
use crate::ingest::process::Serving;

/// Between two looks at what is in the tables.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// All are there when none came for so long: what is left
/// of them waits for a minute at most.
const QUIET: Duration = Duration::from_secs(70);

/// The bar.
const READY_SECONDS_MAX: f64 = 5.0;

/// Bytes of the log.
const LOG_BYTES: u64 = 1 << 30;

/// What the server may take then, MiB: the default.
const BUDGET_MIB: &str = "2048";

/// Nothing leaves the log before the kill, and nothing settles.
const OPTIONS: [&str; 8] = [
    "--receiver-memory-mib-max",
    "131072",
    "--store-flush-mib",
    "16384",
    "--store-flush-seconds",
    "3600",
    "--live-settle-seconds",
    "600",
];

/// Fills a log, kills the server, starts it again, and prints how long that took.
pub(super) fn after_a_kill(input: &Input, data: &Path, bars: &mut Bars) -> Result<()> {
    let text = data.to_string_lossy();
    let options = [&OPTIONS[..], &["--data", &text]].concat();
    let serving = Serving::start(&options)?;
    let (mut sent, mut number) = (0, 0);
    while log_bytes(data)? < LOG_BYTES {
        sent += fill::send_copy(input, number, &serving)?;
        number += 1;
    }
    let bytes = log_bytes(data)? as f64 / f64::from(1 << 30);
    // A kill, as it is dropped.
    drop(serving);
    let began = Instant::now();
    let serving = Serving::start(&["--receiver-memory-mib-max", BUDGET_MIB, "--data", &text])?;
    let ready = began.elapsed().as_secs_f64();
    let runtime = Runtime::new()?;
    // Fewer than were sent: those that a recording has twice count once.
    let (mut stored, mut grown) = (0, Instant::now());
    while grown.elapsed() < QUIET {
        let rows = rows_stored(data, &runtime)?;
        if rows > stored {
            (stored, grown) = (rows, Instant::now());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    println!(
        "killed with {sent} spans, {bytes:.2} GiB, in the log alone: ready after {ready:.2} s, the \
         last of {stored} in the tables after {:.0} s, peak {:.0} MiB of \
         {BUDGET_MIB}",
        grown.duration_since(began).as_secs_f64(),
        serving.peak_bytes()? as f64 / 1_048_576.0
    );
    bars.at_most("ready after, s", ready, READY_SECONDS_MAX);
    Ok(())
}

/// Returns how many spans the table has.
fn rows_stored(data: &Path, runtime: &Runtime) -> Result<u64> {
    let Some(place) = Location::of(data)? else { return Ok(0) };
    let table = runtime.block_on(Snapshot::open(place.store()?, &spans::table()))?;
    Ok(table.files()?.iter().filter_map(|file| file.rows).sum())
}

fn log_bytes(data: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(data.join("log"))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
