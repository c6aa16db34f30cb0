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
