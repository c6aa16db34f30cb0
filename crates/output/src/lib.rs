//! Findings as text for every reader: programs, pull requests, code scanning, people offline.
//!
//! Nothing here opens a file or prints, and nothing computes a finding. What a span contains is
//! never trusted: it reaches the output through [`safe`], and through the escaping of its format.
//! Read [`Report`] first; each format is a module with one function that writes it.

mod columns;
mod document;
mod error;
mod format;
mod github;
mod guide;
mod html;
mod markdown;
mod report;
pub mod safe;
mod sarif;
mod table;
#[cfg(test)]
mod test_support;
pub mod words;

use std::io::Write;

pub use columns::finding_json;
pub use error::Error;
pub use format::Format;
pub use github::ANNOTATIONS_MAX;
pub use html::{EXAMPLES_DRAWN, guide_html};
pub use markdown::MARKDOWN_CHARS_MAX;
pub use report::Report;
pub use table::{findings_batch, findings_of};

/// Writes a report.
///
/// The same report gives the same bytes.
///
/// # Errors
///
/// [`Error::Write`] when the output cannot be written to, [`Error::Internal`] when a template of
/// ours is broken.
pub fn write(format: Format, report: &Report<'_>, out: &mut dyn Write) -> Result<(), Error> {
    match format {
        Format::Json => document::write(report, out),
        Format::Jsonl => {
            columns::write_jsonl(report.findings, out)?;
            columns::write_jsonl(report.muted, out)
        }
        Format::Markdown => markdown::write(report, out),
        Format::Sarif => sarif::write(report, out),
        Format::Html => html::write(report, out),
        Format::Github => github::write(report, out),
    }
}
