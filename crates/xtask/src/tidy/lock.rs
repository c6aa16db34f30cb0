//! The lock file: one version of what all crates share, and nothing whose time has not come.

use anyhow::{Context, Result};

use super::Problems;
use crate::workspace::read_toml;

/// A second version of one of these makes types that do not fit together.
const ONE_VERSION: [&str; 6] = ["arrow", "datafusion", "object_store", "parquet", "prost", "tonic"];

/// They come with the crate that needs them.
const NOT_YET: [&str; 3] = ["ballista", "datafusion-postgres", "pgwire"];

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    let lock = read_toml("Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let names: Vec<&str> = packages
        .context("`Cargo.lock` has packages")?
        .iter()
        .filter_map(|package| package.get("name")?.as_str())
        .collect();
    check_names(&names, problems);
    Ok(())
}

fn check_names(names: &[&str], problems: &mut Problems) {
    for one in ONE_VERSION {
        let count = names.iter().filter(|name| **name == one).count();
        if count > 1 {
            problems.add("Cargo.lock", format!("{count} versions of `{one}`"));
        }
    }
    for name in names {
        if NOT_YET.iter().any(|early| name.starts_with(early)) {
            problems.add("Cargo.lock", format!("`{name}` comes with the crate that needs it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_version_and_an_early_dependency_are_problems() {
        let mut problems = Problems::default();
        check_names(&["arrow", "arrow", "arrow-schema", "ballista-core"], &mut problems);
        assert_eq!(problems.lines.len(), 2, "{problems:?}");
    }
}
