//! Any bytes as a trace file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timesink_fuzz::read_with;

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
