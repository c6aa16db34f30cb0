//! Bodies of requests: read whole, within limits of size, of time and of what all of them hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::Error;
use crate::answer::{Refusal, bounded, too_large};
use crate::metrics::{Gauge, Metrics};
use crate::offload::Offload;

/// A body that is refused is read on and let go, up to so many times the limit: an exporter that is
/// cut off while it writes does not see the answer.
const DISCARDED_TIMES_MAX: usize = 4;

/// How many bytes all bodies together hold, up to a limit.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    held: Arc<AtomicUsize>,
    bytes_max: usize,
    gauge: Gauge,
}

impl InFlight {
    pub(crate) fn new(bytes_max: usize, gauge: Gauge) -> Self {
        Self { held: Arc::default(), bytes_max, gauge }
    }

    fn nothing(&self) -> Held {
        Held { bytes: 0, of: self.clone() }
    }

    /// Counts a body that is there already, if there is room for it, for as long as its bytes are.
    pub(crate) fn hold(&self, body: Vec<u8>) -> Option<Bytes> {
        let mut held = self.nothing();
        held.grow(body.len()).then(|| Bytes::from_owner(HeldBody { body, _held: held }))
    }
}

/// A body that counts until it was sent.
struct HeldBody {
    body: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for HeldBody {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Bytes counted as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    of: InFlight,
}

impl Held {
    /// Counts more bytes, if there is room for them.
    fn grow(&mut self, bytes: usize) -> bool {
        let before = self.of.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        self.of.gauge.inc_by(bytes as i64);
        before + bytes <= self.of.bytes_max
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.of.gauge.dec_by(self.bytes as i64);
    }
}

/// A whole body.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    /// Keeps the bytes counted.
    pub(crate) held: Held,
}

/// Reads a body to its end. `bytes_max` bounds what is held of it.
pub(crate) async fn receive<B>(
    body: B,
    bytes_max: usize,
    time_max: Duration,
    in_flight: &InFlight,
    offload: &Offload,
    metrics: &Metrics,
) -> Result<Received, Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let read = read(body, bytes_max, in_flight, metrics);
    let (parts, held) = tokio::time::timeout(time_max, read).await.unwrap_or_else(|_| {
        Err(Refusal::TooSlow(format!(
            "the request did not arrive within {} seconds (`receiver.request_seconds_max`)",
            time_max.as_secs()
        )))
    })?;
    let joined = join(parts, offload).await;
    let bytes = joined.map_err(|error| Refusal::Internal(error.to_string()))?;
    Ok(Received { bytes, held })
}

async fn read<B>(
    mut body: B,
    bytes_max: usize,
    in_flight: &InFlight,
    metrics: &Metrics,
) -> Result<(Vec<Bytes>, Held), Refusal>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut parts = Parts::default();
    let mut held = in_flight.nothing();
    let mut seen = 0usize;
    let mut refused = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Refusal::Malformed(bounded(&format!("the request was cut off: {error}")))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        metrics.bytes(data.len());
        seen = seen.saturating_add(data.len());
        if refused.is_none() {
            refused = if seen > bytes_max {
                Some(too_large(seen, bytes_max))
            } else if held.grow(data.len()) {
                parts.push(data);
                None
            } else {
                Some(Refusal::Busy(format!(
                    "requests that arrive now hold {} bytes (`receiver.inflight_mib_max`)",
                    in_flight.bytes_max
                )))
            };
            if refused.is_some() {
                parts = Parts::default();
                held = in_flight.nothing();
            }
        }
        if seen > bytes_max.saturating_mul(DISCARDED_TIMES_MAX) {
            break;
        }
    }
    match refused {
        Some(Refusal::TooLarge(_)) => Err(too_large(seen, bytes_max)),
        Some(refusal) => Err(refusal),
        None => Ok((parts.finish(), held)),
    }
}

/// The parts of a body as they come.
#[derive(Debug, Default)]
struct Parts {
    whole: Vec<Bytes>,
    /// Small parts, copied: each would keep the buffer that it was read into.
    small: BytesMut,
}

/// A part of so many bytes is kept as it came.
const PART_BYTES_MIN: usize = 4 << 10;

impl Parts {
    fn push(&mut self, part: Bytes) {
        if part.len() >= PART_BYTES_MIN {
            self.end_small();
            self.whole.push(part);
            return;
        }
        self.small.extend_from_slice(&part);
        if self.small.len() >= JOINED_HERE_BYTES_MAX {
            self.end_small();
        }
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.whole.push(self.small.split().freeze());
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        self.end_small();
        self.whole
    }
}

/// What is read, and let go, of the body of a request that is refused whatever it holds.
const REFUSED_BYTES_MAX: usize = 8 << 20;

/// Reads the body of a request that is refused, up to a limit: see [`DISCARDED_TIMES_MAX`].
pub(crate) async fn discard<B>(mut body: B, time_max: Duration)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let read = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > REFUSED_BYTES_MAX {
                break;
            }
        }
    };
    // Whoever takes longer has had its answer.
    let _ = tokio::time::timeout(time_max, read).await;
}

/// Parts that are put together on the async thread: as much as it copies in some microseconds.
const JOINED_HERE_BYTES_MAX: usize = 64 << 10;

/// Puts parts together; a part alone is not copied.
async fn join(parts: Vec<Bytes>, offload: &Offload) -> Result<Bytes, Error> {
    let bytes: usize = parts.iter().map(Bytes::len).sum();
    match parts.len() {
        0 => Ok(Bytes::new()),
        1 => Ok(parts.into_iter().next().unwrap_or_default()),
        _ if bytes <= JOINED_HERE_BYTES_MAX => Ok(parts.concat().into()),
        _ => offload.run(move || parts.concat().into()).await,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::Frame;

    use super::*;

    /// A body of these parts.
    struct Scripted(VecDeque<Bytes>);

    impl http_body::Body for Scripted {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|part| Ok(Frame::data(part))))
        }
    }

    fn read_parts(
        parts: &[&[u8]],
        bytes_max: usize,
        in_flight: &InFlight,
    ) -> Result<Vec<u8>, Refusal> {
        let body = Scripted(parts.iter().map(|part| Bytes::copy_from_slice(part)).collect());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let metrics = Metrics::new();
        let offload = Offload::start(1, metrics.clone()).unwrap();
        let patience = Duration::from_secs(5);
        let received = receive(body, bytes_max, patience, in_flight, &offload, &metrics);
        runtime.block_on(received).map(|received| received.bytes.to_vec())
    }

    #[test]
    fn parts_are_put_together() {
        let in_flight = InFlight::new(100, Gauge::default());
        assert_eq!(read_parts(&[], 10, &in_flight).unwrap(), b"");
        assert_eq!(read_parts(&[b"ab"], 10, &in_flight).unwrap(), b"ab");
        assert_eq!(read_parts(&[b"ab", b"", b"cd", b"e"], 5, &in_flight).unwrap(), b"abcde");
        assert_eq!(in_flight.held.load(Ordering::Relaxed), 0);
        let large = vec![1; 40 << 10];
        let large = large.as_slice();
        let in_flight = InFlight::new(1 << 20, Gauge::default());
        let whole = read_parts(&[large, large, b"end"], 1 << 20, &in_flight).unwrap();
        assert_eq!(whole, [large, large, b"end"].concat());
    }

    #[test]
    fn a_body_counts_until_its_bytes_are_gone() {
        let in_flight = InFlight::new(5, Gauge::default());
        let body = in_flight.hold(b"abcde".to_vec()).unwrap();
        assert!(in_flight.hold(b"f".to_vec()).is_none());
        let part = body.slice(1..2);
        drop(body);
        assert!(in_flight.hold(b"f".to_vec()).is_none());
        drop(part);
        assert!(in_flight.hold(b"f".to_vec()).is_some());
    }

    #[test]
    fn limits_are_told_apart() {
        let in_flight = InFlight::new(4, Gauge::default());
        let refused = |parts, bytes_max| read_parts(parts, bytes_max, &in_flight).unwrap_err();
        let too_large = refused(&[b"abcdef"], 5);
        assert!(matches!(&too_large, Refusal::TooLarge(text) if text.contains("6 bytes")));
        let far_too_large = refused(&[&[0; 1000]], 5);
        assert!(matches!(far_too_large, Refusal::TooLarge(_)), "{far_too_large:?}");
        assert!(matches!(refused(&[b"abc", b"def"], 10), Refusal::Busy(_)));
        assert_eq!(in_flight.held.load(Ordering::Relaxed), 0);
    }
}
