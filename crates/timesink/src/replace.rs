//! Files that are written whole or not at all: whoever reads one sees the old one or the new one.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
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

/// Writes a file piece by piece, in place of the one that is there; returns what `content` does.
pub(crate) fn write_with<T>(
    path: &Path,
    content: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let failed = || format!("failed to write `{}`", path.display());
    let path = match fs::canonicalize(path) {
        // A pipe or a device is written to: nothing can take its place.
        Ok(found) if !found.is_file() => {
            let mut file = OpenOptions::new().write(true).open(found).with_context(failed)?;
            return content(&mut file).with_context(failed);
        }
        Ok(found) => found,
        Err(_) => path.to_owned(),
    };
    let beside = beside(&path);
    let write = || -> Result<T> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
        let done = content(&mut file)?;
        if let Ok(old) = fs::metadata(&path) {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        Ok(done)
    };
    write().with_context(failed).inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })
}

/// Writes a file, in place of the one that is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| Ok(file.write_all(bytes)?))
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
