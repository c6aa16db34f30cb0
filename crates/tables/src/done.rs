//! [`Done`]: which traces have been walked, and which spans that come belong to one of them.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::hours::{self, Hours};
use crate::table::NANOS_PER_MILLI;

/// Traces that are known with the time when they were walked: some 70 bytes each.
const YOUNG_MAX: usize = 1_000_000;

/// So many times as many are known of before those, by 8 bytes each.
const GENERATIONS_MAX: usize = 8;

/// A trace is walked again, whatever comes of it, for so long after it was walked first, ms; later
/// only for spans that had begun by then, or when it was walked last: one that goes on for ever is
/// not walked for ever.
pub(crate) const LATE_MILLIS_MAX: i64 = 30 * 60 * 1000;

/// A trace that is older is walked so often at most: each time it is read as a whole.
const WALKS_MAX: u32 = 200;

/// So many traces that are not known are looked for in the tables at once, those that begin last:
/// where more come at once, old spans are brought in, and few of them belong to what is there.
const SOUGHT_MAX: usize = 20;

/// So many hours after such spans others of their trace may have begun.
const HOURS_AFTER: i64 = 1;

/// Traces that were walked.
#[derive(Debug)]
pub(crate) struct Done {
    young: HashMap<u128, Known>,
    /// So many are young at most.
    young_max: usize,
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

/// What is known of a trace; all times in seconds since the epoch.
#[derive(Debug, Clone, Copy)]
struct Known {
    first: u32,
    last: u32,
    /// When it was walked as a whole, the last time.
    whole: u32,
    /// How often it was, as far as that is known; [`TOO_LARGE`] if it is not any more.
    walks: u32,
}

/// Of a trace whose stored spans are too many to be read again.
const TOO_LARGE: u32 = u32::MAX;

impl Known {
    /// Of a trace that was walked as a whole once.
    fn new(times: Times) -> Self {
        let last = seconds(times.last.saturating_add(999));
        Self { first: seconds(times.first), last, whole: seconds(times.last), walks: 1 }
    }

    fn times(self) -> Times {
        Times { first: i64::from(self.first) * 1000, last: i64::from(self.last) * 1000 }
    }

    /// Returns whether a span that begins at a time, ms since the epoch, is one of a walk of all.
    fn takes(self, start_millis: i64, now_millis: i64) -> bool {
        let until = self.times().last + LATE_MILLIS_MAX;
        let had_begun = start_millis <= until.max(i64::from(self.whole) * 1000);
        self.walks < TOO_LARGE && (now_millis <= until || had_begun && self.walks < WALKS_MAX)
    }
}

fn seconds(millis: i64) -> u32 {
    (millis / 1000).clamp(0, u32::MAX.into()) as u32
}

/// Traces that were walked one after the other.
#[derive(Debug)]
struct Generation {
    /// Hashes, in their order: one that is not among them may seem to be, which costs a look.
    traces: Vec<u64>,
    times: Times,
}

/// Traces of which spans came that have been walked before, or may have been.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// They are known, and their other spans in files that were written since a time.
    pub(crate) known: HashSet<u128>,
    /// Ms since the epoch.
    pub(crate) walked_since: Option<i64>,
    /// Their other spans, if there are any, begin near those that came.
    pub(crate) sought: HashSet<u128>,
}

impl Late {
    /// Returns how many they are.
    pub(crate) fn count(&self) -> usize {
        self.known.len() + self.sought.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u128> {
        self.known.iter().chain(&self.sought).copied()
    }

    /// Keeps so many of them at most; returns the others.
    pub(crate) fn cut(&mut self, max: usize) -> HashSet<u128> {
        let mut ids: Vec<u128> = self.ids().collect();
        if ids.len() <= max {
            return HashSet::new();
        }
        ids.sort_unstable();
        let left: HashSet<u128> = ids.into_iter().skip(max).collect();
        self.known.retain(|id| !left.contains(id));
        self.sought.retain(|id| !left.contains(id));
        left
    }

    fn take(&mut self, id: u128, known: Known) {
        let first = known.times().first;
        self.known.insert(id);
        self.walked_since = Some(self.walked_since.map_or(first, |since| since.min(first)));
    }

    /// Returns in which hours the other spans of some of them begin, within so many around those
    /// that came.
    pub(crate) fn hours(
        of: &HashSet<u128>,
        times: &HashMap<u128, hours::Times>,
        before: i64,
    ) -> Hours {
        let mut hours = Hours::default();
        for times in of.iter().filter_map(|id| times.get(id)) {
            hours.add(times, before, HOURS_AFTER);
        }
        hours
    }
}

impl Default for Done {
    fn default() -> Self {
        Self {
            young: HashMap::new(),
            young_max: YOUNG_MAX,
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
                None => Known::new(Times { first: time, last: time }),
                Some(known) => Known { first: known.first.min(seconds(time)), ..known },
            };
            self.young.insert(id, known);
        }
        if self.young.len() > self.young_max {
            self.age();
        }
    }

    /// Notes that all was walked that there is of some traces, and that they have facts now.
    pub(crate) fn walked_whole<'t>(&mut self, traces: impl Iterator<Item = &'t u128>, time: i64) {
        for id in traces {
            if let Some(known) = self.young.get_mut(id) {
                known.whole = known.whole.max(seconds(time));
                known.walks = known.walks.saturating_add(1);
            }
        }
    }

    /// Notes traces whose stored spans are too many to be read again.
    pub(crate) fn is_too_large(&mut self, traces: impl Iterator<Item = u128>) {
        for id in traces {
            let known = self.known(id).unwrap_or(Known::new(Times { first: 0, last: 0 }));
            self.young.insert(id, Known { walks: TOO_LARGE, ..known });
        }
    }

    /// Notes that traces may have been walked before a time which are not known.
    pub(crate) fn know_since(&mut self, time: i64) {
        self.known_since = self.known_since.max(time);
    }

    /// Notes that spans of a trace that is known may have been written since a time, ms since the
    /// epoch.
    pub(crate) fn may_be_written_since(&mut self, id: u128, time: i64) {
        if let Some(known) = self.young.get_mut(&id) {
            known.first = known.first.min(seconds(time));
        }
    }

    /// Returns whether a trace has been walked, as far as that is known.
    pub(crate) fn knows(&self, id: u128) -> bool {
        self.known(id).is_some()
    }

    /// Returns which of some traces are late, of which spans came that last from and to a time.
    /// `walked_before` is how long before a trace was walked its spans were written, ms.
    pub(crate) fn late(
        &self,
        times: &HashMap<u128, hours::Times>,
        now_millis: i64,
        walked_before: i64,
    ) -> Late {
        let mut late = Late::default();
        let mut unknown = Vec::new();
        for (&id, times) in times {
            let start = times.start;
            let start_millis = start.div_euclid(NANOS_PER_MILLI);
            let Some(known) = self.known(id) else {
                if start_millis < self.known_since {
                    unknown.push((start, id));
                }
                continue;
            };
            let Times { first, .. } = known.times();
            let is_late = known.takes(start_millis, now_millis);
            if is_late && start_millis < self.known_since.min(first - walked_before) {
                unknown.push((start, id));
            } else if is_late {
                late.take(id, known);
            }
        }
        unknown.sort_unstable_by(|a, b| b.cmp(a));
        for (number, (_, id)) in unknown.into_iter().enumerate() {
            if number < SOUGHT_MAX {
                late.sought.insert(id);
            } else if let Some(known) = self.known(id) {
                // As much as is known.
                late.take(id, known);
            }
        }
        late
    }

    fn known(&self, id: u128) -> Option<Known> {
        let hash = hash(id);
        // It may have been walked again since: the oldest that has it says when it was first.
        let oldest = || {
            let mut has =
                self.generations.iter().filter(|older| older.traces.binary_search(&hash).is_ok());
            has.next().map(|generation| Known::new(generation.times))
        };
        self.young.get(&id).copied().or_else(oldest)
    }

    fn has_generation_of(&self, hash: u64) -> bool {
        self.generations.iter().any(|older| older.traces.binary_search(&hash).is_ok())
    }

    /// Makes a generation of those that are known, and forgets one if there are too many.
    fn age(&mut self) {
        let since = self.generations.back().map_or(i64::MIN, |last| last.times.last);
        let all = std::mem::take(&mut self.young).into_iter();
        let (stay, young): (HashMap<_, _>, HashMap<_, _>) = all.partition(|(id, known)| {
            known.walks == TOO_LARGE
                || known.times().first < since && !self.has_generation_of(hash(*id))
        });
        // Those that were walked before and forgotten are known to be older than a generation says.
        self.young = stay;
        self.add_generation(young, since);
        if self.young.len() > self.young_max / 2 {
            // Many are: the clock was set back, or a process began.
            let young = std::mem::take(&mut self.young);
            self.add_generation(young, i64::MIN);
        }
    }

    /// Makes a generation of traces, all of which were walked first at a time or later, but for
    /// those that an older one has.
    fn add_generation(&mut self, young: HashMap<u128, Known>, since: i64) {
        if young.is_empty() {
            return;
        }
        let walked = young.values().map(|known| known.times()).filter(|times| times.first >= since);
        let times = walked.reduce(|all, times| Times {
            first: all.first.min(times.first),
            last: all.last.max(times.last),
        });
        // The others are in an older one, too.
        let times = times.unwrap_or(Times { first: since, last: since });
        let mut traces: Vec<u64> = young.into_keys().map(hash).collect();
        traces.sort_unstable();
        self.generations.push_back(Generation { traces, times });
        if self.generations.len() > GENERATIONS_MAX
            && let Some(oldest) = self.generations.pop_front()
        {
            // A clock that was set back since said more than it should have.
            let last = self.generations.back().map_or(i64::MAX, |back| back.times.last);
            self.know_since(oldest.times.last.min(last));
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

    fn at(start_minute: i64) -> hours::Times {
        let start = start_minute * MINUTE * NANOS_PER_MILLI;
        hours::Times::of(start, start)
    }

    fn late(done: &Done, id: u128, start_minute: i64, now_minute: i64) -> Late {
        done.late(&HashMap::from([(id, at(start_minute))]), now_minute * MINUTE, 5 * MINUTE)
    }

    /// Says where the rest of a trace is looked for: nowhere, in files since a minute, or by hour.
    fn place(late: &Late) -> (Option<i64>, bool) {
        assert!(late.known.len() + late.sought.len() <= 1, "{late:?}");
        (late.walked_since.map(|since| since / MINUTE), !late.sought.is_empty())
    }

    const NOWHERE: (Option<i64>, bool) = (None, false);
    const BY_HOUR: (Option<i64>, bool) = (None, true);

    #[test]
    fn a_trace_is_walked_again_for_what_had_begun() {
        let mut done = Done::default();
        let add = |done: &mut Done, minute: i64, whole| {
            done.add([7], minute * MINUTE);
            if whole {
                done.walked_whole([7].iter(), minute * MINUTE);
            }
        };
        add(&mut done, 100, true);
        add(&mut done, 110, true);
        let since_100 = (Some(100), false);
        assert_eq!(place(&late(&done, 7, 120, 125)), since_100);
        // What begins later than half an hour after that goes on by itself; its root does not.
        assert_eq!(place(&late(&done, 7, 130, 600)), since_100);
        assert_eq!(place(&late(&done, 7, 131, 600)), NOWHERE);
        assert_eq!(place(&late(&done, 7, 10, 600)), since_100);
        assert_eq!(place(&late(&done, 8, 10, 600)), NOWHERE, "all are known");
        assert!(done.knows(7) && !done.knows(8));
        add(&mut done, 590, false);
        assert_eq!(place(&late(&done, 7, 131, 600)), NOWHERE);
        add(&mut done, 600, true);
        assert_eq!(place(&late(&done, 7, 600, 610)), since_100, "it had begun by then");
        assert_eq!(place(&late(&done, 7, 601, 610)), NOWHERE);
        for _ in 0..WALKS_MAX {
            add(&mut done, 600, true);
        }
        assert_eq!(place(&late(&done, 7, 10, 600)), NOWHERE, "often enough");
        done.add([8], 600 * MINUTE);
        done.is_too_large([8, 9].into_iter());
        assert_eq!(place(&late(&done, 8, 600, 601)), NOWHERE);
        assert_eq!(place(&late(&done, 9, 600, 601)), NOWHERE);
    }

    #[test]
    fn what_may_have_been_forgotten_is_looked_for_where_it_began() {
        let mut done = Done::default();
        done.know_since(3000 * MINUTE);
        done.add([7], 3001 * MINUTE);
        assert_eq!(place(&late(&done, 8, 1440, 3010)), BY_HOUR);
        assert_eq!(place(&late(&done, 8, 3000, 3010)), NOWHERE);
        // It is known since others of it came, and had begun long before.
        assert_eq!(place(&late(&done, 7, 1440, 3010)), BY_HOUR);
        assert_eq!(place(&late(&done, 7, 2999, 3010)), (Some(3001), false));
        done.may_be_written_since(7, 1000 * MINUTE);
        assert_eq!(place(&late(&done, 7, 1440, 3010)), (Some(1000), false), "it was found");
        let many = (0..1000).map(|id| (id as u128 + 100, at(id))).collect();
        let late = done.late(&many, 3010 * MINUTE, 0);
        assert_eq!((late.known.len(), late.sought.len()), (0, SOUGHT_MAX));
        assert!(late.sought.contains(&1099) && !late.sought.contains(&100), "the last");
    }

    #[test]
    fn generations_of_traces_are_known_and_forgotten() {
        let mut done = Done { young_max: 1000, ..Done::default() };
        let generations = GENERATIONS_MAX as u128 + 1;
        let ids = |generation: u128| (0..=1000).map(move |id| id + (generation << 88));
        for generation in 0..generations - 1 {
            done.add(ids(generation), (1000 + generation as i64) * MINUTE);
        }
        assert_eq!((done.young.len(), done.known_since), (0, i64::MIN));
        assert_eq!(place(&late(&done, 5, 999, 1010)), (Some(1000), false));
        // Of a trace that was forgotten older spans were found.
        let found = 1 << 70;
        done.add([found], 1500 * MINUTE);
        done.may_be_written_since(found, 10 * MINUTE);
        done.add(ids(generations), 2000 * MINUTE);
        assert_eq!((done.young.len(), done.young[&found].times().first), (1, 10 * MINUTE));
        assert_eq!((done.generations.len(), done.known_since), (GENERATIONS_MAX, 1000 * MINUTE));
        assert_eq!(place(&late(&done, 5, 999, 2001)), BY_HOUR);
        assert_eq!(place(&late(&done, 5 + (1 << 88), 1001, 1010)), (Some(1001), false));
        assert_eq!(place(&late(&done, 1 << 80, 1001, 1010)), NOWHERE);
    }

    /// Scenario: the clock is a month ahead while a generation is made, and set back then.
    /// Guarantee: what is walked from then on is known, as it is otherwise.
    #[test]
    fn a_clock_that_was_ahead_makes_nothing_forgotten() {
        let mut done = Done { young_max: 1000, ..Done::default() };
        let ids = |generation: u128| (0..=1000).map(move |id| id + (generation << 88));
        done.add(ids(0), 50_000 * MINUTE);
        for generation in 1..GENERATIONS_MAX as u128 {
            done.add(ids(generation), (1000 + generation as i64) * MINUTE);
            assert_eq!(done.young.len(), 0, "{generation}");
        }
        assert_eq!(place(&late(&done, 5 + (1 << 88), 1001, 1010)), (Some(1001), false));
        assert_eq!(done.known_since, i64::MIN);
        done.add(ids(GENERATIONS_MAX as u128), 1100 * MINUTE);
        assert_eq!(done.known_since, 1100 * MINUTE, "no month ahead");
    }
}
