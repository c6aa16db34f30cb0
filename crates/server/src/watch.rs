//! [`Watched`]: how long a task holds its thread each time it is polled.
//!
//! The async threads carry every connection, so that none may hold them for long: what computes
//! goes through [`crate::offload`]. This measures that it does, as a metric, and in tests refuses
//! what does not.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// The longest that a task may hold an async thread.
pub(crate) const POLL_TIME_MAX: Duration = Duration::from_micros(500);

thread_local! {
    /// Whether this thread is at a task that must not hold it.
    static IS_POLLING: Cell<bool> = const { Cell::new(false) };
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
        let began = Instant::now();
        IS_POLLING.set(true);
        let polled = self.future.as_mut().poll(context);
        IS_POLLING.set(false);
        self.metrics.polled(began.elapsed());
        polled
    }
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
        let offload = Offload::new(1, Metrics::new());
        let work = async move { offload.run(computes).await };
        Watched::new(work, Metrics::new()).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_polled_may_not() {
        let polled = tokio::spawn(Watched::new(async { computes() }, Metrics::new()));
        assert!(polled.await.unwrap_err().is_panic());
    }
}
