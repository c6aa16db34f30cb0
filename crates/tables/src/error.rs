//! Why a table could not be read or written.

use arrow::error::ArrowError;
use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk or the object store refused, or what is there is no table: nothing was changed.
    #[error("failed to {action} the table `{table}`: {cause}")]
    Table { action: &'static str, table: String, cause: Box<DeltaTableError> },
    /// A file could not be written: nothing was changed.
    #[error("failed to write a file of the table `{table}`: {cause}")]
    Write { table: String, cause: object_store::Error },
    /// The disk or the object store refused, or a file of the table is gone.
    #[error("failed to read a file of the table `{table}`: {cause}")]
    Read { table: String, cause: object_store::Error },
    /// A file of the table is damaged, or was written by something else.
    #[error("failed to read `{path}` of the table `{table}`: {cause}")]
    File { table: String, path: String, cause: String },
    /// The batch does not fit the table: a defect of whoever made it.
    #[error("a batch does not fit the table `{table}`: {cause}")]
    Batch { table: String, cause: ArrowError },
    /// The batch cannot be written as Parquet: a defect of whoever made it.
    #[error("a batch of the table `{table}` cannot be written as Parquet: {cause}")]
    Parquet { table: String, cause: ParquetError },
    /// The trace pass refused spans of the table: a defect of ours.
    #[error("failed to walk traces: {0}")]
    Walk(timesink_facts::Error),
    /// Where the tables are to be is no place for them.
    #[error("`{text}` is no address of a bucket: expected s3://BUCKET or s3://BUCKET/PREFIX")]
    Location { text: String },
    /// The tables of a data directory are in another place than is asked for.
    #[error("its tables are in `{is}`, not in `{asked}`: a data directory keeps its place")]
    Elsewhere { is: String, asked: String },
    /// Another data directory writes there.
    #[error(
        "the tables in `{bucket}` are of another data directory: each needs a prefix of its own"
    )]
    Owned { bucket: String },
    /// The system does not say, or does not note, where the tables are.
    #[error("failed to read or write `{file}`, which says where its tables are: {cause}")]
    Place { file: &'static str, cause: std::io::Error },
    /// The bucket of the tables cannot be opened.
    #[error("failed to open the bucket of its tables: {cause}")]
    Bucket { cause: object_store::Error },
    /// The folder has no tables: it is none of a server, or of one that kept none yet.
    #[error("it has no `tables` folder: is it the `--data` of a `timesink serve`?")]
    NoTables,
    /// What the tables lack is not in the log: they do not belong together, or a file was removed.
    #[error("its log begins behind what its tables have: is a file of it gone?")]
    Gap,
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] timesink_store::Error),
    /// The table has columns that are not known here: a later version wrote it, and would lose them
    /// if this one went on.
    #[error("the table `{table}` is of a later version: it has the columns {columns}")]
    Later { table: String, columns: String },
}

impl Error {
    /// Returns whether a file of a table is gone or damaged: what it held is not to be had later,
    /// either.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Read { cause, .. } => matches!(cause, object_store::Error::NotFound { .. }),
            _ => false,
        }
    }
}
