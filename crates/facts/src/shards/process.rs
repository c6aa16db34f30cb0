//! One process after the other, over the spans of all shards, slice by slice of the time.
//!
//! The slices are gone through twice: to hear what went on and to judge it, then to say who stood
//! still for whom and what gaps waited for. In memory are the groups of the processes, some 200
//! bytes each, and the parts of one slice. What reaches from one slice into the next is carried:
//! how many are open, and what was heard during a candidate so far.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use hashbrown::HashMap;

use super::Sharded;
use super::heads::{Head, Heads};
use super::parts::{Flags, Part, Parts, What as Of};
use super::plan::Slices;
use super::told::{self, Told, What};
use crate::critical::{Section, overlap};
use crate::crowd::{Crowd, Ways};
use crate::entry::OpenEntries;
use crate::gaps::{Past, Position, Runs};
use crate::intern::{Interner, Sym};
use crate::rows::NONE;
use crate::silence::{self, Candidate, Edge, Tally};
use crate::stall::{Judge, Victims};
use crate::{Error, PassOptions, requests, wire};

/// So many rows wait to be told, in all shards together, besides those of a slice: some 140 MiB.
const WAITING_ROWS_MAX: usize = 1 << 20;

/// Looks at the processes of one table; see [`super::Period::processes`].
pub(super) fn each<E: From<Error>>(
    heads: &[Sharded],
    slices: &Slices,
    slice: impl Fn(usize) -> Result<Vec<Sharded>, E>,
    tell: impl FnMut(usize, RecordBatch) -> Result<(), E>,
    options: &PassOptions,
) -> Result<(), E> {
    let mut telling = Telling { tell, waiting: BTreeMap::new() };
    let (mut processes, mut texts) = read_heads(heads, options, &mut telling)?;
    let mut last = None;
    for number in 0..slices.count() {
        let parts = read_slice(slice(number)?, &mut texts)?;
        let now = Now { number, slices };
        for of_process in parts.chunk_by(|(_, a), (_, b)| a.process == b.process) {
            if let Some(process) = processes.get_mut(&of_process[0].1.process) {
                process.hear(&now, of_process, &mut telling);
            }
        }
        telling.flush(WAITING_ROWS_MAX)?;
        last = Some(parts);
    }
    processes.values_mut().for_each(Process::judge);
    // Of the only slice there is, the parts are at hand.
    let mut at_hand = last.filter(|_| slices.count() == 1);
    for number in 0..slices.count() {
        let parts = match at_hand.take() {
            Some(parts) => parts,
            None => read_slice(slice(number)?, &mut texts)?,
        };
        let now = Now { number, slices };
        for of_process in parts.chunk_by(|(_, a), (_, b)| a.process == b.process) {
            if let Some(process) = processes.get_mut(&of_process[0].1.process) {
                process.follow(&now, of_process, &mut telling);
            }
        }
        telling.flush(WAITING_ROWS_MAX)?;
    }
    telling.flush(0)
}

/// A part, and the shard that it is of.
type OfShard = (u32, Part);

fn read_slice(tables: Vec<Sharded>, texts: &mut Interner) -> Result<Vec<OfShard>, Error> {
    let mut parts = Parts { rows: Vec::new(), texts: std::mem::take(texts) };
    let mut all = Vec::new();
    for (shard, table) in tables {
        parts.read(&table)?;
        all.extend(parts.rows.drain(..).map(|part| (shard as u32, part)));
    }
    *texts = parts.texts;
    all.sort_unstable_by_key(|(_, part)| {
        (part.process, part.what, part.trace, part.span, part.gap, part.start)
    });
    Ok(all)
}

type ByProcess<'o> = BTreeMap<u32, Process<'o>>;

fn read_heads<'o, E: From<Error>, T: FnMut(usize, RecordBatch) -> Result<(), E>>(
    tables: &[Sharded],
    options: &'o PassOptions,
    telling: &mut Telling<T>,
) -> Result<(ByProcess<'o>, Interner), E> {
    let mut heads = Heads::default();
    let mut all: Vec<(u32, Head)> = Vec::new();
    for (shard, table) in tables {
        heads.read(table)?;
        all.extend(heads.rows.drain(..).map(|head| (*shard as u32, head)));
    }
    // What shards say of a process comes before its groups.
    all.sort_unstable_by_key(|(_, head)| {
        (head.process, head.group != NONE, head.crowd.start, head.trace, head.root)
    });
    let mut processes = BTreeMap::new();
    for of_process in all.chunk_by(|(_, a), (_, b)| a.process == b.process) {
        let number = of_process[0].1.process;
        let (of_shards, groups) =
            of_process.split_at(of_process.partition_point(|(_, head)| head.group == NONE));
        let process = Process::new(of_shards, groups, options);
        for (shard, _) in of_shards {
            let told = Told { ways: process.crowd.ways, ..Told::of(What::Process, number) };
            telling.add(*shard, told);
        }
        processes.insert(number, process);
    }
    Ok((processes, heads.texts))
}

/// What waits to be told, by shard and kind.
struct Telling<T> {
    tell: T,
    waiting: BTreeMap<(u32, What), Vec<Told>>,
}

trait Tell {
    fn add(&mut self, shard: u32, told: Told);
}

impl<T> Tell for Telling<T> {
    fn add(&mut self, shard: u32, told: Told) {
        self.waiting.entry((shard, told.what)).or_default().push(told);
    }
}

impl<T> Telling<T> {
    /// Tells the shards what waits, if that is more than so many rows.
    fn flush<E: From<Error>>(&mut self, rows_max: usize) -> Result<(), E>
    where
        T: FnMut(usize, RecordBatch) -> Result<(), E>,
    {
        if self.waiting.values().map(Vec::len).sum::<usize>() <= rows_max {
            return Ok(());
        }
        for ((shard, what), rows) in std::mem::take(&mut self.waiting) {
            (self.tell)(shard as usize, told::table(what, &rows)?)?;
        }
        Ok(())
    }
}

/// The slice that is looked at.
struct Now<'s> {
    number: usize,
    slices: &'s Slices,
}

impl Now<'_> {
    fn has(&self, time: i64) -> bool {
        self.slices.of(time) == self.number
    }
}

/// One process.
struct Process<'o> {
    crowd: Crowd,
    /// Numbers of its groups in the crowd, by shard, of those that have any.
    numbers: Vec<(u32, OfGroups)>,
    judge: Judge<'o>,
    victims: Option<Victims>,
    /// What was heard so far of spans and of requests during candidates of several slices, by
    /// shard, whether it is a gap, and its place or number there.
    heard: HashMap<(u32, bool, u32), [Tally; 2]>,
    /// How many entries there were before the slice, and how many were open.
    entries: u32,
    open: i64,
    /// What is known of each operation before the slice.
    past: HashMap<Sym, Past<u128>>,
    at_once_max: HashMap<Sym, u32>,
}

impl<'o> Process<'o> {
    fn new(of_shards: &[(u32, Head)], groups: &[(u32, Head)], options: &'o PassOptions) -> Self {
        let flags = of_shards.iter().fold(Flags::default(), |all, (_, head)| all.and(head.flags));
        let ways = Ways {
            by_spans: flags.has(Flags::EVENT_LOOP),
            by_requests: flags.has(Flags::TOLD_BY_REQUESTS),
            is_watched: flags.has(Flags::WATCHED),
        };
        Self {
            numbers: numbers(groups),
            crowd: Crowd::new(groups.iter().map(|(_, head)| head.crowd).collect(), ways),
            judge: Judge::new(options),
            victims: None,
            heard: HashMap::new(),
            entries: 0,
            open: 0,
            past: HashMap::new(),
            at_once_max: HashMap::new(),
        }
    }

    /// Takes in a slice, and tells what is known by then.
    fn hear(&mut self, now: &Now<'_>, parts: &[OfShard], telling: &mut impl Tell) {
        if self.crowd.ways.any() {
            self.note(now, spans(parts));
            self.listen(now, parts, telling);
        }
        self.count_open(now, spans(parts), telling);
        tell_calls(now, parts, telling);
        if now.slices.count() > 1 {
            self.count_at_once(now, spans(parts));
        }
    }

    fn judge(&mut self) {
        let victims = self.judge.victims(&self.crowd);
        self.victims = Some(victims).filter(|victims| !victims.are_none());
        self.past.clear();
    }

    /// Tells the rest of a slice, once all have been heard and judged.
    fn follow(&mut self, now: &Now<'_>, parts: &[OfShard], telling: &mut impl Tell) {
        self.tell_stalled(now, parts, telling);
        self.tell_waits(now, parts, telling);
    }

    fn group(&self, shard: u32, part: &Part) -> u32 {
        let of_shard = self.numbers.binary_search_by_key(&shard, |of_shard| of_shard.0).ok();
        of_shard.and_then(|of_shard| self.numbers[of_shard].1.of(part.group)).unwrap_or(NONE)
    }

    fn note(&mut self, now: &Now<'_>, spans: &[OfShard]) {
        for (shard, part) in spans {
            if part.flags.has(Flags::NOTE) && now.has(part.start) {
                self.judge.note(self.group(*shard, part), part.start, part.end);
            }
        }
    }

    fn listen(&mut self, now: &Now<'_>, parts: &[OfShard], telling: &mut impl Tell) {
        let (candidates, of): (Vec<Candidate>, Vec<&OfShard>) = self.candidates(parts).unzip();
        let mut heard = vec![[Tally::NONE; 2]; candidates.len()];
        if self.crowd.ways.by_spans {
            let edges = self.edges(now, spans(parts), |part| !part.flags.has(Flags::NOTE));
            let tallies = silence::tally(&self.crowd, edges, &candidates);
            heard.iter_mut().zip(tallies).for_each(|(heard, tally)| heard[0] = tally);
        }
        if self.crowd.ways.by_requests {
            let edges = self.edges(now, spans(parts), |part| part.flags.has(Flags::SERVER));
            let tallies = requests::tally(&self.crowd, edges, &candidates);
            heard.iter_mut().zip(tallies).for_each(|(heard, tally)| heard[1] = tally);
        }
        for ((candidate, (shard, part)), heard) in candidates.iter().zip(of).zip(heard) {
            if let Some(heard) = self.heard_in_all(now, candidate, (*shard, part), heard) {
                self.tell_silence(candidate, (*shard, part), heard, telling);
            }
        }
    }

    /// Returns what can be measured, by group.
    fn candidates<'p>(
        &self,
        parts: &'p [OfShard],
    ) -> impl Iterator<Item = (Candidate, &'p OfShard)> + use<'p> {
        let mut candidates: Vec<(Candidate, &OfShard)> = Vec::new();
        for of_shard in parts {
            let (shard, part) = of_shard;
            let group = self.group(*shard, part);
            let candidate = match part.what {
                Of::Span if part.is_candidate() => {
                    let is_note = part.flags.has(Flags::NOTE);
                    Candidate::span(group, part.start, part.end, is_note, part.operation)
                }
                Of::Gap => {
                    let is_leaf = part.flags.has(Flags::LEAF);
                    let neighbours = [part.before, part.operation];
                    Candidate::gap(group, part.start, part.end, is_leaf, position(part), neighbours)
                }
                _ => continue,
            };
            if group != NONE {
                candidates.push((candidate, of_shard));
            }
        }
        candidates.sort_by_key(|(candidate, _)| candidate.group);
        candidates.into_iter()
    }

    /// Returns the starts and ends in the slice, of the spans that count.
    fn edges(&self, now: &Now<'_>, spans: &[OfShard], counts: impl Fn(&Part) -> bool) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (shard, part) in spans.iter().filter(|(_, part)| counts(part)) {
            let group = self.group(*shard, part);
            if group != NONE {
                let here = [part.start, part.end].into_iter().filter(|&time| now.has(time));
                edges.extend(here.map(|time| (time, group)));
            }
        }
        edges
    }

    /// Returns what was heard during a candidate in all slices, unless there are more to come.
    fn heard_in_all(
        &mut self,
        now: &Now<'_>,
        candidate: &Candidate,
        (shard, part): (u32, &Part),
        heard: [Tally; 2],
    ) -> Option<[Tally; 2]> {
        let window = candidate.window();
        let (from, to) =
            (candidate.start.saturating_sub(window), candidate.end.saturating_add(window));
        let slices = now.slices.between(from, to);
        if slices.start() == slices.end() {
            return Some(heard);
        }
        let is_gap = part.what == Of::Gap;
        let key = (shard, is_gap, if is_gap { part.gap } else { part.span });
        let before = self.heard.entry(key).or_insert([Tally::NONE; 2]);
        *before = [before[0].with(heard[0]), before[1].with(heard[1])];
        if *slices.end() == now.number { self.heard.remove(&key) } else { None }
    }

    fn tell_silence(
        &mut self,
        candidate: &Candidate,
        (shard, part): (u32, &Part),
        [of_spans, of_requests]: [Tally; 2],
        telling: &mut impl Tell,
    ) {
        let ways = self.crowd.ways;
        let by_spans = ways.by_spans.then(|| silence::silence(&self.crowd, candidate, &of_spans));
        let by_requests = ways
            .by_requests
            .then(|| requests::silence(&self.crowd, candidate, &of_requests))
            .flatten();
        self.judge.add(&self.crowd, candidate, by_spans.as_ref(), by_requests.as_ref());
        let (what, at) = match part.what {
            Of::Gap => (What::GapSilence, part.gap),
            _ => (What::Silence, part.span),
        };
        if by_spans.is_some() || by_requests.is_some() {
            let of = Told::of(what, at);
            telling.add(shard, Told { silence: by_spans, requests: by_requests, ..of });
        }
    }

    /// Tells the numbers of entries and how many are open at the start of each span.
    fn count_open(&mut self, now: &Now<'_>, spans: &[OfShard], telling: &mut impl Tell) {
        let is_entry = |part: &Part| part.flags.has(Flags::ENTRY);
        let begins = |&at: &usize| is_entry(&spans[at].1) && now.has(spans[at].1.start);
        let mut begun: Vec<usize> = (0..spans.len()).filter(begins).collect();
        // The spans are in the order of their traces.
        begun.sort_unstable_by_key(|&at| (spans[at].1.start, spans[at].1.span_id, at));
        let mut numbers = vec![0; spans.len()];
        for &at in &begun {
            self.entries += 1;
            numbers[at] = self.entries;
        }
        let times = |of: fn(&Part) -> i64| {
            let works = spans.iter().map(|(_, part)| part).filter(|part| is_work(part));
            works.map(of).filter(|&time| now.has(time)).collect()
        };
        let open = OpenEntries::new(self.open, times(|part| part.start), times(|part| part.end));
        for ((shard, part), entry_number) in spans.iter().zip(numbers) {
            if now.has(part.start) {
                let open = open.at(part.start) + u32::from(part.flags.has(Flags::WAITS));
                telling.add(*shard, Told { entry_number, open, ..Told::of(What::Span, part.span) });
            }
        }
        self.open = open.after();
    }

    /// Takes note of how many of each operation run at once.
    fn count_at_once(&mut self, now: &Now<'_>, spans: &[OfShard]) {
        let mut runs = HashMap::new();
        for (_, part) in spans {
            self.add_run(now, part, &mut runs);
        }
        for (operation, mut runs) in runs {
            runs.order();
            self.at_once_max.insert(operation, runs.at_once_max());
            self.past.insert(operation, runs.past());
        }
    }

    fn new_runs(&self, operation: Sym) -> Runs<u128> {
        Runs::new(self.past.get(&operation).copied().unwrap_or_default())
    }

    fn add_run(&self, now: &Now<'_>, part: &Part, runs: &mut HashMap<Sym, Runs<u128>>) {
        let runs = runs.entry(part.operation).or_insert_with(|| self.new_runs(part.operation));
        if now.has(part.start) {
            runs.start(part.start);
        }
        if now.has(part.end) {
            runs.end(part.end, part.trace);
        }
    }

    fn tell_stalled(&self, now: &Now<'_>, parts: &[OfShard], telling: &mut impl Tell) {
        let Some(victims) = &self.victims else { return };
        for (shard, part) in parts {
            let (what, at) = match part.what {
                Of::Span => (What::Stalled, part.span),
                Of::Gap => (What::GapStalled, part.gap),
                Of::Wait | Of::Call => continue,
            };
            let group = self.group(*shard, part);
            if group == NONE || !now.has(part.start) {
                continue;
            }
            let stalled = victims.stalled(group, part.start, part.end);
            if stalled != 0 {
                telling.add(*shard, Told { stalled, ..Told::of(what, at) });
            }
        }
    }

    /// Tells what gaps wait for, that something of this process follows.
    fn tell_waits(&mut self, now: &Now<'_>, parts: &[OfShard], telling: &mut impl Tell) {
        let waits = of(parts, Of::Wait);
        let is_sliced = now.slices.count() > 1;
        let mut runs: HashMap<Sym, Runs<u128>> = HashMap::new();
        for (_, part) in waits {
            runs.entry(part.operation).or_insert_with(|| self.new_runs(part.operation));
        }
        for (_, part) in spans(parts) {
            // In slices to come others may wait.
            if is_sliced || runs.contains_key(&part.operation) {
                self.add_run(now, part, &mut runs);
            }
        }
        runs.values_mut().for_each(Runs::order);
        for (shard, part) in waits {
            let mut occupancy = runs[&part.operation].at(part.start, part.end, part.trace);
            if let Some(&most) = self.at_once_max.get(&part.operation) {
                occupancy.running_max = most;
            }
            telling
                .add(*shard, Told { occupancy: Some(occupancy), ..Told::of(What::Wait, part.gap) });
        }
        if is_sliced {
            self.past.extend(runs.into_iter().map(|(operation, runs)| (operation, runs.past())));
        }
    }
}

/// Numbers of the groups of one shard. These come by process there, so that they are neighbours.
struct OfGroups {
    first: u32,
    numbers: Vec<u32>,
}

impl OfGroups {
    fn of(&self, group: u32) -> Option<u32> {
        self.numbers.get(group.checked_sub(self.first)? as usize).copied()
    }
}

/// Returns the numbers of groups, which come by those, by shard.
fn numbers(groups: &[(u32, Head)]) -> Vec<(u32, OfGroups)> {
    let mut shards = Vec::new();
    let mut by_shard: Vec<(u32, u32, u32)> = groups
        .iter()
        .zip(0..)
        .map(|((shard, head), number)| (*shard, head.group, number))
        .collect();
    by_shard.sort_unstable();
    for of_shard in by_shard.chunk_by(|a, b| a.0 == b.0) {
        let (shard, first, _) = of_shard[0];
        let last = of_shard[of_shard.len() - 1].1;
        let mut numbers = vec![NONE; (last - first) as usize + 1];
        for &(_, group, number) in of_shard {
            numbers[(group - first) as usize] = number;
        }
        shards.push((shard, OfGroups { first, numbers }));
    }
    shards
}

fn of(parts: &[OfShard], what: Of) -> &[OfShard] {
    let from = parts.partition_point(|(_, part)| part.what < what);
    let to = parts.partition_point(|(_, part)| part.what <= what);
    &parts[from..to]
}

fn spans(parts: &[OfShard]) -> &[OfShard] {
    of(parts, Of::Span)
}

fn position(gap: &Part) -> Position {
    Position::between(gap.flags.has(Flags::BEFORE), gap.flags.has(Flags::AFTER))
}

/// Whether the process is busy with an entry.
fn is_work(part: &Part) -> bool {
    part.flags.has(Flags::ENTRY) && !part.flags.has(Flags::CALLER)
}

/// Tells for how long of the way there the process was busy, as far as that lies in the slice.
fn tell_calls(now: &Now<'_>, parts: &[OfShard], telling: &mut impl Tell) {
    let calls = of(parts, Of::Call);
    if calls.is_empty() {
        return;
    }
    let works = spans(parts).iter().filter(|(_, part)| is_work(part));
    let mut busy: Vec<Section> = works
        .map(|(_, part)| now.slices.within(now.number, part.start, part.end))
        .filter(|(start, end)| start < end)
        .map(|(start, end)| Section { start, end })
        .collect();
    wire::join(&mut busy);
    for (shard, way) in calls {
        let server_busy = overlap(&busy, way.start, way.end);
        if server_busy != 0 {
            telling.add(*shard, Told { server_busy, ..Told::of(What::Call, way.span) });
        }
    }
}
