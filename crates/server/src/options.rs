//! [`ServerOptions`]: what a server is told. Everything has a default but the clock.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use timesink_otlp::Rule;
use url::Url;

use crate::{Keys, TlsFiles};

/// Bytes in a MiB.
const MIB: usize = 1 << 20;

/// How to receive, to keep and to answer.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where OTLP is taken. Every address takes OTLP/gRPC and OTLP/HTTP; port 0 is any free one.
    pub otlp_addresses: Vec<SocketAddr>,
    /// Where page, API and metrics are, if anywhere.
    pub web_address: Option<SocketAddr>,
    /// Whose tokens are let in. Without one, all addresses have to be of this machine.
    pub keys: Keys,
    /// What connections are encrypted with, if they are.
    pub tls: Option<TlsFiles>,
    /// The data directory, whose log keeps what is taken, if there is one. It has one writer.
    pub data: Option<PathBuf>,
    /// How its tables are written.
    pub store: StoreOptions,
    /// What the receiver may use.
    pub receiver: ReceiverLimits,
    /// How the live window works, if there is one.
    pub live: LiveOptions,
    /// What is hidden of spans, if anything is.
    pub redaction: Option<RedactionRules>,
    /// Returns now, ns since the epoch.
    pub clock: fn() -> i64,
    /// The version of the program, for pages and answers.
    pub version: &'static str,
}

/// What the receiver may use.
#[derive(Debug, Clone)]
pub struct ReceiverLimits {
    /// The largest message taken, bytes after decompression.
    pub message_bytes_max: usize,
    /// Bytes of request bodies, as they came, that may be held at a time.
    pub inflight_bytes_max: usize,
    /// Connections that may be open at a time.
    pub connections_max: usize,
    /// How long a request may take to arrive whole.
    pub request_time_max: Duration,
    /// Memory that the server may take, bytes, about; where spans are collected, what they may
    /// hold.
    pub memory_bytes_max: u64,
}

impl Default for ReceiverLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 * MIB,
            inflight_bytes_max: 256 * MIB,
            connections_max: 1024,
            request_time_max: Duration::from_secs(30),
            memory_bytes_max: 2048 * MIB as u64,
        }
    }
}

/// What is hidden of spans before they are kept anywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedactionRules {
    /// Whether the literals of database statements become tokens.
    pub masks_statements: bool,
    /// What becomes of attributes: the first rule that fits counts.
    pub attributes: Vec<Rule>,
}

/// When an export is answered that goes into a data directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Once its spans are on the disk: a power cut takes none.
    #[default]
    Sync,
    /// Once they are with the system, which brings them to the disk within a second: a killed
    /// process loses none, a power cut what came in the last second.
    Interval,
}

impl Durability {
    pub const ALL: [Self; 2] = [Self::Sync, Self::Interval];

    /// Returns the word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Interval => "interval",
        }
    }
}

/// How the log and the tables of a data directory are written.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// When an export is answered.
    pub durability: Durability,
    /// What is in the log goes into the tables after so long at most.
    pub flush_after: Duration,
    /// It goes sooner once it holds so many bytes of memory, about, or a quarter of what spans may
    /// hold, where that is less.
    pub flush_bytes: u64,
    /// Rows go once they are so old, by the hour.
    pub keep: Duration,
    /// The oldest `spans` go sooner once all take so many bytes on the disk.
    pub bytes_max: Option<u64>,
    /// Where tables are made, if not in the data directory: `s3://bucket/prefix`.
    pub bucket: Option<Url>,
    /// Where to send what went wrong, each as long as it lasts once: it is tried again.
    pub troubles: Option<SyncSender<String>>,
}

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            flush_after: Duration::from_mins(1),
            flush_bytes: 512 * MIB as u64,
            keep: Duration::from_secs(30 * DAY),
            bytes_max: None,
            bucket: None,
            troubles: None,
        }
    }
}

/// How the live window works.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// A trace is settled, and analyzed, once no span of it came for this long.
    pub settle: Duration,
    /// How long the spans of a trace are kept after the last of them came.
    pub window: Duration,
    /// Time from one analysis to the next, at least.
    pub interval: Duration,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            settle: Duration::from_secs(10),
            window: Duration::from_mins(15),
            interval: Duration::from_secs(2),
        }
    }
}

impl ServerOptions {
    /// Returns the defaults: any free ports of this machine, and no page.
    pub fn new(clock: fn() -> i64, version: &'static str) -> Self {
        Self {
            otlp_addresses: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            web_address: None,
            keys: Keys::default(),
            tls: None,
            data: None,
            store: StoreOptions::default(),
            receiver: ReceiverLimits::default(),
            live: LiveOptions::default(),
            redaction: None,
            clock,
            version,
        }
    }
}
