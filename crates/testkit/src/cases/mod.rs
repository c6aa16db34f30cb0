//! Cases in Markdown: a page's sections with blocks of spans and the findings they must give.
//!
//! A `##` section is a case once it has a block `spans`: one or more of them, each a file of its
//! own in [`notation`], at most one block `toml` (configuration), and exactly one
//! block `findings` with the lines expected, or the single word `clean` or `skipped`. Other
//! sections and other blocks are prose.
//!
//! Running the case is left to the caller, who hands the lines that came out to [`check`]. With
//! `TIMESINK_UPDATE=1` in the environment [`check`] writes them into the page instead. Read
//! [`Case`] first.

mod page;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::notation::{self, Notation};
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
/// # Panics
/// The page cannot be read, or a case is incomplete.
pub fn cases(path: impl AsRef<Path>) -> Vec<Case> {
    let path = path.as_ref();
    let text = fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("failed to read `{}`: {error}", path.display()));
    parse(path, &text).unwrap_or_else(|error| panic!("{error}"))
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

/// Compares what came out with what the page expects, or writes it into the page when
/// `TIMESINK_UPDATE=1` is set.
///
/// # Errors
/// The lines differ.
pub fn check(case: &Case, actual: &[String]) -> Result<(), Mismatch> {
    if case.expected == actual {
        return Ok(());
    }
    #[expect(clippy::disallowed_methods, reason = "asked for by the person who runs the tests")]
    let is_update = std::env::var("TIMESINK_UPDATE").is_ok_and(|value| value == "1");
    if is_update {
        update(case, actual);
        return Ok(());
    }
    Err(Mismatch { case: Box::new(case.clone()), actual: actual.to_vec() })
}

/// Writes `actual` into the case's block `findings`.
///
/// # Panics
/// The page has changed since the case was read, or cannot be written.
pub fn update(case: &Case, actual: &[String]) {
    let path = &case.path;
    let text = fs::read_to_string(path).expect("the page was read before");
    let updated = page::with_findings(&text, &case.heading, actual)
        .unwrap_or_else(|| panic!("`{}` lost its case `{}`", path.display(), case.heading));
    fs::write(path, updated)
        .unwrap_or_else(|error| panic!("failed to write `{}`: {error}", path.display()));
}

impl Case {
    /// Returns the traces of all blocks.
    ///
    /// # Panics
    /// A block is not trace notation; the message says where.
    pub fn notation(&self) -> Notation {
        let block = |text: &String| {
            notation::parse(text).unwrap_or_else(|error| {
                let path = self.path.display();
                panic!("{path}:{}: `{}`: block `spans`, {error}", self.line, self.heading)
            })
        };
        Notation::join(self.spans.iter().map(block))
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, actual } = self;
        writeln!(f, "{}:{}: `{}`: findings differ", case.path.display(), case.line, case.heading)?;
        let same = case.expected.iter().zip(actual).take_while(|(a, b)| a == b).count();
        for line in &case.expected[..same] {
            writeln!(f, "  {line}")?;
        }
        for line in &case.expected[same..] {
            writeln!(f, "- {line}")?;
        }
        for line in &actual[same..] {
            writeln!(f, "+ {line}")?;
        }
        f.write_str("`TIMESINK_UPDATE=1 cargo test` writes the lines with `+` into the page")
    }
}

impl std::error::Error for Mismatch {}
