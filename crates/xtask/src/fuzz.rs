//! `fuzz`: every fuzz target for some time, one after the other, and a table of what they did.
//!
//! Run by hand before a release or after a change to a reader: it needs a nightly toolchain and
//! `cargo-fuzz`, and with the default time an hour. `tests/fuzz/README.md` says what each holds.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{read_toml, root, run as run_command};

const SECONDS: u64 = 300;

/// Folders of targets, and the sanitizer that they run under. The query engine is too large for
/// one, and what is fuzzed above it has no `unsafe`.
const FOLDERS: [(&str, &str); 2] = [("tests/fuzz", "address"), ("tests/fuzz-rules", "none")];

/// Larger inputs cost more time than they find.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// What takes longer is a finding: a reader that is not linear.
const INPUT_SECONDS_MAX: usize = 20;

/// What takes more is a finding: a limit that does not hold.
const MEMORY_MIB_MAX: usize = 4096;

struct Target {
    folder: &'static str,
    sanitizer: &'static str,
    name: String,
}

/// Runs `[--seconds N] [TARGET]...`; without names, all targets.
pub(crate) fn run(options: &[&str]) -> Result<()> {
    let (seconds, names) = match options {
        ["--seconds", seconds, names @ ..] => {
            (seconds.parse().with_context(|| format!("`--seconds {seconds}`: no number"))?, names)
        }
        names => (SECONDS, names),
    };
    let targets = targets()?;
    if let Some(unknown) = names.iter().find(|name| targets.iter().all(|t| t.name != **name)) {
        let known: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        bail!("unknown target `{unknown}`: expected {}", known.join(", "));
    }
    for (folder, _) in FOLDERS {
        run_command(&mut Command::new(root().join(folder).join("seed")))?;
    }
    let mut failed = Vec::new();
    println!("| target | executions | a second | coverage | corpus |\n|---|---:|---:|---:|---:|");
    for target in targets {
        if !names.is_empty() && !names.contains(&target.name.as_str()) {
            continue;
        }
        match fuzz(&target, seconds)? {
            Some(row) => println!("{row}"),
            None => failed.push(target.name),
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    bail!("failed: {}: the inputs are in `artifacts`", failed.join(", "))
}

/// Returns the targets that the manifests list.
fn targets() -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for (folder, sanitizer) in FOLDERS {
        let manifest = read_toml(Path::new(folder).join("Cargo.toml"))?;
        let bins = manifest.get("bin").and_then(|bins| bins.as_array());
        for bin in bins.into_iter().flatten() {
            let name = bin.get("name").and_then(|name| name.as_str());
            let name = name.with_context(|| format!("a target of `{folder}` has no name"))?;
            targets.push(Target { folder, sanitizer, name: name.to_owned() });
        }
    }
    Ok(targets)
}

/// Runs one target; returns its row of the table, or `None` when an input failed.
fn fuzz(target: &Target, seconds: u64) -> Result<Option<String>> {
    let folder = root().join(target.folder);
    let mut command = Command::new("cargo");
    command.args(["+nightly", "fuzz", "run", "--fuzz-dir", "."]);
    command.args(["--sanitizer", target.sanitizer, &target.name, "--"]);
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"));
    command.arg("-print_final_stats=1");
    let dictionary = folder.join(format!("dictionaries/{}.dict", target.name));
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let output = command.current_dir(&folder).output().context("failed to start `cargo`")?;
    let log = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let tail: Vec<&str> = log.lines().rev().take(60).collect();
        println!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        return Ok(None);
    }
    fs::remove_dir(folder.join("artifacts").join(&target.name)).ok();
    Ok(Some(row(&target.name, &log, seconds)))
}

/// Reads what libFuzzer says last: `#9 DONE cov: 12 ft: 34 corp: 5/67Kb ...`.
fn row(name: &str, log: &str, seconds: u64) -> String {
    let last = log.lines().rev().find(|line| line.contains(" cov: ")).unwrap_or_default();
    let after = |label: &str| {
        let mut words = last.split_whitespace().skip_while(|word| *word != label);
        words.nth(1).unwrap_or("?").to_owned()
    };
    let executed = log
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .unwrap_or_default();
    let rate = executed / seconds.max(1);
    format!("| `{name}` | {executed} | {rate} | {} | {} |", after("cov:"), after("corp:"))
}

#[cfg(test)]
mod tests {
    use super::{row, targets};

    #[test]
    fn every_target_is_listed_with_its_source() {
        for target in targets().unwrap() {
            let source = format!("{}/fuzz_targets/{}.rs", target.folder, target.name);
            assert!(crate::workspace::root().join(&source).exists(), "{source}");
            let readme = crate::workspace::read("tests/fuzz/README.md").unwrap();
            assert!(readme.contains(&format!("| `{}` |", target.name)), "{}", target.name);
        }
    }

    #[test]
    fn the_last_line_of_figures_counts() {
        let log = "#2 INITED cov: 1 ft: 1 corp: 1/1b\n\
                   #900 DONE cov: 12 ft: 34 corp: 5/67Kb lim: 8 exec/s: 90 rss: 70Mb\n\
                   Done 900 runs in 11 second(s)\n\
                   stat::number_of_executed_units: 900\n";
        assert_eq!(row("a", log, 10), "| `a` | 900 | 90 | 12 | 5/67Kb |");
    }
}
