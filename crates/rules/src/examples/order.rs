//! Which spans of a trace are shown, and in which order.

use std::cmp::Reverse;

use hashbrown::HashMap;

use super::EXAMPLE_SPANS_MAX;
use super::culprits::Culprits;
use super::read::Span;

/// Of the spans that findings are about, those that come before the critical path: a loop of a
/// thousand queries leaves room for what is around it.
const CULPRITS_FIRST: usize = EXAMPLE_SPANS_MAX * 3 / 4;

/// Spans that are looked at for a place; of more, the least important are counted only.
const CANDIDATES_MAX: usize = 10 * EXAMPLE_SPANS_MAX;

/// Returns the places of the spans to show, from the top of the tree down, with their depth.
///
/// With a span come those above it as long as there is room.
pub(super) fn shown(spans: &[Span<'_>], culprits: &Culprits<'_>) -> Vec<(usize, usize)> {
    let parents = parents(spans);
    let mut is_shown = vec![false; spans.len()];
    let mut room = EXAMPLE_SPANS_MAX;
    for at in by_importance(spans, culprits) {
        let above = above(at, &parents, &is_shown, room);
        let added = match above {
            Some(above) => above,
            None if culprits.names(at) && room > 0 && !is_shown[at] => vec![at],
            None => continue,
        };
        room -= added.len();
        for at in added {
            is_shown[at] = true;
        }
    }
    top_down(&parents, &is_shown)
}

fn parents(spans: &[Span<'_>]) -> Vec<Option<usize>> {
    let places: HashMap<&str, usize> =
        spans.iter().enumerate().map(|(at, span)| (span.id, at)).collect();
    let parent = |span: &Span<'_>| span.parent_id.and_then(|id| places.get(id).copied());
    spans.iter().map(parent).collect()
}

fn by_importance(spans: &[Span<'_>], culprits: &Culprits<'_>) -> Vec<usize> {
    let longest_first = |places: &mut Vec<usize>| {
        places.sort_by_key(|&at| (Reverse(spans[at].duration), at));
    };
    let (mut named, mut others): (Vec<usize>, Vec<usize>) =
        (0..spans.len()).partition(|&at| culprits.names(at));
    longest_first(&mut named);
    longest_first(&mut others);
    others.extend(named.split_off(named.len().min(CULPRITS_FIRST)));
    others.sort_by_cached_key(|&at| Reverse(spans[at].critical_nanos()));
    named.extend(others);
    named.truncate(CANDIDATES_MAX);
    named
}

/// Returns a span that is not shown yet and those above it that are not, or `None` when they do not
/// fit in.
fn above(
    at: usize,
    parents: &[Option<usize>],
    is_shown: &[bool],
    room: usize,
) -> Option<Vec<usize>> {
    let mut above = Vec::new();
    let mut next = Some(at);
    // Spans may be each other's parents.
    while let Some(at) = next.filter(|at| !is_shown[*at] && !above.contains(at)) {
        if above.len() == room {
            return None;
        }
        above.push(at);
        next = parents[at];
    }
    (!above.is_empty()).then_some(above)
}

fn top_down(parents: &[Option<usize>], is_shown: &[bool]) -> Vec<(usize, usize)> {
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut tops = Vec::new();
    for at in (0..parents.len()).filter(|&at| is_shown[at]) {
        match parents[at].filter(|&parent| is_shown[parent]) {
            Some(parent) => children.entry(parent).or_default().push(at),
            None => tops.push(at),
        }
    }
    let mut is_placed = vec![false; parents.len()];
    let mut order = Vec::new();
    // Spans that are each other's parents have no top: the first of them is taken for one.
    let rings = (0..parents.len()).filter(|&at| is_shown[at]);
    for top in tops.into_iter().chain(rings) {
        let mut open = vec![(top, 0)];
        while let Some((at, depth)) = open.pop() {
            if std::mem::replace(&mut is_placed[at], true) {
                continue;
            }
            order.push((at, depth));
            let below = children.get(&at).into_iter().flatten().rev();
            open.extend(below.map(|&child| (child, depth + 1)));
        }
    }
    order
}
