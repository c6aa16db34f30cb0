//! [`Table`]: one Delta table, written by one process.

mod joining;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{Action, Add, MetadataExt, StructField, StructType, Transaction};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::{DeltaTable, DeltaTableError, TableProperty};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use timesink_model::schema;
use timesink_store::{memory_bytes, trace_ids};
use url::Url;

pub use self::joining::{Compacted, Joining};
use crate::Error;
use crate::commits;
use crate::disk_store::UNFINISHED;
use crate::file::{FileWriter, NewFile, Refused, files};
use crate::found::{SpanIds, may_have, rows_of};
use crate::merge::fitted;
use crate::snapshot::{self, LiveFile, Rows, Snapshot, read_bytes, read_file, rows_in, runs};

/// Whose position the application transactions of a table say (Delta's protocol, Transaction
/// Identifiers): the records of the write-ahead log.
pub(crate) const LOG: &str = "timesink-log";

/// Since which hour a table has all rows, in hours since the epoch.
pub(crate) const WHOLE: &str = "timesink-whole";

/// The partition column: the hour in which a row begins, `2026-11-28T15`, in UTC.
pub(crate) const HOUR: &str = "hour";

pub(crate) const NANOS_PER_MILLI: i64 = 1_000_000;

/// Commits from one checkpoint of Delta's log to the next: a reader reads as many at most.
const CHECKPOINTS: &str = "20";

/// How long commits before a checkpoint are kept: nobody goes back to them.
const HISTORY: &str = "interval 1 days";

/// How the names of files begin whose rows are sorted, and how they end.
pub(crate) const PART: &str = "part";
pub(crate) const ENDING: &str = ".zstd.parquet";

/// How the names of files begin that were spliced: rows are sorted within each row group.
pub(crate) const SPLICED: &str = "spliced";

/// How the rows of a table lie in its files. Columns are named as they are in its schema.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// The time, ns since the epoch, by whose hour files are cut.
    pub hour_of: Option<&'static str>,
    /// A text, a time and a text, none of which is NULL; or nothing.
    pub sorted_by: &'static [&'static str],
    /// Single rows are looked up by them.
    pub found_by: &'static [&'static str],
    /// Texts of which a row group has few: which, says a bloom filter of some 32 bytes.
    pub few: &'static [&'static str],
    /// Ids, which are there a few times and close to each other: a dictionary of them is larger
    /// than they are, and the least and the greatest of many tell nothing, but of those that rows
    /// are sorted by.
    pub ids: &'static [&'static str],
    /// Numbers that are there about once each.
    pub measured: &'static [&'static str],
    /// Numbers that lie close to those of the row before.
    pub rising: &'static [&'static str],
    /// Of which the log says the least and the greatest value of each file.
    pub bounded: &'static [&'static str],
}

impl Layout {
    /// The layout of `spans`.
    pub const SPANS: Self = Self {
        hour_of: Some("start_time_unix_nano"),
        sorted_by: &["trace_id", "start_time_unix_nano", "span_id"],
        found_by: &["trace_id"],
        few: &["service_name"],
        ids: &["trace_id", "span_id", "parent_span_id"],
        measured: &[],
        rising: &["start_time_unix_nano", "end_time_unix_nano", "duration_nanos", "start_time"],
        bounded: &["trace_id", "service_name", "start_time_unix_nano", "end_time_unix_nano"],
    };

    /// The layout of `facts`.
    pub const FACTS: Self = Self {
        hour_of: Some("start_time_unix_nano"),
        sorted_by: &["trace_id", "start_time_unix_nano", "span_id"],
        found_by: &["trace_id"],
        few: &[],
        ids: &[
            "trace_id",
            "span_id",
            "root_span_id",
            "entry_span_id",
            "tiling_span_id",
            "server_span_id",
        ],
        measured: &[
            "self_nanos",
            "own_nanos",
            "critical_nanos",
            "pause_nanos",
            "entry_duration_nanos",
            "tiling_duration_nanos",
        ],
        rising: &["start_time_unix_nano"],
        bounded: &["trace_id", "start_time_unix_nano"],
    };

    /// The layout of `gaps`.
    pub const GAPS: Self = Self {
        hour_of: Some("start_time_unix_nano"),
        sorted_by: &["trace_id", "start_time_unix_nano", "span_id"],
        found_by: &["trace_id"],
        few: &[],
        ids: &["trace_id", "span_id", "entry_span_id"],
        measured: &["nanos", "critical_nanos"],
        rising: &["start_time_unix_nano"],
        bounded: &["trace_id", "start_time_unix_nano"],
    };

    /// The layout of `findings`: few rows, as they came.
    pub const FINDINGS: Self = Self::QUARANTINE;

    /// The layout of `quarantine`: few rows, as they came.
    pub const QUARANTINE: Self = Self {
        hour_of: None,
        sorted_by: &[],
        found_by: &[],
        few: &[],
        ids: &[],
        measured: &[],
        rising: &[],
        bounded: &[],
    };
}

/// Rows of some traces.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) rows: Vec<RecordBatch>,
    /// The memory that they take, about.
    pub(crate) bytes: u64,
    /// Each trace that has any, with when the first of their files was written, ms since the epoch.
    pub(crate) traces: HashMap<u128, i64>,
}

impl Found {
    /// Adds those of other traces.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.bytes += other.bytes;
        self.traces.extend(other.traces);
    }
}

/// A table, open to be read and written.
#[derive(Debug)]
pub struct Table {
    name: &'static str,
    schema: SchemaRef,
    layout: Layout,
    delta: DeltaTable,
    clock: fn() -> i64,
    through: u64,
    /// Whether something was committed, or was to be, that `delta` and `through` do not know.
    is_stale: bool,
    /// Hours with a file that cannot be read: nothing of theirs is joined.
    unreadable: HashSet<Option<String>>,
    /// Files that cannot be spliced: they lack a column, or an index.
    unspliced: HashSet<String>,
    /// Files that are no part of it, and when that was first seen, ns since the epoch.
    left: HashMap<String, Instant>,
    /// Counts the files that were written since it was opened.
    written: u64,
    /// Tells its files from those of other runs.
    run: u64,
}

impl Table {
    /// Opens a table, or makes it; its folder in `store` has its name. Columns that it lacks are
    /// added to it. `clock` returns now, ns since the epoch.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] when the store refuses, or there is no table of ours, [`Error::Later`] when
    /// a later version wrote it.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        table: &schema::Table,
        layout: Layout,
        clock: fn() -> i64,
    ) -> Result<Self, Error> {
        let (name, schema) = (table.name, Arc::new(table.schema()));
        let failed = |action| move |cause| failed(action, name, cause);
        let delta = snapshot::delta(store, name)?;
        let is_there = delta.verify_deltatable_existence().await.map_err(failed("look for"))?;
        let delta = if is_there {
            let mut delta = delta;
            commits::check(&delta.log_store().object_store(None), name).await?;
            delta.load().await.map_err(failed("open"))?;
            delta
        } else {
            let columns = columns(&schema, layout).map_err(failed("make"))?;
            let mut create = CreateBuilder::new()
                .with_log_store(delta.log_store())
                .with_table_name(name)
                .with_comment(table.doc)
                .with_configuration_property(TableProperty::CheckpointInterval, Some(CHECKPOINTS))
                .with_configuration_property(TableProperty::LogRetentionDuration, Some(HISTORY))
                .with_columns(columns);
            if layout.hour_of.is_some() {
                create = create.with_partition_columns([HOUR]);
            }
            create.await.map_err(failed("make"))?
        };
        let mut run = [0; 8];
        getrandom::fill(&mut run)
            .map_err(|cause| failed("open")(DeltaTableError::generic(cause.to_string())))?;
        let run = u64::from_le_bytes(run);
        let mut table = Self {
            name,
            schema,
            layout,
            delta,
            clock,
            through: 0,
            is_stale: true,
            unreadable: HashSet::new(),
            unspliced: HashSet::new(),
            left: HashMap::new(),
            written: 0,
            run,
        };
        table.refresh().await?;
        table.add_columns().await?;
        Ok(table)
    }

    /// Takes note of what was committed, if that is not known: a commit can be there though it
    /// failed.
    async fn refresh(&mut self) -> Result<(), Error> {
        if self.is_stale {
            let updated = self.delta.update_state().await;
            updated.map_err(|cause| failed("read", self.name, cause))?;
            self.through = snapshot::through(&self.delta, self.name).await?;
            self.is_stale = false;
        }
        Ok(())
    }

    /// Adds the columns that a table of an older version lacks.
    async fn add_columns(&mut self) -> Result<(), Error> {
        let failed = |cause: DeltaTableError| failed("add columns to", self.name, cause);
        let snapshot = self.delta.snapshot().map_err(failed)?;
        let there: Vec<StructField> = snapshot.schema().fields().cloned().collect();
        let ours = columns(&self.schema, self.layout).map_err(failed)?;
        let names = |fields: &[StructField]| -> BTreeSet<String> {
            fields.iter().map(|field| field.name().clone()).collect()
        };
        let unknown: Vec<String> = names(&there).difference(&names(&ours)).cloned().collect();
        if !unknown.is_empty() {
            let columns = unknown.join(", ");
            return Err(Error::Later { table: self.name.to_owned(), columns });
        }
        let known = names(&there);
        let fields: Vec<StructField> =
            ours.into_iter().filter(|field| !known.contains(field.name())).collect();
        if fields.is_empty() {
            return Ok(());
        }
        let all = StructType::try_new(there.into_iter().chain(fields.clone()));
        let all = all.map_err(|cause| failed(cause.into()))?;
        let metadata = snapshot.metadata().clone().with_schema(&all);
        let metadata = metadata.map_err(|cause| failed(cause.into()))?;
        let operation = DeltaOperation::AddColumn { fields };
        self.commit(vec![Action::Metadata(metadata)], CommitProperties::default(), operation).await
    }

    /// Returns up to which record of the log its rows are in the table.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Appends the rows of records of the log, each with its number, in order. Those that the table
    /// has already are passed by.
    ///
    /// # Errors
    ///
    /// The rows are no part of the table, or all are: appended again, they are there once.
    pub async fn append(&mut self, records: &[(u64, &[RecordBatch])]) -> Result<(), Error> {
        self.refresh().await?;
        let news = records.iter().filter(|(record, _)| *record > self.through);
        let Some(through) = news.clone().map(|(record, _)| *record).max() else { return Ok(()) };
        let batches: Vec<RecordBatch> = news.flat_map(|(_, rows)| rows.iter().cloned()).collect();
        let files = if batches.is_empty() { Ok(Vec::new()) } else { self.files_of(&batches) };
        let adds = self.write_all(files?, None).await?;
        self.commit_rows(adds, through).await
    }

    fn files_of(&self, batches: &[RecordBatch]) -> Result<Vec<NewFile>, Error> {
        files(&self.layout, &self.schema, batches).map_err(|refused| self.refused(refused))
    }

    /// Takes the rows of another table over, file by file as they are, and its position in the log.
    ///
    /// # Errors
    ///
    /// The table is as before: whatever was written is no part of it.
    pub async fn copy(&mut self, from: &Snapshot) -> Result<(), Error> {
        self.refresh().await?;
        let (here, there) = (self.store(), from.store());
        let adds = from.adds()?;
        for add in &adds {
            let path = Path::from(add.path.as_str());
            let read = async { there.get(&path).await?.bytes().await };
            let bytes = read.await.map_err(|cause| self.unreadable(cause))?;
            let put = here.put(&path, bytes.into()).await;
            put.map_err(|cause| Error::Write { table: self.name.to_owned(), cause })?;
        }
        self.commit_rows(adds, from.through()).await
    }

    /// Puts rows in place of what the table has of some spans, and says that it has all rows of the
    /// log up to a record.
    ///
    /// # Errors
    ///
    /// The table is as before, or as it is to be: done again, the rows are there once.
    pub(crate) async fn replace(
        &mut self,
        spans: &SpanIds,
        rows: &[RecordBatch],
        through: u64,
    ) -> Result<(), Error> {
        self.refresh().await?;
        let has_rows = rows.iter().any(|rows| rows.num_rows() > 0);
        let files = if has_rows { self.files_of(rows)? } else { Vec::new() };
        let mut adds = self.write_all(files, None).await?;
        match self.take_out(spans, &mut adds).await {
            Ok(replaced) if replaced.is_empty() => self.commit_rows(adds, through).await,
            Ok(replaced) => {
                let mut actions = self.removals(&replaced, true)?;
                actions.extend(adds.into_iter().map(Action::Add));
                let operation = DeltaOperation::Update { predicate: None };
                self.commit(actions, position(through), operation).await?;
                self.through = through;
                Ok(())
            }
            Err(error) => {
                self.take_back(&adds).await;
                Err(error)
            }
        }
    }

    /// Writes files with rows of some spans anew, without those; returns the ones they replace.
    async fn take_out(
        &mut self,
        spans: &SpanIds,
        adds: &mut Vec<Add>,
    ) -> Result<Vec<LiveFile>, Error> {
        let mut replaced = Vec::new();
        for file in self.files_with(&spans.traces, |file| spans.may_be_in(file))? {
            let Some(kept) = self.without(&file, spans).await? else { continue };
            let kept = kept.into_iter().collect();
            adds.extend(self.write_all(kept, Some(file.modified)).await?);
            replaced.push(file);
        }
        Ok(replaced)
    }

    /// Returns a file's rows but for those of some spans, as a file unless there are none; `None`
    /// when it has none of theirs.
    async fn without(
        &self,
        file: &LiveFile,
        spans: &SpanIds,
    ) -> Result<Option<Option<NewFile>>, Error> {
        let of_file = |refused: Refused| refused.of_file(self.name, &file.path);
        let mut writer = FileWriter::new(&self.layout, &self.schema, file.hour.clone());
        let mut is_left = false;
        let mut is_changed = false;
        if !self.has_any(file, spans).await? {
            return Ok(None);
        }
        let bytes = read_bytes(&self.store(), self.name, file).await?;
        for rows in runs(file, &bytes).map_err(of_file)? {
            for batch in rows_in(bytes.clone(), self.name, &self.schema, file, rows)? {
                let batch = batch?;
                let is_kept: BooleanArray = spans.are_among(&batch).map(|is| Some(!is)).collect();
                let kept = filter_record_batch(&batch, &is_kept).map_err(|e| of_file(e.into()))?;
                is_changed |= kept.num_rows() < batch.num_rows();
                is_left |= kept.num_rows() > 0;
                if let Ok(writer) = &mut writer {
                    writer.write(&kept).map_err(of_file)?;
                }
            }
            if let Ok(writer) = &mut writer {
                writer.end_run().map_err(of_file)?;
            }
        }
        let new = || {
            let new = writer.and_then(|writer| writer.finish(file.is_sorted()));
            new.map_err(|refused| self.refused(refused))
        };
        is_changed.then(|| is_left.then(new).transpose()).transpose()
    }

    /// Returns whether a file has rows of some spans: of a few traces, by their pages.
    async fn has_any(&self, file: &LiveFile, spans: &SpanIds) -> Result<bool, Error> {
        if !may_have(&self.store(), self.name, file, &spans.traces).await? {
            return Ok(false);
        }
        let ids = ["trace_id", "span_id"].map(|name| self.schema.field_with_name(name).cloned());
        let ids = ids.into_iter().collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|cause| self.refused(cause.into()))?;
        let ids: SchemaRef = Arc::new(Schema::new(ids));
        let traces = Arc::new(spans.traces.clone());
        let rows = rows_of(&self.store(), self.name, file, &traces, &ids, u64::MAX).await?;
        Ok(rows.iter().flatten().any(|rows| spans.are_among(rows).any(|is| is)))
    }

    /// Returns the rows that the table has of some traces, with the columns of a schema, from files
    /// that may have them; `None` when they take more than `bytes_max` of memory.
    pub(crate) async fn rows_of(
        &self,
        traces: &Arc<HashSet<u128>>,
        may_have: impl Fn(&LiveFile) -> bool,
        columns: &SchemaRef,
        bytes_max: u64,
    ) -> Result<Option<Found>, Error> {
        let mut found = Found::default();
        for file in self.files_with(traces, may_have)? {
            let left = bytes_max - found.bytes;
            let rows = rows_of(&self.store(), self.name, &file, traces, columns, left).await?;
            let Some(rows) = rows else { return Ok(None) };
            for batch in rows {
                let refused = |refused: Refused| refused.of_file(self.name, &file.path);
                let batch = fitted(&batch, columns).map_err(refused)?;
                for trace in trace_ids(&batch) {
                    let written = found.traces.entry(trace).or_insert(file.modified);
                    *written = file.modified.min(*written);
                }
                found.bytes += memory_bytes(&batch);
                found.rows.push(batch);
            }
            if found.bytes > bytes_max {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// Returns since which hour, in hours since the epoch, the table has rows for all that began in
    /// it; `None` when nothing is noted.
    pub(crate) async fn whole_since(&self) -> Result<Option<i64>, Error> {
        snapshot::transaction(&self.delta, self.name, WHOLE).await
    }

    /// Notes since which hour the table has all rows, and that it needs the log up to a record no
    /// more.
    pub(crate) async fn mark_whole_since(&mut self, hour: i64, through: u64) -> Result<(), Error> {
        self.refresh().await?;
        let through = through.max(self.through);
        let positions = vec![Transaction::new(LOG, through as i64), Transaction::new(WHOLE, hour)];
        let properties = CommitProperties::default().with_application_transactions(positions);
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: self.layout.hour_of.map(|_| vec![HOUR.to_owned()]),
            predicate: None,
        };
        self.commit(Vec::new(), properties, operation).await?;
        self.through = through;
        Ok(())
    }

    /// Returns the rows of a file, with the columns of a schema.
    pub(crate) async fn read(
        &self,
        file: &LiveFile,
        columns: &SchemaRef,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, Error>> + use<>, Error> {
        read_file(&self.store(), self.name, columns, file, Rows::All).await
    }

    fn files_with(
        &self,
        traces: &HashSet<u128>,
        may_have: impl Fn(&LiveFile) -> bool,
    ) -> Result<Vec<LiveFile>, Error> {
        let ends = traces.iter().min().zip(traces.iter().max());
        let Some((first, last)) = ends else { return Ok(Vec::new()) };
        let mut files = self.files()?;
        files.retain(|file| file.may_have_traces(*first, *last) && may_have(file));
        Ok(files)
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.delta.log_store().object_store(None)
    }

    /// Adds files to the table, and says that it has all rows of the log up to a record.
    async fn commit_rows(&mut self, adds: Vec<Add>, through: u64) -> Result<(), Error> {
        let partition_by = self.layout.hour_of.map(|_| vec![HOUR.to_owned()]);
        let operation =
            DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None };
        let actions = adds.into_iter().map(Action::Add).collect();
        self.commit(actions, position(through), operation).await?;
        self.through = through;
        Ok(())
    }

    /// Writes files, all of them or none; `modified` is when their rows were written first, ms
    /// since the epoch, unless that is now.
    async fn write_all(
        &mut self,
        files: Vec<NewFile>,
        modified: Option<i64>,
    ) -> Result<Vec<Add>, Error> {
        let mut adds = Vec::new();
        for file in files {
            match self.write(file).await {
                Ok(add) => adds.push(add),
                Err(error) => {
                    self.take_back(&adds).await;
                    return Err(error);
                }
            }
        }
        for add in &mut adds {
            add.modification_time = modified.unwrap_or(add.modification_time);
        }
        Ok(adds)
    }

    /// Removes files that are to be no part of the table: a disk that is full gets no fuller. What
    /// cannot be removed is swept up later.
    async fn take_back(&self, adds: &[Add]) {
        let store = self.store();
        for add in adds {
            let _ = store.delete(&Path::from(add.path.as_str())).await;
        }
    }

    async fn write(&mut self, file: NewFile) -> Result<Add, Error> {
        let NewFile { bytes, hour, is_sorted, statistics } = file;
        let kind = if is_sorted { PART } else { SPLICED };
        let name = format!("{kind}-{:016x}-{:06}{ENDING}", self.run, self.written);
        self.written += 1;
        // The folder is for people: readers take the hour from the log.
        let path = match (&hour, self.layout.hour_of) {
            (Some(hour), _) => format!("{HOUR}={hour}/{name}"),
            (None, Some(_)) => format!("{HOUR}=__HIVE_DEFAULT_PARTITION__/{name}"),
            (None, None) => name,
        };
        let size = bytes.len() as i64;
        let store = self.store();
        let put = store.put(&Path::from(path.as_str()), bytes.into()).await;
        put.map_err(|cause| Error::Write { table: self.name.to_owned(), cause })?;
        let partition_values = match self.layout.hour_of {
            Some(_) => HashMap::from([(HOUR.to_owned(), hour)]),
            None => HashMap::new(),
        };
        Ok(Add {
            path,
            partition_values,
            size,
            modification_time: (self.clock)() / NANOS_PER_MILLI,
            data_change: true,
            stats: Some(statistics),
            ..Add::default()
        })
    }

    async fn commit(
        &mut self,
        actions: Vec<Action>,
        properties: CommitProperties,
        operation: DeltaOperation,
    ) -> Result<(), Error> {
        let name = self.name;
        let failed = |cause| failed("commit to", name, cause);
        let log_store = self.delta.log_store();
        let snapshot = self.delta.snapshot().map_err(failed)?;
        // Also after an error it may be there.
        self.is_stale = true;
        CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(snapshot), log_store, operation)
            .await
            .map_err(failed)?;
        self.delta.update_state().await.map_err(failed)?;
        self.is_stale = false;
        Ok(())
    }

    /// Takes rows out of the table by the file: the hours before `first`, if one is named, then the
    /// oldest until the others hold at most `bytes_max`. Rows that were written later than they
    /// begin go by when they were written.
    ///
    /// # Errors
    ///
    /// The rows are in the table, or all of them are out of it.
    pub async fn expire(
        &mut self,
        first: Option<&str>,
        bytes_max: Option<u64>,
    ) -> Result<Vec<LiveFile>, Error> {
        self.expire_of(first, bytes_max, |_| true).await
    }

    /// The same of some files.
    ///
    /// # Errors
    ///
    /// As [`Self::expire`].
    pub(crate) async fn expire_of(
        &mut self,
        first: Option<&str>,
        bytes_max: Option<u64>,
        may_go: impl Fn(&LiveFile) -> bool,
    ) -> Result<Vec<LiveFile>, Error> {
        self.refresh().await?;
        let mut files = self.files()?;
        files.retain(may_go);
        files.sort_unstable_by(|a, b| (a.age(), &a.path).cmp(&(b.age(), &b.path)));
        let mut held: u64 = files.iter().map(|file| file.bytes).sum();
        let is_expired = |file: &LiveFile| {
            let is_over = bytes_max.is_some_and(|max| held > max);
            let is_expired = is_over || first.is_some_and(|first| file.age() < first);
            if is_expired {
                held -= file.bytes;
            }
            is_expired
        };
        files.retain(is_expired);
        if files.is_empty() {
            return Ok(files);
        }
        let actions = self.removals(&files, true)?;
        let operation = DeltaOperation::Delete { predicate: None };
        self.commit(actions, CommitProperties::default(), operation).await?;
        Ok(files)
    }

    /// Removes files that are no part of the table any more, or never were, and that a call has
    /// seen so at least `seen_for` ago: readers may still need them till then. Returns how many
    /// went.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] and [`Error::Read`] when the store refuses.
    pub async fn sweep(&mut self, seen_for: Duration) -> Result<usize, Error> {
        self.refresh().await?;
        let live: HashSet<String> = self.files()?.into_iter().map(|file| file.path).collect();
        let store = self.store();
        let listed: Vec<_> =
            store.list(None).try_collect().await.map_err(|cause| self.unreadable(cause))?;
        let is_left = |file: &ObjectMeta| {
            let path = file.location.as_ref();
            let is_rows = path.ends_with(".parquet") && !path.starts_with("_delta_log");
            is_rows && !live.contains(path) || path.ends_with(UNFINISHED)
        };
        // Not the system's clock, which may be set.
        let now = Instant::now();
        let mut left = HashMap::new();
        let mut removed = 0;
        for file in listed.iter().filter(|file| is_left(file)) {
            let path = file.location.to_string();
            match self.left.get(&path) {
                Some(seen) if now.duration_since(*seen) >= seen_for => {
                    store.delete(&file.location).await.map_err(|cause| self.unreadable(cause))?;
                    removed += 1;
                }
                seen => {
                    left.insert(path, seen.copied().unwrap_or(now));
                }
            }
        }
        self.left = left;
        Ok(removed)
    }

    fn removals(&self, files: &[LiveFile], data_change: bool) -> Result<Vec<Action>, Error> {
        let snapshot = self.delta.snapshot().map_err(|cause| failed("read", self.name, cause))?;
        let wanted: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let data = snapshot.log_data();
        let removed = data.iter().filter(|view| wanted.contains(&*view.path()));
        Ok(removed.map(|view| Action::Remove(view.remove_action(data_change))).collect())
    }

    fn unreadable(&self, cause: object_store::Error) -> Error {
        Error::Read { table: self.name.to_owned(), cause }
    }

    /// Returns the files whose rows are in the table, by hour.
    ///
    /// # Errors
    ///
    /// [`Error::Table`] when the table's log cannot be read.
    pub fn files(&self) -> Result<Vec<LiveFile>, Error> {
        snapshot::files(&self.delta, self.name)
    }

    /// Returns the first hour in which its rows begin, by their files.
    pub(crate) fn oldest_hour(&self) -> Result<Option<String>, Error> {
        Ok(self.files()?.iter().map(|file| file.age().to_owned()).min())
    }

    fn refused(&self, refused: Refused) -> Error {
        refused.of_table(self.name)
    }
}

/// Says up to which record of the log a table has everything.
fn position(through: u64) -> CommitProperties {
    let position = Transaction::new(LOG, through as i64);
    CommitProperties::default().with_application_transaction(position)
}

pub(crate) fn failed(action: &'static str, table: &str, cause: DeltaTableError) -> Error {
    Error::Table { action, table: table.to_owned(), cause: Box::new(cause) }
}

/// Returns a table's folder in the store as Delta names it. Of a scheme that its library knows and
/// does not go by: at `file` it would look into the system's own file system, past the store.
pub(crate) fn location(name: &str) -> Result<Url, DeltaTableError> {
    let location = Url::parse(&format!("memory:///{name}/"));
    location.map_err(|cause| DeltaTableError::generic(cause.to_string()))
}

/// Returns the columns as Delta's log lists them.
fn columns(schema: &Schema, layout: Layout) -> Result<Vec<StructField>, DeltaTableError> {
    let kernel: StructType = schema.try_into_kernel()?;
    let mut columns: Vec<StructField> = kernel.fields().cloned().collect();
    if layout.hour_of.is_some() {
        columns.push(StructField::nullable(HOUR, deltalake_core::kernel::DataType::STRING));
    }
    Ok(columns)
}
