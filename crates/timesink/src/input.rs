//! Trace files to spans: opens what the command line names, and keeps what there is to say of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use arrow::array::RecordBatch;
use timesink_model::schema::Columns;
use timesink_otlp::{Broken, Decoded, FileContent, FileError, ReadOptions};

use crate::output::{Console, warn_of_lost_records};
use crate::since::Since;
use crate::stored::{self, Part, Stored};

/// The name of standard input on the command line.
const STDIN: &str = "-";

/// What all files held together.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) decoded: Decoded,
    /// The columns that were decoded.
    pub(crate) columns: Columns,
    /// Files of which a part could not be read.
    pub(crate) damaged: Vec<Damaged>,
    /// Rows of the table `findings` of a data directory, if they were asked for.
    pub(crate) findings: Vec<RecordBatch>,
}

impl Input {
    /// Returns what a receiver took: all columns, and no file.
    pub(crate) fn of_receiver(decoded: Decoded) -> Self {
        Self { decoded, columns: Columns::All, damaged: Vec::new(), findings: Vec::new() }
    }
}

/// A file of which a part could not be read.
#[derive(Debug)]
pub(crate) struct Damaged {
    pub(crate) name: String,
    /// The first parts, in the order of the file.
    pub(crate) broken: Vec<Broken>,
    /// How many parts there were.
    pub(crate) count: u64,
}

/// What a command reads: files, a data directory, or both, as one set of spans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) files: &'a [PathBuf],
    pub(crate) data: Option<&'a Path>,
    /// Traces that begin before are left out.
    pub(crate) since: Option<Since>,
    /// Whether the table `findings` of the data directory is read, too.
    pub(crate) findings: bool,
}

impl<'a> Sources<'a> {
    /// Returns the data directory if nothing else is named.
    pub(crate) fn only_data(self) -> Option<&'a Path> {
        self.data.filter(|_| self.files.is_empty())
    }
}

/// Reads all sources as one set of spans.
pub(crate) fn read(
    sources: Sources<'_>,
    options: &ReadOptions,
    now_unix_nano: i64,
    console: &Console,
) -> Result<Input> {
    let since = sources.since.map(|since| since.time(now_unix_nano));
    let stored = sources.data.map(|folder| {
        let _progress = console.progress(&format!("reading {}", folder.display()));
        stored::read(Part { folder, since, findings: sources.findings }, options)
    });
    let stored = stored.transpose()?;
    let mut input = read_files(sources.files, options, console)?;
    let mut parts = Vec::new();
    if let Some(Stored { decoded, findings, replayed }) = stored {
        warn_of_lost_records(console, &replayed);
        input.findings = findings;
        parts.push(decoded);
    }
    parts.push(std::mem::take(&mut input.decoded));
    input.decoded = Decoded::merge(parts);
    if let Some(since) = sources.since {
        input.decoded.spans = since.cut(&input.decoded.spans, now_unix_nano)?;
    }
    Ok(input)
}

/// Reads files as one set of spans.
///
/// A file of which nothing could be read is most likely the wrong file, so all of them are refused
/// then, and every such file is named.
fn read_files(
    paths: &[impl AsRef<Path>],
    options: &ReadOptions,
    console: &Console,
) -> Result<Input> {
    if paths.iter().filter(|path| is_stdin(path.as_ref())).count() > 1 {
        bail!("standard input (`-`) is named twice: it can be read once");
    }
    let mut contents = Vec::new();
    let mut refusals = Vec::new();
    for path in paths {
        let name = name(path.as_ref());
        match read_one(path.as_ref(), &name, options, console) {
            Ok(content) => contents.push((name, content)),
            Err(error) => {
                let reason = with_our_options(&error.to_string());
                refusals.push(format!("failed to read `{name}`: {reason}"));
            }
        }
    }
    if !refusals.is_empty() {
        bail!(refusals.join("\n"));
    }
    Ok(join(contents, options))
}

/// Puts the contents of several files together, in their order.
pub(crate) fn join(contents: Vec<(String, FileContent)>, options: &ReadOptions) -> Input {
    let mut parts = Vec::new();
    let mut damaged = Vec::new();
    for (name, content) in contents {
        let FileContent { decoded, broken, broken_count: count, .. } = content;
        if count > 0 {
            damaged.push(Damaged { name, broken, count });
        }
        parts.push(decoded);
    }
    let columns = options.decoder.columns.clone();
    Input { decoded: Decoded::merge(parts), columns, damaged, findings: Vec::new() }
}

/// Returns a reason that names the options of the command in place of the decoder's limits.
pub(crate) fn with_our_options(reason: &str) -> String {
    let names = ["message", "document", "file", "decoded"].into_iter();
    names.fold(reason.to_owned(), |text, limit| {
        text.replace(&format!("`{limit}_bytes_max`"), &format!("`input.{limit}_mib_max`"))
    })
}

fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

fn read_one(
    path: &Path,
    name: &str,
    options: &ReadOptions,
    console: &Console,
) -> Result<FileContent> {
    let progress = console.progress(&format!("reading {name}"));
    let input: Box<dyn Read + Send> = if is_stdin(path) {
        Box::new(std::io::stdin())
    } else {
        let opened = File::open(path)?;
        if opened.metadata()?.is_dir() {
            bail!("it is a folder: name the files in it, `{}`", path.join("*").display());
        }
        Box::new(opened)
    };
    timesink_otlp::read(progress.count(input), options).map_err(|error| match error {
        // That it failed to read is said already.
        FileError::Input(cause) => cause.into(),
        error => error.into(),
    })
}
