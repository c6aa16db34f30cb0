//! [`ForgetfulDisk`]: a file system in memory that a power cut takes back to what was synced.
//!
//! A byte survives once its file was synced, a name (that a file or folder is there, or gone) once
//! the folder that it is in was, and that folder survives. What was not synced may survive all the
//! same: [`Survival`] says how much.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Component, Path};
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
    /// Of names those that are gone: they reach the disk in any order, too.
    Removals,
    /// All bytes, and names but for those that are gone.
    Additions,
    /// All bytes, and every second name that is another than it was.
    EverySecond,
    /// Everything: the process was killed, and the system went on.
    Everything,
}

impl Survival {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Synced,
        Self::Half,
        Self::Zeros,
        Self::Hole,
        Self::Removals,
        Self::Additions,
        Self::EverySecond,
        Self::Everything,
    ];
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// From this operation on nothing works any more: the power was cut.
    PowerCut { at: usize },
    /// This one operation fails, a write after half of its bytes.
    Once { at: usize },
}

/// What a power cut leaves.
#[derive(Debug)]
pub struct Cut {
    /// So many operations were done before it, or one more.
    pub operations: usize,
    pub survival: Survival,
    pub disk: ForgetfulDisk,
}

/// If the environment has it, tests look at all points at which the power can be cut, not at some.
const ALL_POINTS: &str = "TIMESINK_ALL_POINTS";

/// A file system in memory; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct ForgetfulDisk(Arc<Mutex<State>>);

/// What is where: names by the number of the folder that they are in.
type Names = BTreeMap<(u64, OsString), Node>;

/// The numbers of `/` and of the folder that a path without it begins in: they are always there.
const ROOT: u64 = 0;
const HERE: u64 = 1;

#[derive(Debug, Default)]
struct State {
    names: Names,
    /// The names that survive, as far as the folder does that they are in.
    safe_names: Names,
    /// Folders that were made: one that is made again has another number.
    folders: u64,
    operations: usize,
    fault: Option<Fault>,
    /// Bytes that all files may hold.
    bytes_max: Option<usize>,
    /// What it was like after each operation that changed something, if that is noted.
    moments: Option<Vec<(usize, State)>>,
}

#[derive(Debug, Clone)]
enum Node {
    File(File),
    Folder(u64),
}

#[derive(Debug, Clone, Default)]
struct File(Arc<Mutex<Content>>);

/// Bytes are shared between a disk and its copies.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
}

impl File {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(bytes: Arc<Vec<u8>>) -> Self {
        let synced = Arc::clone(&bytes);
        Self(Arc::new(Mutex::new(Content { bytes, synced })))
    }

    fn append(&self, bytes: &[u8]) {
        Arc::make_mut(&mut self.content().bytes).extend_from_slice(bytes);
    }

    fn sync(&self) {
        let mut content = self.content();
        content.synced = Arc::clone(&content.bytes);
    }

    fn len(&self) -> usize {
        self.content().bytes.len()
    }
}

impl Node {
    /// Returns whether it is the same file or folder as another.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => Arc::ptr_eq(&a.0, &b.0),
            (Self::Folder(a), Self::Folder(b)) => a == b,
            _ => false,
        }
    }

    fn file(&self) -> Option<&File> {
        match self {
            Self::File(file) => Some(file),
            Self::Folder(_) => None,
        }
    }
}

impl ForgetfulDisk {
    fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

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
        let file = self.state().file(path);
        let file = file.expect("a file of that name");
        change(Arc::make_mut(&mut file.content().bytes));
    }

    /// Returns the disk as it is after the power was cut, without faults.
    #[must_use]
    pub fn after_power_cut(&self, survival: Survival) -> Self {
        Self::of(self.state().after_power_cut(survival))
    }

    /// Returns another disk with the same files, synced or not, and as many operations behind it.
    #[must_use]
    pub fn copied(&self) -> Self {
        Self::of(self.state().copied())
    }

    /// Notes from now on what a power cut in each operation leaves, for [`ForgetfulDisk::cuts`].
    pub fn note_cuts(&self) {
        let mut state = self.state();
        state.moments = Some(Vec::new());
        state.changed();
    }

    /// Returns what power cuts leave in the operations since [`ForgetfulDisk::note_cuts`], in
    /// order: the same disk once, behind as many operations as can be. They are about as many as
    /// are asked for, or all if `TIMESINK_ALL_POINTS` is set.
    pub fn cuts(&self, about: usize) -> Vec<Cut> {
        let state = self.state();
        let mut cuts: HashMap<u64, Cut> = HashMap::new();
        for (operations, moment) in state.moments.iter().flatten() {
            for survival in Survival::ALL {
                let left = moment.after_power_cut(survival);
                let (hash, operations) = (left.hash(), *operations);
                cuts.insert(hash, Cut { operations, survival, disk: Self::of(left) });
            }
        }
        let mut cuts: Vec<Cut> = cuts.into_values().collect();
        cuts.sort_by_key(|cut| (cut.operations, cut.survival as usize));
        let is_all = std::env::var_os(ALL_POINTS).is_some();
        let step = if is_all { 1 } else { cuts.len().div_ceil(about.max(1)).max(1) };
        cuts.into_iter().step_by(step).collect()
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

    /// Makes a folder in one that is there.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let place = state.place(folder)?;
        if state.names.contains_key(&place) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.folders += 1;
        let number = HERE + state.folders;
        state.names.insert(place, Node::Folder(number));
        state.changed();
        Ok(())
    }
}

impl State {
    /// Returns the number of a folder.
    fn folder(&self, path: &Path) -> io::Result<u64> {
        let mut number = if path.has_root() { ROOT } else { HERE };
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            number = match self.names.get(&(number, name.to_owned())) {
                Some(Node::Folder(number)) => *number,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(number)
    }

    /// Returns the folder that a name is in, and the name.
    fn place(&self, path: &Path) -> io::Result<(u64, OsString)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.folder(path.parent().unwrap_or(Path::new("")))?, name.to_owned()))
    }

    fn file(&self, path: &Path) -> io::Result<File> {
        let node = self.names.get(&self.place(path)?);
        Ok(node.and_then(Node::file).ok_or(io::ErrorKind::NotFound)?.clone())
    }

    /// Returns the names in a folder, and what they are of.
    fn inside(names: &Names, folder: u64) -> impl Iterator<Item = (&OsString, &Node)> {
        let from = (folder, OsString::new());
        names.range(from..(folder + 1, OsString::new())).map(|((_, name), node)| (name, node))
    }

    /// Notes what it is like after so many operations, if that is asked for.
    fn note(&mut self, operations: usize) {
        let copied = self.moments.is_some().then(|| self.copied());
        if let (Some(moments), Some(copied)) = (&mut self.moments, copied) {
            moments.push((operations, copied));
        }
    }

    /// Notes that an operation changed something.
    fn changed(&mut self) {
        self.note(self.operations);
    }

    fn copied(&self) -> Self {
        let mut files: HashMap<*const Mutex<Content>, File> = HashMap::new();
        let mut copy = |(place, node): (&(u64, OsString), &Node)| {
            let node = match node {
                Node::Folder(number) => Node::Folder(*number),
                Node::File(file) => {
                    let copied = || File(Arc::new(Mutex::new(file.content().clone())));
                    Node::File(files.entry(Arc::as_ptr(&file.0)).or_insert_with(copied).clone())
                }
            };
            (place.clone(), node)
        };
        let names = self.names.iter().map(&mut copy).collect();
        let safe_names = self.safe_names.iter().map(&mut copy).collect();
        let Self { folders, operations, bytes_max, .. } = *self;
        Self { names, safe_names, folders, operations, bytes_max, ..Self::default() }
    }

    fn after_power_cut(&self, survival: Survival) -> Self {
        let mut left = Self { folders: self.folders, ..Self::default() };
        let mut files: HashMap<*const Mutex<Content>, File> = HashMap::new();
        let mut folders = vec![ROOT, HERE];
        let mut changes = 0;
        while let Some(folder) = folders.pop() {
            let safe: BTreeMap<_, _> = Self::inside(&self.safe_names, folder).collect();
            let now: BTreeMap<_, _> = Self::inside(&self.names, folder).collect();
            let names: BTreeSet<&OsString> = safe.keys().chain(now.keys()).copied().collect();
            for name in names {
                let (safe, now) = (safe.get(name), now.get(name));
                let is_same = safe.zip(now).is_some_and(|(safe, now)| safe.is(now));
                changes += usize::from(!is_same);
                let node =
                    if is_same || survival.takes(changes, now.is_none()) { now } else { safe };
                let node = match node {
                    None => continue,
                    Some(Node::Folder(number)) => {
                        folders.push(*number);
                        Node::Folder(*number)
                    }
                    Some(Node::File(file)) => {
                        let surviving = || File::of(surviving(&file.content(), survival));
                        let key = Arc::as_ptr(&file.0);
                        Node::File(files.entry(key).or_insert_with(surviving).clone())
                    }
                };
                left.names.insert((folder, name.clone()), node);
            }
        }
        left.safe_names = left.names.clone();
        left
    }

    /// Returns a number that another disk with other files does not have.
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (place, node) in &self.names {
            place.hash(&mut hasher);
            match node {
                Node::Folder(number) => number.hash(&mut hasher),
                Node::File(file) => file.content().bytes.hash(&mut hasher),
            }
        }
        hasher.finish()
    }
}

impl Survival {
    /// Returns whether a name survives as it is now, not as it was: the changed names are counted.
    fn takes(self, change: usize, is_removal: bool) -> bool {
        match self {
            Self::Synced => false,
            Self::Removals => is_removal,
            Self::Additions => !is_removal,
            Self::EverySecond => change.is_multiple_of(2),
            Self::Half | Self::Zeros | Self::Hole | Self::Everything => true,
        }
    }
}

fn surviving(content: &Content, survival: Survival) -> Arc<Vec<u8>> {
    let Content { bytes, synced } = content;
    let is_longer = bytes.len() > synced.len() && bytes.starts_with(synced);
    let half = usize::midpoint(synced.len(), bytes.len());
    match survival {
        Survival::Synced | Survival::Removals => Arc::clone(synced),
        Survival::Half if is_longer => Arc::new(bytes[..half].to_vec()),
        Survival::Zeros if is_longer => {
            let mut zeros = synced.to_vec();
            zeros.resize(bytes.len(), 0);
            Arc::new(zeros)
        }
        Survival::Hole if is_longer => {
            let mut holed = bytes.to_vec();
            holed[synced.len()..half].fill(0);
            Arc::new(holed)
        }
        _ => Arc::clone(bytes),
    }
}

impl Disk for ForgetfulDisk {
    /// As [`LocalDisk`](timesink_store::LocalDisk) does it; each of its calls is an operation.
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(parent) = folder.parent() else { return Ok(()) };
        match self.make_folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_folder(parent)?;
                self.make_folder(folder)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        self.sync_folder(parent)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.operate()?;
        let place = state.place(path)?;
        if state.names.contains_key(&place) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = File::default();
        state.names.insert(place, Node::File(file.clone()));
        state.changed();
        drop(state);
        Ok(Box::new(OpenFile { file, disk: self.clone() }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.operate()?.file(path)?;
        let bytes = file.content().bytes.to_vec();
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
        if let Ok(file) = state.file(path) {
            return Ok(Entry { bytes: file.len() as u64, modified, is_folder: false });
        }
        state.folder(path)?;
        Ok(Entry { bytes: 0, modified, is_folder: true })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let (file, place) = (state.file(from)?, state.place(to)?);
        if state.names.contains_key(&place) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.names.insert(place, Node::File(file));
        state.changed();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let (file, place, from) = (state.file(from)?, state.place(to)?, state.place(from)?);
        state.names.remove(&from);
        state.names.insert(place, Node::File(file));
        state.changed();
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.operate()?;
        let inside = State::inside(&state.names, state.folder(folder)?);
        Ok(inside.filter_map(|(name, _)| name.to_str().map(str::to_owned)).collect())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let number = state.folder(folder)?;
        if State::inside(&state.names, number).next().is_some() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let place = state.place(folder)?;
        state.names.remove(&place);
        state.changed();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        state.file(path)?;
        let place = state.place(path)?;
        state.names.remove(&place);
        state.changed();
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        state.file(path)?.sync();
        state.changed();
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.operate()?;
        let number = state.folder(folder)?;
        let State { names, safe_names, .. } = &mut *state;
        safe_names.retain(|(folder, _), _| *folder != number);
        let inside = State::inside(names, number);
        safe_names.extend(inside.map(|(name, node)| ((number, name.clone()), node.clone())));
        state.changed();
        Ok(())
    }
}

/// A file that is open to be written.
#[derive(Debug)]
struct OpenFile {
    file: File,
    disk: ForgetfulDisk,
}

impl DiskFile for OpenFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (half, rest) = bytes.split_at(bytes.len() / 2);
        let mut state = self.disk.operate().inspect_err(|_| self.file.append(half))?;
        let files = state.names.values().filter_map(Node::file);
        let held: usize = files.map(File::len).sum();
        self.file.append(half);
        if state.bytes_max.is_some_and(|max| held + bytes.len() > max) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // The power can be cut in the middle of it.
        let before = state.operations - 1;
        state.note(before);
        self.file.append(rest);
        state.changed();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        self.file.sync();
        state.changed();
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        Arc::make_mut(&mut self.file.content().bytes).truncate(bytes as usize);
        state.changed();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &ForgetfulDisk, path: &str, text: &[u8]) {
        let mut file = disk.create(Path::new(path)).unwrap();
        file.append(text).and_then(|()| file.sync()).unwrap();
    }

    fn read(disk: &ForgetfulDisk, path: &str) -> Option<Vec<u8>> {
        disk.read(Path::new(path)).ok()
    }

    /// Scenario: file and folder are synced, and the folder above them is not.
    /// Guarantee: they are gone, and the folder that is made anew has nothing of them.
    #[test]
    fn a_folder_vanishes_with_what_is_in_it() {
        let disk = ForgetfulDisk::default();
        disk.create_folder(Path::new("a")).unwrap();
        disk.make_folder(Path::new("a/b")).unwrap();
        write(&disk, "a/b/file", b"text");
        disk.sync_folder(Path::new("a/b")).unwrap();
        let all = disk.after_power_cut(Survival::Everything);
        assert_eq!(read(&all, "a/b/file"), Some(b"text".to_vec()));
        let synced = disk.after_power_cut(Survival::Synced);
        assert_eq!(synced.list(Path::new("a")).unwrap(), [""; 0]);
        assert_eq!(synced.list(Path::new("a/b")).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(synced.create(Path::new("a/b/file")).is_err());
        synced.create_folder(Path::new("a/b")).unwrap();
        assert_eq!(read(&synced, "a/b/file"), None);
        disk.sync_folder(Path::new("a")).unwrap();
        let synced = disk.after_power_cut(Survival::Synced);
        assert_eq!(read(&synced, "a/b/file"), Some(b"text".to_vec()));
    }

    /// Scenario: a file is removed and another is written, and their folder is not synced.
    #[test]
    fn names_survive_in_any_order() {
        let disk = ForgetfulDisk::default();
        write(&disk, "old", b"old");
        disk.sync_folder(Path::new("")).unwrap();
        disk.remove(Path::new("old")).unwrap();
        write(&disk, "new", b"new");
        let names = |survival| disk.after_power_cut(survival).list(Path::new("")).unwrap();
        assert_eq!(names(Survival::Synced), ["old"]);
        assert_eq!(names(Survival::Removals), [""; 0]);
        assert_eq!(names(Survival::Additions), ["new", "old"]);
        assert_eq!(names(Survival::Everything), ["new"]);
    }

    /// Guarantee: what was synced by an operation is there in each cut behind it.
    #[test]
    fn cuts_are_noted() {
        let disk = ForgetfulDisk::default();
        disk.note_cuts();
        write(&disk, "file", b"some text");
        disk.sync_folder(Path::new("")).unwrap();
        let safe = disk.operations();
        disk.remove(Path::new("file")).unwrap();
        let cuts = disk.cuts(usize::MAX);
        let texts: Vec<_> = cuts.iter().map(|cut| read(&cut.disk, "file")).collect();
        for text in [None, Some(&b""[..]), Some(b"some"), Some(b"some text"), Some(&[0; 9])] {
            assert!(texts.contains(&text.map(<[u8]>::to_vec)), "{text:?} of {texts:?}");
        }
        let mut behind = cuts.iter().zip(texts).filter(|(cut, _)| cut.operations >= safe);
        assert!(behind.all(|(_, text)| text.is_none_or(|text| text == b"some text")));
        assert!(cuts.len() > 4 && disk.cuts(3).len() <= 3, "{cuts:?}");
    }
}
