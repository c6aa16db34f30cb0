//! [`Snapshot`]: a table as it was at one moment, to be read.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use deltalake_core::kernel::Add;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, ParquetRecordBatchReaderBuilder, RowFilter};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use serde_json::Value;
use timesink_model::schema::{self, Columns};
use timesink_store::{parse_trace_id, trace_ids};

use crate::Error;
use crate::commits;
use crate::file::{Refused, hour_of, hour_text};
use crate::merge::fitted;
use crate::table::{ENDING, HOUR, LOG, NANOS_PER_MILLI, PART, SPLICED, WHOLE, failed, location};

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8192;

/// A file is recent that was written so long before the last one, ms: longer ago than spans wait
/// for their trace to settle.
const RECENT_MILLIS: i64 = 15 * 60 * 1000;

/// A table at one moment: what is committed later changes nothing of it.
#[derive(Debug)]
pub struct Snapshot {
    table: schema::Table,
    delta: DeltaTable,
    through: u64,
}

/// A file whose rows are in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// Below the table's folder.
    pub path: String,
    pub bytes: u64,
    /// `None` where the log does not say: another program wrote it.
    pub rows: Option<u64>,
    /// The hour that its rows begin in, `2026-11-28T15`; `None` when they begin in several.
    pub hour: Option<String>,
    /// The hour in which it was written.
    pub written: String,
    /// When it was, ms since the epoch.
    pub(crate) modified: i64,
    /// Where the values of some columns lie, by the column's name.
    pub bounds: BTreeMap<String, Bounds>,
}

/// Where the values of a column of a file lie, as Delta's log has it (Delta protocol, Per-file
/// Statistics): numbers as numbers, text as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub least: Value,
    pub greatest: Value,
    pub nulls: u64,
}

impl LiveFile {
    /// Returns the hour by which it is old: the later one, so that what a clock far off dates back
    /// is kept as long as all else.
    pub(crate) fn age(&self) -> &str {
        self.hour.as_deref().map_or(&self.written, |hour| hour.max(&self.written))
    }

    /// Returns whether all its rows are in the order of its table, if that has one, and not only
    /// those of each row group: its name tells. What other programs write has other names.
    pub fn is_sorted(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let parts = name.strip_suffix(ENDING).map(|name| name.split('-').collect::<Vec<_>>());
        let is_number = |text: &str, digits: usize| {
            text.len() >= digits && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        matches!(parts.as_deref(), Some([PART, run, number])
            if is_number(run, 16) && is_number(number, 6))
    }

    /// Returns whether it holds row groups of files that were sorted, as they were.
    pub(crate) fn is_spliced(&self) -> bool {
        self.path.rsplit('/').next().is_some_and(|name| name.starts_with(SPLICED))
    }

    /// Returns whether rows of traces between two can be in it.
    pub(crate) fn may_have_traces(&self, first: u128, last: u128) -> bool {
        let Some(bounds) = self.bounds.get("trace_id") else { return true };
        let bound = |value: &Value| value.as_str().and_then(parse_trace_id);
        bound(&bounds.least).is_none_or(|least| least <= last)
            && bound(&bounds.greatest).is_none_or(|greatest| greatest >= first)
    }

    /// Returns the day on which it was written, `2026-11-28`.
    pub(crate) fn day(&self) -> &str {
        self.written.split('T').next().unwrap_or_default()
    }

    /// Returns whether rows can be in it that begin in an hour or later; in any when none is named.
    pub fn is_since(&self, first: Option<&str>) -> bool {
        match (&self.hour, first) {
            (Some(hour), Some(first)) => hour.as_str() >= first,
            _ => true,
        }
    }
}

impl Snapshot {
    /// Opens a table, whose folder in `store` has its name.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] when the store refuses, or there is no table.
    pub async fn open(store: Arc<dyn ObjectStore>, table: &schema::Table) -> Result<Self, Error> {
        let mut delta = delta(store, table.name)?;
        commits::check(&delta.log_store().object_store(None), table.name).await?;
        delta.load().await.map_err(|cause| failed("open", table.name, cause))?;
        let through = through(&delta, table.name).await?;
        Ok(Self { table: table.clone(), delta, through })
    }

    /// Returns up to which record of the log its rows are in the table.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Returns since which hour the table has all rows, `2026-11-28T15`, empty when always; `None`
    /// when it never had.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] when the table's log cannot be read.
    pub async fn whole_since(&self) -> Result<Option<String>, Error> {
        // Always, also for clocks far off.
        let text = |hour| if hour == 0 { String::new() } else { hour_text(hour) };
        Ok(self.whole_hour().await?.map(text))
    }

    /// The same in hours since the epoch.
    pub(crate) async fn whole_hour(&self) -> Result<Option<i64>, Error> {
        transaction(&self.delta, self.table.name, WHOLE).await
    }

    /// Returns the files whose rows are in the table, by hour.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] when the table's log cannot be read.
    pub fn files(&self) -> Result<Vec<LiveFile>, Error> {
        files(&self.delta, self.table.name)
    }

    /// Returns the name of the table.
    pub fn name(&self) -> &'static str {
        self.table.name
    }

    /// Returns which of its commits it is.
    pub fn version(&self) -> u64 {
        self.delta.version().unwrap_or_default()
    }

    /// Returns what the table's log says of each file.
    pub(crate) fn adds(&self) -> Result<Vec<Add>, Error> {
        let snapshot = self.delta.snapshot().map_err(|cause| failed("read", self.name(), cause))?;
        let data = snapshot.log_data();
        let adds = data.iter().map(|view| Add {
            path: view.path().into_owned(),
            partition_values: view.partition_values_map(),
            size: view.size(),
            modification_time: view.modification_time(),
            data_change: true,
            stats: view.stats(),
            ..Add::default()
        });
        Ok(adds.collect())
    }

    /// Returns the table's columns, those of its files among them that are of an older version.
    pub fn schema(&self) -> SchemaRef {
        Arc::new(self.table.schema())
    }

    /// Returns where its files are: their paths are below the root.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.delta.log_store().object_store(None)
    }

    /// Returns the rows of a file, with the columns that are asked for. Those that it does not
    /// have, because it is of an older version, are NULL.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::File`] when it is not there, or damaged.
    pub async fn read(
        &self,
        file: &LiveFile,
        columns: &Columns,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Error>>, Error> {
        let schema = Arc::new(columns.schema(&self.table));
        read_file(&self.store(), self.table.name, &schema, file, Rows::All).await
    }

    /// Returns the rows of some traces that are in files written not long before the last one.
    ///
    /// # Errors
    ///
    /// As [`Snapshot::read`].
    pub async fn recent_rows_of(
        &self,
        traces: &Arc<HashSet<u128>>,
        columns: &Columns,
        now_unix_nano: i64,
    ) -> Result<Vec<RecordBatch>, Error> {
        let schema = Arc::new(columns.schema(&self.table));
        let files = self.files()?;
        let since = recent(&files, now_unix_nano / NANOS_PER_MILLI);
        let mut rows = Vec::new();
        for file in files.iter().filter(|file| file.modified >= since) {
            let store = self.store();
            let of_traces = Rows::OfTraces(Arc::clone(traces));
            for batch in read_file(&store, self.table.name, &schema, file, of_traces).await? {
                rows.push(batch?);
            }
        }
        Ok(rows)
    }
}

/// Returns since when files are recent, ms since the epoch: what the log may still have. One that
/// a clock dated ahead says nothing of it.
pub(crate) fn recent(files: &[LiveFile], now_millis: i64) -> i64 {
    let last = files.iter().map(|file| file.modified).max().unwrap_or_default();
    last.min(now_millis) - RECENT_MILLIS
}

/// Which rows of a file are read.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    All,
    OfTraces(Arc<HashSet<u128>>),
    /// Those of a row group.
    OfGroup(usize),
}

/// Returns what of a file is sorted for itself.
pub(crate) fn runs(file: &LiveFile, bytes: &Bytes) -> Result<Vec<Rows>, Refused> {
    if file.is_sorted() {
        return Ok(vec![Rows::All]);
    }
    let metadata = caught(|| ParquetMetaDataReader::new().parse_and_finish(bytes))??;
    Ok((0..metadata.num_row_groups()).map(Rows::OfGroup).collect())
}

/// Returns some rows of a file, with the columns of a schema.
pub(crate) async fn read_file(
    store: &Arc<dyn ObjectStore>,
    table: &'static str,
    schema: &SchemaRef,
    file: &LiveFile,
    rows: Rows,
) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
    let bytes = read_bytes(store, table, file).await?;
    rows_in(bytes, table, schema, file, rows)
}

/// Returns a file as it is.
pub(crate) async fn read_bytes(
    store: &Arc<dyn ObjectStore>,
    table: &'static str,
    file: &LiveFile,
) -> Result<Bytes, Error> {
    let get = async { store.get(&Path::from(file.path.as_str())).await?.bytes().await };
    get.await.map_err(|cause| Error::Read { table: table.to_owned(), cause })
}

/// Returns some rows of a file that was read.
pub(crate) fn rows_in(
    bytes: Bytes,
    table: &'static str,
    schema: &SchemaRef,
    file: &LiveFile,
    rows: Rows,
) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
    let path = file.path.clone();
    let broken = move |refused: Refused| refused.of_file(table, &path);
    let schema = Arc::clone(schema);
    let open = || {
        let mut file = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let mask = ProjectionMask::columns(file.parquet_schema(), names);
        match rows {
            Rows::All => {}
            Rows::OfGroup(group) => file = file.with_row_groups(vec![group]),
            Rows::OfTraces(traces) => {
                let ids = ProjectionMask::columns(file.parquet_schema(), ["trace_id"]);
                let is_of_them = move |batch: RecordBatch| {
                    let ids = trace_ids(&batch);
                    Ok(ids.iter().map(|id| Some(traces.contains(id))).collect::<BooleanArray>())
                };
                let of_traces = ArrowPredicateFn::new(ids, is_of_them);
                file = file.with_row_filter(RowFilter::new(vec![Box::new(of_traces)]));
            }
        }
        file.with_batch_size(BATCH_ROWS).with_projection(mask).build()
    };
    let mut batches = caught(open).and_then(|opened| Ok(opened?)).map_err(&broken)?;
    let mut read = move || match caught(|| batches.next().transpose()) {
        Ok(Ok(batch)) => Ok(batch.map(|batch| fitted(&batch, &schema)).transpose()?),
        Ok(Err(cause)) => Err(Refused::from(cause)),
        Err(refused) => Err(refused),
    };
    let mut is_broken = false;
    Ok(std::iter::from_fn(move || {
        let batch = if is_broken { Ok(None) } else { read() };
        is_broken |= batch.is_err();
        batch.map_err(&broken).transpose()
    }))
}

/// Reads; there is damage over which the library panics.
pub(crate) fn caught<T>(read: impl FnOnce() -> T) -> Result<T, Refused> {
    let read = catch_unwind(AssertUnwindSafe(read));
    read.map_err(|_| ParquetError::General("it is damaged: a panic".to_owned()).into())
}

/// Returns the table of a name, which may not be there, and is not looked at yet.
pub(crate) fn delta(store: Arc<dyn ObjectStore>, name: &str) -> Result<DeltaTable, Error> {
    let built = location(name).and_then(|location| {
        let builder = DeltaTableBuilder::from_url(location.clone())?;
        builder.with_storage_backend(store, location).build()
    });
    built.map_err(|cause| failed("open", name, cause))
}

/// Returns whether there is a table of a name.
pub(crate) async fn is_there(store: Arc<dyn ObjectStore>, name: &str) -> Result<bool, Error> {
    let found = delta(store, name)?.verify_deltatable_existence().await;
    found.map_err(|cause| failed("look for", name, cause))
}

pub(crate) fn files(delta: &DeltaTable, name: &str) -> Result<Vec<LiveFile>, Error> {
    let snapshot = delta.snapshot().map_err(|cause| failed("read", name, cause))?;
    let data = snapshot.log_data();
    let files = data.iter().map(|view| {
        let statistics = view.stats().and_then(|text| serde_json::from_str(&text).ok());
        let statistics: Value = statistics.unwrap_or_default();
        LiveFile {
            path: view.path().into_owned(),
            bytes: view.size() as u64,
            rows: statistics["numRecords"].as_u64(),
            hour: view.partition_values_map().remove(HOUR).flatten(),
            written: hour_of(view.modification_time().saturating_mul(NANOS_PER_MILLI)),
            modified: view.modification_time(),
            bounds: bounds(&statistics),
        }
    });
    let mut files: Vec<LiveFile> = files.collect();
    files.sort_unstable_by(|a, b| (&a.hour, &a.path).cmp(&(&b.hour, &b.path)));
    Ok(files)
}

fn bounds(statistics: &Value) -> BTreeMap<String, Bounds> {
    let least = statistics["minValues"].as_object().into_iter().flatten();
    let of_column = |(column, least): (&String, &Value)| {
        let greatest = statistics["maxValues"].get(column)?.clone();
        let nulls = statistics["nullCount"].get(column)?.as_u64()?;
        Some((column.clone(), Bounds { least: least.clone(), greatest, nulls }))
    };
    least.filter_map(of_column).collect()
}

pub(crate) async fn through(delta: &DeltaTable, name: &str) -> Result<u64, Error> {
    Ok(transaction(delta, name, LOG).await?.unwrap_or_default() as u64)
}

/// Returns what a table notes under a name (Delta's protocol, Transaction Identifiers).
pub(crate) async fn transaction(
    delta: &DeltaTable,
    name: &str,
    noted: &str,
) -> Result<Option<i64>, Error> {
    let read = async {
        let snapshot = delta.snapshot()?;
        snapshot.transaction_version(&*delta.log_store(), noted).await
    };
    read.await.map_err(|cause| failed("read", name, cause))
}
