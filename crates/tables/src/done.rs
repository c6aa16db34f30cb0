//! [`Done`]: which traces have been walked, and which spans that come belong to one of them.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::file::hour_of;
use crate::table::NANOS_PER_MILLI;

/// Traces that are known with the time when they were walked: some 40 bytes each.
const YOUNG_MAX: usize = 1_000_000;

/// So many times as many are known of before those, by 8 bytes each.
const GENERATIONS_MAX: usize = 8;

/// A trace is walked again, whatever comes of it, for so long after it was walked first, ms; later
/// only for spans that had begun by then: one that goes on for ever is not walked for ever.
pub(crate) const LATE_MILLIS_MAX: i64 = 30 * 60 * 1000;

/// A trace is walked so often at most once that is over: each time it is read as a whole.
const WALKS_MAX: u32 = 500;

/// So many traces that are not known are looked for in the tables at once, those that begin first:
/// where more come at once, old spans are brought in, and few of them belong to what is there.
const SOUGHT_MAX: usize = 100;

/// How long before a late span others of its trace may have begun, ns, if it is not known when that
/// was walked.
const NANOS_BEFORE: i64 = 24 * 3_600_000_000_000;

/// Traces that were walked.
#[derive(Debug)]
pub(crate) struct Done {
    young: HashMap<u128, Known>,
    /// The last of them last.
    generations: VecDeque<Generation>,
    /// Each trace that was walked since then is known, ms since the epoch.
    known_since: i64,
    /// Whether those are in it that the tables had when they were opened.
    pub(crate) is_filled: bool,
}

/// Between which times a trace was walked first, ms since the epoch: its spans are in files that
/// were written some time before, or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    first: i64,
    last: i64,
}

/// What is known of a trace.
#[derive(Debug, Clone, Copy)]
struct Known {
    first: i64,
    /// By how much later it may have been, ms.
    within: u32,
    /// How often it was walked, as far as that is known.
    walks: u32,
}

impl Known {
    fn new(times: Times, walks: u32) -> Self {
        let within = u32::try_from(times.last - times.first).unwrap_or(u32::MAX);
        Self { first: times.first, within, walks }
    }

    fn times(self) -> Times {
        Times { first: self.first, last: self.first.saturating_add(self.within.into()) }
    }
}

/// Traces that were walked one after the other.
#[derive(Debug)]
struct Generation {
    /// Hashes, in their order: one that is not among them may seem to be, which costs a look.
    traces: Vec<u64>,
    times: Times,
}

/// Traces of which spans came that have been walked before, or may have been.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Late {
    /// They are known, and their other spans in files that were written since a time.
    pub(crate) known: HashSet<u128>,
    /// Ms since the epoch.
    pub(crate) walked_since: Option<i64>,
    /// Their other spans may be anywhere in the hours from one on.
    pub(crate) sought: HashSet<u128>,
    /// `2026-11-28T15`.
    pub(crate) first_hour: Option<String>,
}

impl Default for Done {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            generations: VecDeque::new(),
            known_since: i64::MIN,
            is_filled: false,
        }
    }
}

impl Done {
    /// Notes traces that are walked at a time, ms since the epoch. Where a clock was set back, the
    /// earlier time counts: files are not passed by.
    pub(crate) fn add(&mut self, traces: impl IntoIterator<Item = u128>, time: i64) {
        for id in traces {
            let known = match self.known(id) {
                None => Known { first: time, within: 0, walks: 1 },
                Some(known) => {
                    let Times { first, last } = known.times();
                    let times = Times { first: first.min(time), last };
                    Known::new(times, known.walks.saturating_add(1))
                }
            };
            self.young.insert(id, known);
        }
        if self.young.len() > YOUNG_MAX {
            self.age();
        }
    }

    /// Notes that traces may have been walked before a time which are not known.
    pub(crate) fn know_since(&mut self, time: i64) {
        self.known_since = self.known_since.max(time);
    }

    /// Returns which of some traces are late, of which spans came that begin at a time, ns since
    /// the epoch. `walked_before` is how long before a trace was walked its spans were written, ms.
    pub(crate) fn late(
        &self,
        starts: &HashMap<u128, i64>,
        now_millis: i64,
        walked_before: i64,
    ) -> Late {
        let mut late = Late::default();
        let mut unknown = Vec::new();
        for (&id, &start) in starts {
            let start_millis = start.div_euclid(NANOS_PER_MILLI);
            let Some(known) = self.known(id) else {
                if start_millis < self.known_since {
                    unknown.push((start, id));
                }
                continue;
            };
            let Times { first, last } = known.times();
            let until = last.saturating_add(LATE_MILLIS_MAX);
            let is_late = now_millis <= until || (start_millis <= until && known.walks < WALKS_MAX);
            if is_late && start_millis < self.known_since.min(first - walked_before) {
                unknown.push((start, id));
            } else if is_late {
                late.known.insert(id);
                late.walked_since = Some(late.walked_since.map_or(first, |since| since.min(first)));
            }
        }
        unknown.sort_unstable();
        unknown.truncate(SOUGHT_MAX);
        late.first_hour =
            unknown.first().map(|(start, _)| hour_of(start.saturating_sub(NANOS_BEFORE)));
        late.sought = unknown.into_iter().map(|(_, id)| id).collect();
        late
    }

    fn known(&self, id: u128) -> Option<Known> {
        let hash = hash(id);
        let older = || {
            let generations = self.generations.iter().rev();
            let mut has = generations.filter(|older| older.traces.binary_search(&hash).is_ok());
            has.next().map(|generation| Known::new(generation.times, 1))
        };
        self.young.get(&id).copied().or_else(older)
    }

    /// Makes a generation of those that are known, and forgets one if there are too many.
    fn age(&mut self) {
        let young = std::mem::take(&mut self.young);
        let times = young.values().map(|known| known.times()).reduce(|all, times| Times {
            first: all.first.min(times.first),
            last: all.last.max(times.last),
        });
        let mut traces: Vec<u64> = young.into_keys().map(hash).collect();
        traces.sort_unstable();
        self.generations.extend(times.map(|times| Generation { traces, times }));
        if self.generations.len() > GENERATIONS_MAX
            && let Some(oldest) = self.generations.pop_front()
        {
            self.know_since(oldest.times.last);
        }
    }
}

/// Ids are random in most services, and need not be.
fn hash(id: u128) -> u64 {
    ((id >> 64) as u64).rotate_left(32) ^ id as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn late(done: &Done, id: u128, start_minute: i64, now_minute: i64) -> Late {
        let starts = HashMap::from([(id, start_minute * MINUTE * NANOS_PER_MILLI)]);
        done.late(&starts, now_minute * MINUTE, 5 * MINUTE)
    }

    /// Says where the rest of a trace is looked for: nowhere, in files since a minute, or by hour.
    fn place(late: &Late) -> (Option<i64>, Option<&str>) {
        assert!(late.known.len() + late.sought.len() <= 1, "{late:?}");
        (late.walked_since.map(|since| since / MINUTE), late.first_hour.as_deref())
    }

    #[test]
    fn a_trace_is_walked_again_for_what_had_begun() {
        let mut done = Done::default();
        done.add([7], 100 * MINUTE);
        done.add([7], 110 * MINUTE);
        let since_100 = (Some(100), None);
        assert_eq!(place(&late(&done, 7, 120, 125)), since_100);
        // What begins later than half an hour after that goes on by itself; its root does not.
        assert_eq!(place(&late(&done, 7, 130, 600)), since_100);
        assert_eq!(place(&late(&done, 7, 131, 600)), (None, None));
        assert_eq!(place(&late(&done, 7, 10, 600)), since_100);
        assert_eq!(place(&late(&done, 8, 10, 600)), (None, None), "all are known");
        for _ in 0..WALKS_MAX {
            done.add([7], 600 * MINUTE);
        }
        assert_eq!(place(&late(&done, 7, 10, 600)), (None, None), "often enough");
    }

    #[test]
    fn what_may_have_been_forgotten_is_looked_for_where_it_began() {
        let mut done = Done::default();
        done.know_since(3000 * MINUTE);
        done.add([7], 3001 * MINUTE);
        let two_days_before = (None, Some("1970-01-01T00"));
        assert_eq!(place(&late(&done, 8, 1440, 3010)), two_days_before);
        assert_eq!(place(&late(&done, 8, 3000, 3010)), (None, None));
        // It is known since others of it came, and had begun long before.
        assert_eq!(place(&late(&done, 7, 1440, 3010)), two_days_before);
        assert_eq!(place(&late(&done, 7, 2999, 3010)), (Some(3001), None));
        let many = (0..1000).map(|id| (u128::from(id as u64) + 100, id)).collect();
        let late = done.late(&many, 3010 * MINUTE, 0);
        assert_eq!((late.known.len(), late.sought.len()), (0, SOUGHT_MAX));
        assert!(late.sought.contains(&100) && !late.sought.contains(&1000), "the first");
    }

    #[test]
    fn generations_of_traces_are_known_and_forgotten() {
        let mut done = Done::default();
        let generations = GENERATIONS_MAX as u128 + 1;
        let ids = |generation: u128| (0..=YOUNG_MAX as u128).map(move |id| id + (generation << 96));
        for generation in 0..generations - 1 {
            done.add(ids(generation), (1000 + generation as i64) * MINUTE);
        }
        assert_eq!((done.young.len(), done.known_since), (0, i64::MIN));
        assert_eq!(place(&late(&done, 5, 999, 1010)), (Some(1000), None));
        done.add(ids(generations), 2000 * MINUTE);
        assert_eq!((done.generations.len(), done.known_since), (GENERATIONS_MAX, 1000 * MINUTE));
        assert_eq!(place(&late(&done, 5, 999, 2001)).0, None, "it is looked for");
        assert_eq!(place(&late(&done, 5 + (1 << 96), 1001, 1010)), (Some(1001), None));
        assert_eq!(place(&late(&done, 1 << 80, 1001, 1010)), (None, None));
    }
}
