//! The whole command: the release binary over a file.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use super::{Measure, median};

/// Between two looks at the memory of the running command.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How the command ends when a rule reached a limit.
const INCOMPLETE: i32 = 2;

/// Runs of which the peak memory is measured: it varies with how threads meet.
const PEAK_RUNS: usize = 3;

/// Measures the time, then in more runs the peak memory.
pub(super) fn measure(
    name: &'static str,
    binary: &Path,
    file: &Path,
    spans: usize,
    runs: usize,
) -> Result<Measure> {
    let command = || {
        let mut command = Command::new(binary);
        command.args(["analyze", "--format", "jsonl"]).arg(file);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let (median, is_whole) = median(runs, || {
        let status = command().status()?;
        match status.code() {
            Some(0) => Ok(true),
            Some(INCOMPLETE) => Ok(false),
            _ => bail!("`timesink analyze {}` failed: {status}", file.display()),
        }
    })?;
    let mut peaks = (0..PEAK_RUNS).map(|_| peak_bytes(command())).collect::<Result<Vec<_>>>()?;
    peaks.sort_unstable();
    let peak_bytes = peaks[PEAK_RUNS / 2];
    Ok(Measure { peak_bytes, spans: Some(spans), is_whole, ..Measure::of(name, median) })
}

/// Runs the command and returns the most memory it was seen to hold, where `/proc` tells.
fn peak_bytes(mut command: Command) -> Result<Option<u64>> {
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    while child.try_wait()?.is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        // The high-water mark only grows; a process that just ended has none.
        peak = peak.max(parse_high_water(&text));
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(peak)
}

/// Reads the line `VmHWM: 112640 kB`.
fn parse_high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_high_water_mark() {
        assert_eq!(parse_high_water("Name:\tx\nVmHWM:\t  112640 kB\n"), Some(115_343_360));
        assert_eq!(parse_high_water("Name:\tx\n"), None);
    }
}
