//! [`Watched`]: how long a task holds its thread each time it is polled.
//!
//! The async threads carry every connection, so that none may hold them for long: what computes
//! goes through [`crate::offload`]. This measures that it does, as a metric, and in tests refuses
//! what does not.
//!
//! A thread that waits for a core is not held by its task: that the machine is busy is measured
//! elsewhere. One that waits for a lock, a page or a disk is.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// The longest that a task may hold an async thread.
pub(crate) const POLL_TIME_MAX: Duration = Duration::from_micros(500);

thread_local! {
    /// Whether this thread is at a task that must not hold it.
    static IS_POLLING: Cell<bool> = const { Cell::new(false) };

    /// What the kernel says of this thread; systems other than Linux say nothing.
    static SCHEDSTAT: Option<File> = File::open("/proc/thread-self/schedstat").ok();
}

/// Said where work begins that takes longer than an async thread may be held: decompression,
/// decoding, the making of reports.
pub(crate) fn computes() {
    debug_assert!(!IS_POLLING.get(), "it computes on an async thread: see `Offload`");
}

/// A future that reports the time of each poll.
pub(crate) struct Watched<F> {
    future: Pin<Box<F>>,
    metrics: Metrics,
}

impl<F> Watched<F> {
    pub(crate) fn new(future: F, metrics: Metrics) -> Self {
        Self { future: Box::pin(future), metrics }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (waited, began) = (waited_for_core(), Instant::now());
        IS_POLLING.set(true);
        let polled = self.future.as_mut().poll(context);
        IS_POLLING.set(false);
        let took = began.elapsed();
        let waited = waited_for_core().saturating_sub(waited);
        self.metrics.polled(took.saturating_sub(waited));
        polled
    }
}

/// Returns how long this thread was ready to run and had no core, since it started: the second
/// number of `schedstat` (Linux, "Scheduler Statistics"). Where nobody counts it, it is nothing.
fn waited_for_core() -> Duration {
    let mut text = [0; 64];
    let read = SCHEDSTAT.with(|file| file.as_ref()?.read_at(&mut text, 0).ok());
    let text = str::from_utf8(&text[..read.unwrap_or_default()]).unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Spawns the tasks of connections, watched.
#[derive(Clone)]
pub(crate) struct WatchedExecutor(pub(crate) Metrics);

impl<F> hyper::rt::Executor<F> for WatchedExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        tokio::spawn(Watched::new(future, self.0.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::Offload;

    #[tokio::test]
    async fn what_is_offloaded_may_compute() {
        let offload = Offload::start(1, Metrics::new()).unwrap();
        let work = async move { offload.run(computes).await };
        Watched::new(work, Metrics::new()).await.unwrap();
    }

    /// Scenario: more threads than cores that are always ready to run.
    /// Guarantee: each is said to have waited for a core at some time.
    #[cfg(target_os = "linux")]
    #[test]
    fn who_shares_a_core_waits_for_it() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..2 * cores {
                scope.spawn(|| {
                    let (began, before) = (Instant::now(), waited_for_core());
                    while waited_for_core() == before {
                        assert!(began.elapsed() < Duration::from_mins(1), "no core was waited for");
                    }
                });
            }
        });
    }

    #[tokio::test]
    async fn what_is_polled_may_not() {
        let polled = tokio::spawn(Watched::new(async { computes() }, Metrics::new()));
        assert!(polled.await.unwrap_err().is_panic());
    }
}
