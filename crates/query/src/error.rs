//! Why a query failed, by what the caller does next.

use std::sync::Arc;
use std::time::Duration;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tokio::task::JoinError;

/// What went wrong with a query.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The text is not a query that these tables can answer: mend the query.
    #[error("failed to plan the query: {0}")]
    Query(String),
    /// The statement would write, or is no query at all.
    #[error("only queries can be run here: {0}")]
    ReadOnly(String),
    /// The text is longer or deeper than can be planned safely: make it shorter.
    #[error("the query has {seen} {unit}: the limit is {max}")]
    Length { seen: usize, max: usize, unit: &'static str },
    /// The query needed more memory than it may have.
    #[error(
        "the query needs more memory than the limit of {limit_mib} MiB \
         (`query.memory_mib_max`): {reason}"
    )]
    Memory { limit_mib: usize, reason: String },
    /// The query ran longer than it may.
    #[error("the query ran longer than the limit of {0:?} (`query.seconds_max`)")]
    Time(Duration),
    /// The query answered with more rows than it may.
    #[error("the query returned more rows than the limit of {0} (`query.rows_max`)")]
    Rows(usize),
    /// A value in the data stopped the query, a division by zero for example.
    #[error("the query failed while it ran: {0}")]
    Execution(String),
    /// The trace pass refused the spans.
    #[error(transparent)]
    Facts(Arc<timesink_facts::Error>),
    /// What goes to temporary files found no room.
    #[error(transparent)]
    Spill(Arc<timesink_shards::Error>),
    /// Our own tables or views are broken: please report it.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

impl From<timesink_facts::Error> for Error {
    fn from(error: timesink_facts::Error) -> Self {
        Self::Facts(Arc::new(error))
    }
}

impl From<timesink_shards::Error> for Error {
    fn from(error: timesink_shards::Error) -> Self {
        Self::Spill(Arc::new(error))
    }
}

impl Error {
    pub(crate) fn of_planning(error: &DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::Internal(message) => Self::Internal(message.clone()),
            root => Self::Query(root.strip_backtrace()),
        }
    }

    pub(crate) fn of_running(error: &DataFusionError, memory_bytes_max: usize) -> Self {
        match error.find_root() {
            DataFusionError::ResourcesExhausted(reason) => {
                Self::Memory { limit_mib: memory_bytes_max >> 20, reason: reason.clone() }
            }
            DataFusionError::Internal(message) => Self::Internal(message.clone()),
            DataFusionError::External(cause) if let Some(cause) = cause.downcast_ref() => {
                Self::Spill(Arc::clone(cause))
            }
            root => match io_error(root) {
                // Tables are in memory, or in a store that has errors of its own.
                Some(cause) => timesink_shards::Error::of_writing(copied(cause)).into(),
                None => Self::Execution(root.strip_backtrace()),
            },
        }
    }

    /// A query's own values can make the engine panic, texts of over 2 GiB in a batch for example.
    pub(crate) fn of_panic(error: JoinError) -> Self {
        let Ok(panic) = error.try_into_panic() else {
            return Self::Internal("the task of a query was cancelled".to_owned());
        };
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Self::Execution(text.unwrap_or("it panicked").to_owned())
    }
}

fn io_error(error: &DataFusionError) -> Option<&std::io::Error> {
    match error {
        DataFusionError::IoError(cause) => Some(cause),
        DataFusionError::ArrowError(error, _) => match &**error {
            ArrowError::IoError(_, cause) => Some(cause),
            _ => None,
        },
        _ => None,
    }
}

fn copied(error: &std::io::Error) -> std::io::Error {
    std::io::Error::new(error.kind(), error.to_string())
}
