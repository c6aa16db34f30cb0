//! `timesink store compact` and `expire`: what a server does by itself, at once.

use std::io::Write;

use anyhow::{Context, Result};
use timesink_server::Act;
use timesink_tables::{Compacted, Joining, Tables};

use super::{Held, counted, hold_made, look, runtime};
use crate::cli::{DataArgs, StoreExpireArgs};
use crate::commands::Run;
use crate::ended::{Ended, once_written};
use crate::noted::note;
use crate::output::warn_of_lost_records;

/// Brings what is in the log into the tables, joins small files of all hours, and removes what is
/// no part of the tables.
pub(super) fn compact(args: &DataArgs, run: &mut Run<'_>) -> Result<Ended> {
    let runtime = runtime()?;
    let Held { mut tables, lock: _lock } = hold_made(&args.data, &runtime)?;
    note(&args.data, Act::Changes, "store compact", run);
    let look = look(&args.data, &runtime, run)?;
    warn_of_lost_records(run.console, &look.replayed);
    let done = {
        let _progress = run.console.progress("joining files");
        runtime.block_on(async {
            tables.take_all(&look).await?;
            let (joined, problem) = join_all(&mut tables).await;
            Ok::<_, timesink_tables::Error>((joined, problem, tables.sweep_now().await?))
        })
    };
    let (Compacted { files_before, files_after }, problem, removed) =
        done.with_context(|| format!("failed to compact `{}`", args.data.display()))?;
    let ended = if problem.is_some() { Ended::Incomplete } else { Ended::Done };
    if let Some(problem) = problem {
        run.console.error(&problem);
    }
    let (before, after) = (counted(files_before, "file"), counted(files_after, "file"));
    let removed = counted(removed, "file");
    let written = writeln!(run.console.out, "{before} joined as {after}, {removed} removed");
    once_written(written.map_err(Into::into), ended)
}

/// Joins the files of all hours: nothing comes meanwhile. One that cannot be read is told, and its
/// hour passed by.
async fn join_all(tables: &mut Tables) -> (Compacted, Option<String>) {
    let mut all = Compacted::default();
    let mut problem: Option<String> = None;
    loop {
        match tables.join(i64::MAX, Joining::Merge).await {
            Ok(Compacted { files_before: 0, .. }) => return (all, problem),
            Ok(joined) => {
                all.files_before += joined.files_before;
                all.files_after += joined.files_after;
            }
            Err(error) => {
                let again = error.to_string();
                if problem.as_ref() == Some(&again) {
                    return (all, problem);
                }
                problem = Some(again);
            }
        }
    }
}

/// Takes old rows out, and removes their files.
pub(super) fn expire(args: &StoreExpireArgs, run: &mut Run<'_>) -> Result<Ended> {
    let runtime = runtime()?;
    let data = &args.data.data;
    let Held { mut tables, lock: _lock } = hold_made(data, &runtime)?;
    note(data, Act::Changes, "store expire", run);
    let before = args.before.map(|before| before.time(run.surroundings.now_unix_nano));
    let bytes_max = args.gib_max.map(|gib| gib.saturating_mul(1 << 30));
    let done = runtime.block_on(async {
        let expired = tables.expire(before, bytes_max).await?;
        Ok::<_, timesink_tables::Error>((expired, tables.sweep_now().await?))
    });
    let (expired, removed) =
        done.with_context(|| format!("failed to expire rows of `{}`", data.display()))?;
    let (expired, removed) = (counted(expired, "file"), counted(removed, "file"));
    let written =
        writeln!(run.console.out, "the rows of {expired} are out of the tables, {removed} removed");
    once_written(written.map_err(Into::into), Ended::Done)
}
