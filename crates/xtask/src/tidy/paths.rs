//! No file names a machine: no home folder, no checkout, no package mirror.

use std::path::Path;

use anyhow::Result;

use super::{Problems, is_excused};
use crate::workspace::{files, root};

/// Folders that hold people's homes.
const HOMES: [&str; 3] = ["home", "root", "Users"];

/// Settings that name a package mirror.
// tidy-allow(paths): the words looked for.
const MIRRORS: [&str; 3] = ["index-url", "replace-with", "[registries"];

/// Where packages come from in a lock file.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    let checkout = root().canonicalize()?.display().to_string();
    let mut machine: Vec<String> = HOMES.iter().map(|home| format!("/{home}/")).collect();
    machine.push(format!("{checkout}/"));
    for path in files("")? {
        // Recordings and other binary files are not ours to word.
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        check_text(&path, &text, &machine, problems);
    }
    Ok(())
}

fn check_text(path: &Path, text: &str, machine: &[String], problems: &mut Problems) {
    let lines: Vec<&str> = text.lines().collect();
    for (number, line) in (1..).zip(&lines) {
        let path_found = machine.iter().find(|found| names_path(line, found));
        let mirror = MIRRORS.iter().find(|word| line.contains(*word));
        let source = line.strip_prefix("source = \"").is_some_and(|s| !s.starts_with(REGISTRY));
        if is_excused(&lines, number - 1, "paths") {
            continue;
        }
        if let Some(found) = path_found {
            problems.add_line(path, number, format!("names a path of one machine, `{found}`"));
        }
        if let Some(found) = mirror {
            problems.add_line(path, number, format!("names a package mirror, `{found}`"));
        }
        if source && path.ends_with("Cargo.lock") {
            problems.add_line(path, number, "a package does not come from crates.io");
        }
    }
}

/// Returns whether the absolute path stands in the line: not inside a URL or a longer path.
fn names_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !"-_./}".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_paths_from_urls() {
        let home = format!("/{}/", HOMES[0]);
        assert!(names_path(&format!("see {home}me/x"), &home));
        assert!(names_path(&format!("`{home}me`"), &home));
        assert!(!names_path(&format!("https://example.org{home}me"), &home));
        assert!(!names_path("~/.cache", &home));
    }

    #[test]
    fn a_lock_file_names_one_registry() {
        let mut problems = Problems::default();
        let lock = format!("source = \"{REGISTRY}\"\nsource = \"registry+https://mirror\"\n");
        check_text(Path::new("Cargo.lock"), &lock, &[], &mut problems);
        assert_eq!(problems.lines.len(), 1, "{problems:?}");
    }
}
