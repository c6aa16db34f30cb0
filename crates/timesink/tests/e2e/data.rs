//! Data directories, as commands see them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Serve, kill, text, timesink};

/// Answers a query over a data directory.
pub(crate) fn rows(query: &str, data: &str) -> Value {
    let output = timesink().args(["sql", "--data", data, "--format", "json", query]).output();
    let output = output.expect("it starts");
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Counts the spans of a data directory, and their ids.
pub(crate) fn counted(data: &str) -> Value {
    let query = "SELECT count(*) AS n, count(DISTINCT concat(trace_id, span_id)) AS ids, \
                 count(DISTINCT trace_id) AS traces FROM spans";
    rows(query, data)
}

/// Returns what [`counted`] does where so many traces of so many spans are, each span once.
pub(crate) fn each_once(traces: u64, spans: u64) -> Value {
    serde_json::json!([{"n": traces * spans, "ids": traces * spans, "traces": traces}])
}

/// Runs `timesink store`, and returns its exit code, output and errors.
pub(crate) fn store(args: &[&str]) -> (Option<i32>, String, String) {
    let output = timesink().arg("store").args(args).output().expect("it starts");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Lets a server end in order.
pub(crate) fn end(mut serve: Serve) {
    kill("-TERM", serve.child.id());
    serve.child.wait().expect("it ends");
}

/// Lets a server end at once.
pub(crate) fn end_at_once(mut serve: Serve) {
    kill("-KILL", serve.child.id());
    serve.child.wait().expect("it ends");
}

/// Returns the files below a folder that end so.
pub(crate) fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("it is made");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            std::fs::copy(&path, &copy).expect("it is copied");
        }
    }
}
