//! [`Live`]: the window of the last minutes, analyzed again and again.
//!
//! One thread takes what came into the window ([`keeper`]); one decides which traces have settled
//! and runs the engine over all of them: the same function that `analyze` runs over files. Rules of
//! every grain need their neighbours (a stall is told from the other requests of its process), so
//! that each analysis is of the whole window; the next one waits six times as long as the last one
//! took at least.

mod gone;
mod keeper;
mod past;
mod snapshot;
mod window;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use timesink_facts::PassOptions;
use timesink_model::schema::quarantine;
use timesink_query::{Database, Limits};
use timesink_rules::{Analysis, Engine, RuleSet};
use tokio::runtime::{Builder, Runtime};

use self::keeper::Keeper;
pub(crate) use self::past::Past;
pub(crate) use self::snapshot::Snapshot;
use self::window::{Settled, Window};
use crate::Error;
use crate::intake::{Intake, check_whole, locked};
use crate::metrics::Metrics;
use crate::options::LiveOptions;

/// The name of the thread.
const THREAD_NAME: &str = "timesink-live";

/// Plans are deep trees, and walking them takes stack.
const STACK_BYTES: usize = 16 << 20;

/// The next analysis waits so many times as long as the last one took: one runs at most a seventh
/// of the time, and a large window leaves the cores to what comes.
const IDLE_TIMES_BUSY: u32 = 6;

/// Called with what each analysis found, or why it failed: the next one is tried all the same.
pub type OnAnalysis = Box<dyn FnMut(Result<&Analysis, &Error>) + Send>;

/// The live window, its threads and what was found last.
pub(crate) struct Live {
    shared: Arc<Shared>,
    threads: [std::thread::JoinHandle<()>; 2],
}

/// What the threads share with each other and with those who ask.
pub(crate) struct Shared {
    options: LiveOptions,
    rules: RuleSet,
    intake: Arc<Intake>,
    window: Mutex<Window>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Whether traces went since the last analysis: what it found of them has to go, too.
    has_gone: AtomicBool,
    /// How often spans were lost, because of a fault of ours, since the last analysis.
    broken: AtomicUsize,
    stopping: Mutex<bool>,
    /// Wakes the threads to stop.
    wake: Condvar,
}

/// What only the thread of the analysis has.
struct Worker {
    shared: Arc<Shared>,
    engine: Engine,
    limits: Limits,
    metrics: Metrics,
    runtime: Runtime,
    on_analysis: OnAnalysis,
    /// Where findings are kept.
    past: Option<Past>,
}

impl Live {
    /// Starts the threads.
    pub(crate) fn start(
        options: LiveOptions,
        intake: Arc<Intake>,
        engine: Engine,
        limits: Limits,
        metrics: Metrics,
        on_analysis: OnAnalysis,
        past: Option<Past>,
    ) -> Result<Self, Error> {
        // Not the threads of the connections: the engine computes on the threads that wait for it.
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name(THREAD_NAME)
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        metrics.live().memory_max.set(intake.memory_bytes_max() as i64);
        let shared = Arc::new(Shared {
            options,
            rules: engine.rules().clone(),
            window: Mutex::new(Window::new(intake.memory_bytes_max())),
            intake,
            snapshot: RwLock::default(),
            has_gone: AtomicBool::new(false),
            broken: AtomicUsize::new(0),
            stopping: Mutex::new(false),
            wake: Condvar::new(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            engine,
            limits,
            metrics,
            runtime,
            on_analysis,
            past,
        };
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            metrics: worker.metrics.clone(),
            records: VecDeque::new(),
            looked: Instant::now(),
        };
        let keeper = std::thread::Builder::new()
            .name(keeper::THREAD_NAME.to_owned())
            .spawn(move || keeper.run())
            .map_err(Error::Start)?;
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run())
            .inspect_err(|_| *locked(&shared.stopping) = true)
            .map_err(Error::Start)?;
        Ok(Self { shared, threads: [keeper, thread] })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Tells the threads to end after what they are at.
    pub(crate) fn stop(&self) {
        *locked(&self.shared.stopping) = true;
        self.shared.wake.notify_all();
    }

    /// Returns whether the threads have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.threads.iter().all(std::thread::JoinHandle::is_finished)
    }
}

impl Shared {
    /// Returns what the last analysis found.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the rules that are run.
    pub(crate) fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// Returns whether spans came that the last analysis did not have: what it found may change.
    pub(crate) fn is_provisional(&self) -> bool {
        self.intake.has_pending() || locked(&self.window).unanalyzed() > 0
    }

    /// Returns the spans of a trace, settled or not; none if it is not in the window.
    pub(crate) fn trace(&self, id: u128) -> Result<Vec<RecordBatch>, Error> {
        // Picked out without the lock: the analysis waits for whoever has it.
        let spans = locked(&self.window).trace(id);
        spans.picked().map_err(|error| Error::Internal(error.to_string()))
    }

    /// Waits; returns whether to go on.
    fn pause(&self, time: Duration) -> bool {
        let stopping = locked(&self.stopping);
        let waited = self.wake.wait_timeout_while(stopping, time, |stopping| !*stopping);
        let (stopping, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*stopping
    }
}

impl Worker {
    /// Analyzes at every interval when something is due, and the last analysis is as long ago as it
    /// took, times [`IDLE_TIMES_BUSY`].
    fn run(mut self) {
        let mut not_before = Instant::now();
        while self.shared.pause(self.shared.options.interval) {
            let began = Instant::now();
            if began < not_before {
                continue;
            }
            // A panic costs this round: spans go on to be taken, and the next round is tried.
            let round = catch_unwind(AssertUnwindSafe(|| self.round()));
            let result = round.unwrap_or_else(|_| Err(Error::Internal("a panic".to_owned())));
            if result.is_err() {
                // What was found last may still speak of traces that went.
                self.shared.has_gone.store(true, Ordering::Relaxed);
            }
            let outcome = match &result {
                Ok(None) => continue,
                Ok(Some(snapshot)) if snapshot.has_failed_rules() => "partial",
                Ok(Some(_)) => "success",
                Err(_) => "failed",
            };
            not_before = Instant::now() + began.elapsed() * IDLE_TIMES_BUSY;
            let labels = vec![("outcome", outcome)];
            self.metrics.live().analyses.get_or_create(&labels).inc();
            // Told last: whoever listens may be slow, and its panic is none of the window's.
            let told = result.as_ref().map(|snapshot| match snapshot {
                Some(snapshot) => &snapshot.analysis,
                None => unreachable!("a round without an analysis is not told"),
            });
            let _ = catch_unwind(AssertUnwindSafe(|| (self.on_analysis)(told)));
        }
        if let Some(past) = &mut self.past {
            past.end();
        }
    }

    /// Analyzes if something is due. Returns what the analysis found.
    fn round(&mut self) -> Result<Option<Arc<Snapshot>>, Error> {
        check_whole(self.shared.broken.swap(0, Ordering::Relaxed))?;
        let settled = self.due()?;
        settled.map(|settled| self.analyze(&settled)).transpose()
    }

    fn due(&self) -> Result<Option<Settled>, Error> {
        let internal = |error: arrow::error::ArrowError| Error::Internal(error.to_string());
        let settle = self.shared.options.settle;
        let window = locked(&self.shared.window);
        // Under the lock: what comes later has come after this.
        let now = Instant::now();
        let has_gone = self.shared.has_gone.load(Ordering::Relaxed);
        if !has_gone && !window.is_due(now, settle) {
            return Ok(None);
        }
        self.shared.has_gone.store(false, Ordering::Relaxed);
        window.settled(now, settle).map(Some).map_err(internal)
    }

    fn analyze(&mut self, settled: &Settled) -> Result<Arc<Snapshot>, Error> {
        let began = Instant::now();
        let database = self.database(&settled.spans)?;
        let analysis = self.runtime.block_on(self.engine.analyze(&database));
        let mut analysis = analysis.map_err(|error| Error::Internal(error.to_string()))?;
        self.note(&mut analysis);
        let live = self.metrics.live();
        live.analysis_time.observe(began.elapsed().as_secs_f64());
        if let Some(oldest) = settled.oldest_new {
            live.lag.observe(oldest.elapsed().as_secs_f64());
        }
        for severity in ["info", "warning", "error"] {
            let of_it = analysis.findings.iter().filter(|f| f.severity.as_str() == severity);
            live.findings.get_or_create(&vec![("severity", severity)]).set(of_it.count() as i64);
        }
        let services = services(&settled.spans);
        let examples = timesink_rules::examples(
            &database,
            &analysis.findings,
            timesink_output::EXAMPLES_DRAWN,
        );
        let examples = examples.map_err(|error| Error::Internal(error.to_string()))?;
        let snapshot = Arc::new(Snapshot { analysis, examples, services });
        let mut last = self.shared.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        *last = Arc::clone(&snapshot);
        drop(last);
        // Noted last: until then whoever asks is told that findings may change.
        locked(&self.shared.window).analyzed(&settled.traces, settled.at);
        Ok(snapshot)
    }

    /// Notes what was found in its hour, and says of it how it stands.
    fn note(&mut self, analysis: &mut Analysis) {
        let Some(past) = &mut self.past else { return };
        if let Err(error) = past.note(analysis, &self.runtime) {
            self.metrics.not_maintained();
            past.tell(&error);
        }
        past.say_how_they_stand(&mut analysis.findings);
        past.say_how_they_stand(&mut analysis.muted);
    }

    fn database(&self, spans: &[RecordBatch]) -> Result<Database, Error> {
        let internal = |error: timesink_query::Error| Error::Internal(error.to_string());
        let facts = timesink_facts::run(spans.to_vec(), &PassOptions::default());
        let facts = facts.map_err(|error| internal(error.into()))?;
        let mut database = Database::of_facts(facts, self.limits).map_err(internal)?;
        let table = quarantine::table();
        let quarantined = locked(&self.shared.window).quarantined();
        database.add(table.name, table.schema().into(), quarantined);
        Ok(database)
    }
}

fn services(spans: &[RecordBatch]) -> usize {
    let columns = spans.iter().filter_map(|batch| batch.column_by_name("service_name"));
    let mut names = hashbrown::HashSet::new();
    for texts in columns.filter_map(|column| column.as_string_view_opt()) {
        names.extend(texts.iter().flatten());
    }
    names.len()
}
