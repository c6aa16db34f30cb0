//! [`Token`]: what a request shows to be let in.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use tonic::metadata::{Ascii, MetadataValue};

use crate::Error;

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

    /// Returns what shows it, as metadata of a call.
    pub(crate) fn header(&self) -> MetadataValue<Ascii> {
        let value = format!("Bearer {}", self.0).parse();
        value.expect("`parse` took graphic characters only")
    }

    /// Returns whether the headers hold it: `Authorization: Bearer <token>` (RFC 6750, 2.1).
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let value = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
        let shown = value.and_then(|value| {
            let (scheme, secret) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then_some(secret)
        });
        shown.is_some_and(|shown| is_same(shown, self.0.as_bytes()))
    }
}

/// Compares in a time that does not tell where texts differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
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

    fn shown(value: &str) -> bool {
        let token = Token::parse("0123456789abcdef").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        token.is_shown(&headers)
    }

    #[test]
    fn only_the_whole_token_is_let_in() {
        assert!(shown("Bearer 0123456789abcdef"));
        assert!(shown("bearer 0123456789abcdef"));
        for wrong in ["0123456789abcdef", "Bearer 0123456789abcde", "Bearer", "Bearer ", "Basic x"]
        {
            assert!(!shown(wrong), "{wrong}");
        }
        let token = Token::parse("0123456789abcdef").unwrap();
        assert!(!token.is_shown(&HeaderMap::new()));
    }

    #[test]
    fn short_and_unsendable_secrets_are_refused() {
        for secret in ["", "short", "0123456789 abcdef", "0123456789\nabcdef"] {
            assert!(Token::parse(secret).is_err(), "{secret:?}");
        }
        assert_eq!(format!("{:?}", Token::parse("0123456789abcdef").unwrap()), "Token(..)");
    }
}
