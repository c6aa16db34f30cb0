//! [`ServerConfig`]: where `serve` listens, and what its receiver may use.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use timesink_otlp::{Action, Redaction, Rule};
use timesink_server::{
    Durability, Key, LiveOptions, ReceiverLimits, RedactionRules, Role, StoreOptions, TlsFiles,
    Token,
};

use super::options::{RedactedOptions, TokenOptions};
use super::{MIB_MAX, Options, ServeOptions, Sources, bytes, within};

/// The most that `live.settle_seconds` may be: facts of traces that waited longer would not be
/// known to be there after a crash.
const SETTLE_SECONDS_MAX: u64 = 600;

/// The most that a message may hold: what a decoder takes at all.
const MESSAGE_MIB_MAX: u64 = 256;

/// The longest that spans are kept: ten years.
const DAYS_MAX: u64 = 3650;

/// Seconds of a day.
const DAY: u64 = 24 * 60 * 60;

/// Everything a server needs to know, checked and complete.
#[derive(Debug, Clone)]
pub(crate) struct ServerConfig {
    pub(crate) grpc_address: SocketAddr,
    pub(crate) http_address: SocketAddr,
    pub(crate) web_address: SocketAddr,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) keys: Vec<Key>,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) receiver: ReceiverLimits,
    pub(crate) live: LiveOptions,
    pub(crate) store: StoreOptions,
    pub(crate) redaction: RedactionRules,
}

/// Puts flags, file and defaults together; the one named first wins.
pub(super) fn config(
    flags: &Options,
    file: &Options,
    sources: &Sources<'_>,
) -> Result<ServerConfig> {
    let serve = flags.serve.or(&file.serve);
    let address = |key: &str, written: Option<&str>, default: &str| {
        sources.naming(key, address(key, written.unwrap_or(default)))
    };
    let store = store(flags, file, sources)?;
    if store.bucket.is_some() && serve.data.is_none() {
        bail!("`store.bucket` is for the tables of a data directory: name one (`--data DIR`)");
    }
    Ok(ServerConfig {
        grpc_address: address(
            "serve.grpc_address",
            serve.grpc_address.as_deref(),
            "127.0.0.1:4317",
        )?,
        http_address: address(
            "serve.http_address",
            serve.http_address.as_deref(),
            "127.0.0.1:4318",
        )?,
        web_address: address("serve.web_address", serve.web_address.as_deref(), "127.0.0.1:4319")?,
        token_file: serve.token_file.clone(),
        keys: serve.tokens.iter().map(key).collect::<Result<_>>()?,
        tls: tls(&serve)?,
        data: serve.data.clone(),
        receiver: receiver(flags, file, sources)?,
        live: live(flags, file, sources)?,
        store,
        redaction: redaction(flags, file, sources)?,
    })
}

fn key(TokenOptions { name, role, hash }: &TokenOptions) -> Result<Key> {
    let of_name = Role::ALL.into_iter().find(|known| known.as_str() == role);
    let Some(of_name) = of_name else {
        bail!("`serve.tokens`: the role of `{name}` is `{role}`, expected ingest, read or admin");
    };
    Key::parse(name, of_name, hash).with_context(|| {
        format!("`serve.tokens`: the hash of `{name}` is none that `timesink token` wrote")
    })
}

/// A certificate is of no use without its key.
fn tls(serve: &ServeOptions) -> Result<Option<TlsFiles>> {
    let client_roots = serve.tls_client_roots_file.clone();
    match (serve.tls_certificate_file.clone(), serve.tls_key_file.clone()) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_roots })),
        (None, None) if client_roots.is_none() => Ok(None),
        _ => bail!(
            "TLS needs both `serve.tls_certificate_file` and `serve.tls_key_file`: only some of \
             its files are named"
        ),
    }
}

fn receiver(flags: &Options, file: &Options, sources: &Sources<'_>) -> Result<ReceiverLimits> {
    let receiver = flags.receiver.or(&file.receiver);
    let defaults = ReceiverLimits::default();
    let within =
        |key: &str, value: u64, max, unit| sources.naming(key, within(key, value, max, unit));
    let bytes = |key: &str, mib, default| sources.naming(key, bytes(key, mib, default));
    let message = receiver.message_mib_max.unwrap_or(defaults.message_bytes_max as u64 >> 20);
    let message = within("receiver.message_mib_max", message, MESSAGE_MIB_MAX, "MiB")?;
    let connections = receiver.connections_max.unwrap_or(defaults.connections_max as u64);
    let seconds = receiver.request_seconds_max.unwrap_or(defaults.request_time_max.as_secs());
    let memory = receiver.memory_mib_max.unwrap_or(defaults.memory_bytes_max >> 20);
    let key = "receiver.inflight_mib_max";
    let inflight = bytes(key, receiver.inflight_mib_max, defaults.inflight_bytes_max)?;
    sources.naming(key, holds_a_message(inflight >> 20, message as usize))?;
    Ok(ReceiverLimits {
        message_bytes_max: (message << 20) as usize,
        inflight_bytes_max: inflight,
        connections_max: within("receiver.connections_max", connections, 1_000_000, "connections")?
            as usize,
        request_time_max: Duration::from_secs(within(
            "receiver.request_seconds_max",
            seconds,
            3600,
            "seconds",
        )?),
        memory_bytes_max: within("receiver.memory_mib_max", memory, MIB_MAX, "MiB")? << 20,
    })
}

/// Whoever sends what can never be taken would be told to try again, for ever.
fn holds_a_message(inflight_mib: usize, message_mib: usize) -> Result<()> {
    if inflight_mib < message_mib {
        bail!(
            "`receiver.inflight_mib_max` is {inflight_mib} MiB: expected at least the \
             {message_mib} MiB that one message may have (`receiver.message_mib_max`)"
        );
    }
    Ok(())
}

fn live(flags: &Options, file: &Options, sources: &Sources<'_>) -> Result<LiveOptions> {
    let live = flags.live.or(&file.live);
    let defaults = LiveOptions::default();
    let within =
        |key: &str, value: u64, max, unit| sources.naming(key, within(key, value, max, unit));
    let settle = live.settle_seconds.unwrap_or(defaults.settle.as_secs());
    let window = live.window_minutes.unwrap_or(defaults.window.as_secs() / 60);
    let interval = live.interval_seconds.unwrap_or(defaults.interval.as_secs());
    Ok(LiveOptions {
        settle: Duration::from_secs(within(
            "live.settle_seconds",
            settle,
            SETTLE_SECONDS_MAX,
            "seconds",
        )?),
        window: Duration::from_mins(within("live.window_minutes", window, 10_080, "minutes")?),
        interval: Duration::from_secs(within("live.interval_seconds", interval, 3600, "seconds")?),
    })
}

fn store(flags: &Options, file: &Options, sources: &Sources<'_>) -> Result<StoreOptions> {
    let store = flags.store.or(&file.store);
    let defaults = StoreOptions::default();
    let within =
        |key: &str, value: u64, max, unit| sources.naming(key, within(key, value, max, unit));
    let seconds = store.flush_seconds.unwrap_or(defaults.flush_after.as_secs());
    let mib = store.flush_mib.unwrap_or(defaults.flush_bytes >> 20);
    let days = store.keep_days.unwrap_or(defaults.keep.as_secs() / DAY);
    let gib = store.gib_max.map(|gib| within("store.gib_max", gib, MIB_MAX, "GiB"));
    let durability = store.durability.as_deref().map(durability);
    Ok(StoreOptions {
        durability: sources.naming("store.durability", durability.transpose())?.unwrap_or_default(),
        flush_after: Duration::from_secs(within("store.flush_seconds", seconds, 3600, "seconds")?),
        flush_bytes: within("store.flush_mib", mib, MIB_MAX, "MiB")? << 20,
        keep: Duration::from_secs(within("store.keep_days", days, DAYS_MAX, "days")? * DAY),
        bytes_max: gib.transpose()?.map(|gib| gib << 30),
        bucket: sources.naming("store.bucket", bucket(&store))?,
        troubles: None,
    })
}

/// Returns how spans of files are redacted: as the configuration says, and not at all where it says
/// nothing.
pub(super) fn redaction_of_files(
    flags: &Options,
    file: &Options,
    sources: &Sources<'_>,
) -> Result<Option<Arc<Redaction>>> {
    let says_so = flags.redaction.or(&file.redaction).statements.is_some();
    let mut rules = redaction(flags, file, sources)?;
    rules.masks_statements &= says_so;
    Ok(timesink_server::redaction(Some(&rules), None)?)
}

/// Returns how spans of files are redacted for `sql`, which shows them as they are: literals of
/// statements unless the configuration allows them.
pub(super) fn redaction_of_rows(
    flags: &Options,
    file: &Options,
    sources: &Sources<'_>,
) -> Result<Option<Arc<Redaction>>> {
    if flags.redaction.or(&file.redaction).statements.is_some() {
        return redaction_of_files(flags, file, sources);
    }
    let rules = redaction(flags, file, sources)?;
    if rules.attributes.is_empty() {
        return Ok(Some(timesink_server::masking()));
    }
    Ok(timesink_server::redaction(Some(&rules), None)?)
}

fn redaction(flags: &Options, file: &Options, sources: &Sources<'_>) -> Result<RedactionRules> {
    let options = flags.redaction.or(&file.redaction);
    let masks = match options.statements.as_deref() {
        None | Some("mask") => Ok(true),
        Some("keep") => Ok(false),
        Some(written) => {
            Err(anyhow!("`redaction.statements` is `{written}`: expected mask or keep"))
        }
    };
    Ok(RedactionRules {
        masks_statements: sources.naming("redaction.statements", masks)?,
        attributes: options.attributes.iter().map(redacted).collect::<Result<_>>()?,
    })
}

fn redacted(RedactedOptions { attribute, action }: &RedactedOptions) -> Result<Rule> {
    let action = match action.as_str() {
        "drop" => Action::Drop,
        "hash" => Action::Hash,
        "mask" => Action::Mask,
        _ => bail!(
            "`redaction.attributes`: the action of `{attribute}` is `{action}`, expected drop, \
             hash or mask"
        ),
    };
    Ok(Rule { attribute: attribute.clone(), action })
}

fn bucket(store: &super::options::StoreOptions) -> Result<Option<url::Url>> {
    let bucket = store.bucket.as_deref().map(timesink_tables::Location::parse).transpose();
    bucket.context("`store.bucket`")
}

fn durability(written: &str) -> Result<Durability> {
    let known = Durability::ALL.into_iter().find(|known| known.as_str() == written);
    known.with_context(|| format!("`store.durability` is `{written}`: expected sync or interval"))
}

/// Reads `address:port`; a name is looked up.
fn address(key: &str, written: &str) -> Result<SocketAddr> {
    let refuse = || anyhow!("`{key}` is `{written}`: expected an address and a port, 127.0.0.1:0");
    written.to_socket_addrs().ok().and_then(|mut found| found.next()).with_context(refuse)
}

impl ServerConfig {
    /// Returns the token, if one was given: in the environment or in a file.
    pub(crate) fn token(&self, in_environment: Option<&str>) -> Result<Option<Token>> {
        match (in_environment, &self.token_file) {
            (Some(secret), _) => {
                Token::parse(secret).context("environment `TIMESINK_TOKEN`").map(Some)
            }
            (None, Some(path)) => read_token(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn read_token(path: &Path) -> Result<Token> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the token in `{}`", path.display()))?;
    Token::parse(text.trim()).with_context(|| format!("token file `{}`", path.display()))
}
