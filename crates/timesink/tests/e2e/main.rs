//! The real binary over real sockets: the exporters of the Python SDK, test suites under `run`,
//! signals.
//!
//! Needs `python3` with `venv` and the package index, once: what is installed is kept beside the
//! build. Without them these tests fail and say so.

mod bucket;
mod clients;
mod faults;
mod pytest;
mod run;
mod serve;
mod store;
mod support;
mod tls;
