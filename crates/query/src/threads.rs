//! [`Threads`]: where queries run, so that whoever waits for one can always stop waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::Error;

/// The name of the threads: a panic on them fails one query and is told as its error.
pub const THREAD_NAME: &str = "timesink-query";

/// Threads of one query, and queries that run at the same time.
const WORKERS_MAX: usize = 4;

/// Sets of threads that wait for a query; more never run at the same time.
const IDLE_MAX: usize = WORKERS_MAX;

/// Plans are deep trees, and walking them takes stack: for as many terms as a query may have under
/// 12 MiB in a build without optimization. Only what is touched takes memory.
const STACK_BYTES: usize = 32 << 20;

/// The name of the thread that waits until those of a query have ended, and its stack.
const JOIN_THREAD_NAME: &str = "timesink-join";
const JOIN_STACK_BYTES: usize = 1 << 20;

/// Lets some queries run at a time, each on threads of its own.
///
/// A query can compute for any time before it lets others run. On threads that it shares, that
/// would hold up the other queries, and the timer that is to end it. The threads of a query that
/// ended well serve the next one: starting them costs as much as a small query, and memory that
/// one thread freed is at hand for it alone.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    turns: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<OwnThreads>>>,
}

impl Threads {
    /// Makes turns for as many queries as there are threads.
    pub(crate) fn new(threads: usize) -> Self {
        let turns = Semaphore::new(threads.clamp(1, WORKERS_MAX));
        Self { turns: Arc::new(turns), idle: Arc::default() }
    }

    /// Waits for a turn, then at most `time_max` for the work, which then has to end or is left to
    /// itself: it stops at its next step, and its threads end with it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
        threads: usize,
        time_max: Duration,
    ) -> Result<T, Error> {
        let turn = self.turns.acquire().await;
        let _turn = turn.map_err(|error| Error::Internal(error.to_string()))?;
        let threads = self.idle_or_new(threads.clamp(1, WORKERS_MAX))?;
        match tokio::time::timeout(time_max, threads.spawn(work)).await {
            Ok(Ok(Ok(done))) => {
                self.rest(threads);
                Ok(done)
            }
            // What failed may have left work behind.
            Ok(Ok(Err(error))) => Err(error),
            Ok(Err(error)) => Err(Error::of_panic(error)),
            Err(_) => Err(Error::Time(time_max)),
        }
    }

    fn idle_or_new(&self, count: usize) -> Result<OwnThreads, Error> {
        let known = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let known = idle.iter().position(|left| left.count == count && left.are_idle());
            known.map(|at| idle.swap_remove(at))
        };
        known.map_or_else(|| OwnThreads::start(count), Ok)
    }

    fn rest(&self, threads: OwnThreads) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(threads);
        }
    }
}

/// The threads of one query at a time; dropped, they end after what is left on them.
#[derive(Debug)]
struct OwnThreads {
    count: usize,
    runtime: Option<Runtime>,
}

impl OwnThreads {
    fn start(count: usize) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name(THREAD_NAME)
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| Error::Execution(format!("failed to start threads: {error}")))?;
        Ok(Self { count, runtime: Some(runtime) })
    }

    /// Whether nothing is left on them: what a query no longer needs goes on until its next step.
    fn are_idle(&self) -> bool {
        self.runtime.as_ref().is_some_and(|runtime| runtime.metrics().num_alive_tasks() == 0)
    }

    fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.as_ref().expect("taken by drop alone").spawn(work)
    }
}

/// Whoever drops them goes on; they are joined by a thread that waits for nothing else. To detach
/// them is no way: `pthread_detach` (glibc 2.36) marks a thread, then looks at it once more, and
/// one that ends in between takes a stack along that is too large to be kept for the next thread.
/// That of the thread which joins them is small enough.
impl Drop for OwnThreads {
    fn drop(&mut self) {
        let runtime = Arc::new(Mutex::new(self.runtime.take()));
        let take = |runtime: &Mutex<Option<Runtime>>| {
            runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let joined = Arc::clone(&runtime);
        let join = move || drop(take(&joined));
        let thread = std::thread::Builder::new().name(JOIN_THREAD_NAME.to_owned());
        if thread.stack_size(JOIN_STACK_BYTES).spawn(join).is_err()
            && let Some(runtime) = take(&runtime)
        {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread::{ThreadId, current};
    use std::time::Instant;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    async fn thread_of(threads: &Threads) -> ThreadId {
        threads.run(async { Ok(current().id()) }, 1, MINUTE).await.unwrap()
    }

    /// Waits until nothing is left on the threads that are at rest: a task that has told its result
    /// is still there for a moment.
    fn settle(threads: &Threads) {
        let since = Instant::now();
        while !threads.idle.lock().unwrap().iter().all(OwnThreads::are_idle) {
            assert!(since.elapsed() < MINUTE, "tasks are left");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn the_threads_of_a_query_that_ended_well_serve_the_next() {
        let threads = Threads::new(1);
        let first = thread_of(&threads).await;
        settle(&threads);
        assert_eq!(thread_of(&threads).await, first);
    }

    #[tokio::test]
    async fn the_threads_of_a_query_that_failed_serve_no_other() {
        let threads = Threads::new(1);
        let failed = Error::Internal("it failed".to_owned());
        let work = async { Err::<(), _>(failed) };
        threads.run(work, 1, MINUTE).await.unwrap_err();
        assert!(threads.idle.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn threads_with_work_left_on_them_wait_until_it_ends() {
        let threads = Threads::new(2);
        let (end, ended) = channel::<()>();
        let work = async move {
            tokio::spawn(async move { ended.recv() });
            Ok(())
        };
        threads.run(work, 2, MINUTE).await.unwrap();
        assert!(threads.idle.lock().unwrap().iter().all(|left| !left.are_idle()));
        let work = async { Ok(()) };
        threads.run(work, 2, MINUTE).await.unwrap();
        assert_eq!(threads.idle.lock().unwrap().len(), 2);
        end.send(()).unwrap();
        settle(&threads);
    }
}
