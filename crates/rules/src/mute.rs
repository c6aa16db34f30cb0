//! What is of no interest: findings that the configuration or spans mute.
//!
//! They are found all the same, and told apart: nobody has to act on them, and nobody loses sight
//! of them.

use arrow::array::{Array, RecordBatch};
use hashbrown::{HashMap, HashSet};
use timesink_model::{Finding, Muted, Status};

use crate::Error;
use crate::columns::{column, text};
use crate::rule::RuleSet;

/// The column of the attribute `timesink.mute.rules`.
pub(crate) const COLUMN: &str = "timesink_mute_rules";

/// What the configuration mutes, and the clock by which that ends.
#[derive(Debug, Clone)]
pub struct Mutes {
    pub all: Vec<Mute>,
    /// Returns now, ns since the epoch.
    pub clock: fn() -> i64,
}

impl Default for Mutes {
    fn default() -> Self {
        Self { all: Vec::new(), clock: || i64::MAX }
    }
}

/// Findings that are of no interest for a while; what is not named fits all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mute {
    pub finding: Option<String>,
    pub rule: Option<String>,
    pub service: Option<String>,
    pub endpoint: Option<String>,
    pub subject: Option<String>,
    pub reason: String,
    /// The last day, in UTC, as `2027-01-31`.
    pub until: String,
    /// The end of that day, ns since the epoch.
    pub end_unix_nano: i64,
}

impl Mute {
    fn fits(&self, finding: &Finding) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
        is(&self.finding, &finding.finding_id)
            && is(&self.rule, &finding.rule)
            && is(&self.service, &finding.service_name)
            && is(&self.endpoint, &finding.endpoint)
            && is(&self.subject, &finding.subject)
    }

    fn to_muted(&self) -> Muted {
        Muted::ByConfiguration { reason: self.reason.clone(), until: self.until.clone() }
    }
}

/// Findings, told apart.
#[derive(Debug, Default)]
pub(crate) struct ToldApart {
    pub(crate) findings: Vec<Finding>,
    pub(crate) muted: Vec<Finding>,
    pub(crate) over: Vec<Mute>,
}

impl Mutes {
    /// Checks the names of rules.
    pub(crate) fn check(&self, rules: &RuleSet) -> Result<(), Error> {
        for name in self.all.iter().filter_map(|mute| mute.rule.as_deref()) {
            if let Err(unknown) = rules.get(name)
                && RuleSet::checks()?.get(name).is_err()
            {
                return Err(unknown);
            }
        }
        Ok(())
    }

    /// Tells ranked findings apart, each list in the order it was. What a muted finding causes
    /// is muted with it.
    pub(crate) fn tell_apart(&self, all: Vec<Finding>, marks: &Marks<'_>) -> ToldApart {
        let now = (self.clock)();
        let mut apart = ToldApart::default();
        let mut muted_causes: HashMap<String, Muted> = HashMap::new();
        for mut finding in all {
            let fitting = || self.all.iter().filter(|mute| mute.fits(&finding));
            let in_force = fitting().find(|mute| now < mute.end_unix_nano).map(Mute::to_muted);
            let by_cause = || muted_causes.get(finding.caused_by.as_deref()?).cloned();
            let by_spans = || marks.hold(&finding).then_some(Muted::BySpans);
            if let Some(muted) = in_force.or_else(by_spans).or_else(by_cause) {
                muted_causes.insert(finding.finding_id.clone(), muted.clone());
                finding.evidence.muted = Some(muted);
                finding.status = Status::Muted;
                apart.muted.push(finding);
                continue;
            }
            for over in fitting() {
                if !apart.over.contains(over) {
                    apart.over.push(over.clone());
                }
            }
            apart.findings.push(finding);
        }
        apart
    }
}

/// What spans mute: services, endpoints and the rules that they name.
#[derive(Debug, Default)]
pub(crate) struct Marks<'a>(HashSet<(&'a str, &'a str, &'a str)>);

impl<'a> Marks<'a> {
    /// Reads the marks of spans. Few carry any: elsewhere nothing is looked at but the column.
    pub(crate) fn read(spans: &'a [RecordBatch]) -> Result<Self, Error> {
        let mut marks = HashSet::new();
        for batch in spans {
            let rules = column(batch, COLUMN)?;
            if rules.logical_null_count() == rules.len() {
                continue;
            }
            let rules = text(batch, COLUMN)?;
            let (services, endpoints) = (text(batch, "service_name")?, text(batch, "endpoint")?);
            let rows = rules.iter().zip(services.iter().zip(endpoints.iter()));
            for (rules, place) in rows {
                if let (Some(rules), (Some(service), Some(endpoint))) = (rules, place) {
                    marks.extend(names(rules).map(|rule| (service, endpoint, rule)));
                }
            }
        }
        Ok(Self(marks))
    }

    fn hold(&self, finding: &Finding) -> bool {
        let Finding { service_name, endpoint, rule, .. } = finding;
        self.0.contains(&(service_name.as_str(), endpoint.as_str(), rule.as_str()))
    }
}

/// Returns the names in a text, or in the JSON of a list: whatever stands between them.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.split(move |c| !is_of_name(c)).filter(|name| !name.is_empty())
}
