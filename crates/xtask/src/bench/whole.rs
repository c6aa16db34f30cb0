//! The whole command: the release binary over the joined file.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Result, bail};

use super::input::Input;
use super::{Measure, median};
use crate::workspace::release_binary;

/// Between two looks at the memory of the running command.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Measures the time, then in one more run the peak memory.
pub(super) fn measure(input: &Input, runs: usize) -> Result<Measure> {
    let binary = release_binary()?;
    let command = || {
        let mut command = Command::new(&binary);
        command.args(["analyze", "--format", "jsonl"]).arg(&input.path).stdout(Stdio::null());
        command
    };
    let (median, ()) = median(runs, || {
        let status = command().status()?;
        if !status.success() {
            bail!("`timesink analyze` failed: {status}");
        }
        Ok(())
    })?;
    let peak_bytes = peak_bytes(command())?;
    Ok(Measure { name: "analyze --format jsonl", median, peak_bytes })
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
