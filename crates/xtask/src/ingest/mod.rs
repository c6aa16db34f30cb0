//! `ingest`: how fast the release binary receives, and how soon it tells.
//!
//! One process is `timesink serve`; this one holds the exporters. The server's CPU time is what
//! counts: on a small machine the exporters take most of the cores.

pub(crate) mod process;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use arrow::array::{AsArray, RecordBatch};
use timesink_otlp::{ReadOptions, encode_protobuf, read};
use timesink_server::Exporter;
use tokio::runtime::Runtime;

use self::process::Serving;
use crate::bench::input;
use crate::workspace::{cargo, root, run as run_command, target};

/// The recordings lie beside the repository.
const TRACES: &str = "../shared/traces";

/// Exporters at a time.
const EXPORTERS: [usize; 4] = [1, 4, 16, 64];

/// Spans of a message, as SDKs export them.
const MESSAGE_SPANS: usize = 512;

/// How often every exporter sends all messages, so that a run takes some seconds.
const SPANS_OF_A_RUN: usize = 400_000;

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// How long a finding may take to show.
const PATIENCE: Duration = Duration::from_mins(2);

/// Measures and prints the tables.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let is_durable = match words {
        [] => false,
        ["--durable"] => true,
        _ => bail!("`ingest` has the option `--durable`, found `{}`", words.join(" ")),
    };
    if cfg!(debug_assertions) {
        println!("building in release mode");
        let release = ["run", "--release", "--quiet", "--bin", "xtask", "--", "ingest"];
        return run_command(&mut cargo(&[&release, words].concat()));
    }
    let input = input::join(&root().join(TRACES))?;
    let messages = messages(&input.bytes)?;
    let bytes: usize = messages.iter().map(|message| message.bytes.len()).sum();
    println!("{} messages of up to {MESSAGE_SPANS} spans, {bytes} bytes\n", messages.len());
    println!(
        "{:>10}{:>6}{:>10}{:>10}{:>18}{:>10}{:>14}{:>9}{:>10}",
        "exporters",
        "gzip",
        "spans",
        "spans/s",
        "spans/CPU second",
        "peak MiB",
        "longest poll",
        "polls",
        "too long"
    );
    for gzip in [false, true] {
        for exporters in EXPORTERS {
            receive(&messages, exporters, gzip, is_durable)?;
        }
    }
    println!();
    tell()
}

/// A message, and where in it trace ids are.
#[derive(Debug, Clone)]
struct Message {
    bytes: Vec<u8>,
    trace_ids: Vec<usize>,
}

impl Message {
    fn new(batch: &RecordBatch) -> Self {
        let bytes = encode_protobuf(batch);
        let column = batch.column_by_name("trace_id").and_then(|ids| ids.as_string_view_opt());
        let ids: BTreeSet<&str> = column.into_iter().flatten().flatten().collect();
        let mut trace_ids = Vec::new();
        for id in ids.iter().filter_map(|id| u128::from_str_radix(id, 16).ok()) {
            trace_ids.extend(memchr::memmem::find_iter(&bytes, &id.to_be_bytes()));
        }
        Self { bytes, trace_ids }
    }

    /// Returns the message with traces of its own: what comes again counts once.
    fn of_round(&self, round: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for at in &self.trace_ids {
            for (byte, of_round) in bytes[*at..].iter_mut().zip(round.to_be_bytes()) {
                *byte ^= of_round;
            }
        }
        bytes
    }
}

/// Returns the recordings as protobuf messages of a size that SDKs send.
fn messages(json: &[u8]) -> Result<Vec<Message>> {
    let content = read(json, &ReadOptions::new(NOW_UNIX_NANO))?;
    let batches = content.decoded.spans.iter();
    let slices = batches.flat_map(|batch| {
        let rows = batch.num_rows();
        (0..rows)
            .step_by(MESSAGE_SPANS)
            .map(move |at| batch.slice(at, MESSAGE_SPANS.min(rows - at)))
    });
    Ok(slices.map(|slice| Message::new(&slice)).collect())
}

/// Sends the messages from so many exporters at a time and prints a line.
fn receive(messages: &[Message], exporters: usize, gzip: bool, is_durable: bool) -> Result<()> {
    // Beside the build, on a real disk: `/tmp` may be memory.
    let folder = tempfile::tempdir_in(target()?)?;
    let data = folder.path().to_string_lossy();
    // Nothing settles meanwhile: this is the receiver alone.
    let mut options = vec!["--live-settle-seconds", "600"];
    if is_durable {
        options.extend(["--data", &data]);
    }
    let serving = Serving::start(&options)?;
    let messages: Arc<[Message]> = messages.into();
    let runtime = Runtime::new()?;
    let rounds = SPANS_OF_A_RUN.div_ceil(MESSAGE_SPANS).div_ceil(exporters);
    let (began, cpu) = (Instant::now(), serving.cpu_time()?);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..exporters {
            let exporter = Exporter::connect(&serving.grpc).await?;
            let exporter = if gzip { exporter.with_gzip() } else { exporter };
            let messages = Arc::clone(&messages);
            tasks.spawn(async move {
                for round in 0..rounds {
                    let message = &messages[(number + round) % messages.len()];
                    let round = (round * exporters + number) as u32;
                    exporter.export(&message.of_round(round)).await?;
                }
                Ok::<_, anyhow::Error>(())
            });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), serving.cpu_time()?.saturating_sub(cpu));
    let spans = serving.metric("timesink_receiver_spans_accepted_total{protocol=\"grpc\"}")?;
    println!(
        "{exporters:>10}{:>6}{spans:>10.0}{:>10.0}{:>18.0}{:>10.0}{:>11.2} ms{:>9.0}{:>10.0}",
        if gzip { "yes" } else { "no" },
        spans / took,
        spans / cpu.as_secs_f64(),
        serving.peak_bytes()? as f64 / 1_048_576.0,
        serving.metric("timesink_async_poll_longest_seconds")? * 1e3,
        serving.metric("timesink_async_poll_seconds_count")?,
        serving.metric("timesink_async_polls_too_long_total")?,
    );
    Ok(())
}

/// Measures the time from an export to the finding with it, at the shortest settings.
fn tell() -> Result<()> {
    let serving = Serving::start(&["--live-settle-seconds", "1", "--live-interval-seconds", "1"])?;
    let path: PathBuf = root().join("tests/data/django_fk_n1.jsonl.gz");
    let file = std::fs::File::open(&path).with_context(|| format!("`{}`", path.display()))?;
    let content = read(file, &ReadOptions::new(NOW_UNIX_NANO))?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let exporter = Exporter::connect(&serving.grpc).await?;
        for batch in &content.decoded.spans {
            exporter.export(&encode_protobuf(batch)).await?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let sent = Instant::now();
    while serving.get("/api/v1/findings?format=jsonl")?.is_empty() {
        if sent.elapsed() > PATIENCE {
            bail!("no finding after {} seconds", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = sent.elapsed().as_secs_f64();
    println!(
        "from the last export to its finding: {took:.2} s, of which 1 s is the time to settle and \
         up to 1 s the interval of analyses"
    );
    Ok(())
}
