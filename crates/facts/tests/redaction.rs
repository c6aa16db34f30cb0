//! Masked statements mean the same to the pass: facts and gaps are those of the statements.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use timesink_facts::shape::masked_statement;
use timesink_facts::{Facts, PassOptions, run};
use timesink_otlp::{Decoder, DecoderOptions, ReadOptions, Redaction, RedactionKey, read};

const IN_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");

/// All 100 recordings, where the checkout stands beside them.
const BESIDE_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/traces");

const NOW: i64 = 2_000_000_000_000_000_000;

fn decoder(redacts: bool) -> DecoderOptions {
    let redaction = || Redaction {
        key: RedactionKey::new([7; 16]),
        rules: Vec::new(),
        statements: Some(masked_statement),
    };
    let redaction = redacts.then(redaction).map(Arc::new);
    DecoderOptions { redaction, ..DecoderOptions::new(NOW) }
}

fn facts(spans: &[RecordBatch]) -> Facts {
    run(spans.to_vec(), &PassOptions::default()).expect("batches of spans")
}

/// Checks that all columns but the hashes of literals are equal, and these where they were.
/// Returns how many spans have one.
fn check(plain: &Facts, masked: &Facts) -> usize {
    assert_eq!(plain.gaps, masked.gaps);
    let (mut there, mut back) = (HashMap::new(), HashMap::new());
    let mut count = 0;
    for (plain, masked) in plain.facts.iter().zip(&masked.facts) {
        for field in plain.schema_ref().fields() {
            let (plain, masked) = (&plain[field.name()], &masked[field.name()]);
            if field.name() != "literals_hash" {
                assert_eq!(plain, masked, "{}", field.name());
                continue;
            }
            let (plain, masked) =
                (plain.as_primitive::<Int64Type>(), masked.as_primitive::<Int64Type>());
            for (plain, masked) in plain.iter().zip(masked) {
                assert_eq!(*there.entry(plain).or_insert(masked), masked);
                assert_eq!(*back.entry(masked).or_insert(plain), plain);
            }
            count += plain.len() - plain.null_count();
        }
    }
    count
}

#[test]
fn facts_of_every_recording_are_those_of_its_masked_statements() {
    let beside = Path::new(BESIDE_REPOSITORY);
    let folder = if beside.is_dir() { beside } else { Path::new(IN_REPOSITORY) };
    let paths = std::fs::read_dir(folder).expect("a folder");
    let paths = paths.map(|entry| entry.expect("a readable folder").path());
    let is_recording = |path: &PathBuf| path.to_string_lossy().ends_with(".jsonl.gz");
    let mut literals = 0;
    for path in paths.filter(is_recording) {
        let decode = |redacts| {
            let options = ReadOptions { decoder: decoder(redacts), ..ReadOptions::new(NOW) };
            let file = std::fs::File::open(&path).expect("a readable recording");
            read(file, &options).expect("a recording").decoded.spans
        };
        literals += check(&facts(&decode(false)), &facts(&decode(true)));
    }
    assert!(literals > 100, "{literals} statements with literals");
}

/// Scenario: two queries of one shape, one of them asked twice, by spans with the statement as
/// their name.
/// Guarantee: a reader of the spans can tell which are equal, and none of what they ask for.
#[test]
fn equal_queries_are_told_without_their_literals() {
    let span = |id: u8, name: &str| {
        let statement = format!("SELECT a FROM users WHERE name = '{name}'");
        format!(
            r#"{{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b1{id:02}",
            "name": "{statement}", "kind": 3, "startTimeUnixNano": "1", "endTimeUnixNano": "2",
            "attributes": [{{"key": "db.system", "value": {{"stringValue": "postgresql"}}}},
                {{"key": "db.statement", "value": {{"stringValue": "{statement}"}}}}]}}"#
        )
    };
    let spans = [span(1, "alice"), span(2, "bob"), span(3, "alice")].join(",");
    let mut decoder = Decoder::new(decoder(true));
    let message = format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{spans}]}}]}}]}}"#);
    decoder.json(message.as_bytes()).expect("an object");
    let spans = decoder.finish().spans;
    let facts = facts(&spans);
    let texts = spans[0]["db_query_text"].as_string_view();
    assert_eq!(texts.value(0), texts.value(2));
    assert_ne!(texts.value(0), texts.value(1));
    let names = spans[0]["name"].as_string_view();
    assert!((0..3).all(|row| names.value(row) == texts.value(row)));
    let shown = format!("{spans:?} {facts:?}");
    assert!(!shown.contains("alice") && !shown.contains("bob"));
    let shapes = facts.facts[0]["query_shape"].as_string_view();
    assert_eq!(shapes.value(0), "SELECT a FROM users WHERE name = ?");
    let hashes = facts.facts[0]["literals_hash"].as_primitive::<Int64Type>();
    assert_eq!(hashes.value(0), hashes.value(2));
    assert_ne!(hashes.value(0), hashes.value(1));
}
