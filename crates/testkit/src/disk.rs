//! [`ForgetfulDisk`]: a file system in memory that a power cut takes back to what was synced.
//!
//! A byte survives once its file was synced, a file's name (that it is there, or gone) once its
//! folder was. What was not synced may survive all the same: [`Survival`] says how much.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use timesink_store::{Disk, DiskFile, Entry};

/// What survives of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing.
    Synced,
    /// All names, and half of what was written to each file since it was synced.
    Half,
    /// All names and lengths, but zeros in the place of what was written.
    Zeros,
    /// The same, but the last half of it is there: pages reach the disk in any order.
    Hole,
    /// Everything: the process was killed, and the system went on.
    Everything,
}

impl Survival {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Synced, Self::Half, Self::Zeros, Self::Hole, Self::Everything];
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// From this operation on nothing works any more: the power was cut.
    PowerCut { at: usize },
    /// This one operation fails, a write after half of its bytes.
    Once { at: usize },
}

/// A file system in memory; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct ForgetfulDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<PathBuf, File>,
    /// The names that survive, and the files that they were.
    safe_names: BTreeMap<PathBuf, File>,
    operations: usize,
    fault: Option<Fault>,
    /// Bytes that all files may hold.
    bytes_max: Option<usize>,
}

#[derive(Debug, Clone, Default)]
struct File(Arc<Mutex<Content>>);

#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: Vec<u8>,
}

impl File {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ForgetfulDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an operation fail; they are counted from 0 on.
    pub fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Returns how many operations there were.
    pub fn operations(&self) -> usize {
        self.state().operations
    }

    /// Limits what all files hold, as a full disk does.
    pub fn set_bytes_max(&self, bytes_max: Option<usize>) {
        self.state().bytes_max = bytes_max;
    }

    /// Changes the bytes of a file, as a damaged disk does.
    ///
    /// # Panics
    /// There is no such file.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.state().files.get(path).cloned();
        change(&mut file.expect("a file of that name").content().bytes);
    }

    /// Returns the disk as it is after the power was cut, without faults.
    #[must_use]
    pub fn after_power_cut(&self, survival: Survival) -> Self {
        let state = self.state();
        let names = match survival {
            Survival::Synced => &state.safe_names,
            _ => &state.files,
        };
        let files: BTreeMap<PathBuf, File> = names
            .iter()
            .map(|(path, file)| {
                let bytes = surviving(&file.content(), survival);
                let content = Content { synced: bytes.clone(), bytes };
                (path.clone(), File(Arc::new(Mutex::new(content))))
            })
            .collect();
        let state = State { safe_names: files.clone(), files, ..State::default() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Returns another disk with the same files, synced or not, and as many operations behind it.
    #[must_use]
    pub fn copied(&self) -> Self {
        let state = self.state();
        let mut files = BTreeMap::new();
        let mut copy = |path: &PathBuf, file: &File| {
            let content = file.content().clone();
            let copied: &mut File = files
                .entry((path.clone(), Arc::as_ptr(&file.0)))
                .or_insert_with(|| File(Arc::new(Mutex::new(content))));
            (path.clone(), copied.clone())
        };
        let now = state.files.iter().map(|(path, file)| copy(path, file)).collect();
        let safe_names = state.safe_names.iter().map(|(path, file)| copy(path, file)).collect();
        let (operations, bytes_max) = (state.operations, state.bytes_max);
        let state = State { files: now, safe_names, operations, fault: None, bytes_max };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Counts an operation, which may be the one to fail.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        let number = state.operations;
        state.operations += 1;
        match state.fault {
            Some(Fault::PowerCut { at }) if number >= at => {
                Err(io::Error::other("the power is cut"))
            }
            Some(Fault::Once { at }) if number == at => {
                Err(io::Error::other("a fault of the disk"))
            }
            _ => Ok(state),
        }
    }
}

fn surviving(content: &Content, survival: Survival) -> Vec<u8> {
    let Content { bytes, synced } = content;
    let is_longer = bytes.len() > synced.len() && bytes.starts_with(synced);
    match survival {
        Survival::Synced => synced.clone(),
        Survival::Half if is_longer => bytes[..usize::midpoint(synced.len(), bytes.len())].to_vec(),
        Survival::Zeros if is_longer => {
            let mut zeros = synced.clone();
            zeros.resize(bytes.len(), 0);
            zeros
        }
        Survival::Hole if is_longer => {
            let mut holed = bytes.clone();
            holed[synced.len()..usize::midpoint(synced.len(), bytes.len())].fill(0);
            holed
        }
        _ => bytes.clone(),
    }
}

impl Disk for ForgetfulDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.operate().map(drop)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.operate()?;
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = File::default();
        state.files.insert(path.to_owned(), file.clone());
        drop(state);
        Ok(Box::new(OpenFile { file, disk: self.clone() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.operate()?.files.get(path).cloned();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let bytes = file.content().bytes.clone();
        Ok(bytes)
    }

    fn read_start(&self, path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
        let mut start = self.read(path)?;
        start.truncate(bytes);
        Ok(start)
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        let range = range.start as usize..range.end as usize;
        Ok(bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?.to_vec())
    }

    fn look(&self, path: &Path) -> io::Result<Entry> {
        let state = self.operate()?;
        // There is one time: that of the first file.
        let modified = SystemTime::UNIX_EPOCH;
        if let Some(file) = state.files.get(path) {
            let bytes = file.content().bytes.len() as u64;
            return Ok(Entry { bytes, modified, is_folder: false });
        }
        let is_folder = state.files.keys().any(|file| file.starts_with(path));
        if is_folder {
            Ok(Entry { bytes: 0, modified, is_folder })
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        if state.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.operate()?;
        let inside = state.files.keys().filter_map(|path| path.strip_prefix(folder).ok());
        let names = inside.filter_map(|path| path.iter().next()?.to_str().map(str::to_owned));
        // Files of one folder follow each other.
        let mut names: Vec<String> = names.collect();
        names.dedup();
        Ok(names)
    }

    fn remove_folder(&self, _: &Path) -> io::Result<()> {
        self.operate().map(drop)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.operate()?.files.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let file = self.operate()?.files.get(path).cloned();
        sync(&file.ok_or(io::ErrorKind::NotFound)?);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let State { files, safe_names, .. } = &mut *state;
        safe_names.retain(|path, _| path.parent() != Some(folder));
        let inside = files.iter().filter(|(path, _)| path.parent() == Some(folder));
        safe_names.extend(inside.map(|(path, file)| (path.clone(), file.clone())));
        Ok(())
    }
}

fn sync(file: &File) {
    let mut content = file.content();
    let Content { bytes, synced } = &mut *content;
    synced.clone_from(bytes);
}

/// A file that is open to be written.
#[derive(Debug)]
struct OpenFile {
    file: File,
    disk: ForgetfulDisk,
}

impl DiskFile for OpenFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        let state = self.disk.operate().inspect_err(|_| {
            self.file.content().bytes.extend_from_slice(half);
        })?;
        let held: usize = state.files.values().map(|file| file.content().bytes.len()).sum();
        if state.bytes_max.is_some_and(|max| held + bytes.len() > max) {
            self.file.content().bytes.extend_from_slice(half);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.content().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        drop(self.disk.operate()?);
        sync(&self.file);
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        drop(self.disk.operate()?);
        self.file.content().bytes.truncate(bytes as usize);
        Ok(())
    }
}
