//! Which files are joined.

use super::*;

const MIB: u64 = 1 << 20;

/// Returns the bytes of those that are joined next, in MiB, of files of so many.
fn next(mib: &[u64], small: Small) -> Option<Vec<u64>> {
    let file = |(number, mib): (usize, &u64)| LiveFile {
        path: format!("part-{number}.parquet"),
        bytes: mib * MIB,
        rows: None,
        hour: None,
        written: String::new(),
        modified: 0,
        bounds: BTreeMap::new(),
    };
    let files = mib.iter().enumerate().map(file).collect();
    let joined = joined_next(files, small)?;
    Some(joined.iter().map(|file| file.bytes / MIB).collect())
}

/// Guarantee: files of some size stay, one that was joined is read again for as much as it weighs,
/// and not more are taken than two files hold.
#[test]
fn small_files_are_joined() {
    assert_eq!(next(&[3, 1, 2], SMALL), Some(vec![1, 2, 3]));
    assert_eq!(next(&[3, 1, 2], SMALL_YET), None, "more may come");
    assert_eq!(next(&[2; 8], SMALL_YET), Some(vec![2; 8]));
    assert_eq!(next(&[4; 20], SMALL_YET), None, "they are joined when the hour is over");
    assert_eq!(next(&[4; 20], SMALL), Some(vec![4; 20]));
    assert_eq!(next(&[16, 16, 64, 1], SMALL), None, "large ones stay");
    assert_eq!(next(&[15, 1, 1], SMALL), Some(vec![1, 1]), "it would be written for little");
    assert_eq!(next(&[15, 2, 2], SMALL), Some(vec![2, 2, 15]));
    let many = next(&[10; 30], SMALL).unwrap_or_default();
    assert_eq!(many.len() as u64, 2 * FILE_BYTES / (10 * MIB));
    assert_eq!(next(&[1; 100], SMALL).map(|files| files.len()), Some(JOINED_FILES_MAX));
}

/// Rows that begin in several hours are in files of the day on which they were written.
#[test]
fn an_hour_or_a_day_is_over() {
    let settled = "2026-11-28T15";
    assert!(is_over("2026-11-28T14", settled) && !is_over("2026-11-28T15", settled));
    assert!(is_over("2026-11-27", settled) && !is_over("2026-11-28", settled));
}
