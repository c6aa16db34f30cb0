//! [`Crowd`]: all that one process served, and who of it was there at the same time.
//!
//! Of each group it holds some 100 bytes, and nothing of its spans: these are listened to a part of
//! the time after the other.

use std::ops::Range;

use hashbrown::HashMap;

use crate::intern::Sym;

/// One group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) start: i64,
    /// After the start.
    pub(crate) end: i64,
    pub(crate) endpoint: Sym,
    /// Its root is a request, and no message.
    pub(crate) is_served: bool,
    /// The first and the last start or end of its spans that are no notes.
    pub(crate) edges: Extent,
    /// The same of its requests that are no messages.
    pub(crate) requests: Extent,
}

/// Which ways there are to tell that the event loop of a process stands still.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// It serves requests on one, and its spans tell.
    pub(crate) by_spans: bool,
    /// Requests alone tell.
    pub(crate) by_requests: bool,
    /// It says so itself.
    pub(crate) is_watched: bool,
}

impl Ways {
    /// Whether there is anything to be measured.
    pub(crate) fn any(self) -> bool {
        self.by_spans || self.by_requests
    }
}

/// The groups of one process.
#[derive(Debug)]
pub(crate) struct Crowd {
    /// By start, then by their roots' order.
    pub(crate) heads: Vec<Head>,
    /// Their numbers by their ends.
    pub(crate) by_end: Vec<u32>,
    pub(crate) ways: Ways,
    open: Open,
    served: Open,
    /// Of all requests.
    requests: Extent,
    /// For each group, of those beside it.
    beside: Vec<Extent>,
}

impl Crowd {
    /// Takes groups in the order of their starts.
    pub(crate) fn new(heads: Vec<Head>, ways: Ways) -> Self {
        let by_end = by_end(&heads);
        let served = |head: &&Head| ways.by_requests && head.is_served;
        let served: Vec<Head> = heads.iter().filter(served).copied().collect();
        let beside = if ways.by_spans { extents_beside(&heads, &by_end) } else { Vec::new() };
        Self {
            open: Open::new(&heads, &by_end),
            served: Open::new(&served, &self::by_end(&served)),
            requests: heads.iter().fold(Extent::NONE, |all, head| all.with(head.requests)),
            beside,
            by_end,
            ways,
            heads,
        }
    }

    /// Returns from the first to the last edge of the groups beside one, if they have any.
    pub(crate) fn extent_beside(&self, group: usize) -> Option<Extent> {
        self.beside[group].if_any()
    }

    /// Returns from the first to the last edge of all requests, if there are any.
    pub(crate) fn requests(&self) -> Option<Extent> {
        self.requests.if_any()
    }

    /// Returns how many others were open while a group was.
    pub(crate) fn concurrent(&self, group: usize) -> u32 {
        self.open.beside(&self.heads[group])
    }

    /// Returns how long the others were open in a stretch, added up.
    pub(crate) fn waiting(&self, group: usize, stretch: Range<i64>) -> i64 {
        self.open.waiting(&self.heads[group], stretch)
    }

    /// Returns how many other requests were open at a time.
    pub(crate) fn requests_at(&self, group: usize, time: i64) -> usize {
        let own = &self.heads[group];
        let is_own = own.is_served && own.start <= time && time < own.end;
        self.served.at(time) - usize::from(is_own)
    }

    /// Returns how many groups each endpoint has.
    pub(crate) fn endpoints(&self) -> HashMap<Sym, u32> {
        let mut groups = HashMap::new();
        for head in &self.heads {
            *groups.entry(head.endpoint).or_default() += 1;
        }
        groups
    }
}

fn by_end(heads: &[Head]) -> Vec<u32> {
    let mut by_end: Vec<u32> = (0..heads.len() as u32).collect();
    by_end.sort_unstable_by_key(|&group| (heads[group as usize].end, group));
    by_end
}

/// Returns, for each group, the extent of those that were open while it was.
fn extents_beside(heads: &[Head], by_end: &[u32]) -> Vec<Extent> {
    let mut open = Extents::new(heads.len());
    let mut next = by_end.iter().rev().peekable();
    let mut beside = vec![Extent::NONE; heads.len()];
    for (number, head) in heads.iter().enumerate().rev() {
        while let Some(&other) = next.next_if(|&&other| heads[other as usize].end > head.start) {
            open.set(other as usize, heads[other as usize].edges);
        }
        let begun = heads.partition_point(|other| other.start < head.end);
        beside[number] = open.of(0..number).with(open.of(number + 1..begun));
    }
    beside
}

/// The first and the last of some edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

impl Extent {
    /// Of no edges.
    pub(crate) const NONE: Self = Self { first: i64::MAX, last: i64::MIN };

    pub(crate) fn with(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Returns the extent of all edges of these spans, given by start and end.
    pub(crate) fn of(spans: impl Iterator<Item = (i64, i64)>) -> Self {
        spans.fold(Self::NONE, |all, (start, end)| {
            all.with(Self { first: start.min(end), last: start.max(end) })
        })
    }

    fn if_any(self) -> Option<Self> {
        (self.first <= self.last).then_some(self)
    }
}

/// The extents of those groups that were set, over any range of groups: a segment tree.
struct Extents {
    nodes: Vec<Extent>,
}

impl Extents {
    fn new(groups: usize) -> Self {
        Self { nodes: vec![Extent::NONE; 2 * groups] }
    }

    fn set(&mut self, group: usize, extent: Extent) {
        let mut node = group + self.nodes.len() / 2;
        self.nodes[node] = extent;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node].with(self.nodes[2 * node + 1]);
        }
    }

    fn of(&self, groups: Range<usize>) -> Extent {
        let leaves = self.nodes.len() / 2;
        let (mut from, mut to) = (groups.start + leaves, groups.end + leaves);
        let mut extent = Extent::NONE;
        while from < to {
            if from % 2 == 1 {
                extent = extent.with(self.nodes[from]);
                from += 1;
            }
            if to % 2 == 1 {
                to -= 1;
                extent = extent.with(self.nodes[to]);
            }
            from /= 2;
            to /= 2;
        }
        extent
    }
}

/// How many groups were open, and for how long in all.
#[derive(Debug)]
struct Open {
    starts: Vec<i64>,
    ends: Vec<i64>,
    starts_before: Sums,
    ends_before: Sums,
}

impl Open {
    fn new(heads: &[Head], by_end: &[u32]) -> Self {
        let starts: Vec<i64> = heads.iter().map(|head| head.start).collect();
        let ends: Vec<i64> = by_end.iter().map(|&group| heads[group as usize].end).collect();
        let (starts_before, ends_before) = (Sums::of(&starts), Sums::of(&ends));
        Self { starts, ends, starts_before, ends_before }
    }

    fn at(&self, time: i64) -> usize {
        let begun = self.starts.partition_point(|&start| start <= time);
        begun - self.ends.partition_point(|&end| end <= time)
    }

    fn beside(&self, head: &Head) -> u32 {
        let begun = self.starts.partition_point(|&start| start < head.end);
        let ended = self.ends.partition_point(|&end| end <= head.start);
        // The group itself has begun and not ended.
        (begun - ended - 1) as u32
    }

    fn waiting(&self, head: &Head, stretch: Range<i64>) -> i64 {
        let own = (head.end.min(stretch.end) - head.start.max(stretch.start)).max(0);
        let all = self.until(stretch.end) - self.until(stretch.start);
        i64::try_from(all).unwrap_or(i64::MAX) - own
    }

    /// Returns how long all groups had been open at a time, added up.
    fn until(&self, time: i64) -> i128 {
        let begun = self.starts.partition_point(|&start| start < time);
        let ended = self.ends.partition_point(|&end| end < time);
        let sum = |count: usize, before: i128| count as i128 * i128::from(time) - before;
        sum(begun, self.starts_before.of_first(begun, &self.starts))
            - sum(ended, self.ends_before.of_first(ended, &self.ends))
    }
}

/// Running sums of numbers, one every so many.
#[derive(Debug)]
struct Sums(Vec<i128>);

const SUM_EVERY: usize = 32;

impl Sums {
    fn of(numbers: &[i64]) -> Self {
        let mut sum = 0;
        let before = |some: &[i64]| {
            let before = sum;
            sum += some.iter().copied().map(i128::from).sum::<i128>();
            before
        };
        let mut sums: Vec<i128> = numbers.chunks(SUM_EVERY).map(before).collect();
        sums.push(sum);
        Self(sums)
    }

    /// Returns the sum of the first of the numbers.
    fn of_first(&self, count: usize, numbers: &[i64]) -> i128 {
        let whole = count / SUM_EVERY;
        let rest = &numbers[whole * SUM_EVERY..count];
        self.0[whole] + rest.iter().copied().map(i128::from).sum::<i128>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_first() {
        for count in [0, 1, 31, 32, 33, 64, 100] {
            let numbers: Vec<i64> = (0..count).map(|number| number * number).collect();
            let sums = Sums::of(&numbers);
            for first in 0..=numbers.len() {
                let sum: i64 = numbers[..first].iter().sum();
                assert_eq!(sums.of_first(first, &numbers), i128::from(sum), "{first} of {count}");
            }
        }
    }

    #[test]
    fn extents_of_any_range_are_joined() {
        let mut extents = Extents::new(5);
        for (group, first, last) in [(0, 3, 4), (2, 1, 9), (4, 5, 6)] {
            extents.set(group, Extent { first, last });
        }
        let of = |range: Range<usize>| {
            let extent = extents.of(range);
            (extent.first <= extent.last).then_some((extent.first, extent.last))
        };
        assert_eq!(of(0..5), Some((1, 9)));
        assert_eq!(of(0..2), Some((3, 4)));
        assert_eq!(of(3..5), Some((5, 6)));
        assert_eq!(of(1..2), None);
        assert_eq!(of(3..3), None);
    }
}
