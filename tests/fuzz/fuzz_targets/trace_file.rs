//! Any bytes as a trace file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timesink_otlp::{FileContent, FileError, ReadOptions, read};

const NOW: i64 = 1_800_000_000_000_000_000;

/// A small file must not decompress to more than this here.
const BYTES_MAX: usize = 1 << 20;

fuzz_target!(|file: &[u8]| {
    match (read_with(file, 1), read_with(file, 3)) {
        (Ok(one), Ok(many)) => {
            assert_eq!(one.decoded.spans, many.decoded.spans);
            assert_eq!(one.decoded.rejected, many.decoded.rejected);
            assert_eq!((one.messages, one.broken), (many.messages, many.broken));
        }
        (Err(one), Err(many)) => assert_eq!(one.to_string(), many.to_string()),
        (one, many) => panic!("{one:?} with one thread, {many:?} with three"),
    }
});

fn read_with(file: &[u8], threads: usize) -> Result<FileContent, FileError> {
    let options = ReadOptions {
        threads,
        message_bytes_max: BYTES_MAX / 4,
        document_bytes_max: BYTES_MAX / 2,
        file_bytes_max: BYTES_MAX as u64,
        decoded_bytes_max: 64 * BYTES_MAX as u64,
        ..ReadOptions::new(NOW)
    };
    read(file, &options)
}
