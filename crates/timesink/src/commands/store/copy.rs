//! `timesink store backup` and `restore`: a data directory as another one.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::{Held, hold, look, runtime, verify};
use crate::cli::{DataArgs, StoreBackupArgs, StoreRestoreArgs};
use crate::commands::Run;
use crate::ended::{Ended, once_written};

/// Copies a data directory, also while a server writes there: what was acknowledged before.
pub(super) fn backup(args: &StoreBackupArgs, run: &mut Run<'_>) -> Result<Ended> {
    copy(&args.data.data, &args.folder, run)
}

/// Makes a data directory of a backup, which is read whole before.
pub(super) fn restore(args: &StoreRestoreArgs, run: &mut Run<'_>) -> Result<Ended> {
    let from = DataArgs { data: args.backup.clone() };
    let runtime = runtime()?;
    let found = look(&from.data, &runtime, run)?;
    let verified = verify::verify(&from, &found, &runtime)?;
    if !verified.problems.is_empty() {
        bail!("the backup is damaged, nothing was restored:\n{}", verified.problems.join("\n"));
    }
    copy(&args.backup, &args.data.data, run)
}

fn copy(from: &Path, to: &Path, run: &mut Run<'_>) -> Result<Ended> {
    let is_empty = std::fs::read_dir(to).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty {
        bail!("`{}` is not empty: name a folder that is, or is not there yet", to.display());
    }
    let runtime = runtime()?;
    let found = look(from, &runtime, run)?;
    let Held { mut tables, lock: _lock } = hold(to, &runtime)?;
    {
        let _progress = run.console.progress("copying files");
        runtime.block_on(tables.copy(&found)).with_context(|| {
            format!("failed to copy `{}` to `{}`: remove it", from.display(), to.display())
        })?;
    }
    let written = writeln!(run.console.out, "`{}` is a data directory now", to.display());
    once_written(written.map_err(Into::into), Ended::Done)
}
