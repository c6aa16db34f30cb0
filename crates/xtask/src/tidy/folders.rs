//! Folders: rules are whole, CI runs what the README says.

use anyhow::Result;

use super::Problems;
use crate::new_rule::check_name;
use crate::workspace::{files, folder_names, read, root};

const RULE_FILES: [&str; 4] = ["README.md", "cases.md", "rule.sql", "rule.toml"];
const TEST_COMMAND: &str = "cargo xtask check";

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    check_rules(problems)?;
    check_queries(problems)?;
    for path in ["README.md", "CONTRIBUTING.md", ".ci/run"] {
        if !read(path)?.contains(TEST_COMMAND) {
            problems.add(path, format!("does not name the test command, `{TEST_COMMAND}`"));
        }
    }
    Ok(())
}

fn check_rules(problems: &mut Problems) -> Result<()> {
    let of_kind = |kind: &str| -> Result<Vec<String>> {
        let names = folder_names(&format!("queries/{kind}"))?;
        Ok(names.into_iter().map(|name| format!("queries/{kind}/{name}")).collect())
    };
    for folder in [of_kind("rules")?, of_kind("checks")?].concat() {
        let name = folder.rsplit('/').next().unwrap_or_default();
        if let Err(error) = check_name(name) {
            problems.add(&folder, error);
        }
        for file in RULE_FILES {
            let path = root().join(&folder).join(file);
            if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
                problems.add(format!("{folder}/{file}"), "missing or empty");
            }
        }
        for path in files(&folder)? {
            let is_rule_file = RULE_FILES.iter().any(|file| path.ends_with(file));
            if !is_rule_file {
                problems.add(path, format!("a rule is {}", RULE_FILES.join(", ")));
            }
        }
    }
    Ok(())
}

/// SQL names its columns: a column appended to a table changes no result.
fn check_queries(problems: &mut Problems) -> Result<()> {
    for path in files("queries")? {
        if path.extension().is_some_and(|extension| extension == "sql") {
            for (number, line) in (1..).zip(read(&path)?.lines()) {
                if line.contains("SELECT *") {
                    problems.add_line(&path, number, "`SELECT *`: name the columns");
                }
            }
        }
    }
    Ok(())
}
