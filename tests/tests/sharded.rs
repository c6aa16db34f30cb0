//! Rules over spans on disk: the findings are those of spans in memory, of every recording
//! together.

#![expect(clippy::print_stdout, reason = "what was not checked is said loudly")]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use timesink_facts::PassOptions;
use timesink_model::schema::spans;
use timesink_otlp::{ReadOptions, read};
use timesink_query::{Database, Limits, Session, VIEWS};
use timesink_rules::{Analysis, Engine, RuleRun, RuleSet, RulesConfig, examples};
use timesink_shards::{Error, ShardWriter};

/// The year 2100: no recording lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

const IN_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data");

/// All 100 recordings, where the checkout stands beside them.
const BESIDE_REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/traces");

/// So many shards, and so few bytes for the spans of a process, that processes are looked at in
/// slices of time.
const IN_SLICES: (usize, u64) = (5, 512 << 10);

fn folder() -> &'static Path {
    let beside = Path::new(BESIDE_REPOSITORY);
    if beside.is_dir() {
        return beside;
    }
    assert!(std::env::var_os("CI").is_none(), "{BESIDE_REPOSITORY} is missing");
    println!("NOT CHECKED: {BESIDE_REPOSITORY} is missing, only the repository's are");
    Path::new(IN_REPOSITORY)
}

fn recorded() -> Vec<RecordBatch> {
    let files = std::fs::read_dir(folder()).expect("a folder");
    let files = files.map(|file| file.expect("a readable folder").path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.to_string_lossy().ends_with(".jsonl.gz")).collect();
    files.sort();
    let read = |path: PathBuf| {
        let file = File::open(&path).expect("a readable recording");
        read(file, &ReadOptions::new(NOW_UNIX_NANO)).expect("a recording").decoded.spans
    };
    files.into_iter().flat_map(read).collect()
}

fn sharded(spans: &[RecordBatch], (shards, bytes_max): (usize, u64), limits: Limits) -> Database {
    let schema = Arc::new(spans::table().schema());
    let mut writer = ShardWriter::of_shards(schema, shards).expect("temporary files");
    for batch in spans.iter().rev() {
        writer.add(batch).expect("room");
    }
    let shards = writer.finish().expect("room");
    let facts = shards.facts(&PassOptions::default(), bytes_max, Ok::<_, Error>);
    let mut facts = facts.expect("batches of spans").into_iter();
    let first = facts.next().expect("a shard");
    Database::of_shards(first, facts.collect(), limits).expect("tables of ours")
}

/// Everything but how long it took.
fn said(analysis: &Analysis) -> String {
    let run = |run: &RuleRun| format!("{} {:?} {:?}\n", run.rule, run.outcome, run.undecided);
    let runs: String = analysis.runs.iter().map(run).collect();
    let Analysis { findings, muted, traffic, spans, traces, repeated_spans, .. } = analysis;
    let seen: BTreeMap<_, _> = traffic.traces.iter().collect();
    format!("{runs}{findings:#?}\n{muted:#?}\n{seen:#?}\n{spans} {traces} {repeated_spans}")
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_of_shards_are_those_of_one_pass() {
    let spans = recorded();
    let engine = Engine::new(RuleSet::embedded().expect("rules"), RulesConfig::default());
    let engine = engine.expect("no configuration");
    let limits = Limits::default();
    let whole = Database::open(spans.clone(), limits).expect("batches of spans");
    let expected = engine.analyze(&whole).await.expect("rules that run");
    assert!(expected.findings.len() > 20, "{} findings", expected.findings.len());
    let database = sharded(&spans, IN_SLICES, Limits { may_spill: true, ..limits });
    let found = engine.analyze(&database).await.expect("rules that run");
    let (found, said_by_one) = (said(&found), said(&expected));
    let differs = |(found, expected): &(&str, &str)| found != expected;
    assert_eq!(found.lines().zip(said_by_one.lines()).find(differs), None);
    assert_eq!(found.lines().count(), said_by_one.lines().count());
    // What is drawn of them, too.
    let drawn = |database| {
        let examples = examples(database, &expected.findings, 20);
        format!("{:?}", examples.expect("spans of the findings"))
    };
    assert!(drawn(&database) == drawn(&whole));
}

/// *Guarantee*: each table and view has the same rows in shards, where they are packed.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_shards_are_those_of_one_pass() {
    let spans = recorded();
    let limits = Limits::default();
    let whole = Database::open(spans.clone(), limits).expect("batches of spans");
    let shards = sharded(&spans, (5, u64::MAX), Limits { may_spill: true, ..limits });
    let whole = whole.session().expect("tables of ours");
    let shards = shards.session().expect("tables of ours");
    let views = VIEWS.iter().map(|view| view.name);
    for table in ["spans", "facts", "gaps", "spans_with_facts"].into_iter().chain(views) {
        let counts = format!("SELECT count(*) AS n, count(DISTINCT trace_id) FROM {table}");
        let some = format!(
            "SELECT * FROM {table} WHERE trace_id IN \
             (SELECT DISTINCT trace_id FROM spans ORDER BY trace_id LIMIT 40)"
        );
        for sql in [counts, some] {
            let rows = async |session: &Session| {
                let answer = session.query(&sql).await.expect("an answer");
                let rows = pretty_format_batches(&answer.batches).expect("it is written");
                let mut rows: Vec<String> = rows.to_string().lines().map(str::to_owned).collect();
                rows.sort_unstable();
                rows
            };
            assert!(rows(&shards).await == rows(&whole).await, "{sql}");
        }
    }
}

/// *Scenario*: memory for queries is so small that hardly anything fits.
/// *Guarantee*: what the engine cannot put on disk fails by itself, and names the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_does_not_fit_says_so() {
    let spans = recorded();
    let engine = Engine::new(RuleSet::embedded().expect("rules"), RulesConfig::default());
    let engine = engine.expect("no configuration");
    let limits = Limits { may_spill: true, memory_bytes_max: 1 << 16, ..Limits::default() };
    let found =
        engine.analyze(&sharded(&spans, (3, u64::MAX), limits)).await.expect("some rules run");
    let failures: Vec<String> = found.runs.iter().filter_map(RuleRun::failure).collect();
    assert!(!failures.is_empty());
    for failure in failures {
        assert!(failure.contains("query.memory_mib_max"), "{failure}");
    }
}

/// *Scenario*: what a query sorts is more than memory holds.
/// *Guarantee*: it is answered as if there were room, and refused where it may not go to disk.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sorted_goes_to_disk() {
    let sql = "SELECT count(*) AS n, sum(place * duration_nanos % 1000) AS told FROM \
               (SELECT duration_nanos, row_number() OVER (ORDER BY name_path, duration_nanos, \
               trace_id, span_id) AS place FROM spans_with_facts)";
    let spans = recorded();
    let answer = async |limits| {
        let session = sharded(&spans, (3, u64::MAX), limits).session().expect("tables of ours");
        let answer = session.query(sql).await?;
        Ok::<_, timesink_query::Error>(format!("{:?}", answer.batches))
    };
    let limits = Limits { partitions: 1, ..Limits::default() };
    let expected = answer(limits).await.expect("there is room");
    let little = Limits { memory_bytes_max: 64 << 20, ..limits };
    let refused = answer(little).await.expect_err("there is no room");
    assert!(refused.to_string().contains("query.memory_mib_max"), "{refused}");
    let spilled = answer(Limits { may_spill: true, ..little }).await.expect("there is the disk");
    assert_eq!(spilled, expected);
}
