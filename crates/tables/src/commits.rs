//! Commits of a table's log that say nothing: whoever reads the log passes them by.
//!
//! Source: Delta's protocol, "Delta Log Entries" and "Actions".

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::{Map, Value};

use crate::Error;

const LOG: &str = "_delta_log";

/// The actions of a commit.
const ACTIONS: [&str; 8] =
    ["add", "cdc", "commitInfo", "domainMetadata", "metaData", "protocol", "remove", "txn"];

/// Checks the commits that are read when the table at the root of a store is opened: those behind
/// its last checkpoint. One that is no JSON is told by whoever opens the table.
///
/// # Errors
///
/// [`Error::File`] names a commit that is empty, or has an action that is none: it is damaged.
pub(crate) async fn check(store: &dyn ObjectStore, table: &str) -> Result<(), Error> {
    let listed = store.list(Some(&Path::from(LOG))).try_collect::<Vec<_>>().await;
    let listed = listed.map_err(|cause| Error::Read { table: table.to_owned(), cause })?;
    let names = listed.iter().filter_map(|file| file.location.filename());
    let checkpoints = names.clone().filter(|name| name.contains(".checkpoint."));
    let checkpoint = checkpoints.filter_map(version).max();
    let is_commit = |name: &&str| name.split_once('.').is_some_and(|(_, end)| end == "json");
    let commits = names.filter(is_commit).filter(|name| version(name) > checkpoint);
    for name in commits {
        let path = Path::from(format!("{LOG}/{name}"));
        let read = async { store.get(&path).await?.bytes().await };
        let bytes = match read.await {
            // It went meanwhile: there is a checkpoint behind it.
            Err(object_store::Error::NotFound { .. }) => continue,
            read => read.map_err(|cause| Error::Read { table: table.to_owned(), cause })?,
        };
        if !says_something(&bytes) {
            let cause = "it is damaged: no commit is empty, or has other actions than Delta's";
            let (table, path) = (table.to_owned(), path.to_string());
            return Err(Error::File { table, path, cause: cause.to_owned() });
        }
    }
    Ok(())
}

fn says_something(commit: &[u8]) -> bool {
    let mut lines = commit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).peekable();
    lines.peek().is_some() && lines.all(is_action)
}

/// Whether a line is an action; what is no object is somebody else's to refuse.
fn is_action(line: &[u8]) -> bool {
    let Ok(action) = serde_json::from_slice::<Map<String, Value>>(line) else { return true };
    !action.is_empty() && action.keys().all(|key| ACTIONS.contains(&key.as_str()))
}

fn version(name: &str) -> Option<u64> {
    name.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_has_actions_and_no_others() {
        for (commit, is_one) in [
            ("{\"commitInfo\":{}}\n{\"add\":{\"path\":\"a\"}}\n", true),
            ("{\"txn\":{}}", true),
            ("", false),
            ("\n\n", false),
            ("{}", false),
            ("{\"commitInfo\":{}}\n{\"aed\":{}}\n", false),
            ("{\"add\":", true),
        ] {
            assert_eq!(says_something(commit.as_bytes()), is_one, "{commit}");
        }
    }
}
