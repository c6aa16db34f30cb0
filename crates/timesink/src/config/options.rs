//! [`Options`]: what a user wrote, in flags, environment or file. All of it is optional.
//!
//! The one list of options: help, environment, file keys and generated pages come from it. The id
//! of an argument is its key in the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Deserialize;
use timesink_rules::{Override, RuleSettings, RulesConfig, Value};

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

    /// Settings by rule, in the file only.
    #[arg(skip)]
    pub(crate) rules: BTreeMap<String, RuleOptions>,
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
    /// Default: 60. Example: `seconds_max = 10`.
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
    /// A small compressed file can hold spans without end. Default: 4096. Example:
    /// `decoded_mib_max = 1024`.
    #[arg(id = "input.decoded_mib_max", long = "input-decoded-mib-max", value_name = "MIB")]
    #[arg(env = "TIMESINK_INPUT_DECODED_MIB_MAX", global = true, hide_short_help = true)]
    pub(crate) decoded_mib_max: Option<u64>,
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

impl Options {
    /// Returns the rules' settings; names and values are checked against the rules later.
    pub(crate) fn rules_config(self) -> Result<RulesConfig> {
        let settings =
            |(name, options): (String, RuleOptions)| Ok((name.clone(), options.settings(&name)?));
        Ok(RulesConfig { rules: self.rules.into_iter().map(settings).collect::<Result<_>>()? })
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
