//! The work of an entry: the pauses between its operations, and the time that is its own.

use crate::critical::{Path, Section, Union};
use crate::entry::Entries;
use crate::process::Processes;
use crate::rows::{Asgi, NONE, Rows};
use crate::skew::Times;
use crate::wire::Wires;

#[derive(Debug)]
pub(crate) struct Work {
    /// On each operation: critical time of its entry that no operation covers, between the start
    /// of the operation before and its own.
    pub(crate) pause_nanos: Vec<i64>,
    /// On an entry: its duration less the time in calls to recorded services; else the self time.
    pub(crate) own_nanos: Vec<i64>,
}

impl Work {
    pub(crate) fn measure(
        rows: &Rows<'_>,
        times: &Times,
        entries: &Entries,
        path: &Path,
        wires: &Wires,
        processes: &Processes,
    ) -> Self {
        let mut work =
            Self { pause_nanos: vec![0; rows.len()], own_nanos: path.self_nanos.clone() };
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        order.sort_by_key(|&at| {
            let at = at as usize;
            (entries.of[at], path.head[at], times.start[at])
        });
        let same_entry = |&a: &u32, &b: &u32| entries.of[a as usize] == entries.of[b as usize];
        let same_tiling = |&a: &u32, &b: &u32| path.head[a as usize] == path.head[b as usize];
        for spans in order.chunk_by(same_entry) {
            // What runs in the background of an entry has pauses of its own.
            for spans in spans.chunk_by(same_tiling) {
                work.measure_pauses(rows, times, path, processes, spans);
            }
            let entry = entries.of(spans[0] as usize).span;
            if entry != NONE {
                work.own_nanos[entry as usize] = own(times, wires, entry as usize, spans);
            }
        }
        work
    }

    /// `spans` are those of one entry and one tiling, by start.
    fn measure_pauses(
        &mut self,
        rows: &Rows<'_>,
        times: &Times,
        path: &Path,
        processes: &Processes,
        spans: &[u32],
    ) {
        let is_operation = |at: usize| processes.is_leaf[at] && rows.asgi[at] == Asgi::No;
        // Sections of one tiling do not overlap.
        let mut idle: Vec<Section> = Vec::new();
        for &at in spans.iter().filter(|&&at| !processes.is_leaf[at as usize]) {
            idle.extend_from_slice(path.sections(at as usize));
        }
        idle.sort_unstable_by_key(|section| section.start);
        let (mut next, mut passed) = (0, 0);
        let mut idle_before = None;
        for &at in spans.iter().filter(|&&at| is_operation(at as usize)) {
            let start = times.start[at as usize];
            while next < idle.len() && idle[next].end <= start {
                passed += idle[next].end - idle[next].start;
                next += 1;
            }
            let begun = idle.get(next).map_or(0, |section| (start - section.start).max(0));
            let idle_now = passed + begun;
            self.pause_nanos[at as usize] = idle_now - idle_before.unwrap_or(idle_now);
            idle_before = Some(idle_now);
        }
    }
}

fn own(times: &Times, wires: &Wires, entry: usize, spans: &[u32]) -> i64 {
    let (start, end) = (times.start[entry], times.end[entry]);
    let mut called = Union::default();
    for &at in spans.iter().filter(|&&at| wires.server[at as usize] != NONE) {
        let at = at as usize;
        called.add(times.start[at].max(start), times.end[at].min(end));
    }
    end - start - called.total()
}
