//! [`Keys`]: who may ask for what. Of a secret only a salted hash is kept.

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

use crate::token::{is_same, shown};
use crate::{Error, Token};

/// Bytes that are hashed before a secret, so that equal secrets have different hashes.
const SALT_BYTES: usize = 16;

/// What the text of a hash begins with.
const SCHEME: &str = "sha256";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// To send spans.
    Ingest,
    /// To read page, API and metrics.
    Read,
    /// Both.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Read, Self::Admin];

    /// Returns its name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }

    fn may(self, wanted: Self) -> bool {
        self == Self::Admin || self == wanted
    }
}

/// A token by its hash: SHA-256 of a salt and the secret. A secret is random and long, so that a
/// slower hash would protect nothing more.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    name: Arc<str>,
    role: Role,
    salt: [u8; SALT_BYTES],
    hash: [u8; SHA256_OUTPUT_LEN],
}

impl Key {
    /// Makes the key of a token, with a salt of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the system has no random numbers.
    pub fn of(name: &str, role: Role, token: &Token) -> Result<Self, Error> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| Error::Start(error.into()))?;
        let hash = hash(&salt, token.secret().as_bytes());
        Ok(Self { name: name.into(), role, salt, hash })
    }

    /// Reads a key as [`Key::text`] writes it; `None` when it is none.
    pub fn parse(name: &str, role: Role, text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let (scheme, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        if scheme != SCHEME || parts.next().is_some() {
            return None;
        }
        Some(Self { name: name.into(), role, salt: bytes(salt)?, hash: bytes(hash)? })
    }

    /// Returns it as text: `sha256:`, the salt, `:`, the hash, both in hex.
    pub fn text(&self) -> String {
        format!("{SCHEME}:{}:{}", hex(&self.salt), hex(&self.hash))
    }

    /// Returns what people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns what it is for.
    pub fn role(&self) -> Role {
        self.role
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({}, {})", self.name, self.role.as_str())
    }
}

/// The keys of a server; without one, all who can reach it may ask.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<[Key]>);

impl Keys {
    /// Makes a set of keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys.into())
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key whose token headers hold: `Authorization: Bearer <token>` (RFC 6750, 2.1).
    pub(crate) fn shown(&self, headers: &HeaderMap) -> Option<&Key> {
        let secret = shown(headers)?;
        self.0.iter().find(|key| is_same(&hash(&key.salt, secret), &key.hash))
    }

    /// Returns whether a key is for something.
    pub(crate) fn allow(key: &Key, wanted: Role) -> bool {
        key.role.may(wanted)
    }
}

fn hash(salt: &[u8], secret: &[u8]) -> [u8; SHA256_OUTPUT_LEN] {
    let mut context = Context::new(&SHA256);
    context.update(salt);
    context.update(secret);
    let mut hash = [0; SHA256_OUTPUT_LEN];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// Returns bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

fn bytes<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if hex.len() != 2 * N || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn shown_as(keys: &Keys, value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        keys.shown(&headers).map(|key| key.name().to_owned())
    }

    #[test]
    fn only_the_whole_secret_is_let_in() {
        let token = Token::parse(SECRET).unwrap();
        let other = Token::parse("another secret..".replace(' ', ".").as_str()).unwrap();
        let keys = Keys::new(vec![
            Key::of("other", Role::Read, &other).unwrap(),
            Key::of("collector", Role::Ingest, &token).unwrap(),
        ]);
        assert_eq!(shown_as(&keys, "Bearer 0123456789abcdef").as_deref(), Some("collector"));
        assert_eq!(shown_as(&keys, "bearer 0123456789abcdef").as_deref(), Some("collector"));
        for wrong in [SECRET, "Bearer 0123456789abcde", "Bearer", "Bearer ", "Basic x"] {
            assert_eq!(shown_as(&keys, wrong), None, "{wrong}");
        }
        assert_eq!(keys.shown(&HeaderMap::new()), None);
        assert!(Keys::default().is_empty());
    }

    #[test]
    fn a_key_comes_back_from_its_text() {
        let token = Token::parse(SECRET).unwrap();
        let key = Key::of("collector", Role::Ingest, &token).unwrap();
        let text = key.text();
        assert!(!text.contains(SECRET) && !format!("{key:?}").contains(&hex(&key.hash)));
        assert_eq!(Key::parse("collector", Role::Ingest, &text), Some(key.clone()));
        assert_ne!(Key::of("collector", Role::Ingest, &token).unwrap().text(), text, "salted");
        for wrong in ["", "sha256", "sha256:00:11", &text[1..], &format!("{text}:"), &text[..90]] {
            assert_eq!(Key::parse("x", Role::Read, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn roles_are_for_what_they_say() {
        for (role, ingest, read) in
            [(Role::Ingest, true, false), (Role::Read, false, true), (Role::Admin, true, true)]
        {
            assert_eq!((role.may(Role::Ingest), role.may(Role::Read)), (ingest, read));
            assert_eq!(role.may(Role::Admin), role == Role::Admin);
        }
    }
}
