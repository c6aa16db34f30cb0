//! The configuration file: TOML to [`Options`], with errors that name the line and the nearest key.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use timesink_rules::nearest;

use super::Options;

/// A configuration file, read.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) options: Options,
    table: toml::Table,
}

impl File {
    /// Reads a file that has to be there.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("failed to read configuration `{}`", path.display()))?;
        Self::parse(path, &text)
    }

    /// Reads a file that may be missing.
    pub(crate) fn read_if_present(path: &Path) -> Result<Option<Self>> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            _ => Self::read(path).map(Some),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let refuse = |error: toml::de::Error| {
            anyhow!("failed to read configuration `{}`: {}", path.display(), message(&error, text))
        };
        let mut options: Options = toml::from_str(text).map_err(refuse)?;
        let table = toml::from_str(text).map_err(refuse)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for directory in &mut options.rules_dirs {
            *directory = folder.join(&*directory);
        }
        let serve = &mut options.serve;
        let files = [
            &mut serve.token_file,
            &mut serve.tls_certificate_file,
            &mut serve.tls_key_file,
            &mut serve.tls_client_roots_file,
            &mut serve.data,
        ];
        for named in files.into_iter().flatten() {
            *named = folder.join(&*named);
        }
        Ok(Self { path: path.to_owned(), options, table })
    }

    /// Returns whether the file has a value for a key such as `query.threads`.
    pub(crate) fn holds(&self, key: &str) -> bool {
        let mut parts = key.split('.');
        let first = parts.next().and_then(|part| self.table.get(part));
        parts.fold(first, |value, part| value?.as_table()?.get(part)).is_some()
    }
}

/// Returns the fault with its line, and for an unknown key the nearest known one.
fn message(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map(|span| 1 + text[..span.start].matches('\n').count());
    let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
    format!("{place}{}", reworded(error.message()))
}

/// Serde's message lists all known keys between backticks, behind the unknown one.
fn reworded(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    match names.next().filter(|_| message.starts_with("unknown field")) {
        Some(unknown) => match nearest(unknown, names) {
            Some(near) => format!("unknown key `{unknown}`; did you mean `{near}`?"),
            None => message.replacen("unknown field", "unknown key", 1),
        },
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_refusal(text: &str, expected: &str) {
        let error = File::parse(Path::new("conf/timesink.toml"), text).unwrap_err();
        let shown = error.to_string();
        let rest = shown.strip_prefix("failed to read configuration `conf/timesink.toml`: ");
        assert_eq!(rest, Some(expected));
    }

    #[test]
    fn names_the_line_and_the_nearest_key() {
        check_refusal(
            "\n[query]\nmemory_mib = 1\n",
            "line 3: unknown key `memory_mib`; did you mean `memory_mib_max`?",
        );
        check_refusal(
            "zzz = 1",
            "line 1: unknown key `zzz`, expected one of `rules_dirs`, `query`, `input`, `serve`, \
             `receiver`, `live`, `store`, `redaction`, `rules`, `mute`",
        );
        check_refusal(
            "[query]\nthreads = 'two'",
            "line 2: invalid type: string \"two\", expected u64",
        );
    }

    #[test]
    fn folders_are_relative_to_the_file() {
        let file = File::parse(Path::new("conf/timesink.toml"), "rules_dirs = ['mine', '/all']");
        let expected = [PathBuf::from("conf/mine"), PathBuf::from("/all")];
        assert_eq!(file.unwrap().options.rules_dirs, expected);
    }

    #[test]
    fn knows_which_keys_it_holds() {
        let text = "rules_dirs = []\n[query]\nthreads = 1\n[rules.some-rule]\nenabled = false";
        let file = File::parse(Path::new("timesink.toml"), text).unwrap();
        assert!(file.holds("rules_dirs") && file.holds("query.threads"));
        assert!(file.holds("rules.some-rule.enabled"));
        assert!(!file.holds("query.rows_max") && !file.holds("rules_dirs.threads"));
    }
}
