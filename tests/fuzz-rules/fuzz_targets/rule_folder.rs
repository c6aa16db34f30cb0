//! Any bytes as the files of a rule folder: loaded, checked and run.
//!
//! The files stand one after the other, each behind a line `=== NAME`; a file may be missing.
#![no_main]

use std::cell::LazyCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libfuzzer_sys::{Corpus, fuzz_target};
use timesink_output::{Format, Report, guide_html};
use timesink_query::{Database, Limits, THREAD_NAME};
use timesink_rules::{Analysis, Engine, Error, Outcome, RuleSet, RulesConfig, check};
use timesink_testkit::{cases, notation};
use tokio::runtime::{Builder, Runtime};

const NAME: &str = "a-rule";

const FILES: [&str; 4] = ["rule.toml", "rule.sql", "README.md", "cases.md"];

/// Requests with a loop of queries each, on an event loop.
const SPANS: &str = r#"
shop    SERVER  GET /items   0ms   40ms  scope=opentelemetry.instrumentation.fastapi
  shop  CLIENT  Q  1ms  3ms  x9  db.system.name=mysql  db.query.text="SELECT a FROM b WHERE c = 1"
--- x4 every 20ms
"#;

/// A query may do little: what is fuzzed is how it ends.
fn limits() -> Limits {
    Limits {
        memory_bytes_max: 64 << 20,
        time_max: Duration::from_secs(5),
        rows_max: 10_000,
        partitions: 1,
    }
}

struct Bench {
    runtime: Runtime,
    database: Database,
    directory: PathBuf,
}

impl Bench {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let spans = notation::spans(SPANS);
        let database = Database::open(spans, limits()).expect("a database");
        let directory = std::env::temp_dir().join(format!("timesink-fuzz-{}", std::process::id()));
        fs::create_dir_all(directory.join(NAME)).expect("a folder");
        Self { runtime, database, directory }
    }
}

thread_local! {
    static BENCH: LazyCell<Bench> = const { LazyCell::new(Bench::new) };
}

fuzz_target!(
    init: {
        // A panic on a thread of the engine's is told as the error of its query.
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name() != Some(THREAD_NAME) {
                abort(info);
            }
        }));
    },
    |files: &[u8]| -> Corpus {
        BENCH.with(|bench| run(bench, files))
    }
);

fn run(bench: &Bench, files: &[u8]) -> Corpus {
    let folder = bench.directory.join(NAME);
    write(&folder, files);
    if let Ok(page) = fs::read_to_string(folder.join("cases.md")) {
        let _ = cases::parse(Path::new("cases.md"), &page);
    }
    let mut rules = RuleSet::embedded().expect("a test rules it out");
    if let Err(error) = rules.add_folder(&bench.directory) {
        let text = error.to_string();
        let names_file = text.contains(NAME) && FILES.iter().any(|file| text.contains(file));
        let has_rule = folder.join("rule.toml").is_file();
        assert!(names_file || !has_rule, "no file is named: {text}");
        return Corpus::Keep;
    }
    let rules = rules.only(&[NAME]).expect("it was added");
    bench.runtime.block_on(async {
        let rule = rules.get(NAME).expect("it was added");
        let mut problems = check(rule, limits()).await.expect("no rule is an internal error");
        assert!(problems.iter().all(|problem| problem.rule == NAME && !problem.what.is_empty()));
        let engine = Engine::new(rules, RulesConfig::default()).expect("it names no rule");
        match engine.analyze(&bench.database).await {
            Ok(analysis) => {
                check_outcome(&analysis.runs[0].outcome, analysis.findings.len());
                check_reports(&engine, &analysis);
            }
            Err(Error::Internal(error)) => panic!("internal error: {error}"),
            Err(error) => panic!("a rule that fails is an outcome: {error}"),
        }
    });
    Corpus::Keep
}

fn check_outcome(outcome: &Outcome, findings: usize) {
    match outcome {
        Outcome::Findings(count) => assert_eq!(*count, findings),
        Outcome::Failed { reason } => {
            assert!(!reason.contains("internal error"), "{reason}");
            assert_eq!(findings, 0);
        }
        _ => assert_eq!(findings, 0),
    }
}

/// What a rule says can be told in every format, and its guide is a page without scripts.
fn check_reports(engine: &Engine, analysis: &Analysis) {
    let report = Report {
        findings: &analysis.findings,
        findings_total: analysis.findings.len(),
        runs: &analysis.runs,
        spans: analysis.spans,
        traces: analysis.traces,
        services: 1,
        notices: Vec::new(),
        examples: &[],
        rules: engine.rules(),
        provisional: false,
        version: "0",
    };
    for format in Format::ALL {
        timesink_output::write(format, &report, &mut Vec::new()).expect("it is told");
    }
    let guide = guide_html(&engine.rules().rules()[0], "0").expect("a page");
    assert!(!guide.contains("<script"), "{guide}");
}

/// Writes each file that is there, and removes those of the run before.
fn write(folder: &Path, files: &[u8]) {
    let mut contents: [Option<Vec<u8>>; 4] = Default::default();
    let mut current = None;
    for line in files.split_inclusive(|byte| *byte == b'\n') {
        let name = line.strip_prefix(b"=== ").map(<[u8]>::trim_ascii);
        let known = name.and_then(|name| FILES.iter().position(|file| file.as_bytes() == name));
        if let Some(known) = known {
            current = Some(known);
            contents[known].get_or_insert_default();
        } else if let Some(current) = current {
            contents[current].get_or_insert_default().extend_from_slice(line);
        }
    }
    for (file, content) in FILES.iter().zip(contents) {
        let path = folder.join(file);
        let _ = fs::remove_file(&path);
        if let Some(content) = content {
            fs::write(&path, content).expect("there is room");
        }
    }
}
