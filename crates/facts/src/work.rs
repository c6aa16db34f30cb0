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
        rows: &Rows,
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
        rows: &Rows,
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

#[cfg(test)]
mod tests {
    use crate::test_support::{Pass, Span, span};

    /// Checks the pauses before spans 2, 3, 4 ... under an entry from 0 to 100 ms.
    fn check(spans: &[Span], expected: &[f64]) {
        let mut all = vec![span(1, 0, 0, 100).server()];
        all.extend_from_slice(spans);
        let pass = Pass::over(&all);
        for (id, &pause) in (2..).zip(expected) {
            assert_eq!(pass.millis(id, "pause_nanos"), Some(pause), "before span {id}");
        }
    }

    fn query(id: u64, parent: u64, start: i64, end: i64) -> Span {
        span(id, parent, start, end).query("SELECT 1")
    }

    #[test]
    fn a_pause_is_what_the_loop_itself_takes() {
        let spans = [query(2, 1, 10, 20), query(3, 1, 30, 40), query(4, 1, 45, 60)];
        check(&spans, &[0.0, 10.0, 5.0]);
    }

    #[test]
    fn queries_back_to_back_have_no_pause() {
        check(&[query(2, 1, 10, 20), query(3, 1, 20, 30)], &[0.0, 0.0]);
    }

    #[test]
    fn a_manual_span_an_item_does_not_hide_the_pause() {
        let spans = [
            query(2, 4, 12, 20),
            query(3, 5, 32, 40),
            span(4, 1, 10, 25).named("item 1"),
            span(5, 1, 30, 45).named("item 2"),
        ];
        // From 20 to 32, in the first item, between the two and in the second.
        check(&spans, &[0.0, 12.0, 0.0, 0.0]);
    }

    #[test]
    fn pauses_of_an_interleaved_pair_are_told_apart() {
        let other = |id, start, end| span(id, 1, start, end).query("SELECT 2");
        let spans = [query(2, 1, 10, 20), other(3, 22, 30), query(4, 1, 35, 45), other(5, 47, 50)];
        check(&spans, &[0.0, 2.0, 5.0, 2.0]);
    }

    #[test]
    fn sends_are_no_operations() {
        let send = span(3, 1, 25, 26).asgi("http.response.start");
        check(&[query(2, 1, 10, 20), send, query(4, 1, 30, 40)], &[0.0, 0.0, 9.0]);
    }

    #[test]
    fn a_background_task_has_pauses_of_its_own() {
        let spans = [
            query(2, 1, 80, 90),
            span(3, 1, 110, 200).named("BackgroundTask"),
            query(4, 3, 120, 130),
            query(5, 3, 145, 150),
        ];
        check(&spans, &[0.0, 0.0, 0.0, 15.0]);
    }

    #[test]
    fn an_entrys_own_time_is_what_calls_to_recorded_services_leave() {
        let pass = Pass::over(&[
            span(1, 0, 0, 100).server(),
            span(2, 1, 10, 40).client(),
            span(3, 2, 15, 35).server().service("orders"),
            span(4, 1, 30, 60).client(),
            span(5, 4, 35, 55).server().service("orders"),
            // No recorded service: its own.
            query(6, 1, 70, 90),
            // A child past its parent counts up to the parent's end.
            span(7, 1, 95, 120).client(),
            span(8, 7, 96, 119).server().service("orders"),
        ]);
        assert_eq!(pass.millis(1, "own_nanos"), Some(45.0));
        assert_eq!(pass.millis(3, "own_nanos"), Some(20.0));
        assert_eq!(pass.millis(6, "own_nanos"), Some(20.0));
    }
}
