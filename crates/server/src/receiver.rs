//! [`Receiver`]: one export request in, one answer out, whatever the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::answer::{Answer, Refusal, bounded};
use crate::body::{Held, InFlight};
use crate::decompress::{Compression, decompress};
use crate::intake::{Encoding, Intake, Safe, Taken};
use crate::metrics::Metrics;
use crate::offload::Offload;
use crate::options::ReceiverLimits;
use crate::watch;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// What a request exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// A message as it came, and how to read it.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) protocol: Protocol,
    pub(crate) signal: Signal,
    pub(crate) encoding: Encoding,
    pub(crate) compression: Compression,
    pub(crate) bytes: Bytes,
    /// Keeps the bytes counted as in flight.
    #[expect(dead_code, reason = "it counts until the message is dropped")]
    pub(crate) held: Held,
}

/// Takes exports, for all connections and both protocols.
#[derive(Debug, Clone)]
pub(crate) struct Receiver {
    pub(crate) limits: ReceiverLimits,
    pub(crate) in_flight: InFlight,
    pub(crate) metrics: Metrics,
    intake: Arc<Intake>,
    pub(crate) offload: Offload,
    /// Whether an exporter was told that its metrics and its logs go nowhere.
    told: Arc<[AtomicBool; 2]>,
}

impl Receiver {
    pub(crate) fn new(
        limits: ReceiverLimits,
        intake: Arc<Intake>,
        offload: Offload,
        metrics: Metrics,
    ) -> Self {
        let in_flight = InFlight::new(limits.inflight_bytes_max, metrics.inflight());
        Self { limits, in_flight, metrics, intake, offload, told: Arc::default() }
    }

    /// Takes a message and says what came of it. The answer is given once its spans are taken.
    pub(crate) async fn export(&self, message: Message) -> Answer {
        match message.signal {
            Signal::Traces => self.take(message).await,
            Signal::Metrics => let_go(message.signal, &self.told[0]),
            Signal::Logs => let_go(message.signal, &self.told[1]),
        }
    }

    async fn take(&self, message: Message) -> Answer {
        let (intake, protocol) = (Arc::clone(&self.intake), message.protocol);
        let bytes_max = self.limits.message_bytes_max;
        let work = move || take(&intake, &message, bytes_max);
        let taken = match self.offload.run(work).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(refusal)) => return Answer::Refused(refusal),
            Err(error) => return Answer::Refused(Refusal::Internal(error.to_string())),
        };
        let Taken { accepted, rejected, error, safe } = taken;
        if let Some(refusal) = not_safe(safe).await {
            return Answer::Refused(refusal);
        }
        self.metrics.received(protocol, accepted, &rejected);
        Answer::of_message(accepted, &rejected, error.as_ref())
    }
}

/// `opentelemetry-instrument` exports all three signals. To refuse two of them would fill the
/// logs of its users; to take them without a word would be untrue.
fn let_go(signal: Signal, told: &AtomicBool) -> Answer {
    if told.swap(true, Ordering::Relaxed) {
        return Answer::Success;
    }
    let signal = signal.as_str();
    Answer::Partial {
        rejected: 0,
        message: format!(
            "timesink keeps traces only: {signal} are accepted and dropped; \
             `OTEL_{}_EXPORTER=none` stops sending them",
            signal.to_uppercase()
        ),
    }
}

/// Waits until spans are safe; returns why they are not.
async fn not_safe(safe: Option<oneshot::Receiver<Safe>>) -> Option<Refusal> {
    match safe?.await {
        Ok(Ok(())) => None,
        // A full disk, for example: there may be room again.
        Ok(Err(why)) => Some(Refusal::Busy(bounded(&format!("the spans are not kept: {why}")))),
        Err(_) => Some(Refusal::Internal("the spans of this export are lost".to_owned())),
    }
}

/// Looks for room only once it is this message's turn: many that wait could each have found some.
fn take(intake: &Intake, message: &Message, bytes_max: usize) -> Result<Taken, Refusal> {
    watch::computes();
    if !intake.has_room() {
        return Err(Refusal::Busy(format!(
            "the spans taken hold the {} bytes that they may (of `receiver.memory_mib_max`); there \
             is room again once they are analyzed",
            intake.memory_bytes_max()
        )));
    }
    let whole = decompress(&message.bytes, message.compression, bytes_max)?;
    Ok(intake.take(message.encoding, &whole))
}
