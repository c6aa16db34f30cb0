//! What a user may set: thresholds by rule, service, endpoint and span kind; rules switched off.

use std::collections::BTreeMap;

use crate::Error;
use crate::error::nearest;
use crate::manifest::Param;
use crate::mute::Mutes;
use crate::rule::{Rule, RuleSet};

/// The span kinds of OTLP 1.11 by name; the column `kind` has numbers for others.
const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];

/// The value of a threshold.
pub type Value = toml::Value;

/// Settings by rule name, and what is of no interest of what they find.
#[derive(Debug, Clone, Default)]
pub struct RulesConfig {
    pub rules: BTreeMap<String, RuleSettings>,
    pub mutes: Mutes,
}

/// The settings of one rule.
#[derive(Debug, Clone, Default)]
pub struct RuleSettings {
    pub disabled: bool,
    /// Thresholds for all spans.
    pub params: BTreeMap<String, Value>,
    /// Thresholds for some spans; the last that fits wins.
    pub overrides: Vec<Override>,
}

/// Thresholds for the spans of a service, endpoint or kind; what is not named fits all.
#[derive(Debug, Clone, Default)]
pub struct Override {
    pub service: Option<String>,
    pub endpoint: Option<String>,
    pub kind: Option<String>,
    pub params: BTreeMap<String, Value>,
}

impl Override {
    /// Whether it holds for spans of that service, endpoint and kind.
    pub(crate) fn fits(&self, service: &str, endpoint: &str, kind: &str) -> bool {
        let fits =
            |wanted: &Option<String>, seen: &str| wanted.as_deref().is_none_or(|w| w == seen);
        let is_kind = self.kind.as_deref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(kind));
        fits(&self.service, service) && fits(&self.endpoint, endpoint) && is_kind
    }
}

impl RulesConfig {
    /// Checks every name and value against the rules at hand.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRule`] and [`Error::Config`], which name the key, the value and its bounds.
    pub fn check(&self, rules: &RuleSet) -> Result<(), Error> {
        for (name, settings) in &self.rules {
            // Those of the checks are in the same file.
            let checks;
            let rule = match rules.get(name) {
                Ok(rule) => rule,
                Err(unknown) => {
                    checks = RuleSet::checks()?;
                    checks.get(name).map_err(|_| unknown)?
                }
            };
            let overrides = settings.overrides.iter().map(|o| &o.params);
            for params in std::iter::once(&settings.params).chain(overrides) {
                for (param, value) in params {
                    check_value(rule, param, value)?;
                }
            }
            for kind in settings.overrides.iter().filter_map(|special| special.kind.as_deref()) {
                check_kind(name, kind)?;
            }
        }
        self.mutes.check(rules)
    }

    pub(crate) fn of(&self, rule: &str) -> RuleSettings {
        self.rules.get(rule).cloned().unwrap_or_default()
    }
}

fn check_kind(rule: &str, kind: &str) -> Result<(), Error> {
    if KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    let near = nearest(&kind.to_ascii_uppercase(), KINDS.into_iter());
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let known = KINDS.join(", ");
    let place = format!("`rules.{rule}.override.kind`");
    Err(Error::Config(format!("{place} is \"{kind}\": expected one of {known}{hint}")))
}

fn check_value(rule: &Rule, name: &str, value: &Value) -> Result<(), Error> {
    let params = &rule.manifest.params;
    let Some(param) = params.get(name) else {
        let near = nearest(name, params.keys().map(String::as_str));
        let hint = match near {
            Some(near) => format!("; did you mean `{near}`?"),
            None if params.is_empty() => ": it has none".to_owned(),
            None => {
                let known: Vec<String> = params.keys().map(|name| format!("`{name}`")).collect();
                format!(": expected one of {}", known.join(", "))
            }
        };
        let rule = rule.name();
        return Err(Error::Config(format!("`rules.{rule}.{name}` is no parameter of it{hint}")));
    };
    if within(param, value) {
        return Ok(());
    }
    Err(Error::Config(format!(
        "`rules.{}.{name}` is {}: expected {} to {} {}",
        rule.name(),
        shown(value),
        shown(&param.min),
        shown(&param.max),
        param.unit
    )))
}

/// Shows a value as TOML writes it.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Datetime(value) => value.to_string(),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

fn within(param: &Param, value: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Integer(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        _ => None,
    };
    let whole = param.default.is_integer();
    match (number(&param.min), number(value), number(&param.max)) {
        (Some(min), Some(seen), Some(max)) => {
            (value.is_integer() || !whole) && min <= seen && seen <= max
        }
        _ => false,
    }
}
