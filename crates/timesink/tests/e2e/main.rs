//! The real binary over real sockets: the exporters of the Python SDK, test suites under `run`,
//! signals.
//!
//! Needs `python3` with `venv` and the package index, once: what is installed is kept beside the
//! build. What goes wrong is made with `strace`, and with `unshare` and `nsenter` of util-linux.
//! Without them these tests fail and say so.

mod access;
mod bucket;
mod clients;
mod data;
mod faults;
mod pytest;
mod run;
mod serve;
mod store;
mod support;
mod tls;
mod upkeep;
