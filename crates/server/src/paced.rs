//! [`Paced`]: a connection hands its thread on after it has read for a while.
//!
//! HTTP/2 reads whatever has come in one go, up to a connection's window: a MiB into memory that
//! was never touched takes longer than a task may hold an async thread.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read before others have their turn: some tens of microseconds.
const TURN_BYTES: usize = 64 << 10;

/// A stream of which so many bytes were read in this turn.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    stream: S,
    read: usize,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN_BYTES {
            self.read = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            // Its turn ends anyway.
            self.read = 0;
        }
        ready!(read)?;
        self.read += buffer.filled().len() - before;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Scenario: a stream that always has more.
    /// Guarantee: it is read to its end, with a pause after each turn.
    #[test]
    fn a_turn_ends_and_another_comes() {
        let bytes = vec![7_u8; 3 * TURN_BYTES + 1];
        let mut paced = Paced::new(bytes.as_slice());
        let mut context = Context::from_waker(Waker::noop());
        let (mut read, mut pauses) = (0, 0);
        while read < bytes.len() {
            let mut buffer = [0; 10_000];
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut paced).poll_read(&mut context, &mut buffer) {
                Poll::Ready(result) => {
                    result.unwrap();
                    read += buffer.filled().len();
                }
                Poll::Pending => pauses += 1,
            }
        }
        assert_eq!(pauses, 2);
    }
}
