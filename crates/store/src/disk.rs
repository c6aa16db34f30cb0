//! [`Disk`]: what the store asks of a file system.
//!
//! A byte is safe once its file was synced, and the file once its folder was (POSIX, `fsync`).

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::time::SystemTime;

/// A file system. Errors are those of the system.
#[expect(clippy::missing_errors_doc, reason = "the same for all of them")]
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder, and those above it, if they are not there, and makes safe that it is.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes a file that is not there yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Returns all bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Returns the first bytes of a file, at most so many.
    fn read_start(&self, path: &Path, bytes: usize) -> io::Result<Vec<u8>>;

    /// Returns bytes of a file; the range is in it.
    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>>;

    /// Returns what is known of a file or folder.
    fn look(&self, path: &Path) -> io::Result<Entry>;

    /// Gives a file a second name, under which there is no file yet.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Returns the names of what is in a folder, sorted.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Removes a folder that holds nothing.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes safe what is in a file, whoever wrote it.
    fn sync(&self, path: &Path) -> io::Result<()>;

    /// Makes safe which files are in a folder.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

/// A file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub bytes: u64,
    pub modified: SystemTime,
    pub is_folder: bool,
}

/// A file that is written at its end. Errors are those of the system.
#[expect(clippy::missing_errors_doc, reason = "the same for all of them")]
pub trait DiskFile: Debug + Send {
    /// Appends bytes: after an error, some of them.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes safe what was written.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to a length.
    fn truncate(&mut self, bytes: u64) -> io::Result<()>;
}

/// The system's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        // The root has no parent, a name alone the folder that we are in.
        let Some(parent) = folder.parent() else { return Ok(()) };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.create_folder(parent)?;
                fs::create_dir(folder)?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => made?,
        }
        // Also of one that was there: whoever made it may not have come so far.
        self.sync_folder(parent)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        // Appending: after a cut the next bytes go to the new end.
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        Ok(Box::new(LocalFile(file)))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_start(&self, path: &Path, bytes: usize) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        File::open(path)?.take(bytes as u64).read_to_end(&mut start)?;
        Ok(start)
    }

    fn read_range(&self, path: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn look(&self, path: &Path) -> io::Result<Entry> {
        let known = fs::metadata(path)?;
        let (bytes, is_folder) = (known.len(), known.is_dir());
        Ok(Entry { bytes, modified: known.modified()?, is_folder })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        // Whatever has another name is none of ours.
        let mut names: Vec<String> =
            names.into_iter().filter_map(|name| name.into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_data()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}

#[derive(Debug)]
struct LocalFile(File);

impl DiskFile for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }
}
