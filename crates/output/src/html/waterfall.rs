//! A trace as a waterfall: one row for all spans that are the same thing at the same place.
//!
//! A loop of forty queries is one row with forty bars, so that a picture stays as small as what it
//! says. Bars of one row that overlap are stacked.

use hashbrown::{HashMap, HashSet};
use serde::Serialize;
use timesink_model::{ExampleSpan, ExampleTrace, Stretch};
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

/// The longest label and the longest text behind it, in characters.
const LABEL_CHARS_MAX: usize = 160;

/// What of a trace is drawn.
#[derive(Debug, Serialize)]
pub(super) struct Waterfall {
    trace_id: String,
    duration: String,
    spans: String,
    /// The times on the axis, from the start to the end.
    ticks: Vec<String>,
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
    /// The finding is about time in it without a span.
    has_gap: bool,
    is_error: bool,
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
    let tick = |part: i64| show_nanos(trace.duration_nanos / 4 * part);
    let service = |(at, name): (usize, &String)| Service { name: text(name), colour: at % COLOURS };
    Waterfall {
        trace_id: text(&trace.trace_id),
        duration: show_nanos(trace.duration_nanos),
        spans,
        ticks: (0..=4).map(|part| if part == 0 { "0".to_owned() } else { tick(part) }).collect(),
        services: trace.services.iter().enumerate().map(service).collect(),
        has_gap: rows.iter().any(|row| row.has_gap),
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
        let is_marked = spans().any(|span| is_about(span, finding_id) || has_gap(span, finding_id));
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
        let bar = |stretch: Stretch, lane: usize| bar(stretch, lane, trace.duration_nanos);
        let whole = |span: &ExampleSpan| Stretch {
            start_nanos: span.start_nanos,
            duration_nanos: span.duration_nanos,
        };
        let with_lane = || spans.iter().zip(lanes.iter().copied());
        let path = with_lane().flat_map(|(span, lane)| {
            merged(&span.critical).into_iter().map(move |stretch| bar(stretch, lane))
        });
        let gaps = with_lane().flat_map(|(span, lane)| {
            let gaps =
                span.gaps.iter().filter(|gap| gap.finding_ids.iter().any(|id| id == finding_id));
            gaps.map(move |gap| bar(gap.stretch, lane))
        });
        Row {
            indent: depth.min(INDENT_MAX),
            times: (spans.len() > 1).then(|| format!("{} ×", spans.len())),
            label: cut(&text(name), LABEL_CHARS_MAX),
            title: title(first),
            service: is_elsewhere.then(|| cut(&text(&first.service_name), LABEL_CHARS_MAX)),
            colour: colour.unwrap_or(0) % COLOURS,
            is_culprit: spans.iter().any(|span| is_about(span, finding_id)),
            has_gap: spans.iter().any(|span| has_gap(span, finding_id)),
            is_error: spans.iter().any(|span| span.is_error),
            duration: show_nanos(spans.iter().map(|span| span.duration_nanos).sum()),
            lanes: lanes.iter().max().map_or(1, |last| last + 1),
            bars: with_lane().map(|(span, lane)| bar(whole(span), lane)).collect(),
            path: path.collect(),
            gaps: gaps.collect(),
        }
    }
}

fn is_about(span: &ExampleSpan, finding_id: &str) -> bool {
    span.finding_ids.iter().any(|id| id == finding_id)
}

fn has_gap(span: &ExampleSpan, finding_id: &str) -> bool {
    span.gaps.iter().flat_map(|gap| &gap.finding_ids).any(|id| id == finding_id)
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

/// Joins stretches that follow each other at once.
fn merged(stretches: &[Stretch]) -> Vec<Stretch> {
    let mut merged: Vec<Stretch> = Vec::new();
    for stretch in stretches {
        match merged.last_mut() {
            Some(last) if last.start_nanos + last.duration_nanos == stretch.start_nanos => {
                last.duration_nanos += stretch.duration_nanos;
            }
            _ => merged.push(*stretch),
        }
    }
    merged
}

fn bar(stretch: Stretch, lane: usize, duration: i64) -> Bar {
    let percent = |nanos: i64| {
        let percent = nanos as f64 / duration.max(1) as f64 * 100.0;
        format!("{:.2}", percent.clamp(0.0, 100.0))
    };
    Bar { left: percent(stretch.start_nanos), width: percent(stretch.duration_nanos), lane }
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
