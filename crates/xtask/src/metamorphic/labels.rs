//! [`Labels`]: what is known of each recording, `labels.csv`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The label of a root span on which nothing is to be blamed.
const NONE: &str = "none";

/// All labels, in their order.
#[derive(Debug, Clone)]
pub(super) struct Labels(pub(super) Vec<Label>);

/// A line of labels: the columns by their names, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label(Vec<(String, String)>);

impl Labels {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let named = || format!("failed to read labels `{}`", path.display());
        parse(&fs::read_to_string(path).with_context(named)?).with_context(named)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.text())
            .with_context(|| format!("failed to write labels `{}`", path.display()))
    }

    /// Returns the labels of a file.
    pub(super) fn of<'a>(&'a self, file: &'a str) -> impl Iterator<Item = &'a Label> {
        self.0.iter().filter(move |label| label.file() == file)
    }

    /// Returns the files in which there is nothing to blame, in order.
    pub(super) fn good_files(&self) -> BTreeSet<&str> {
        let files: BTreeSet<&str> = self.0.iter().map(Label::file).collect();
        files.into_iter().filter(|file| self.of(file).all(|label| !label.is_blamed())).collect()
    }

    fn text(&self) -> String {
        let header = self.0.first().map(|label| line(label.0.iter().map(|(name, _)| name)));
        let rows = self.0.iter().map(|label| line(label.0.iter().map(|(_, cell)| cell)));
        header.into_iter().chain(rows).collect()
    }
}

impl Label {
    /// Returns a column, empty where it is not there.
    pub(super) fn get(&self, column: &str) -> &str {
        self.0.iter().find(|(name, _)| name == column).map_or("", |(_, cell)| cell)
    }

    pub(super) fn put(&mut self, column: &str, text: String) {
        if let Some((_, cell)) = self.0.iter_mut().find(|(name, _)| name == column) {
            *cell = text;
        }
    }

    pub(super) fn file(&self) -> &str {
        self.get("file")
    }

    pub(super) fn kind(&self) -> &str {
        self.get("culprit_kind")
    }

    /// Returns whether anything at all is wrong with its root span.
    pub(super) fn is_blamed(&self) -> bool {
        self.kind() != NONE
    }

    /// Returns whether a rule is true in its file, whatever else is labelled.
    pub(super) fn also_true(&self, rule: &str) -> bool {
        self.get("also_true").split_whitespace().any(|name| name == rule)
    }
}

fn parse(text: &str) -> Result<Labels> {
    let mut rows = rows(text).into_iter();
    let header = rows.next().context("expected a header")?;
    let mut labels = Vec::new();
    for row in rows {
        if row.len() != header.len() {
            bail!("expected {} columns, found {}: {row:?}", header.len(), row.len());
        }
        labels.push(Label(header.iter().cloned().zip(row).collect()));
    }
    Ok(Labels(labels))
}

/// Returns the cells of each line of CSV (RFC 4180).
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut is_quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {}
            '\n' if !is_quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            char => cell.push(char),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

fn line<'a>(cells: impl Iterator<Item = &'a String>) -> String {
    let quoted = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_they_are_written() {
        let text = concat!(
            "file,culprit_kind,also_true,notes\r\n",
            "a.gz,none,x-rule y-rule,\"one, two\"\r\n",
            "b.gz,slow_query,,\"says \"\"no\"\"\nand more\"\r\n",
            "b.gz,none,,"
        );
        let labels = parse(text).expect("labels");
        assert_eq!(labels.0[0].get("notes"), "one, two");
        assert_eq!(labels.0[1].get("notes"), "says \"no\"\nand more");
        assert_eq!(labels.0[2].get("notes"), "");
        assert_eq!(labels.good_files().into_iter().collect::<Vec<_>>(), ["a.gz"]);
        assert!(labels.0[0].also_true("y-rule") && !labels.0[0].also_true("rule"));
        assert_eq!(parse(&labels.text()).expect("labels").0, labels.0);
        assert!(parse("a,b\n1\n").is_err() && parse("").is_err());
    }
}
