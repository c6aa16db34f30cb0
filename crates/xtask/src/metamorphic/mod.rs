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

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use self::ground::{Ground, progress};
use self::scorer::Figures;
use crate::workspace::{cargo, release_binary, root, run as run_command};

/// The recordings lie beside the repository.
const TRACES: &str = "../shared/traces";

/// Spans of the healthy service, unless it is said otherwise.
const HEALTHY_SPANS: usize = 2_000_000;

/// A part's name, and what it does.
type Part = (&'static str, fn(&Ground) -> Result<Outcome>);

/// Every part, in the order in which they run and are told.
const PARTS: [Part; 14] = [
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
    let Asked { parts, healthy_spans, binary } = parse(words)?;
    if cfg!(debug_assertions) && binary.is_none() {
        println!("building in release mode");
        let release = ["run", "--release", "--quiet", "--bin", "xtask", "--", "metamorphic"];
        return run_command(&mut cargo(&[&release, words].concat()));
    }
    let binary = binary.map_or_else(release_binary, Ok)?;
    let ground = Ground::new(binary, &root().join(TRACES), healthy_spans)?;
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

/// What is to be run.
#[derive(Debug)]
struct Asked {
    parts: Vec<&'static str>,
    healthy_spans: usize,
    /// A binary that is there, in the place of one that is built.
    binary: Option<PathBuf>,
}

fn parse(words: &[&str]) -> Result<Asked> {
    let names = PARTS.map(|(name, _)| name);
    let mut asked = Asked { parts: Vec::new(), healthy_spans: HEALTHY_SPANS, binary: None };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let value = rest.next().with_context(|| format!("expected a value after `{word}`"))?;
        match *word {
            "--part" => {
                let part = names.iter().find(|name| *name == value);
                let known = || format!("unknown part `{value}`, expected {}", names.join(", "));
                asked.parts.push(*part.with_context(known)?);
            }
            "--spans" => {
                asked.healthy_spans = value.parse().context("expected a number of spans")?;
            }
            "--bin" => asked.binary = Some(PathBuf::from(value)),
            _ => bail!("unknown option `{word}`, expected `--part`, `--spans` or `--bin`"),
        }
    }
    if asked.parts.is_empty() {
        asked.parts = names.to_vec();
    }
    Ok(asked)
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
    use std::path::Path;

    use super::*;

    #[test]
    fn reads_its_options() {
        let asked = parse(&[]).expect("no options are needed");
        assert_eq!((asked.parts.len(), asked.healthy_spans), (PARTS.len(), HEALTHY_SPANS));
        let words = ["--part", "skew", "--spans", "1000", "--part", "score", "--bin", "a/b"];
        let asked = parse(&words).expect("known options");
        assert_eq!((asked.parts, asked.healthy_spans), (vec!["skew", "score"], 1000));
        assert_eq!(asked.binary.as_deref(), Some(Path::new("a/b")));
        assert!(parse(&["--part", "skewed"]).is_err());
        assert!(parse(&["--part"]).is_err() && parse(&["--parts", "skew"]).is_err());
    }
}
