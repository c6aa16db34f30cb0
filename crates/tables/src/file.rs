//! Rows as Parquet files: sorted, cut by hour, with what readers need to pass them by.

mod sorted;
mod splice;
mod told;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use timesink_store::Place;

pub(crate) use self::splice::Splicer;
use self::told::Told;
use crate::Error;
use crate::order::order;
use crate::table::Layout;

pub(crate) const NANOS_PER_HOUR: i64 = 3_600_000_000_000;

/// Rows of a row group: what a reader decides on with its statistics, and holds as it decodes.
const ROW_GROUP_ROWS: usize = 1 << 17;

/// Rows of a page, about: a trace in the middle of a table is found by reading so many.
const PAGE_ROWS: usize = 1 << 13;

/// Hours of which an append makes files of their own, the latest: clocks can be far off, and a
/// hostile sender could ask for a file a span. Rows of others share one.
const HOURS_MAX: usize = 48;

/// A file that is not written yet.
#[derive(Debug)]
pub(crate) struct NewFile {
    pub(crate) bytes: Vec<u8>,
    /// `2026-11-28T15`; `None` for rows of several hours.
    pub(crate) hour: Option<String>,
    /// Whether all its rows are, and not only those of each row group.
    pub(crate) is_sorted: bool,
    /// As Delta's protocol has it (Per-file Statistics).
    pub(crate) statistics: String,
}

/// Why rows are no files.
#[derive(Debug)]
pub(crate) enum Refused {
    Batch(ArrowError),
    Parquet(ParquetError),
}

impl Refused {
    /// Returns it as the error of who writes a table.
    pub(crate) fn of_table(self, table: &str) -> Error {
        let table = table.to_owned();
        match self {
            Self::Batch(cause) => Error::Batch { table, cause },
            Self::Parquet(cause) => Error::Parquet { table, cause },
        }
    }

    /// Returns it as the error of who reads a file.
    pub(crate) fn of_file(self, table: &str, path: &str) -> Error {
        let cause = match self {
            Self::Batch(cause) => cause.to_string(),
            Self::Parquet(cause) => cause.to_string(),
        };
        Error::File { table: table.to_owned(), path: path.to_owned(), cause }
    }
}

impl From<ArrowError> for Refused {
    fn from(error: ArrowError) -> Self {
        Self::Batch(error)
    }
}

impl From<ParquetError> for Refused {
    fn from(error: ParquetError) -> Self {
        Self::Parquet(error)
    }
}

/// Returns the rows of batches as files, one for each hour.
pub(crate) fn files(
    layout: &Layout,
    schema: &SchemaRef,
    batches: &[RecordBatch],
) -> Result<Vec<NewFile>, Refused> {
    let file = |(hour, rows): (Option<i64>, Vec<Place>)| {
        let (bytes, statistics) = sorted::write(layout, schema, batches, &rows)?;
        Ok(NewFile { bytes, hour: hour.map(hour_text), is_sorted: true, statistics })
    };
    sorted_by_hour(layout, batches)?.into_iter().map(file).collect()
}

/// Returns the rows of each hour in the order in which they lie in its file.
fn sorted_by_hour(
    layout: &Layout,
    batches: &[RecordBatch],
) -> Result<BTreeMap<Option<i64>, Vec<Place>>, ArrowError> {
    let places = batches.iter().enumerate();
    let places = places.flat_map(|(at, batch)| (0..batch.num_rows()).map(move |row| (at, row)));
    let places: Vec<Place> = places.collect();
    let hours = hours(layout, batches)?;
    let mut by_hour: BTreeMap<Option<i64>, Vec<Place>> = BTreeMap::new();
    for row in order(layout.sorted_by, batches)? {
        by_hour.entry(hours[row as usize]).or_default().push(places[row as usize]);
    }
    Ok(by_hour)
}

/// Returns how many rows a file has.
pub(crate) fn rows_of(file: &Bytes) -> Result<usize, ParquetError> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
    Ok(metadata.file_metadata().num_rows() as usize)
}

/// Returns the hour of a time, ns since the epoch, as the partition column has it: `2026-11-28T15`.
pub fn hour_of(nanos: i64) -> String {
    hour_text(nanos.div_euclid(NANOS_PER_HOUR))
}

/// Returns an hour since the epoch as the partition column has it.
pub(crate) fn hour_text(hour: i64) -> String {
    let time = chrono::DateTime::from_timestamp(hour.saturating_mul(3600), 0).unwrap_or_default();
    time.format("%Y-%m-%dT%H").to_string()
}

/// Returns the hour that lies so many before another; `None` when that is none.
pub(crate) fn hours_before(hour: &str, hours: i64) -> Option<String> {
    let time = chrono::NaiveDateTime::parse_from_str(&format!("{hour}:00"), "%Y-%m-%dT%H:%M");
    Some(hour_text(time.ok()?.and_utc().timestamp().div_euclid(3600) - hours))
}

/// Returns the hour of each row, `None` for those that share a file.
fn hours(layout: &Layout, batches: &[RecordBatch]) -> Result<Vec<Option<i64>>, ArrowError> {
    let Some(column) = layout.hour_of else {
        return Ok(vec![None; batches.iter().map(RecordBatch::num_rows).sum()]);
    };
    let mut hours: Vec<i64> = Vec::new();
    for batch in batches {
        let nanos = numbers(batch, column)?.values();
        hours.extend(nanos.iter().map(|nanos| nanos.div_euclid(NANOS_PER_HOUR)));
    }
    let mut distinct = hours.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let first = distinct.iter().rev().nth(HOURS_MAX - 1).copied().unwrap_or(i64::MIN);
    Ok(hours.into_iter().map(|hour| (hour >= first).then_some(hour)).collect())
}

pub(crate) fn numbers<'r>(
    rows: &'r RecordBatch,
    column: &str,
) -> Result<&'r Int64Array, ArrowError> {
    let numbers = named(rows, column)?.as_primitive_opt::<Int64Type>();
    numbers.ok_or_else(|| ArrowError::SchemaError(format!("`{column}` is no Int64")))
}

pub(crate) fn named<'r>(rows: &'r RecordBatch, column: &str) -> Result<&'r ArrayRef, ArrowError> {
    let found = rows.column_by_name(column);
    found.ok_or_else(|| ArrowError::SchemaError(format!("there is no column `{column}`")))
}

/// Writes rows, which are sorted, as one file.
pub(crate) struct FileWriter<'l> {
    layout: &'l Layout,
    writer: ArrowWriter<Vec<u8>>,
    hour: Option<String>,
    told: Told<'l>,
}

impl<'l> FileWriter<'l> {
    pub(crate) fn new(
        layout: &'l Layout,
        schema: &SchemaRef,
        hour: Option<String>,
    ) -> Result<Self, Refused> {
        Ok(Self { layout, writer: writer(layout, schema)?, hour, told: Told::new(layout) })
    }

    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), Refused> {
        for name in self.layout.bounded {
            self.told.widen(name, named(rows, name)?);
        }
        self.told.rows += rows.num_rows();
        Ok(self.writer.write(rows)?)
    }

    /// Returns how many rows were written.
    pub(crate) fn rows(&self) -> usize {
        self.told.rows
    }

    /// Begins the next row group, whose rows are sorted for themselves.
    pub(crate) fn end_run(&mut self) -> Result<(), Refused> {
        Ok(self.writer.flush()?)
    }

    /// Returns the file, of which all rows are sorted or only those of each row group.
    pub(crate) fn finish(self, is_sorted: bool) -> Result<NewFile, Refused> {
        let statistics = self.told.statistics();
        let Self { writer, hour, .. } = self;
        Ok(NewFile { bytes: writer.into_inner()?, hour, is_sorted, statistics })
    }
}

fn writer(layout: &Layout, schema: &SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ParquetError> {
    let properties = Some(properties(layout, schema));
    ArrowWriter::try_new(Vec::new(), Arc::clone(schema), properties)
}

fn properties(layout: &Layout, schema: &Schema) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Nobody looks for what lies inside a value.
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_created_by(concat!("timesink ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields().iter().filter(|field| !field.data_type().is_nested()) {
        let name = field.name().as_str();
        let is_id = layout.ids.contains(&name);
        // Rows lie by trace: the texts of a row group are from A to Z, all but a few.
        let is_told = !is_id && (!is_text(field) || layout.bounded.contains(&name));
        let statistics = if is_told { EnabledStatistics::Chunk } else { EnabledStatistics::None };
        let column = ColumnPath::from(name);
        properties = properties
            .set_column_statistics_enabled(column.clone(), statistics)
            .set_column_dictionary_enabled(column, !is_id);
    }
    for column in layout.found_by.iter().map(|name| ColumnPath::from(*name)) {
        properties = properties
            .set_column_statistics_enabled(column.clone(), EnabledStatistics::Page)
            .set_column_bloom_filter_enabled(column, true);
    }
    for column in layout.few {
        properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(*column), true);
    }
    for column in layout.measured {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(*column), false);
    }
    for column in layout.rising.iter().map(|name| ColumnPath::from(*name)) {
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED)
            .set_column_statistics_enabled(column, EnabledStatistics::Page);
    }
    properties.build()
}

fn is_text(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Utf8View)
}

#[cfg(test)]
mod tests;
