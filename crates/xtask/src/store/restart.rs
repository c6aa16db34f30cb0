//! How soon a server that was killed is ready again, with a log that is in no table yet.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use super::fill;
use crate::bench::input::Input;
use crate::ingest::process::Serving;

/// Bytes of the log.
const LOG_BYTES: u64 = 1 << 30;

/// Nothing leaves the log, and nothing settles.
const OPTIONS: [&str; 8] = [
    "--receiver-memory-mib-max",
    "16384",
    "--store-flush-mib",
    "16384",
    "--store-flush-seconds",
    "3600",
    "--live-settle-seconds",
    "3600",
];

/// Fills a log, kills the server, starts it again, and prints how long that took.
pub(super) fn after_a_kill(input: &Input, data: &Path) -> Result<()> {
    let text = data.to_string_lossy();
    let options = [&OPTIONS[..], &["--data", &text]].concat();
    let serving = Serving::start(&options)?;
    let (mut spans, mut number) = (0, 0);
    while log_bytes(data)? < LOG_BYTES {
        spans += fill::send_copy(input, number, &serving)?;
        number += 1;
    }
    let bytes = log_bytes(data)? as f64 / f64::from(1 << 30);
    // A kill, as it is dropped.
    drop(serving);
    let began = Instant::now();
    let serving = Serving::start(&options)?;
    let took = began.elapsed().as_secs_f64();
    println!(
        "killed with {spans} spans, {bytes:.2} GiB, in the log alone: ready after {took:.2} s, \
         peak {:.0} MiB",
        serving.peak_bytes()? as f64 / 1_048_576.0
    );
    Ok(())
}

fn log_bytes(data: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(data.join("log"))? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}
