//! [`Table::compact`]: small files become larger ones.

use std::collections::{BTreeMap, HashSet};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::kernel::{Action, Add};
use deltalake_core::protocol::DeltaOperation;
use parquet::errors::ParquetError;

use super::{Layout, Table};
use crate::Error;
use crate::file::{FileWriter, NewFile, Refused, Splicer, rows_of};
use crate::merge::{Part, merge};
use crate::snapshot::{LiveFile, caught, read_bytes, runs};

/// Bytes of a file of joined rows, about.
const FILE_BYTES: u64 = 64 << 20;

/// Which files are small, and how many are joined.
#[derive(Debug, Clone, Copy)]
struct Small {
    bytes: u64,
    files_min: usize,
}

/// Of an hour that is over. Larger ones stay: to write their rows once more costs more than queries
/// gain.
const SMALL: Small = Small { bytes: FILE_BYTES / 4, files_min: 2 };

/// Of an hour that goes on: rows of larger ones are written once more when it is over, not twice.
const SMALL_YET: Small = Small { bytes: FILE_BYTES / 16, files_min: 8 };

/// A file that weighs so many times what the others do is not joined with them.
const HEAVIER_MAX: u64 = 4;

/// Files that are joined at a time: some rows of each are held in memory.
const JOINED_FILES_MAX: usize = 32;

/// Rows of a file that is spliced, at least, unless it is larger than the smallest: its row groups
/// are large enough to stay as they are.
const SPLICED_ROWS_MIN: u64 = 1 << 15;

/// How small files become larger ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joining {
    /// Their rows are sorted into each other: it costs as much as to write them did. Files that
    /// were spliced are sorted, one by one, once their hour is over; until then they are spliced
    /// again.
    Merge,
    /// Row groups stay as they are, one file's behind the other's: it costs next to nothing. The
    /// smallest files are merged, once there are many.
    Splice,
}

/// What joining files did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    pub files_before: usize,
    pub files_after: usize,
}

impl Table {
    /// Joins small files of one hour, the first that has some. Of hours before `settled` two files
    /// are joined, of others only many that are very small; so are files of few rows that are to be
    /// spliced. It holds the files, some rows of each and the joined ones: at most about 500 MiB.
    /// Where nothing is to be joined, none were.
    ///
    /// # Errors
    ///
    /// The table's rows are as before. An hour with a file that cannot be read is passed by from
    /// then on.
    pub async fn compact(&mut self, settled: &str, joining: Joining) -> Result<Compacted, Error> {
        self.refresh().await?;
        while let Some((files, joining)) = self.small_files(settled, joining)? {
            let joined = self.join(&files, joining).await;
            let is_lasting =
                |error: &Error| error.is_damage() || matches!(error, Error::Parquet { .. });
            if joined.as_ref().is_err_and(is_lasting) {
                self.unreadable.insert(files[0].hour.clone());
            }
            if let Some(files_after) = joined? {
                return Ok(Compacted { files_before: files.len(), files_after });
            }
        }
        Ok(Compacted::default())
    }

    /// Returns small files of one hour that are to be joined, and how; those that are of no hour
    /// were written on one day.
    fn small_files(
        &mut self,
        settled: &str,
        joining: Joining,
    ) -> Result<Option<(Vec<LiveFile>, Joining)>, Error> {
        let mut by_hour: BTreeMap<(Option<String>, String), Vec<LiveFile>> = BTreeMap::new();
        let mut unspliced = HashSet::new();
        for file in self.files()? {
            unspliced.extend(self.unspliced.take(&file.path));
            let day = if file.hour.is_some() { String::new() } else { file.day().to_owned() };
            by_hour.entry((file.hour.clone(), day)).or_default().push(file);
        }
        // Those that are no part of the table any more are forgotten.
        self.unspliced = unspliced;
        by_hour.retain(|(hour, _), _| !self.unreadable.contains(hour));
        let of_hour = |((hour, day), files): ((Option<String>, String), Vec<LiveFile>)| {
            let is_settled = is_over(hour.as_deref().unwrap_or(&day), settled);
            joined_next(files, is_settled, joining, &self.unspliced)
        };
        Ok(by_hour.into_iter().find_map(of_hour))
    }

    /// Writes the rows of files as larger ones in their place; returns how many these are, `None`
    /// when one of them cannot be spliced, which is noted.
    async fn join(&mut self, files: &[LiveFile], joining: Joining) -> Result<Option<usize>, Error> {
        let mut contents = Vec::new();
        for file in files {
            contents.push(read_bytes(&self.store(), self.name, file).await?);
        }
        let joined = match joining {
            Joining::Splice => self.spliced(files, &contents)?,
            Joining::Merge => Some(self.merged(files, &contents)?),
        };
        let Some(joined) = joined else { return Ok(None) };
        let count = joined.len();
        // The rows are no younger than they were.
        let modified = files.iter().map(|file| file.modified).max();
        let adds = self.write_all(joined, modified).await?;
        let adds = adds.into_iter().map(|add| Add { data_change: false, ..add });
        let mut actions: Vec<Action> = adds.map(Action::Add).collect();
        actions.extend(self.removals(files, false)?);
        let operation =
            DeltaOperation::Optimize { predicate: None, target_size: FILE_BYTES as i64 };
        self.commit(actions, CommitProperties::default(), operation).await?;
        Ok(Some(count))
    }

    /// Returns the row groups of files of one hour as they are, in files of about [`FILE_BYTES`];
    /// `None` when a file cannot be spliced, which is noted.
    fn spliced(
        &mut self,
        files: &[LiveFile],
        contents: &[Bytes],
    ) -> Result<Option<Vec<NewFile>>, Error> {
        let new = || Splicer::new(&self.layout, &self.schema, files[0].hour.clone());
        // What was written at one time lies together.
        let mut parts: Vec<(&LiveFile, &Bytes)> = files.iter().zip(contents).collect();
        parts.sort_unstable_by(|(a, _), (b, _)| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
        let mut done = Vec::new();
        let mut splicer = new().map_err(|cause| self.refused(cause.into()))?;
        for (file, content) in parts {
            if splicer.bytes() + file.bytes > FILE_BYTES && splicer.bytes() > 0 {
                let next = new().map_err(|cause| self.refused(cause.into()))?;
                done.push(std::mem::replace(&mut splicer, next));
            }
            let added = caught(|| splicer.add(file, content)).and_then(|added| Ok(added?));
            if !added.map_err(|refused| refused.of_file(self.name, &file.path))? {
                self.unspliced.insert(file.path.clone());
                return Ok(None);
            }
        }
        done.push(splicer);
        let finish = |splicer: Splicer<'_>| Ok(caught(|| splicer.finish())??);
        let files = done.into_iter().map(finish).collect::<Result<_, Refused>>();
        files.map(Some).map_err(|refused| self.refused(refused))
    }

    /// Returns the rows of files of one hour in files of about [`FILE_BYTES`], which are fewer.
    fn merged(&self, files: &[LiveFile], contents: &[Bytes]) -> Result<Vec<NewFile>, Error> {
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let mut rows = 0;
        for (file, content) in files.iter().zip(contents) {
            let of_file = caught(|| rows_of(content)).and_then(|rows| Ok(rows?));
            rows += of_file.map_err(|refused| refused.of_file(self.name, &file.path))?;
        }
        let count = bytes.div_ceil(FILE_BYTES).max(1) as usize;
        let hour = files[0].hour.as_ref();
        let mut parts = Vec::new();
        for (file, content) in files.iter().zip(contents) {
            let runs = runs(file, content).map_err(|cause| cause.of_file(self.name, &file.path))?;
            parts.extend(runs.into_iter().map(|rows| (content.clone(), rows)));
        }
        let joined = caught(|| joined(&self.layout, &self.schema, parts, rows, count, hour));
        joined.and_then(|joined| joined).map_err(|refused| self.refused(refused))
    }
}

/// Returns whether an hour or a day, `2026-11-28T15` or `2026-11-28`, lies before an hour.
fn is_over(time: &str, settled: &str) -> bool {
    time < settled.get(..time.len()).unwrap_or(settled)
}

/// Returns the small files of an hour that are to be joined next, and how, if there are enough.
fn joined_next(
    mut files: Vec<LiveFile>,
    is_settled: bool,
    joining: Joining,
    unspliced: &HashSet<String>,
) -> Option<(Vec<LiveFile>, Joining)> {
    let small = if is_settled { SMALL } else { SMALL_YET };
    if is_settled && joining == Joining::Merge {
        // What was spliced under load gets its order.
        if let Some(at) = files.iter().position(LiveFile::is_spliced) {
            return Some((vec![files.swap_remove(at)], Joining::Merge));
        }
    }
    let is_large = |file: &LiveFile| {
        file.bytes >= SMALL_YET.bytes || file.rows.is_some_and(|rows| rows >= SPLICED_ROWS_MIN)
    };
    // What is not sorted cannot be merged.
    let is_spliced =
        |file: &LiveFile| !file.is_sorted() || joining == Joining::Splice && is_large(file);
    let (spliced, mut merged): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|file| is_spliced(file) && !unspliced.contains(&file.path));
    merged.retain(LiveFile::is_sorted);
    let to_merge = if joining == Joining::Merge { small } else { SMALL_YET };
    let spliced = enough(spliced, small).map(|files| (files, Joining::Splice));
    spliced.or_else(|| enough(merged, to_merge).map(|files| (files, Joining::Merge)))
}

/// Returns small files, if there are enough. What was joined is read again as seldom as can be:
/// only once the others weigh a good part of it.
fn enough(mut files: Vec<LiveFile>, small: Small) -> Option<Vec<LiveFile>> {
    files.retain(|file| file.bytes < small.bytes);
    files.sort_unstable_by(|a, b| (a.bytes, &a.path).cmp(&(b.bytes, &b.path)));
    let mut bytes = 0;
    let fits = |file: &&LiveFile| {
        bytes += file.bytes;
        bytes <= 2 * FILE_BYTES
    };
    let count = files.iter().take(JOINED_FILES_MAX).take_while(fits).count();
    files.truncate(count);
    while let [others @ .., largest] = &files[..]
        && largest.bytes > HEAVIER_MAX * others.iter().map(|file| file.bytes).sum::<u64>()
    {
        files.pop();
    }
    (files.len() >= small.files_min).then_some(files)
}

/// Returns the rows of sorted parts, so many in all, in so many files at most.
fn joined(
    layout: &Layout,
    schema: &SchemaRef,
    parts: Vec<Part>,
    rows: usize,
    files_max: usize,
    hour: Option<&String>,
) -> Result<Vec<NewFile>, Refused> {
    let rows_max = rows.div_ceil(files_max);
    let (mut done, mut written) = (Vec::new(), 0);
    let mut file = None;
    merge(layout, schema, parts, |rows| {
        let writer = match &mut file {
            Some(writer) => writer,
            none => none.insert(FileWriter::new(layout, schema, hour.cloned())?),
        };
        writer.write(rows)?;
        written += rows.num_rows();
        if writer.rows() >= rows_max {
            done.extend(file.take().map(|file| file.finish(true)).transpose()?);
        }
        Ok(())
    })?;
    done.extend(file.map(|file| file.finish(true)).transpose()?);
    if written != rows {
        let cause = format!("{written} rows were read of {rows}");
        return Err(ParquetError::General(cause).into());
    }
    Ok(done)
}

#[cfg(test)]
mod tests;
