//! What the rules over all that is kept cost: in shards, and in memory.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Between two looks at the memory of the process.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `analyze` may read then, MiB.
const DECODED_MIB: &str = "65536";

/// Runs the rules both ways, prints what that cost, and holds the findings against each other.
pub(super) fn both_ways(binary: &Path, data: &Path, folder: &Path) -> Result<()> {
    let (in_shards, in_memory) = (folder.join("in-shards.jsonl"), folder.join("in-memory.jsonl"));
    println!();
    let mut command = Command::new(binary);
    command.args(["rules", "run"]).env("TMPDIR", folder);
    measure("rules over all in shards", command, data, &in_shards)?;
    let mut command = Command::new(binary);
    command.args(["analyze", "--query-seconds-max", "3600", "--query-memory-mib-max", "16384"]);
    command.args(["--input-decoded-mib-max", DECODED_MIB]);
    // What is read with a file is read into memory.
    let empty = folder.join("empty.json");
    std::fs::write(&empty, r#"{"resourceSpans":[]}"#)?;
    command.arg(&empty);
    measure("the same in memory", command, data, &in_memory)?;
    if std::fs::read(&in_shards)? != std::fs::read(&in_memory)? {
        bail!("the findings are not the same");
    }
    println!("the findings are the same");
    Ok(())
}

fn measure(what: &str, mut command: Command, data: &Path, output: &Path) -> Result<()> {
    command.arg("--data").arg(data).args(["--format", "jsonl", "--output"]).arg(output);
    let began = Instant::now();
    let mut child = command.spawn()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        // A process that just ended has none.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        peak = peak.max(anonymous_kib(&text).unwrap_or(0));
        std::thread::sleep(LOOK_EVERY);
    };
    if !ended.success() {
        bail!("{what}: {ended}");
    }
    let findings = std::fs::read_to_string(output).context("the findings")?.lines().count();
    println!(
        "{what}: {:.1} s, peak {} MiB besides files, {findings} findings",
        began.elapsed().as_secs_f64(),
        peak / 1024,
    );
    Ok(())
}

/// Reads the line `RssAnon: 112640 kB`: memory that is no file's.
fn anonymous_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::anonymous_kib;

    #[test]
    fn reads_the_memory_that_is_no_files() {
        assert_eq!(anonymous_kib("VmRSS:\t  300 kB\nRssAnon:\t  112640 kB\n"), Some(112_640));
        assert_eq!(anonymous_kib(""), None);
    }
}
