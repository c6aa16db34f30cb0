//! Work spread over threads, results in the order of the jobs.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

/// Jobs that wait for a thread, a thread: enough to bridge uneven jobs, few enough to bound memory.
const WAITING_JOBS_A_THREAD: usize = 2;

/// Calls `work` on every job that `produce` hands out, on `threads` threads beside this one, and
/// returns the results in the order of the jobs. A single job, or a single thread, is worked off
/// on this thread.
pub(crate) fn run<J: Send, R: Send>(
    threads: usize,
    produce: impl FnOnce(&mut dyn FnMut(J)),
    work: impl Fn(J) -> R + Sync,
) -> Vec<R> {
    if threads <= 1 {
        let mut results = Vec::new();
        produce(&mut |job| results.push(work(job)));
        return results;
    }
    let (sender, receiver) = sync_channel(threads * WAITING_JOBS_A_THREAD);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let mut pool =
            Pool { scope, threads, receiver: &receiver, sender, work: &work, workers: vec![] };
        let mut first = None;
        let mut jobs = 0;
        produce(&mut |job| {
            if jobs == 0 {
                first = Some(job);
            } else {
                if let Some(first) = first.take() {
                    pool.start();
                    pool.send(0, first);
                }
                pool.send(jobs, job);
            }
            jobs += 1;
        });
        match first {
            Some(only) => vec![work(only)],
            None => pool.finish(),
        }
    })
}

/// The threads and their queue.
struct Pool<'scope, 'env, J, R, W> {
    scope: &'scope Scope<'scope, 'env>,
    threads: usize,
    /// Each worker takes its next job here. When the sender is dropped, they end.
    receiver: &'scope Mutex<Receiver<(usize, J)>>,
    /// The producer waits here while the queue is full: that bounds what is in memory.
    sender: SyncSender<(usize, J)>,
    work: &'scope W,
    workers: Vec<ScopedJoinHandle<'scope, Vec<(usize, R)>>>,
}

impl<'scope, J, R, W> Pool<'scope, '_, J, R, W>
where
    J: Send + 'scope,
    R: Send + 'scope,
    W: Fn(J) -> R + Sync,
{
    fn start(&mut self) {
        let (receiver, work) = (self.receiver, self.work);
        let spawn = || self.scope.spawn(move || work_off(receiver, work));
        self.workers.extend(std::iter::repeat_with(spawn).take(self.threads));
    }

    fn send(&self, number: usize, job: J) {
        self.sender.send((number, job)).expect("the receiver lives as long as the pool");
    }

    fn finish(self) -> Vec<R> {
        drop(self.sender);
        let mut results = Vec::new();
        for worker in self.workers {
            match worker.join() {
                Ok(done) => results.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results.sort_unstable_by_key(|(number, _)| *number);
        results.into_iter().map(|(_, result)| result).collect()
    }
}

fn work_off<J, R>(
    receiver: &Mutex<Receiver<(usize, J)>>,
    work: impl Fn(J) -> R,
) -> Vec<(usize, R)> {
    let mut results = Vec::new();
    // The lock is held while waiting: another worker then waits for the lock in place of a job.
    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok((number, job)) = next() {
        results.push((number, work(job)));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        for threads in [0, 1, 2, 7] {
            for jobs in [0, 1, 2, 100] {
                let produce = |send: &mut dyn FnMut(usize)| (0..jobs).for_each(send);
                let results = run(threads, produce, |job| job * 2);
                let expected: Vec<usize> = (0..jobs).map(|job| job * 2).collect();
                assert_eq!(results, expected, "{threads} threads");
            }
        }
    }
}
