//! `bench`: how fast each stage and the whole command are over all recordings, and at what memory.
//!
//! A stage runs in this process, in release mode; [`stages::all`] lists them. The whole command is
//! the release binary: over the recordings as OTLP JSON and as protobuf, over many copies of them,
//! which tell how memory grows, and over a few spans, which tell how long it takes to start. Every
//! figure is the median of the runs.

pub(crate) mod input;
mod stages;
mod whole;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::workspace::{cargo, release_binary, root, run as run_command};

/// The recordings lie beside the repository.
const TRACES: &str = "../shared/traces";
const RUNS: usize = 7;

struct Options {
    traces: PathBuf,
    runs: usize,
}

/// The copies over which memory is measured to grow.
const COPIES: u8 = 20;

/// The spans of a file that takes nothing but the start.
const FEW: usize = 100;

/// One line of the table.
#[derive(Debug)]
struct Measure {
    name: &'static str,
    median: Duration,
    /// Known for the whole command only: a stage shares this process with its input.
    peak_bytes: Option<u64>,
    /// Where they are not those of the recordings.
    spans: Option<usize>,
    /// Whether every rule ran to its end.
    is_whole: bool,
}

impl Measure {
    fn of(name: &'static str, median: Duration) -> Self {
        Self { name, median, peak_bytes: None, spans: None, is_whole: true }
    }
}

/// Measures and prints the table.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let options = parse(words)?;
    if cfg!(debug_assertions) {
        println!("building in release mode");
        let release = ["run", "--release", "--quiet", "--bin", "xtask", "--", "bench"];
        return run_command(cargo(&release).args(words));
    }
    let input = input::join(&options.traces)?;
    let (decoded, mut measures) = stages::all(&input, options.runs)?;
    let spans = stages::count(&decoded);
    let binary = release_binary()?;
    let mut measure = |name, file: &Path, spans| {
        measures.push(whole::measure(name, &binary, file, spans, options.runs)?);
        anyhow::Ok(measures.last().and_then(|measure| measure.peak_bytes))
    };
    let few = input::few(&decoded, FEW)?;
    let protobuf = input::protobuf(&decoded)?;
    drop(decoded);
    measure("analyze 100 spans", &few, FEW)?;
    measure("analyze protobuf", &protobuf, spans)?;
    let once = measure("analyze JSON", &input.path, spans)?;
    let copies = input::copies(&input, COPIES)?;
    let many = measure("analyze 20 copies", &copies, spans * usize::from(COPIES))?;
    std::fs::remove_file(copies)?;
    print_table(&input, spans, options.runs, &measures);
    if let (Some(once), Some(many)) = (once, many) {
        let added = spans * usize::from(COPIES - 1);
        println!(
            "\ngrowth from 1 to {COPIES} copies: {} bytes a span",
            (many - once) / added as u64
        );
    }
    Ok(())
}

fn parse(words: &[&str]) -> Result<Options> {
    let mut options = Options { traces: root().join(TRACES), runs: RUNS };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let value = rest.next().with_context(|| format!("expected a value after `{word}`"))?;
        match *word {
            "--traces" => options.traces = PathBuf::from(value),
            "--runs" => options.runs = value.parse().context("expected a number of runs")?,
            _ => bail!("unknown option `{word}`, expected `--traces DIR` or `--runs N`"),
        }
    }
    if options.runs == 0 {
        bail!("expected at least one run");
    }
    Ok(options)
}

/// Returns the median time of `work`, and what it returned last.
fn median<T>(runs: usize, mut work: impl FnMut() -> Result<T>) -> Result<(Duration, T)> {
    let mut times = Vec::with_capacity(runs);
    let mut last = None;
    for _ in 0..runs {
        // What the run before returned is not freed on this run's time.
        drop(last.take());
        let start = Instant::now();
        last = Some(work()?);
        times.push(start.elapsed());
    }
    Ok((middle(times), last.context("there was at least one run")?))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn print_table(input: &input::Input, spans: usize, runs: usize, measures: &[Measure]) {
    let megabytes = input.bytes.len() as f64 / 1e6;
    println!("{} recordings, {spans} spans, {megabytes:.1} MB of OTLP JSON", input.files);
    println!("median of {runs} runs\n");
    println!("{:40}{:>10}{:>14}{:>12}", "stage", "ms", "spans/s", "peak MiB");
    for measure in measures {
        let seconds = measure.median.as_secs_f64();
        let peak = measure.peak_bytes.map(|bytes| format!("{:.0}", bytes as f64 / 1_048_576.0));
        println!(
            "{:40}{:>10.1}{:>14.0}{:>12}{}",
            measure.name,
            seconds * 1e3,
            measure.spans.unwrap_or(spans) as f64 / seconds,
            peak.unwrap_or_else(|| "-".to_owned()),
            if measure.is_whole { "" } else { "  (a rule reached a limit)" },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_its_options() {
        let options = parse(&["--runs", "3", "--traces", "data"]).expect("options");
        assert_eq!((options.runs, options.traces), (3, PathBuf::from("data")));
        for wrong in [&["--runs"][..], &["--runs", "0"], &["--rounds", "3"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_stage_runs_on_the_recordings() {
        let input = input::join(&root().join("tests/data")).expect("recordings");
        let (decoded, measures) = stages::all(&input, 1).expect("every stage runs");
        let spans = stages::count(&decoded);
        assert!(input.files > 1 && spans > 1000, "{} files, {spans} spans", input.files);
        assert!(!measures.is_empty());
    }

    #[test]
    fn the_median_is_the_middle_run() {
        let times = [30, 10, 20].map(Duration::from_millis);
        assert_eq!(middle(times.to_vec()), times[2]);
    }
}
