//! `check`: what CI runs, whole and in this order; it stops at the first failure.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{cargo, root, run as run_command, target};
use crate::{generate, tidy};

/// Passed and failed tests over every harness.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tests {
    passed: u64,
    failed: u64,
}

/// Runs every check; the last line counts the tests.
pub(crate) fn run() -> Result<()> {
    step("format", || run_command(&mut cargo(&["fmt", "--all", "--check"])))?;
    step("clippy", || {
        let lint = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        run_command(&mut cargo(&lint))
    })?;
    let mut tests = Tests::default();
    step("tests", || run_tests(&mut tests))
        .inspect_err(|_| println!("{} passed, {} failed", tests.passed, tests.failed))?;
    step("companion", test_companion)?;
    step("pages", test_pages)?;
    step("profilers", test_profilers)?;
    step("docs", || {
        let mut docs = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
        run_command(docs.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    step("generate --check", generate::check)?;
    step("tidy", tidy::run)?;
    println!("\n{} passed, {} failed", tests.passed, tests.failed);
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    work().with_context(|| format!("check stopped at `{name}`"))
}

/// How often tests of the companion that failed are asked again.
const COMPANION_TRIES: usize = 2;

/// Tests `timesink-otel`. Its tests measure real services by the millisecond: what fails on a busy
/// machine has to pass once it is asked alone.
fn test_companion() -> Result<()> {
    let venv = target()?.join("tmp/companion-venv");
    let test = |arguments: &[&str]| {
        let mut command = Command::new(root().join("deploy/python/test.sh"));
        run_command(command.arg(&venv).args(arguments))
    };
    (0..COMPANION_TRIES).fold(test(&[]), |tested, _| {
        tested.or_else(|_| {
            println!("again, those that failed:");
            test(&["--last-failed", "--last-failed-no-failures", "none"])
        })
    })
}

/// Runs the examples of the pages in `docs/`, and looks for dead links.
fn test_pages() -> Result<()> {
    let (venv, binary) = (target()?.join("tmp/pages-venv"), target()?.join("debug/timesink"));
    run_command(Command::new(root().join("tests/docs/test.sh")).arg(venv).arg(binary))
}

/// Runs the commands of `docs/profiling.md` on a program whose hot spots are known.
fn test_profilers() -> Result<()> {
    let (venv, binary) = (target()?.join("tmp/profilers-venv"), target()?.join("debug/timesink"));
    let mut test = Command::new(root().join("tests/profiling/test.sh"));
    run_command(test.arg(venv).env("TIMESINK", binary))
}

/// Runs all tests, those after a failed one too, and counts them.
fn run_tests(tests: &mut Tests) -> Result<()> {
    let mut child = cargo(&["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start `cargo`")?;
    let output = child.stdout.take().context("the output is piped")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(harness) = parse_result(&line) {
            tests.passed += harness.passed;
            tests.failed += harness.failed;
        }
    }
    let status = child.wait()?;
    if !status.success() || tests.failed > 0 {
        bail!("`cargo test` failed: {status}");
    }
    if tests.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Reads a harness's last line: `test result: ok. 12 passed; 0 failed; 0 ignored; ...`.
fn parse_result(line: &str) -> Option<Tests> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Tests { passed: count("passed")?, failed: count("failed")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_last_line_of_a_harness() {
        let line = "test result: FAILED. 22 passed; 4 failed; 1 ignored; finished in 0.13s";
        assert_eq!(parse_result(line), Some(Tests { passed: 22, failed: 4 }));
        assert_eq!(parse_result("test result::tests::works ... ok"), None);
        assert_eq!(parse_result("running 4 tests"), None);
    }
}
