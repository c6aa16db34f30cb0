//! `store`: what keeping spans costs, how much room they take, and how fast they are found again.
//!
//! The release binary takes the recordings over gRPC, again and again, each time as those of other
//! processes that run now, each export safe on the disk before it is answered. What it wrote is
//! measured then. What misses its bar fails in the end.

mod bars;
mod fill;
mod history;
mod overload;
mod queries;
mod restart;
mod spliced;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use timesink_tables::{Look, Wanted};
use tokio::runtime::Runtime;

use self::bars::Bars;
use crate::bench::input;
use crate::ingest::process::cpu_time_of_commands;
use crate::workspace::{cargo, release_binary, root, run as run_command, target};

/// The recordings lie beside the repository.
const TRACES: &str = "../shared/traces";

/// What is measured alone with `--part`; `queries` are those of `--data`, once that is there.
const PARTS: [&str; 6] = ["rates", "overload", "restart", "joining", "kept", "queries"];

/// Spans that are stored, unless it is said otherwise.
const SPANS: usize = 10_000_000;

/// Looks for a trace, each in a process of its own.
const LOOKUPS: usize = 11;

/// The rates at which the time to an answer is measured, spans a second, and for how long.
const RATES: [usize; 2] = [30_000, 60_000];
const RATE_TIME: Duration = Duration::from_secs(20);

/// Bars: bytes of a span in `spans` and in all tables, milliseconds until a trace is found.
const SPAN_BYTES_MAX: [f64; 2] = [60.0, 90.0];
const LOOKUP_MILLIS_MAX: f64 = 200.0;

/// Measures and prints.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (mut spans, mut keep, mut part) = (SPANS, None, None);
    let mut rest = words;
    while let [option, value, others @ ..] = rest {
        match (*option, *value) {
            ("--spans", count) => spans = count.parse().context("expected a number of spans")?,
            ("--data", folder) => keep = Some(folder),
            ("--part", name) if PARTS.contains(&name) => part = Some(name),
            _ => break,
        }
        rest = others;
    }
    if !rest.is_empty() {
        bail!(
            "`store` has the options `--spans N`, `--data DIR` and `--part {}`, found `{}`",
            PARTS.join("|"),
            rest.join(" ")
        );
    }
    let is_wanted = |name: &str| part.is_none_or(|part| part == name);
    if cfg!(debug_assertions) {
        println!("building in release mode");
        let release = ["run", "--release", "--quiet", "--bin", "xtask", "--", "store"];
        return run_command(&mut cargo(&[&release, words].concat()));
    }
    let binary = release_binary()?;
    let bars = &mut Bars::default();
    // Beside the build, on a real disk: `/tmp` may be memory.
    let folder = tempfile::tempdir_in(target()?)?;
    let made = folder.path().join("data");
    let data = keep.map_or(made.as_path(), Path::new);
    match part {
        Some("queries") if !data.exists() => {
            bail!("`--part queries` asks those of `--data DIR`, which `--part kept` makes")
        }
        Some(name) if data.exists() && !["queries", "kept"].contains(&name) => {
            bail!("`--part {name}` fills a new data directory, and `{}` is there", data.display())
        }
        _ => {}
    }
    if !data.exists() {
        let input = input::join_begun_together(&root().join(TRACES))?;
        for rate in RATES.iter().filter(|_| is_wanted("rates")) {
            let at_rate = folder.path().join(format!("at-{rate}"));
            fill::at_rate(&input, &at_rate, *rate, RATE_TIME, bars)?;
            std::fs::remove_dir_all(&at_rate)?;
        }
        if is_wanted("overload") {
            overload::twice(&input, folder.path(), bars)?;
        }
        if is_wanted("restart") {
            let killed = folder.path().join("killed");
            restart::after_a_kill(&input, &killed, bars)?;
            std::fs::remove_dir_all(&killed)?;
        }
        if is_wanted("joining") {
            let joining = folder.path().join("joining");
            fill::all(&input, &joining, spans, fill::LONG_OVER, bars)?;
            say_size(&binary, &joining, "joined meanwhile")?;
            std::fs::remove_dir_all(&joining)?;
        }
        if !is_wanted("kept") {
            return std::mem::take(bars).end();
        }
        fill::all(&input, data, spans, fill::JUST_OVER, bars)?;
        say_size(&binary, data, "as it was flushed")?;
        let copy = folder.path().join("spliced");
        println!();
        spliced::join(data, &copy)?;
        say_size(&binary, &copy, "spliced")?;
        look_up(&binary, &copy, bars)?;
        queries::side_by_side(&copy, bars)?;
        std::fs::remove_dir_all(&copy)?;
        let (began, cpu) = (Instant::now(), cpu_time_of_commands()?);
        run_command(Command::new(&binary).args(["store", "compact", "--data"]).arg(data))?;
        let (took, cpu) = (began.elapsed(), cpu_time_of_commands()?.saturating_sub(cpu));
        println!("joined in {:.1} s, {:.1} s of CPU", took.as_secs_f64(), cpu.as_secs_f64());
    }
    if is_wanted("kept") {
        say_size(&binary, data, "joined")?;
        check_size(data, bars)?;
        look_up(&binary, data, bars)?;
        history::both_ways(&binary, data, folder.path())?;
    }
    queries::side_by_side(data, bars)?;
    std::mem::take(bars).end()
}

/// Looks at how many bytes a span has in files.
fn check_size(data: &Path, bars: &mut Bars) -> Result<()> {
    let look = Runtime::new()?.block_on(Look::at(data, Wanted::Walked, u64::MAX))?;
    let walked = look.walked.iter().flat_map(|walked| [&walked.facts, &walked.gaps]);
    let of_spans = look.spans.files()?;
    let rows = of_spans.iter().filter_map(|file| file.rows).sum::<u64>() as f64;
    let spans = of_spans.iter().map(|file| file.bytes).sum::<u64>();
    let mut all = spans;
    for table in walked {
        all += table.files()?.iter().map(|file| file.bytes).sum::<u64>();
    }
    bars.at_most("bytes a span in `spans`", spans as f64 / rows, SPAN_BYTES_MAX[0]);
    bars.at_most("bytes a span with facts and gaps", all as f64 / rows, SPAN_BYTES_MAX[1]);
    Ok(())
}

/// Prints rows and bytes of a data directory.
fn say_size(binary: &Path, data: &Path, what: &str) -> Result<()> {
    println!("\n{what}:");
    run_command(Command::new(binary).args(["store", "info", "--data"]).arg(data))
}

/// Measures how long a new process takes to find a trace.
fn look_up(binary: &Path, data: &Path, bars: &mut Bars) -> Result<()> {
    let mut times = Vec::new();
    for trace_id in queries::some_traces(data, LOOKUPS)? {
        let query = format!("SELECT * FROM spans WHERE trace_id = '{trace_id}'");
        let began = Instant::now();
        let output = Command::new(binary)
            .args(["sql", "--format", "json", "--data"])
            .arg(data)
            .arg(query)
            .output()?;
        times.push(began.elapsed());
        if !output.status.success() || output.stdout.len() < 100 {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    times.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "\na trace by its id, {} new processes: median {:.0} ms, the slowest {:.0} ms",
        times.len(),
        times.get(times.len() / 2).map_or(0.0, ms),
        times.last().map_or(0.0, ms),
    );
    let found = times.get(times.len() / 2).map_or(f64::MAX, ms);
    bars.at_most("a trace by its id, ms", found, LOOKUP_MILLIS_MAX);
    Ok(())
}
