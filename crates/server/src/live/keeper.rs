//! [`Keeper`]: the thread that takes into the window what came, and lets go what is old.
//!
//! It does not wait for an analysis, which may take long: what came would fill the memory
//! meanwhile.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arrow::error::ArrowError;

use super::Shared;
use super::window::{Shed, Window};
use crate::durable::SEEN_FOR;
use crate::intake::{Harvest, locked};
use crate::metrics::Metrics;

/// The name of the thread.
pub(super) const THREAD_NAME: &str = "timesink-window";

/// The share of the memory budget above which traces go that were analyzed, and to which they go.
/// What is above is room for spans that wait for their analysis. What is left is copied: the more
/// goes at a time, the less often.
const SHRINK_ABOVE: f64 = 0.7;
const SHRINK_TO: f64 = 0.5;

/// Records stay in the log for so long at least: after a start it alone tells which spans have come
/// before.
const RECORDS_KEPT_MIN: Duration = SEEN_FOR;

/// It looks this often at least: twice as often as what comes fills a good part of the memory.
const EVERY_MAX: Duration = Duration::from_millis(250);

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Metrics,
    /// When records of the log came, the oldest first.
    pub(super) records: VecDeque<(Instant, u64)>,
    /// When all traces were looked at.
    pub(super) looked: Instant,
}

impl Keeper {
    pub(super) fn run(mut self) {
        while self.shared.pause(self.shared.options.interval.min(EVERY_MAX)) {
            // A fault costs what this look was about, and is told with the next analysis.
            let looked = catch_unwind(AssertUnwindSafe(|| self.look()));
            if !matches!(looked, Ok(Ok(()))) {
                self.shared.broken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn look(&mut self) -> Result<(), ArrowError> {
        let shared = Arc::clone(&self.shared);
        let (intake, options) = (&shared.intake, &shared.options);
        // Locked first: what is not pending any more is in the window for whoever looks.
        let mut window = locked(&shared.window);
        let Harvest { decoded, bytes, record, broken } = intake.harvest();
        shared.broken.fetch_add(broken, Ordering::Relaxed);
        let quarantined = decoded.quarantine.iter().map(|batch| batch.num_rows() as u64).sum();
        self.metrics.harvested(quarantined, &decoded.repaired);
        let now = Instant::now();
        if record > 0 {
            self.records.push_back((now, record));
        }
        window.add(decoded.spans, decoded.quarantine, bytes, now)?;
        let expired = if now.duration_since(self.looked) >= options.interval {
            self.looked = now;
            self.measure(&window);
            window.expire(now, options.window)?
        } else {
            0
        };
        self.evicted("age", expired);
        if expired > 0 {
            shared.has_gone.store(true, Ordering::Relaxed);
        }
        let shed = self.shed(&mut window)?;
        self.evicted("memory", shed);
        if shed > 0 {
            shared.has_gone.store(true, Ordering::Relaxed);
        }
        // Spans of a trace that is kept may be as old again as its last one.
        let kept = RECORDS_KEPT_MIN.max(options.window * 2);
        let is_old = |(came, _): &(Instant, u64)| now.duration_since(*came) > kept;
        while let Some((_, record)) = self.records.pop_front_if(|oldest| is_old(oldest)) {
            intake.release(record);
        }
        intake.keep(window.bytes());
        self.metrics.live().spans.set(window.spans() as i64);
        self.metrics.live().memory.set(intake.memory_bytes() as i64);
        Ok(())
    }

    /// Lets traces go where memory is short; returns how many. Where tables have them, also those
    /// that no analysis had.
    fn shed(&self, window: &mut Window) -> Result<usize, ArrowError> {
        let intake = &self.shared.intake;
        // What waits for the tables takes its part.
        let max = intake.memory_bytes_max().saturating_sub(intake.waiting_bytes()) as f64;
        if window.bytes() as f64 <= max * SHRINK_ABOVE {
            return Ok(0);
        }
        let shed = window.shrink((max * SHRINK_TO) as u64, Shed::Analyzed)?;
        if intake.has_log() && window.bytes() as f64 > max * SHRINK_ABOVE {
            return Ok(shed + window.shrink((max * SHRINK_TO) as u64, Shed::Any)?);
        }
        Ok(shed)
    }

    fn evicted(&self, reason: &'static str, traces: usize) {
        let labels = vec![("reason", reason)];
        self.metrics.live().traces_evicted.get_or_create(&labels).inc_by(traces as u64);
    }

    fn measure(&self, window: &Window) {
        let live = self.metrics.live();
        live.traces.set(window.traces() as i64);
        live.traces_unanalyzed.set(window.unanalyzed() as i64);
    }
}
