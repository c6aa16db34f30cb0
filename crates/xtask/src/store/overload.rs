//! More than a server can take: what it refuses, and what it holds meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use timesink_server::Exporter;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::bars::Bars;
use super::fill;
use crate::bench::input::Input;
use crate::ingest::process::Serving;

/// Memory that the spans taken may hold, MiB.
const BUDGET_MIB: u64 = 1024;

/// Bars: of what is taken at most, the share that is taken then, and the memory, MiB.
const TAKEN_PERCENT_MIN: f64 = 80.0;
/// Twice as much as is taken at most is offered, about: a client waits for answers, too.
const OFFERED_PERCENT_MIN: f64 = 180.0;
const PEAK_MIB_MAX: f64 = 1.2 * BUDGET_MIB as f64;

/// How long each rate is sent for.
const TIME: Duration = Duration::from_mins(2);

/// Exports that wait for an answer at a time: a client waits with more, as SDKs and Collectors do.
const WAITING_MAX: usize = 64;

/// Copies of the recordings that are sent again and again, each time as other traces.
const COPIES: u8 = 4;

/// Words of answers after which an exporter tries again (OTLP 1.11, "Failures").
const RETRYABLE: [&str; 2] = ["currently unavailable", "resource has been exhausted"];

/// Measures what is taken at most, then at twice that rate.
pub(super) fn twice(input: &Input, folder: &Path, bars: &mut Bars) -> Result<()> {
    let messages = Message::all(input)?;
    let capacity = send(&messages, &folder.join("capacity"), None)?;
    println!(
        "as fast as it is taken, for {} s: {:.0} spans a second, peak {:.0} MiB of a budget of \
         {BUDGET_MIB}",
        TIME.as_secs(),
        capacity.spans_a_second,
        capacity.peak_mib
    );
    let rate = 2.0 * capacity.spans_a_second;
    let overload = send(&messages, &folder.join("overload"), Some(rate))?;
    println!(
        "at {rate:.0} spans a second: {:.0} sent, {:.0} taken a second ({:.0} % of what is taken \
         at most), {} exports refused, {} of them for good, peak {:.0} MiB",
        overload.offered_a_second,
        overload.spans_a_second,
        100.0 * overload.spans_a_second / capacity.spans_a_second,
        overload.refused,
        overload.refused_for_good,
        overload.peak_mib
    );
    let share = 100.0 * overload.spans_a_second / capacity.spans_a_second;
    let offered = 100.0 * overload.offered_a_second / capacity.spans_a_second;
    bars.at_least("offered of what is taken at most, %", offered, OFFERED_PERCENT_MIN);
    bars.at_least("taken of what is taken at most, %", share, TAKEN_PERCENT_MIN);
    bars.at_most("refused for good", overload.refused_for_good as f64, 0.0);
    bars.at_most("peak, MiB", overload.peak_mib.max(capacity.peak_mib), PEAK_MIB_MAX);
    Ok(())
}

struct Sent {
    /// Also what was refused.
    offered_a_second: f64,
    spans_a_second: f64,
    refused: usize,
    refused_for_good: usize,
    peak_mib: f64,
}

/// What came of exports.
#[derive(Debug, Default)]
struct Counts {
    spans: AtomicUsize,
    refused: AtomicUsize,
    refused_for_good: AtomicUsize,
    /// Spans of exports, taken or not.
    sent: AtomicUsize,
}

/// Sends for a while: at a rate, or as fast as answers come.
fn send(messages: &[Message], folder: &Path, rate: Option<f64>) -> Result<Sent> {
    let (data, budget) = (folder.to_string_lossy(), BUDGET_MIB.to_string());
    let serving = Serving::start(&["--receiver-memory-mib-max", &budget, "--data", &data])?;
    let spans: usize = messages.iter().map(|message| message.spans).sum();
    let each = spans as f64 / messages.len() as f64;
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    Runtime::new()?.block_on(async {
        let client = Exporter::connect(&serving.grpc).await?;
        let mut tasks = JoinSet::new();
        for (number, message) in messages.iter().cycle().enumerate() {
            if began.elapsed() > TIME {
                break;
            }
            if let Some(rate) = rate {
                let due = Duration::from_secs_f64(number as f64 * each / rate);
                tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
            }
            while tasks.len() >= WAITING_MAX {
                tasks.join_next().await;
            }
            let bytes = message.of_round((number / messages.len()) as u32);
            let (client, spans, counts) = (client.clone(), message.spans, Arc::clone(&counts));
            tasks.spawn(async move { counts.note(spans, client.export(&bytes).await) });
        }
        while tasks.join_next().await.is_some() {}
        Ok::<_, anyhow::Error>(())
    })?;
    let took = began.elapsed();
    let peak_mib = serving.peak_bytes()? as f64 / 1_048_576.0;
    drop(serving);
    std::fs::remove_dir_all(folder)?;
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    Ok(Sent {
        offered_a_second: count(&counts.sent) as f64 / took.as_secs_f64(),
        spans_a_second: count(&counts.spans) as f64 / took.as_secs_f64(),
        refused: count(&counts.refused),
        refused_for_good: count(&counts.refused_for_good),
        peak_mib,
    })
}

impl Counts {
    fn note<T>(&self, spans: usize, answer: Result<T, timesink_server::Error>) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
        let Err(error) = answer else {
            self.spans.fetch_add(spans, Ordering::Relaxed);
            return;
        };
        self.refused.fetch_add(1, Ordering::Relaxed);
        let said = error.to_string().to_lowercase();
        if !RETRYABLE.iter().any(|words| said.contains(words)) {
            self.refused_for_good.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An export that is sent again and again, each time as other traces.
struct Message {
    bytes: Vec<u8>,
    /// Where its trace ids are.
    trace_ids: Vec<usize>,
    spans: usize,
}

impl Message {
    fn all(input: &Input) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for number in 0..COPIES {
            let (messages, _) = fill::messages(input, number, fill::JUST_OVER)?;
            all.extend(messages.into_iter().map(|bytes| {
                let (trace_ids, spans) = trace_ids(&bytes);
                Self { bytes, trace_ids, spans }
            }));
        }
        Ok(all)
    }

    fn of_round(&self, round: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for at in &self.trace_ids {
            for (byte, change) in bytes[*at..].iter_mut().zip(round.to_le_bytes()) {
                *byte ^= change;
            }
        }
        bytes
    }
}

/// Returns where trace ids are, each before its span id (OTLP, `Span` and `Span.Link`: fields 1 and
/// 2), and how many spans there are.
fn trace_ids(message: &[u8]) -> (Vec<usize>, usize) {
    const FIELD: [u8; 2] = [0x0a, 16];
    const NEXT_FIELD: [u8; 2] = [0x12, 8];
    let is_id = |window: &[u8]| window.starts_with(&FIELD) && window.ends_with(&NEXT_FIELD);
    let found = message.windows(20).enumerate().filter(|(_, window)| is_id(window));
    let ids: Vec<usize> = found.map(|(at, _)| at + FIELD.len()).collect();
    let spans = ids.len();
    (ids, spans)
}
