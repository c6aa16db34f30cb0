//! What tests are written with: traces as text, and Markdown pages that are tests.
//!
//! Appears in `[dev-dependencies]` only. [`notation`] turns a few readable lines into `spans`
//! batches; [`cases`] reads the cases of a rule's `README.md` and `cases.md`. [`sarif`] checks logs
//! against the schema of SARIF. Read [`notation`] first.

pub mod cases;
pub mod disk;
pub mod notation;
pub mod sarif;
