//! The real binary: what it prints, to whom, and how it exits.

mod analyze;
mod commands;
mod config;
mod explain;
mod files;
mod sql;
mod support;
