//! [`Plan`]: which table the parts of a process are in, and which slices of time a large one has.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use timesink_model::NANOS_PER_MILLI;

use crate::rows::ProcessKey;

/// When the spans of a process start, in bins of time: as narrow as [`BINS_MAX`] of them allow.
#[derive(Debug)]
pub(super) struct Density {
    bin_nanos: i64,
    bins: BTreeMap<i64, usize>,
    spans: usize,
}

const BINS_MAX: usize = 1024;

impl Default for Density {
    fn default() -> Self {
        Self { bin_nanos: NANOS_PER_MILLI, bins: BTreeMap::new(), spans: 0 }
    }
}

impl Density {
    pub(super) fn add(&mut self, starts: Vec<i64>) {
        for start in starts {
            self.count(start);
        }
    }

    fn count(&mut self, start: i64) {
        self.spans += 1;
        *self.bins.entry(start.div_euclid(self.bin_nanos)).or_default() += 1;
        while self.bins.len() > BINS_MAX {
            self.bin_nanos *= 2;
            let mut bins = BTreeMap::new();
            for (bin, spans) in std::mem::take(&mut self.bins) {
                *bins.entry(bin.div_euclid(2)).or_default() += spans;
            }
            self.bins = bins;
        }
    }

    /// Divides the time where about so many spans have started.
    fn slices(&self, spans_max: usize) -> Slices {
        let mut starts = Vec::new();
        let mut spans = 0;
        for (bin, &of_bin) in &self.bins {
            if spans > 0 && spans + of_bin > spans_max {
                starts.push(bin.saturating_mul(self.bin_nanos));
                spans = 0;
            }
            spans += of_bin;
        }
        Slices { starts }
    }
}

/// Slices of time, one after the other; the first and the last have no bounds.
#[derive(Debug, Default)]
pub(super) struct Slices {
    /// Of all but the first.
    starts: Vec<i64>,
}

impl Slices {
    pub(super) fn count(&self) -> usize {
        self.starts.len() + 1
    }

    /// Returns the slice that a time is in.
    pub(super) fn of(&self, time: i64) -> usize {
        self.starts.partition_point(|&start| start <= time)
    }

    /// Returns the slices that a stretch of time touches.
    pub(super) fn between(&self, start: i64, end: i64) -> RangeInclusive<usize> {
        self.of(start.min(end))..=self.of(end.max(start))
    }

    /// Returns what of a stretch of time lies in a slice.
    pub(super) fn within(&self, slice: usize, start: i64, end: i64) -> (i64, i64) {
        let from = slice.checked_sub(1).map_or(i64::MIN, |before| self.starts[before]);
        let to = self.starts.get(slice).copied().unwrap_or(i64::MAX);
        (start.max(from), end.min(to))
    }
}

/// How the processes are divided.
#[derive(Debug)]
pub(super) struct Plan {
    /// The table of each process.
    pub(super) table_of: Vec<u32>,
    /// The slices of each table.
    pub(super) tables: Vec<Slices>,
}

impl Plan {
    /// Puts processes together as long as they have no more spans than that, and divides the time
    /// of those that have more.
    pub(super) fn new(processes: &BTreeMap<ProcessKey, Density>, spans_max: usize) -> Self {
        let mut plan = Self { table_of: Vec::with_capacity(processes.len()), tables: Vec::new() };
        let mut shared: Option<(u32, usize)> = None;
        for density in processes.values() {
            let slices = density.slices(spans_max);
            let fits = |&(_, spans): &(u32, usize)| spans + density.spans <= spans_max;
            let table = match shared.filter(fits) {
                Some((table, spans)) if slices.count() == 1 => {
                    shared = Some((table, spans + density.spans));
                    table
                }
                _ => {
                    let table = plan.tables.len() as u32;
                    if slices.count() == 1 {
                        shared = Some((table, density.spans));
                    }
                    plan.tables.push(slices);
                    table
                }
            };
            plan.table_of.push(table);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use timesink_model::NANOS_PER_SECOND;

    use super::*;

    fn density(starts: impl Iterator<Item = i64>) -> Density {
        let mut density = Density::default();
        density.add(starts.collect());
        density
    }

    #[test]
    fn a_process_with_many_spans_has_slices_of_time() {
        let second = NANOS_PER_SECOND;
        let slices = density((0..10).map(|at| at * second)).slices(4);
        assert_eq!(slices.starts, [4 * second, 8 * second]);
        let of = [-1, 0, 4 * second - 1, 4 * second, 9 * second].map(|time| slices.of(time));
        assert_eq!(of, [0, 0, 0, 1, 2]);
        assert_eq!(slices.within(1, 0, 100 * second), (4 * second, 8 * second));
        assert_eq!(slices.within(0, -5, 7), (-5, 7));
        assert_eq!(slices.within(2, 0, i64::MAX), (8 * second, i64::MAX));
        // What starts in one bin is in one slice, however much it is.
        assert_eq!(density((0..10).map(|_| 7)).slices(4).count(), 1);
    }

    #[test]
    fn bins_grow_with_the_time() {
        let density = density((0..100_000).map(|at| at * 60 * NANOS_PER_SECOND));
        assert!(density.bins.len() <= BINS_MAX);
        assert_eq!(density.spans, 100_000);
        assert_eq!(density.bins.values().sum::<usize>(), 100_000);
        let slices = density.slices(10_000);
        assert!((10..=11).contains(&slices.count()), "{slices:?}");
    }

    #[test]
    fn small_processes_share_a_table() {
        let process = |spans: i64| density((0..spans).map(|at| at * NANOS_PER_SECOND));
        let key = |pid| ProcessKey { pid: Some(pid), ..ProcessKey::default() };
        let spans = [3, 3, 9, 3, 3, 3];
        let processes = (0..).zip(spans).map(|(pid, spans)| (key(pid), process(spans))).collect();
        let plan = Plan::new(&processes, 8);
        assert_eq!(plan.table_of, [0, 0, 1, 2, 2, 3]);
        assert_eq!(plan.tables.iter().map(Slices::count).collect::<Vec<_>>(), [1, 2, 1, 1]);
    }
}
