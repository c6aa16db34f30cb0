//! Every rule and every check that the binary ships with: a line each, in alphabetical order.

/// The files of one rule folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleSource {
    pub(crate) folder: &'static str,
    pub(crate) manifest: &'static str,
    pub(crate) sql: &'static str,
    pub(crate) guide: &'static str,
}

macro_rules! source {
    ($kind:literal, $folder:literal) => {
        RuleSource {
            folder: $folder,
            manifest: include_str!(concat!("../../../queries/", $kind, "/", $folder, "/rule.toml")),
            sql: include_str!(concat!("../../../queries/", $kind, "/", $folder, "/rule.sql")),
            guide: include_str!(concat!("../../../queries/", $kind, "/", $folder, "/README.md")),
        }
    };
}

macro_rules! rule {
    ($folder:literal) => {
        source!("rules", $folder)
    };
}

macro_rules! check {
    ($folder:literal) => {
        source!("checks", $folder)
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

/// Every check of the instrumentation, a rule about the spans themselves.
pub(crate) const CHECKS: &[RuleSource] = &[
    check!("clock-skew"),
    check!("coarse-clock"),
    check!("exploding-span-names"),
    check!("hidden-parameters"),
    check!("holes-in-traces"),
    check!("lost-propagation"),
    check!("missing-companion"),
    check!("missing-process-identity"),
    check!("missing-route"),
    check!("missing-server-spans"),
    check!("missing-service-name"),
    check!("missing-service-version"),
    check!("missing-statements"),
    check!("send-receive-spans"),
    check!("single-client"),
    check!("truncated-attributes"),
    check!("twice-instrumented"),
    check!("uninstrumented-clients"),
    check!("unweighted-sample"),
];

#[cfg(test)]
mod tests {
    use super::{CHECKS, RULES, RuleSource};

    fn check_folders(kind: &str, list: &[RuleSource]) {
        let folder = format!("{}/../../queries/{kind}", env!("CARGO_MANIFEST_DIR"));
        let mut folders: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        folders.sort();
        let listed: Vec<&str> = list.iter().map(|rule| rule.folder).collect();
        assert_eq!(folders, listed, "the list is alphabetical and complete");
    }

    #[test]
    fn lists_and_folders_are_the_same() {
        check_folders("rules", RULES);
        check_folders("checks", CHECKS);
    }
}
