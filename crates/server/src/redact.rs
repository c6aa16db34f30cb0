//! What is hidden of spans, with the key of a data directory.
//!
//! The same value gives the same token as long as the key is the same: so it is kept beside the
//! log, readable by its owner alone. A server without a data directory has a key of its own.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use timesink_otlp::{Redaction, RedactionKey};
use timesink_store::{PRIVATE, write_whole};

use crate::{Error, RedactionRules};

/// The file of the key in a data directory.
const FILE: &str = "redaction.key";

/// Bytes of a key; the file has two hex digits for each.
const KEY_BYTES: usize = 16;

/// Returns how spans are redacted, if they are; without a data directory by a key of its own.
///
/// # Errors
///
/// [`Error::RedactionKey`] when the key of the data directory cannot be read or made.
pub fn redaction(
    rules: Option<&RedactionRules>,
    data: Option<&Path>,
) -> Result<Option<Arc<Redaction>>, Error> {
    let hides = |rules: &&RedactionRules| rules.masks_statements || !rules.attributes.is_empty();
    let Some(rules) = rules.filter(hides) else { return Ok(None) };
    let key = match data {
        Some(data) => {
            key(data).map_err(|cause| Error::RedactionKey { path: data.join(FILE), cause })?
        }
        None => random().map_err(Error::Start)?,
    };
    Ok(Some(with_key(rules, key)))
}

/// Returns how statements are masked for who has them anyway: the same in each run, by a key that
/// everybody knows, so that short values can be guessed.
pub fn masking() -> Arc<Redaction> {
    let rules = RedactionRules { masks_statements: true, attributes: Vec::new() };
    with_key(&rules, [0; KEY_BYTES])
}

fn with_key(rules: &RedactionRules, key: [u8; KEY_BYTES]) -> Arc<Redaction> {
    let masked: timesink_otlp::MaskStatement = timesink_facts::shape::masked_statement;
    Arc::new(Redaction {
        key: RedactionKey::new(key),
        rules: rules.attributes.clone(),
        statements: rules.masks_statements.then_some(masked),
    })
}

/// Reads the key of a data directory, or makes one.
fn key(data: &Path) -> std::io::Result<[u8; KEY_BYTES]> {
    match std::fs::read_to_string(data.join(FILE)) {
        Ok(text) => parse(text.trim()).ok_or_else(|| {
            std::io::Error::new(ErrorKind::InvalidData, "it has not 32 hexadecimal digits")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = random()?;
            let digits = format!("{:032x}\n", u128::from_be_bytes(key));
            write_whole(data, FILE, &digits, PRIVATE)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn random() -> std::io::Result<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key)?;
    Ok(key)
}

fn parse(digits: &str) -> Option<[u8; KEY_BYTES]> {
    let is_whole = digits.len() == 2 * KEY_BYTES;
    let number = is_whole.then(|| u128::from_str_radix(digits, 16).ok()).flatten();
    number.map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_keeps_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let first = key(folder.path()).unwrap();
        assert_eq!(key(folder.path()).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "no key").unwrap();
        assert_eq!(key(folder.path()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn without_rules_nothing_is_hidden() {
        assert!(redaction(None, None).unwrap().is_none());
        assert!(redaction(Some(&RedactionRules::default()), None).unwrap().is_none());
        let masking = RedactionRules { masks_statements: true, ..RedactionRules::default() };
        assert!(redaction(Some(&masking), None).unwrap().is_some());
    }
}
