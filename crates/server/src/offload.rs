//! [`Offload`]: the one way to threads of their own for whatever computes or blocks.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::Error;
use crate::metrics::Metrics;

/// The name of the threads.
const THREAD_NAME: &str = "timesink-work";

/// Runs work beside the async threads, on threads of its own.
///
/// Not as `spawn_blocking`: that wakes a thread while it holds the lock of its queue, and whoever
/// asked next waited for milliseconds when the waker lost its core to whom it woke.
#[derive(Debug, Clone)]
pub(crate) struct Offload {
    /// Whoever waits has a request's body in memory, which is bounded where bodies are read.
    threads: Arc<Threads>,
    metrics: Metrics,
}

impl Offload {
    /// Starts so many threads.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the system has none.
    pub(crate) fn start(threads: usize, metrics: Metrics) -> Result<Self, Error> {
        Ok(Self { threads: Arc::new(Threads::start(threads)?), metrics })
    }

    /// Runs the work to its end, also when nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let waiting = self.metrics.waiting();
        let work = async move {
            drop(waiting);
            work()
        };
        let task = self.threads.runtime().spawn(work);
        task.await.map_err(|error| Error::Internal(error.to_string()))
    }
}

/// The threads, which end by themselves once nobody has work for them.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start(threads: usize) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name(THREAD_NAME)
            .build()
            .map_err(Error::Start)?;
        Ok(Self(Some(runtime)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("taken by drop alone")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Whoever drops it last may be an async thread, and those must not wait.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
