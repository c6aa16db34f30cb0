//! `timesink store backup` and `restore`: a data directory as another one.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use timesink_server::Act;
use timesink_tables::Location;
use url::Url;

use super::{Held, hold, look, runtime, verify};
use crate::cli::{DataArgs, StoreBackupArgs, StoreRestoreArgs};
use crate::commands::Run;
use crate::ended::{Ended, once_written};
use crate::noted::note;
use crate::output::warn_of_lost_records;

/// Copies a data directory, also while a server writes there: what was acknowledged before.
pub(super) fn backup(args: &StoreBackupArgs, run: &mut Run<'_>) -> Result<Ended> {
    note(&args.data.data, Act::Reads, "store backup", run);
    copy(&args.data.data, &args.folder, None, run)
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
    let ended = copy(&args.backup, &args.data.data, args.bucket.as_ref(), run)?;
    note(&args.data.data, Act::Changes, "store restore", run);
    Ok(ended)
}

/// Returns the folder beside it that is filled first.
fn unfinished(folder: &Path) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// Gives a folder its name, in place of an empty one, and makes safe that it has it.
fn rename(from: &Path, to: &Path) -> std::io::Result<()> {
    let to = std::path::absolute(to)?;
    std::fs::rename(from, &to)?;
    std::fs::File::open(to.parent().unwrap_or(&to))?.sync_all()
}

fn copy(from: &Path, to: &Path, bucket: Option<&Url>, run: &mut Run<'_>) -> Result<Ended> {
    let is_empty = std::fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    if to.exists() && !is_empty {
        bail!("`{}` is no empty folder: name one, or one that is not there yet", to.display());
    }
    let runtime = runtime()?;
    let found = look(from, &runtime, run)?;
    warn_of_lost_records(run.console, &found.replayed);
    if let Some(bucket) = bucket
        && !runtime.block_on(Location::Bucket(bucket.clone()).is_empty())?
    {
        bail!("`{bucket}` is not empty: name a place that is, or remove what is there");
    }
    // What is cut off is not to be taken for a whole one.
    let unfinished = unfinished(to);
    if unfinished.exists() {
        bail!("`{}` is left of a copy that was cut off: remove it", unfinished.display());
    }
    {
        let _progress = run.console.progress("copying files");
        let failed =
            || format!("failed to copy `{}` to `{}`", from.display(), unfinished.display());
        let Held { mut tables, lock: _lock } = hold(&unfinished, bucket, &runtime)?;
        runtime.block_on(tables.copy(&found)).with_context(failed)?;
    }
    rename(&unfinished, to).with_context(|| format!("failed to make `{}`", to.display()))?;
    let written = writeln!(run.console.out, "`{}` is a data directory now", to.display());
    once_written(written.map_err(Into::into), Ended::Done)
}
