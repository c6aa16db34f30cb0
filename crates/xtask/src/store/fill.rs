//! Spans into a data directory, through the receiver of the release binary.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use timesink_otlp::{ReadOptions, encode_protobuf, read};
use timesink_server::Exporter;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::bars::Bars;
use crate::bench::input::{Input, begin_at, copy};
use crate::ingest::process::Serving;

/// Exporters at a time.
const EXPORTERS: usize = 8;

/// Spans of a message, as SDKs export them.
const MESSAGE_SPANS: usize = 512;

/// The first of what is sent began so long ago: the longest recording is over.
pub(super) const JUST_OVER: Duration = Duration::from_mins(10);

/// So long ago its hour is over, too: files are joined while more of them come.
pub(super) const LONG_OVER: Duration = Duration::from_hours(3);

/// Bars: spans for a second of the server's processor time, and milliseconds until 99 of a hundred
/// answers at half that rate.
const SPANS_A_SECOND_MIN: f64 = 60_000.0;
const ANSWER_MILLIS_MAX: f64 = 50.0;

/// The window holds what it can meanwhile, as it does in use.
const OPTIONS: [&str; 2] = ["--receiver-memory-mib-max", "4096"];

/// Returns a copy of the recordings, as if they had begun so long ago, as protobuf messages, and
/// how many spans they hold.
#[expect(clippy::disallowed_methods, reason = "the server goes by the system's clock")]
pub(super) fn messages(
    input: &Input,
    number: u8,
    begun_before: Duration,
) -> Result<(Vec<Vec<u8>>, usize)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut json = copy(&input.bytes, number);
    begin_at(&mut json, now.saturating_sub(begun_before).as_nanos() as u64);
    let content = read(json.as_slice(), &ReadOptions::new(now.as_nanos() as i64))?;
    let mut messages = Vec::new();
    let mut spans = 0;
    for batch in &content.decoded.spans {
        let rows = batch.num_rows();
        spans += rows;
        for at in (0..rows).step_by(MESSAGE_SPANS) {
            messages.push(encode_protobuf(&batch.slice(at, MESSAGE_SPANS.min(rows - at))));
        }
    }
    Ok((messages, spans))
}

/// Sends a copy of the recordings; returns how many spans it has.
pub(super) fn send_copy(input: &Input, number: u8, serving: &Serving) -> Result<usize> {
    let (messages, spans) = messages(input, number, JUST_OVER)?;
    Runtime::new()?.block_on(send(&serving.grpc, messages))?;
    Ok(spans)
}

/// The threads of the live analysis: they read what came, and store nothing.
const LIVE_ANALYSIS: [&str; 2] = ["timesink-live", timesink_query::THREAD_NAME];

/// Stores at least so many spans that began so long ago, as fast as they are taken, and prints what
/// that cost.
pub(super) fn all(
    input: &Input,
    data: &Path,
    spans: usize,
    begun_before: Duration,
    bars: &mut Bars,
) -> Result<()> {
    let data = data.to_string_lossy();
    let serving = Serving::start(&[&OPTIONS[..], &["--data", &data]].concat())?;
    let runtime = Runtime::new()?;
    let (mut sent, mut took, mut number) = (0, Duration::ZERO, 0);
    let cpu = serving.cpu_time()?;
    while sent < spans {
        let (messages, count) = messages(input, number, begun_before)?;
        let began = Instant::now();
        runtime.block_on(send(&serving.grpc, messages))?;
        took += began.elapsed();
        sent += count;
        number += 1;
    }
    let peak = serving.peak_bytes()? as f64 / 1_048_576.0;
    // Threads that have ended, and what is analysed as it ends, count as storing.
    let analysis = serving.cpu_time_of(&LIVE_ANALYSIS)?;
    // The rest is flushed as it ends.
    let cpu = serving.end()?.saturating_sub(cpu);
    println!(
        "{sent} spans taken, {:.0} a second while sent from the same cores; for a second of the \
         server's CPU {:.0} with Parquet and facts, {:.0} with the live analysis too; peak \
         {peak:.0} MiB",
        sent as f64 / took.as_secs_f64(),
        sent as f64 / cpu.saturating_sub(analysis).as_secs_f64(),
        sent as f64 / cpu.as_secs_f64(),
    );
    let stored = sent as f64 / cpu.saturating_sub(analysis).as_secs_f64();
    bars.at_least("spans for a second of processor time", stored, SPANS_A_SECOND_MIN);
    Ok(())
}

/// Sends messages from some exporters at a time; one that is refused is sent again.
async fn send(endpoint: &str, messages: Vec<Vec<u8>>) -> Result<()> {
    let messages: Arc<[Vec<u8>]> = messages.into();
    let mut tasks = JoinSet::new();
    for exporter in 0..EXPORTERS {
        let messages = Arc::clone(&messages);
        let client = Exporter::connect(endpoint).await?;
        tasks.spawn(async move {
            for message in messages.iter().skip(exporter).step_by(EXPORTERS) {
                while client.export(message).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// Sends so many spans a second for a while, and prints how long answers took.
pub(super) fn at_rate(
    input: &Input,
    data: &Path,
    rate: usize,
    time: Duration,
    bars: &mut Bars,
) -> Result<()> {
    let data = data.to_string_lossy();
    let serving = Serving::start(&[&OPTIONS[..], &["--data", &data]].concat())?;
    let wanted = rate * time.as_secs() as usize;
    let (mut all, mut spans, mut number) = (Vec::new(), 0, 0);
    while spans < wanted {
        let (messages, count) = messages(input, number, JUST_OVER)?;
        all.extend(messages);
        spans += count;
        number += 1;
    }
    let each = spans as f64 / all.len() as f64;
    let between = Duration::from_secs_f64(each / rate as f64);
    let (runtime, cpu) = (Runtime::new()?, serving.cpu_time()?);
    let mut times = runtime.block_on(async {
        let client = Exporter::connect(&serving.grpc).await?;
        let mut tasks = JoinSet::new();
        let mut ticks = tokio::time::interval(between);
        for message in all.into_iter().take((wanted as f64 / each) as usize) {
            ticks.tick().await;
            let client = client.clone();
            tasks.spawn(async move {
                let began = Instant::now();
                client.export(&message).await.map(|_| began.elapsed())
            });
        }
        let mut times = Vec::new();
        while let Some(task) = tasks.join_next().await {
            times.push(task??);
        }
        Ok::<_, anyhow::Error>(times)
    })?;
    let cpu = serving.end()?.saturating_sub(cpu).as_secs_f64();
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{rate} spans a second for {} s, each answer after a sync: median {:.1} ms, p99 {:.1} ms, \
         the slowest {:.1} ms; {:.0} spans for a second of the server's CPU",
        time.as_secs(),
        at(0.5),
        at(0.99),
        times.last().map_or(0.0, |time| time.as_secs_f64() * 1e3),
        times.len() as f64 * each / cpu,
    );
    if rate as f64 <= SPANS_A_SECOND_MIN / 2.0 {
        bars.at_most("p99 of the answer, ms", at(0.99), ANSWER_MILLIS_MAX);
    }
    Ok(())
}
