//! The tables on disk: Parquet files, and which of them are live by Delta's log.
//!
//! What is appended is sorted and written as Parquet first, then committed together with the
//! position in the write-ahead log up to which the table has everything: a batch is in a table
//! once, whenever a crash comes. Other engines read the same files (Delta's protocol, reader
//! version 1).

mod check;
mod commits;
mod data;
mod disk_store;
mod done;
mod error;
mod file;
mod found;
mod hours;
mod location;
mod merge;
mod order;
mod snapshot;
mod table;
mod unsettled;
mod walked;

pub use data::{Look, LookWalked, StoredFindings, Tables, Wanted, stored_findings};
pub use disk_store::DiskStore;
pub use error::Error;
pub use file::hour_of;
pub use location::{Location, TABLES, claim};
pub use snapshot::{Bounds, LiveFile, Snapshot};
pub use table::{Compacted, Joining, Layout, Table};
pub use unsettled::Settle;
pub use walked::stored_columns;
