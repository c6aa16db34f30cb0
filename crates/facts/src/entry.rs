//! Entries: where the work of a service begins for each span, and the path of names down to it.
//!
//! An entry that made requests in its own process, a test's span above all, is none of the work
//! that its process is busy with: it waits for them.

use hashbrown::HashMap;

use crate::intern::{Interner, Sym};
use crate::rows::{Kind, NONE, Rows};
use crate::served::Served;
use crate::shape::name_shape;
use crate::tree::Tree;

/// One entry: the nearest request or local root above some spans, or the parent they lost.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Position of the span, or [`NONE`] when it was lost.
    pub(crate) span: u32,
    pub(crate) id: u64,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// It is the nth of its process, from 1; 0 when it was lost.
    pub(crate) number: u32,
    /// It made a request in its own process.
    pub(crate) is_caller: bool,
}

#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) all: Vec<Entry>,
    /// Index into `all`, by span.
    pub(crate) of: Vec<u32>,
    /// Entries of the span's process that are open at its start; of those that only wait for
    /// requests that they made in the process themselves, its own at most.
    pub(crate) open: Vec<u32>,
    /// Number of the path of names from the entry down to the span's parent.
    pub(crate) name_path: Vec<Sym>,
    pub(crate) paths: Interner,
}

impl Entries {
    pub(crate) fn of(&self, at: usize) -> &Entry {
        &self.all[self.of[at] as usize]
    }

    pub(crate) fn is_entry(&self, at: usize) -> bool {
        self.of(at).span == at as u32
    }

    pub(crate) fn find(rows: &Rows, tree: &Tree, served: &Served) -> Self {
        let (mut all, of) = assign(rows, tree, served);
        let open = count_open(rows, &mut all, |all, at| all[of[at] as usize].waits());
        let (name_path, paths) = name_paths(rows, tree, &all, &of);
        Self { all, of, open, name_path, paths }
    }
}

fn assign(rows: &Rows, tree: &Tree, served: &Served) -> (Vec<Entry>, Vec<u32>) {
    let mut all: Vec<Entry> = Vec::new();
    let mut of = vec![NONE; rows.len()];
    let mut lost: HashMap<(u32, u32, u64), u32> = HashMap::new();
    for &at in &tree.top_down {
        let at = at as usize;
        let parent = tree.parent(at).filter(|&parent| rows.service[parent] == rows.service[at]);
        let above = parent.filter(|_| !served.is_request(at));
        if let Some(caller) = parent.filter(|_| served.is_in_process(at)) {
            all[of[caller] as usize].is_caller = true;
        }
        of[at] = match above {
            Some(parent) => of[parent],
            // A note that hangs below nothing of its process is about no request.
            None if rows.is_note[at] => {
                let lost = if tree.is_orphan[at] { rows.parent_id[at] } else { 0 };
                all.push(entry(rows, at, NONE, lost));
                all.len() as u32 - 1
            }
            None if has_lost_local_parent(rows, tree, served, at) => {
                let key = (tree_trace(rows, at), rows.process[at], rows.parent_id[at]);
                *lost.entry(key).or_insert_with(|| {
                    all.push(entry(rows, at, NONE, rows.parent_id[at]));
                    all.len() as u32 - 1
                })
            }
            None => {
                all.push(entry(rows, at, at as u32, rows.span_id[at]));
                all.len() as u32 - 1
            }
        };
        let entry = &mut all[of[at] as usize];
        if entry.span == NONE {
            entry.start = entry.start.min(rows.start[at]);
            entry.end = entry.end.max(rows.end[at]);
        }
    }
    (all, of)
}

fn entry(rows: &Rows, at: usize, span: u32, id: u64) -> Entry {
    Entry { span, id, start: rows.start[at], end: rows.end[at], number: 0, is_caller: false }
}

fn tree_trace(rows: &Rows, at: usize) -> u32 {
    rows.traces.partition_point(|trace| trace.end <= at) as u32
}

/// A request is called from outside, and so is a span whose flags say that its parent is remote;
/// what else names a parent that is not there lost it inside its service.
fn has_lost_local_parent(rows: &Rows, tree: &Tree, served: &Served, at: usize) -> bool {
    tree.is_orphan[at] && !served.is_request(at) && !rows.parent_is_remote[at]
}

impl Entry {
    /// Whether it is there, and waits for requests that it made in its own process.
    pub(crate) fn waits(&self) -> bool {
        self.is_caller && self.span != NONE
    }

    /// Whether its process is busy with it.
    pub(crate) fn is_work(&self) -> bool {
        !self.is_caller && self.span != NONE
    }
}

/// Numbers the entries of each process by start, and counts the open ones at each span's start;
/// `waits` says whether the entry of a span does.
fn count_open(rows: &Rows, all: &mut [Entry], waits: impl Fn(&[Entry], usize) -> bool) -> Vec<u32> {
    let mut by_process: Vec<Vec<u32>> = vec![Vec::new(); rows.process_keys.len()];
    for (index, entry) in all.iter().enumerate().filter(|(_, entry)| entry.span != NONE) {
        by_process[rows.process[entry.span as usize] as usize].push(index as u32);
    }
    let mut open = Vec::with_capacity(by_process.len());
    for entries in &mut by_process {
        // Two traces may have spans of one id and start.
        let order = |entry: &Entry| (entry.start, entry.id, entry.span);
        entries.sort_unstable_by_key(|&e| order(&all[e as usize]));
        for (number, &entry) in entries.iter().enumerate() {
            all[entry as usize].number = number as u32 + 1;
        }
        entries.retain(|&entry| !all[entry as usize].is_caller);
        let time = |of: fn(&Entry) -> i64| entries.iter().map(|&e| of(&all[e as usize])).collect();
        open.push(OpenEntries::new(0, time(|entry| entry.start), time(|entry| entry.end)));
    }
    (0..rows.len())
        .map(|at| {
            let open = open[rows.process[at] as usize].at(rows.start[at]);
            open + u32::from(waits(all, at))
        })
        .collect()
}

/// The entries of one process that are open over time.
pub(crate) struct OpenEntries {
    before: i64,
    starts: Vec<i64>,
    ends: Vec<i64>,
}

impl OpenEntries {
    /// Takes the starts and ends in a part of the time, before which so many were open.
    pub(crate) fn new(before: i64, mut starts: Vec<i64>, mut ends: Vec<i64>) -> Self {
        starts.sort_unstable();
        ends.sort_unstable();
        Self { before, starts, ends }
    }

    /// Returns how many are open at a time.
    pub(crate) fn at(&self, time: i64) -> u32 {
        let begun = self.starts.partition_point(|&start| start <= time);
        let ended = self.ends.partition_point(|&end| end < time);
        (self.before + begun as i64 - ended as i64) as u32
    }

    /// Returns how many are open when that part of the time is over.
    pub(crate) fn after(&self) -> i64 {
        self.before + self.starts.len() as i64 - self.ends.len() as i64
    }
}

/// Segments of a path; what lies deeper shares the path of the last.
const PATH_SEGMENTS_MAX: u32 = 32;

/// Bytes of one segment.
const SEGMENT_BYTES_MAX: usize = 80;

/// Bytes of a path to which nothing is added any more: a million spans may each have their own.
const PATH_BYTES_MAX: usize = 512;

const PATH_SEPARATOR: &str = " > ";

fn name_paths(rows: &Rows, tree: &Tree, all: &[Entry], of: &[u32]) -> (Vec<Sym>, Interner) {
    let mut builder = PathBuilder::default();
    let mut path = vec![Sym(0); rows.len()];
    for &at in &tree.top_down {
        let at = at as usize;
        let is_entry = all[of[at] as usize].span == at as u32;
        let parent = tree.parent(at).filter(|_| !is_entry);
        path[at] = match parent {
            Some(parent) => {
                let name = rows.name[parent];
                builder.step(path[parent], rows.text(name), name)
            }
            None => Sym(0),
        };
    }
    (path, builder.paths)
}

struct PathBuilder {
    paths: Interner,
    /// Segments of each path and the name of its last, by path.
    last: Vec<(u32, Sym)>,
    steps: HashMap<(Sym, Sym), Sym>,
    shapes: HashMap<Sym, Sym>,
    names: Interner,
}

impl Default for PathBuilder {
    fn default() -> Self {
        Self {
            paths: Interner::new(),
            last: vec![(0, Sym(0))],
            steps: HashMap::new(),
            shapes: HashMap::new(),
            names: Interner::new(),
        }
    }
}

impl PathBuilder {
    /// Returns the path one name further down. A name right below itself adds nothing, so that a
    /// recursion has one path whatever its depth.
    fn step(&mut self, path: Sym, name: &str, name_sym: Sym) -> Sym {
        let names = &mut self.names;
        let shape = *self
            .shapes
            .entry(name_sym)
            .or_insert_with(|| names.intern(&shortened(&name_shape(name))));
        let (segments, last) = self.last[path.0 as usize];
        if (last == shape && segments > 0) || segments >= PATH_SEGMENTS_MAX {
            return path;
        }
        if let Some(&known) = self.steps.get(&(path, shape)) {
            return known;
        }
        let above = self.paths.text(path);
        if above.len() >= PATH_BYTES_MAX {
            return path;
        }
        let separator = if segments == 0 { "" } else { PATH_SEPARATOR };
        let text = format!("{above}{separator}{}", self.names.text(shape));
        let next = self.paths.intern(&text);
        if next.0 as usize == self.last.len() {
            self.last.push((segments + 1, shape));
        }
        self.steps.insert((path, shape), next);
        next
    }
}

fn shortened(name: &str) -> String {
    if name.len() <= SEGMENT_BYTES_MAX {
        return name.to_owned();
    }
    let cut = (0..=SEGMENT_BYTES_MAX).rev().find(|&at| name.is_char_boundary(at)).unwrap_or(0);
    format!("{}…", &name[..cut])
}

/// Returns the kind of an entry, for outputs: every request but a message is SERVER.
pub(crate) fn kind_of(rows: &Rows, served: &Served, entry: &Entry) -> Kind {
    if entry.span == NONE { Kind::Other } else { served.kind(rows, entry.span as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{Pass, Span, span};

    fn entries(pass: &Pass, ids: &[u64]) -> Vec<Option<u64>> {
        ids.iter().map(|&id| pass.id(id, "entry_span_id")).collect()
    }

    fn paths<'a>(pass: &'a Pass, ids: &[u64]) -> Vec<&'a str> {
        ids.iter().map(|&id| pass.text(id, "name_path").expect("never NULL")).collect()
    }

    #[test]
    fn an_entry_is_where_the_work_of_a_service_begins() {
        let pass = Pass::over(&[
            span(1, 0, 0, 100).server().named("GET /a"),
            span(2, 1, 1, 90),
            span(3, 2, 2, 80).client(),
            span(4, 3, 3, 70).server().service("orders").named("GET /b"),
            span(5, 4, 4, 60).client().service("orders"),
            span(6, 5, 5, 50).service("pricing").named("no server span"),
            span(7, 2, 6, 70).kind("PRODUCER"),
            span(8, 7, 10, 40).kind("CONSUMER").named("task"),
        ]);
        let expected = [1, 1, 1, 4, 4, 6, 1, 8].map(Some);
        assert_eq!(entries(&pass, &[1, 2, 3, 4, 5, 6, 7, 8]), expected);
        assert_eq!(pass.text(3, "endpoint"), Some("GET /a"));
        assert_eq!(pass.text(5, "endpoint"), Some("GET /b"));
        assert_eq!(pass.text(3, "entry_kind"), Some("SERVER"));
        assert_eq!(pass.millis(5, "entry_duration_nanos"), Some(67.0));
        assert_eq!(pass.text(4, "parent_kind"), Some("CLIENT"));
        assert_eq!(pass.text(1, "parent_kind"), None);
    }

    /// *Scenario*: a test, whose span is current, asks for three pages in its own process: the
    /// instrumentations make the requests INTERNAL; one goes over a socket.
    #[test]
    fn a_request_of_a_test_is_an_entry() {
        let pass = Pass::over(&[
            span(1, 0, 0, 100).named("test_pages").with("test_case_name", "test_pages"),
            span(2, 1, 5, 9).query("INSERT"),
            span(3, 1, 10, 30).in_process().named("GET /a"),
            span(4, 3, 12, 20).query("SELECT 1"),
            span(5, 1, 20, 50).in_process().named("GET /a"),
            span(6, 5, 21, 49).query("SELECT 1"),
            span(7, 1, 60, 90).client(),
            span(8, 7, 65, 85).server().named("GET /b"),
            span(9, 8, 70, 80).query("SELECT 2"),
        ]);
        let expected = [1, 1, 3, 3, 5, 5, 1, 8, 8].map(Some);
        assert_eq!(entries(&pass, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), expected);
        assert_eq!(pass.text(4, "endpoint"), Some("GET /a"));
        assert_eq!(pass.text(3, "entry_kind"), Some("SERVER"));
        assert_eq!(pass.text(2, "entry_kind"), Some("INTERNAL"));
        assert_eq!(paths(&pass, &[4]), ["GET /a"]);
        assert_eq!(pass.millis(4, "entry_duration_nanos"), Some(20.0));
        // The test waits for its requests; it is none of what is open beside them.
        let open = [1, 2, 3, 5, 8].map(|id| pass.int(id, "open_entries"));
        assert_eq!(open, [1, 1, 1, 2, 1].map(Some));
        // Each has a critical path of its own, whatever the test did meanwhile.
        let tilings = [1, 3, 4, 5, 6, 7, 8, 9].map(|id| pass.id(id, "tiling_span_id"));
        assert_eq!(tilings, [1, 3, 3, 5, 5, 1, 8, 8].map(Some));
        assert_eq!(pass.millis(4, "critical_nanos"), Some(8.0));
    }

    #[test]
    fn a_sub_application_is_no_entry_of_its_own() {
        let below = |parent: Span| {
            let sub = span(2, 1, 1, 9).in_process().named("GET /sub");
            entries(&Pass::over(&[parent, sub]), &[2])[0]
        };
        let above = span(1, 0, 0, 10);
        assert_eq!(below(above.clone().server()), Some(1));
        assert_eq!(below(above.clone().kind("CONSUMER")), Some(1));
        assert_eq!(below(above.clone().in_process()), Some(1));
        assert_eq!(below(above.clone()), Some(2));
        // What is above it was lost, its test say: requests stay apart.
        let orphans = [span(2, 99, 1, 9).in_process(), span(3, 99, 1, 9).in_process()];
        assert_eq!(entries(&Pass::over(&orphans), &[2, 3]), [2, 3].map(Some));
    }

    #[test]
    fn a_request_carries_what_servers_write() {
        let entry_of = |span: Span| {
            entries(&Pass::over(&[crate::test_support::span(1, 0, 0, 9), span]), &[2])[0]
        };
        let internal = || span(2, 1, 1, 8).with("http_request_method", "GET");
        assert_eq!(entry_of(internal().with("http_route", "/")), Some(2));
        assert_eq!(entry_of(internal().with("url_scheme", "http")), Some(2));
        // A call, as clients write it, by a span of the application.
        assert_eq!(entry_of(internal().with("url_full", "http://a/b")), Some(1));
        assert_eq!(entry_of(span(2, 1, 1, 8).with("http_route", "/")), Some(1));
        assert_eq!(entry_of(internal().with("http_route", "/").client()), Some(1));
    }

    #[test]
    fn siblings_share_the_local_parent_they_lost() {
        let pass = Pass::over(&[
            span(1, 99, 10, 20).client(),
            span(2, 99, 30, 50),
            span(3, 2, 31, 60),
            // Another process and another trace lost others.
            span(4, 99, 0, 5).instance("app-2"),
            span(5, 99, 0, 5).trace(2),
        ]);
        assert_eq!(entries(&pass, &[1, 2, 3, 4, 5]), [Some(99); 5]);
        assert_eq!(pass.text(1, "endpoint"), None);
        assert_eq!(pass.int(1, "entry_number"), None);
        assert_eq!(pass.text(1, "entry_kind"), Some("UNSPECIFIED"));
        // What is left of it, from 10 to 60.
        let durations = [1, 2, 3, 4, 5].map(|id| pass.millis(id, "entry_duration_nanos"));
        assert_eq!(durations, [50.0, 50.0, 50.0, 5.0, 5.0].map(Some));
        assert_eq!(paths(&pass, &[1, 2, 3]), ["", "", "span ?"]);
    }

    #[test]
    fn flags_tell_a_lost_remote_parent_from_a_lost_local_one() {
        let pass = Pass::over(&[
            span(1, 99, 0, 10).flags(768),
            span(2, 99, 1, 10).flags(256),
            span(3, 99, 2, 10).flags(0),
            span(4, 99, 3, 10).flags(256).server(),
            span(5, 99, 4, 10).flags(256).kind("CONSUMER"),
        ]);
        assert_eq!(entries(&pass, &[1, 2, 3, 4, 5]), [1, 99, 99, 4, 5].map(Some));
    }

    #[test]
    fn a_path_names_what_lies_between_entry_and_span() {
        let pass = Pass::over(&[
            span(1, 0, 0, 100).server().named("GET /a"),
            span(2, 1, 1, 90).named("page 12"),
            span(3, 2, 2, 80).client(),
            span(4, 3, 3, 70).server().service("orders").named("GET /b"),
            span(5, 4, 4, 60).service("orders"),
        ]);
        let expected = ["", "GET /a", "GET /a > page ?", "", "GET /b"];
        assert_eq!(paths(&pass, &[1, 2, 3, 4, 5]), expected);
    }

    #[test]
    fn a_recursion_has_one_path() {
        let mut spans = vec![span(1, 0, 0, 100).server().named("GET /a")];
        spans.extend((2..=50).map(|id| span(id, id - 1, 1, 99).named("walk")));
        spans.push(span(51, 50, 2, 3).client());
        let pass = Pass::over(&spans);
        assert_eq!(
            paths(&pass, &[2, 3, 4, 51]),
            ["GET /a", "GET /a > walk", "GET /a > walk", "GET /a > walk"]
        );
    }

    /// A chain of spans with names of so many letters, each its own.
    fn chain(length: u64, letters: usize) -> Vec<Span> {
        let name = |id: u64| {
            let letter = |digit: u32| char::from(b'a' + (id / 26_u64.pow(digit) % 26) as u8);
            letter(0).to_string() + &letter(1).to_string() + &"x".repeat(letters - 2)
        };
        (1..=length).map(|id| span(id, id - 1, 0, 100).named(name(id))).collect()
    }

    #[test]
    fn a_deep_path_ends_at_its_segments() {
        let pass = Pass::over(&chain(60, 2));
        let segments = |id: u64| paths(&pass, &[id])[0].split(PATH_SEPARATOR).count();
        assert_eq!([segments(20), segments(33), segments(34)], [19, 32, 32]);
        assert_eq!(paths(&pass, &[34]), paths(&pass, &[60]));
    }

    #[test]
    fn a_long_path_ends_at_its_bytes() {
        let pass = Pass::over(&chain(60, 300));
        let lengths = [10, 20, 60].map(|id| paths(&pass, &[id])[0].len());
        assert!(lengths.iter().all(|&length| length < PATH_BYTES_MAX + 100), "{lengths:?}");
        assert!(paths(&pass, &[2])[0].ends_with('…'));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(shortened(&"é".repeat(60)), "é".repeat(40) + "…");
        assert_eq!(shortened(&("a".to_owned() + &"é".repeat(60))), format!("a{}…", "é".repeat(39)));
    }

    #[test]
    fn entries_of_a_process_are_numbered_and_counted_while_open() {
        let entry = |id: u64, start, end| span(id, 0, start, end).server().trace(id.into());
        let pass = Pass::over(&[
            entry(1, 0, 10),
            entry(2, 5, 15),
            entry(3, 20, 30),
            // Ends as the next begins: both are open then.
            entry(4, 30, 40),
            entry(5, 0, 100).instance("app-2"),
            span(6, 1, 6, 9).client().trace(1),
        ]);
        let ints = |column| [1, 2, 3, 4, 5, 6].map(|id| pass.int(id, column));
        assert_eq!(ints("entry_number"), [1, 2, 3, 4, 1, 1].map(Some));
        assert_eq!(ints("open_entries"), [1, 2, 1, 2, 1, 2].map(Some));
    }
}
