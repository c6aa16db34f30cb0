//! `rule.toml`: what a rule is called, what it needs, its thresholds and its words.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file, unknown keys refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Equals the folder's name.
    pub name: String,
    /// The pattern in one sentence.
    pub summary: String,
    /// First line of a finding; `{column}` stands for a piece of evidence.
    pub title: String,
    /// Plain sentences with the numbers in them; `{column}` as in `title`.
    pub message: String,
    pub category: String,
    /// How its work is split: `trace`, `process` or `window`.
    pub grain: String,
    /// `info`, `warning` or `error`.
    pub severity: String,
    /// `preview`, `stable`, `deprecated` or `removed`, with its version.
    pub status: BTreeMap<String, String>,
    /// Whether the time wasted is that of other requests: then it is no share of the endpoint's.
    #[serde(default)]
    pub wastes_others: bool,
    /// Whether its findings are certain of services that measure themselves (`timesink-otel`).
    #[serde(default)]
    pub gains_from_companion: bool,
    /// Whose findings explain this rule's.
    #[serde(default)]
    pub symptom_of: Vec<SymptomOf>,
    /// Attributes without which the rule says nothing; all of them have to be on some span.
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub params: BTreeMap<String, Param>,
    /// What each column of evidence says.
    #[serde(default)]
    pub evidence: BTreeMap<String, EvidenceText>,
    pub remediation: Vec<RemediationText>,
}

/// Rules whose findings explain others, which are symptoms then.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SymptomOf {
    pub rules: Vec<String>,
    /// Where their findings are.
    #[serde(rename = "where", default)]
    pub place: Where,
}

/// Where a cause is, seen from its symptom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// At the same endpoint.
    #[default]
    Endpoint,
    /// In the same service.
    Service,
    /// In another service, called meanwhile.
    Below,
}

/// A threshold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    pub default: toml::Value,
    pub min: toml::Value,
    pub max: toml::Value,
    pub unit: String,
    pub summary: String,
    pub reason: String,
}

/// A column of evidence, over the instances of one finding.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceText {
    pub summary: String,
    #[serde(default)]
    pub aggregate: Aggregate,
}

/// How the instances of a finding come to one number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregate {
    #[default]
    Median,
    Min,
    Max,
}

/// What to do, for the services that use certain libraries.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemediationText {
    /// Last segments of instrumentation scopes; the service must show all of them.
    pub libraries: Vec<String>,
    /// The fix in one line.
    pub summary: String,
    /// The authoritative page.
    pub url: String,
    /// The next command where spans end.
    pub next_step: Option<String>,
}
