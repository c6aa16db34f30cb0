//! Markdown: every relative link leads to a file.

use anyhow::Result;

use super::Problems;
use crate::workspace::{files, read, root};

pub(super) fn check(problems: &mut Problems) -> Result<()> {
    for path in files("")? {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let folder = root().join(&path);
        let folder = folder.parent().unwrap_or(root());
        for (number, line) in (1..).zip(read(&path)?.lines()) {
            for target in relative_links(line) {
                if !folder.join(target).exists() {
                    problems.add_line(&path, number, format!("no file at `{target}`"));
                }
            }
        }
    }
    Ok(())
}

/// Returns the targets of a line's links that are neither addresses nor places in the page.
fn relative_links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .filter_map(|(target, _)| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains(':') && !target.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_relative_links_only() {
        let line = "[a](b.md#c) and [d](https://e.org/f) and [g](#h), a[i](j) [k](../l/m.md)";
        assert_eq!(relative_links(line).collect::<Vec<_>>(), ["b.md", "j", "../l/m.md"]);
    }
}
