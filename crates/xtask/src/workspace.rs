//! Where things are, and how cargo is called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Folders that hold nothing of ours.
const FOREIGN_FOLDERS: [&str; 8] = [
    ".git",
    "target",
    "node_modules",
    "__pycache__",
    ".venv",
    "timesink-data",
    // What fuzzing makes.
    "corpus",
    "artifacts",
];

/// Returns the root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns every file under a folder of the workspace, relative to the root, in order.
pub(crate) fn files(folder: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("failed to list `{}`", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let is_foreign =
                FOREIGN_FOLDERS.iter().any(|name| entry.file_name().as_os_str() == *name);
            if entry.file_type()?.is_dir() && !is_foreign {
                folders.push(entry.path());
            } else if !is_foreign {
                files.push(entry.path().strip_prefix(root())?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the names of the folders in a folder of the workspace, in order.
pub(crate) fn folder_names(folder: &str) -> Result<Vec<String>> {
    let path = root().join(folder);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| format!("failed to list `{folder}`"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Returns the text of a file of the workspace.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(root().join(path))
        .with_context(|| format!("failed to read `{}`", path.display()))
}

/// Returns a TOML file of the workspace.
pub(crate) fn read_toml(path: impl AsRef<Path>) -> Result<toml::Table> {
    let path = path.as_ref();
    read(path)?.parse().with_context(|| format!("failed to parse `{}`", path.display()))
}

/// Returns `cargo ARGUMENTS`, to be run at the root, as from a shell: what the cargo that runs this
/// program says of its package would make build scripts that ask for it, and all behind them, run
/// again.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if prefixes.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command whose output goes where ours goes; fails when it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("failed to start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed: {status}");
    }
    Ok(())
}

/// Returns the folder that cargo builds into: the one this program was built into.
pub(crate) fn target() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).context("this program lies in `target/PROFILE`")?;
    Ok(target.to_owned())
}

/// Builds the release binary and returns where it is.
pub(crate) fn release_binary() -> Result<PathBuf> {
    run(&mut cargo(&["build", "--release", "--bin", "timesink"]))?;
    Ok(target()?.join("release/timesink"))
}
