//! Who may ask: whoever shows a token. And that a page of another site does not ask through a
//! browser.
//!
//! Without a token a server listens on this machine alone, but a browser on it sends what any page
//! wants. A page of another site names that site as `Origin`; and one whose name was rebound to
//! 127.0.0.1 (DNS rebinding) names its own host as `Host`. Both are refused.

use http::header::{HOST, ORIGIN};
use http::request::Parts;

use crate::answer::Refusal;
use crate::keys::{Key, Keys, Role};

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// It has to show a token.
    Token,
    /// Its token is for something else.
    Role,
    /// It names a host that is not this machine.
    Host,
    /// A page of another site sent it.
    Origin,
}

impl Denied {
    /// Returns the refusal of an export.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Token => Refusal::Unauthenticated(self.message()),
            Self::Role | Self::Host | Self::Origin => Refusal::Forbidden(self.message()),
        }
    }

    /// Returns what to tell whoever asked.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Token => {
                "expected the header `Authorization: Bearer TOKEN` with a token of this server"
            }
            Self::Role => {
                "this token is for something else: to send spans takes the role `ingest`, to read \
                 the page, the API and metrics `read`, and `admin` is for both"
            }
            Self::Host => {
                "the `Host` of this request is not this machine: without a token only `localhost` \
                 and loopback addresses are served"
            }
            Self::Origin => "requests of pages of other sites are refused",
        }
    }
}

/// Checks a request against the keys, or without one against where it claims to come from; clients
/// that have shown a certificate may ask from anywhere. Returns the key whose token it shows, if
/// there are any.
pub(crate) fn check<'k>(
    parts: &Parts,
    keys: &'k Keys,
    wanted: Role,
    is_certified: bool,
) -> Result<Option<&'k Key>, Denied> {
    if keys.is_empty() {
        let checked = if is_certified { check_site(parts) } else { check_names(parts) };
        return checked.map(|()| None);
    }
    let key = keys.shown(&parts.headers).ok_or(Denied::Token)?;
    if Keys::allow(key, wanted) { Ok(Some(key)) } else { Err(Denied::Role) }
}

/// A browser shows its certificate for any page: only pages of this server may ask through it.
fn check_site(parts: &Parts) -> Result<(), Denied> {
    let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(|| header(HOST));
    match header(ORIGIN) {
        None => Ok(()),
        Some(origin) if origin.split_once("://").map(|(_, site)| site) == host => Ok(()),
        Some(_) => Err(Denied::Origin),
    }
}

fn check_names(parts: &Parts) -> Result<(), Denied> {
    let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // HTTP/2 has `:authority` in its place (RFC 9113, 8.3.1).
    let host = parts.uri.authority().map(http::uri::Authority::as_str).or_else(|| header(HOST));
    if !host.is_none_or(is_this_machine) {
        return Err(Denied::Host);
    }
    match header(ORIGIN) {
        None => Ok(()),
        Some(origin) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            if host.is_some_and(is_this_machine) { Ok(()) } else { Err(Denied::Origin) }
        }
    }
}

/// Returns whether `host` or `host:port` is a name of this machine that no one else can give away.
fn is_this_machine(host: &str) -> bool {
    let without_port = match host.strip_prefix('[') {
        // `[address]` or `[address]:port`, and nothing else.
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => return false,
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let address = without_port.parse::<std::net::IpAddr>();
    // `*.localhost` never leaves the machine either (RFC 6761, 6.3).
    let name = without_port.trim_end_matches('.').to_ascii_lowercase();
    address.is_ok_and(|address| address.is_loopback())
        || name == "localhost"
        || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::Token;

    fn checked(headers: &[(&str, &str)]) -> Result<(), Denied> {
        let mut request = Request::post("/v1/traces");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        check(&parts, &Keys::default(), Role::Ingest, false).map(drop)
    }

    #[test]
    fn names_of_this_machine_are_served() {
        for host in [
            "localhost",
            "localhost:4318",
            "127.0.0.1:4318",
            "127.1.2.3",
            "[::1]:4318",
            "LocalHost.",
        ] {
            assert_eq!(checked(&[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(checked(&[]), Ok(()));
        assert_eq!(checked(&[("origin", "http://localhost:4319")]), Ok(()));
    }

    #[test]
    fn rebound_names_and_other_sites_are_refused() {
        for host in [
            "evil.example",
            "evil.example:4318",
            "127.0.0.1.evil.example",
            "[127.0.0.1].evil.example",
            "[::1",
            "",
        ] {
            assert_eq!(checked(&[("host", host)]), Err(Denied::Host), "{host}");
        }
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(checked(&headers), Err(Denied::Origin), "{origin}");
        }
        let authority = Request::post("http://evil.example/v1/traces").body(()).unwrap();
        let parts = authority.into_parts().0;
        assert_eq!(check(&parts, &Keys::default(), Role::Read, false), Err(Denied::Host));
    }

    #[test]
    fn with_a_certificate_any_host_may_be_asked_but_not_by_other_sites() {
        let checked = |origin: Option<&str>| {
            let mut request = Request::get("/").header("host", "shop.example:4319");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let parts = request.body(()).unwrap().into_parts().0;
            check(&parts, &Keys::default(), Role::Read, true).map(drop)
        };
        assert_eq!(checked(None), Ok(()));
        assert_eq!(checked(Some("https://shop.example:4319")), Ok(()));
        assert_eq!(checked(Some("https://evil.example")), Err(Denied::Origin));
        assert_eq!(checked(Some("null")), Err(Denied::Origin));
    }

    #[test]
    fn with_keys_it_is_the_token_that_counts() {
        let token = Token::parse("0123456789abcdef").unwrap();
        let key = Key::of("collector", Role::Ingest, &token).unwrap();
        let keys = Keys::new(vec![key.clone()]);
        let request = |value: &str| {
            let request = Request::get("/").header("host", "shop.example");
            request.header("authorization", value).body(()).unwrap().into_parts().0
        };
        let good = request("Bearer 0123456789abcdef");
        assert_eq!(check(&good, &keys, Role::Ingest, true), Ok(Some(&key)));
        assert_eq!(check(&good, &keys, Role::Read, true), Err(Denied::Role));
        let wrong = request("Bearer nonsense");
        assert_eq!(check(&wrong, &keys, Role::Ingest, true), Err(Denied::Token));
    }
}
