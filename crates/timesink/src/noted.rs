//! [`note`]: what commands do with a data directory, in its audit log.

use std::path::Path;

use timesink_server::Act;

use crate::commands::Run;
use crate::surroundings::now_unix_nano;

/// Notes in a data directory what a command does with it. Texts that others wrote are to be without
/// literals.
pub(crate) fn note(data: &Path, act: Act, what: &str, run: &Run<'_>) {
    let who = format!("uid {}", rustix::process::getuid().as_raw());
    if let Err(error) = timesink_server::note_command(data, act, &who, what, now_unix_nano()) {
        run.console.warn(&format!("failed to note it in the audit log: {error}"));
    }
}
