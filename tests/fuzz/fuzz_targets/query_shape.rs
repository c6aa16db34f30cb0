//! Any text as a statement of every database, as a URL, and as the name of a span.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timesink_facts::shape::{
    Dialect, SHAPE_BYTES_MAX, URL_SHAPE_BYTES_MAX, command_shape, name_shape, query_shape,
    sql_shape, sql_summary, url_shape,
};

/// One of each language and dialect, one that nobody knows, and none.
const SYSTEMS: [Option<&str>; 11] = [
    Some("postgresql"),
    Some("mysql"),
    Some("sqlite"),
    Some("oracle.db"),
    Some("microsoft.sql_server"),
    Some("other_sql"),
    Some("redis"),
    Some("memcached"),
    Some("mongodb"),
    Some("a system of tomorrow"),
    None,
];

fuzz_target!(|text: &[u8]| {
    let text = &*String::from_utf8_lossy(text);
    for system in SYSTEMS {
        let dialect = Dialect::of_db_system(system);
        check_settled(text, SHAPE_BYTES_MAX, |text| query_shape(system, text));
        check_settled(text, SHAPE_BYTES_MAX, |text| command_shape(system, text));
        check_settled(text, SHAPE_BYTES_MAX, |text| sql_shape(text, dialect));
        let summary = sql_summary(text, dialect);
        assert!(summary.text.len() <= 255, "{} bytes", summary.text.len());
    }
    check_settled(text, URL_SHAPE_BYTES_MAX, url_shape);
    check_settled(text, usize::MAX, name_shape);
    assert!(!name_shape(text).bytes().any(|b| b.is_ascii_digit()));
});

/// A shape fits its limit and is its own shape.
fn check_settled(text: &str, bytes_max: usize, shape: impl Fn(&str) -> String) {
    let once = shape(text);
    assert!(once.len() <= bytes_max, "{} bytes", once.len());
    assert_eq!(shape(&once), once);
}
