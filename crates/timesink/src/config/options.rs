//! [`Options`]: what a user wrote, in flags, environment or file. All of it is optional.
//!
//! The one list of options: help, environment, file keys and generated pages come from it. The id
//! of an argument is its key in the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use timesink_rules::{Mutes, Override, RuleSettings, RulesConfig, Value};

use super::mute::MuteOptions;
use crate::surroundings::now_unix_nano;

/// Everything that can be configured, as written.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// Folder with rule folders of your own; may be given several times
    ///
    /// A rule with a shipped rule's name replaces it. In the file relative to the file; several in
    /// the environment stand as in `PATH`.
    /// Default: none. Example: `rules_dirs = ["latency-rules"]`.
    #[arg(id = "rules_dirs", long = "rules-dir", env = "TIMESINK_RULES_DIRS", value_name = "DIR")]
    #[arg(global = true)]
    pub(crate) rules_dirs: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) query: QueryOptions,

    #[command(flatten)]
    pub(crate) input: InputOptions,

    /// Flags of `serve`.
    #[arg(skip)]
    pub(crate) serve: ServeOptions,

    /// Flags of `serve` and `run`.
    #[arg(skip)]
    pub(crate) receiver: ReceiverOptions,

    /// Flags of `serve`.
    #[arg(skip)]
    pub(crate) live: LiveOptions,

    /// Flags of `serve`.
    #[arg(skip)]
    pub(crate) store: StoreOptions,

    /// Flags of `serve`.
    #[arg(skip)]
    pub(crate) redaction: RedactionOptions,

    /// Settings by rule, in the file only.
    #[arg(skip)]
    pub(crate) rules: BTreeMap<String, RuleOptions>,

    /// Findings that are of no interest for a while, in the file only.
    #[arg(skip)]
    pub(crate) mute: Vec<MuteOptions>,
}

/// What queries may use, rules' queries included.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Limits of queries")]
pub(crate) struct QueryOptions {
    /// Memory that all queries may hold together, in MiB, the spans not counted
    ///
    /// Default: 2048. Example: `memory_mib_max = 512`.
    #[arg(id = "query.memory_mib_max", long = "query-memory-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_QUERY_MEMORY_MIB_MAX", global = true, hide_short_help = true)]
    pub(crate) memory_mib_max: Option<u64>,

    /// How long one query may run, in seconds
    ///
    /// Unless it is said, a day where spans of a data directory alone are walked. Default: 60.
    /// Example: `seconds_max = 10`.
    #[arg(id = "query.seconds_max", long = "query-seconds-max", value_name = "SECONDS")]
    #[arg(env = "TIMESINK_QUERY_SECONDS_MAX", global = true, hide_short_help = true)]
    pub(crate) seconds_max: Option<u64>,

    /// Rows that one query may return
    ///
    /// Default: 5000000. Example: `rows_max = 10000`.
    #[arg(id = "query.rows_max", long = "query-rows-max", value_name = "ROWS")]
    #[arg(env = "TIMESINK_QUERY_ROWS_MAX", global = true, hide_short_help = true)]
    pub(crate) rows_max: Option<u64>,

    /// Threads that one query spreads over
    ///
    /// Default: the cores of this machine. Example: `threads = 1`.
    #[arg(id = "query.threads", long = "query-threads", value_name = "THREADS")]
    #[arg(env = "TIMESINK_QUERY_THREADS", global = true, hide_short_help = true)]
    pub(crate) threads: Option<u64>,
}

/// What is read of trace files; sizes are those after decompression.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Limits of files")]
#[expect(clippy::struct_field_names, reason = "options name their unit and bound: they are keys")]
pub(crate) struct InputOptions {
    /// Largest message or line of a file that is a row of them, in MiB
    ///
    /// Default: 64, which is what receivers take. Example: `message_mib_max = 256`.
    #[arg(id = "input.message_mib_max", long = "input-message-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_INPUT_MESSAGE_MIB_MAX", global = true, hide_short_help = true)]
    pub(crate) message_mib_max: Option<u64>,

    /// Largest file that has to be held whole, a single JSON document for example, in MiB
    ///
    /// Default: 2048. Example: `document_mib_max = 512`.
    #[arg(id = "input.document_mib_max", long = "input-document-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_INPUT_DOCUMENT_MIB_MAX", global = true, hide_short_help = true)]
    pub(crate) document_mib_max: Option<u64>,

    /// Largest file, in MiB
    ///
    /// Default: 65536. Example: `file_mib_max = 1024`.
    #[arg(id = "input.file_mib_max", long = "input-file-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_INPUT_FILE_MIB_MAX", global = true, hide_short_help = true)]
    pub(crate) file_mib_max: Option<u64>,

    /// Most memory that the spans of one file may take, in MiB
    ///
    /// A small compressed file can hold spans without end. Of a data directory as much is taken of
    /// what only its log has, and of the spans of one process; of one that is named with files, of
    /// all. Default: 4096. Example: `decoded_mib_max = 1024`.
    #[arg(id = "input.decoded_mib_max", long = "input-decoded-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_INPUT_DECODED_MIB_MAX", global = true, hide_short_help = true)]
    pub(crate) decoded_mib_max: Option<u64>,
}

/// Where `serve` listens.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Addresses")]
pub(crate) struct ServeOptions {
    /// Where OTLP/gRPC is taken, port 0 for any free one
    ///
    /// OTLP/HTTP is taken here, too. Default: 127.0.0.1:4317. Example:
    /// `grpc_address = "0.0.0.0:4317"`.
    #[arg(id = "serve.grpc_address", long = "grpc-address", value_name = "ADDRESS")]
    #[arg(env = "TIMESINK_SERVE_GRPC_ADDRESS")]
    pub(crate) grpc_address: Option<String>,

    /// Where OTLP/HTTP is taken, port 0 for any free one
    ///
    /// OTLP/gRPC is taken here, too. Default: 127.0.0.1:4318. Example:
    /// `http_address = "0.0.0.0:4318"`.
    #[arg(id = "serve.http_address", long = "http-address", value_name = "ADDRESS")]
    #[arg(env = "TIMESINK_SERVE_HTTP_ADDRESS")]
    pub(crate) http_address: Option<String>,

    /// Where page, API and metrics are, port 0 for any free one
    ///
    /// Default: 127.0.0.1:4319. Example: `web_address = "127.0.0.1:0"`.
    #[arg(id = "serve.web_address", long = "web-address", value_name = "ADDRESS")]
    #[arg(env = "TIMESINK_SERVE_WEB_ADDRESS")]
    pub(crate) web_address: Option<String>,

    /// File with the token that every request has to show, as `Authorization: Bearer TOKEN`
    ///
    /// `TIMESINK_TOKEN` can hold the token itself. Needed to listen on an address that other
    /// machines can reach. In the file relative to the file. Default: none. Example:
    /// `token_file = "timesink.token"`.
    #[arg(id = "serve.token_file", long = "token-file", value_name = "FILE")]
    #[arg(env = "TIMESINK_SERVE_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Tokens by their hashes, in the file only.
    #[arg(skip)]
    pub(crate) tokens: Vec<TokenOptions>,

    /// File with the certificate that TLS shows, and those that lead to its root (PEM)
    ///
    /// With it all addresses speak TLS. It is read again when it changes. In the file relative to
    /// the file. Default: none. Example: `tls_certificate_file = "server.pem"`.
    #[arg(id = "serve.tls_certificate_file", long = "tls-certificate-file", value_name = "FILE")]
    #[arg(env = "TIMESINK_SERVE_TLS_CERTIFICATE_FILE")]
    pub(crate) tls_certificate_file: Option<PathBuf>,

    /// File with the private key of that certificate (PEM)
    ///
    /// In the file relative to the file. Default: none. Example: `tls_key_file = "server.key"`.
    #[arg(id = "serve.tls_key_file", long = "tls-key-file", value_name = "FILE")]
    #[arg(env = "TIMESINK_SERVE_TLS_KEY_FILE")]
    pub(crate) tls_key_file: Option<PathBuf>,

    /// File with roots (PEM): clients have to show a certificate that leads to one
    ///
    /// In the file relative to the file. Default: none, and clients need none. Example:
    /// `tls_client_roots_file = "clients.pem"`.
    #[arg(id = "serve.tls_client_roots_file", long = "tls-client-roots-file")]
    #[arg(value_name = "FILE", env = "TIMESINK_SERVE_TLS_CLIENT_ROOTS_FILE")]
    pub(crate) tls_client_roots_file: Option<PathBuf>,

    /// Folder that keeps what is taken, in a log and in tables, also when the process is killed
    ///
    /// Exports are answered once their spans are on the disk. One process at a time writes there.
    /// In the file relative to the file. Default: none. Example: `data = "timesink-data"`.
    #[arg(id = "serve.data", long = "data", value_name = "DIR")]
    #[arg(env = "TIMESINK_SERVE_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// A token that is let in, by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenOptions {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) hash: String,
}

/// What the receiver of `serve` and `run` may use.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Limits of the receiver")]
#[expect(clippy::struct_field_names, reason = "options name their unit and bound: they are keys")]
pub(crate) struct ReceiverOptions {
    /// Largest message, in MiB after decompression
    ///
    /// At the limit exporters are told not to send it again. Default: 64. Example:
    /// `message_mib_max = 16`.
    #[arg(id = "receiver.message_mib_max", long = "receiver-message-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_RECEIVER_MESSAGE_MIB_MAX", hide_short_help = true)]
    pub(crate) message_mib_max: Option<u64>,

    /// Bodies of requests that are held at a time, in MiB as they came
    ///
    /// At the limit exporters are told to try again. Default: 256. Example:
    /// `inflight_mib_max = 64`.
    #[arg(
        id = "receiver.inflight_mib_max",
        long = "receiver-inflight-mib-max",
        value_name = "MIB"
    )]
    #[arg(env = "TIMESINK_RECEIVER_INFLIGHT_MIB_MAX", hide_short_help = true)]
    pub(crate) inflight_mib_max: Option<u64>,

    /// Connections that are open at a time
    ///
    /// At the limit more are closed at once. Default: 1024. Example: `connections_max = 100`.
    #[arg(id = "receiver.connections_max", long = "receiver-connections-max", value_name = "N")]
    #[arg(env = "TIMESINK_RECEIVER_CONNECTIONS_MAX", hide_short_help = true)]
    pub(crate) connections_max: Option<u64>,

    /// How long a request may take to arrive, in seconds
    ///
    /// Default: 30. Example: `request_seconds_max = 10`.
    #[arg(id = "receiver.request_seconds_max", long = "receiver-request-seconds-max")]
    #[arg(value_name = "SECONDS", env = "TIMESINK_RECEIVER_REQUEST_SECONDS_MAX")]
    #[arg(hide_short_help = true)]
    pub(crate) request_seconds_max: Option<u64>,

    /// Memory that the receiver may take, in MiB, about: spans half of it, with a data directory a
    /// fifth of the first GiB and a third of the rest
    ///
    /// The rest is for their analysis and for writing them. At the limit exporters are told to try
    /// again. Under `run`, which analyzes in the end, spans may hold all of it. Default: 2048.
    /// Example: `memory_mib_max = 4096`.
    #[arg(id = "receiver.memory_mib_max", long = "receiver-memory-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_RECEIVER_MEMORY_MIB_MAX", hide_short_help = true)]
    pub(crate) memory_mib_max: Option<u64>,
}

/// How the live window of `serve` works.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "The live window")]
pub(crate) struct LiveOptions {
    /// A trace is analyzed once none of its spans came for so many seconds
    ///
    /// SDKs export every five seconds, each service at its own time. Default: 10. Example:
    /// `settle_seconds = 2`.
    #[arg(id = "live.settle_seconds", long = "live-settle-seconds", value_name = "SECONDS")]
    #[arg(env = "TIMESINK_LIVE_SETTLE_SECONDS", hide_short_help = true)]
    pub(crate) settle_seconds: Option<u64>,

    /// How many minutes a trace is kept after its last span came
    ///
    /// It goes sooner when memory runs out. Default: 15. Example: `window_minutes = 60`.
    #[arg(id = "live.window_minutes", long = "live-window-minutes", value_name = "MINUTES")]
    #[arg(env = "TIMESINK_LIVE_WINDOW_MINUTES", hide_short_help = true)]
    pub(crate) window_minutes: Option<u64>,

    /// Seconds from one look at what has settled to the next, at least
    ///
    /// After an analysis it is six times as long as that took, at least. Default: 2. Example:
    /// `interval_seconds = 10`.
    #[arg(id = "live.interval_seconds", long = "live-interval-seconds", value_name = "SECONDS")]
    #[arg(env = "TIMESINK_LIVE_INTERVAL_SECONDS", hide_short_help = true)]
    pub(crate) interval_seconds: Option<u64>,
}

/// How the tables of a data directory are written.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "The tables of a data directory")]
pub(crate) struct StoreOptions {
    /// When an export is answered: `sync`, once its spans are on the disk, or `interval`, before
    ///
    /// With `interval` the disk has them within a second: a killed process loses none, a power cut
    /// what came in the last second. Default: sync. Example: `durability = "interval"`.
    #[arg(id = "store.durability", long = "store-durability", value_name = "WORD")]
    #[arg(env = "TIMESINK_STORE_DURABILITY", hide_short_help = true)]
    pub(crate) durability: Option<String>,

    /// Seconds after which spans go from the log into the tables, at most
    ///
    /// More often makes more and smaller files. Default: 60. Example: `flush_seconds = 10`.
    #[arg(id = "store.flush_seconds", long = "store-flush-seconds", value_name = "SECONDS")]
    #[arg(env = "TIMESINK_STORE_FLUSH_SECONDS", hide_short_help = true)]
    pub(crate) flush_seconds: Option<u64>,

    /// Memory of the spans that one flush takes, in MiB, about: with so many they go sooner
    ///
    /// Never more than a quarter of what spans may hold (`receiver.memory_mib_max`). The larger it
    /// is, the larger are the files: small ones are written once more when their hour is over.
    /// Default: 512. Example: `flush_mib = 32`.
    #[arg(id = "store.flush_mib", long = "store-flush-mib", value_name = "MIB")]
    #[arg(env = "TIMESINK_STORE_FLUSH_MIB", hide_short_help = true)]
    pub(crate) flush_mib: Option<u64>,

    /// Days after which spans go from the tables, after they began and were written
    ///
    /// Default: 30. Example: `keep_days = 7`.
    #[arg(id = "store.keep_days", long = "store-keep-days", value_name = "DAYS")]
    #[arg(env = "TIMESINK_STORE_KEEP_DAYS", hide_short_help = true)]
    pub(crate) keep_days: Option<u64>,

    /// Most that the tables may take, in GiB: the oldest spans go sooner then
    ///
    /// Default: none. Example: `gib_max = 100`.
    #[arg(id = "store.gib_max", long = "store-gib-max", value_name = "GIB")]
    #[arg(env = "TIMESINK_STORE_GIB_MAX", hide_short_help = true)]
    pub(crate) gib_max: Option<u64>,

    /// Bucket in which a new data directory makes its tables: `s3://BUCKET/PREFIX`
    ///
    /// Credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID` and its
    /// like). The log stays in the data directory, which remembers the bucket.
    /// Default: none. Example: `bucket = "s3://traces/shop"`.
    #[arg(id = "store.bucket", long = "store-bucket", value_name = "URL")]
    #[arg(env = "TIMESINK_STORE_BUCKET", hide_short_help = true)]
    pub(crate) bucket: Option<String>,
}

/// What is hidden of spans as a server takes them.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "What is hidden of spans")]
pub(crate) struct RedactionOptions {
    /// What becomes of the literals of database statements: `mask`, or `keep`
    ///
    /// Masked, each becomes a token that stands for its value: equal ones stay equal, others do not
    /// become so, and what is found stays the same. Default: mask. Example:
    /// `statements = "keep"`.
    #[arg(id = "redaction.statements", long = "redaction-statements", value_name = "WORD")]
    #[arg(env = "TIMESINK_REDACTION_STATEMENTS", hide_short_help = true)]
    pub(crate) statements: Option<String>,

    /// What becomes of attributes, in the file only: the first that fits counts.
    #[arg(skip)]
    pub(crate) attributes: Vec<RedactedOptions>,
}

/// What becomes of attributes of a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedactedOptions {
    pub(crate) attribute: String,
    pub(crate) action: String,
}

/// `[rules.<name>]`: whether it runs, thresholds by name, thresholds for some spans.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RuleOptions {
    pub(crate) enabled: Option<bool>,
    #[serde(rename = "override")]
    pub(crate) overrides: Vec<OverrideOptions>,
    #[serde(flatten)]
    pub(crate) params: BTreeMap<String, Value>,
}

/// `[[rules.<name>.override]]`: thresholds for the spans of a service, endpoint or kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OverrideOptions {
    pub(crate) service: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) kind: Option<String>,
    #[serde(flatten)]
    pub(crate) params: BTreeMap<String, Value>,
}

impl QueryOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            memory_mib_max: self.memory_mib_max.or(other.memory_mib_max),
            seconds_max: self.seconds_max.or(other.seconds_max),
            rows_max: self.rows_max.or(other.rows_max),
            threads: self.threads.or(other.threads),
        }
    }
}

impl InputOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            message_mib_max: self.message_mib_max.or(other.message_mib_max),
            document_mib_max: self.document_mib_max.or(other.document_mib_max),
            file_mib_max: self.file_mib_max.or(other.file_mib_max),
            decoded_mib_max: self.decoded_mib_max.or(other.decoded_mib_max),
        }
    }
}

impl ServeOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let or = |own: &Option<String>, other: &Option<String>| own.clone().or(other.clone());
        let or_path =
            |own: &Option<PathBuf>, other: &Option<PathBuf>| own.clone().or(other.clone());
        Self {
            grpc_address: or(&self.grpc_address, &other.grpc_address),
            http_address: or(&self.http_address, &other.http_address),
            web_address: or(&self.web_address, &other.web_address),
            token_file: or_path(&self.token_file, &other.token_file),
            tokens: if self.tokens.is_empty() { &other.tokens } else { &self.tokens }.clone(),
            tls_certificate_file: or_path(&self.tls_certificate_file, &other.tls_certificate_file),
            tls_key_file: or_path(&self.tls_key_file, &other.tls_key_file),
            tls_client_roots_file: or_path(
                &self.tls_client_roots_file,
                &other.tls_client_roots_file,
            ),
            data: or_path(&self.data, &other.data),
        }
    }
}

impl ReceiverOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            message_mib_max: self.message_mib_max.or(other.message_mib_max),
            inflight_mib_max: self.inflight_mib_max.or(other.inflight_mib_max),
            connections_max: self.connections_max.or(other.connections_max),
            request_seconds_max: self.request_seconds_max.or(other.request_seconds_max),
            memory_mib_max: self.memory_mib_max.or(other.memory_mib_max),
        }
    }
}

impl LiveOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            settle_seconds: self.settle_seconds.or(other.settle_seconds),
            window_minutes: self.window_minutes.or(other.window_minutes),
            interval_seconds: self.interval_seconds.or(other.interval_seconds),
        }
    }
}

impl StoreOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        Self {
            durability: self.durability.clone().or_else(|| other.durability.clone()),
            flush_seconds: self.flush_seconds.or(other.flush_seconds),
            flush_mib: self.flush_mib.or(other.flush_mib),
            keep_days: self.keep_days.or(other.keep_days),
            gib_max: self.gib_max.or(other.gib_max),
            bucket: self.bucket.clone().or_else(|| other.bucket.clone()),
        }
    }
}

impl RedactionOptions {
    /// Returns these where they are given, else `other`.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let attributes = if self.attributes.is_empty() { other } else { self };
        Self {
            statements: self.statements.clone().or_else(|| other.statements.clone()),
            attributes: attributes.attributes.clone(),
        }
    }
}

impl Options {
    /// Returns the rules' settings; names and values are checked against the rules later.
    pub(crate) fn rules_config(self) -> Result<RulesConfig> {
        let settings =
            |(name, options): (String, RuleOptions)| Ok((name.clone(), options.settings(&name)?));
        let rules = self.rules.into_iter().map(settings).collect::<Result<_>>()?;
        let all = self.mute.into_iter().map(MuteOptions::mute).collect::<Result<_>>()?;
        Ok(RulesConfig { rules, mutes: Mutes { all, clock: now_unix_nano } })
    }
}

impl RuleOptions {
    fn settings(self, rule: &str) -> Result<RuleSettings> {
        let overrides = self.overrides.into_iter().map(|special| special.settings(rule));
        Ok(RuleSettings {
            disabled: self.enabled == Some(false),
            params: self.params,
            overrides: overrides.collect::<Result<_>>()?,
        })
    }
}

impl OverrideOptions {
    fn settings(self, rule: &str) -> Result<Override> {
        if self.service.is_none() && self.endpoint.is_none() && self.kind.is_none() {
            bail!(
                "`[[rules.{rule}.override]]` fits every span: expected `service`, `endpoint` or \
                 `kind`; thresholds for all spans stand in `[rules.{rule}]`"
            );
        }
        let Self { service, endpoint, kind, params } = self;
        Ok(Override { service, endpoint, kind, params })
    }
}
