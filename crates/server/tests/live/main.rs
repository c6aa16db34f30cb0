//! The live window: from exports to findings over the API, and what happens at its limits.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;
use timesink_otlp::{Decoder, DecoderOptions};
use timesink_query::Limits;
use timesink_rules::{Engine, RuleSet, RulesConfig};
use timesink_server::{
    Exporter, LiveOptions, OnAnalysis, Purpose, ReceiverLimits, Server, ServerOptions,
};
use timesink_testkit::notation;

/// The year 2100: no span of these tests lies in its future.
const NOW_UNIX_NANO: i64 = 4_102_444_800_000_000_000;

/// How long a test waits for what should take a second or two.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks at what is waited for: a server that is asked without a pause is slow.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A loop of queries in requests of one service.
const LOOP: &str = "\
shop         SERVER  GET /cart          0ms    120ms
  shop CLIENT Q 5ms 10ms x10 db.system.name=mysql db.query.text=\"SELECT a FROM t WHERE id = ?\"
--- x20 every 200ms
";

struct Running {
    server: Server,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    fn start(live: LiveOptions, receiver: ReceiverLimits) -> Self {
        Self::start_telling(live, receiver, Box::new(|_| {}))
    }

    fn start_telling(live: LiveOptions, receiver: ReceiverLimits, on_analysis: OnAnalysis) -> Self {
        let engine = Engine::new(RuleSet::embedded().expect("rules"), RulesConfig::default());
        let options = ServerOptions {
            web_address: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            live,
            receiver,
            ..ServerOptions::new(|| NOW_UNIX_NANO, "0.0.0-test")
        };
        let purpose = Purpose::Live {
            engine: Box::new(engine.expect("an engine")),
            limits: Limits { partitions: 1, ..Limits::default() },
            on_analysis,
        };
        let server = Server::start(&options, purpose).expect("it starts");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Self { server, runtime }
    }

    /// Sends spans; returns what is said of them.
    fn export(&self, spans: &str) -> Result<Option<String>, timesink_server::Error> {
        self.export_round(spans, 0)
    }

    /// Sends spans whose traces are others in each round.
    fn export_round(
        &self,
        spans: &str,
        round: u32,
    ) -> Result<Option<String>, timesink_server::Error> {
        let endpoint = format!("http://{}", self.server.addresses().otlp[0]);
        let ids = format!("\"traceId\":\"{round:08x}");
        let json = notation::otlp_json(spans).replace("\"traceId\":\"00000000", &ids);
        let mut decoder = Decoder::new(DecoderOptions::new(NOW_UNIX_NANO));
        decoder.json(json.as_bytes()).expect("OTLP JSON");
        let batches = decoder.finish().spans;
        let messages: Vec<Vec<u8>> = batches.iter().map(timesink_otlp::encode_protobuf).collect();
        self.runtime.block_on(async {
            let exporter = Exporter::connect(&endpoint).await?;
            let mut said = None;
            for message in &messages {
                said = exporter.export(message).await?.or(said);
            }
            Ok(said)
        })
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, "localhost")
    }

    fn get_as(&self, path: &str, host: &str) -> (u16, String) {
        let (status, body, _) = self.answer(path, host);
        (status, body)
    }

    /// Returns status, body and headers.
    fn answer(&self, path: &str, host: &str) -> (u16, String, String) {
        let address = self.server.addresses().web.expect("a web address");
        let mut stream = TcpStream::connect(address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
        (status, body.to_owned(), head.to_owned())
    }

    /// Sends one message of OTLP JSON.
    fn post(&self, json: &str) {
        self.post_to("/v1/traces", "application/json", json);
    }

    fn post_to(&self, path: &str, content_type: &str, body: &str) {
        let mut stream = TcpStream::connect(self.server.addresses().otlp[0]).expect("it listens");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// Asks again until the answer is as wanted.
    fn json_when(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.json(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{path}: {answer}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Returns the value of a metric.
    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse().unwrap_or_else(|_| panic!("no `{name}` in {text}"))
    }
}

/// The shortest settings, for tests that wait for an analysis.
fn quick() -> LiveOptions {
    LiveOptions {
        settle: Duration::from_millis(300),
        interval: Duration::from_millis(50),
        ..LiveOptions::default()
    }
}

#[test]
fn what_has_settled_is_found() {
    let running = Running::start(quick(), ReceiverLimits::default());
    assert_eq!(running.json("/api/v1/findings")["findings"], Value::Array(Vec::new()));
    assert_eq!(running.export(LOOP).expect("it is taken"), None);
    let found = running.json_when("/api/v1/findings", |answer| answer["spans"] == 220);
    let finding = &found["findings"][0];
    assert_eq!(finding["rule"], "n-plus-one-query");
    assert_eq!(finding["traces_seen"], 20);
    // Ids are stable: the same from analysis to analysis, and as `analyze` gives them.
    let id = finding["finding_id"].as_str().expect("an id").to_owned();
    // Twenty of these came before, and count once.
    running.export(&LOOP.replace("x20", "x25")).expect("it is taken");
    let again = running.json_when("/api/v1/findings", |answer| answer["traces"] == 25);
    assert_eq!(again["spans"], 275);
    assert_eq!(again["findings"][0]["finding_id"], id.as_str());
    // Nothing arrives any more.
    running.json_when("/api/v1/findings", |answer| answer["provisional"] == false);
}

/// Scenario: what is told of each analysis panics.
/// Guarantee: the window goes on.
#[test]
fn a_panic_of_who_is_told_costs_nothing() {
    let telling: OnAnalysis = Box::new(|_| panic!("a listener fails, as this test wants"));
    let running = Running::start_telling(quick(), ReceiverLimits::default(), telling);
    for (round, traces) in [(0, 20), (1, 40)] {
        running.export_round(LOOP, round).expect("it is taken");
        running.json_when("/api/v1/findings", |answer| answer["traces"] == traces);
    }
}

#[test]
fn findings_are_provisional_while_spans_wait() {
    let never = LiveOptions { settle: Duration::from_hours(1), ..quick() };
    let running = Running::start(never, ReceiverLimits::default());
    assert_eq!(running.json("/api/v1/findings")["provisional"], false);
    running.export(LOOP).expect("it is taken");
    let answer = running.json("/api/v1/findings");
    assert_eq!((&answer["provisional"], &answer["spans"]), (&true.into(), &0.into()));
}

/// Scenario: traces leave the window.
/// Guarantee: what was found in them leaves with them.
#[test]
fn findings_of_traces_that_left_go() {
    let brief = LiveOptions { window: Duration::from_secs(1), ..quick() };
    let running = Running::start(brief, ReceiverLimits::default());
    running.export(LOOP).expect("it is taken");
    running.json_when("/api/v1/findings", |answer| answer["spans"] == 220);
    let empty = running.json_when("/api/v1/findings", |answer| answer["spans"] == 0);
    assert_eq!(empty["findings"], Value::Array(Vec::new()));
    assert_eq!(empty["provisional"], false);
}

#[test]
fn findings_can_be_filtered_and_formatted() {
    let running = Running::start(quick(), ReceiverLimits::default());
    running.export(LOOP).expect("it is taken");
    running.json_when("/api/v1/findings", |answer| answer["spans"] == 220);
    let count = |query: &str| {
        let answer = running.json(&format!("/api/v1/findings?{query}"));
        answer["findings"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count("service=shop&rule=n-plus-one-query&endpoint=GET%20%2Fcart"), 1);
    assert_eq!(count("severity=warning&confidence=likely&top=1"), 1);
    for none in ["service=other", "rule=slow-dependency", "endpoint=x", "severity=error"] {
        assert_eq!(count(none), 0, "{none}");
    }
    for (format, expected) in [
        ("jsonl", "{\"finding_id\""),
        ("markdown", "SELECT"),
        ("sarif", "\"2.1.0\""),
        ("github", "::warning"),
        ("html", "<!doctype html>"),
    ] {
        let (status, body) = running.get(&format!("/api/v1/findings?format={format}"));
        assert_eq!(status, 200, "{format}");
        assert!(body.contains(expected), "{format}: {body}");
    }
    for wrong in ["top=0", "format=pdf", "colour=red", "since=yesterday"] {
        assert_eq!(running.get(&format!("/api/v1/findings?{wrong}")).0, 400, "{wrong}");
    }
    assert!(running.get("/").1.contains("<!doctype html>"));
    let (status, guide) = running.get("/rules/n-plus-one-query");
    assert!(status == 200 && guide.contains("How to fix it"), "{guide}");
    assert_eq!(running.get("/rules/n-plus-one-queries").0, 404);
}

#[test]
fn a_trace_can_be_had_as_it_came() {
    let running = Running::start(quick(), ReceiverLimits::default());
    running.export(LOOP).expect("it is taken");
    let found = running.json_when("/api/v1/findings", |answer| answer["spans"] == 220);
    let id = found["findings"][0]["evidence"]["trace_ids"][0].as_str().expect("an id").to_owned();
    let trace = running.json(&format!("/api/v1/traces/{id}"));
    let spans = &trace["resourceSpans"][0]["scopeSpans"][0]["spans"];
    assert_eq!(spans.as_array().map(Vec::len), Some(11));
    assert_eq!(running.get("/api/v1/traces/00000000000000000000000000000000").0, 404);
    for odd in ["short", "%ff"] {
        let (status, problem) = running.get(&format!("/api/v1/traces/{odd}"));
        assert!(status == 400 && problem.starts_with("{\"error\":"), "{odd}: {problem}");
    }
    assert_eq!(running.get("/api/v2").0, 404);
}

/// Scenario: the spans that wait for their analysis fill the memory.
/// Guarantee: exporters are told to try again; once the window has moved on, there is room.
#[test]
fn a_full_window_asks_to_try_again_until_there_is_room() {
    let limits = ReceiverLimits { memory_bytes_max: 400_000, ..ReceiverLimits::default() };
    let running = Running::start(quick(), limits);
    let mut refused = 0;
    let began = Instant::now();
    for round in 0..8 {
        while let Err(error) = running.export_round(LOOP, round) {
            assert!(error.to_string().contains("receiver.memory_mib_max"), "{error}");
            refused += 1;
            assert!(began.elapsed() < PATIENCE, "there is never room again");
            std::thread::yield_now();
        }
    }
    assert!(refused > 0);
    assert!(running.metric("timesink_live_traces_evicted_total{reason=\"memory\"}") > 0.0);
    let refusals =
        "timesink_receiver_requests_total{protocol=\"grpc\",signal=\"traces\",outcome=\"busy\"}";
    assert!(running.metric(refusals) > 0.0);
    running.json_when("/api/v1/findings", |answer| answer["findings"][0].is_object());
}

#[test]
fn it_says_how_it_is() {
    let mut running = Running::start(quick(), ReceiverLimits::default());
    assert_eq!(running.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(running.get("/readyz"), (200, "ready\n".to_owned()));
    running.export(LOOP).expect("it is taken");
    running.json_when("/api/v1/findings", |answer| answer["spans"] == 220);
    assert!(running.metric("timesink_receiver_spans_accepted_total{protocol=\"grpc\"}") > 219.0);
    assert!(running.metric("timesink_live_lag_seconds_count") > 0.0);
    assert!(running.metric("timesink_async_poll_seconds_count") > 0.0);
    assert!(running.metric("timesink_live_findings{severity=\"warning\"}") > 0.0);
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    running.post_to(export, "application/grpc", "no frame");
    let broken = "protocol=\"grpc\",signal=\"traces\",outcome=\"protocol_error\"";
    assert!(running.metric(&format!("timesink_receiver_requests_total{{{broken}}}")) > 0.0);
    let (status, _, headers) = running.answer("/metrics", "evil.example");
    assert_eq!(status, 403);
    assert!(headers.contains("x-frame-options: DENY"), "{headers}");
    assert!(running.server.stop());
}

/// `docs/serve.md` lists every metric, and no other.
#[test]
fn every_metric_is_described() {
    let running = Running::start(quick(), ReceiverLimits::default());
    running.export(LOOP).expect("it is taken");
    // A span that names itself as its parent is mended, one without an id is refused.
    let odd = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
         "parentSpanId":"eee19b7ec3c1b174","name":"a"},{"name":"b"}]}]}]}"#;
    running.post(odd);
    running.json_when("/api/v1/findings", |answer| answer["spans"] == 221);
    let (_, text) = running.get("/metrics");
    let counted = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut counted: Vec<&str> = counted.filter_map(|line| line.split(' ').next()).collect();
    let page = include_str!("../../../../docs/serve.md");
    let described = page.lines().filter_map(|line| line.strip_prefix("| `timesink_"));
    let described = described.filter_map(|line| line.split('`').next());
    let mut described: Vec<String> = described.map(|name| format!("timesink_{name}")).collect();
    counted.sort_unstable();
    described.sort_unstable();
    assert_eq!(counted, described);
}

/// `docs/serve.md` lists every path, and every parameter of the findings.
#[test]
fn every_path_is_described() {
    let running = Running::start(quick(), ReceiverLimits::default());
    let page = include_str!("../../../../docs/serve.md");
    let paths = page.lines().filter_map(|line| line.strip_prefix("| `GET "));
    let paths: Vec<&str> = paths.filter_map(|line| line.split('`').next()).collect();
    assert_eq!(paths.len(), 7);
    for path in paths {
        let path =
            path.replace("{rule}", "n-plus-one-query").replace("{trace_id}", &"0".repeat(32));
        let (status, body) = running.get(&path);
        let is_unknown_trace = status == 404 && body.contains("is in the window");
        assert!(status == 200 || is_unknown_trace, "{path}: {status} {body}");
    }
    let (_, refusal) = running.get("/api/v1/findings?nonsense=1");
    for name in refusal.split('`').skip(3).step_by(2).filter(|name| !name.is_empty()) {
        assert!(page.contains(&format!("`{name}`")), "{name} is not described");
    }
}
