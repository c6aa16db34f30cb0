//! Rules: folders of SQL and words that find one kind of lost time each; and the engine that runs
//! them, *spans in, findings out*.
//!
//! No rule is named in code outside `registry`. Read [`Engine`] first.

mod cases;
mod causes;
mod check;
mod columns;
mod config;
mod context;
mod engine;
mod error;
mod examples;
mod explain;
mod grouping;
mod instances;
mod manifest;
mod mute;
mod params;
mod plans;
mod registry;
mod rule;
mod template;
mod test_cases;

pub use cases::run_case;
pub use check::{Problem, check, check_cases};
pub use config::{Override, RuleSettings, RulesConfig, Value};
pub use engine::{Analysis, Engine, Outcome, RuleRun, Undecided};
pub use error::{Error, nearest};
pub use examples::{EXAMPLE_SPANS_MAX, EXAMPLE_TRACES_MAX, examples};
pub use explain::{ExplainedStep, Explanation, explain};
pub use grouping::{AFFECTED_HIGH, AFFECTED_LOW, TYPICAL_WASTE};
pub use manifest::{Manifest, Param, RemediationText, SymptomOf, Where};
pub use mute::{Mute, Mutes};
pub use rule::{Place, Rule, RuleSet};
pub use template::{show, show_nanos};
