//! A trace as a waterfall: one row for all spans that are the same thing at the same place.
//!
//! A loop of forty queries is one row with forty bars, so that a picture stays as small as what it
//! says. Bars of one row that overlap are stacked.

use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use timesink_model::{ExampleGap, ExampleSpan, ExampleTrace, Stretch};
use timesink_rules::show_nanos;

use crate::safe;
use crate::words::{count, cut};

/// Rows of a picture; of more, those with nothing marked go first.
const ROWS_MAX: usize = 30;

/// Bars that are stacked in one row; what overlaps more lies on the last of them.
const LANES_MAX: usize = 5;

/// Steps by which a row is indented at most.
const INDENT_MAX: usize = 10;

/// Colours that tell services apart.
const COLOURS: usize = 7;

/// The part of the picture's width that is no pixel of it.
const NARROWEST: i64 = 1_500;

/// What is wider, in the same measure, stays a bar of its own.
const NARROW: i64 = 4;

/// The longest label and the longest text behind it, in characters.
const LABEL_CHARS_MAX: usize = 160;

/// What of a trace is drawn.
#[derive(Debug, Serialize)]
pub(super) struct Waterfall {
    trace_id: String,
    duration: String,
    spans: String,
    /// The times on the axis.
    ticks: Vec<Tick>,
    /// From one time on the axis to the next, in percent of the trace.
    step: String,
    services: Vec<Service>,
    rows: Vec<Row>,
    /// `12 rows are not shown`, if some are not.
    left_out: Option<String>,
    has_gap: bool,
}

#[derive(Debug, Serialize)]
struct Service {
    name: String,
    colour: usize,
}

#[derive(Debug, Serialize)]
struct Tick {
    time: String,
    left: String,
    /// So far to the right that the text has to end there.
    is_at_end: bool,
}

#[derive(Debug, Serialize)]
struct Row {
    indent: usize,
    /// `21 ×`, of several spans.
    times: Option<String>,
    label: String,
    /// The label with all that was cut off.
    title: String,
    /// Where it differs from the row above it in the tree.
    service: Option<String>,
    colour: usize,
    is_culprit: bool,
    /// How long no span covers it, where the finding is about that.
    uncovered: Option<String>,
    /// `failed`, or of several spans how many.
    failed: Option<String>,
    /// How long one of its spans or more was open.
    duration: String,
    lanes: usize,
    bars: Vec<Bar>,
    path: Vec<Bar>,
    gaps: Vec<Bar>,
}

/// A stretch of the row, in percent of the trace.
#[derive(Debug, Serialize)]
struct Bar {
    left: String,
    width: String,
    lane: usize,
}

/// Returns the picture of a trace for one finding.
pub(super) fn waterfall(trace: &ExampleTrace, finding_id: &str) -> Waterfall {
    let groups = Groups::of(trace);
    let order = groups.shown(trace, finding_id);
    let rows: Vec<Row> =
        order.iter().map(|&(at, depth)| groups.row(trace, at, depth, finding_id)).collect();
    let left_out = groups.list.len() - rows.len();
    let spans = match trace.spans_total - trace.spans.len() {
        0 => count(trace.spans_total, "span"),
        _ => format!("{} of {}", trace.spans.len(), count(trace.spans_total, "span")),
    };
    let step = step(trace.duration_nanos);
    let service = |(at, name): (usize, &String)| Service { name: text(name), colour: at % COLOURS };
    Waterfall {
        trace_id: text(&trace.trace_id),
        duration: show_nanos(trace.duration_nanos),
        spans,
        ticks: ticks(trace.duration_nanos, step),
        step: percent(step, trace.duration_nanos),
        services: trace.services.iter().enumerate().map(service).collect(),
        has_gap: rows.iter().any(|row| row.uncovered.is_some()),
        rows,
        left_out: (left_out > 0)
            .then(|| format!("{} not shown, with nothing marked", count(left_out, "row"))),
    }
}

/// The spans of a trace, those that are the same thing at the same place together.
struct Groups {
    list: Vec<Group>,
}

#[derive(Default)]
struct Group {
    parent: Option<usize>,
    /// By start.
    spans: Vec<usize>,
    children: Vec<usize>,
}

impl Groups {
    fn of(trace: &ExampleTrace) -> Self {
        let mut list: Vec<Group> = Vec::new();
        let mut known = HashMap::new();
        // The groups of the spans above, by depth: spans come from the top down.
        let mut above: Vec<usize> = Vec::new();
        for (at, span) in trace.spans.iter().enumerate() {
            above.truncate(span.depth);
            let parent = above.last().copied();
            let key = (parent, &span.service_name, &span.kind, &span.name, &span.subject);
            let group = *known.entry(key).or_insert_with(|| {
                list.push(Group { parent, ..Group::default() });
                list.len() - 1
            });
            list[group].spans.push(at);
            above.push(group);
        }
        for at in 0..list.len() {
            list[at].spans.sort_by_key(|&span| trace.spans[span].start_nanos);
            if let Some(parent) = list[at].parent {
                list[parent].children.push(at);
            }
        }
        let start = |group: &Group| group.spans.first().map(|&at| trace.spans[at].start_nanos);
        let starts: Vec<_> = list.iter().map(start).collect();
        for group in &mut list {
            group.children.sort_by_key(|&child| starts[child]);
        }
        Self { list }
    }

    /// Returns the rows to draw from the top down, with their depth.
    fn shown(&self, trace: &ExampleTrace, finding_id: &str) -> Vec<(usize, usize)> {
        let mut places: Vec<usize> = (0..self.list.len()).collect();
        places.sort_by_key(|&at| std::cmp::Reverse(self.importance(trace, at, finding_id)));
        let mut shown = HashSet::new();
        for at in places {
            let mut above = vec![at];
            let mut next = self.list[at].parent;
            while let Some(parent) = next.filter(|parent| !shown.contains(parent)) {
                above.push(parent);
                next = self.list[parent].parent;
            }
            if shown.len() + above.len() <= ROWS_MAX {
                shown.extend(above);
            }
        }
        let mut order = Vec::new();
        let tops = (0..self.list.len()).filter(|&at| self.list[at].parent.is_none());
        let mut open: Vec<(usize, usize)> = tops.map(|at| (at, 0)).collect();
        open.reverse();
        while let Some((at, depth)) = open.pop() {
            if shown.contains(&at) {
                order.push((at, depth));
            }
            open.extend(self.list[at].children.iter().rev().map(|&child| (child, depth + 1)));
        }
        order
    }

    /// What the finding is about first, then the critical path, then what takes longest.
    fn importance(&self, trace: &ExampleTrace, at: usize, finding_id: &str) -> (bool, i64, i64) {
        let spans = || self.list[at].spans.iter().map(|&span| &trace.spans[span]);
        let is_marked = spans()
            .any(|span| is_about(span, finding_id) || gaps(span, finding_id).next().is_some());
        let critical = spans().flat_map(|span| &span.critical).map(|s| s.duration_nanos).sum();
        (is_marked, critical, spans().map(|span| span.duration_nanos).sum())
    }

    fn row(&self, trace: &ExampleTrace, at: usize, depth: usize, finding_id: &str) -> Row {
        let group = &self.list[at];
        let spans: Vec<&ExampleSpan> = group.spans.iter().map(|&span| &trace.spans[span]).collect();
        let first = spans[0];
        let above = group.parent.map(|parent| &trace.spans[self.list[parent].spans[0]]);
        let is_elsewhere = above.is_none_or(|above| above.service_name != first.service_name);
        let colour = trace.services.iter().position(|name| *name == first.service_name);
        let name = first.subject.as_deref().unwrap_or(&first.name);
        let lanes = lanes(&spans);
        let bars = |stretches: Vec<(Stretch, usize)>| bars(stretches, trace.duration_nanos);
        let whole = |span: &ExampleSpan| Stretch {
            start_nanos: span.start_nanos,
            duration_nanos: span.duration_nanos,
        };
        let with_lane = || spans.iter().zip(lanes.iter().copied());
        let path = with_lane()
            .flat_map(|(span, lane)| span.critical.iter().map(move |stretch| (*stretch, lane)));
        let gaps: Vec<(Stretch, usize)> = with_lane()
            .flat_map(|(span, lane)| gaps(span, finding_id).map(move |stretch| (stretch, lane)))
            .collect();
        let uncovered: i64 = gaps.iter().map(|(stretch, _)| stretch.duration_nanos).sum();
        Row {
            indent: depth.min(INDENT_MAX),
            times: (spans.len() > 1).then(|| format!("{} ×", spans.len())),
            label: cut(&text(name), LABEL_CHARS_MAX),
            title: title(first),
            service: is_elsewhere.then(|| cut(&text(&first.service_name), LABEL_CHARS_MAX)),
            colour: colour.unwrap_or(0) % COLOURS,
            is_culprit: spans.iter().any(|span| is_about(span, finding_id)),
            uncovered: (!gaps.is_empty()).then(|| show_nanos(uncovered)),
            failed: failed(&spans),
            duration: show_nanos(covered(&spans)),
            lanes: lanes.iter().max().map_or(1, |last| last + 1),
            bars: bars(with_lane().map(|(span, lane)| (whole(span), lane)).collect()),
            path: bars(path.collect()),
            gaps: bars(gaps),
        }
    }
}

fn is_about(span: &ExampleSpan, finding_id: &str) -> bool {
    span.finding_ids.iter().any(|id| id == finding_id)
}

/// Returns the gaps of a span that the finding is about.
fn gaps(span: &ExampleSpan, finding_id: &str) -> impl Iterator<Item = Stretch> {
    let is_about = move |gap: &&ExampleGap| gap.finding_ids.iter().any(|id| id == finding_id);
    span.gaps.iter().filter(is_about).map(|gap| gap.stretch)
}

/// Returns how much time spans, which come by start, cover together.
fn covered(spans: &[&ExampleSpan]) -> i64 {
    let mut until = i64::MIN;
    let mut covered = 0;
    for span in spans {
        let end = span.start_nanos.saturating_add(span.duration_nanos);
        covered += (end - span.start_nanos.max(until)).max(0);
        until = until.max(end);
    }
    covered
}

fn failed(spans: &[&ExampleSpan]) -> Option<String> {
    match spans.iter().filter(|span| span.is_error).count() {
        0 => None,
        failed if failed == spans.len() => Some("failed".to_owned()),
        failed => Some(format!("{failed} failed")),
    }
}

/// Returns the first free lane of each span, which come by start.
fn lanes(spans: &[&ExampleSpan]) -> Vec<usize> {
    let mut ends: Vec<i64> = Vec::new();
    let mut lanes = Vec::with_capacity(spans.len());
    for span in spans {
        let end = span.start_nanos.saturating_add(span.duration_nanos);
        let free = ends.iter().position(|&end| end <= span.start_nanos);
        let lane = free.unwrap_or(ends.len().min(LANES_MAX - 1));
        match ends.get_mut(lane) {
            Some(last) => *last = end.max(*last),
            None => ends.push(end),
        }
        lanes.push(lane);
    }
    lanes
}

/// Returns bars for stretches with their lanes, by start. What nobody could tell apart is one bar,
/// so that a loop of thousands stays a picture.
fn bars(mut stretches: Vec<(Stretch, usize)>, duration: i64) -> Vec<Bar> {
    let invisible = duration / NARROWEST;
    let mut joined: Vec<(Stretch, usize)> = Vec::new();
    stretches.sort_by_key(|(stretch, lane)| (*lane, stretch.start_nanos));
    for (stretch, lane) in stretches {
        let end = |stretch: &Stretch| stretch.start_nanos.saturating_add(stretch.duration_nanos);
        let is_narrow = stretch.duration_nanos < NARROW * invisible;
        match joined.last_mut() {
            Some((last, of))
                if is_narrow && *of == lane && stretch.start_nanos - end(last) <= invisible =>
            {
                last.duration_nanos = end(&stretch).max(end(last)) - last.start_nanos;
            }
            _ => joined.push((stretch, lane)),
        }
    }
    let bar = |(stretch, lane): (Stretch, usize)| Bar {
        left: percent(stretch.start_nanos, duration),
        width: percent(stretch.duration_nanos, duration),
        lane,
    };
    joined.into_iter().map(bar).collect()
}

fn percent(nanos: i64, duration: i64) -> String {
    let percent = nanos as f64 / duration.max(1) as f64 * 100.0;
    format!("{:.2}", percent.clamp(0.0, 100.0))
}

/// Returns the round time, 1, 2 or 5 and zeros, that divides a trace into at most five.
fn step(duration: i64) -> i64 {
    let mut power: i64 = 1;
    loop {
        let round = [1, 2, 5].map(|digit| power.saturating_mul(digit));
        if let Some(step) = round.into_iter().find(|step| duration / step < 5) {
            return step;
        }
        power = power.saturating_mul(10);
    }
}

fn ticks(duration: i64, step: i64) -> Vec<Tick> {
    let tick = |nanos: i64| Tick {
        time: if nanos == 0 { "0".to_owned() } else { round(nanos) },
        left: percent(nanos, duration),
        is_at_end: nanos as f64 > duration as f64 * 0.9,
    };
    (0..=5).map(|at| at * step).take_while(|&nanos| nanos <= duration).map(tick).collect()
}

/// Shows a round time without the zeros behind its point.
fn round(nanos: i64) -> String {
    let text = show_nanos(nanos);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// Returns all that a row says, for whoever points at it.
fn title(span: &ExampleSpan) -> String {
    let mut parts = vec![span.service_name.as_str(), span.kind.as_str(), span.name.as_str()];
    parts.extend(span.subject.as_deref().filter(|subject| *subject != span.name));
    cut(&text(&parts.join(" · ")), 4 * LABEL_CHARS_MAX)
}

fn text(text: &str) -> String {
    safe::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_has_round_times() {
        let times = |duration: i64| {
            let ticks = ticks(duration, step(duration));
            ticks.into_iter().map(|tick| tick.time).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(times(137_900_000), "0, 50 ms, 100 ms");
        assert_eq!(times(295_000_000), "0, 100 ms, 200 ms");
        assert_eq!(times(100_000_000), "0, 50 ms, 100 ms");
        assert_eq!(times(2_400_000), "0, 0.5 ms, 1 ms, 1.5 ms, 2 ms");
        assert_eq!(times(9_000_000_000), "0, 2 s, 4 s, 6 s, 8 s");
        assert_eq!(times(0), "0");
        assert!(step(i64::MAX) > 0);
    }

    #[test]
    fn what_nobody_could_tell_apart_is_one_bar() {
        let stretch = |start_nanos: i64| Stretch { start_nanos, duration_nanos: 10 };
        let drawn = |starts: &[i64], lane: usize| {
            let bars = bars(starts.iter().map(|&start| (stretch(start), lane)).collect(), 150_000);
            bars.into_iter().map(|bar| format!("{}+{}", bar.left, bar.width)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(&[0, 10, 110, 75_000], 0), ["0.00+0.08", "50.00+0.01"]);
        assert_eq!(drawn(&[0, 111], 1), ["0.00+0.01", "0.07+0.01"]);
    }

    #[test]
    fn what_overlaps_is_stacked() {
        let span = |start_nanos: i64, duration_nanos: i64| ExampleSpan {
            start_nanos,
            duration_nanos,
            ..ExampleSpan::default()
        };
        let of = |spans: &[ExampleSpan]| lanes(&spans.iter().collect::<Vec<_>>());
        assert_eq!(of(&[span(0, 10), span(10, 10), span(20, 1)]), [0, 0, 0]);
        assert_eq!(of(&[span(0, 30), span(10, 10), span(20, 1), span(25, 9)]), [0, 1, 1, 1]);
        assert_eq!(of(&vec![span(0, 9); 8]), [0, 1, 2, 3, 4, 4, 4, 4]);
        let took = |spans: &[ExampleSpan]| covered(&spans.iter().collect::<Vec<_>>());
        assert_eq!(took(&[span(0, 10), span(5, 10), span(6, 2), span(20, 1)]), 16);
    }
}
