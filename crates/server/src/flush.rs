//! [`Flusher`]: the thread that brings what is in the log into the tables.
//!
//! A table says with each commit up to which record of the log it has everything: after a crash,
//! what is behind that is appended, and nothing else.

mod spare;
mod steady;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use timesink_store::{Logged, Recovery, WriterLock, memory_bytes};
use timesink_tables::{Joining, Settle, Tables, hour_of};
use tokio::runtime::{Builder, Runtime};

use self::spare::Spare;
use self::steady::{Clock, Steady, passed};
use crate::Error;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::options::StoreOptions;

/// The name of the thread.
const THREAD_NAME: &str = "timesink-tables";

/// After a flush that failed, so long nothing is tried.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Between two looks at which files are to be joined, and which rows to go.
const MAINTAIN_EVERY: Duration = Duration::from_mins(1);

/// An hour is taken as over so long after its end: spans come late.
const HOUR_OVER_AFTER: Duration = Duration::from_mins(10);

/// Files that were joined or have expired go after so long: whoever reads a snapshot of the table
/// still needs them.
const SWEEP_AFTER: Duration = Duration::from_mins(15);

/// Between two notes of a table that it lacks nothing, though nothing came for it: readers look at
/// what the log has behind the note.
const CATCH_UP_EVERY: Duration = Duration::from_mins(1);

/// Of the memory for what is received, the share above which the tables do not wait for more: above
/// what window and unsettled traces take in the long run.
const FULL_SHARE: f64 = 0.9;

/// One part of so many of what received spans may take stored ones may, that are read because
/// others of their traces came late.
const READ_PARTS: u64 = 8;

/// Then a file holds at least this part of what it is to hold: one of so many.
const FLUSH_PARTS: u64 = 8;

/// The share of it that the window takes of what the log held, the last of it: new spans come, too.
const RECOVERED_SHARE: f64 = 0.3;

/// The share of it that spans may take whose traces have not settled: beyond it they are taken as
/// settled.
const UNSETTLED_SHARE: f64 = 0.25;

/// Facts of spans that wait are given up when they cannot be kept for so long.
const GIVE_UP_AFTER: Duration = Duration::from_mins(1);

/// What a flush is to do, as it is told when it fails.
const FLUSH: &str = "bring spans from the log into the tables, it is tried again";

/// Then traces are walked this often.
const SETTLE_EVERY: Duration = Duration::from_secs(1);

/// The thread; it ends once nobody sends it anything any more.
#[derive(Debug)]
pub(crate) struct Flusher {
    thread: std::thread::JoinHandle<()>,
}

/// What came, and the memory that it holds.
pub(crate) type Part = (Logged, u64);

/// A data directory that is open, but for what writes its log.
pub(crate) struct Opened {
    pub(crate) tables: Tables,
    /// What they are written on.
    pub(crate) runtime: Runtime,
    pub(crate) recovery: Recovery,
    pub(crate) lock: Arc<WriterLock>,
}

/// What is to be brought into the tables.
pub(crate) enum ToTables {
    Part(Part),
    /// Rows of `findings`.
    Findings(RecordBatch),
}

/// Makes what the tables are written on.
///
/// # Errors
///
/// [`Error::Start`] when the system has no thread.
pub(crate) fn runtime() -> Result<Runtime, Error> {
    let mut runtime = Builder::new_multi_thread();
    // A bucket is asked over the network.
    runtime.worker_threads(1).thread_name(THREAD_NAME).enable_all().build().map_err(Error::Start)
}

impl Flusher {
    /// Starts the thread, which begins with what the log held, a record at a time; it holds the
    /// right to write as long as it runs. Returns where to send what is logged from now on. What
    /// waits is bounded by the memory that the intake may take.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the system has no thread, [`Error::Tables`] when the tables cannot be
    /// read.
    pub(crate) fn start(
        intake: Arc<Intake>,
        store: Opened,
        options: &StoreOptions,
        settle: Duration,
        metrics: Metrics,
    ) -> Result<(Self, Sender<ToTables>), Error> {
        let Opened { mut tables, runtime, recovery, lock } = store;
        tables.read_at_most(intake.memory_bytes_max() / READ_PARTS);
        let (sender, parts) = channel();
        let (clock, jumped_from) = Steady::new(passed(), tables.now(), tables.written()?);
        intake.recovering();
        let mut work = Work {
            intake,
            tables,
            runtime,
            metrics,
            options: options.clone(),
            parts,
            later: Vec::new(),
            findings: VecDeque::new(),
            lock,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            since: Instant::now(),
            not_before: Instant::now(),
            maintained: Instant::now(),
            clock,
            caught_up: Instant::now(),
            settled: Instant::now(),
            settle,
            is_joining: false,
            spare: Spare::new(Instant::now()),
            joining: Joining::Splice,
            troubles: BTreeMap::new(),
            unsettled_since: None,
            is_recovering: true,
        };
        if let Some(said) = jumped_from {
            work.clock_jumped(said);
        }
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || {
                if work.recover(recovery) {
                    work.run();
                }
            })
            .map_err(Error::Start)?;
        Ok((Self { thread }, sender))
    }

    /// Returns whether the thread has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

struct Work {
    intake: Arc<Intake>,
    tables: Tables,
    /// What they are written on.
    runtime: Runtime,
    metrics: Metrics,
    options: StoreOptions,
    parts: Receiver<ToTables>,
    /// What came while the log was read: it goes behind that.
    later: Vec<Part>,
    /// Rows of `findings` that wait, each with its place in the table once that was tried.
    findings: VecDeque<(Option<u64>, RecordBatch)>,
    #[expect(dead_code, reason = "held for as long as it writes")]
    lock: Arc<WriterLock>,
    /// What is in the log and not in the tables.
    waiting: VecDeque<Part>,
    waiting_bytes: u64,
    /// When the first of it came, or the last flush was.
    since: Instant,
    /// When a flush may be tried again.
    not_before: Instant,
    /// When rows were taken out, and files removed, last.
    maintained: Instant,
    /// Whether rows may go by what the system's clock says.
    clock: Steady,
    /// When the tables' positions were last brought up to date.
    caught_up: Instant,
    /// When traces were settled last.
    settled: Instant,
    /// A trace has settled once no span of it came for so long.
    settle: Duration,
    /// Whether there may be files to join.
    is_joining: bool,
    /// How much of its time the thread needs for what comes.
    spare: Spare,
    /// How files are joined in what is left of it.
    joining: Joining,
    /// What was told last of what went wrong, by what was to be done.
    troubles: BTreeMap<&'static str, String>,
    /// Since when traces cannot be settled.
    unsettled_since: Option<Instant>,
    /// Whether what the log held is still to come.
    is_recovering: bool,
}

impl Work {
    /// Brings what the log held into the tables, and the last of it into the window. Returns
    /// whether it came to the end before it is to stop: what it has not read stays in the log.
    fn recover(&mut self, mut recovery: Recovery) -> bool {
        loop {
            // What is read next waits until there is room for it.
            let mut has_failed = false;
            while self.is_full() && !has_failed {
                has_failed = !self.flush();
            }
            let left = recovery.bytes();
            if !has_failed {
                match caught(|| recovery.next_logged().map_err(timesink_tables::Error::from)) {
                    Ok(Some(part)) => self.take_again(part, left, recovery.bytes()),
                    Ok(None) => break,
                    Err(cause) => {
                        self.tell("read the log", &cause);
                        has_failed = true;
                    }
                }
            }
            self.settle_if_due();
            // What is read goes first: files are joined later.
            self.make_room();
            if !self.hear(if has_failed { TRY_AGAIN_AFTER } else { Duration::ZERO }) {
                self.append_findings();
                return false;
            }
        }
        self.is_recovering = false;
        self.intake.recovered(recovery.replayed.last);
        for part in std::mem::take(&mut self.later) {
            self.take(part);
        }
        true
    }

    /// Takes a part of what the log held, of which so many bytes were left before it and after it.
    fn take_again(&mut self, part: Logged, before: u64, left: u64) {
        let batches = part.spans.iter().chain(&part.quarantine);
        let bytes: u64 = batches.map(memory_bytes).sum();
        // What is left takes as much memory for each byte, about.
        let left = before as f64 * bytes as f64 / (before - left).max(1) as f64;
        if left < self.intake.memory_bytes_max() as f64 * RECOVERED_SHARE {
            self.intake.arrive_again(part.clone(), bytes);
        }
        self.intake.flushing(bytes);
        self.take((part, bytes));
    }

    /// Hears for a while what comes meanwhile; returns whether to go on.
    fn hear(&mut self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            match self.parts.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(ToTables::Part(part)) => self.later.push(part),
                Ok(ToTables::Findings(rows)) => self.findings.push_back((None, rows)),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn run(mut self) {
        loop {
            match self.parts.recv_timeout(self.idle()) {
                Ok(sent) => self.receive(sent),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            while let Ok(sent) = self.parts.try_recv() {
                self.receive(sent);
            }
            while self.is_due() && self.flush() {}
            self.settle_if_due();
            self.append_findings();
            self.maintain();
        }
        self.append_findings();
        // What cannot be flushed now is in the log.
        while !self.waiting.is_empty() && self.flush() {}
        if self.waiting.is_empty() {
            self.settle(Settle::AtOnce);
            self.catch_up();
        }
    }

    /// Returns how long there is nothing to do, if nothing comes.
    fn idle(&self) -> Duration {
        let mut until = self.maintained + MAINTAIN_EVERY;
        if self.is_joining {
            until = Instant::now();
        }
        let unsettled = self.tables.unsettled_bytes();
        if unsettled > 0 {
            let is_short = unsettled > self.room_unsettled();
            let every = if is_short { SETTLE_EVERY } else { self.options.flush_after };
            until = until.min(self.settled + every);
        }
        if !self.waiting.is_empty() {
            let old =
                if self.is_full() { self.since } else { self.since + self.options.flush_after };
            until = until.min(old.max(self.not_before));
        }
        until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn receive(&mut self, sent: ToTables) {
        match sent {
            ToTables::Part(part) => self.take(part),
            ToTables::Findings(rows) => self.findings.push_back((None, rows)),
        }
    }

    /// Appends rows of `findings`; those that cannot be now wait.
    fn append_findings(&mut self) {
        while let Some((place, rows)) = self.findings.front_mut() {
            let place = *place.get_or_insert_with(|| self.tables.next_findings());
            let rows = rows.clone();
            let append = async |tables: &mut Tables| tables.append_findings(place, &rows).await;
            if self.try_to("keep findings", append).is_none() {
                break;
            }
            self.findings.pop_front();
        }
    }

    fn take(&mut self, part: Part) {
        // Behind one that waits nothing is told: the log is let go in order.
        if self.waiting.is_empty() && self.tables.have(&part.0) {
            self.tables.pass(part.0.record);
            self.intake.flushed(self.tables.settled_through(), part.1);
            return;
        }
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.waiting_bytes += part.1;
        self.waiting.push_back(part);
    }

    fn is_due(&self) -> bool {
        let is_old = self.since.elapsed() >= self.options.flush_after;
        !self.waiting.is_empty() && (self.is_full() || is_old) && Instant::now() >= self.not_before
    }

    /// Returns whether as much waits as a file is to hold, or as there is room for.
    fn is_full(&self) -> bool {
        let room = self.intake.memory_bytes_max() as f64 * FULL_SHARE;
        // Little is not worth a file: letting it go frees little.
        let is_much = self.waiting_bytes >= self.options.flush_bytes / FLUSH_PARTS;
        self.waiting_bytes >= self.options.flush_bytes
            || is_much && self.intake.memory_bytes() as f64 > room
    }

    fn maintain(&mut self) {
        self.make_room();
        // Some at a time: spans come first.
        if self.is_joining {
            let over = self.tables.now().saturating_sub(HOUR_OVER_AFTER.as_nanos() as i64);
            let joining = self.joining;
            let joined =
                self.try_to("join small files", async |tables| tables.join(over, joining).await);
            self.is_joining = joined.is_some_and(|joined| joined.files_before > 0);
        }
    }

    /// Takes out old rows and removes files that nobody needs, from time to time.
    fn make_room(&mut self) {
        if self.maintained.elapsed() >= MAINTAIN_EVERY {
            self.maintained = Instant::now();
            let clock = self.clock.look(passed(), self.tables.now());
            if let Clock::Jumped { said } = clock {
                self.clock_jumped(said);
            }
            self.is_joining = true;
            let has_time = self.spare.look(self.maintained);
            self.joining = if has_time { Joining::Merge } else { Joining::Splice };
            let ago = |time: Duration| self.tables.now().saturating_sub(time.as_nanos() as i64);
            let kept = ago(self.options.keep);
            let bytes_max = self.options.bytes_max;
            // Each step is taken, also if the one before failed: a full disk is to become emptier.
            self.try_to("take out old rows", async |tables| {
                tables.expire((clock == Clock::Right).then_some(kept), bytes_max).await.map(drop)
            });
            self.try_to("remove files that nobody needs", async |tables| {
                tables.sweep(SWEEP_AFTER).await.map(drop)
            });
        }
    }

    /// Does what can be done later as well.
    fn try_to<T>(
        &mut self,
        what: &'static str,
        act: impl AsyncFnOnce(&mut Tables) -> Result<T, timesink_tables::Error>,
    ) -> Option<T> {
        match caught(|| self.runtime.block_on(act(&mut self.tables))) {
            Ok(done) => {
                self.troubles.remove(what);
                Some(done)
            }
            Err(cause) => {
                self.metrics.not_maintained();
                self.tell(what, &cause);
                None
            }
        }
    }

    /// Brings what came first into the tables, as much as one file is to hold; returns whether it
    /// could.
    fn flush(&mut self) -> bool {
        let began = Instant::now();
        let mut bytes = 0;
        let is_in = |part: &&Part| {
            let is_in = bytes < self.options.flush_bytes;
            bytes += part.1;
            is_in
        };
        let parts: Vec<&Logged> =
            self.waiting.iter().take_while(is_in).map(|(logged, _)| logged).collect();
        let count = parts.len();
        // A panic is a failure like others: what it was about is in the log.
        let appended = caught(|| self.runtime.block_on(self.tables.append(&parts)));
        self.spare.worked(began.elapsed());
        if let Err(cause) = appended {
            self.metrics.not_flushed();
            self.not_before = Instant::now() + TRY_AGAIN_AFTER;
            self.tell(FLUSH, &cause);
            return false;
        }
        let flushed: u64 = self.waiting.drain(..count).map(|(_, bytes)| bytes).sum();
        self.waiting_bytes -= flushed;
        self.intake.unsettled(self.tables.unsettled_bytes());
        self.intake.flushed(self.tables.settled_through(), flushed);
        self.since = Instant::now();
        self.troubles.remove(FLUSH);
        self.metrics.flushed(began.elapsed());
        // What is still to come of the log the tables lack.
        if self.caught_up.elapsed() >= CATCH_UP_EVERY && !self.is_recovering {
            self.catch_up();
        }
        true
    }

    /// Walks traces from time to time, and sooner when their spans take much memory.
    fn settle_if_due(&mut self) {
        let bytes = self.tables.unsettled_bytes();
        let room = self.room_unsettled();
        let since = self.settled.elapsed();
        if bytes > room && since >= SETTLE_EVERY {
            // The fewer traces are cut, the fewer are walked again.
            let is_short = bytes > room + room / 2;
            let settle = if is_short { Settle::AtOnce } else { Settle::After(self.settle / 4) };
            if self.settle(settle) {
                self.unsettled_since = None;
            } else {
                let since = *self.unsettled_since.get_or_insert_with(Instant::now);
                if is_short && since.elapsed() >= GIVE_UP_AFTER {
                    self.give_up_facts();
                }
            }
        } else if since >= self.options.flush_after && bytes > 0
            || bytes >= self.options.flush_bytes && since >= self.settle
        {
            self.settle(Settle::After(self.settle));
        }
    }

    /// Returns what spans may take whose traces have not settled.
    fn room_unsettled(&self) -> u64 {
        (self.intake.memory_bytes_max() as f64 * UNSETTLED_SHARE) as u64
    }

    /// Walks traces; returns whether it could.
    fn settle(&mut self, settle: Settle) -> bool {
        let began = Instant::now();
        let settled = self.try_to("keep facts", async |tables| tables.settle(settle).await);
        self.settled = Instant::now();
        self.spare.worked(began.elapsed());
        self.intake.unsettled(self.tables.unsettled_bytes());
        self.intake.flushed(self.tables.settled_through(), 0);
        settled.is_some()
    }

    /// Facts can be made again, exports cannot: where they stand in each other's way, spans go on
    /// without.
    fn give_up_facts(&mut self) {
        if self.try_to("go on without facts", Tables::give_up_facts).is_some() {
            self.unsettled_since = None;
            let instead = "queries for facts walk the traces while spans up to this hour are kept";
            self.tell("keep the facts of some traces for good", instead);
        }
        self.intake.unsettled(self.tables.unsettled_bytes());
        self.intake.flushed(self.tables.settled_through(), 0);
    }

    /// Notes what the tables have, after a flush: what waits lies behind it.
    fn catch_up(&mut self) {
        self.caught_up = Instant::now();
        self.try_to("note what the tables have", Tables::catch_up);
    }

    /// Says that rows do not go for their age for a while: the system's clock may be wrong.
    fn clock_jumped(&self, said: i64) {
        self.metrics.clock_jumped();
        if let Some(troubles) = &self.options.troubles {
            let (now, said) = (hour_of(self.tables.now()), hour_of(said));
            // Full: whoever should read it does not.
            let _ = troubles.try_send(format!(
                "the system's clock says {now}, and said {said} before: in case it is wrong, no \
                 row is taken out for its age for a day (`timesink store expire \
                 --before` does it)"
            ));
        }
    }

    /// Says what goes wrong, once as long as it stays the same.
    fn tell(&mut self, what: &'static str, cause: &str) {
        if self.troubles.get(what).is_none_or(|told| told != cause) {
            if let Some(troubles) = &self.options.troubles {
                // Full: whoever should read it does not.
                let _ = troubles.try_send(format!("failed to {what}: {cause}"));
            }
            self.troubles.insert(what, cause.to_owned());
        }
    }
}

/// Does something; a panic is told as an error.
fn caught<T>(act: impl FnOnce() -> Result<T, timesink_tables::Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("internal error, please report it: a panic".to_owned()),
    }
}
