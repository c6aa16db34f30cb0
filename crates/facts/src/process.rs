//! Processes: what each served at the same time.

use crate::crowd::{Extent, Head, Ways};
use crate::intern::Sym;
use crate::rows::{NO_THREAD, NONE, Rows, Serving};
use crate::served::Served;
use crate::tree::Tree;

/// The spans of one trace in one process, under their local root; where the trace holds several
/// requests that no other request is above, the spans of one of them.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) process: u32,
    /// The request, if it is of the process, else the earliest span without a parent in it.
    pub(crate) root: u32,
    pub(crate) start: i64,
    /// After the start, also when the root took no time: what overlaps it is then defined.
    pub(crate) end: i64,
    first_member: u32,
    members: u32,
}

#[derive(Debug)]
pub(crate) struct Processes {
    /// By process, then by start of the local root.
    ///
    /// What made requests in its own process, the test say, is in none of them: it waits for them.
    /// Nor is a note that hangs below nothing of its process.
    pub(crate) groups: Vec<Group>,
    members: Vec<u32>,
    /// Index into `groups`, by span; [`NONE`] in none.
    pub(crate) group_of: Vec<u32>,
    /// Whether the process serves requests on an event loop, by process.
    pub(crate) is_event_loop: Vec<bool>,
    /// Whether only requests can tell that its event loop stands still, by process.
    pub(crate) is_told_by_requests: Vec<bool>,
    /// Whether it says itself when its event loop stands still, by process.
    pub(crate) is_watched: Vec<bool>,
    /// Whether a span has no child in its process, and is no note.
    pub(crate) is_leaf: Vec<bool>,
}

impl Processes {
    pub(crate) fn members(&self, group: &Group) -> &[u32] {
        let first = group.first_member as usize;
        &self.members[first..first + group.members as usize]
    }

    /// Returns how it can be told that the event loop of a process stands still.
    pub(crate) fn ways(&self, process: usize) -> Ways {
        Ways {
            by_spans: self.is_event_loop[process],
            by_requests: self.is_told_by_requests[process],
            is_watched: self.is_watched[process],
        }
    }

    /// Returns what of a group is asked for by others beside it.
    pub(crate) fn head(
        &self,
        rows: &Rows,
        group: &Group,
        is_served: impl Fn(usize) -> bool,
        endpoint: Sym,
    ) -> Head {
        let extent = |counts: &dyn Fn(usize) -> bool| {
            let members = self.members(group).iter().map(|&at| at as usize);
            let counted = members.filter(|&at| counts(at));
            Extent::of(counted.map(|at| (rows.start[at], rows.end[at])))
        };
        Head {
            start: group.start,
            end: group.end,
            endpoint,
            is_served: is_served(group.root as usize),
            edges: extent(&|at| !rows.is_note[at]),
            requests: extent(&is_served),
        }
    }

    pub(crate) fn group(rows: &Rows, tree: &Tree, served: &Served) -> Self {
        let mut is_event_loop = vec![false; rows.process_keys.len()];
        let (mut is_told_by_requests, mut is_watched) =
            (is_event_loop.clone(), is_event_loop.clone());
        for (&process, event_loop) in rows.process.iter().zip(&rows.event_loop) {
            is_watched[process as usize] |= event_loop.is_some();
        }
        for at in (0..rows.len()).filter(|&at| served.is_request(at)) {
            let (process, serving) = (rows.process[at] as usize, rows.serving[at]);
            let is_django = serving == Serving::DjangoAsgi;
            is_event_loop[process] |= is_django || serving == Serving::EventLoop;
            is_told_by_requests[process] |= is_django || serving == Serving::Django;
        }
        let (mut groups, members) = gather(rows, tree, served);
        groups.sort_unstable_by_key(|g| (g.process, g.start, g.root));
        let mut group_of = vec![NONE; rows.len()];
        for (number, group) in groups.iter().enumerate() {
            let first = group.first_member as usize;
            for &at in &members[first..first + group.members as usize] {
                group_of[at as usize] = number as u32;
            }
        }
        Self {
            groups,
            members,
            group_of,
            is_event_loop,
            is_told_by_requests,
            is_watched,
            is_leaf: leaves(rows, tree),
        }
    }
}

/// Gives each span that says nothing of where it starts the thread of its parent, and whether a
/// loop runs there: of one process, it would say so if it were otherwise (`timesink-otel`).
pub(crate) fn inherit_threads(rows: &mut Rows, tree: &Tree) {
    let is_silent = |at: usize| rows.event_loop[at].is_none() && rows.thread[at] == NO_THREAD;
    if (0..rows.len()).all(is_silent) {
        return;
    }
    for at in tree.top_down.iter().map(|&at| at as usize) {
        let is_local = |parent: &usize| {
            rows.process[*parent] == rows.process[at] && !rows.parent_is_remote[at]
        };
        let Some(parent) = tree.parent(at).filter(is_local) else { continue };
        let (own, above) = (rows.event_loop[at], rows.event_loop[parent]);
        let is_elsewhere = own.zip(above).is_some_and(|(own, above)| own != above);
        if rows.thread[at] == NO_THREAD && !is_elsewhere {
            rows.thread[at] = rows.thread[parent];
        }
        if rows.thread[at] == rows.thread[parent] {
            rows.event_loop[at] = own.or(above);
        }
    }
}

fn leaves(rows: &Rows, tree: &Tree) -> Vec<bool> {
    let local = |at: usize| move |&child: &u32| rows.process[child as usize] == rows.process[at];
    let is_leaf = |at: usize| !rows.is_note[at] && !tree.children(at).iter().any(local(at));
    (0..rows.len()).map(is_leaf).collect()
}

fn gather(rows: &Rows, tree: &Tree, served: &Served) -> (Vec<Group>, Vec<u32>) {
    let mut groups: Vec<Group> = Vec::with_capacity(rows.traces.len());
    let mut members = Vec::with_capacity(rows.len());
    let mut of_trace: Vec<u32> = Vec::new();
    for trace in &rows.traces {
        // Where spans were lost, the rest may be of any of the requests.
        let is_whole = tree.is_complete[trace.start];
        let request = |at: u32| if is_whole { served.first[at as usize] } else { NONE };
        let process = |at: u32| rows.process[at as usize];
        of_trace.clear();
        // A note that hangs below nothing of its process is about no request.
        let is_local = |at: usize| {
            tree.parent(at).is_some_and(|parent| rows.process[parent] == rows.process[at])
        };
        let counts = |at: &usize| !rows.is_note[*at] || is_local(*at);
        of_trace.extend(trace.clone().filter(counts).map(|at| at as u32));
        of_trace.sort_by_key(|&at| (process(at), request(at)));
        for of_process in of_trace.chunk_by(|&a, &b| process(a) == process(b)) {
            let has_requests = request(of_process[0]) != NONE;
            for run in of_process.chunk_by(|&a, &b| request(a) == request(b)) {
                if request(run[0]) != NONE || !has_requests {
                    groups.push(group(rows, tree, request(run[0]), run, members.len()));
                    members.extend_from_slice(run);
                }
            }
        }
    }
    (groups, members)
}

fn group(rows: &Rows, tree: &Tree, request: u32, run: &[u32], first_member: usize) -> Group {
    let process = rows.process[run[0] as usize];
    let is_local = |at: usize| rows.process[at] == process;
    let has_local_parent = |&at: &&u32| tree.parent(*at as usize).is_some_and(is_local);
    let root = match request {
        request if request != NONE && is_local(request as usize) => request,
        // Members come by start, so the first without a local parent is the earliest.
        _ => *run.iter().find(|at| !has_local_parent(at)).unwrap_or(&run[0]),
    };
    Group::new(rows, root, run, first_member)
}

impl Group {
    /// Makes one of a run of spans that will be the members from a first one on.
    fn new(rows: &Rows, root: u32, run: &[u32], first_member: usize) -> Self {
        let at = root as usize;
        Self {
            process: rows.process[at],
            root,
            start: rows.start[at],
            end: rows.end[at].max(rows.start[at] + 1),
            first_member: first_member as u32,
            members: run.len() as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::{Pass, Span, span};

    fn flags(spans: &[Span], column: &str) -> Vec<bool> {
        let pass = Pass::over(spans);
        spans.iter().map(|span| pass.flag(span.id, column)).collect()
    }

    #[test]
    fn a_process_is_told_by_service_instance_pid_and_host() {
        let spans = [
            span(1, 0, 0, 1),
            span(2, 0, 0, 1),
            span(3, 0, 0, 1).instance("app-2"),
            span(4, 0, 0, 1).pid(7),
            span(5, 0, 0, 1).pid(8),
            span(6, 0, 0, 1).with("host_name", "a"),
            span(7, 0, 0, 1).with("host_name", "b"),
            span(8, 0, 0, 1).service("orders").instance("app-1"),
        ];
        let pass = Pass::over(&spans);
        let process = |id| pass.int(id, "process_id");
        assert_eq!(process(1), process(2));
        let mut distinct: Vec<_> = (2..=8).map(process).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 7);
    }

    #[test]
    fn an_identity_is_an_instance_or_a_pid_on_a_host() {
        let bare = |id| span(id, 0, 0, 1).without("service_instance_id");
        let spans = [
            bare(1),
            bare(2).pid(7),
            bare(3).with("host_id", "i-1"),
            bare(4).with("host_ip", "10.0.0.1"),
            bare(5).with("host_name", "a"),
            bare(6).instance("app-1"),
            bare(7).pid(7).with("host_name", "a"),
            bare(8).pid(7).with("host_id", "i-1"),
        ];
        let expected = [false, false, false, false, false, true, true, true];
        assert_eq!(flags(&spans, "has_process_identity"), expected);
    }

    /// Scenario: a request on a loop hands its work to a thread, calls another service and itself,
    /// and has spans that say their thread, or their loop, alone.
    #[test]
    fn a_span_starts_where_its_parent_does_unless_it_says_otherwise() {
        let (on, beside) = (Some(true), Some(false));
        let told = |span: Span, thread: i64, on_loop: Option<bool>| {
            let span = span.thread(thread);
            match on_loop {
                Some(on_loop) => span.with("timesink_event_loop", on_loop.to_string()),
                None => span,
            }
        };
        let cases = [
            (told(span(1, 0, 0, 100), 7, on), Some(7), on),
            (span(2, 1, 10, 50), Some(7), on),
            (told(span(3, 2, 20, 40), 8, beside), Some(8), beside),
            (span(4, 3, 20, 30), Some(8), beside),
            (span(5, 4, 22, 28).service("orders"), None, None),
            (span(6, 5, 22, 28), None, None),
            (span(7, 1, 22, 28).flags(256 | 512), None, None),
            (told(span(8, 1, 30, 40), 9, None), Some(9), None),
            (span(9, 8, 30, 40), Some(9), None),
            (span(10, 9, 30, 40).with("timesink_event_loop", "true"), Some(9), on),
            (span(11, 3, 20, 30).thread(8), Some(8), beside),
            (span(12, 3, 20, 30).with("timesink_event_loop", "true"), None, on),
            (span(13, 0, 0, 1), None, None),
        ];
        let spans: Vec<Span> = cases.iter().map(|(span, ..)| span.clone()).collect();
        let pass = Pass::over(&spans);
        for (span, thread, on_loop) in cases {
            assert_eq!(pass.int(span.id, "starting_thread_id"), thread, "{span:?}");
            assert_eq!(pass.optional_flag(span.id, "is_on_event_loop"), on_loop, "{span:?}");
        }
    }

    /// Checks whether a SERVER span shows that its process runs an event loop.
    fn check_loop(server: Span, expected: bool) {
        let spans = [server, span(2, 1, 0, 1), span(3, 0, 0, 1).instance("app-2")];
        assert_eq!(flags(&spans, "is_event_loop"), [expected, expected, false], "{:?}", spans[0]);
    }

    #[test]
    fn servers_on_an_event_loop_are_told_by_their_scope() {
        let server = |library: &str| span(1, 0, 0, 9).server().scope(library);
        for library in ["fastapi", "starlette", "asgi", "aiohttp_server"] {
            check_loop(server(library), true);
            check_loop(server(library).kind("CLIENT"), false);
        }
        for library in ["flask", "wsgi", "django", "grpc", "aiohttp_client"] {
            check_loop(server(library), false);
        }
        check_loop(span(1, 0, 0, 9).server(), false);
    }

    #[test]
    fn django_serves_on_an_event_loop_under_asgi_only() {
        let django = || span(1, 0, 0, 9).server().scope("django");
        let url = |span: Span| span.with("url_full", "http://localhost:8000/");
        let target = |span: Span| span.with("http_target", "/");
        check_loop(url(target(django())), true);
        check_loop(target(django()).attribute("net.host.name", "localhost"), false);
        // `manage.py runserver`: WSGI without a raw target; the test client sends no host either.
        check_loop(url(django()).attribute("net.host.name", "localhost:8000"), false);
        check_loop(url(django()), false);
        // Current names say nothing.
        check_loop(django().with("url_path", "/"), false);
    }

    #[test]
    fn an_in_process_request_shows_the_event_loop_too() {
        let request = |id, parent| span(id, parent, 1, 8).scope("fastapi").in_process();
        let test = span(1, 0, 0, 9);
        assert_eq!(flags(&[test.clone(), request(2, 1)], "is_event_loop"), [true; 2]);
        // What a server of another kind mounts says nothing of the loop that serves both.
        let flask = test.server().scope("flask");
        assert_eq!(flags(&[flask, request(2, 1)], "is_event_loop"), [false; 2]);
    }

    #[test]
    fn a_leaf_has_no_child_in_its_process() {
        let spans = [
            span(1, 0, 0, 9),
            span(2, 1, 0, 9).client(),
            span(3, 2, 0, 9).server().service("orders"),
            span(4, 1, 0, 9),
        ];
        assert_eq!(flags(&spans, "is_leaf"), [false, true, true, true]);
    }
}
