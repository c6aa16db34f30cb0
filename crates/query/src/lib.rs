//! SQL over spans, facts and gaps: a bounded `DataFusion` session, the tables and the views.
//!
//! Nothing here knows a rule. [`Database`] holds the tables of one set of spans. [`Session`]
//! answers any query over them; [`Planner`] and [`Reader`] those that are known before, planned
//! once. Every query runs under [`Limits`].

mod answer;
mod compact;
mod database;
mod error;
mod literals;
mod merged;
mod outline;
mod planner;
mod reader;
mod session;
mod spilled;
mod split;
mod steps;
mod stored;
mod text;
mod threads;
mod views;

pub use database::{Database, Limits};
pub use error::Error;
pub use literals::literals;
pub use merged::{SPANS_WITH_FACTS, UNKNOWN_ENDPOINT, schema as spans_with_facts_schema};
pub use planner::{PlannedQuery, Planner, columns_of};
pub use reader::Reader;
pub use session::{QueryResult, Session};
pub use steps::{Step, steps};
pub use stored::{StoredDatabase, StoredTable};
pub use text::words;
pub use threads::THREAD_NAME;
pub use views::{VIEWS, View};
