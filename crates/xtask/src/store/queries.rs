//! Queries such as reports ask, over the same files by `DuckDB` and by us.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use arrow::array::{AsArray, RecordBatch};
use serde_json::Value;
use timesink_query::{Limits, StoredDatabase, StoredTable};
use timesink_tables::{Layout, Look, Wanted};
use tokio::runtime::Runtime;

use super::bars::Bars;
use crate::workspace::{root, target};

/// Runs of a query, after one that makes the files warm.
const RUNS: usize = 5;

/// Bars: of `DuckDB`'s time.
const RATIO_MEDIAN_MAX: f64 = 1.2;
const RATIO_MAX: f64 = 2.0;

/// `P95(x)` is written as each engine has it.
const QUERIES: [(&str, &str); 10] = [
    (
        "slowest endpoints",
        "SELECT service_name, http_route, count(*) AS n, avg(duration_nanos) AS mean, \
         P95(duration_nanos) AS p95 FROM spans WHERE kind = 'SERVER' \
         GROUP BY service_name, http_route ORDER BY p95 DESC LIMIT 20",
    ),
    (
        "top statements by total time",
        "SELECT service_name, db_system_name, db_query_text, count(*) AS n, \
         sum(duration_nanos) AS total FROM spans WHERE db_system_name IS NOT NULL \
         GROUP BY service_name, db_system_name, db_query_text ORDER BY total DESC LIMIT 20",
    ),
    (
        "errors by service and operation",
        "SELECT service_name, name, count(*) AS errors FROM spans WHERE status_code = 'ERROR' \
         GROUP BY service_name, name ORDER BY errors DESC, name LIMIT 20",
    ),
    (
        "throughput by hour and service",
        "SELECT date_trunc('hour', start_time) AS hour, service_name, count(*) AS n, \
         sum(duration_nanos) AS total FROM spans WHERE parent_span_id IS NULL \
         GROUP BY date_trunc('hour', start_time), service_name ORDER BY hour, service_name",
    ),
    (
        "longest traces",
        "SELECT trace_id, max(end_time_unix_nano) - min(start_time_unix_nano) AS took, \
         count(*) AS spans FROM spans GROUP BY trace_id ORDER BY took DESC, trace_id LIMIT 20",
    ),
    (
        "traces by their number of spans",
        "SELECT spans, count(*) AS traces FROM (SELECT trace_id, count(*) AS spans FROM spans \
         GROUP BY trace_id) AS t GROUP BY spans ORDER BY traces DESC, spans LIMIT 20",
    ),
    (
        "time by service and kind",
        "SELECT service_name, kind, count(*) AS n, sum(duration_nanos) AS total, \
         max(duration_nanos) AS longest FROM spans GROUP BY service_name, kind \
         ORDER BY total DESC",
    ),
    (
        "status codes by route",
        "SELECT http_route, http_response_status_code, count(*) AS n FROM spans \
         WHERE http_response_status_code >= 400 GROUP BY http_route, http_response_status_code \
         ORDER BY n DESC, http_route, http_response_status_code LIMIT 50",
    ),
    (
        "processes and their spans",
        "SELECT service_name, service_instance_id, min(start_time) AS first_seen, \
         max(start_time) AS last_seen, count(*) AS n FROM spans \
         GROUP BY service_name, service_instance_id ORDER BY n DESC, service_instance_id LIMIT 50",
    ),
    (
        "statements that join",
        "SELECT service_name, count(*) AS n, avg(duration_nanos) AS mean FROM spans \
         WHERE db_query_text LIKE '%JOIN%' GROUP BY service_name ORDER BY n DESC, service_name",
    ),
];

/// Runs each query by both engines in turns, so that what else the machine does hits both, and
/// prints their medians.
pub(super) fn side_by_side(data: &Path, bars: &mut Bars) -> Result<()> {
    let limits = Limits { memory_bytes_max: 8 << 30, ..Limits::default() };
    let runtime = Runtime::new()?;
    let (database, files) = open(data, limits, &runtime)?;
    let session = database.session()?;
    let mut duck = DuckDb::start(&files, limits.partitions)?;
    println!("\n{:36}{:>10}{:>10}{:>8}", "query, ms", "timesink", "DuckDB", "ratio");
    let mut ratios = Vec::new();
    for (name, sql) in QUERIES {
        let mine =
            sql.replace("P95(duration_nanos)", "approx_percentile_cont(duration_nanos, 0.95)");
        let theirs = sql.replace("P95(duration_nanos)", "approx_quantile(duration_nanos, 0.95)");
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..=RUNS {
            let began = Instant::now();
            let found = runtime.block_on(session.query(&mine))?;
            times.0.push(began.elapsed().as_secs_f64() * 1e3);
            let rows: usize = found.batches.iter().map(RecordBatch::num_rows).sum();
            let (took, their_rows) = duck.time(&theirs)?;
            times.1.push(took);
            if rows != their_rows {
                bail!("`{name}` has {rows} rows, of DuckDB {their_rows}");
            }
        }
        let (ours, theirs) = (median(&mut times.0[1..]), median(&mut times.1[1..]));
        ratios.push(ours / theirs);
        println!("{name:36}{ours:>10.0}{theirs:>10.0}{:>8.2}", ours / theirs);
    }
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let median = median(&mut ratios);
    println!("ratio: median {median:.2}, worst {worst:.2}");
    bars.at_most("median ratio to DuckDB", median, RATIO_MEDIAN_MAX);
    bars.at_most("worst ratio to DuckDB", worst, RATIO_MAX);
    Ok(())
}

/// Returns ids of traces, far from each other.
pub(super) fn some_traces(data: &Path, count: usize) -> Result<Vec<String>> {
    let runtime = Runtime::new()?;
    let (database, _) = open(data, Limits::default(), &runtime)?;
    let sql = format!(
        "SELECT min(trace_id) AS id FROM spans GROUP BY substr(trace_id, 1, 2) ORDER BY id \
         LIMIT {count}"
    );
    let found = runtime.block_on(database.session()?.query(&sql))?;
    let ids = found.batches.iter().flat_map(|batch| batch.column(0).as_string_view().iter());
    Ok(ids.flatten().map(str::to_owned).collect())
}

fn open(data: &Path, limits: Limits, runtime: &Runtime) -> Result<(StoredDatabase, Vec<String>)> {
    let look = runtime.block_on(Look::at(data, Wanted::Received, u64::MAX))?;
    let folder = data.join("tables/spans");
    let paths = look.spans.files()?.into_iter().map(|file| folder.join(file.path));
    let files = paths.map(|path| path.to_string_lossy().into_owned()).collect();
    let (snapshot, behind) = (look.spans, look.behind.spans);
    let table = StoredTable { name: snapshot.name(), layout: Layout::SPANS, snapshot, behind };
    Ok((StoredDatabase::new(vec![table], limits)?, files))
}

/// `DuckDB` in a process that waits for queries; it ends when its input does.
struct DuckDb {
    child: Child,
    /// None once it is to end.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}

impl DuckDb {
    fn start(files: &[String], threads: usize) -> Result<Self> {
        let scripts = root().join("tests/e2e/python");
        let venv = target()?.join("tmp/venv");
        let made = Command::new(scripts.join("venv.sh")).arg(&venv).output()?;
        if !made.status.success() {
            bail!("{}", String::from_utf8_lossy(&made.stderr));
        }
        let python = String::from_utf8_lossy(&made.stdout).trim().to_owned();
        let mut child = Command::new(python)
            .arg(scripts.join("time_queries.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("DuckDB has no output")?);
        let mut duck = Self { child, input, output };
        duck.send(&serde_json::json!({ "files": files, "threads": threads }))?;
        Ok(duck)
    }

    fn send(&mut self, value: &Value) -> Result<()> {
        let input = self.input.as_mut().context("DuckDB has no input")?;
        Ok(writeln!(input, "{value}")?)
    }

    /// Runs a query once; returns how long it took, ms, and its rows. What it says of an error it
    /// says itself.
    fn time(&mut self, sql: &str) -> Result<(f64, usize)> {
        self.send(&Value::from(sql))?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("DuckDB did not answer `{sql}`"))
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
