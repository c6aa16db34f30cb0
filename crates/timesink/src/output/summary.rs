//! What a run looked at: how each rule fared, and what of the input was refused or mended.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use timesink_output::words::{self, Line};
use timesink_rules::{Analysis, RuleRun};
use timesink_store::log::Replayed;

use super::wrap::wrap;
use super::{Console, safe};
use crate::analysis::Shown;
use crate::input::{Damaged, Input, with_our_options};

/// Before the labels.
const INDENT: &str = "  ";

/// The width of the labels and what separates them from their text.
const LABEL_COLUMNS: usize = 13;

/// Where to read on.
const GUIDES: &str = "`timesink rules show RULE`; each step of a rule on a trace: \
                      `timesink explain TRACE --rule RULE FILES`";

/// Broken parts of a file that a warning names.
const BROKEN_SHOWN: usize = 3;

/// Writes the summary that closes a report.
pub(crate) fn write_summary(
    console: &mut Console,
    analysis: &Analysis,
    input: &Input,
    headline: &str,
) -> Result<()> {
    writeln!(console.out, "{}", console.paint.bold(headline))?;
    // Rules that had nothing to look at are neither clean nor skipped.
    let runs = if analysis.spans > 0 { analysis.runs.as_slice() } else { &[] };
    let mut lines = words::muted(&analysis.muted, &analysis.mutes_over);
    lines.extend(words::outcomes(runs));
    lines.extend(losses(input));
    lines.extend(words::repeats(analysis.repeated_spans));
    if !analysis.findings.is_empty() {
        lines.push(("guides", GUIDES.to_owned()));
    }
    write_lines(console, lines)
}

/// Writes lines of a summary, wrapped, each beside its label.
pub(super) fn write_lines(console: &mut Console, lines: Vec<Line>) -> Result<()> {
    let (paint, columns) = (console.paint, console.columns);
    for (label, text) in lines {
        let texts = wrap(&safe::line(&text), columns - INDENT.len() - LABEL_COLUMNS);
        for (number, text) in texts.iter().enumerate() {
            let label = if number == 0 { label } else { "" };
            let label = paint.dim(&format!("{label:<LABEL_COLUMNS$}"));
            writeln!(console.out, "{INDENT}{label}{text}")?;
        }
    }
    Ok(())
}

/// Warns of all that makes a report less than whole: refused spans, failed rules.
///
/// Reports for programs have no summary, so that these are all they are told.
pub(crate) fn write_warnings(console: &Console, analysis: &Analysis, input: &Input) {
    if analysis.spans == 0 {
        console.warn(&Shown::all(analysis, 0).headline());
    }
    warn_of_losses(console, input);
    for failure in analysis.runs.iter().filter_map(RuleRun::failure) {
        console.warn(&failure);
    }
}

/// Warns of spans that are not in the tables as they arrived.
pub(crate) fn warn_of_losses(console: &Console, input: &Input) {
    for (label, text) in losses(input) {
        console.warn(&format!("{label}: {text}"));
    }
}

/// Says what a log lacks of what was acknowledged.
pub(crate) fn warn_of_lost_records(console: &Console, replayed: &Replayed) {
    let lost = &replayed.lost;
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        let records = replayed.records_lost();
        console.warn(&format!(
            "the log is damaged: {records} of its records that were safe, between {} and {}, \
             cannot be read, and their spans are lost",
            first.start(),
            last.end()
        ));
    }
}

/// Warns of files of which a part could not be read.
pub(crate) fn warn_of_damage(console: &Console, damaged: &[Damaged]) {
    for file in damaged {
        console.error(&damage(file));
    }
}

fn damage(Damaged { name, broken, count }: &Damaged) -> String {
    let parts = if *count == 1 { "a part".to_owned() } else { format!("{count} parts") };
    let shown = broken.iter().take(BROKEN_SHOWN).map(|b| with_our_options(&b.to_string()));
    let mut text = format!("{parts} of `{name}` could not be read, the rest was");
    for place in shown {
        text.push('\n');
        text.push_str(&place);
    }
    if *count > BROKEN_SHOWN as u64 {
        let _ = write!(text, "\nand {} more", count - BROKEN_SHOWN as u64);
    }
    text
}

/// What of the input is not among the spans as it arrived, and why.
pub(super) fn losses(input: &Input) -> Vec<Line> {
    let decoded = &input.decoded;
    words::losses(&decoded.rejected, &decoded.quarantine, &decoded.repaired)
}

/// Returns what a report has to say of its input, each in a sentence.
pub(crate) fn notices(analysis: &Analysis, input: &Input) -> Vec<String> {
    let damaged = input.damaged.iter().map(|file| damage(file).replace('\n', "; "));
    let lines = losses(input).into_iter().chain(words::repeats(analysis.repeated_spans));
    damaged.chain(lines.map(|(label, text)| format!("{label}: {text}"))).collect()
}
