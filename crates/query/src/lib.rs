//! SQL over spans, facts and gaps: a bounded `DataFusion` session, the tables and the views.
//!
//! Nothing here knows a rule. [`Database`] holds the tables of one set of spans; [`Session`] is one
//! reader of it with tables of its own. Every query runs under [`Limits`].

mod database;
mod error;
mod literals;
mod merged;
mod session;
mod steps;
mod text;
mod threads;
mod views;

pub use database::{Database, Limits};
pub use error::Error;
pub use literals::literals;
pub use merged::{SPANS_WITH_FACTS, UNKNOWN_ENDPOINT, schema as spans_with_facts_schema};
pub use session::{QueryResult, Session};
pub use steps::{Step, steps};
pub use threads::THREAD_NAME;
pub use views::{VIEWS, View};
