//! Damage: an error that names what is damaged, or all rows; never some of them without a word.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use timesink_model::schema::{Columns, spans};
use timesink_store::{Disk, LocalDisk};
use timesink_tables::{Compacted, DiskStore, Error, Joining, Layout, Snapshot};
use timesink_testkit::disk::ForgetfulDisk;

use super::{FOLDER, LATER, ROOT, append, batches, ids, ids_of, open, sorted, work};

/// Bytes from one that is changed to the next.
const FLIPS_EVERY: usize = 401;

fn commit(version: usize) -> PathBuf {
    Path::new(FOLDER).join(format!("_delta_log/{version:020}.json"))
}

/// Returns the ids of all rows of a table, as a command does that reads them and looks whether they
/// are whole.
async fn read(disk: Arc<dyn Disk>, root: &Path) -> Result<Vec<String>, Error> {
    let snapshot = Snapshot::open(Arc::new(DiskStore::new(disk, root)), &spans::table()).await?;
    let mut rows = Vec::new();
    for file in snapshot.files()? {
        snapshot.check(&file, &Layout::SPANS).await?;
        for batch in snapshot.read(&file, &Columns::All).await? {
            rows.push(batch?);
        }
    }
    Ok(ids_of(&rows))
}

async fn read_on(disk: &ForgetfulDisk) -> Result<Vec<String>, String> {
    read(Arc::new(disk.clone()), Path::new(ROOT)).await.map_err(|error| error.to_string())
}

/// Returns a disk after a change of one file.
fn damaged(disk: &ForgetfulDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> ForgetfulDisk {
    let disk = disk.copied();
    disk.damage(path, change);
    disk
}

/// Returns a disk on which a file is gone, and those on which it was cut to a length.
fn gone_or_cut(disk: &ForgetfulDisk, path: &Path, lengths: &[usize]) -> Vec<ForgetfulDisk> {
    let gone = disk.copied();
    gone.remove(path).expect("it is there");
    let cut = lengths.iter().map(|length| damaged(disk, path, |bytes| bytes.truncate(*length)));
    std::iter::once(gone).chain(cut).collect()
}

/// Scenario: a Parquet file is gone, or its end is.
/// Guarantee: who reads it is told which one it is; its hour is not joined again; what comes is
/// kept.
#[tokio::test]
async fn a_file_that_is_gone_or_cut_is_named() {
    let batches = batches();
    let disk = ForgetfulDisk::default();
    assert_eq!(work(&disk, &batches).await, 2);
    let table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it opens");
    let files = table.files().expect("it is read");
    let path = Path::new(FOLDER).join(&files[0].path);
    let bytes = disk.look(&path).expect("it is there").bytes as usize;
    let lengths = [0, 7, bytes / 2, bytes - 9, bytes - 8, bytes - 4, bytes - 1];
    for (number, disk) in gone_or_cut(&disk, &path, &lengths).into_iter().enumerate() {
        let said = read_on(&disk).await.expect_err("it is damaged");
        assert!(said.contains(&files[0].path) && said.contains("`spans`"), "{number}: {said}");
        let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it opens");
        let refused =
            table.compact(LATER, Joining::Merge).await.expect_err("it is damaged").to_string();
        assert!(refused.contains(&files[0].path), "{number}: {refused}");
        assert_eq!(
            table.compact(LATER, Joining::Merge).await.expect("it is passed by"),
            Compacted::default()
        );
        append(&mut table, &[batches[0].slice(0, 3)], 3).await.expect("it works");
        table.expire(Some(LATER), None).await.expect("it works");
        append(&mut table, &batches[1..], 4).await.expect("it works");
        assert_eq!(read_on(&disk).await.expect("it is whole"), ids_of(&batches[1..]));
    }
}

/// Scenario: the first of two files is damaged.
#[tokio::test]
async fn what_is_in_other_files_is_there() {
    let batches = batches();
    let disk = ForgetfulDisk::default();
    assert_eq!(work(&disk, &batches).await, 2);
    let table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it opens");
    let files = table.files().expect("it is read");
    disk.damage(&Path::new(FOLDER).join(&files[0].path), |bytes| bytes.truncate(100));
    let store = Arc::new(DiskStore::new(Arc::new(disk), ROOT));
    let snapshot = Snapshot::open(store, &spans::table()).await.expect("it opens");
    let rows = snapshot.read(&files[1], &Columns::All).await.expect("it is there");
    let rows: Vec<_> = rows.map(|batch| batch.expect("it is whole")).collect();
    assert_eq!(ids_of(&rows), ids_of(&batches[1..]));
}

/// Scenario: a byte anywhere in a Parquet file is another one.
/// Guarantee: who reads it is told which file it is, or has as many rows as were written.
///
/// Known miss: pages have no sums, so that a value can be another one.
#[test]
fn a_changed_byte_takes_no_rows_away() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it is made");
    let batches = batches();
    let disk = ForgetfulDisk::default();
    assert_eq!(runtime.block_on(work(&disk, &batches)), 2);
    let table = runtime.block_on(open(Arc::new(disk.clone()), Path::new(ROOT)));
    let name = table.expect("it opens").files().expect("it is read").remove(0).path;
    let path = Path::new(FOLDER).join(&name);
    let bytes = disk.look(&path).expect("it is there").bytes as usize;
    let (mut flips, mut named) = (0, 0);
    for at in (0..bytes).step_by(FLIPS_EVERY) {
        for bits in [0x01, 0xff] {
            let disk = damaged(&disk, &path, |bytes| bytes[at] ^= bits);
            flips += 1;
            match runtime.block_on(read_on(&disk)) {
                Ok(ids) => assert_eq!(ids.len(), 60, "byte {at} ^ {bits}"),
                Err(said) => {
                    assert!(said.contains(&name), "byte {at} ^ {bits}: {said}");
                    named += 1;
                }
            }
        }
    }
    assert!(named * 2 > flips, "{named} of {flips}");
}

/// Scenario: a commit of the table's log is gone, cut, or has a byte that is another one.
/// Guarantee: who opens the table is told which table it is, or all rows are there.
#[tokio::test]
async fn a_damaged_commit_is_told() {
    let batches = batches();
    let disk = ForgetfulDisk::default();
    assert_eq!(work(&disk, &batches).await, 2);
    let path = commit(1);
    let text = disk.read(&path).expect("it is there");
    let lengths = [1, text.len() / 2, text.len() - 1];
    for (number, disk) in gone_or_cut(&disk, &path, &lengths).iter().enumerate() {
        let said = read_on(disk).await.expect_err("it is damaged");
        assert!(said.starts_with("failed to open the table `spans`"), "{number}: {said}");
        let opened = open(Arc::new(disk.clone()), Path::new(ROOT)).await;
        assert!(opened.is_err(), "{number}: it is not written either");
    }
    let text = String::from_utf8(text).expect("it is text");
    for at in (0..text.len()).step_by(29) {
        let disk = damaged(&disk, &path, |bytes| bytes[at] ^= 0x80);
        match read_on(&disk).await {
            Ok(ids) => assert_eq!(ids, ids_of(&batches), "byte {at}"),
            Err(said) => assert!(said.contains("`spans`"), "byte {at}: {said}"),
        }
    }
}

/// Scenario: a commit is empty, or its action has another name; the last one is gone.
/// Guarantee: the commit is named. Known miss: Delta's log has no sums, and of a last commit that
/// is gone nobody knows; the log has its records as long as it is not asked for later ones.
#[tokio::test]
async fn a_commit_that_says_nothing_is_named() {
    let batches = batches();
    let disk = ForgetfulDisk::default();
    assert_eq!(work(&disk, &batches).await, 2);
    let empty = damaged(&disk, &commit(1), Vec::clear);
    let name = "_delta_log/00000000000000000001.json";
    let said = read_on(&empty).await.expect_err("it is damaged");
    assert!(said.contains(name), "{said}");
    let renamed = damaged(&disk, &commit(1), |bytes| {
        let key = bytes.windows(5).position(|text| text == b"\"add\"").expect("it adds a file");
        bytes[key + 1] ^= 1;
    });
    let said = read_on(&renamed).await.expect_err("it is damaged");
    assert!(said.contains(name), "{said}");
    disk.remove(&commit(2)).expect("it is there");
    assert_eq!(read_on(&disk).await.expect("it opens"), ids_of(&batches[..1]));
    let table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it opens");
    assert_eq!(table.through(), 1, "it asks the log for them");
}

/// Scenario: the checkpoint of the table's log is gone or cut, or what names it is.
/// Guarantee: where the commits before are there, all rows are, and without them the table is
/// named.
#[tokio::test]
async fn a_checkpoint_that_is_gone_is_told() {
    let rows = batches().remove(0);
    let expected = ids_of(&[rows.slice(0, 22)]);
    let disk = ForgetfulDisk::default();
    let mut table = open(Arc::new(disk.clone()), Path::new(ROOT)).await.expect("it is made");
    for number in 0..22 {
        let row = [rows.slice(number, 1)];
        append(&mut table, &row, number as u64 + 1).await.expect("it works");
    }
    let log = Path::new(FOLDER).join("_delta_log");
    assert!(disk.look(&commit(0)).is_err(), "old commits went with the checkpoint");
    let names = disk.list(&log).expect("it is there");
    let last = names.iter().find(|name| name.ends_with(".checkpoint.parquet"));
    let checkpoint = log.join(last.expect("it is there"));
    let bytes = disk.look(&checkpoint).expect("it is there").bytes as usize;
    for disk in gone_or_cut(&disk, &checkpoint, &[0, bytes / 2, bytes - 1]) {
        let said = read_on(&disk).await.expect_err("it is damaged");
        assert!(said.starts_with("failed to open the table `spans`"), "{said}");
    }
    let hint = log.join("_last_checkpoint");
    for disk in gone_or_cut(&disk, &hint, &[0, 20]) {
        assert_eq!(read_on(&disk).await.expect("it is found"), expected);
    }
}

/// Scenario: the same in a folder, where commits are kept for a day.
/// Guarantee: once nothing names the checkpoint any more, all rows are there.
#[tokio::test]
async fn a_checkpoint_can_be_done_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let disk = || Arc::new(LocalDisk) as Arc<dyn Disk>;
    let rows = batches().remove(0);
    let mut table = open(disk(), root).await.expect("it is made");
    for number in 0..22 {
        let row = [rows.slice(number, 1)];
        append(&mut table, &row, number as u64 + 1).await.expect("it works");
    }
    let log = root.join("spans/_delta_log");
    let names = LocalDisk.list(&log).expect("it is there");
    let checkpoint = names.iter().find(|name| name.ends_with(".checkpoint.parquet"));
    LocalDisk.remove(&log.join(checkpoint.expect("it is there"))).expect("it goes");
    let said = read(disk(), root).await.expect_err("it is named").to_string();
    assert!(said.contains("`spans`") && said.contains("_last_checkpoint"), "{said}");
    LocalDisk.remove(&log.join("_last_checkpoint")).expect("it goes");
    let table = open(disk(), root).await.expect("it opens");
    let expected = ids_of(&[rows.slice(0, 22)]);
    assert_eq!(sorted(ids(&LocalDisk, &root.join("spans"), &table)), expected);
    assert_eq!(table.through(), 22);
}
