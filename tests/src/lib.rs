//! Runners and data of the tests that cross crates.
