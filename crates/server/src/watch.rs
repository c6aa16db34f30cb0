//! [`Watched`]: how long a task holds its thread each time it is polled.
//!
//! The async threads carry every connection, so that none may hold them for long: what computes
//! goes through [`crate::offload`]. This measures that it does, as a metric.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// The longest that a task may hold an async thread.
pub(crate) const POLL_TIME_MAX: Duration = Duration::from_micros(500);

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
        let polled = self.future.as_mut().poll(context);
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
