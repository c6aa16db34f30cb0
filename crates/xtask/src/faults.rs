//! `faults`: the release binary is killed again and again while exporters send to it, and every
//! span that was acknowledged has to be there, once; and the power is cut at each operation of the
//! disk. The tests kill it three times, and cut the power at some operations; this takes longer.

use anyhow::Result;

use crate::workspace::{cargo, release_binary, run as run_command};

/// How often it is killed.
const KILLS: &str = "20";

/// Builds the binary and runs the tests of the store and of faults, with more kills.
pub(crate) fn run() -> Result<()> {
    let target = ["test", "--workspace", "--test", "e2e"];
    let tests = ["--", "--nocapture", "store::", "faults::", "bucket::", "upkeep::"];
    let mut command = cargo(&[&target[..], &tests].concat());
    command.env("TIMESINK_BINARY", release_binary()?).env("TIMESINK_TEST_KILLS", KILLS);
    run_command(&mut command)?;
    let targets = ["--test", "table", "--test", "walked", "--test", "log"];
    let cuts = ["--", "--nocapture", "power", "cut", "fault"];
    let mut command = cargo(&[&["test", "--workspace"][..], &targets, &cuts].concat());
    run_command(command.env("TIMESINK_ALL_POINTS", "1"))
}
