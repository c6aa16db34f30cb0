//! [`Server`]: listeners, connections and what stands behind them, started and stopped in order.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timesink_otlp::Decoded;
use timesink_query::Limits;
use timesink_rules::Engine;
use timesink_store::log::{LogOptions, Replayed};
use timesink_store::{Journal, LocalDisk, WriterLock};
use timesink_tables::{Location, Tables, claim};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use url::Url;

use crate::Error;
use crate::audit::Audit;
use crate::connections::Connections;
use crate::doors::Door;
use crate::durable::Durable;
use crate::flush::{self, Flusher, Opened};
use crate::intake::Intake;
use crate::live::{Live, OnAnalysis, Past};
use crate::metrics::Metrics;
use crate::offload::Offload;
use crate::options::{ServerOptions, StoreOptions};
use crate::receiver::Receiver;
use crate::redact;
use crate::tls::Tls;
use crate::web;

/// How long requests that are under way may take once the server stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// Between two looks at whether the analysis has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Connections to page, API and metrics: exporters that take all of theirs do not lock people out.
const WEB_CONNECTIONS_MAX: usize = 128;

/// The name of the async threads.
const THREAD_NAME: &str = "timesink-async";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// In the order in which they were asked for.
    pub otlp: Vec<SocketAddr>,
    /// Of page, API and metrics, if they were asked for.
    pub web: Option<SocketAddr>,
}

/// A server that takes spans; dropped, it closes what is open.
pub struct Server {
    addresses: Addresses,
    intake: Arc<Intake>,
    /// Where there is a log.
    durable: Option<Durable>,
    flusher: Option<Flusher>,
    replayed: Option<Replayed>,
    live: Option<Live>,
    /// Whether it takes requests, for `/readyz`.
    is_ready: Arc<AtomicBool>,
    /// Sent `true` once, when no more connections are to be accepted.
    stopping: watch::Sender<bool>,
    /// How many signals to end came.
    signals: watch::Receiver<u32>,
    listeners: JoinSet<()>,
    runtime: Option<Runtime>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// What a server does with the spans that it takes.
pub enum Purpose {
    /// Keeps them until [`Server::take`].
    Collect,
    /// Analyzes those of the last minutes again and again.
    Live { engine: Box<Engine>, limits: Limits, on_analysis: OnAnalysis },
}

/// What spans may hold of the memory that a server may take: the rest is for the analysis, for what
/// is written to tables, and for what tells spans that come again.
const SPANS_SHARE: f64 = 0.5;

/// With tables, they may hold this share of so many bytes, which everything else needs most of,
/// however few spans there are, and this share of what is above.
const SPANS_SHARE_WITH_TABLES: f64 = 0.2;
const BASE_BYTES: u64 = 1 << 30;
const SPANS_SHARE_ABOVE: f64 = 1.0 / 3.0;

/// The share that tells spans that come again.
const KNOWN_SHARE: f64 = 0.07;

/// So many times what one flush holds have room beside each other.
const FLUSHES: u64 = 4;

impl Purpose {
    /// Returns what spans may hold of so much memory.
    fn spans_bytes_max(&self, memory_bytes: u64, has_tables: bool) -> u64 {
        match self {
            Self::Collect => memory_bytes,
            Self::Live { .. } if has_tables => beside_tables(memory_bytes),
            Self::Live { .. } => (memory_bytes as f64 * SPANS_SHARE) as u64,
        }
    }

    /// Returns whether a signal to the process is one to the server.
    fn ends_by_signal(&self) -> bool {
        matches!(self, Self::Live { .. })
    }
}

/// Returns what spans may hold of so much memory where there are tables.
fn beside_tables(memory_bytes: u64) -> u64 {
    let base = memory_bytes.min(BASE_BYTES);
    let above = memory_bytes - base;
    (base as f64 * SPANS_SHARE_WITH_TABLES + above as f64 * SPANS_SHARE_ABOVE) as u64
}

impl std::fmt::Debug for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Collect => "Collect",
            Self::Live { .. } => "Live",
        })
    }
}

impl Server {
    /// Listens, and takes requests from then on.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] when an address can be reached from elsewhere and there is no token,
    /// [`Error::Listen`] when an address cannot be had, [`Error::Start`] when threads cannot.
    pub fn start(options: &ServerOptions, purpose: Purpose) -> Result<Self, Error> {
        check_reach(options)?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(THREAD_NAME)
            .enable_all()
            .build()
            .map_err(Error::Start)?;
        let signals = signals(&runtime, purpose.ends_by_signal())?;
        let otlp = listen(&runtime, &options.otlp_addresses)?;
        let web_listener = listen(&runtime, options.web_address.as_slice())?;
        let addresses =
            Addresses { otlp: addresses(&otlp)?, web: addresses(&web_listener)?.first().copied() };
        let metrics = Metrics::new();
        let limits = &options.receiver;
        let spans_bytes_max =
            purpose.spans_bytes_max(limits.memory_bytes_max, options.data.is_some());
        let store = options.data.as_deref();
        let bucket = options.store.bucket.as_ref();
        let store = store.map(|folder| open_store(folder, bucket, options.clock)).transpose()?;
        let intake = Arc::new(Intake::new(
            threads,
            limits.message_bytes_max,
            spans_bytes_max,
            options.clock,
            redact::redaction(options.redaction.as_ref(), options.data.as_deref())?,
            store.is_some(),
        ));
        let (mut durable, mut flusher, mut replayed, mut past) = (None, None, None, None);
        if let Some(store) = store {
            let (mut journal, opened) = store;
            journal.limit_known((limits.memory_bytes_max as f64 * KNOWN_SHARE) as u64);
            metrics.replayed(&opened.recovery.replayed);
            replayed = Some(opened.recovery.replayed.clone());
            let (intake, metrics) = (|| Arc::clone(&intake), || metrics.clone());
            let flush_bytes = options.store.flush_bytes.min(spans_bytes_max / FLUSHES);
            let store = &StoreOptions { flush_bytes, ..options.store.clone() };
            let settle = options.live.settle;
            let (thread, tables) = Flusher::start(intake(), opened, store, settle, metrics())?;
            past = options.data.clone().map(|data| {
                let troubles = options.store.troubles.clone();
                Past::new(data, options.clock, tables.clone(), troubles)
            });
            flusher = Some(thread);
            durable = Some(Durable::start(intake(), journal, tables, store, metrics())?);
        }
        let (stopping, stops) = watch::channel(false);
        let tls = tls(options, &metrics)?;
        let audit = options.data.as_deref();
        let audit = audit.map(|data| Audit::start(data, options.clock, metrics.clone()));
        let audit = audit.transpose()?;
        let connections = |max| Connections::new(max, tls.clone(), metrics.clone(), stops.clone());
        let otlp_connections = connections(limits.connections_max);
        let offload = Offload::start(threads, metrics.clone())?;
        let is_ready = Arc::new(AtomicBool::new(true));
        let live = match purpose {
            Purpose::Collect => None,
            Purpose::Live { engine, limits, on_analysis } => Some(Live::start(
                options.live.clone(),
                Arc::clone(&intake),
                *engine,
                limits,
                metrics.clone(),
                on_analysis,
                past,
            )?),
        };
        let receiver =
            Receiver::new(limits.clone(), Arc::clone(&intake), offload.clone(), metrics.clone());
        let is_certified = asks_for_certificates(options);
        let mut listeners = JoinSet::new();
        for listener in otlp {
            let (receiver, keys) = (receiver.clone(), options.keys.clone());
            let door = Door::Otlp { receiver, keys, is_certified };
            listeners.spawn_on(otlp_connections.clone().serve(listener, door), runtime.handle());
        }
        for listener in web_listener {
            let state = web::State {
                live: live.as_ref().map(Live::shared),
                metrics: metrics.clone(),
                offload: Offload::start(1, metrics.clone())?,
                answers: web::answers(&metrics),
                is_ready: Arc::clone(&is_ready),
                version: options.version,
                clock: options.clock,
            };
            let (router, keys) = (web::router(state), options.keys.clone());
            let door = Door::Web { router, keys, is_certified, audit: audit.clone() };
            let served = connections(WEB_CONNECTIONS_MAX).serve(listener, door);
            listeners.spawn_on(served, runtime.handle());
        }
        let runtime = Some(runtime);
        let this = Self {
            addresses,
            intake,
            durable,
            flusher,
            replayed,
            live,
            is_ready,
            stopping,
            signals,
            listeners,
            runtime,
        };
        Ok(this)
    }

    /// Returns where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns what came of reading the log of the data directory, if there is one.
    pub fn recovered(&self) -> Option<&Replayed> {
        self.replayed.as_ref()
    }

    /// Returns everything taken since the last call.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] when a part of it is lost.
    pub fn take(&self) -> Result<Decoded, Error> {
        let harvest = self.intake.harvest();
        self.intake.keep(0);
        harvest.check()?;
        Ok(harvest.decoded)
    }

    /// Returns how many messages were turned away because the spans taken hold all the memory that
    /// they may: exporters send them again for a while.
    pub fn turned_away(&self) -> u64 {
        self.intake.turned_away()
    }

    /// Waits for SIGTERM or SIGINT, which a live server takes from its start on.
    pub fn wait_for_signal(&self) {
        let mut signals = self.signals.clone();
        // The other end is gone only when the runtime is.
        let _ = self.runtime().block_on(signals.wait_for(|signals| *signals > 0));
    }

    /// Stops in order: says that it is not ready, accepts no more, finishes what is under way for a
    /// while, then ends the analysis and closes what is still open. A second signal ends the
    /// waiting. Returns whether all of it ended by itself.
    pub fn stop(&mut self) -> bool {
        self.is_ready.store(false, Ordering::Relaxed);
        if let Some(live) = &self.live {
            live.stop();
        }
        // Nobody listens any more when all listeners have ended already.
        let _ = self.stopping.send(true);
        let Some(runtime) = self.runtime.take() else { return true };
        let (mut listeners, mut signals) =
            (std::mem::take(&mut self.listeners), self.signals.clone());
        let (live, durable) = (self.live.take(), self.durable.take());
        let flusher = self.flusher.take();
        let ended = runtime.block_on(async {
            let all = async {
                while listeners.join_next().await.is_some() {}
                // The last answers waited for it.
                if let Some(durable) = &durable {
                    durable.stop();
                }
                while durable.as_ref().is_some_and(|durable| !durable.has_ended())
                    || flusher.as_ref().is_some_and(|flusher| !flusher.has_ended())
                    || live.as_ref().is_some_and(|live| !live.has_ended())
                {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            };
            tokio::select! {
                ended = tokio::time::timeout(STOP_TIME_MAX, all) => ended.is_ok(),
                Ok(_) = signals.wait_for(|signals| *signals > 1) => false,
            }
        });
        runtime.shutdown_background();
        ended
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is taken when the server stops, which ends its use")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if let Some(live) = &self.live {
            live.stop();
        }
        if let Some(durable) = &self.durable {
            durable.stop();
        }
    }
}

/// Opens log and tables of a data directory.
fn open_store(
    folder: &Path,
    bucket: Option<&Url>,
    clock: fn() -> i64,
) -> Result<(Journal, Opened), Error> {
    let lock = Arc::new(WriterLock::take(folder)?);
    let place = Location::made(folder, bucket)?;
    let (mut journal, mut recovery) =
        Journal::open(Arc::new(LocalDisk), folder, LogOptions::default(), None)?;
    let runtime = flush::runtime()?;
    runtime.block_on(claim(folder, &place))?;
    let mut tables = runtime.block_on(Tables::open(place.store()?, clock))?;
    runtime.block_on(tables.note_lost(&recovery.replayed))?;
    recovery.replayed.excuse_through(tables.both_through());
    journal.go_on_behind(tables.through());
    Ok((journal, Opened { tables, runtime, recovery, lock }))
}

/// Reads certificates, and goes on looking at them.
fn tls(options: &ServerOptions, metrics: &Metrics) -> Result<Option<Tls>, Error> {
    let Some(files) = options.tls.clone() else { return Ok(None) };
    let tls = Tls::load(files)?;
    let (metrics, troubles) = (metrics.clone(), options.store.troubles.clone());
    tls.watch(move |error| {
        metrics.tls_not_reloaded();
        if let Some(troubles) = &troubles {
            // Full: whoever should read it does not.
            let _ = troubles.try_send(format!("{error}; the certificate before stays in use"));
        }
    })?;
    Ok(Some(tls))
}

/// Without a token or certificates nothing may listen where other machines could ask.
fn check_reach(options: &ServerOptions) -> Result<(), Error> {
    let mut addresses = options.otlp_addresses.iter().chain(&options.web_address);
    match addresses.find(|address| !address.ip().is_loopback()) {
        Some(address) if options.keys.is_empty() && !asks_for_certificates(options) => {
            Err(Error::Open { address: *address })
        }
        _ => Ok(()),
    }
}

fn asks_for_certificates(options: &ServerOptions) -> bool {
    options.tls.as_ref().is_some_and(|files| files.client_roots.is_some())
}

fn listen(runtime: &Runtime, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let listen = |address: &SocketAddr| {
        let bound = runtime.block_on(TcpListener::bind(address));
        bound.map_err(|cause| Error::Listen { address: *address, cause })
    };
    addresses.iter().map(listen).collect()
}

fn addresses(listeners: &[TcpListener]) -> Result<Vec<SocketAddr>, Error> {
    listeners.iter().map(|listener| listener.local_addr().map_err(Error::Start)).collect()
}

/// Counts the signals that ask to end, from now on; none for a server that another command runs.
fn signals(runtime: &Runtime, are_wanted: bool) -> Result<watch::Receiver<u32>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, receiver) = watch::channel(0);
    if are_wanted {
        let _guard = runtime.enter();
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::Start)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Start)?;
        runtime.spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                sender.send_modify(|signals| *signals += 1);
            }
        });
    }
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: spans may hold what docs/options.md says.
    #[test]
    fn spans_have_a_fifth_of_the_first_gib_and_a_third_of_the_rest() {
        const MIB: u64 = 1 << 20;
        assert_eq!(beside_tables(500 * MIB), 100 * MIB);
        assert_eq!(beside_tables(1024 * MIB) >> 20, 204);
        assert_eq!(beside_tables((1024 + 3000) * MIB) >> 20, 1204);
    }
}
