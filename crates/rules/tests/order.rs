//! Arrival order, batching, repetition and thread count change nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use proptest::prelude::*;
use timesink_facts::PassOptions;
use timesink_model::Finding;
use timesink_query::{Database, Limits};
use timesink_rules::{Engine, RuleSet, RulesConfig};
use timesink_testkit::cases::{self, Case};
use timesink_testkit::notation;
use tokio::runtime::Runtime;

/// Traces in which several rules fire: loops over queries, cache reads and calls, a slow tail, a
/// slow edge and a blocked loop.
const TRACES: &str = include_str!("order.txt");

fn findings(
    runtime: &Runtime,
    rules: RuleSet,
    spans: &[RecordBatch],
    threads: usize,
) -> Vec<Finding> {
    let limits = Limits { partitions: threads, ..Limits::default() };
    let engine = Engine::new(rules, RulesConfig::default()).unwrap();
    runtime.block_on(async {
        let database = Database::open(spans.to_vec(), limits).unwrap();
        engine.analyze(&database).await.unwrap().findings
    })
}

/// As [`findings`], of tables as `analyze` makes them of many spans: with the columns that rules
/// need, and those packed; and whether any is.
fn findings_of_packed(
    runtime: &Runtime,
    rules: RuleSet,
    spans: &[RecordBatch],
    threads: usize,
) -> (Vec<Finding>, bool) {
    let limits = Limits { partitions: threads, ..Limits::default() };
    let engine = Engine::new(rules, RulesConfig::default()).unwrap();
    let options = PassOptions {
        columns: engine.columns(),
        span_columns: engine.columns_after_pass(),
        packed_spans_min: 0,
        ..PassOptions::default()
    };
    let facts = timesink_facts::run(spans.to_vec(), &options).unwrap();
    let is_packed = facts.facts.iter().any(|batch| batch.schema() != facts.facts_schema);
    let database = Database::of_facts(facts, limits).unwrap();
    (runtime.block_on(engine.analyze(&database)).unwrap().findings, is_packed)
}

fn all_rules() -> RuleSet {
    RuleSet::embedded().unwrap()
}

fn cut(spans: &RecordBatch, at: &[usize]) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    let mut from = 0;
    for &to in at.iter().chain([&spans.num_rows()]) {
        batches.push(spans.slice(from, to - from));
        from = to;
    }
    batches
}

/// Scenario: of each rule, the first of its cases that fires, its spans in another order, cut and
/// packed.
/// Guarantee: the findings are the same to the last field.
#[test]
fn what_each_rule_finds_does_not_depend_on_how_spans_arrive() {
    let runtime = Runtime::new().unwrap();
    for rule in RuleSet::embedded().unwrap().rules() {
        let rules = || RuleSet::embedded().unwrap().only(&[rule.name()]).unwrap();
        let batches = notation::decoded(&firing_case(rule.name()).notation().unwrap()).spans;
        let expected = findings(&runtime, rules(), &batches, 1);
        assert!(!expected.is_empty(), "{}", rule.name());
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        for seed in [7, 11] {
            let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
            shuffle(&mut order, seed);
            let shuffled = take_record_batch(&all, &UInt32Array::from(order)).unwrap();
            let spans = cut(&shuffled, &[all.num_rows() / 3]);
            assert_eq!(findings(&runtime, rules(), &spans, 3), expected, "{}", rule.name());
            let (packed, _) = findings_of_packed(&runtime, rules(), &spans, 2);
            assert_eq!(packed, expected, "{}", rule.name());
        }
    }
}

/// Returns the first case of a rule that fires as the rule is shipped.
fn firing_case(rule: &str) -> Case {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../queries/rules");
    let fires = |case: &Case| {
        let first = case.expected[0].split(' ').next();
        case.config.is_none() && !matches!(first, Some("clean" | "skipped" | "cannot"))
    };
    let mut cases = cases::cases(folder.join(rule).join("cases.md")).into_iter();
    cases.find(fires).unwrap_or_else(|| panic!("{rule}: no case fires as the rule is shipped"))
}

/// Scenario: one engine, whose rules are planned once, looks at one set of spans after the other.
/// Guarantee: it finds in each what it would find in it alone.
#[test]
fn an_engine_remembers_nothing_of_the_spans_before() {
    let runtime = Runtime::new().unwrap();
    let spans = notation::spans(TRACES);
    let expected = findings(&runtime, all_rules(), &spans, 1);
    let limits = Limits { partitions: 1, ..Limits::default() };
    let engine = Engine::new(RuleSet::embedded().unwrap(), RulesConfig::default()).unwrap();
    let found = |spans: &[RecordBatch]| {
        let database = Database::open(spans.to_vec(), limits).unwrap();
        runtime.block_on(engine.analyze(&database)).unwrap().findings
    };
    assert_eq!(found(&spans), expected);
    assert_eq!(found(&[]), []);
    assert_eq!(found(&spans), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Scenario: the same spans come in another order, cut into other batches, some of them twice,
    /// and are looked at with another number of threads, packed or not.
    /// Guarantee: the findings are the same to the last field.
    #[test]
    fn findings_do_not_depend_on_how_spans_arrive(
        seed in any::<u64>(),
        repeated in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        threads in 1..5_usize,
    ) {
        let runtime = Runtime::new().unwrap();
        let batches = notation::spans(TRACES);
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        let expected = findings(&runtime, all_rules(), &batches, 1);

        let mut order: Vec<u32> = (0..all.num_rows() as u32).collect();
        order.extend(repeated.iter().map(|index| index.index(all.num_rows()) as u32));
        shuffle(&mut order, seed);
        let shuffled = take_record_batch(&all, &UInt32Array::from(order)).unwrap();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(shuffled.num_rows())).collect();
        at.sort_unstable();
        let spans = cut(&shuffled, &at);
        prop_assert_eq!(&findings(&runtime, all_rules(), &spans, threads), &expected);
        let packed = findings_of_packed(&runtime, all_rules(), &spans, threads);
        prop_assert_eq!(packed, (expected, true), "some columns of these repeat");
    }
}

/// Shuffles by a xorshift generator, so that a failing case can be run again.
fn shuffle(order: &mut [u32], seed: u64) {
    let mut state = seed | 1;
    for at in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(at, (state % (at as u64 + 1)) as usize);
    }
}
