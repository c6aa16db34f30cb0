//! Files that are written whole or not at all: whoever reads one sees the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Refuses a path at which no file can be written.
pub(crate) fn check(path: &Path) -> Result<()> {
    if path.is_dir() {
        bail!("failed to write `{}`: it is a folder", path.display());
    }
    let folder = folder(path);
    if !folder.is_dir() {
        bail!("failed to write `{}`: there is no folder `{}`", path.display(), folder.display());
    }
    Ok(())
}

/// Writes a file, in place of the one that is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = match fs::canonicalize(path) {
        // A pipe or a device is written to: nothing can take its place.
        Ok(found) if !found.is_file() => fs::write(found, bytes),
        // A link stays one.
        Ok(found) => replace(&found, bytes),
        Err(_) => replace(path, bytes),
    };
    written.with_context(|| format!("failed to write `{}`", path.display()))
}

/// Writes a file beside it, then gives that its name.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let written = write_new(path, &beside, bytes);
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_new(path: &Path, beside: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.write_all(bytes)?;
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.sync_all()?;
    fs::rename(beside, path)
}

/// Returns a name of this process in the same folder.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    folder(path).join(name)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
