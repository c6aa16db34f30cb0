//! What a data directory holds, as spans to look at: its tables, and the log behind them. A server
//! may write meanwhile.

mod walk;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use arrow::array::RecordBatch;
use timesink_model::schema::{Columns, Table, facts, findings, gaps, quarantine, spans};
use timesink_otlp::{Decoded, ReadOptions};
use timesink_query::StoredTable;
use timesink_shards::{ShardWriter, Shards};
use timesink_store::log::Replayed;
use timesink_store::memory_bytes;
use timesink_tables::{Layout, Look, Snapshot, Wanted, hour_of};
use tokio::runtime::Builder;

use crate::input::Input;

/// Files of the hour before are read too: the spans of a trace lie in several.
const NANOS_BEFORE: i64 = 3_600_000_000_000;

/// What was read of a data directory.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) decoded: Decoded,
    /// Rows of the table `findings`, if they are asked for.
    pub(crate) findings: Vec<RecordBatch>,
    /// What the log lacks.
    pub(crate) replayed: Replayed,
}

/// What of a data directory is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) folder: &'a Path,
    /// Ns since the epoch: spans of traces that begin before are left out as far as it is quicker
    /// not to read them.
    pub(crate) since: Option<i64>,
    /// The table `findings`, too.
    pub(crate) findings: bool,
}

/// Returns the spans of a data directory, in memory.
pub(crate) fn read(part: Part<'_>, options: &ReadOptions) -> Result<Stored> {
    read_all(part, options).with_context(|| unreadable(part.folder))
}

fn read_all(part: Part<'_>, options: &ReadOptions) -> Result<Stored> {
    let Part { folder, since, findings: wants_findings } = part;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let look = Look::at(folder, Wanted::Received, options.decoded_bytes_max);
    let Look { spans, quarantine, findings, behind, replayed, .. } = runtime.block_on(look)?;
    let first = since.map(|since| hour_of(since.saturating_sub(NANOS_BEFORE)));
    let mut read = Read { columns: &options.decoder.columns, limits: options, bytes: 0 };
    let findings = findings.filter(|_| wants_findings);
    let findings = runtime.block_on(read_findings(findings, options))?;
    let decoded = runtime.block_on(async {
        Ok::<_, anyhow::Error>(Decoded {
            spans: read.table(&spans, first.as_deref()).await?,
            quarantine: read.table(&quarantine, None).await?,
            ..Decoded::default()
        })
    })?;
    let behind = Decoded {
        spans: read.logged(&behind.spans, &spans::table())?,
        quarantine: read.logged(&behind.quarantine, &quarantine::table())?,
        ..Decoded::default()
    };
    Ok(Stored { decoded: Decoded::merge(vec![decoded, behind]), findings, replayed })
}

/// What of a data directory was put on disk in shards, to be walked.
#[derive(Debug)]
pub(crate) struct Sharded {
    pub(crate) shards: Shards,
    pub(crate) has_spans: bool,
    /// Of which the spans are in the shards.
    pub(crate) input: Input,
    /// What the log lacks.
    pub(crate) replayed: Replayed,
}

/// As [`read`], without the spans in memory.
pub(crate) fn sharded(part: Part<'_>, options: &ReadOptions) -> Result<Sharded> {
    put_in_shards(part, options).with_context(|| unreadable(part.folder))
}

fn put_in_shards(part: Part<'_>, options: &ReadOptions) -> Result<Sharded> {
    let Part { folder, since, findings: wants_findings } = part;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let look = Look::at(folder, Wanted::Received, options.decoded_bytes_max);
    let Look { spans: table, quarantine, findings, behind, replayed, .. } =
        runtime.block_on(look)?;
    let findings = findings.filter(|_| wants_findings);
    let findings = runtime.block_on(read_findings(findings, options))?;
    let columns = &options.decoder.columns;
    let mut read = Read { columns, limits: options, bytes: 0 };
    let first = since.map(|since| hour_of(since.saturating_sub(NANOS_BEFORE)));
    let mut kept_back = runtime.block_on(read.table(&quarantine, first.as_deref()))?;
    kept_back.extend(read.logged(&behind.quarantine, &quarantine::table())?);
    let behind = read.logged(&behind.spans, &spans::table())?;
    let mut files = table.files()?;
    let has_spans = !files.is_empty() || !behind.is_empty();
    files.retain(|file| file.is_since(first.as_deref()));
    let of_files: u64 = files.iter().filter_map(|file| file.rows).sum();
    let of_log: usize = behind.iter().map(RecordBatch::num_rows).sum();
    let count = of_files as usize + of_log;
    let mut writer = ShardWriter::new(Arc::new(columns.schema(&spans::table())), count)?;
    for batch in &behind {
        writer.add(batch)?;
    }
    runtime.block_on(async {
        for file in &files {
            for batch in table.read(file, columns).await? {
                writer.add(&batch?)?;
            }
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let decoded = Decoded { quarantine: kept_back, ..Decoded::default() };
    let input = Input { decoded, columns: columns.clone(), damaged: Vec::new(), findings };
    Ok(Sharded { shards: writer.finish()?, has_spans, input, replayed })
}

/// Returns some tables of a data directory, their rows to be read as queries ask for them, and what
/// its log lacks; none if the directory lacks rows of them, as one of an older version does.
pub(crate) fn tables(
    folder: &Path,
    options: &ReadOptions,
    names: &[&str],
) -> Result<Option<(Vec<StoredTable>, Replayed)>> {
    let tables = || -> Result<_> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let walks = [facts::table().name, gaps::table().name];
        let are_walked = names.iter().any(|name| walks.contains(name));
        let wanted = if are_walked { Wanted::Walked } else { Wanted::Received };
        let look = runtime.block_on(Look::at(folder, wanted, options.decoded_bytes_max))?;
        let Look { spans, quarantine, findings, walked, behind, replayed } = look;
        let mut read = Read { columns: &Columns::All, limits: options, bytes: 0 };
        let mut tables = Vec::new();
        if are_walked {
            let Some(walked) = walked else { return Ok(None) };
            let now = options.decoder.now_unix_nano;
            let made = runtime.block_on(walk::tables(walked, &spans, now))?;
            let Some(made) = made else { return Ok(None) };
            tables.extend(made);
        }
        let mut table = |snapshot, behind: &[RecordBatch], table: &Table, layout| {
            let behind = read.logged(behind, table)?;
            Ok::<_, anyhow::Error>(StoredTable { name: table.name, layout, snapshot, behind })
        };
        match findings {
            Some(findings) => {
                tables.push(table(findings, &[], &findings::table(), Layout::FINDINGS)?);
            }
            None if names.contains(&findings::table().name) => return Ok(None),
            None => {}
        }
        tables.push(table(spans, &behind.spans, &spans::table(), Layout::SPANS)?);
        let (rows, layout) = (&behind.quarantine, Layout::QUARANTINE);
        tables.push(table(quarantine, rows, &quarantine::table(), layout)?);
        Ok(Some((tables, replayed)))
    };
    tables().with_context(|| unreadable(folder))
}

async fn read_findings(table: Option<Snapshot>, options: &ReadOptions) -> Result<Vec<RecordBatch>> {
    let Some(table) = table else { return Ok(Vec::new()) };
    Read { columns: &Columns::All, limits: options, bytes: 0 }.table(&table, None).await
}

/// Says that a data directory could not be read.
pub(crate) fn unreadable(folder: &Path) -> String {
    format!("failed to read the data directory `{}`", folder.display())
}

/// Reads with the limits of the options.
struct Read<'o> {
    columns: &'o Columns,
    limits: &'o ReadOptions,
    /// Memory of what was read, about.
    bytes: u64,
}

impl Read<'_> {
    async fn table(&mut self, table: &Snapshot, first: Option<&str>) -> Result<Vec<RecordBatch>> {
        let mut batches = Vec::new();
        for file in table.files()?.iter().filter(|file| file.is_since(first)) {
            for batch in table.read(file, self.columns).await? {
                batches.push(self.counted(batch?)?);
            }
        }
        Ok(batches)
    }

    fn logged(&mut self, batches: &[RecordBatch], table: &Table) -> Result<Vec<RecordBatch>> {
        let schema = self.columns.schema(table);
        let names: Vec<usize> = schema
            .fields()
            .iter()
            .filter_map(|field| table.schema().index_of(field.name()).ok())
            .collect();
        batches.iter().map(|batch| self.counted(batch.project(&names)?)).collect()
    }

    fn counted(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        self.bytes += memory_bytes(&batch);
        let bytes_max = self.limits.decoded_bytes_max;
        if self.bytes > bytes_max {
            bail!(
                "its rows take more than {} MiB of memory (`input.decoded_mib_max`): look at less \
                 of the past (`--since`), or allow more",
                bytes_max >> 20
            );
        }
        Ok(batch)
    }
}
