//! [`Metrics`]: what the server counts of itself, in Prometheus' text format.
//!
//! Names follow OpenTelemetry's for telemetry of a receiver, with dots as underscores and the unit
//! behind; `docs/serve.md` lists them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use timesink_otlp::{Rejected, Repair, Tally};
use timesink_store::log::Replayed;

use crate::answer::Answer;
use crate::receiver::{Protocol, Signal};
use crate::watch::POLL_TIME_MAX;

/// Label names and values; all of them are words of ours, so that there are few.
type Labels = Vec<(&'static str, &'static str)>;
type Counters = Family<Labels, Counter>;

/// A number that goes up and down.
pub(crate) type Gauge = gauge::Gauge<i64>;

/// Upper bounds of polls, seconds.
const POLL_SECONDS: [f64; 7] = [0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.01, 0.1];

/// Upper bounds of writes to the log, seconds.
const LOG_SECONDS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 1.0];

/// Upper bounds of analyses and of the time from arrival to finding, seconds.
const ANALYSIS_SECONDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The counters of one server; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    registry: Registry,
    requests: Counters,
    spans_accepted: Counters,
    spans_rejected: Counters,
    spans_repaired: Counters,
    spans_quarantined: Counter,
    bytes_received: Counter,
    inflight: Gauge,
    queue: Gauge,
    answers: Gauge,
    connections: Gauge,
    connections_refused: Counter,
    audit_lost: Counter,
    tls_refused: Counter,
    tls_reload_failures: Counter,
    polls: Histogram,
    polls_too_long: Counter,
    poll_longest: gauge::Gauge<f64, AtomicU64>,
    poll_longest_nanos: AtomicU64,
    log_time: Histogram,
    log_failures: Counter,
    log_repeated: Counter,
    log_bytes_skipped: Counter,
    log_records_lost: Counter,
    flush_time: Histogram,
    flush_failures: Counter,
    maintenance_failures: Counter,
    clock_jumps: Counter,
    live: Live,
}

/// What the live window counts.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) spans: Gauge,
    pub(crate) traces: Gauge,
    pub(crate) traces_unanalyzed: Gauge,
    pub(crate) memory: Gauge,
    pub(crate) memory_max: Gauge,
    pub(crate) traces_evicted: Counters,
    pub(crate) analyses: Counters,
    pub(crate) analysis_time: Histogram,
    pub(crate) lag: Histogram,
    pub(crate) findings: Family<Labels, Gauge>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("timesink");
        let receiver = registry.sub_registry_with_prefix("receiver");
        let requests = Counters::default();
        receiver.register(
            "requests",
            "Export requests by protocol, signal and outcome",
            requests.clone(),
        );
        let spans_accepted = Counters::default();
        receiver.register("spans_accepted", "Spans taken, by protocol", spans_accepted.clone());
        let spans_rejected = Counters::default();
        receiver.register("spans_rejected", "Spans refused, by reason", spans_rejected.clone());
        let spans_repaired = Counters::default();
        receiver.register(
            "spans_repaired",
            "Spans taken with something mended",
            spans_repaired.clone(),
        );
        let spans_quarantined = Counter::default();
        let help = "Spans kept out of every sum: they end before they start, for example";
        receiver.register("spans_quarantined", help, spans_quarantined.clone());
        let bytes_received = Counter::default();
        let help = "Bodies of export requests, as they came";
        receiver.register_with_unit("received", help, Unit::Bytes, bytes_received.clone());
        let inflight = Gauge::default();
        let help = "Bodies of requests that are held now";
        receiver.register_with_unit("inflight", help, Unit::Bytes, inflight.clone());
        let queue = Gauge::default();
        let help = "Requests that wait for a thread to decode them or to make an answer";
        receiver.register("queue", help, queue.clone());
        let connections = Gauge::default();
        receiver.register("connections", "Connections open now", connections.clone());
        let connections_refused = Counter::default();
        let help = "Connections closed at once, because as many as allowed were open";
        receiver.register("connections_refused", help, connections_refused.clone());
        let audit_lost = Counter::default();
        let help =
            "Lines of the audit log that were not written: the disk refused, or was too slow";
        registry.register("audit_lost", help, audit_lost.clone());
        let tls = registry.sub_registry_with_prefix("tls");
        let tls_refused = Counter::default();
        let help = "Connections closed because no encryption was agreed on";
        tls.register("refused", help, tls_refused.clone());
        let tls_reload_failures = Counter::default();
        let help = "Changes of certificates that could not be used: those before are";
        tls.register("reload_failures", help, tls_reload_failures.clone());
        let web = registry.sub_registry_with_prefix("web");
        let answers = Gauge::default();
        let help = "Answers of the API that are held until they are sent";
        web.register_with_unit("answers", help, Unit::Bytes, answers.clone());
        let loops = registry.sub_registry_with_prefix("async");
        let polls = Histogram::new(POLL_SECONDS);
        let help = "How long tasks of connections held an async thread";
        loops.register_with_unit("poll", help, Unit::Seconds, polls.clone());
        let polls_too_long = Counter::default();
        let help = "Polls of over half a millisecond, which is the most that is allowed";
        loops.register("polls_too_long", help, polls_too_long.clone());
        let poll_longest = gauge::Gauge::default();
        loops.register_with_unit(
            "poll_longest",
            "The longest poll",
            Unit::Seconds,
            poll_longest.clone(),
        );
        let log = registry.sub_registry_with_prefix("log");
        let log_time = Histogram::new(LOG_SECONDS);
        let help = "How long it took to write a group of exports to the log and to sync it";
        log.register_with_unit("group", help, Unit::Seconds, log_time.clone());
        let log_failures = Counter::default();
        let help = "Groups of exports that were not kept, because the disk refused";
        log.register("failures", help, log_failures.clone());
        let log_repeated = Counter::default();
        let help = "Spans that had come before, and count once";
        log.register("spans_repeated", help, log_repeated.clone());
        let log_bytes_skipped = Counter::default();
        let help = "Bytes that were no records when the log was read: torn by a crash, or damaged";
        log.register("bytes_skipped", help, log_bytes_skipped.clone());
        let log_records_lost = Counter::default();
        let help = "Records that were safe, and could not be read: the log is damaged";
        log.register("records_lost", help, log_records_lost.clone());
        let tables = registry.sub_registry_with_prefix("tables");
        let flush_time = Histogram::new(LOG_SECONDS);
        let help = "How long it took to bring spans from the log into the tables";
        tables.register_with_unit("flush", help, Unit::Seconds, flush_time.clone());
        let flush_failures = Counter::default();
        let help = "Attempts to do so that failed: the spans are in the log, and it is tried again";
        tables.register("flush_failures", help, flush_failures.clone());
        let maintenance_failures = Counter::default();
        let help = "Attempts to join small files or to take out old ones that failed";
        tables.register("maintenance_failures", help, maintenance_failures.clone());
        let clock_jumps = Counter::default();
        let help = "Times that the system's clock was far from what it had said before: for a day \
                    no row is taken out for its age";
        tables.register("clock_jumps", help, clock_jumps.clone());
        let live = Live::register(registry.sub_registry_with_prefix("live"));
        Self(Arc::new(Counted {
            registry,
            requests,
            spans_accepted,
            spans_rejected,
            spans_repaired,
            spans_quarantined,
            bytes_received,
            inflight,
            queue,
            answers,
            connections,
            connections_refused,
            audit_lost,
            tls_refused,
            tls_reload_failures,
            polls,
            polls_too_long,
            poll_longest,
            poll_longest_nanos: AtomicU64::new(0),
            log_time,
            log_failures,
            log_repeated,
            log_bytes_skipped,
            log_records_lost,
            flush_time,
            flush_failures,
            maintenance_failures,
            clock_jumps,
            live,
        }))
    }

    /// Returns everything counted, in the text format.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    pub(crate) fn live(&self) -> &Live {
        &self.0.live
    }

    /// Counts an answer to an export.
    pub(crate) fn answered(&self, protocol: Protocol, signal: Option<Signal>, answer: &Answer) {
        let labels = vec![
            ("protocol", protocol.as_str()),
            ("signal", signal.map_or("unknown", Signal::as_str)),
            ("outcome", answer.outcome()),
        ];
        self.0.requests.get_or_create(&labels).inc();
    }

    /// Counts what a message brought.
    pub(crate) fn received(&self, protocol: Protocol, accepted: u64, rejected: &Rejected) {
        let labels = vec![("protocol", protocol.as_str())];
        self.0.spans_accepted.get_or_create(&labels).inc_by(accepted);
        for (reason, counted) in rejected.iter() {
            let labels = vec![("reason", reason.as_str())];
            self.0.spans_rejected.get_or_create(&labels).inc_by(counted.count);
        }
    }

    /// Counts what is known of spans only once they are batches.
    pub(crate) fn harvested(&self, quarantined: u64, repaired: &Tally<Repair>) {
        self.0.spans_quarantined.inc_by(quarantined);
        for (repair, counted) in repaired.iter() {
            let labels = vec![("repair", repair.as_str())];
            self.0.spans_repaired.get_or_create(&labels).inc_by(counted.count);
        }
    }

    pub(crate) fn bytes(&self, received: usize) {
        self.0.bytes_received.inc_by(received as u64);
    }

    /// Returns the gauge of what bodies of requests hold.
    pub(crate) fn inflight(&self) -> Gauge {
        self.0.inflight.clone()
    }

    /// Returns the gauge of what answers of the API hold.
    pub(crate) fn answers(&self) -> Gauge {
        self.0.answers.clone()
    }

    /// Counts a connection until what is returned is dropped.
    pub(crate) fn connected(&self) -> Counting {
        Counting::begin(&self.0.connections)
    }

    /// Counts a request as waiting until what is returned is dropped.
    pub(crate) fn waiting(&self) -> Counting {
        Counting::begin(&self.0.queue)
    }

    pub(crate) fn connection_refused(&self) {
        self.0.connections_refused.inc();
    }

    /// Counts a line that the audit log lacks.
    pub(crate) fn audit_lost(&self) {
        self.0.audit_lost.inc();
    }

    /// Counts a connection on whose encryption nobody agreed.
    pub(crate) fn tls_refused(&self) {
        self.0.tls_refused.inc();
    }

    /// Counts certificates that could not be used.
    pub(crate) fn tls_not_reloaded(&self) {
        self.0.tls_reload_failures.inc();
    }

    /// Counts a group of exports that is safe.
    pub(crate) fn made_safe(&self, took: Duration, repeated: u64) {
        self.0.log_time.observe(took.as_secs_f64());
        self.0.log_repeated.inc_by(repeated);
    }

    /// Counts a group of exports that could not be made safe.
    pub(crate) fn not_made_safe(&self) {
        self.0.log_failures.inc();
    }

    /// Counts what the log lacked when it was read.
    pub(crate) fn replayed(&self, replayed: &Replayed) {
        self.0.log_bytes_skipped.inc_by(replayed.bytes_skipped);
        self.0.log_records_lost.inc_by(replayed.records_lost());
    }

    /// Counts what went from the log into the tables.
    pub(crate) fn flushed(&self, took: Duration) {
        self.0.flush_time.observe(took.as_secs_f64());
    }

    /// Counts what could not be brought into the tables.
    pub(crate) fn not_flushed(&self) {
        self.0.flush_failures.inc();
    }

    /// Counts that the tables' files could not be looked after.
    pub(crate) fn not_maintained(&self) {
        self.0.maintenance_failures.inc();
    }

    /// Counts that the system's clock may be wrong.
    pub(crate) fn clock_jumped(&self) {
        self.0.clock_jumps.inc();
    }

    pub(crate) fn polled(&self, time: Duration) {
        let counted = &self.0;
        counted.polls.observe(time.as_secs_f64());
        if time > POLL_TIME_MAX {
            counted.polls_too_long.inc();
        }
        let nanos = time.as_nanos() as u64;
        if counted.poll_longest_nanos.fetch_max(nanos, Ordering::Relaxed) < nanos {
            counted.poll_longest.set(time.as_secs_f64());
        }
    }
}

impl Live {
    fn register(registry: &mut Registry) -> Self {
        let live = Self {
            spans: Gauge::default(),
            traces: Gauge::default(),
            traces_unanalyzed: Gauge::default(),
            memory: Gauge::default(),
            memory_max: Gauge::default(),
            traces_evicted: Counters::default(),
            analyses: Counters::default(),
            analysis_time: Histogram::new(ANALYSIS_SECONDS),
            lag: Histogram::new(ANALYSIS_SECONDS),
            findings: Family::default(),
        };
        registry.register("spans", "Spans that the window holds", live.spans.clone());
        registry.register("traces", "Traces in the window", live.traces.clone());
        let help = "Traces of the window with spans that no analysis had";
        registry.register("traces_unanalyzed", help, live.traces_unanalyzed.clone());
        let help = "Memory that the spans taken hold, about";
        registry.register_with_unit("memory", help, Unit::Bytes, live.memory.clone());
        let help = "Memory that they may hold: beyond it exporters are told to try again";
        registry.register_with_unit("memory_max", help, Unit::Bytes, live.memory_max.clone());
        let help = "Traces that left the window, by reason";
        registry.register("traces_evicted", help, live.traces_evicted.clone());
        registry.register("analyses", "Analyses of the window, by outcome", live.analyses.clone());
        let help = "Time that an analysis of the window took";
        registry.register_with_unit("analysis", help, Unit::Seconds, live.analysis_time.clone());
        let help = "Time from the arrival of a trace's last span to the findings with it";
        registry.register_with_unit("lag", help, Unit::Seconds, live.lag.clone());
        registry.register("findings", "Findings of the window, by severity", live.findings.clone());
        live
    }
}

/// Something that counts while it lasts.
pub(crate) struct Counting(Gauge);

impl Counting {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
