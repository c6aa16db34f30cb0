//! One writer a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

use crate::{Disk, Error, LocalDisk};

/// The name of the file in the data directory.
const NAME: &str = "writer.lock";

/// Whoever looks who writes there is done after so long.
const LOOK_TIME_MAX: Duration = Duration::from_millis(100);

/// The right to write in a data directory, until it is dropped or the process ends.
#[derive(Debug)]
pub struct WriterLock {
    #[expect(dead_code, reason = "the system holds the lock for as long as the file is open")]
    file: File,
}

impl WriterLock {
    /// Takes the right to write in a folder, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process has it, [`Error::Io`] when the system refuses.
    pub fn take(folder: &Path) -> Result<Self, Error> {
        let made = LocalDisk.create_folder(folder);
        made.map_err(|cause| Error::io("create", folder, cause))?;
        let path = folder.join(NAME);
        let io = |action, cause| Error::io(action, &path, cause);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|cause| io("open", cause))?;
        match locked_once_more(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = Holder::read(&mut file);
                return Err(Error::Locked { folder: folder.to_owned(), holder });
            }
            Err(TryLockError::Error(cause)) => return Err(io("lock", cause)),
        }
        // On a full disk nobody is told the number: what the log holds can be read all the same.
        let _ = sign(&mut file);
        Ok(Self { file })
    }
}

/// Locks a file; whoever looks for its holder has it for a moment.
fn locked_once_more(file: &File) -> Result<(), TryLockError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            std::thread::sleep(LOOK_TIME_MAX);
            file.try_lock()
        }
        locked => locked,
    }
}

impl WriterLock {
    /// Returns who has the right to write in a data directory now, if anybody has.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub fn holder(folder: &Path) -> Result<Option<Holder>, Error> {
        let path = folder.join(NAME);
        let mut file = match File::open(&path) {
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|cause| Error::io("open", &path, cause))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(Some(Holder::read(&mut file))),
            Err(TryLockError::Error(cause)) => Err(Error::io("lock", &path, cause)),
        }
    }
}

/// Writes this process' number into the file.
fn sign(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The process that has a lock, if it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder(pub Option<u32>);

impl Holder {
    /// Who has just taken a lock may not have written its number yet.
    fn read(file: &mut File) -> Self {
        let mut holder = String::new();
        let _ = file.take(32).read_to_string(&mut holder);
        Self(holder.trim().parse().ok())
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_refused_with_the_first_ones_number() {
        let folder = tempfile::tempdir().unwrap();
        let first = WriterLock::take(folder.path()).unwrap();
        let refused = WriterLock::take(folder.path()).unwrap_err().to_string();
        let number = std::process::id();
        assert!(refused.contains(&format!("process {number} writes in it")), "{refused}");
        assert_eq!(WriterLock::holder(folder.path()).unwrap(), Some(Holder(Some(number))));
        drop(first);
        assert_eq!(WriterLock::holder(folder.path()).unwrap(), None);
        WriterLock::take(folder.path()).unwrap();
    }
}
