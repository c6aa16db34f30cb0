//! `score`: the release binary against the labelled recordings, by their own scorer.

use std::process::Command;

use anyhow::{Result, bail};

use crate::workspace::{release_binary, root, run as run_command};

/// The scorer lies beside the recordings, outside the repository.
const SCORER: &str = "../shared/tools/score.py";

/// Builds the binary and scores it; further arguments are the scorer's.
pub(crate) fn run(arguments: &[&str]) -> Result<()> {
    if !root().join(SCORER).exists() {
        bail!(
            "expected the scorer at `{SCORER}`: the labelled recordings are not in the repository"
        );
    }
    let binary = release_binary()?;
    let mut scorer = Command::new("python3");
    scorer.arg(SCORER).arg("--bin").arg(binary).args(arguments).current_dir(root());
    run_command(&mut scorer)
}
