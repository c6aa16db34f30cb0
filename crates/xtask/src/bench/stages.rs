//! The stages of the engine, each on the output of the one before.

use std::thread::available_parallelism;

use anyhow::Result;
use arrow::array::RecordBatch;
use timesink_facts::{Facts, PassOptions};
use timesink_otlp::{Decoded, Decoder, DecoderOptions, ReadOptions, encode_protobuf, read};
use timesink_query::{Database, Limits};
use timesink_rules::{Engine, RuleSet, RulesConfig};
use tokio::runtime::Builder;

use super::input::Input;
use super::{Measure, median};

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// The rules that the product began with: what all of them cost is compared with these.
const FIRST_RULES: [&str; 7] = [
    "blocking-event-loop",
    "n-plus-one-cache",
    "n-plus-one-call",
    "n-plus-one-query",
    "slow-dependency",
    "slow-network-edge",
    "slow-serialization",
];

/// Measures every stage; returns all spans, too.
pub(super) fn all(input: &Input, runs: usize) -> Result<(Decoded, Vec<Measure>)> {
    let mut measures = Vec::new();
    let mut add = |name, median| measures.push(Measure::of(name, median));
    let threads = available_parallelism()?.get();
    let options = DecoderOptions::new(NOW_UNIX_NANO);

    let (time, whole) = median(runs, || decode_json(input, &options))?;
    add("decode JSON, every column, 1 thread", time);

    let engine = Engine::new(RuleSet::embedded()?, RulesConfig::default())?;
    let options = DecoderOptions { columns: engine.columns(), ..options };
    let (time, decoded) = median(runs, || decode_json(input, &options))?;
    add("decode JSON, 1 thread", time);

    let messages: Vec<Vec<u8>> = whole.spans.iter().map(encode_protobuf).collect();
    let (time, _) = median(runs, || decode_protobuf(&messages, &options))?;
    add("decode protobuf, 1 thread", time);

    let reading = ReadOptions { threads, decoder: options, ..ReadOptions::new(NOW_UNIX_NANO) };
    let (time, _) = median(runs, || Ok(read(input.bytes.as_slice(), &reading)?))?;
    add("read the file", time);

    let runtime = Builder::new_multi_thread().enable_time().build()?;
    let plan = |rules: &dyn Fn() -> Result<RuleSet>| {
        let engine = Engine::new(rules()?, RulesConfig::default())?;
        Ok(runtime.block_on(engine.plan(Limits::default()))?)
    };
    let every = || Ok(RuleSet::embedded()?);
    let seven = || Ok(RuleSet::embedded()?.only(&FIRST_RULES)?);
    let (time, ()) = median(runs, || plan(&every))?;
    add("plan the rules", time);
    let (time, ()) = median(runs, || plan(&seven))?;
    add("plan the seven first rules", time);

    let pass = PassOptions {
        columns: engine.columns(),
        span_columns: engine.columns_after_pass(),
        ..PassOptions::default()
    };
    let walk = || -> Result<Facts> { Ok(timesink_facts::run(decoded.spans.clone(), &pass)?) };
    let (time, facts) = median(runs, walk)?;
    add("trace pass", time);

    // The first run plans, too; the median does not.
    let rules = |engine: &Engine, facts: Facts| {
        let database = Database::of_facts(facts, Limits::default())?;
        Ok(runtime.block_on(engine.analyze(&database))?)
    };
    runtime.block_on(engine.plan(Limits::default()))?;
    let (time, _) = median(runs, || rules(&engine, facts.clone()))?;
    add("rules, planned before", time);
    let first = Engine::new(seven()?, RulesConfig::default())?;
    let (time, _) = median(runs, || rules(&first, facts.clone()))?;
    add("the seven first rules, planned before", time);

    let (time, _) = median(runs, || rules(&engine, walk()?))?;
    add("trace pass and rules", time);
    let (time, _) = median(runs, || rules(&first, walk()?))?;
    add("trace pass and the seven first rules", time);
    Ok((whole, measures))
}

/// Returns the number of spans.
pub(super) fn count(decoded: &Decoded) -> usize {
    decoded.spans.iter().map(RecordBatch::num_rows).sum()
}

fn decode_json(input: &Input, options: &DecoderOptions) -> Result<Decoded> {
    let mut decoder = Decoder::new(options.clone());
    for message in input.messages() {
        decoder.json(message)?;
    }
    Ok(decoder.finish())
}

fn decode_protobuf(messages: &[Vec<u8>], options: &DecoderOptions) -> Result<Decoded> {
    let mut decoder = Decoder::new(options.clone());
    for message in messages {
        decoder.protobuf(message)?;
    }
    Ok(decoder.finish())
}
