//! Pages of cases, for tests: what cannot be read panics, and lines are written when asked for.

use std::path::Path;

pub use timesink_cases::{Case, Mismatch, parse};

/// Reads the cases of a Markdown page.
///
/// # Panics
/// The page cannot be read, or a case is incomplete.
pub fn cases(path: impl AsRef<Path>) -> Vec<Case> {
    timesink_cases::read(path).unwrap_or_else(|error| panic!("{error}"))
}

/// Compares what came out with what the page expects, or writes it into the page when
/// `TIMESINK_UPDATE=1` is set.
///
/// # Errors
/// The lines differ.
///
/// # Panics
/// The page cannot be written.
pub fn check(case: &Case, actual: &[String]) -> Result<(), Mismatch> {
    let checked = timesink_cases::check(case, actual);
    #[expect(clippy::disallowed_methods, reason = "asked for by the person who runs the tests")]
    let is_update = std::env::var("TIMESINK_UPDATE").is_ok_and(|value| value == "1");
    if checked.is_err() && is_update {
        timesink_cases::update(case, actual).unwrap_or_else(|error| panic!("{error}"));
        return Ok(());
    }
    checked
}
