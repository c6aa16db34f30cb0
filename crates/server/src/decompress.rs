//! Decompression of messages, up to a limit: what is small on the wire can be huge.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

use crate::answer::{Refusal, bounded};

/// How a message is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Identity,
    Gzip,
    Zstd,
}

impl Compression {
    /// The words for all of them, as gRPC and HTTP list them.
    pub(crate) const ACCEPTED: &'static str = "identity, gzip, zstd";

    /// Returns the compression that a header names; none at all is identity.
    pub(crate) fn parse(name: Option<&[u8]>) -> Result<Self, Refusal> {
        let name = name.unwrap_or_default().trim_ascii().to_ascii_lowercase();
        match name.as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"zstd" => Ok(Self::Zstd),
            other => Err(Refusal::Compression(bounded(&format!(
                "compression `{}` is not known: expected {}",
                String::from_utf8_lossy(other),
                Self::ACCEPTED
            )))),
        }
    }
}

/// Returns the message as it was before it was compressed, at most `bytes_max` bytes of it.
pub(crate) fn decompress(
    message: &[u8],
    compression: Compression,
    bytes_max: usize,
) -> Result<Cow<'_, [u8]>, Refusal> {
    match compression {
        Compression::Identity if message.len() > bytes_max => {
            Err(crate::answer::too_large(message.len(), bytes_max))
        }
        Compression::Identity => Ok(Cow::Borrowed(message)),
        Compression::Gzip => read("gzip", MultiGzDecoder::new(message), message, bytes_max),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(message).map_err(|e| malformed("zstd", &e))?;
            read("zstd", decoder, message, bytes_max)
        }
    }
}

fn read<'a>(
    name: &str,
    decoder: impl Read,
    message: &[u8],
    bytes_max: usize,
) -> Result<Cow<'a, [u8]>, Refusal> {
    // Traces shrink to a tenth or so; what shrinks further grows as it is read.
    let mut whole = Vec::with_capacity(message.len().saturating_mul(8).min(bytes_max));
    let limit = bytes_max as u64 + 1;
    decoder.take(limit).read_to_end(&mut whole).map_err(|error| malformed(name, &error))?;
    if whole.len() > bytes_max {
        return Err(Refusal::TooLarge(format!(
            "message of {} bytes of {name} is over the limit of {bytes_max} bytes once \
             decompressed (`receiver.message_mib_max`): export fewer spans at a time",
            message.len()
        )));
    }
    Ok(Cow::Owned(whole))
}

fn malformed(name: &str, error: &io::Error) -> Refusal {
    Refusal::Malformed(bounded(&format!("the message is not {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Cut, damaged or followed by more, it never grows beyond the limit.
        #[test]
        fn any_bytes_are_a_message_within_the_limit_or_refused(
            message in vec(0..4_u8, 0..2000),
            kept in 0..500_usize,
            damaged in prop::option::of((0..500_usize, any::<u8>())),
            more in vec(any::<u8>(), 0..10),
            bytes_max in 0..2000_usize,
        ) {
            let zstd = zstd::encode_all(message.as_slice(), 3).unwrap();
            for (mut bytes, compression) in [
                (message.clone(), Compression::Identity),
                (gzip(&message), Compression::Gzip),
                (zstd, Compression::Zstd),
            ] {
                let whole = decompress(&bytes, compression, message.len()).unwrap().into_owned();
                prop_assert_eq!(&whole, &message);
                bytes.truncate(kept);
                if let Some((at, byte)) = damaged && let Some(found) = bytes.get_mut(at) {
                    *found = byte;
                }
                bytes.extend(&more);
                if let Ok(read) = decompress(&bytes, compression, bytes_max) {
                    prop_assert!(read.len() <= bytes_max);
                }
            }
        }

        #[test]
        fn any_name_is_known_or_refused(name in vec(any::<u8>(), 0..2000)) {
            if let Err(refusal) = Compression::parse(Some(&name)) {
                prop_assert!(refusal.message().chars().count() <= crate::answer::TEXT_CHARS_MAX);
            }
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_compression_gives_the_message_back() {
        let message = b"resource spans ".repeat(100);
        let zstd = zstd::encode_all(message.as_slice(), 3).unwrap();
        for (bytes, compression) in [
            (message.clone(), Compression::Identity),
            (gzip(&message), Compression::Gzip),
            (zstd, Compression::Zstd),
        ] {
            let whole = decompress(&bytes, compression, message.len()).unwrap();
            assert_eq!(whole, message);
            let refused = decompress(&bytes, compression, message.len() - 1).unwrap_err();
            assert!(matches!(refused, Refusal::TooLarge(_)), "{refused:?}");
        }
    }

    #[test]
    fn broken_bytes_are_malformed() {
        let whole = gzip(b"resource spans");
        for bytes in [b"not compressed".as_slice(), &whole[..whole.len() - 4], b""] {
            for compression in [Compression::Gzip, Compression::Zstd] {
                let result = decompress(bytes, compression, 1 << 20);
                // An empty stream of frames is a valid empty message in zstd.
                let is_empty = bytes.is_empty() && compression == Compression::Zstd;
                assert!(is_empty || matches!(result, Err(Refusal::Malformed(_))), "{result:?}");
            }
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        assert_eq!(Compression::parse(None).unwrap(), Compression::Identity);
        assert_eq!(Compression::parse(Some(b" GZip ")).unwrap(), Compression::Gzip);
        let refused = Compression::parse(Some(b"br")).unwrap_err();
        assert!(refused.message().contains("identity, gzip, zstd"), "{refused:?}");
    }
}
