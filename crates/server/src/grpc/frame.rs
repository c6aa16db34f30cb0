//! The frame around the message of a unary call (gRPC over HTTP/2, "Length-Prefixed-Message").
//!
//! The calls are read here and not by a generated service, because that decompresses on the async
//! thread, and says `OUT_OF_RANGE` of what is too large, which exporters send again.

use bytes::{BufMut, Bytes, BytesMut};

use crate::answer::{Refusal, too_large};

/// A flag, then the length of the message in four bytes.
pub(super) const HEADER_BYTES: usize = 5;

/// The one message of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) is_compressed: bool,
    pub(super) message: Bytes,
}

/// Reads the one message that a body has to hold.
pub(super) fn parse(body: &Bytes, bytes_max: usize) -> Result<Frame, Refusal> {
    let protocol = |message: &str| Err(Refusal::Protocol(message.to_owned()));
    let Some((header, rest)) = body.split_first_chunk::<HEADER_BYTES>() else {
        return protocol(match body.len() {
            0 => "expected a message, found an empty body",
            _ => "the body ends within the frame's header",
        });
    };
    let [flag, length @ ..] = *header;
    let length = u32::from_be_bytes(length) as usize;
    if flag > 1 {
        return protocol("the frame's compressed-flag is neither 0 nor 1");
    }
    if length > bytes_max {
        return Err(too_large(length, bytes_max));
    }
    match rest.len() {
        found if found < length => protocol("the body ends within the message"),
        found if found > length => protocol("expected one message, found more"),
        _ => Ok(Frame { is_compressed: flag == 1, message: body.slice(HEADER_BYTES..) }),
    }
}

/// Returns a message in its frame, not compressed.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(HEADER_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_framed_message_comes_back(message in vec(any::<u8>(), 0..100)) {
            let parsed = parse(&frame(&message), 100).unwrap();
            let message = Bytes::from(message);
            prop_assert_eq!(parsed, Frame { is_compressed: false, message });
        }

        /// Most bytes claim a length that is not theirs: near ones are tried too.
        #[test]
        fn any_body_is_one_message_or_refused(
            flag in 0..3_u8,
            length in prop_oneof![any::<u32>(), 0..20_u32],
            rest in vec(any::<u8>(), 0..20),
            kept in 0..30_usize,
            bytes_max in 0..20_usize,
        ) {
            let mut body = [&[flag], length.to_be_bytes().as_slice(), &rest].concat();
            body.truncate(kept);
            let is_whole = body.len() == HEADER_BYTES + length as usize && flag < 2;
            match parse(&Bytes::from(body.clone()), bytes_max) {
                Ok(frame) => {
                    prop_assert!(is_whole && frame.message.len() <= bytes_max);
                    prop_assert_eq!(&body[HEADER_BYTES..], &frame.message[..]);
                }
                Err(Refusal::Protocol(why)) => prop_assert!(!is_whole, "{why}"),
                Err(refusal) => prop_assert!(length as usize > bytes_max, "{refusal:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_one_message_is_refused() {
        let check = |body: &'static [u8], expected: &str| {
            let refusal = parse(&Bytes::from_static(body), 10).unwrap_err();
            assert!(refusal.message().contains(expected), "{refusal:?}");
        };
        check(b"", "an empty body");
        check(b"\0\0\0\0", "within the frame's header");
        check(b"\x02\0\0\0\0", "neither 0 nor 1");
        check(b"\0\0\0\0\x02a", "within the message");
        check(b"\0\0\0\0\x01ab", "found more");
        check(b"\0\0\0\0\x0ba", "over the limit of 10");
        check(b"\0\xff\xff\xff\xff", "message of 4294967295 bytes");
    }
}
