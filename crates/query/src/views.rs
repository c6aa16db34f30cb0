//! The views of `queries/views`: the vocabulary that rules, reports and dashboards share.

/// A named query; its text opens with one sentence that says its grain.
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub name: &'static str,
    pub sql: &'static str,
}

macro_rules! view {
    ($name:literal) => {
        View { name: $name, sql: include_str!(concat!("../../../queries/views/", $name, ".sql")) }
    };
}

/// Every view, in the order in which they are made: a view may read those before it.
pub const VIEWS: &[View] = &[
    view!("entries"),
    view!("last_calls"),
    view!("lossy_traces"),
    view!("threaded_requests"),
    view!("db_client_spans"),
    view!("cache_client_spans"),
    view!("call_client_spans"),
    view!("llm_calls"),
    view!("service_edges"),
    view!("loop_candidates"),
    view!("loop_blocks"),
    view!("serializations"),
];

#[cfg(test)]
mod tests {
    use super::VIEWS;

    #[test]
    fn every_file_of_the_folder_is_a_view() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../queries/views");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".sql").map(str::to_owned))
            .collect();
        files.sort();
        let mut listed: Vec<&str> = VIEWS.iter().map(|view| view.name).collect();
        listed.sort_unstable();
        assert_eq!(files, listed);
    }

    #[test]
    fn every_view_opens_with_its_grain() {
        for view in VIEWS {
            assert!(view.sql.starts_with("-- One row "), "{}", view.name);
        }
    }
}
