//! Why rules could not be loaded or run, by what the caller does next.

use std::path::PathBuf;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule folder cannot be used: its author mends it.
    #[error("rule `{rule}`: {reason}")]
    Rule { rule: String, reason: String },
    /// A file of a rule folder cannot be read.
    #[error("failed to read `{}`: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    /// The configuration names what no rule knows: its author mends it.
    #[error("{0}")]
    Config(String),
    /// No rule has that name.
    #[error("no rule is named `{name}`{}", suggestion(nearest.as_deref()))]
    UnknownRule { name: String, nearest: Option<String> },
    /// The trace is not among the spans at hand.
    #[error("trace `{trace_id}` is not there: {traces} traces were read")]
    UnknownTrace { trace_id: String, traces: usize },
    /// A query failed or reached a limit.
    #[error(transparent)]
    Query(#[from] timesink_query::Error),
    /// An invariant of ours broke: please report it.
    #[error("internal error, please report it: {0}")]
    Internal(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Returns the known name nearest to a mistyped one, if any is near.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance = |other: &str| edit_distance(name, other);
    known
        .map(|other| (distance(other), other))
        .filter(|(distance, other)| *distance <= other.len().div_ceil(3))
        .min()
        .map(|(_, other)| other.to_owned())
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_a_near_name_only() {
        let known = ["n-plus-one-query", "slow-dependency"];
        let near = |name| nearest(name, known.into_iter());
        assert_eq!(near("n-plus-one-querry").as_deref(), Some("n-plus-one-query"));
        assert_eq!(near("zzz"), None);
    }
}
