//! [`Server`]: listeners, connections and what stands behind them, started and stopped in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timesink_otlp::Decoded;
use timesink_query::Limits;
use timesink_rules::Engine;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Error;
use crate::connections::Connections;
use crate::doors::Door;
use crate::intake::Intake;
use crate::live::{Live, OnAnalysis};
use crate::metrics::Metrics;
use crate::offload::Offload;
use crate::options::ServerOptions;
use crate::receiver::Receiver;
use crate::web;

/// How long requests that are under way may take once the server stops.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);

/// The name of the async threads.
const THREAD_NAME: &str = "timesink-async";

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// In the order in which they were asked for.
    pub otlp: Vec<SocketAddr>,
    pub web: Option<SocketAddr>,
}

/// A server that takes spans; dropped, it closes what is open.
pub struct Server {
    addresses: Addresses,
    intake: Arc<Intake>,
    live: Option<Live>,
    /// Whether it takes requests, for `/readyz`.
    is_ready: Arc<AtomicBool>,
    /// Sent `true` once, when no more connections are to be accepted.
    stopping: watch::Sender<bool>,
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
        let otlp = listen(&runtime, &options.otlp_addresses)?;
        let web_listener = listen(&runtime, options.web_address.as_slice())?;
        let addresses =
            Addresses { otlp: addresses(&otlp)?, web: addresses(&web_listener)?.first().copied() };
        let metrics = Metrics::new();
        let limits = &options.receiver;
        let intake = Arc::new(Intake::new(
            threads,
            limits.message_bytes_max,
            limits.memory_bytes_max,
            options.clock,
        ));
        let (stopping, stops) = watch::channel(false);
        let connections = Connections::new(limits.connections_max, metrics.clone(), stops);
        let offload = Offload::new(threads, metrics.clone());
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
            )?),
        };
        let receiver =
            Receiver::new(limits.clone(), Arc::clone(&intake), offload.clone(), metrics.clone());
        let mut listeners = JoinSet::new();
        for listener in otlp {
            let door = Door::Otlp { receiver: receiver.clone(), token: options.token.clone() };
            listeners.spawn_on(connections.clone().serve(listener, door), runtime.handle());
        }
        for listener in web_listener {
            let state = web::State {
                live: live.as_ref().map(Live::shared),
                metrics: metrics.clone(),
                offload: offload.clone(),
                is_ready: Arc::clone(&is_ready),
                version: options.version,
                clock: options.clock,
            };
            let door = Door::Web { router: web::router(state), token: options.token.clone() };
            listeners.spawn_on(connections.clone().serve(listener, door), runtime.handle());
        }
        let runtime = Some(runtime);
        Ok(Self { addresses, intake, live, is_ready, stopping, listeners, runtime })
    }

    /// Returns where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns everything taken since the last call.
    pub fn take(&self) -> Decoded {
        let harvest = self.intake.harvest();
        self.intake.keep(0);
        harvest.decoded
    }

    /// Returns how many messages were turned away because the spans taken hold all the memory that
    /// they may: exporters send them again for a while.
    pub fn turned_away(&self) -> u64 {
        self.intake.turned_away()
    }

    /// Waits for SIGTERM or SIGINT.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when signals cannot be waited for.
    pub fn wait_for_signal(&self) -> Result<(), Error> {
        self.runtime().block_on(signal()).map_err(Error::Start)
    }

    /// Stops in order: says that it is not ready, accepts no more, finishes what is under way for a
    /// while, then ends the analysis and closes what is still open. Returns whether all of it ended
    /// by itself.
    pub fn stop(&mut self) -> bool {
        self.is_ready.store(false, Ordering::Relaxed);
        // Nobody listens any more when all listeners have ended already.
        let _ = self.stopping.send(true);
        let Some(runtime) = self.runtime.take() else { return true };
        let mut listeners = std::mem::take(&mut self.listeners);
        let ended = runtime.block_on(async {
            let all = async { while listeners.join_next().await.is_some() {} };
            tokio::time::timeout(STOP_TIME_MAX, all).await.is_ok()
        });
        if let Some(live) = &mut self.live {
            live.stop();
        }
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
        if let Some(live) = &mut self.live {
            live.stop();
        }
    }
}

/// Without a token nothing may listen where other machines could ask.
fn check_reach(options: &ServerOptions) -> Result<(), Error> {
    let mut addresses = options.otlp_addresses.iter().chain(&options.web_address);
    match addresses.find(|address| !address.ip().is_loopback()) {
        Some(address) if options.token.is_none() => Err(Error::Open { address: *address }),
        _ => Ok(()),
    }
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

async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
