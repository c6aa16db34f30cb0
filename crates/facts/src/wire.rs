//! The wire: what of a client span its server child does not explain. It belongs to the edge
//! between two services, to neither of them.

use crate::critical::{Section, Union, overlap};
use crate::entry::Entries;
use crate::rows::{Kind, NONE, Rows};
use crate::skew::Times;
use crate::tree::Tree;

/// Client span by client span; `server` is [`NONE`] on every other span.
#[derive(Debug)]
pub(crate) struct Wires {
    /// The first SERVER child in another process, by corrected start.
    pub(crate) server: Vec<u32>,
    pub(crate) parts: Vec<Option<Wire>>,
}

/// The wire of one call. The whole is a difference of durations, which no clock skew touches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) whole: i64,
    pub(crate) before: i64,
    pub(crate) after: i64,
    /// How long of `before` the server's process was busy with other requests.
    pub(crate) server_busy: i64,
}

/// When each process had an entry open, to tell a queue at the server from a slow network.
struct Busy {
    /// By process: stretches by start, without overlap.
    stretches: Vec<Vec<Section>>,
}

impl Busy {
    fn new(rows: &Rows<'_>, entries: &Entries) -> Self {
        let mut stretches: Vec<Vec<Section>> = vec![Vec::new(); rows.process_keys.len()];
        for entry in entries.all.iter().filter(|entry| entry.span != NONE) {
            let process = rows.process[entry.span as usize] as usize;
            stretches[process].push(Section { start: entry.start, end: entry.end });
        }
        for process in &mut stretches {
            process.sort_unstable_by_key(|stretch| stretch.start);
            process.dedup_by(|next, before| {
                let joins = next.start <= before.end;
                if joins {
                    before.end = before.end.max(next.end);
                }
                joins
            });
        }
        Self { stretches }
    }
}

impl Wires {
    pub(crate) fn measure(rows: &Rows<'_>, tree: &Tree, times: &Times, entries: &Entries) -> Self {
        let busy = Busy::new(rows, entries);
        let mut wires = Self { server: vec![NONE; rows.len()], parts: vec![None; rows.len()] };
        for at in 0..rows.len() {
            if rows.kind[at] == Kind::Client {
                wires.measure_call(rows, tree, times, &busy, at);
            }
        }
        wires
    }

    fn measure_call(
        &mut self,
        rows: &Rows<'_>,
        tree: &Tree,
        times: &Times,
        busy: &Busy,
        at: usize,
    ) {
        let mut covered = Union::default();
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        for &child in tree.children(at) {
            let child = child as usize;
            if rows.kind[child] != Kind::Server || rows.process[child] == rows.process[at] {
                continue;
            }
            if times.start[child] < first {
                first = times.start[child];
                self.server[at] = child as u32;
            }
            covered.add(times.start[child], times.end[child]);
            last = last.max(times.end[child]);
        }
        let whole = times.duration(at) - covered.total();
        // A server that outlives its client says nothing about the wire.
        if self.server[at] != NONE && whole >= 0 {
            let (before, after) = (first - times.start[at], times.end[at] - last);
            let called = self.server[at] as usize;
            let served_by = &busy.stretches[rows.process[called] as usize];
            let start = rows.start[called];
            let server_busy = overlap(served_by, start - before.max(0), start);
            self.parts[at] = Some(Wire { whole, before, after, server_busy });
        }
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
    fn several_servers_explain_their_union() {
        let pass = pass(&[span(3, 2, 30, 50), span(4, 2, 40, 60), span(5, 2, 70, 90)]);
        assert_eq!(wire(&pass), [50.0, 20.0, 20.0].map(Some));
        assert_eq!(pass.id(2, "server_span_id"), Some(3));
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
