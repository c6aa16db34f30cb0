//! Connections: accepted up to a limit, given up when nothing comes, closed in order at the end.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;

use crate::doors::Door;
use crate::intake::locked;
use crate::metrics::Metrics;
use crate::paced::Paced;
use crate::tls::Tls;
use crate::watch::{Watched, WatchedExecutor};

/// A connection that has not sent a request by then is closed.
const FIRST_REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Without a request a connection is closed after so long, whatever else goes on in it: exporters
/// keep their connections, and export every few seconds. The head of an HTTP/1.1 request may take
/// so long, and the reading of an answer, too.
const IDLE_TIME_MAX: Duration = Duration::from_secs(75);

/// HTTP/2 connections are asked for a sign of life every so often, and closed without one.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIME_MAX: Duration = Duration::from_secs(20);

/// Calls of one HTTP/2 connection at a time; exporters wait with more.
const STREAMS_MAX: u32 = 200;

/// Bytes that an HTTP/2 connection, and a call on it, may send ahead of what is read.
const WINDOW_BYTES: u32 = 1 << 20;

/// Bytes of the head of a request. HTTP/1.1 reads bodies in pieces of this size, too.
const HEAD_BYTES_MAX: u32 = 64 << 10;

/// After a failed accept, when descriptors ran out for example: others may be closed meanwhile.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Between the last connection and the end of those that wait for a request: what has arrived by
/// then, and was not read yet, is answered.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// What the connections of all listeners share.
#[derive(Clone)]
pub(crate) struct Connections {
    /// A connection holds one permit while it is open.
    permits: Arc<Semaphore>,
    tls: Option<Tls>,
    metrics: Metrics,
    /// Turns true once, when no more connections are to be accepted.
    stopping: watch::Receiver<bool>,
}

impl Connections {
    pub(crate) fn new(
        max: usize,
        tls: Option<Tls>,
        metrics: Metrics,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(max.clamp(1, Semaphore::MAX_PERMITS)));
        Self { permits, tls, metrics, stopping }
    }

    /// Accepts connections until it is told to stop, then waits until those that are open ended.
    pub(crate) async fn serve(mut self, listener: TcpListener, door: Door) {
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = self.stopping.wait_for(|stopping| *stopping) => break,
            };
            match accepted {
                Ok((stream, _)) => self.open(stream, &door, graceful.watcher()),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
        for stream in waiting(listener) {
            self.open(stream, &door, graceful.watcher());
        }
        tokio::time::sleep(LAST_REQUESTS).await;
        graceful.shutdown().await;
    }

    fn open(&self, stream: TcpStream, door: &Door, watcher: Watcher) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            self.metrics.connection_refused();
            return;
        };
        // Answers are small and awaited: sent at once.
        let _ = stream.set_nodelay(true);
        let (door, metrics) = (door.clone(), self.metrics.clone());
        let connected = metrics.connected();
        let tls = self.tls.clone();
        let connection = async move {
            match tls {
                None => run(stream, door, metrics, watcher).await,
                Some(tls) => {
                    if let Some(stream) = encrypted(stream, &tls, &metrics).await {
                        run(stream, door, metrics, watcher).await;
                    }
                }
            }
            drop((permit, connected));
        };
        tokio::spawn(Watched::new(connection, self.metrics.clone()));
    }
}

/// Returns the connections that wait to be accepted, whose requests may have come already, and ends
/// the listener. The system is asked: the runtime may not have heard of them yet.
fn waiting(listener: TcpListener) -> Vec<TcpStream> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let accepted = std::iter::from_fn(|| listener.accept().ok());
    let streams = accepted.filter_map(|(stream, _)| {
        stream.set_nonblocking(true).ok()?;
        TcpStream::from_std(stream).ok()
    });
    streams.collect()
}

/// Agrees with a client on how to encrypt; whoever cannot, or takes too long, is let go.
async fn encrypted(
    stream: TcpStream,
    tls: &Tls,
    metrics: &Metrics,
) -> Option<TlsStream<TcpStream>> {
    let agreed = tokio::time::timeout(FIRST_REQUEST_TIME_MAX, tls.acceptor().accept(stream)).await;
    let stream = agreed.ok().and_then(Result::ok);
    if stream.is_none() {
        metrics.tls_refused();
    }
    stream
}

/// Serves one connection to its end. How it ends is its client's business.
async fn run<S>(stream: S, door: Door, metrics: Metrics, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let requests = Requests::default();
    let of_service = requests.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (door, open) = (door.clone(), of_service.begin());
        async move {
            let answer = door.answer(request).await;
            drop(open);
            Ok::<Response<Body>, Infallible>(answer)
        }
    });
    let builder = builder(metrics);
    let connection = builder.serve_connection(TokioIo::new(Paced::new(stream)), service);
    let served = watcher.watch(connection);
    tokio::select! {
        _ = served => {}
        () = requests.silence() => {}
    }
}

/// The requests of a connection.
#[derive(Debug, Clone, Default)]
struct Requests(Arc<Mutex<Count>>);

#[derive(Debug, Default)]
struct Count {
    open: usize,
    /// When the last one was answered, once one was.
    answered: Option<Instant>,
}

impl Count {
    /// Returns until when the connection, open since `began`, may be without a new request.
    fn idle_until(&self, began: Instant, now: Instant) -> Instant {
        match (self.open, self.answered) {
            // Looked at again by then.
            (1.., _) => now + FIRST_REQUEST_TIME_MAX,
            (0, Some(answered)) => answered + IDLE_TIME_MAX,
            (0, None) => began + FIRST_REQUEST_TIME_MAX,
        }
    }
}

/// A request that is not answered yet.
struct Open(Requests);

impl Requests {
    fn begin(&self) -> Open {
        locked(&self.0).open += 1;
        Open(self.clone())
    }

    /// Waits until there was no request for as long as a connection may be idle.
    async fn silence(&self) {
        let began = Instant::now();
        loop {
            let now = Instant::now();
            let until = locked(&self.0).idle_until(began, now);
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut count = locked(&self.0.0);
        count.open -= 1;
        count.answered = Some(Instant::now());
    }
}

fn builder(metrics: Metrics) -> Builder<WatchedExecutor> {
    let mut builder = Builder::new(WatchedExecutor(metrics));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_MAX);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_may_be_idle_for_a_while() {
        let requests = Requests::default();
        let began = Instant::now();
        let until = |now: Instant| locked(&requests.0).idle_until(began, now);
        assert_eq!(until(began), began + FIRST_REQUEST_TIME_MAX);
        let first = requests.begin();
        let late = began + 10 * IDLE_TIME_MAX;
        assert!(until(late) > late, "a request is open");
        let second = requests.begin();
        drop(first);
        assert!(until(late) > late, "another is");
        drop(second);
        let answered = locked(&requests.0).answered.expect("two were");
        assert_eq!(until(late), answered + IDLE_TIME_MAX);
    }
}
