//! Any groups of records through the log, a fault or a power cut anywhere, and any damage: what was
//! safe is there, and what is there was written.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::arbitrary::Arbitrary;
use libfuzzer_sys::{arbitrary, fuzz_target};
use timesink_store::log::{Log, LogOptions, Replayed};
use timesink_store::{Disk, Error};
use timesink_testkit::disk::{Fault, ForgetfulDisk, Survival};

const FOLDER: &str = "log";

#[derive(Debug, Arbitrary)]
struct Input {
    segment_bytes: u16,
    /// The lengths of the payloads of each group.
    groups: Vec<Vec<u8>>,
    fault: Option<(u8, bool)>,
    survival: u8,
    /// A file, a byte of it, and what the byte becomes.
    changes: Vec<(u8, u16, u8)>,
    /// Another file between them.
    foreign: Option<(u8, Vec<u8>)>,
}

fuzz_target!(|input: Input| {
    let disk = ForgetfulDisk::default();
    if let Some((at, is_power_cut)) = input.fault {
        let at = usize::from(at);
        disk.fail(if is_power_cut { Fault::PowerCut { at } } else { Fault::Once { at } });
    }
    let (written, safe) = write(&disk, &input);
    let survival = Survival::ALL[usize::from(input.survival) % Survival::ALL.len()];
    let disk = disk.after_power_cut(survival);
    damage(&disk, &input);
    let is_whole = input.changes.is_empty() && input.foreign.is_none();
    let (mut log, replayed, found) = match open(&disk) {
        Ok(opened) => opened,
        Err(error) => return assert!(!is_whole, "{error}"),
    };
    check_part(&found, &written, "found");
    if is_whole {
        check_part(&safe, &found, "safe");
        assert_eq!(replayed.lost, []);
    }
    log.append(&[(1, b"later")]).and_then(|_| log.sync()).expect("the disk works");
    let (_, _, again) = open(&disk).expect("it opened before");
    assert_eq!(again[..found.len()], found);
    assert_eq!(again.last().map(Vec::as_slice), Some(b"later".as_slice()));
});

/// Returns the payloads that were written, and those that were said to be safe.
fn write(disk: &ForgetfulDisk, input: &Input) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut written, mut safe) = (Vec::new(), Vec::new());
    let options = LogOptions { segment_bytes: input.segment_bytes.into() };
    let opened = Log::open(Arc::new(disk.clone()), Path::new(FOLDER), options, None, |_, _| {
        Ok::<_, Error>(())
    });
    let Ok((mut log, _)) = opened else { return (written, safe) };
    for group in input.groups.iter().take(20) {
        let payload = |(number, length): (usize, &u8)| {
            let number = written.len() + number;
            [number.to_string().into_bytes(), vec![b'T'; usize::from(*length)]].concat()
        };
        let group: Vec<Vec<u8>> = group.iter().take(5).enumerate().map(payload).collect();
        let records: Vec<(u32, &[u8])> = group.iter().map(|p| (1, p.as_slice())).collect();
        written.extend(group.iter().cloned());
        if log.append(&records).and_then(|_| log.sync()).is_ok() {
            safe.extend(group);
        }
    }
    (written, safe)
}

fn damage(disk: &ForgetfulDisk, input: &Input) {
    let folder = Path::new(FOLDER);
    // Without a record there is no folder.
    let names = disk.list(folder).unwrap_or_default();
    for (file, at, byte) in &input.changes {
        let Some(name) = names.get(usize::from(*file) % names.len().max(1)) else { continue };
        disk.damage(&folder.join(name), |bytes| {
            let length = bytes.len().max(1);
            if let Some(found) = bytes.get_mut(usize::from(*at) % length) {
                *found = *byte;
            }
        });
    }
    if let Some((first, bytes)) = &input.foreign {
        let file = disk.create(&folder.join(format!("{first:020}.log")));
        if let Ok(mut file) = file {
            file.append(bytes).and_then(|()| file.sync()).expect("the disk works");
        }
    }
}

fn open(disk: &ForgetfulDisk) -> Result<(Log, Replayed, Vec<Vec<u8>>), Error> {
    let mut found = Vec::new();
    let options = LogOptions { segment_bytes: 100 };
    let disk = Arc::new(disk.clone());
    let (log, replayed) = Log::open(disk, Path::new(FOLDER), options, None, |_, record| {
        found.push(record.payload.to_vec());
        Ok::<_, Error>(())
    })?;
    Ok((log, replayed, found))
}

/// Checks that all of `part` are in `whole`, in order.
fn check_part(part: &[Vec<u8>], whole: &[Vec<u8>], what: &str) {
    let mut whole = whole.iter();
    for payload in part {
        assert!(whole.any(|other| other == payload), "{what}: {payload:?}");
    }
}
