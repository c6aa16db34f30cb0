//! Every recording decodes to the spans that its line of provenance names, none refused or mended.

use std::fs::{self, File};
use std::path::Path;

use timesink_otlp::{ReadOptions, read};

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// Folders of recordings; the README of each has a table that names its files.
const FOLDERS: [&str; 2] = ["data", "../examples/demo"];

#[test]
fn recordings_hold_what_their_provenance_says() {
    for folder in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let provenance = fs::read_to_string(folder.join("README.md")).expect("README.md");
        let lines: Vec<(&str, usize)> = provenance.lines().filter_map(parse_line).collect();
        let files = fs::read_dir(&folder).expect("a folder").count() - 1;
        assert_eq!(lines.len(), files, "lines and files of {}", folder.display());
        for (name, spans) in lines {
            check(&folder.join(name), spans);
        }
    }
}

/// Reads "| `celery_ok.jsonl.gz` | 63 | ...".
fn parse_line(line: &str) -> Option<(&str, usize)> {
    let mut cells = line.strip_prefix("| `")?.split('|');
    let name = cells.next()?.trim().trim_end_matches('`');
    Some((name, cells.next()?.trim().parse().ok()?))
}

fn check(path: &Path, spans: usize) {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let content = read(file, &ReadOptions::new(NOW_UNIX_NANO))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let decoded = content.decoded;
    let rows: usize = decoded.spans.iter().map(arrow::array::RecordBatch::num_rows).sum();
    assert_eq!(rows, spans, "{}", path.display());
    assert!(decoded.rejected.is_empty() && decoded.repaired.is_empty(), "{}", path.display());
    assert!(decoded.quarantine.is_empty() && content.broken.is_empty(), "{}", path.display());
}
