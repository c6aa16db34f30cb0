//! [`write_whole`]: small files of a data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The permissions of a file that only its owner may read, and of one that all may.
pub const PRIVATE: u32 = 0o600;
pub const PUBLIC: u32 = 0o644;

/// Writes a file in a folder, in place of the one that is there, safe from a power cut: the whole
/// file or none.
///
/// # Errors
///
/// Those of the system.
pub fn write_whole(folder: &Path, name: &str, text: &str, permissions: u32) -> io::Result<()> {
    let unfinished = folder.join(format!("{name}.unfinished"));
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(permissions);
    let mut file = options.open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, folder.join(name))?;
    File::open(folder)?.sync_all()
}
