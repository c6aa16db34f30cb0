//! [`Score`]: what the scorer of the recordings says of a folder of them, read from its words.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// The scorer lies beside the recordings, outside the repository.
const SCORER: &str = "../shared/tools/score.py";

/// Its exit code when it scored all, and when it scored what could be analyzed.
const SCORED: [i32; 2] = [0, 1];

/// Culprits found of all, findings that name one, and findings that nothing calls for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) found: usize,
    pub(super) of: usize,
    pub(super) right: usize,
    pub(super) wrong: usize,
}

/// A line of the scorer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The kind of a missed culprit, the rule of a wrong finding.
    pub(super) what: String,
    pub(super) file: String,
    pub(super) text: String,
}

/// What it says of a folder.
#[derive(Debug, Clone, Default)]
pub(super) struct Score {
    pub(super) figures: Figures,
    pub(super) missed: Vec<Verdict>,
    pub(super) wrong: Vec<Verdict>,
    /// Files that could not be analyzed, and why.
    pub(super) failed: Vec<String>,
}

/// Scores the binary over a folder of recordings and labels.
pub(super) fn score(binary: &Path, folder: &Path) -> Result<Score> {
    let mut scorer = Command::new("python3");
    scorer.arg(SCORER).arg("--bin").arg(binary).arg("--traces").arg(folder).arg("--verbose");
    let output = scorer.current_dir(root()).output().context("failed to start `python3`")?;
    if !output.status.code().is_some_and(|code| SCORED.contains(&code)) {
        bail!("`{SCORER}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

impl Score {
    /// Returns how many wrong findings a rule made.
    pub(super) fn wrong_of(&self, rule: &str) -> usize {
        self.wrong.iter().filter(|verdict| verdict.what == rule).count()
    }

    /// Puts the names that files had before in the place of those that they have now.
    pub(super) fn put_files(&mut self, before: &BTreeMap<String, String>) {
        for verdict in self.missed.iter_mut().chain(&mut self.wrong) {
            if let Some(name) = before.get(&verdict.file) {
                verdict.file.clone_from(name);
            }
        }
    }
}

/// Returns the verdicts that were not there before, by what and file.
pub(super) fn added<'a>(before: &[Verdict], after: &'a [Verdict]) -> Vec<&'a Verdict> {
    let mut rest: Vec<&Verdict> = before.iter().collect();
    let is_new = |verdict: &&Verdict| {
        let is_same = |old: &&Verdict| old.what == verdict.what && old.file == verdict.file;
        rest.iter().position(is_same).map(|place| rest.swap_remove(place)).is_none()
    };
    after.iter().filter(is_new).collect()
}

fn parse(text: &str) -> Result<Score> {
    let mut score = Score::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("missed ") {
            score.missed.extend(verdict(rest));
        } else if let Some(rest) = line.strip_prefix("wrong  ") {
            score.wrong.extend(verdict(rest));
        } else if let Some(rest) = line.strip_prefix("FAILED ") {
            score.failed.push(rest.to_owned());
        }
    }
    let last = text.lines().last().unwrap_or_default();
    score.figures = figures(last).with_context(|| format!("`{SCORER}` ended with `{last}`"))?;
    if score.figures.wrong != score.wrong.len() {
        bail!("`{SCORER}` counts {} wrong, names {}", score.figures.wrong, score.wrong.len());
    }
    Ok(score)
}

/// Returns what and file, the first words, with the line that they are of.
fn verdict(line: &str) -> Option<Verdict> {
    let mut words = line.split_whitespace();
    let (what, file) = (words.next()?.to_owned(), words.next()?.to_owned());
    let text = line.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(Verdict { what, file, text })
}

fn figures(line: &str) -> Result<Figures> {
    let found = number_after(line, "culprits found ")?;
    Ok(Figures {
        found,
        of: number_after(line, &format!("culprits found {found}/"))?,
        right: number_after(line, "findings right ")?,
        wrong: number_after(line, ", wrong ")?,
    })
}

fn number_after(line: &str, words: &str) -> Result<usize> {
    let (_, rest) = line.split_once(words).with_context(|| format!("expected `{words}`"))?;
    let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().with_context(|| format!("expected a number after `{words}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_words_of_the_scorer() {
        let text = "\
FAILED c.gz: exit 2: no spans
missed slow_query           a.gz  shop  GET /stats
wrong  uncovered-time       b.gz  shop  GET /cart  a subject
of two lines
culprit                found   of
slow_query                 0    1
wrong: uncovered-time            1
files 3, failed 1; culprits found 4/5, recall 0.800; findings right 6, wrong 1, precision 0.857
";
        let score = parse(text).expect("a score");
        assert_eq!(score.figures, Figures { found: 4, of: 5, right: 6, wrong: 1 });
        assert_eq!(score.missed[0].what, "slow_query");
        assert_eq!(score.wrong[0].text, "uncovered-time b.gz shop GET /cart a subject");
        assert_eq!((score.wrong_of("uncovered-time"), score.wrong_of("uncovered")), (1, 0));
        assert_eq!(score.failed, ["c.gz: exit 2: no spans"]);
        assert!(parse("Traceback").is_err());
    }

    #[test]
    fn what_is_new_is_told_from_what_was_there() {
        let verdict = |what: &str, file: &str| verdict(&format!("{what} {file}")).expect("words");
        let before = [verdict("a", "x"), verdict("b", "x")];
        let after = [verdict("b", "x"), verdict("b", "x"), verdict("a", "y")];
        let texts: Vec<&str> = added(&before, &after).iter().map(|new| &*new.text).collect();
        assert_eq!(texts, ["b x", "a y"]);
        let mut score = Score { wrong: after.to_vec(), ..Score::default() };
        score.put_files(&BTreeMap::from([("y".to_owned(), "x".to_owned())]));
        assert_eq!(added(&before, &score.wrong).len(), 1);
    }
}
