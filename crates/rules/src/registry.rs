//! Every rule that the binary ships with: one line a rule, in alphabetical order.

/// The files of one rule folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleSource {
    pub(crate) folder: &'static str,
    pub(crate) manifest: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) guide: &'static str,
}

macro_rules! rule {
    ($folder:literal) => {
        RuleSource {
            folder: $folder,
            manifest: include_str!(concat!("../../../queries/rules/", $folder, "/rule.toml")),
            sql: include_str!(concat!("../../../queries/rules/", $folder, "/rule.sql")),
            guide: include_str!(concat!("../../../queries/rules/", $folder, "/README.md")),
        }
    };
}

/// Every rule embedded in the binary, in the order reports list them.
pub(crate) const RULES: &[RuleSource] = &[
    rule!("abandoned-work"),
    rule!("blocking-event-loop"),
    rule!("broken-trace"),
    rule!("chatty-service"),
    rule!("cold-start"),
    rule!("connection-setup"),
    rule!("duplicate-query"),
    rule!("excessive-fanout"),
    rule!("gc-pause"),
    rule!("gil-contention"),
    rule!("large-payload"),
    rule!("long-transaction"),
    rule!("missing-cache"),
    rule!("n-plus-one-cache"),
    rule!("n-plus-one-call"),
    rule!("n-plus-one-llm"),
    rule!("n-plus-one-query"),
    rule!("pool-wait"),
    rule!("queue-lag"),
    rule!("retry-storm"),
    rule!("sequential-calls"),
    rule!("server-queue"),
    rule!("slow-dependency"),
    rule!("slow-llm-call"),
    rule!("slow-network-edge"),
    rule!("slow-query"),
    rule!("slow-serialization"),
    rule!("thread-pool-wait"),
    rule!("unbounded-result"),
    rule!("uncovered-time"),
];

#[cfg(test)]
mod tests {
    use super::RULES;

    #[test]
    fn list_and_folders_are_the_same() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../queries/rules");
        let mut folders: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        folders.sort();
        let listed: Vec<&str> = RULES.iter().map(|rule| rule.folder).collect();
        assert_eq!(folders, listed, "the list is alphabetical and complete");
    }
}
