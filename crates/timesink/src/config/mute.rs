//! `[[mute]]`: from what is written to what is muted, checked.

use anyhow::{Context, Result, bail};
use chrono::{Days, NaiveDate, NaiveTime};
use serde::Deserialize;
use timesink_rules::{Mute, Value};

/// Findings that are of no interest for a while, in the file only.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct MuteOptions {
    finding: Option<String>,
    rule: Option<String>,
    service: Option<String>,
    endpoint: Option<String>,
    subject: Option<String>,
    reason: String,
    until: Option<Value>,
}

impl MuteOptions {
    /// Checks what is muted, why and until when.
    pub(super) fn mute(self) -> Result<Mute> {
        let Self { finding, rule, service, endpoint, subject, reason, until } = self;
        if finding.is_none() && rule.is_none() {
            bail!("`[[mute]]` needs `rule`, or the id of a `finding`: it would fit every rule");
        }
        if let Some(id) = finding.as_deref().filter(|id| !is_id(id)) {
            bail!("`finding` of `[[mute]]` is `{id}`: expected a `finding_id`, 16 hex digits");
        }
        if reason.trim().is_empty() {
            bail!("`[[mute]]` needs a `reason`: whoever reads it next asks for it");
        }
        let until = match until {
            Some(Value::String(text)) => text,
            Some(Value::Datetime(day)) => day.to_string(),
            _ => bail!("`[[mute]]` needs `until`, the last day, as `until = 2027-01-31`"),
        };
        let end_unix_nano = end_of(&until)?;
        Ok(Mute { finding, rule, service, endpoint, subject, reason, until, end_unix_nano })
    }
}

/// Returns whether a text is written as the ids of findings are.
fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Returns the end of a day in UTC, ns since the epoch.
fn end_of(day: &str) -> Result<i64> {
    let refuse = || format!("`until` of `[[mute]]` is `{day}`: expected a day, as `2027-01-31`");
    let day = NaiveDate::parse_from_str(day, "%Y-%m-%d").with_context(refuse)?;
    let next = day.checked_add_days(Days::new(1)).with_context(refuse)?;
    next.and_time(NaiveTime::MIN).and_utc().timestamp_nanos_opt().with_context(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Mute> {
        let options: MuteOptions = toml::from_str(text)?;
        options.mute()
    }

    #[test]
    fn a_day_ends_in_utc_however_it_is_written() {
        for day in ["1970-01-02", "\"1970-01-02\""] {
            let mute = read(&format!("rule = 'a'\nreason = 'b'\nuntil = {day}")).unwrap();
            assert_eq!(
                (mute.until.as_str(), mute.end_unix_nano),
                ("1970-01-02", 172_800_000_000_000)
            );
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, named) in [
            ("finding = 'n-plus-one'\nreason = 'b'", "is `n-plus-one`: expected a `finding_id`"),
            ("reason = 'b'\nuntil = 2027-01-31", "needs `rule`, or the id of a `finding`"),
            ("rule = 'a'\nreason = ' '\nuntil = 2027-01-31", "needs a `reason`"),
            ("rule = 'a'\nreason = 'b'", "needs `until`, the last day"),
            ("rule = 'a'\nreason = 'b'\nuntil = 7", "needs `until`, the last day"),
            ("rule = 'a'\nreason = 'b'\nuntil = 'soon'", "is `soon`: expected a day"),
            ("rule = 'a'\nreason = 'b'\nuntil = 2027-01-31T08:00:00", "expected a day"),
            ("rule = 'a'\nreason = 'b'\nuntil = '2900-01-01'", "expected a day"),
            ("rules = 'a'", "unknown field `rules`"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
