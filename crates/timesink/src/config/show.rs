//! `timesink config show`: the configuration in effect as TOML, each value with its source.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use timesink_otlp::{Action, Rule as Redacted};
use timesink_rules::{Mute, Rule, RuleSettings, Value};
use timesink_server::{RedactionRules, TlsFiles};

use super::{MIB, Source, Sources};
use crate::analysis;
use crate::commands::Run;
use crate::ended::Ended;
use crate::output::safe;

/// Where comments begin, if the value is short enough.
const COMMENT_COLUMN: usize = 44;

/// Writes the configuration; what is written can be read as a configuration file again.
pub(crate) fn show(sources: &Sources<'_>, run: &mut Run<'_>) -> Result<Ended> {
    let rules = analysis::engine(&run.config, &[])?;
    let page = Page { sources, text: String::new() }.write(&run.config, rules.rules().rules());
    run.console.out.write_all(page.as_bytes())?;
    Ok(Ended::Done)
}

struct Page<'a> {
    sources: &'a Sources<'a>,
    text: String,
}

impl Page<'_> {
    fn write(mut self, config: &super::Config, rules: &[Rule]) -> String {
        self.text
            .push_str("# The first of these that has a value wins: flag, environment, file.\n");
        let folders = config.rules_dirs.iter().map(|folder| quoted(&folder.to_string_lossy()));
        let folders = format!("[{}]", folders.collect::<Vec<_>>().join(", "));
        self.option("rules_dirs", &folders);
        let mib = |bytes: usize| (bytes as u64 / MIB).to_string();
        let limits = &config.limits;
        self.text.push_str("\n[query]\n");
        self.option("query.memory_mib_max", &mib(limits.memory_bytes_max));
        self.option("query.seconds_max", &limits.time_max.as_secs().to_string());
        self.option("query.rows_max", &limits.rows_max.to_string());
        self.option("query.threads", &limits.partitions.to_string());
        self.text.push_str("\n[input]\n");
        self.option("input.message_mib_max", &mib(config.read.message_bytes_max));
        self.option("input.document_mib_max", &mib(config.read.document_bytes_max));
        self.option("input.file_mib_max", &(config.read.file_bytes_max / MIB).to_string());
        self.option("input.decoded_mib_max", &(config.read.decoded_bytes_max / MIB).to_string());
        self.server(&config.server);
        let none = RuleSettings::default();
        for rule in rules {
            self.rule(rule, config.rules.rules.get(rule.name()).unwrap_or(&none));
        }
        config.rules.mutes.all.iter().for_each(|mute| self.mute(mute));
        self.text
    }

    fn server(&mut self, server: &super::ServerConfig) {
        let mib = |bytes: u64| (bytes / MIB).to_string();
        let address = |address: std::net::SocketAddr| quoted(&address.to_string());
        self.text.push_str("\n[serve]\n");
        self.option("serve.grpc_address", &address(server.grpc_address));
        self.option("serve.http_address", &address(server.http_address));
        self.option("serve.web_address", &address(server.web_address));
        if let Some(path) = &server.token_file {
            self.option("serve.token_file", &quoted(&path.to_string_lossy()));
        }
        if let Some(TlsFiles { certificate, key, client_roots }) = &server.tls {
            self.option("serve.tls_certificate_file", &quoted(&certificate.to_string_lossy()));
            self.option("serve.tls_key_file", &quoted(&key.to_string_lossy()));
            if let Some(roots) = client_roots {
                self.option("serve.tls_client_roots_file", &quoted(&roots.to_string_lossy()));
            }
        }
        if let Some(path) = &server.data {
            self.option("serve.data", &quoted(&path.to_string_lossy()));
        }
        for key in &server.keys {
            self.text.push_str("\n[[serve.tokens]]\n");
            let role = key.role().as_str();
            for (name, value) in [("name", key.name()), ("role", role), ("hash", &key.text())] {
                let _ = writeln!(self.text, "{name} = {}", quoted(value));
            }
        }
        let receiver = &server.receiver;
        self.text.push_str("\n[receiver]\n");
        self.option("receiver.message_mib_max", &mib(receiver.message_bytes_max as u64));
        self.option("receiver.inflight_mib_max", &mib(receiver.inflight_bytes_max as u64));
        self.option("receiver.connections_max", &receiver.connections_max.to_string());
        let seconds = receiver.request_time_max.as_secs();
        self.option("receiver.request_seconds_max", &seconds.to_string());
        self.option("receiver.memory_mib_max", &mib(receiver.memory_bytes_max));
        let live = &server.live;
        self.text.push_str("\n[live]\n");
        self.option("live.settle_seconds", &live.settle.as_secs().to_string());
        self.option("live.window_minutes", &(live.window.as_secs() / 60).to_string());
        self.option("live.interval_seconds", &live.interval.as_secs().to_string());
        let store = &server.store;
        self.text.push_str("\n[store]\n");
        self.option("store.durability", &quoted(store.durability.as_str()));
        self.option("store.flush_seconds", &store.flush_after.as_secs().to_string());
        self.option("store.flush_mib", &mib(store.flush_bytes));
        self.option("store.keep_days", &(store.keep.as_secs() / (24 * 60 * 60)).to_string());
        if let Some(bytes) = store.bytes_max {
            self.option("store.gib_max", &(bytes >> 30).to_string());
        }
        if let Some(bucket) = &store.bucket {
            self.option("store.bucket", &quoted(bucket.as_str()));
        }
        self.redaction(&server.redaction);
    }

    fn redaction(&mut self, redaction: &RedactionRules) {
        let statements = if redaction.masks_statements { "mask" } else { "keep" };
        self.text.push_str("\n[redaction]\n");
        self.option("redaction.statements", &quoted(statements));
        for Redacted { attribute, action } in &redaction.attributes {
            let action = match action {
                Action::Drop => "drop",
                Action::Hash => "hash",
                Action::Mask => "mask",
            };
            self.text.push_str("\n[[redaction.attributes]]\n");
            for (name, value) in [("attribute", attribute.as_str()), ("action", action)] {
                let _ = writeln!(self.text, "{name} = {}", quoted(value));
            }
        }
    }

    fn rule(&mut self, rule: &Rule, settings: &RuleSettings) {
        let name = rule.name();
        let _ = writeln!(self.text, "\n[rules.{name}]");
        self.option(&format!("rules.{name}.enabled"), &(!settings.disabled).to_string());
        for (param, declared) in &rule.manifest.params {
            let value = settings.params.get(param).unwrap_or(&declared.default);
            self.option(&format!("rules.{name}.{param}"), &shown(value));
        }
        for special in &settings.overrides {
            let _ = writeln!(self.text, "\n[[rules.{name}.override]]");
            let keys = [
                ("service", &special.service),
                ("endpoint", &special.endpoint),
                ("kind", &special.kind),
            ];
            for (key, value) in keys {
                if let Some(value) = value {
                    let _ = writeln!(self.text, "{key} = {}", quoted(value));
                }
            }
            for (param, value) in &special.params {
                let _ = writeln!(self.text, "{param} = {}", shown(value));
            }
        }
    }

    fn mute(&mut self, mute: &Mute) {
        self.text.push_str("\n[[mute]]\n");
        let named = [
            ("finding", &mute.finding),
            ("rule", &mute.rule),
            ("service", &mute.service),
            ("endpoint", &mute.endpoint),
            ("subject", &mute.subject),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        for (key, value) in named.chain([("reason", &mute.reason)]) {
            let _ = writeln!(self.text, "{key} = {}", quoted(value));
        }
        let _ = writeln!(self.text, "until = {}", mute.until);
    }

    /// Writes the last part of the key, its value and where that comes from.
    fn option(&mut self, key: &str, value: &str) {
        let name = key.rsplit('.').next().unwrap_or(key);
        let line = format!("{name} = {value}");
        let source = self.source(key);
        let _ = writeln!(self.text, "{line:<COMMENT_COLUMN$}# {source}");
    }

    fn source(&self, key: &str) -> String {
        match self.sources.of(key) {
            Source::Default => "default".to_owned(),
            Source::File(path) => safe::line(&path.to_string_lossy()).into_owned(),
            Source::Environment => super::variable(key),
            Source::Flag => "flag".to_owned(),
        }
    }
}

/// Returns a threshold as TOML writes it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(value) => quoted(value),
        Value::Integer(value) => value.to_string(),
        // With the point that tells it from an integer.
        Value::Float(value) => format!("{value:?}"),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(value) => value.to_string(),
        Value::Array(_) | Value::Table(_) => {
            unreachable!("thresholds are checked to be numbers when the rules are loaded")
        }
    }
}

/// Returns a text as TOML writes it: JSON's escapes are TOML's (TOML 1.0, "String").
pub(crate) fn quoted(text: &str) -> String {
    let json = serde_json::Value::String(text.to_owned()).to_string();
    safe::json(&json).into_owned()
}
