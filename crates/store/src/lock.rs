//! One writer a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::Error;

/// The name of the file in the data directory.
const NAME: &str = "writer.lock";

/// The right to write, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct WriterLock {
    #[expect(dead_code, reason = "the system holds the lock for as long as the file is open")]
    file: File,
}

impl WriterLock {
    /// Takes the right to write in a folder, which is there.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] when another process has it, [`Error::Io`] when the system refuses.
    pub(crate) fn take(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let io = |action, cause| Error::io(action, &path, cause);
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|cause| io("open", cause))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who has just taken it may not have written its number yet.
                let _ = (&mut file).take(32).read_to_string(&mut holder);
                let holder = holder.trim().parse().ok();
                return Err(Error::Locked { folder: folder.to_owned(), holder: Holder(holder) });
            }
            Err(TryLockError::Error(cause)) => return Err(io("lock", cause)),
        }
        // On a full disk nobody is told the number: what the log holds can be read all the same.
        let _ = sign(&mut file);
        Ok(Self { file })
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
        drop(first);
        WriterLock::take(folder.path()).unwrap();
    }
}
