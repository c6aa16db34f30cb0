//! Changes of a recording whose effect on what is found is known: times, order, copies, samples.
//!
//! All are pure, and the same for the same seed.

use serde_json::Value;

use super::random::{Random, first_byte, hash};
use super::spans::{
    each_resource, each_span, extent, field, list_mut, put_texts, put_times, retain_spans, service,
};

/// How much longer all takes: `over` by `under`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor {
    pub(super) over: i128,
    pub(super) under: i128,
}

/// Lets all take longer by a factor, from the first start on.
pub(super) fn scale(messages: &mut [Value], factor: Factor) {
    let Some((zero, _)) = extent(messages) else { return };
    put_times(messages, |_, nanos| zero + (nanos - zero) * factor.over / factor.under);
}

/// Lets all happen later.
pub(super) fn shift(messages: &mut [Value], nanos: i128) {
    put_times(messages, |_, time| time + nanos);
}

/// Puts the clocks of a service forward.
pub(super) fn skew(messages: &mut [Value], skewed: &str, nanos: i128) {
    put_times(
        messages,
        |resource, time| {
            if service(resource) == skewed { time + nanos } else { time }
        },
    );
}

/// Leaves half of the traces.
pub(super) fn sample(messages: &mut [Value], seed: &str) {
    retain_spans(messages, |_, span| is_sampled(field(span, "traceId"), seed));
}

fn is_sampled(trace_id: &str, seed: &str) -> bool {
    first_byte(&format!("{seed}{trace_id}")) < 128
}

/// Puts messages, resources, scopes and spans in another order.
pub(super) fn permute(messages: &mut [Value], seed: &str) {
    let random = &mut Random::new(seed);
    random.shuffle(messages);
    for message in messages {
        shuffle(message, "resourceSpans", random);
        for of_resource in list_mut(message, "resourceSpans") {
            shuffle(of_resource, "scopeSpans", random);
            list_mut(of_resource, "scopeSpans").for_each(|scope| shuffle(scope, "spans", random));
        }
    }
}

fn shuffle(object: &mut Value, key: &str, random: &mut Random) {
    if let Some(items) = object.get_mut(key).and_then(Value::as_array_mut) {
        random.shuffle(items);
    }
}

/// Sends all once more, as an exporter does that saw no answer.
pub(super) fn duplicate(messages: &mut Vec<Value>) {
    messages.extend_from_within(..);
}

/// Gives each span to one of two recordings.
pub(super) fn split(messages: &[Value], seed: &str) -> [Vec<Value>; 2] {
    [0, 1].map(|side| {
        let mut part = messages.to_vec();
        let mut random = Random::new(seed);
        retain_spans(&mut part, |_, _| random.below(2) == side);
        part
    })
}

/// Gives traces and spans other ids, of their own for each salt.
pub(super) fn renumber(messages: &mut [Value], salt: &str) {
    each_span(messages, |_, span| {
        for key in ["traceId", "spanId", "parentSpanId"] {
            put_id(span, key, salt);
        }
        for link in list_mut(span, "links") {
            put_id(link, "traceId", salt);
            put_id(link, "spanId", salt);
        }
    });
}

fn put_id(object: &mut Value, key: &str, salt: &str) {
    if let Some(Value::String(id)) = object.get_mut(key) {
        let mut other = hash(&format!("{salt} {id}"));
        // A root span's parent may be an empty text, which stays so.
        other.truncate(id.len());
        *id = other;
    }
}

/// Gives processes and hosts that have an identity another one, of their own for each salt.
pub(super) fn other_processes(messages: &mut [Value], salt: &str) {
    each_resource(messages, |resource| {
        put_texts(resource, |key, text| match key {
            "service.instance.id" => Some(other_instance(text, salt)),
            "host.name" | "host.id" | "host.ip" => Some(format!("{text}-{salt}")),
            _ => None,
        });
    });
}

/// Returns another instance id: of a UUID a UUID.
fn other_instance(id: &str, salt: &str) -> String {
    let is_uuid = id.len() == 36 && id.chars().all(|char| char == '-' || char.is_ascii_hexdigit());
    if !is_uuid {
        return format!("{id}-{salt}");
    }
    let digits = hash(&format!("{salt} {id}"));
    let others = id.chars().zip(digits.chars());
    others.map(|(char, other)| if char == '-' { char } else { other }).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metamorphic::spans::tests::tiny;
    use crate::metamorphic::spans::{list, spans, text};

    fn times(messages: &[Value]) -> Vec<[u64; 2]> {
        let keys = ["startTimeUnixNano", "endTimeUnixNano"];
        let both = |span: &Value| keys.map(|key| field(span, key).parse().expect("digits"));
        spans(messages).map(|(_, span)| both(span)).collect()
    }

    fn ids(messages: &[Value], key: &str) -> BTreeSet<String> {
        spans(messages).map(|(_, span)| field(span, key).to_owned()).collect()
    }

    #[test]
    fn scaling_keeps_the_ratio_of_durations() {
        let mut messages = tiny();
        scale(&mut messages, Factor { over: 3, under: 1 });
        let tripled: [[u64; 2]; 4] =
            [[1_000, 3_700], [1_300, 2_503], [13_000, 13_900], [1_600, 2_200]];
        assert_eq!(times(&messages), tripled);
        let event = spans(&messages).filter_map(|(_, span)| list(span, "events").next()).nth(1);
        assert_eq!(field(event.expect("an event"), "timeUnixNano"), "1300");
        scale(&mut messages, Factor { over: 1, under: 3 });
        assert_eq!(times(&messages), times(&tiny()));
    }

    #[test]
    fn a_skewed_service_keeps_its_durations() {
        let mut messages = tiny();
        skew(&mut messages, "stock", -150);
        let (before, after) = (times(&tiny()), times(&messages));
        assert_eq!(before[..3], after[..3]);
        assert_eq!(after[3], [1_050, 1_250]);
        shift(&mut messages, 7);
        assert_eq!(times(&messages)[0], [1_007, 1_907]);
    }

    #[test]
    fn sampling_is_deterministic_and_whole() {
        let kept = |seed: &str| {
            let mut messages = tiny();
            sample(&mut messages, seed);
            ids(&messages, "spanId")
        };
        for seed in ["1", "2", "3", "4", "5", "6"] {
            assert_eq!(kept(seed), kept(seed));
            assert!([0, 1, 3, 4].contains(&kept(seed).len()), "a trace is kept whole");
        }
        // As `hashlib.sha256(f"1{trace_id}".encode())` of Python has it.
        let sampled = (0..1_000).filter(|id| is_sampled(&format!("{id:032x}"), "1")).count();
        assert_eq!(sampled, 503);
    }

    #[test]
    fn order_and_copies_leave_the_spans() {
        let mut messages = tiny();
        permute(&mut messages, "a");
        assert_eq!(ids(&messages, "spanId"), ids(&tiny(), "spanId"));
        duplicate(&mut messages);
        assert_eq!(spans(&messages).count(), 8);
        let [first, second] = split(&tiny(), "a");
        assert_eq!(spans(&first).count() + spans(&second).count(), 4);
        assert_eq!(&ids(&first, "spanId") | &ids(&second, "spanId"), ids(&tiny(), "spanId"));
    }

    #[test]
    fn ids_of_copies_do_not_collide() {
        let mut all = Vec::new();
        for copy in 0..50 {
            let mut messages = tiny();
            renumber(&mut messages, &format!("3 {copy}"));
            let (traces, spans) = (ids(&messages, "traceId"), ids(&messages, "spanId"));
            assert_eq!((traces.len(), spans.len()), (2, 4));
            // All but the root's parent are spans of the copy.
            let parents = ids(&messages, "parentSpanId");
            assert!(parents.contains("") && parents.difference(&spans).count() == 1);
            all.extend(traces.into_iter().chain(spans));
        }
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!((distinct.len(), all.len()), (300, 300));
        assert!(all.iter().all(|id| id.len() == 16 || id.len() == 32));
    }

    #[test]
    fn a_process_becomes_another_and_none_is_invented() {
        let mut messages = tiny();
        other_processes(&mut messages, "x");
        let instances: Vec<&str> =
            spans(&messages).map(|(resource, _)| text(resource, "service.instance.id")).collect();
        assert_eq!((instances[0].len(), instances[0]), (36, instances[2]));
        assert_ne!(instances[0], "d083f4bf-f30d-4c00-8000-0123456789ab");
        assert_eq!((&instances[0][8..9], instances[3]), ("-", "stock-1-x"));
        assert!(spans(&messages).all(|(resource, _)| text(resource, "host.name").is_empty()));
    }
}
