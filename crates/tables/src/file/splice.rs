//! [`Splicer`]: row groups of several files as one file, without a look at their rows.

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    PageIndexPolicy, ParquetMetaData, ParquetMetaDataOptions, ParquetMetaDataReader,
};
use parquet::file::writer::SerializedFileWriter;

use super::told::Told;
use super::{NewFile, writer};
use crate::LiveFile;
use crate::table::Layout;

/// Writes row groups of files as they are, one file's after the other's, with their bloom filters
/// and indexes. Rows are sorted within each row group, if they were in the files.
pub(crate) struct Splicer<'l> {
    file: SerializedFileWriter<Vec<u8>>,
    hour: Option<String>,
    told: Told<'l>,
    files: usize,
    bytes: u64,
    is_sorted: bool,
}

impl<'l> Splicer<'l> {
    pub(crate) fn new(
        layout: &'l Layout,
        schema: &SchemaRef,
        hour: Option<String>,
    ) -> Result<Self, ParquetError> {
        let (file, _) = writer(layout, schema)?.into_serialized_writer()?;
        Ok(Self { file, hour, told: Told::new(layout), files: 0, bytes: 0, is_sorted: true })
    }

    /// Returns how many bytes were taken.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes a file, of which the table's log says something; returns whether it has all columns,
    /// and an index of its pages. If not, or after an error, what it took is of no use.
    pub(crate) fn add(&mut self, file: &LiveFile, content: &Bytes) -> Result<bool, ParquetError> {
        // As they are also where that is more than a reader needs.
        let options = ParquetMetaDataOptions::new().with_encoding_stats_as_mask(false);
        let metadata = ParquetMetaDataReader::new()
            .with_metadata_options(Some(options))
            .with_page_index_policy(PageIndexPolicy::Optional)
            .parse_and_finish(content)?;
        let has_columns =
            metadata.file_metadata().schema() == self.file.schema_descr().root_schema();
        if !has_columns || metadata.offset_index().is_none() {
            return Ok(false);
        }
        for group in 0..metadata.num_row_groups() {
            self.add_group(&metadata, group, content)?;
        }
        self.told.add(file, metadata.file_metadata().num_rows() as usize);
        self.files += 1;
        self.bytes += content.len() as u64;
        self.is_sorted = self.files == 1 && file.is_sorted();
        Ok(true)
    }

    fn add_group(
        &mut self,
        metadata: &ParquetMetaData,
        number: usize,
        content: &Bytes,
    ) -> Result<(), ParquetError> {
        let group = metadata.row_group(number);
        let mut written = self.file.next_row_group()?;
        for (at, column) in group.columns().iter().enumerate() {
            let indexes = (metadata.column_index(), metadata.offset_index());
            let closed = ColumnCloseResult {
                bytes_written: column.compressed_size() as u64,
                rows_written: group.num_rows() as u64,
                metadata: column.clone(),
                bloom_filter: Sbbf::read_from_column_chunk(column, content)?,
                column_index: indexes.0.map(|index| index[number][at].clone()),
                offset_index: indexes.1.map(|index| index[number][at].clone()),
            };
            written.append_column(content, closed)?;
        }
        written.close().map(drop)
    }

    pub(crate) fn finish(self) -> Result<NewFile, ParquetError> {
        let statistics = self.told.statistics();
        let Self { file, hour, is_sorted, .. } = self;
        Ok(NewFile { bytes: file.into_inner()?, hour, is_sorted, statistics })
    }
}
