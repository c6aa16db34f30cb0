//! `metamorphic`: what is found must follow from what happened, not from how it was written down.
//!
//! Each part changes the labelled recordings in a way of which the effect on the findings is known,
//! runs the release binary over them and holds what it finds to a bar:
//!
//! - `score`: nothing is changed. Guards what the others are compared with.
//! - `rename`: services, routes and files get other names. Guards against rules that know a name.
//! - `times-half`, `times-triple`: all takes half or three times as long. Guards against thresholds
//!   that fit these recordings alone, and rules that count against times.
//! - `half-of-traces`: sampling keeps half of the traces. Guards against rules that need them all.
//! - `permute`, `duplicate`, `split`: exporters send in any order, twice, from many places. Guards
//!   the promise that equal spans give equal bytes.
//! - `shift`: it happened on another day. Guards against edges of windows and hours.
//! - `skew`: the clocks of one service are wrong. Guards the correction of clocks.
//! - `drop-unrelated`, `add-unrelated`: other services come and go. Guards against evidence that is
//!   taken from processes which have nothing to do with the finding.
//! - `silence`: the good twins alone. Guards the reader's trust.
//! - `healthy`: a minute of traffic of all good twins as one service. Guards against rules that are
//!   quiet only as long as they see little.
//!
//! [`PARTS`] lists them; the changes themselves are in [`transform`] and [`rename`], without I/O.

mod compared;
mod findings;
mod ground;
mod healthy;
mod labels;
mod random;
mod recordings;
mod rename;
mod scored;
mod scorer;
mod silence;
mod spans;
mod transform;
mod unrelated;

use anyhow::{Context, Result, bail};

use self::ground::{Ground, progress};
use self::scorer::Figures;
use crate::workspace::{cargo, release_binary, root, run as run_command};

/// The recordings lie beside the repository.
const TRACES: &str = "../shared/traces";

/// Spans of the healthy service, unless it is said otherwise.
const HEALTHY_SPANS: usize = 2_000_000;

/// Every part, in the order in which they run and are told.
const PARTS: [(&str, fn(&Ground) -> Result<Outcome>); 14] = [
    ("score", scored::untouched),
    ("rename", scored::renamed),
    ("times-half", scored::times_half),
    ("times-triple", scored::times_triple),
    ("half-of-traces", scored::half_of_traces),
    ("permute", compared::permute),
    ("duplicate", compared::duplicate),
    ("split", compared::split),
    ("shift", compared::shift),
    ("skew", compared::skew),
    ("drop-unrelated", unrelated::dropped),
    ("add-unrelated", unrelated::added),
    ("silence", silence::run),
    ("healthy", healthy::run),
];

/// What a part came to: one line of the table.
#[derive(Debug, Default)]
struct Outcome {
    /// Of parts that are scored.
    figures: Option<Figures>,
    bar: String,
    /// File, finding and what changed.
    violations: Vec<String>,
}

impl Outcome {
    fn holds(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Runs the parts that are asked for, or all, and prints what they came to.
///
/// # Errors
///
/// When a part does not hold, after all of them ran.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (parts, healthy_spans) = parse(words)?;
    if cfg!(debug_assertions) {
        println!("building in release mode");
        let release = ["run", "--release", "--quiet", "--bin", "xtask", "--", "metamorphic"];
        return run_command(&mut cargo(&[&release, words].concat()));
    }
    let ground = Ground::new(release_binary()?, &root().join(TRACES), healthy_spans)?;
    let mut outcomes = Vec::new();
    for (name, work) in PARTS.iter().filter(|(name, _)| parts.contains(name)) {
        progress(name);
        let outcome = work(&ground).unwrap_or_else(|error| Outcome {
            bar: "it runs".to_owned(),
            violations: vec![format!("failed: {error:#}")],
            ..Outcome::default()
        });
        for violation in &outcome.violations {
            println!("VIOLATION {name}: {violation}");
        }
        outcomes.push((*name, outcome));
    }
    ground.recordings.say_skipped();
    print_table(&outcomes);
    let broken: Vec<&str> =
        outcomes.iter().filter(|(_, outcome)| !outcome.holds()).map(|(name, _)| *name).collect();
    if !broken.is_empty() {
        bail!("{} of {} parts do not hold: {}", broken.len(), outcomes.len(), broken.join(", "));
    }
    Ok(())
}

/// Returns the names of the parts to run, and the spans of the healthy service.
fn parse(words: &[&str]) -> Result<(Vec<&'static str>, usize)> {
    let names = PARTS.map(|(name, _)| name);
    let (mut parts, mut spans) = (Vec::new(), HEALTHY_SPANS);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let value = rest.next().with_context(|| format!("expected a value after `{word}`"))?;
        match *word {
            "--part" => {
                let part = names.iter().find(|name| *name == value);
                let known = || format!("unknown part `{value}`, expected {}", names.join(", "));
                parts.push(*part.with_context(known)?);
            }
            "--spans" => spans = value.parse().context("expected a number of spans")?,
            _ => bail!("unknown option `{word}`, expected `--part NAME` or `--spans N`"),
        }
    }
    if parts.is_empty() {
        parts = names.to_vec();
    }
    Ok((parts, spans))
}

fn print_table(outcomes: &[(&str, Outcome)]) {
    println!(
        "\n{:16}{:>9}{:>7}{:>7}{:>12}  {:7}bar",
        "part", "culprits", "right", "wrong", "violations", "holds"
    );
    for (name, outcome) in outcomes {
        let cells = outcome.figures.map(|figures| {
            let Figures { found, of, right, wrong } = figures;
            [format!("{found}/{of}"), right.to_string(), wrong.to_string()]
        });
        let [culprits, right, wrong] = cells.unwrap_or_else(|| ["-"; 3].map(str::to_owned));
        let holds = if outcome.holds() { "yes" } else { "NO" };
        println!(
            "{name:16}{culprits:>9}{right:>7}{wrong:>7}{:>12}  {holds:7}{}",
            outcome.violations.len(),
            outcome.bar,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_options() {
        let (parts, spans) = parse(&[]).expect("no options are needed");
        assert_eq!((parts.len(), spans), (PARTS.len(), HEALTHY_SPANS));
        let words = ["--part", "skew", "--spans", "1000", "--part", "score"];
        let (parts, spans) = parse(&words).expect("known options");
        assert_eq!((parts, spans), (vec!["skew", "score"], 1000));
        assert!(parse(&["--part", "skewed"]).is_err());
        assert!(parse(&["--part"]).is_err() && parse(&["--parts", "skew"]).is_err());
    }
}
