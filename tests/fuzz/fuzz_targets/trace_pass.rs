//! Any spans in any order through the trace pass: parts add up, and neither arrival nor shards
//! change anything.
#![no_main]

#[path = "../../../crates/facts/tests/common/mod.rs"]
mod common;
#[path = "../../../crates/facts/tests/said/mod.rs"]
mod said;
#[path = "../../../crates/facts/tests/sharded/mod.rs"]
mod sharded;
#[expect(dead_code, reason = "shared with the tests of the crate")]
#[path = "../../../crates/facts/src/test_support.rs"]
mod test_support;

use arrow::array::RecordBatch;
use libfuzzer_sys::arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::{arbitrary, fuzz_target};
use said::{said, said_together};
use sharded::sharded;
use test_support::{BASE, Span, batch, span_at};
use timesink_facts::PassOptions;
use timesink_fuzz::Dice;
use timesink_model::NANOS_PER_MILLI;

/// A span of few traces, ids and processes: ids repeat, parents are missing, elsewhere or form
/// cycles, and times need not fit.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct AnySpan {
    trace: u8,
    id: u8,
    parent: u8,
    start: Time,
    length: Time,
    kind: u8,
    service: u8,
    instance: u8,
    host: u8,
    pid: Option<i8>,
    flags: u8,
    what: u8,
    text: u8,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Time {
    Millis(u8),
    Micros(u16),
    Days(i8),
    Any(i64),
    BeforeTheEnd(u16),
}

impl Time {
    fn nanos(self) -> i64 {
        match self {
            Self::Millis(millis) => i64::from(millis) * NANOS_PER_MILLI,
            Self::Micros(micros) => i64::from(micros) * 1000,
            Self::Days(days) => i64::from(days) * 24 * 3600 * 1000 * NANOS_PER_MILLI,
            Self::Any(nanos) => nanos,
            Self::BeforeTheEnd(nanos) => i64::MAX - i64::from(nanos),
        }
    }
}

/// Bytes of the input that a span is made of: as many as it can read.
const SPAN_BYTES: usize = 40;

/// More spans make a run slow, and no other trace.
const SPANS_MAX: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((seed, bytes)) = bytes.split_first_chunk() else { return };
    let any = |bytes| AnySpan::arbitrary(&mut Unstructured::new(bytes)).ok();
    let spans: Vec<AnySpan> = bytes.chunks(SPAN_BYTES).take(SPANS_MAX).filter_map(any).collect();
    let spans: Vec<Span> = spans.iter().map(span).collect();
    let expected = said(&common::check(&[batch(&spans)]));
    let arrived = arrive(spans, &mut Dice::new(u64::from_le_bytes(*seed)));
    assert_eq!(said(&common::check(&arrived)), expected);
    let sharded = sharded(&arrived, 3, 2, &PassOptions::default());
    assert_eq!(said_together(&sharded), expected);
});

/// Sends some spans again, all in another order and in batches of any size.
fn arrive(mut spans: Vec<Span>, dice: &mut Dice) -> Vec<RecordBatch> {
    for _ in 0..dice.throw(spans.len() + 1) {
        spans.push(spans[dice.throw(spans.len())].clone());
    }
    for at in (1..spans.len()).rev() {
        spans.swap(at, dice.throw(at + 1));
    }
    let mut batches = Vec::new();
    let mut rest = spans.as_slice();
    while dice.throw(4) > 0 {
        let (first, others) = rest.split_at(dice.throw(rest.len() + 1));
        batches.push(batch(first));
        rest = others;
    }
    batches.push(batch(rest));
    batches
}

fn span(any: &AnySpan) -> Span {
    let of = |list: &[&'static str], number: u8| list[usize::from(number) % list.len()];
    let start = BASE.saturating_add(any.start.nanos());
    let end = start.saturating_add(any.length.nanos());
    let kinds = ["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER", "UNSPECIFIED"];
    let kind = of(&kinds, any.kind);
    let service = of(&["app", "orders", "pricing"], any.service);
    let span = span_at(1 + u64::from(any.id % 24), (any.parent % 26).into(), start, end)
        .trace(u128::from(any.trace % 4) + 1)
        .service(service)
        .instance(format!("{service}-{}", any.instance % 3))
        .flags([0, 256, 768, -1][usize::from(any.flags % 4)])
        .kind(kind);
    let span = match any.host % 5 {
        0 | 1 => span,
        2 => span.with("host_name", "a"),
        3 => span.with("host_id", "b").without("service_instance_id"),
        _ => span.without("service_name").without("service_instance_id"),
    };
    let span = if let Some(pid) = any.pid { span.pid(pid.into()) } else { span };
    meaning(span, any.what, any.text).kind(kind)
}

/// Gives the span what makes it a query, a call, a message or a request.
fn meaning(span: Span, what: u8, text: u8) -> Span {
    const STATEMENTS: [&str; 5] =
        ["SELECT 1", "SELECT a FROM b WHERE c IN (1, 2)", "BEGIN", "MGET a b", "{'find': 'a'}"];
    const STATES: [&str; 5] =
        ["ot=th:8", "ot=th:0", "ot=p:8;r:62", "ot=th:zz", "ot=th:fffffffffffff"];
    let number = usize::from(text);
    let statement = STATEMENTS[number % STATEMENTS.len()];
    match what % 12 {
        0 => span.query(statement),
        1 => span.query(statement).scope("sqlalchemy"),
        2 => span.query(statement).with("db_system_name", "redis").scope("redis"),
        3 => span.asgi(["http.response.start", "http.response.body"][number % 2]),
        4 => span.asgi(["http.request", "http.disconnect"][number % 2]),
        5 => span.scope(["fastapi", "django", "flask", "aiohttp_server"][number % 4]),
        6 => span.with("status_code", "ERROR"),
        7 => span.with("trace_state", STATES[number % STATES.len()]),
        8 => span
            .scope("requests")
            .with("http_request_method", "GET")
            .with("url_full", format!("http://shop/items/{text}?page=2")),
        9 => span.with("rpc_service", "shop.Cart").with("rpc_method", "Get"),
        10 => span.scope("django").attribute("net.host.name", "shop"),
        _ => span.named(format!("walk {}", text % 4)),
    }
}
