//! Crates: which may use which, and who may name the large dependencies.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::Problems;
use crate::workspace::{folder_names, read_toml};

/// A crate and those it may name; it may also use what lies further along their arrows.
struct Crate {
    folder: &'static str,
    uses: &'static [&'static str],
}

const CRATES: &[Crate] = &[
    Crate { folder: "crates/model", uses: &[] },
    Crate { folder: "crates/otlp", uses: &["model"] },
    Crate { folder: "crates/facts", uses: &["model"] },
    Crate { folder: "crates/store", uses: &["model"] },
    Crate { folder: "crates/tables", uses: &["facts", "store"] },
    Crate { folder: "crates/shards", uses: &["facts"] },
    Crate { folder: "crates/query", uses: &["tables", "shards"] },
    // Without `query`: `otlp` and `facts` are tested with it, and build without DataFusion.
    Crate { folder: "crates/cases", uses: &["otlp"] },
    Crate { folder: "crates/rules", uses: &["query", "cases"] },
    Crate { folder: "crates/reports", uses: &["query"] },
    Crate { folder: "crates/output", uses: &["rules", "otlp"] },
    Crate { folder: "crates/server", uses: &["reports", "output", "otlp"] },
    Crate { folder: "crates/timesink", uses: &["server"] },
    Crate { folder: "crates/testkit", uses: &["cases", "store"] },
    Crate { folder: "crates/xtask", uses: &["timesink"] },
    Crate { folder: "tests", uses: &["timesink"] },
];

/// Tests may also use the notation, and the decoder that gives them their spans.
const TEST_USES: [&str; 3] = ["testkit", "otlp", "model"];

/// Dependencies that few crates name, and which.
const FEW_NAME: &[(&str, &[&str])] = &[
    ("anyhow", &["crates/timesink", "crates/xtask"]),
    ("axum", &["crates/server"]),
    ("datafusion", &["crates/query"]),
    ("deltalake-core", &["crates/tables"]),
    ("minijinja", &["crates/output"]),
    ("object_store", &["crates/tables"]),
    ("parquet", &["crates/tables"]),
    ("pulldown-cmark", &["crates/output"]),
    ("tonic", &["crates/server"]),
];

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    for name in folder_names("crates")? {
        let folder = format!("crates/{name}");
        if CRATES.iter().all(|c| c.folder != folder) {
            problems.add(&folder, "not in the list of crates in crates/xtask/src/tidy/edges.rs");
        }
    }
    let existing = folder_names("crates")?;
    for of in CRATES {
        if of.folder == "tests" || existing.iter().any(|name| name == name_of(of)) {
            check_manifest(of, problems)?;
        }
    }
    Ok(())
}

fn check_manifest(of: &Crate, problems: &mut Problems) -> Result<()> {
    let path = format!("{}/Cargo.toml", of.folder);
    let manifest = read_toml(&path)?;
    for name in of_one_platform(&manifest) {
        let for_all = manifest.get("dependencies").and_then(|dependencies| dependencies.get(name));
        if for_all.is_none() {
            problems.add(&path, format!("`{name}` is for one platform: list it for all first"));
        }
    }
    let mut allowed = reachable(of);
    for section in ["build-dependencies", "dependencies", "dev-dependencies"] {
        if section == "dev-dependencies" {
            allowed.extend(TEST_USES);
        }
        let Some(dependencies) = manifest.get(section) else { continue };
        let dependencies = dependencies.as_table().with_context(|| format!("`{path}`"))?;
        for (name, value) in dependencies {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                problems.add(&path, format!("`{name}`: versions live in the root Cargo.toml"));
            }
            if let Some(ours) = our_name(name)
                && !allowed.contains(ours)
            {
                problems.add(&path, format!("may not use `{name}` in `{section}`"));
            }
            let few = FEW_NAME.iter().find(|(few, _)| name == few);
            if let Some((_, folders)) = few
                && !folders.contains(&of.folder)
            {
                problems.add(&path, format!("only {} may name `{name}`", folders.join(", ")));
            }
        }
    }
    Ok(())
}

/// Returns the names of dependencies that stand below `[target]`, to switch on a feature there.
fn of_one_platform(manifest: &toml::Table) -> impl Iterator<Item = &String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let sections = targets.into_iter().flat_map(toml::Table::values);
    let sections = sections.filter_map(toml::Value::as_table).flat_map(toml::Table::values);
    sections.filter_map(toml::Value::as_table).flat_map(toml::Table::keys)
}

fn name_of(of: &Crate) -> &'static str {
    of.folder.strip_prefix("crates/").unwrap_or(of.folder)
}

/// Returns the folder's name for a package of ours.
fn our_name(package: &str) -> Option<&str> {
    if package == "timesink" { Some(package) } else { package.strip_prefix("timesink-") }
}

/// Returns everything along a crate's arrows.
fn reachable(of: &Crate) -> BTreeSet<&'static str> {
    let mut found = BTreeSet::new();
    let mut next = of.uses.to_vec();
    while let Some(name) = next.pop() {
        if found.insert(name) {
            let used = CRATES.iter().find(|other| name_of(other) == name);
            next.extend(used.map_or(&[][..], |other| other.uses));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_of_one_platform_are_found() {
        let manifest = "[dependencies]\na.workspace = true\n\
            [target.'cfg(unix)'.dependencies]\na = { workspace = true }\n\
            [target.'cfg(windows)'.dev-dependencies]\nb = { workspace = true }\n";
        let manifest = toml::from_str(manifest).unwrap();
        assert_eq!(of_one_platform(&manifest).collect::<Vec<_>>(), ["a", "b"]);
    }

    fn reachable_from(name: &str) -> Vec<&'static str> {
        let of = CRATES.iter().find(|c| name_of(c) == name).expect("a crate");
        reachable(of).into_iter().collect()
    }

    #[test]
    fn arrows_point_down() {
        assert_eq!(reachable_from("facts"), ["model"]);
        let below_rules = ["cases", "facts", "model", "otlp", "query", "shards", "store", "tables"];
        assert_eq!(reachable_from("rules"), below_rules);
        for of in CRATES {
            assert!(!reachable(of).contains(name_of(of)), "{} uses itself", of.folder);
            assert!(!reachable(of).contains("testkit"), "{} ships the testkit", of.folder);
        }
    }
}
