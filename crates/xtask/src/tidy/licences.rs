//! Licences: every dependency may be taken under one that Apache-2.0 can ship with.
//!
//! Advisories are not checked: the list of them is not available offline.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use super::Problems;
use crate::workspace::cargo;

/// SPDX names of the licences we take.
/// MPL-2.0 is one of files: of a crate that is used as it is it asks nothing.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    let tree = ["tree", "--workspace", "--locked", "--prefix", "none"];
    let output = cargo(&tree)
        .args(["--edges", "normal,build,dev", "--format", "{l}|{p}"])
        .output()
        .context("failed to start `cargo`")?;
    if !output.status.success() {
        bail!("`cargo tree` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let lines: BTreeSet<&str> = std::str::from_utf8(&output.stdout)?.lines().collect();
    for (licence, package) in lines.iter().filter_map(|line| line.split_once('|')) {
        if !is_allowed(licence) {
            let name = package.split(" (").next().unwrap_or(package);
            problems.add("Cargo.lock", format!("`{name}` has the licence `{licence}`"));
        }
    }
    Ok(())
}

/// Returns whether a choice that the SPDX expression offers consists of allowed licences only.
fn is_allowed(expression: &str) -> bool {
    // The old spelling of `OR`; brackets become words of their own.
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    parse_or(&words, &mut at) == Some(true) && at == words.len()
}

fn parse_or(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut allowed = parse_and(words, at)?;
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        allowed |= parse_and(words, at)?;
    }
    Some(allowed)
}

fn parse_and(words: &[&str], at: &mut usize) -> Option<bool> {
    let mut allowed = parse_one(words, at)?;
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        allowed &= parse_one(words, at)?;
    }
    Some(allowed)
}

fn parse_one(words: &[&str], at: &mut usize) -> Option<bool> {
    let first = *words.get(*at)?;
    *at += 1;
    if first == "(" {
        let allowed = parse_or(words, at)?;
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return closed.then_some(allowed);
    }
    if words.get(*at) == Some(&"WITH") {
        let exception = words.get(*at + 1)?;
        *at += 2;
        return Some(ALLOWED.contains(&format!("{first} WITH {exception}").as_str()));
    }
    Some(ALLOWED.contains(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_licence_expressions() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("MIT/Apache-2.0", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-2.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
            ("Apache-2.0 WITH Other-exception", false),
            ("MIT OR GPL-2.0 AND GPL-3.0", true),
            ("", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(is_allowed(expression), expected, "{expression}");
        }
    }
}
