//! More spans than memory holds: on disk while the trace pass goes over them, and while rules read
//! what it said.
//!
//! [`ShardWriter`] takes spans in any order and puts each trace whole into one of several shards;
//! [`Shards::facts`] walks them. What is written lies in temporary files that are [mapped into
//! memory](Spill): the system reads of them what is looked at, and lets go of it when memory is
//! short. They have no names, so that nothing of them is left whatever ends the process.

mod error;
mod spill;
mod walk;
mod writer;

pub use error::Error;
pub use spill::{Spill, temporary_file};
pub use walk::Shards;
pub use writer::{SHARD_SPANS, SHARDS_MAX, ShardWriter};
