//! Cases of a rule: pages of Markdown whose sections hold spans and the findings they must give.
//!
//! A `##` section is a case once it has a block `spans`: one or more of them, each a file of its
//! own in [`notation`], at most one block `toml` (configuration), and exactly one
//! block `findings` with the lines expected, or the single word `clean` or `skipped`. Other
//! sections and other blocks are prose.
//!
//! Running a case is the rules' job. Read [`Case`] first.

pub mod notation;
mod page;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::notation::Notation;
use page::Section;

/// One section of a page that is a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub path: PathBuf,
    pub heading: String,
    /// The line of the heading, from 1.
    pub line: usize,
    /// The blocks of trace notation, each a file of its own.
    pub spans: Vec<String>,
    /// The first line of each, from 1.
    pub spans_at: Vec<usize>,
    /// Configuration that overrides thresholds, as TOML.
    pub config: Option<String>,
    /// The lines of the block `findings`.
    pub expected: Vec<String>,
}

/// Why a page cannot be read as cases.
#[derive(Debug, thiserror::Error)]
#[error("{}:{line}: {what}", path.display())]
pub struct CaseError {
    pub path: PathBuf,
    pub line: usize,
    pub what: String,
}

/// A case whose findings are not the expected ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    case: Box<Case>,
    actual: Vec<String>,
}

/// Reads the cases of a Markdown page.
///
/// # Errors
/// The page cannot be read, or a case is incomplete.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Case>, CaseError> {
    let path = path.as_ref();
    let text = fs::read_to_string(path).map_err(|error| CaseError {
        path: path.to_owned(),
        line: 1,
        what: format!("failed to read the page: {error}"),
    })?;
    parse(path, &text)
}

/// Reads the cases of the page `text`, which stands in `path`.
///
/// # Errors
/// The first case with a block missing, too many or never closed.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Case>, CaseError> {
    let sections = page::sections(text).map_err(|error| error.at(path))?;
    let mut cases: Vec<Case> = Vec::new();
    for section in sections.into_iter().filter(Section::is_case) {
        let case = section.into_case(path).map_err(|error| error.at(path))?;
        if cases.iter().any(|other| other.heading == case.heading) {
            let what = format!("`{}`: expected a heading of its own", case.heading);
            return Err(CaseError { path: case.path, line: case.line, what });
        }
        cases.push(case);
    }
    Ok(cases)
}

/// Compares what came out with what the page expects.
///
/// # Errors
/// The lines differ.
pub fn check(case: &Case, actual: &[String]) -> Result<(), Mismatch> {
    if case.expected == actual {
        return Ok(());
    }
    Err(Mismatch { case: Box::new(case.clone()), actual: actual.to_vec() })
}

/// Writes `actual` into the case's block `findings`.
///
/// # Errors
/// The page has changed since the case was read, or cannot be written.
pub fn update(case: &Case, actual: &[String]) -> Result<(), CaseError> {
    let wrong = |what: String| CaseError { path: case.path.clone(), line: case.line, what };
    let text = fs::read_to_string(&case.path)
        .map_err(|error| wrong(format!("failed to read the page: {error}")))?;
    let updated = page::with_findings(&text, &case.heading, actual)
        .ok_or_else(|| wrong(format!("the page lost its case `{}`", case.heading)))?;
    fs::write(&case.path, updated)
        .map_err(|error| wrong(format!("failed to write the page: {error}")))
}

impl Case {
    /// Returns the traces of all blocks.
    ///
    /// # Errors
    /// The first block that is no trace notation.
    pub fn notation(&self) -> Result<Notation, CaseError> {
        let block = |(text, at): (&String, &usize)| {
            notation::parse(text).map_err(|error| CaseError {
                path: self.path.clone(),
                line: at + error.line().unwrap_or(1) - 1,
                what: format!("`{}`: block `spans`, {error}", self.heading),
            })
        };
        let blocks = self.spans.iter().zip(&self.spans_at).map(block);
        Ok(Notation::join(blocks.collect::<Result<Vec<_>, _>>()?))
    }
}

impl Mismatch {
    /// Returns the lines expected with `-`, and those that came with `+`.
    pub fn lines(&self) -> String {
        let Self { case, actual } = self;
        let same = case.expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
        let shared = case.expected[..same].iter().map(|line| format!("  {line}"));
        let expected = case.expected[same..].iter().map(|line| format!("- {line}"));
        let came = actual[same..].iter().map(|line| format!("+ {line}"));
        let lines: Vec<String> = shared.chain(expected).chain(came).collect();
        format!("`{}`: findings differ\n{}", case.heading, lines.join("\n"))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:{}: {}", self.case.path.display(), self.case.line, self.lines())?;
        f.write_str("`TIMESINK_UPDATE=1` writes the lines with `+` into the page")
    }
}

impl std::error::Error for Mismatch {}
