//! `clients`: every recording, sent by every real client to the release binary, gives what
//! `analyze` finds in its file. The tests do so with some of them; this takes minutes.

use anyhow::{Context, Result};

use crate::workspace::{cargo, release_binary, root, run as run_command};

/// The recordings lie beside the repository.
pub(crate) const TRACES: &str = "../shared/traces";

/// Builds the binary and runs the test over the recordings of a folder.
pub(crate) fn run(folder: &str) -> Result<()> {
    let folder = root().join(folder);
    let folder = folder.canonicalize().with_context(|| format!("`{}`", folder.display()))?;
    let test = ["test", "--workspace", "--test", "e2e", "clients", "--", "--nocapture"];
    let mut command = cargo(&test);
    command.env("TIMESINK_BINARY", release_binary()?).env("TIMESINK_RECORDINGS", folder);
    run_command(&mut command)
}
