//! The stages of the engine, each on the output of the one before.

use std::thread::available_parallelism;

use anyhow::Result;
use timesink_facts::PassOptions;
use timesink_otlp::{Decoded, Decoder, DecoderOptions, ReadOptions, encode_protobuf, read};
use timesink_query::{Database, Limits};
use timesink_rules::{Engine, RuleSet, RulesConfig};
use tokio::runtime::Builder;

use super::input::Input;
use super::{Measure, median};

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// The binary's own: plans are deep trees.
const STACK_BYTES: usize = 8 << 20;

/// Measures every stage; returns the number of spans, too.
pub(super) fn all(input: &Input, runs: usize) -> Result<(u64, Vec<Measure>)> {
    let mut measures = Vec::new();
    let mut add = |name, median| measures.push(Measure { name, median, peak_bytes: None });
    let threads = available_parallelism()?.get();

    let (time, decoded) = median(runs, || decode_json(input))?;
    add("decode JSON", time);

    let messages: Vec<Vec<u8>> = decoded.spans.iter().map(encode_protobuf).collect();
    let (time, _) = median(runs, || decode_protobuf(&messages))?;
    add("decode protobuf", time);

    let options = ReadOptions { threads, ..ReadOptions::new(NOW_UNIX_NANO) };
    let (time, _) = median(runs, || Ok(read(input.bytes.as_slice(), &options)?))?;
    add("read file, all threads", time);

    let pass = PassOptions::default();
    let (time, facts) = median(runs, || Ok(timesink_facts::run(&decoded.spans, &pass)?))?;
    add("trace pass", time);

    let runtime =
        Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_time().build()?;
    let tables = || Ok(Database::of_facts(&facts, Limits::default())?);
    let (time, database) = median(runs, tables)?;
    add("tables and views", time);

    let engine = Engine::new(RuleSet::embedded()?, RulesConfig::default())?;
    let (time, _) = median(runs, || Ok(runtime.block_on(engine.analyze(&database))?))?;
    add("rules", time);

    let spans = decoded.spans.iter().map(|batch| batch.num_rows() as u64).sum();
    Ok((spans, measures))
}

/// On one thread.
fn decode_json(input: &Input) -> Result<Decoded> {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
    for message in input.messages() {
        decoder.json(message)?;
    }
    Ok(decoder.finish())
}

/// On one thread.
fn decode_protobuf(messages: &[Vec<u8>]) -> Result<Decoded> {
    let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
    for message in messages {
        decoder.protobuf(message)?;
    }
    Ok(decoder.finish())
}
