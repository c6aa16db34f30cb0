//! Gaps: stretches of an entry or INTERNAL span that no child covers. Serialization, lock and pool
//! waits, imports, CPU work and connection set-up show here and nowhere else.

use hashbrown::HashMap;
use timesink_model::schema::gaps::GAP_NANOS_MIN;

use crate::critical::{Path, overlap};
use crate::entry::Entries;
use crate::intern::Sym;
use crate::meaning::Meaning;
use crate::rows::{Asgi, Kind, NONE, Rows};
use crate::silence::{Silence, before_runs};
use crate::skew::Times;
use crate::tree::Tree;

/// Where in its span a gap lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Position {
    Lead,
    Between,
    Tail,
    Whole,
}

impl Position {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lead => "lead",
            Self::Between => "between",
            Self::Tail => "tail",
            Self::Whole => "whole",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// The span with the gap.
    pub(crate) span: u32,
    /// By the process's own clock.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The child that ended last before it, or [`NONE`].
    pub(crate) before: u32,
    /// The child that starts after it, or [`NONE`].
    pub(crate) after: u32,
    pub(crate) critical: i64,
    pub(crate) occupancy: Option<Occupancy>,
    pub(crate) silence: Option<Silence>,
    pub(crate) stalled: i64,
}

impl Gap {
    pub(crate) fn position(&self) -> Position {
        match (self.before != NONE, self.after != NONE) {
            (false, true) => Position::Lead,
            (true, true) => Position::Between,
            (true, false) => Position::Tail,
            (false, false) => Position::Whole,
        }
    }

    pub(crate) fn nanos(&self) -> i64 {
        self.end - self.start
    }
}

/// What the process did elsewhere with the operation that the gap waits for: a pool or lock hands
/// over when another's operation ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupancy {
    pub(crate) running: u32,
    pub(crate) running_max: u32,
    pub(crate) ended_before: Option<i64>,
}

/// Returns the gaps of all spans, by position of the span and start.
pub(crate) fn find(
    rows: &Rows<'_>,
    tree: &Tree,
    times: &Times,
    entries: &Entries,
    meaning: &Meaning,
    path: &Path,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut order = Vec::new();
    for at in 0..rows.len() {
        let internal = rows.kind[at] == Kind::Internal && rows.asgi[at] == Asgi::No;
        let is_long = rows.duration(at) >= GAP_NANOS_MIN;
        if is_long && (internal || entries.is_entry(at)) {
            let children = times.children(tree, at, &mut order);
            find_in(rows, times, path, at, children, &mut gaps);
        }
    }
    Operations::index(rows, meaning, &gaps).fill(rows, meaning, &mut gaps);
    gaps
}

/// `children` come by start.
fn find_in(
    rows: &Rows<'_>,
    times: &Times,
    path: &Path,
    at: usize,
    children: &[u32],
    gaps: &mut Vec<Gap>,
) {
    let end = times.end[at].min(first_send(rows, times, children));
    let skew = times.start[at] - rows.start[at];
    let mut push = |start: i64, end: i64, before: u32, after: u32| {
        if end - start >= GAP_NANOS_MIN {
            let critical = overlap(path.sections(at), start, end);
            let (start, end) = (start - skew, end - skew);
            let span = at as u32;
            let (occupancy, silence) = (None, None);
            gaps.push(Gap {
                span,
                start,
                end,
                before,
                after,
                critical,
                occupancy,
                silence,
                stalled: 0,
            });
        }
    };
    let mut cursor = times.start[at];
    let mut before = NONE;
    for &child in children {
        let (start, until) = (times.start[child as usize], times.end[child as usize]);
        if rows.asgi[child as usize] != Asgi::No || until <= times.start[at] {
            continue;
        }
        if start >= end {
            break;
        }
        push(cursor, start, before, child);
        if until > cursor {
            (cursor, before) = (until, child);
        }
    }
    push(cursor, end, before, NONE);
}

/// Returns when the response of an ASGI entry began to leave; what comes then is streaming.
fn first_send(rows: &Rows<'_>, times: &Times, children: &[u32]) -> i64 {
    let first = children.iter().find(|&&child| rows.asgi[child as usize] == Asgi::Send);
    first.map_or(i64::MAX, |&child| times.start[child as usize])
}

type OperationKey = (u32, Sym);

/// The runs of each operation that some gap waits for, by process.
struct Operations {
    runs: HashMap<OperationKey, Runs>,
}

#[derive(Default)]
struct Runs {
    starts: Vec<i64>,
    /// With the trace's number, to leave out the gap's own trace.
    ends: Vec<(i64, u32)>,
    /// How many ends there are up to the last one of another trace, by position in `ends`.
    others: Vec<u32>,
    at_once_max: u32,
}

impl Operations {
    fn index(rows: &Rows<'_>, meaning: &Meaning, gaps: &[Gap]) -> Self {
        let mut runs: HashMap<OperationKey, Runs> = HashMap::new();
        for gap in gaps.iter().filter(|gap| gap.after != NONE) {
            runs.entry(operation(rows, meaning, gap.after as usize)).or_default();
        }
        for (number, trace) in rows.traces.iter().enumerate() {
            for at in trace.clone() {
                if let Some(runs) = runs.get_mut(&operation(rows, meaning, at)) {
                    runs.starts.push(rows.start[at]);
                    runs.ends.push((rows.end[at], number as u32));
                }
            }
        }
        for runs in runs.values_mut() {
            runs.starts.sort_unstable();
            runs.ends.sort_unstable();
            let traces: Vec<u32> = runs.ends.iter().map(|&(_, trace)| trace).collect();
            runs.others = before_runs(&traces);
            runs.at_once_max = runs.most_at_once();
        }
        Self { runs }
    }

    fn fill(&self, rows: &Rows<'_>, meaning: &Meaning, gaps: &mut [Gap]) {
        for gap in gaps.iter_mut().filter(|gap| gap.after != NONE) {
            let runs = &self.runs[&operation(rows, meaning, gap.after as usize)];
            let own = rows.traces.partition_point(|trace| trace.end <= gap.span as usize) as u32;
            gap.occupancy = Some(runs.at(gap, own));
        }
    }
}

fn operation(rows: &Rows<'_>, meaning: &Meaning, at: usize) -> OperationKey {
    (rows.process[at], meaning.operation[at])
}

impl Runs {
    fn at(&self, gap: &Gap, own_trace: u32) -> Occupancy {
        let begun = self.starts.partition_point(|&start| start < gap.end);
        let ended = self.ends.partition_point(|&(end, _)| end <= gap.end);
        let last_other = match ended.checked_sub(1) {
            Some(last) if self.ends[last].1 == own_trace => self.others[last] as usize,
            _ => ended,
        };
        let last_other = last_other.checked_sub(1).map(|last| self.ends[last].0);
        Occupancy {
            running: begun.saturating_sub(ended) as u32,
            running_max: self.at_once_max,
            ended_before: last_other.filter(|&end| end >= gap.start).map(|end| gap.end - end),
        }
    }

    fn most_at_once(&self) -> u32 {
        let mut ended = 0;
        let at_once = self.starts.iter().enumerate().map(|(begun, &start)| {
            while ended < self.ends.len() && self.ends[ended].0 <= start {
                ended += 1;
            }
            (begun + 1).saturating_sub(ended)
        });
        at_once.max().unwrap_or(0) as u32
    }
}
