//! [`Offload`]: the one way to threads of their own for whatever computes or blocks.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::Error;
use crate::metrics::Metrics;

/// Runs work beside the async threads, as many pieces at a time as there are cores.
#[derive(Debug, Clone)]
pub(crate) struct Offload {
    /// Each piece of work holds one permit while it runs; whoever waits has a request's body in
    /// memory, which is bounded where bodies are read.
    turns: Arc<Semaphore>,
    metrics: Metrics,
}

impl Offload {
    pub(crate) fn new(threads: usize, metrics: Metrics) -> Self {
        Self { turns: Arc::new(Semaphore::new(threads.max(1))), metrics }
    }

    /// Runs the work to its end, also when nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let waiting = self.metrics.waiting();
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        drop(waiting);
        let turn = turn.map_err(|error| Error::Internal(error.to_string()))?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        task.await.map_err(|error| Error::Internal(error.to_string()))
    }
}
