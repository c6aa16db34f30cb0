//! [`Token`]: what a client shows to be let in.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tonic::metadata::{Ascii, MetadataValue};

use crate::Error;
use crate::keys::hex;

/// A secret of at least [`Token::LENGTH_MIN`] characters. It is never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The shortest token taken: with letters and digits over 90 bits.
    pub const LENGTH_MIN: usize = 16;

    /// Takes a secret.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] when it is too short, or no header could carry it.
    pub fn parse(secret: &str) -> Result<Self, Error> {
        let is_long_enough = secret.len() >= Self::LENGTH_MIN;
        if is_long_enough && secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(secret.to_owned()))
        } else {
            Err(Error::Token { min: Self::LENGTH_MIN })
        }
    }

    /// Makes a secret of 256 random bits.
    ///
    /// # Errors
    ///
    /// [`Error::Start`] when the system has no random numbers.
    pub fn random() -> Result<Self, Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| Error::Start(error.into()))?;
        Ok(Self(hex(&bytes)))
    }

    /// Returns what shows it, as metadata of a call.
    pub(crate) fn header(&self) -> MetadataValue<Ascii> {
        let value = format!("Bearer {}", self.0).parse();
        value.expect("`parse` took graphic characters only")
    }

    /// Returns the secret itself.
    pub fn secret(&self) -> &str {
        &self.0
    }
}

/// Returns the secret that headers hold: `Authorization: Bearer <token>` (RFC 6750, 2.1).
pub(crate) fn shown(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(secret)
}

/// Compares in a time that does not tell where texts differ.
pub(crate) fn is_same(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differ) == 0
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_unsendable_secrets_are_refused() {
        for secret in ["", "short", "0123456789 abcdef", "0123456789\nabcdef"] {
            assert!(Token::parse(secret).is_err(), "{secret:?}");
        }
        assert_eq!(format!("{:?}", Token::parse("0123456789abcdef").unwrap()), "Token(..)");
    }
}
