//! The write-ahead log: what was synced is there again, whatever happens.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use timesink_store::log::{Log, LogOptions, Replayed};
use timesink_store::{Disk, Error, LocalDisk};
use timesink_testkit::disk::{Cut, Fault, ForgetfulDisk, Survival};

const FOLDER: &str = "data/log";

/// So small that a few records fill a segment.
const OPTIONS: LogOptions = LogOptions { segment_bytes: 300 };

/// A record that was read: sequence, kind, payload.
type Read = (u64, u32, Vec<u8>);

fn open_on(
    disk: Arc<dyn Disk>,
    folder: &Path,
    after: Option<u64>,
) -> Result<(Log, Replayed, Vec<Read>), Error> {
    let mut read = Vec::new();
    let (log, replayed) = Log::open(disk, folder, OPTIONS, after, |_, record| {
        read.push((record.sequence, record.kind, record.payload.to_vec()));
        Ok::<_, Error>(())
    })?;
    Ok((log, replayed, read))
}

fn open(disk: &ForgetfulDisk, after: u64) -> Result<(Log, Replayed, Vec<Read>), Error> {
    open_on(Arc::new(disk.clone()), Path::new(FOLDER), Some(after))
}

fn payload(number: u64) -> Vec<u8> {
    format!("payload {number} ").repeat(1 + number as usize % 5).into_bytes()
}

/// Appends groups of one to three records and syncs each; removes what is old now and then. Returns
/// what was said to be safe, also when the disk fails, and goes on after a failure.
fn work(disk: &ForgetfulDisk, groups: u64) -> Vec<Vec<u8>> {
    let mut safe = Vec::new();
    let Ok((mut log, _, _)) = open(disk, 0) else { return safe };
    for group in 0..groups {
        let payloads: Vec<Vec<u8>> = (0..=group % 3).map(|n| payload(10 * group + n)).collect();
        // Nothing to write is nothing that could be safe.
        let _ = log.append(&[]).and_then(|_| log.sync());
        let records: Vec<(u32, &[u8])> = payloads.iter().map(|p| (1, p.as_slice())).collect();
        if log.append(&records).and_then(|_| log.sync()).is_ok() {
            safe.extend(payloads);
        }
    }
    safe
}

/// Checks that what was safe is there, in order, and nothing is said to be lost.
fn check(disk: &ForgetfulDisk, safe: &[Vec<u8>], what: &str) {
    let (mut log, replayed, read) = open(disk, 0).expect("it opens");
    assert_eq!(replayed.lost, [], "{what}");
    let mut read: Vec<Vec<u8>> = read.into_iter().map(|(_, _, payload)| payload).collect();
    let mut found = read.iter();
    for payload in safe {
        assert!(found.any(|read| read == payload), "{what}: {payload:?} is gone");
    }
    // It goes on behind what there is.
    log.append(&[(2, b"later")]).and_then(|_| log.sync()).expect("it works again");
    read.push(b"later".to_vec());
    let (_, replayed, again) = open(disk, 0).expect("it opens");
    assert_eq!(replayed.lost, [], "{what}, again");
    let again: Vec<Vec<u8>> = again.into_iter().map(|(_, _, payload)| payload).collect();
    assert_eq!(again, read, "{what}");
}

#[test]
fn what_is_written_is_read() {
    let disk = ForgetfulDisk::default();
    let safe = work(&disk, 20);
    let (log, replayed, read) = open(&disk, 0).expect("it opens");
    assert_eq!((replayed.last, replayed.records, replayed.bytes_skipped), (39, 39, 0));
    assert_eq!((log.last(), log.synced()), (41, 41), "nothing says that the last two were safe");
    let sequences: Vec<u64> = read.iter().map(|(sequence, _, _)| *sequence).collect();
    assert_eq!(sequences, (1..=39).collect::<Vec<_>>());
    let payloads = read.into_iter().map(|(_, _, payload)| payload).collect::<Vec<_>>();
    assert_eq!(payloads, safe);
    let (_, replayed, read) = open(&disk, 30).expect("it opens");
    assert_eq!((replayed.last, read.first().map(|(sequence, _, _)| *sequence)), (41, Some(31)));
    let payloads = read.into_iter().map(|(_, _, payload)| payload).collect::<Vec<_>>();
    assert_eq!(payloads, safe[30..]);
}

/// Lets a disk fail at each operation of some work, then cuts the power: more or less of what was
/// not synced survives, and what was said to be safe is there.
fn check_each(fault: impl Fn(usize) -> Fault) {
    let whole = ForgetfulDisk::default();
    work(&whole, 12);
    for at in 0..=whole.operations() {
        let disk = ForgetfulDisk::default();
        disk.fail(fault(at));
        let safe = work(&disk, 12);
        for survival in Survival::ALL {
            let what = format!("{:?}, {survival:?}", fault(at));
            check(&disk.after_power_cut(survival), &safe, &what);
        }
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_safe() {
    check_each(|at| Fault::PowerCut { at });
}

/// The log goes on after the fault.
#[test]
fn a_fault_takes_nothing_that_was_safe() {
    check_each(|at| Fault::Once { at });
}

/// Scenario: the process is killed before it synced, opens the log again, and then the power is
/// cut. Guarantee: what it read when it opened is safe.
#[test]
fn what_is_found_is_safe() {
    let disk = ForgetfulDisk::default();
    let (mut log, _, _) = open(&disk, 0).expect("it opens");
    log.append(&[(1, b"written, and not synced")]).expect("it works");
    drop(log);
    let (log, _, found) = open(&disk, 0).expect("it opens");
    assert_eq!((log.synced(), found.len()), (2, 1), "it was written once more");
    check(&disk.after_power_cut(Survival::Synced), &[found[0].2.clone()], "found");
}

/// Scenario: a sync fails, a new segment is begun, and the power is cut before a record is in it.
/// Guarantee: its number is not given again, and what comes then is there.
#[test]
fn a_segment_without_records_ends_what_was_before() {
    for at in 0..40 {
        let disk = ForgetfulDisk::default();
        disk.fail(Fault::Once { at });
        let Ok((mut log, _, _)) = open(&disk, 0) else { continue };
        for number in 0..2 {
            let _ = log.append(&[(1, &payload(number))]).and_then(|_| log.sync());
        }
        for cut in disk.operations()..disk.operations() + 8 {
            let disk = disk.copied();
            disk.fail(Fault::PowerCut { at: cut });
            let Ok((mut log, _, _)) = open(&disk, 0) else { continue };
            let _ = log.append(&[(1, b"cut")]).and_then(|_| log.sync());
            for survival in Survival::ALL {
                check(&disk.after_power_cut(survival), &[], &format!("{at}, {cut}, {survival:?}"));
            }
        }
    }
}

/// Scenario: the disk is full for a while, and exporters try again and again.
#[test]
fn a_full_disk_hurts_nothing_and_is_not_filled_with_rests() {
    let disk = ForgetfulDisk::default();
    let (mut log, _, _) = open(&disk, 0).expect("it opens");
    log.append(&[(1, b"before")]).and_then(|_| log.sync()).expect("there is room");
    let names = disk.list(Path::new(FOLDER)).expect("a folder");
    disk.set_bytes_max(Some(100));
    for _ in 0..50 {
        let error = log.append(&[(1, &[7; 500])]).expect_err("the disk is full");
        assert!(error.to_string().starts_with("failed to write `data/log/"), "{error}");
    }
    assert_eq!(disk.list(Path::new(FOLDER)).expect("a folder"), names);
    disk.set_bytes_max(None);
    log.append(&[(1, b"after")]).and_then(|_| log.sync()).expect("there is room again");
    let (_, replayed, read) = open(&disk.after_power_cut(Survival::Synced), 0).expect("it opens");
    assert_eq!(read, [(1, 1, b"before".to_vec()), (2, 1, b"after".to_vec())]);
    assert_eq!((replayed.lost, replayed.bytes_skipped), (Vec::new(), 0));
}

#[test]
fn segments_go_once_all_of_them_is_safe_elsewhere() {
    let disk = ForgetfulDisk::default();
    let safe = work(&disk, 20);
    let (mut log, _, _) = open(&disk, 0).expect("it opens");
    let segments = disk.list(Path::new(FOLDER)).expect("a folder").len();
    assert!(segments > 4, "{segments} segments");
    assert_eq!(log.remove_through(0).expect("it works"), 0);
    let gone = log.remove_through(20).expect("it works");
    assert!(gone > 0 && gone < segments, "{gone} of {segments}");
    let (_, replayed, read) = open(&disk, 20).expect("it opens");
    assert_eq!((replayed.lost, read.len()), (Vec::new(), 19));
    assert_eq!(read.last().map(|(_, _, payload)| payload), safe.last());
    let folder = Path::new(FOLDER);
    let (mut log, replayed, read) =
        open_on(Arc::new(disk.clone()), folder, None).expect("it opens");
    assert!(replayed.lost.is_empty() && read.len() > 19, "all that is there");
    log.append(&[(1, b"the segment that is written stays")]).expect("it works");
    log.remove_through(u64::MAX).expect("it works");
    assert_eq!(disk.list(folder).expect("a folder").len(), 1);
    assert_eq!(log.remove_through(u64::MAX).expect("it works"), 0);
    log.sync().expect("it works");
    drop(log);
    let (mut log, _, _) = open_on(Arc::new(disk.clone()), folder, None).expect("it opens");
    let last = log.last();
    log.remove_through(last).expect("it works");
    log.append(&[(1, b"again")]).and_then(|_| log.sync()).expect("it works");
    drop(log);
    let (_, _, read) = open(&disk, last).expect("it opens");
    assert_eq!(read, [(last + 1, 1, b"again".to_vec())]);
}

/// Scenario: segments go as their records are safe elsewhere, and the power is cut at each
/// operation.
/// Guarantee: what is not safe elsewhere is there, in order, and nothing of it is said to be lost.
#[test]
fn a_power_cut_while_segments_go_takes_nothing_else() {
    let whole = ForgetfulDisk::default();
    whole.note_cuts();
    let (mut log, _, _) = open(&whole, 0).expect("it opens");
    let (mut safe, mut elsewhere) = (Vec::new(), Vec::new());
    for group in 0..18 {
        let payloads: Vec<_> = (0..=group % 3).map(|n| payload(log.last() + 1 + n)).collect();
        let records: Vec<(u32, &[u8])> = payloads.iter().map(|p| (1, p.as_slice())).collect();
        let synced = log.append(&records).and_then(|_| log.sync()).expect("it works");
        safe.push((whole.operations(), synced));
        if group % 4 == 3 {
            elsewhere.push((whole.operations() + 1, synced - 2));
            log.remove_through(synced - 2).expect("it works");
        }
    }
    let cuts = whole.cuts(usize::MAX);
    assert!(cuts.len() > 100 && elsewhere.len() > 3, "{} cuts", cuts.len());
    for Cut { operations, survival, disk } in cuts {
        let what = format!("cut behind {operations} operations, {survival:?}");
        let at = |acts: &[(usize, u64)]| {
            let done = acts.iter().filter(|(at, _)| *at <= operations);
            done.map(|(_, sequence)| *sequence).max().unwrap_or_default()
        };
        let (safe, after) = (at(&safe), at(&elsewhere));
        let (mut log, replayed, read) = open(&disk, after).expect("it opens");
        assert_eq!(replayed.lost, [], "{what}");
        assert!(read.iter().all(|(sequence, _, bytes)| payload(*sequence) == *bytes), "{what}");
        let sequences: Vec<u64> = read.iter().map(|(sequence, _, _)| *sequence).collect();
        assert!(sequences.is_sorted() && log.last() >= safe, "{what}: {sequences:?}");
        let is_there = |sequence: u64| sequences.binary_search(&sequence).is_ok();
        assert!((after + 1..=safe).all(is_there), "{what}: {sequences:?} of {safe}");
        log.append(&[(2, b"later")]).and_then(|_| log.sync()).expect("it works again");
        let (_, replayed, again) = open(&disk, after).expect("it opens");
        assert_eq!((replayed.lost, again.len()), (Vec::new(), read.len() + 1), "{what}, again");
    }
}

/// Scenario: all records are safe elsewhere, and the log is opened, tidied and opened again; then
/// somebody removes its files.
/// Guarantee: no sequence is given twice.
#[test]
fn sequences_are_never_given_twice() {
    let disk = ForgetfulDisk::default();
    work(&disk, 20);
    let mut last = 0;
    for _ in 0..3 {
        let (mut log, replayed, _) = open(&disk, last).expect("it opens");
        assert!(log.last() >= last && replayed.lost.is_empty(), "{log:?}, {replayed:?}");
        last = log.last();
        log.remove_through(last).expect("it works");
    }
    for name in disk.list(Path::new(FOLDER)).expect("a folder") {
        disk.remove(&Path::new(FOLDER).join(name)).expect("a file");
    }
    let (mut log, _, read) =
        open_on(Arc::new(disk.clone()), Path::new(FOLDER), None).expect("it opens");
    assert_eq!((log.last(), read.len()), (0, 0));
    log.go_on_behind(last);
    let next = log.append(&[(1, b"next")]).and_then(|_| log.sync()).expect("it works");
    assert_eq!(next, last + 1);
    log.go_on_behind(3);
    drop(log);
    let (log, replayed, read) = open(&disk, 0).expect("it opens");
    assert_eq!(read, [(last + 1, 1, b"next".to_vec())]);
    assert!(log.last() > last && replayed.lost.is_empty(), "{log:?}, {replayed:?}");
}

/// Scenario: a byte of a record, or a whole segment, is damaged once it was safe.
/// Guarantee: the others are there, and it is said which are not.
#[test]
fn damage_costs_itself_and_is_told() {
    let disk = ForgetfulDisk::default();
    work(&disk, 20);
    let names = disk.list(Path::new(FOLDER)).expect("a folder");
    disk.damage(&Path::new(FOLDER).join(&names[1]), |bytes| bytes[80] ^= 1);
    let (_, replayed, read) = open(&disk, 0).expect("it opens");
    assert_eq!((replayed.lost.len(), read.len()), (1, 38));
    assert!(replayed.bytes_skipped > 0);
    let lost = replayed.lost[0].clone();
    assert_eq!(lost.start(), lost.end());
    // What is safe elsewhere is not lost.
    let (_, replayed, _) = open(&disk, *lost.end()).expect("it opens");
    assert_eq!(replayed.lost, []);
    disk.remove(&Path::new(FOLDER).join(&names[2])).expect("a file");
    let (_, replayed, read) = open(&disk, 0).expect("it opens");
    let lost: u64 = replayed.lost.iter().map(|lost| lost.end() - lost.start() + 1).sum();
    assert_eq!(lost + read.len() as u64, 39);
}

/// Scenario: a record is answered before it is synced, the sync fails, others follow, and the power
/// is cut.
/// Guarantee: that it is gone is told; of one that was not answered it is not.
#[test]
fn what_was_answered_and_is_gone_is_told() {
    for is_answered in [false, true] {
        let disk = ForgetfulDisk::default();
        let (mut log, _, _) = open(&disk, 0).expect("it opens");
        log.append(&[(1, b"safe")]).and_then(|_| log.sync()).expect("it works");
        log.append(&[(1, b"answered")]).expect("it works");
        if is_answered {
            log.answered();
        }
        disk.fail(Fault::Once { at: disk.operations() });
        log.sync().expect_err("the disk fails");
        log.append(&[(1, b"later")]).and_then(|_| log.sync()).expect("it works again");
        let (_, replayed, read) =
            open(&disk.after_power_cut(Survival::Synced), 0).expect("it opens");
        assert_eq!(read.iter().map(|read| read.0).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(replayed.lost, if is_answered { vec![2..=2] } else { Vec::new() });
    }
}

#[test]
fn what_is_none_of_ours_is_left_alone() {
    let disk = ForgetfulDisk::default();
    work(&disk, 5);
    let first = Path::new(FOLDER).join("00000000000000000001.log");
    disk.damage(&first, |bytes| bytes[3] ^= 1);
    let refused = |disk: &ForgetfulDisk| open(disk, 0).expect_err("it is refused").to_string();
    assert!(refused(&disk).contains("it has no header"), "{}", refused(&disk));
    disk.damage(&first, |bytes| {
        bytes[3] ^= 1;
        bytes[20] ^= 1;
    });
    assert!(refused(&disk).contains("its header is damaged"), "{}", refused(&disk));
}

#[test]
fn it_works_on_a_real_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("deep/er/log");
    let disk: Arc<dyn Disk> = Arc::new(LocalDisk);
    let (mut log, _, _) = open_on(Arc::clone(&disk), &path, None).expect("it opens");
    for number in 0..20 {
        log.append(&[(3, &payload(number))]).and_then(|_| log.sync()).expect("it works");
    }
    log.remove_through(5).expect("it works");
    let (_, replayed, read) = open_on(disk, &path, Some(5)).expect("it opens");
    assert_eq!((replayed.last, read.len(), replayed.lost.len()), (20, 15, 0));
}

/// A file, a byte of it, and what the byte becomes.
type Change = (prop::sample::Index, prop::sample::Index, u8);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bytes may be changed: it opens or names the file, and gives nothing that was not
    /// written.
    #[test]
    fn any_damage_is_survived(
        changes in prop::collection::vec(any::<Change>(), 1..8),
    ) {
        let disk = ForgetfulDisk::default();
        let written = work(&disk, 12);
        let names = disk.list(Path::new(FOLDER)).expect("a folder");
        for (name, at, byte) in changes {
            let path = Path::new(FOLDER).join(name.get(&names));
            disk.damage(&path, |bytes| {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            });
        }
        if let Ok((_, _, read)) = open(&disk, 0) {
            let mut written = written.iter();
            for (_, _, payload) in read {
                prop_assert!(written.any(|written| *written == payload), "{payload:?}");
            }
        }
    }
}
