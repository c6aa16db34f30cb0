//! [`Rule`] and [`RuleSet`]: rule folders, loaded; shipped ones and a user's through one loader.

use std::path::Path;

use timesink_model::Severity;

use crate::Error;
use crate::error::nearest;
use crate::manifest::{Manifest, Param};
use crate::params::KEY_COLUMNS;
use crate::registry::RULES;

/// One rule, ready to run.
#[derive(Debug, Clone)]
pub struct Rule {
    pub manifest: Manifest,
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
    pub fn parse(folder: &str, manifest: &str, sql: &str, guide: &str) -> Result<Self, Error> {
        let refuse = |reason: &str| Error::Rule {
            rule: folder.to_owned(),
            reason: format!("rule.toml: {reason}"),
        };
        let manifest: Manifest =
            toml::from_str(manifest).map_err(|error| refuse(error.to_string().trim_end()))?;
        if manifest.name != folder {
            return Err(refuse(&format!(
                "the name is `{}`, that of the folder `{folder}`: they have to be equal",
                manifest.name
            )));
        }
        let severity = Severity::parse(&manifest.severity).ok_or_else(|| {
            refuse(&format!(
                "severity `{}` is none of `info`, `warning`, `error`",
                manifest.severity
            ))
        })?;
        if !["trace", "process", "window"].contains(&manifest.grain.as_str()) {
            return Err(refuse(&format!(
                "grain `{}` is none of `trace`, `process`, `window`",
                manifest.grain
            )));
        }
        for (name, param) in &manifest.params {
            check_param(name, param).map_err(|reason| refuse(&reason))?;
        }
        Ok(Self { manifest, severity, sql: sql.to_owned(), guide: guide.to_owned() })
    }
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
        let parse = |source: &crate::registry::RuleSource| {
            Rule::parse(source.folder, source.manifest, source.sql, source.guide)
        };
        Ok(Self { rules: RULES.iter().map(parse).collect::<Result<_, _>>()? })
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
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            let guide = text("README.md")?;
            self.insert(Rule::parse(&name, &text("rule.toml")?, &text("rule.sql")?, &guide)?);
        }
        Ok(())
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
            let error = Rule::parse(source.folder, &manifest, source.sql, source.guide);
            let error = error.unwrap_err().to_string();
            let place = format!("rule `{}`: rule.toml: ", source.folder);
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
