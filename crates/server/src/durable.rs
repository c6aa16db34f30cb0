//! [`Durable`]: the thread that makes safe what was decoded, in groups.
//!
//! An export is answered once its spans are in the log, and the log is on the disk, unless
//! [`Durability`] says otherwise. Messages that come while one group is being made safe are the
//! next one, so that many share a sync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::time::{Duration, Instant};

use timesink_store::{Appended, Journal, Logged};

use crate::Error;
use crate::flush::ToTables;
use crate::intake::{Group, Intake};
use crate::metrics::Metrics;
use crate::options::{Durability, StoreOptions};

/// The name of the thread.
const THREAD_NAME: &str = "timesink-log";

/// Spans that come again within so long are known, and up to twice as long: exporters give up long
/// before.
pub(crate) const SEEN_FOR: Duration = Duration::from_mins(10);

/// Where exports are not answered after a sync: between two of them.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Between two looks at what is not needed any more, when nothing comes.
const TIDY_EVERY: Duration = Duration::from_secs(10);

/// The thread; it ends once the intake is closed.
#[derive(Debug)]
pub(crate) struct Durable {
    intake: Arc<Intake>,
    thread: std::thread::JoinHandle<()>,
}

impl Durable {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the system has none.
    pub(crate) fn start(
        intake: Arc<Intake>,
        journal: Journal,
        tables: Sender<ToTables>,
        options: &StoreOptions,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let now = Instant::now();
        let writer = Writer {
            intake: Arc::clone(&intake),
            journal,
            tables,
            durability: options.durability,
            troubles: options.troubles.clone(),
            metrics,
            aged: now,
            synced: now,
            is_unsynced: false,
        };
        let thread = std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || writer.run())
            .map_err(Error::Start)?;
        Ok(Self { intake, thread })
    }

    /// Tells the thread to end after what was decoded until now.
    pub(crate) fn stop(&self) {
        self.intake.close();
    }

    /// Returns whether the thread has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.intake.close();
    }
}

struct Writer {
    intake: Arc<Intake>,
    journal: Journal,
    /// Whoever brings what is safe into the tables.
    tables: Sender<ToTables>,
    durability: Durability,
    /// Where to say what goes wrong.
    troubles: Option<SyncSender<String>>,
    metrics: Metrics,
    /// When spans were forgotten last.
    aged: Instant,
    /// When the log was synced last.
    synced: Instant,
    /// Whether something was written since.
    is_unsynced: bool,
}

impl Writer {
    fn run(mut self) {
        while self.intake.wait_for_messages(self.idle()) {
            self.group();
            if self.is_unsynced && self.synced.elapsed() >= SYNC_EVERY {
                self.sync_late();
            }
        }
        // What was decoded between the last group and the end.
        self.group();
        if self.is_unsynced {
            self.sync_late();
        }
    }

    /// Returns how long there is nothing to do, if nothing comes.
    fn idle(&self) -> Duration {
        if self.is_unsynced { SYNC_EVERY.saturating_sub(self.synced.elapsed()) } else { TIDY_EVERY }
    }

    /// Makes safe what was answered before.
    fn sync_late(&mut self) {
        if let Err(error) = self.sync() {
            self.metrics.not_made_safe();
            if let Some(troubles) = &self.troubles {
                // Full: whoever should read it does not.
                let _ = troubles
                    .try_send(format!("spans were answered that a power cut may take: {error}"));
            }
        }
    }

    fn sync(&mut self) -> Result<(), timesink_store::Error> {
        // After an error there is nothing left that a sync could make safe.
        (self.synced, self.is_unsynced) = (Instant::now(), false);
        self.journal.sync().map(drop)
    }

    /// Makes one group safe, and says so to those who wait.
    fn group(&mut self) {
        self.tidy();
        let mut group = self.intake.gather();
        if group.is_empty() {
            return self.intake.let_go(&group);
        }
        let began = Instant::now();
        let written = catch_unwind(AssertUnwindSafe(|| self.write(&group)));
        match written {
            Ok(Ok(appended)) => {
                self.metrics.made_safe(began.elapsed(), appended.repeated);
                let Logged { spans, quarantine, record } = appended.logged.clone();
                (group.decoded.spans, group.decoded.quarantine) = (spans, quarantine);
                self.intake.flushing(group.bytes);
                // It ends after this thread; if it panicked, what it was to write is in the log.
                let part = ToTables::Part((appended.logged, group.bytes));
                if self.tables.send(part).is_err() {
                    self.intake.flushed(0, group.bytes);
                }
                self.intake.arrive(group, record);
            }
            Ok(Err(error)) => {
                self.metrics.not_made_safe();
                self.intake.refuse(group, &error);
            }
            // A panic costs this group, which may come again.
            Err(_) => {
                self.journal.forget_unsynced();
                self.metrics.not_made_safe();
                self.intake.refuse(group, &"internal error, please report it: a panic");
            }
        }
    }

    fn write(&mut self, group: &Group) -> Result<Appended, timesink_store::Error> {
        let appended = self.journal.append(&group.decoded.spans, &group.decoded.quarantine)?;
        match self.durability {
            Durability::Sync => self.sync()?,
            Durability::Interval => {
                self.journal.answered();
                self.is_unsynced = true;
            }
        }
        Ok(appended)
    }

    /// Removes what is not needed any more, also on a full disk, and forgets old spans.
    fn tidy(&mut self) {
        // What cannot be removed now goes with the next group.
        let _ = self.journal.remove_through(self.intake.released());
        if self.aged.elapsed() > SEEN_FOR {
            self.journal.age();
            self.aged = Instant::now();
        }
    }
}
