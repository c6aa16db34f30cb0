//! Parts whose changed recordings are scored as the ones they are made of.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::Outcome;
use super::ground::{Ground, progress};
use super::labels::{Label, Labels};
use super::recordings::write;
use super::rename::{rename, rename_label};
use super::scorer::{Figures, Score, added, score};
use super::transform::{Factor, sample, scale};

/// Bars of the recordings as they are.
const FOUND_MIN: usize = 43;
const WRONG_MAX: usize = 1;

const HALF: Factor = Factor { over: 1, under: 2 };
const TRIPLE: Factor = Factor { over: 3, under: 1 };

/// Culprits that may be lost where all takes another time: some are slow only by the clock.
const LOST_BY_TIME_MAX: usize = 4;

/// Rules that count, and that compare times with times.
const RULES_WITHOUT_TIME: [&str; 7] = [
    "n-plus-one-query",
    "n-plus-one-cache",
    "n-plus-one-call",
    "duplicate-query",
    "blocking-event-loop",
    "retry-storm",
    "abandoned-work",
];

/// Samples are drawn by these; the bar is for the median of them.
const SEEDS: [&str; 3] = ["1", "2", "3"];
const LOST_BY_SAMPLING_MAX: usize = 2;
const WRONG_BY_SAMPLING_MAX: usize = 1;

/// Culprits of which a sample may hold nothing: they are in one trace, or in what lies between.
const NOT_SAMPLED: [&str; 2] = ["cold_start", "broken_trace"];

pub(super) fn untouched(ground: &Ground) -> Result<Outcome> {
    let score = ground.score()?;
    let Figures { found, wrong, .. } = score.figures;
    let mut violations = score.failed.clone();
    if found < FOUND_MIN {
        let texts: Vec<&str> = score.missed.iter().map(|missed| missed.text.as_str()).collect();
        violations.push(format!("{found} culprits found; missed: {}", texts.join("; ")));
    }
    if wrong > WRONG_MAX {
        violations.extend(score.wrong.iter().map(|wrong| format!("wrong: {}", wrong.text)));
    }
    let bar = format!("at least {FOUND_MIN} culprits, at most {WRONG_MAX} wrong");
    Ok(Outcome { figures: Some(score.figures), bar, violations })
}

pub(super) fn renamed(ground: &Ground) -> Result<Outcome> {
    let before = ground.score()?;
    let folder = ground.folder()?;
    let (mut labels, mut names) = (Vec::new(), BTreeMap::new());
    for (number, name) in ground.recordings.names.iter().enumerate() {
        ground.say_file("rename", number);
        let other = format!("f{:03}.gz", number + 1);
        let mut messages = ground.recordings.messages(name)?;
        let words = rename(&mut messages);
        write(&folder.path().join(&other), &messages)?;
        for mut label in ground.labels.of(name).cloned() {
            rename_label(&mut label, &words);
            label.put("file", other.clone());
            labels.push(label);
        }
        names.insert(other, name.clone());
    }
    Labels(labels).write(&folder.path().join("labels.csv"))?;
    progress("rename: scoring");
    let mut after = score(&ground.binary, folder.path())?;
    after.put_files(&names);
    let mut violations = after.failed.clone();
    violations.extend(changes(before, &after));
    if violations.is_empty() && before.figures != after.figures {
        violations.push(format!("{:?} -> {:?}", before.figures, after.figures));
    }
    let bar = "the same score as `score`".to_owned();
    Ok(Outcome { figures: Some(after.figures), bar, violations })
}

pub(super) fn times_half(ground: &Ground) -> Result<Outcome> {
    times(ground, "times-half", HALF)
}

pub(super) fn times_triple(ground: &Ground) -> Result<Outcome> {
    times(ground, "times-triple", TRIPLE)
}

fn times(ground: &Ground, part: &str, factor: Factor) -> Result<Outcome> {
    let before = ground.score()?;
    let after = changed(ground, part, &ground.labels, |messages| scale(messages, factor))?;
    say_changes(part, before, &after);
    let mut violations = after.failed.clone();
    let (found, now) = (before.figures.found, after.figures.found);
    if now + LOST_BY_TIME_MAX < found {
        violations.push(format!("{now} culprits found, {found} before"));
    }
    for rule in RULES_WITHOUT_TIME {
        if after.wrong_of(rule) > before.wrong_of(rule) {
            let new = added(&before.wrong, &after.wrong);
            let of_rule = new.iter().filter(|verdict| verdict.what == rule);
            violations.extend(of_rule.map(|verdict| format!("wrong: {}", verdict.text)));
        }
    }
    let bar = format!(
        "at most {LOST_BY_TIME_MAX} culprits fewer, not one more wrong of rules without a time"
    );
    Ok(Outcome { figures: Some(after.figures), bar, violations })
}

pub(super) fn half_of_traces(ground: &Ground) -> Result<Outcome> {
    const PART: &str = "half-of-traces";
    let labels = sampled_labels(&ground.labels);
    progress(&format!("{PART}: the same files, whole"));
    let before = changed(ground, PART, &labels, |_| {})?;
    let (mut all, mut violations): (Vec<Figures>, Vec<String>) = (Vec::new(), Vec::new());
    for seed in SEEDS {
        progress(&format!("{PART}: seed {seed}"));
        let after = changed(ground, PART, &labels, |messages| sample(messages, seed))?;
        say_changes(&format!("{PART}, seed {seed}"), &before, &after);
        violations.extend(after.failed.iter().map(|failed| format!("seed {seed}: {failed}")));
        all.push(after.figures);
    }
    let figures = Figures {
        found: median(all.iter().map(|figures| figures.found)),
        of: before.figures.of,
        right: median(all.iter().map(|figures| figures.right)),
        wrong: median(all.iter().map(|figures| figures.wrong)),
    };
    let Figures { found, wrong, .. } = before.figures;
    if figures.found + LOST_BY_SAMPLING_MAX < found {
        violations.push(format!("{} culprits found, {found} before", figures.found));
    }
    if figures.wrong > wrong + WRONG_BY_SAMPLING_MAX {
        violations.push(format!("{} wrong, {wrong} before", figures.wrong));
    }
    let bar = format!(
        "median of {}: at most {LOST_BY_SAMPLING_MAX} culprits fewer than {found}, at most \
         {WRONG_BY_SAMPLING_MAX} more wrong than {wrong}",
        SEEDS.len()
    );
    Ok(Outcome { figures: Some(figures), bar, violations })
}

/// Returns the labels of files of which half of the traces can show what is labelled.
fn sampled_labels(labels: &Labels) -> Labels {
    let is_aside = |label: &Label| {
        let traces: usize = label.get("traces_in_file").parse().unwrap_or_default();
        NOT_SAMPLED.contains(&label.kind()) || traces <= 1
    };
    let is_kept = |label: &&Label| !labels.of(label.file()).any(is_aside);
    Labels(labels.0.iter().filter(is_kept).cloned().collect())
}

fn median(numbers: impl Iterator<Item = usize>) -> usize {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

/// Scores changed copies of the recordings that have labels.
fn changed(
    ground: &Ground,
    part: &str,
    labels: &Labels,
    change: impl Fn(&mut [Value]),
) -> Result<Score> {
    let folder = ground.folder()?;
    let mut written = Vec::new();
    for (number, name) in ground.recordings.names.iter().enumerate() {
        if labels.of(name).next().is_none() {
            continue;
        }
        ground.say_file(part, number);
        let mut messages = ground.recordings.messages(name)?;
        change(&mut messages);
        write(&folder.path().join(name), &messages)?;
        written.extend(labels.of(name).cloned());
    }
    Labels(written).write(&folder.path().join("labels.csv"))?;
    progress(&format!("{part}: scoring"));
    score(&ground.binary, folder.path())
}

/// Returns how a score differs, culprit by culprit and finding by finding.
fn changes(before: &Score, after: &Score) -> Vec<String> {
    let kinds = [
        ("lost", added(&before.missed, &after.missed)),
        ("found now", added(&after.missed, &before.missed)),
        ("wrong", added(&before.wrong, &after.wrong)),
        ("wrong no more", added(&after.wrong, &before.wrong)),
    ];
    let lines = kinds.into_iter().flat_map(|(kind, verdicts)| {
        verdicts.into_iter().map(move |v| format!("{kind}: {} ({})", v.text, v.file))
    });
    lines.collect()
}

fn say_changes(part: &str, before: &Score, after: &Score) {
    for change in changes(before, after) {
        println!("{part}: {change}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!((median([9, 1, 5].into_iter()), median([].into_iter())), (5, 0));
    }
}
