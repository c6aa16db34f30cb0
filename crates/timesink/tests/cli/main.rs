//! The real binary: what it prints, to whom, and how it exits.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod analyze;
mod commands;
mod companion;
mod config;
mod diagnostics;
mod doctor;
mod explain;
mod files;
mod mute;
mod outputs;
mod sql;
mod support;
