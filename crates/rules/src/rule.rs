//! [`Rule`] and [`RuleSet`]: rule folders, loaded; shipped ones and a user's through one loader.

use std::fmt;
use std::path::{Path, PathBuf};

use timesink_model::Severity;

use crate::Error;
use crate::error::nearest;
use crate::manifest::{Manifest, Param};
use crate::params::KEY_COLUMNS;
use crate::registry::{CHECKS, RULES, RuleSource};

/// Where shipped rules and checks lie in the repository.
const SHIPPED: &str = "queries/rules";

const SHIPPED_CHECKS: &str = "queries/checks";

/// One rule, ready to run.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Where its files are; shipped ones as they lie in the repository.
    pub folder: PathBuf,
    /// Whether it is in the binary.
    pub is_shipped: bool,
    pub manifest: Manifest,
    /// `rule.toml` as it is written.
    pub manifest_text: String,
    pub severity: Severity,
    pub sql: String,
    /// The remediation guide, Markdown.
    pub guide: String,
}

impl Rule {
    /// Returns the public name.
    pub fn name(&self) -> &str {
        &self.manifest.name
    }

    /// Reads a rule from the texts of its folder.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] says what in the folder is wrong.
    pub fn parse(folder: &Path, manifest: &str, sql: &str, guide: &str) -> Result<Self, Error> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let text = manifest;
        let refuse = |line: Option<usize>, reason: &str| {
            let place = Place { file: folder.join("rule.toml"), line };
            Error::Rule { rule: name.clone().into_owned(), reason: format!("{place}: {reason}") }
        };
        let at = |begin: &str, reason: &str| refuse(line_that_begins(text, begin), reason);
        let manifest: Manifest = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_at(text, span.start));
            refuse(line, error.message().trim_end())
        })?;
        if manifest.name != name {
            let reason = format!(
                "the name is `{}`, that of the folder `{name}`: they have to be equal",
                manifest.name
            );
            return Err(at("name", &reason));
        }
        let severity = Severity::parse(&manifest.severity).ok_or_else(|| {
            let severity = &manifest.severity;
            at("severity", &format!("severity `{severity}` is none of `info`, `warning`, `error`"))
        })?;
        if !["trace", "process", "window"].contains(&manifest.grain.as_str()) {
            let grain = &manifest.grain;
            let reason = format!("grain `{grain}` is none of `trace`, `process`, `window`");
            return Err(at("grain", &reason));
        }
        for (name, param) in &manifest.params {
            check_param(name, param).map_err(|reason| at(&format!("[params.{name}]"), &reason))?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            is_shipped: false,
            manifest,
            manifest_text: text.to_owned(),
            severity,
            sql: sql.to_owned(),
            guide: guide.to_owned(),
        })
    }
}

/// Where in a rule's folder something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: PathBuf,
    /// From 1, where a line can be told.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// Returns the line, from 1, in which a byte of the text stands.
pub(crate) fn line_at(text: &str, byte: usize) -> usize {
    let before = text.as_bytes().iter().take(byte);
    1 + before.filter(|byte| **byte == b'\n').count()
}

/// Returns the first line, from 1, that begins so.
pub(crate) fn line_that_begins(text: &str, begin: &str) -> Option<usize> {
    text.lines().position(|line| line.starts_with(begin)).map(|at| at + 1)
}

fn check_param(name: &str, param: &Param) -> Result<(), String> {
    if KEY_COLUMNS.contains(&name) {
        return Err(format!("parameter `{name}`: `params` has a column of that name for its keys"));
    }
    let number = |value: &toml::Value| match value {
        toml::Value::Integer(value) => Some(*value as f64),
        toml::Value::Float(value) => Some(*value),
        _ => None,
    };
    let bounds = (number(&param.default), number(&param.min), number(&param.max));
    let (Some(default), Some(min), Some(max)) = bounds else {
        return Err(format!("parameter `{name}`: default, min and max have to be numbers"));
    };
    if min <= default && default <= max {
        return Ok(());
    }
    Err(format!("parameter `{name}`: default {default} lies outside {min} to {max}"))
}

/// Rules by name, in alphabetical order.
#[derive(Debug, Clone)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// Returns the rules that the binary ships with.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] when a shipped folder is broken, which a test rules out.
    pub fn embedded() -> Result<Self, Error> {
        Self::of_sources(SHIPPED, RULES)
    }

    /// Returns the checks that the binary ships with: rules about how spans are made.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] when a shipped folder is broken, which a test rules out.
    pub fn checks() -> Result<Self, Error> {
        Self::of_sources(SHIPPED_CHECKS, CHECKS)
    }

    fn of_sources(folder: &str, sources: &[RuleSource]) -> Result<Self, Error> {
        let parse = |source: &RuleSource| -> Result<Rule, Error> {
            let folder = Path::new(folder).join(source.folder);
            let rule = Rule::parse(&folder, source.manifest, source.sql, source.guide)?;
            Ok(Rule { is_shipped: true, ..rule })
        };
        Ok(Self { rules: sources.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Returns these rules and those; of two of one name those are kept.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        others.rules.into_iter().for_each(|rule| self.insert(rule));
        self
    }

    /// Returns the rules of a directory alone.
    ///
    /// # Errors
    ///
    /// As [`RuleSet::add_folder`].
    pub fn of_folder(directory: &Path) -> Result<Self, Error> {
        let mut rules = Self { rules: Vec::new() };
        rules.add_folder(directory)?;
        Ok(rules)
    }

    /// Refuses a rule that has the name of a check: settings and mutes could mean either.
    ///
    /// # Errors
    ///
    /// [`Error::Rule`] names the rule.
    pub fn check_names(&self) -> Result<(), Error> {
        let is_check = |rule: &&Rule| CHECKS.iter().any(|check| check.folder == rule.name());
        let Some(rule) = self.rules.iter().find(is_check) else { return Ok(()) };
        let reason = format!(
            "{}: a check of `timesink doctor` has that name: give it another",
            rule.folder.display()
        );
        Err(Error::Rule { rule: rule.name().to_owned(), reason })
    }

    /// Adds the rule folders of a directory; one with a shipped rule's name replaces it.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] and [`Error::Rule`] name the folder and what is wrong with it.
    pub fn add_folder(&mut self, directory: &Path) -> Result<(), Error> {
        let read_error = |path: &Path, error: &std::io::Error| Error::Read {
            path: path.to_owned(),
            reason: error.to_string(),
        };
        let entries = std::fs::read_dir(directory).map_err(|e| read_error(directory, &e))?;
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry.map_err(|e| read_error(directory, &e))?.path();
            if path.join("rule.toml").is_file() {
                folders.push(path);
            }
        }
        if folders.is_empty() {
            return Err(Error::Read {
                path: directory.to_owned(),
                reason:
                    "no folder in it holds a `rule.toml`; a rule is a folder with `rule.toml`, \
                         `rule.sql` and `README.md`"
                        .to_owned(),
            });
        }
        folders.sort();
        for folder in folders {
            let text = |file: &str| {
                let path = folder.join(file);
                std::fs::read_to_string(&path).map_err(|e| read_error(&path, &e))
            };
            let (manifest, sql, guide) =
                (text("rule.toml")?, text("rule.sql")?, text("README.md")?);
            let rule = Rule::parse(&folder, &manifest, &sql, &guide)?;
            self.insert(rule);
        }
        Ok(())
    }

    /// Returns the set of one rule.
    pub(crate) fn of(rule: Rule) -> Self {
        Self { rules: vec![rule] }
    }

    fn insert(&mut self, rule: Rule) {
        match self.rules.binary_search_by(|known| known.name().cmp(rule.name())) {
            Ok(at) => self.rules[at] = rule,
            Err(at) => self.rules.insert(at, rule),
        }
    }

    /// Returns the set with the rules of these names alone.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRule`] for the first name that no rule has.
    pub fn only(self, names: &[&str]) -> Result<Self, Error> {
        let rules =
            names.iter().map(|name| self.get(name).cloned()).collect::<Result<Vec<_>, _>>()?;
        let mut only = Self { rules: Vec::new() };
        for rule in rules {
            only.insert(rule);
        }
        Ok(only)
    }

    /// Returns every rule.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rule of that name.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRule`], with the nearest known name.
    pub fn get(&self, name: &str) -> Result<&Rule, Error> {
        self.rules.iter().find(|rule| rule.name() == name).ok_or_else(|| Error::UnknownRule {
            name: name.to_owned(),
            nearest: nearest(name, self.rules.iter().map(Rule::name)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_rules_are_whole() {
        assert!(!RuleSet::embedded().unwrap().rules().is_empty());
    }

    #[test]
    fn names_the_folder_the_file_and_the_fault() {
        let check = |change: (&str, &str), expected: &str| {
            let source = RULES[0];
            let manifest = source.manifest.replacen(change.0, change.1, 1);
            assert_ne!(manifest, source.manifest, "{change:?}");
            let folder = Path::new(SHIPPED).join(source.folder);
            let error = Rule::parse(&folder, &manifest, source.sql, source.guide);
            let error = error.unwrap_err().to_string();
            let place = format!("rule `{0}`: {SHIPPED}/{0}/rule.toml:", source.folder);
            assert!(error.starts_with(&place) && error.contains(expected), "{error}");
        };
        check(("name = \"", "name = \"not-"), "they have to be equal");
        check(("severity = \"", "severity = \"very "), "none of `info`, `warning`, `error`");
        check(("grain = \"", "grain = \"very "), "none of `trace`, `process`, `window`");
        check(("title = ", "titel = "), "unknown field `titel`");
        let param = |name: &str, default: &str| {
            format!(
                "[params.{name}]\ndefault = {default}\nmin = 1\nmax = 2\nunit = ''\n\
                 summary = ''\nreason = ''\n[params."
            )
        };
        check(("[params.", "[params.most]\n[params."), "missing field");
        check(("[params.", &param("most", "9")), "default 9 lies outside 1 to 2");
        check(("[params.", &param("most", "'1'")), "have to be numbers");
        check(("[params.", &param("endpoint", "1")), "a column of that name for its keys");
    }
}
