//! The wire: what of a client span its server child does not explain. It belongs to the edge
//! between two services, to neither of them.
//!
//! What a child in the client's own process covers is work, such as that of a consumer that reads a
//! stream, and not wire. Neither is the time between several server children: a client that tries
//! again within one span waits there of its own will.

use crate::critical::{Path, Section, overlap};
use crate::entry::{Entries, Entry};
use crate::rows::{Kind, NONE, Rows};
use crate::skew::Times;
use crate::sparse::Sparse;
use crate::tree::Tree;

/// Client span by client span; `server` is [`NONE`] on every other span.
#[derive(Debug)]
pub(crate) struct Wires {
    /// The first SERVER child in another process, by corrected start.
    pub(crate) server: Vec<u32>,
    pub(crate) parts: Sparse<Wire>,
    /// The part of the wire on the critical path; 0 on every other span.
    pub(crate) critical: Vec<i64>,
}

/// The wire of one call. The whole is the sum of its halves; of a call with one child it is a
/// difference of durations, which no clock skew touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) whole: i64,
    pub(crate) before: i64,
    pub(crate) after: i64,
    /// How long of `before` the server's process was busy with other requests.
    pub(crate) server_busy: i64,
}

/// When each process had an entry open that did not only wait for others of the process, to tell a
/// queue at the server from a slow network.
struct Busy {
    /// By process: stretches by start, without overlap.
    stretches: Vec<Vec<Section>>,
}

impl Busy {
    fn new(rows: &Rows, entries: &[Entry]) -> Self {
        let mut stretches: Vec<Vec<Section>> = vec![Vec::new(); rows.process_keys.len()];
        for entry in entries.iter().filter(|entry| entry.is_work()) {
            let process = rows.process[entry.span as usize] as usize;
            stretches[process].push(Section { start: entry.start, end: entry.end });
        }
        stretches.iter_mut().for_each(join);
        Self { stretches }
    }

    /// Returns how long a process was busy between two times of its clock.
    fn within(&self, process: u32, start: i64, end: i64) -> i64 {
        overlap(&self.stretches[process as usize], start, end)
    }
}

/// Puts stretches by start, and joins those that overlap.
pub(crate) fn join(stretches: &mut Vec<Section>) {
    stretches.sort_unstable_by_key(|stretch| stretch.start);
    stretches.dedup_by(|next, before| {
        let joins = next.start <= before.end;
        if joins {
            before.end = before.end.max(next.end);
        }
        joins
    });
}

impl Wires {
    pub(crate) fn measure(
        rows: &Rows,
        tree: &Tree,
        times: &Times,
        entries: &Entries,
        path: &Path,
    ) -> Self {
        let busy = Busy::new(rows, &entries.all);
        let mut wires = Self {
            server: vec![NONE; rows.len()],
            parts: Sparse::new(rows.len()),
            critical: vec![0; rows.len()],
        };
        for at in (0..rows.len()).filter(|&at| rows.kind[at] == Kind::Client) {
            if let Some(call) = Call::read(rows, tree, times, at) {
                wires.server[at] = call.server;
                wires.critical[at] = call.critical(path.sections(at));
                if let Some(wire) = call.wire(rows, times, &busy) {
                    wires.parts.set(at, wire);
                }
            }
        }
        wires
    }
}

/// A client span with a server child.
pub(crate) struct Call {
    pub(crate) server: u32,
    before: Half,
    after: Half,
}

/// What of a call lies before its first server child, or after its last.
struct Half {
    /// Negative when the server does not lie within the client.
    nanos: i64,
    /// The stretches that make it up, by start.
    free: Vec<Section>,
}

impl Call {
    pub(crate) fn read(rows: &Rows, tree: &Tree, times: &Times, at: usize) -> Option<Self> {
        let mut server = NONE;
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        let mut local: Vec<Section> = Vec::new();
        for &child in tree.children(at) {
            let (start, end) = (times.start[child as usize], times.end[child as usize]);
            if rows.process[child as usize] == rows.process[at] {
                local.push(Section { start, end });
            } else if rows.kind[child as usize] == Kind::Server {
                if start < first {
                    (first, server) = (start, child);
                }
                last = last.max(end);
            }
        }
        if server == NONE {
            return None;
        }
        local.sort_unstable_by_key(|section| section.start);
        let before = Half::new(times.start[at], first, &local);
        let after = Half::new(last, times.end[at], &local);
        Some(Self { server, before, after })
    }

    /// `own` are the client's sections of the critical path.
    fn critical(&self, own: &[Section]) -> i64 {
        let free = self.before.free.iter().chain(&self.after.free);
        free.map(|stretch| overlap(own, stretch.start, stretch.end)).sum()
    }

    /// A server that outlives its client says nothing about the wire.
    fn wire(&self, rows: &Rows, times: &Times, busy: &Busy) -> Option<Wire> {
        let (before, after) = (self.before.nanos, self.after.nanos);
        let process = rows.process[self.server as usize];
        let busy = |way: Section| busy.within(process, way.start, way.end);
        let server_busy = self.way_there(rows, times).map(busy).sum();
        (before + after >= 0).then_some(Wire { whole: before + after, before, after, server_busy })
    }

    /// Returns what lies before the server, by the server's own clock.
    pub(crate) fn way_there(
        &self,
        rows: &Rows,
        times: &Times,
    ) -> impl Iterator<Item = Section> + '_ {
        let server = self.server as usize;
        let skew = times.start[server] - rows.start[server];
        let free = self.before.free.iter();
        free.map(move |free| Section { start: free.start - skew, end: free.end - skew })
    }
}

impl Half {
    /// Leaves out what is `covered`, which comes by start.
    fn new(start: i64, end: i64, covered: &[Section]) -> Self {
        let mut free = Vec::new();
        if end <= start {
            return Self { nanos: end - start, free };
        }
        let mut cursor = start;
        for section in covered {
            if section.start.min(end) > cursor {
                free.push(Section { start: cursor, end: section.start.min(end) });
            }
            cursor = cursor.max(section.end);
        }
        if cursor < end {
            free.push(Section { start: cursor, end });
        }
        Self { nanos: free.iter().map(|stretch| stretch.end - stretch.start).sum(), free }
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::{Pass, Span, span};

    const PARTS: [&str; 3] = ["wire_nanos", "wire_before_nanos", "wire_after_nanos"];

    /// Server spans of another service under a call from 10 to 110 ms.
    fn pass(servers: &[Span]) -> Pass {
        let mut all = vec![span(1, 0, 0, 120).server(), span(2, 1, 10, 110).client()];
        all.extend(servers.iter().map(|server| server.clone().server().service("orders")));
        Pass::over(&all)
    }

    fn wire(pass: &Pass) -> [Option<f64>; 3] {
        PARTS.map(|part| pass.millis(2, part))
    }

    #[test]
    fn the_wire_is_what_the_server_does_not_explain() {
        let pass = pass(&[span(3, 2, 30, 90)]);
        assert_eq!(wire(&pass), [40.0, 20.0, 20.0].map(Some));
        assert_eq!(pass.id(2, "server_span_id"), Some(3));
        assert_eq!(pass.text(2, "server_service_name"), Some("orders"));
        // It belongs to the edge: neither to the client nor to the server.
        assert_eq!(pass.millis(2, "wire_critical_nanos"), Some(40.0));
        assert_eq!(
            [1, 2, 3].map(|id| pass.millis(id, "critical_nanos")),
            [Some(20.0), Some(0.0), Some(60.0)]
        );
    }

    #[test]
    fn halves_are_those_of_corrected_clocks() {
        assert_eq!(wire(&pass(&[span(3, 2, 5030, 5090)])), [40.0, 20.0, 20.0].map(Some));
        assert_eq!(wire(&pass(&[span(3, 2, -5000, -4940)])), [40.0, 20.0, 20.0].map(Some));
    }

    #[test]
    fn the_time_between_several_servers_belongs_to_no_wire() {
        let at_once = pass(&[span(3, 2, 30, 50), span(4, 2, 40, 60), span(5, 2, 70, 90)]);
        assert_eq!(wire(&at_once), [40.0, 20.0, 20.0].map(Some));
        assert_eq!(at_once.id(2, "server_span_id"), Some(3));
        let pass = pass(&[span(3, 2, 30, 60), span(4, 2, 70, 90)]);
        assert_eq!(wire(&pass), [40.0, 20.0, 20.0].map(Some));
        // From 60 to 70 the client waits of its own will, as urllib3 does before it tries again.
        assert_eq!(pass.millis(2, "wire_critical_nanos"), Some(40.0));
        assert_eq!(pass.millis(2, "critical_nanos"), Some(10.0));
    }

    /// A call from 10 to 110 ms to a server from 30 to 90, with children in the client's process.
    fn check_local(local: &[Span], expected: [f64; 3], critical: f64) {
        let mut all = vec![
            span(1, 0, 0, 120).server(),
            span(2, 1, 10, 110).client(),
            span(3, 2, 30, 90).server().service("orders"),
        ];
        all.extend_from_slice(local);
        let pass = Pass::over(&all);
        assert_eq!(wire(&pass), expected.map(Some), "{local:?}");
        assert_eq!(pass.millis(2, "wire_critical_nanos"), Some(critical), "{local:?}");
    }

    #[test]
    fn what_the_client_does_itself_is_no_wire() {
        // A consumer that works while it reads the stream.
        check_local(&[span(4, 2, 92, 107)], [25.0, 20.0, 5.0], 25.0);
        check_local(&[span(4, 2, 85, 95), span(5, 2, 94, 105)], [25.0, 20.0, 5.0], 25.0);
        check_local(&[span(4, 2, 10, 25), span(5, 2, 12, 20)], [25.0, 5.0, 20.0], 25.0);
        check_local(&[span(4, 2, 0, 200)], [0.0, 0.0, 0.0], 0.0);
        // Under the server's time it changes nothing.
        check_local(&[span(4, 2, 40, 60)], [40.0, 20.0, 20.0], 40.0);
        // What it calls elsewhere, such as a queue's consumer, is not its own work.
        let consumer = span(4, 2, 92, 107).kind("CONSUMER").service("mail");
        check_local(&[consumer], [40.0, 20.0, 20.0], 40.0);
    }

    #[test]
    fn a_server_is_not_busy_while_the_client_works() {
        let other = span(3, 0, 0, 40).server().service("orders").trace(3);
        let pass = Pass::over(&[
            span(1, 0, 0, 120).client(),
            span(2, 1, 60, 120).server().service("orders"),
            span(4, 1, 10, 30),
            other,
        ]);
        assert_eq!(pass.millis(1, "wire_before_nanos"), Some(40.0));
        assert_eq!(pass.millis(1, "server_busy_nanos"), Some(20.0));
    }

    #[test]
    fn a_server_that_outlives_its_client_says_nothing_of_the_wire() {
        let pass = pass(&[span(3, 2, 30, 150)]);
        assert_eq!(wire(&pass), [None; 3]);
        assert_eq!(pass.id(2, "server_span_id"), Some(3));
        // It is clipped: the client waited from 10 to 30, then for the server.
        assert_eq!(pass.millis(2, "wire_critical_nanos"), Some(20.0));
        assert_eq!(pass.millis(3, "critical_nanos"), Some(80.0));
    }

    #[test]
    fn a_call_without_a_recorded_server_has_no_wire() {
        let pass = pass(&[]);
        assert_eq!(wire(&pass), [None; 3]);
        assert_eq!(pass.id(2, "server_span_id"), None);
        assert_eq!(pass.millis(2, "wire_critical_nanos"), None);
        assert_eq!(pass.millis(2, "critical_nanos"), Some(100.0));
    }

    #[test]
    fn a_process_that_calls_itself_has_no_wire() {
        let spans = [span(1, 0, 0, 100).client(), span(2, 1, 10, 90).server()];
        assert_eq!(Pass::over(&spans).millis(1, "wire_nanos"), None);
    }

    #[test]
    fn a_server_busy_with_others_is_no_slow_network() {
        let other = |id: u64, start, end| {
            span(id, 0, start, end).server().service("orders").trace(id.into())
        };
        let pass = Pass::over(&[
            span(1, 0, 0, 120).client(),
            span(2, 1, 60, 110).server().service("orders"),
            other(3, -20, 10),
            other(4, 20, 40),
            other(5, 30, 50),
            other(6, 61, 100),
        ]);
        // Of 0 to 60: up to 10, and from 20 to 50.
        assert_eq!(pass.millis(1, "wire_before_nanos"), Some(60.0));
        assert_eq!(pass.millis(1, "server_busy_nanos"), Some(40.0));
    }
}
