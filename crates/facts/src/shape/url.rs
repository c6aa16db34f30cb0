//! URLs: the parts that name an endpoint stay, ids and values become `{}`, secrets go.

use super::name::{is_hex_id, is_uuid_start};

/// The longest URL shape in bytes; a longer one ends in `…` behind its last whole part.
pub const URL_SHAPE_BYTES_MAX: usize = 1024;

/// How many query parameters are named. `…` stands for more.
const PARAMETERS_MAX: usize = 8;

/// A longer segment is data: no route is written like that.
const SEGMENT_BYTES_MAX: usize = 64;

/// So many digits at the end of a word are an id. `iso8601` has four.
const TRAILING_DIGITS_MIN: usize = 5;

/// A longer parameter name is data.
const PARAMETER_BYTES_MAX: usize = 40;

const ID: &str = "{}";

/// Stands for what is left out, also in a shape that is shaped again.
const MORE: &str = "…";

/// Returns the shape of a URL: host and port, the path with ids as `{}`, the names of its
/// parameters.
///
/// Scheme, user, password, fragment, default ports and all values are left out. Parameters are
/// sorted, so that their order does not matter. A text that is no URL gets a shape all the same.
///
/// ```
/// use timesink_facts::shape::url_shape;
///
/// let url = "https://bob:secret@Shop.example:443/v1/items/17/parts?page=2&id=9#top";
/// assert_eq!(url_shape(url), "shop.example/v1/items/{}/parts?id={}&page={}");
/// ```
pub fn url_shape(url: &str) -> String {
    let url = url.trim();
    let url = url.split_once('#').map_or(url, |(before, _)| before);
    let (url, query) = url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query)));
    let (scheme, rest) = split_scheme(url);
    let mut shape = String::with_capacity(rest.len() + 16);
    let is_slash = |c: char| c == '/' || c == '\\';
    let slashes = rest.chars().take_while(|&c| is_slash(c)).count();
    let path = match slashes {
        1 => rest,
        _ => push_authority(&mut shape, scheme, &rest[slashes.min(2)..]),
    };
    push_path(&mut shape, path);
    push_parameters(&mut shape, query.unwrap_or_default());
    cut(shape)
}

/// Splits off `https:` where two slashes follow.
fn split_scheme(url: &str) -> (&str, &str) {
    match url.split_once("://") {
        Some((scheme, _)) if scheme.bytes().all(is_scheme_part) => {
            (scheme, &url[scheme.len() + 1..])
        }
        _ => ("", url),
    }
}

fn is_scheme_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

/// Writes host and port, and returns what comes after them.
fn push_authority<'a>(shape: &mut String, scheme: &str, rest: &'a str) -> &'a str {
    let end = rest.find(['/', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split_port(host_and_port);
    let is_part = |c: &char| !c.is_control() && !c.is_whitespace();
    shape.extend(host.chars().filter(is_part).map(|c| c.to_ascii_lowercase()));
    let is_default = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => port == "80",
        "https" | "wss" => port == "443",
        _ => false,
    };
    if !port.is_empty() && !is_default {
        shape.push(':');
        shape.push_str(port);
    }
    path
}

/// Splits at the colon before the port; what is no number is no port, and may be a password.
fn split_port(authority: &str) -> (&str, &str) {
    let host_bytes = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(host_bytes);
    let port = rest.strip_prefix(':').unwrap_or_default();
    let is_port = port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    (host, if is_port { port } else { "" })
}

fn push_path(shape: &mut String, path: &str) {
    for (at, segment) in path.split(['/', '\\']).enumerate() {
        // Two slashes at the start would name a host.
        if at > 0 && shape != "/" {
            shape.push('/');
        }
        push_segment(shape, segment);
        if shape.len() > URL_SHAPE_BYTES_MAX {
            return;
        }
    }
}

fn push_parameters(shape: &mut String, query: &str) {
    let mut names: Vec<String> = query
        .split(['&', ';'])
        .filter(|parameter| !parameter.is_empty())
        // Duplicates of the first names are common, millions of names are an attack.
        .take(64 * PARAMETERS_MAX)
        .map(parameter_shape)
        .collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len() > PARAMETERS_MAX;
    names.truncate(PARAMETERS_MAX);
    if names.is_empty() {
        return;
    }
    shape.push('?');
    shape.push_str(&names.join("&"));
    if more {
        shape.push('&');
        shape.push_str(MORE);
    }
}

/// Returns `name={}`; what stands without a value may itself be one.
fn parameter_shape(parameter: &str) -> String {
    let Some((name, _)) = parameter.split_once('=') else {
        return if parameter == MORE { MORE } else { ID }.to_owned();
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.[]$:{}".contains(&b);
    let mut shape = String::new();
    if name.is_empty() || name.len() > PARAMETER_BYTES_MAX || !name.bytes().all(is_plain) {
        shape.push_str(ID);
    } else {
        push_segment(&mut shape, name);
    }
    shape.push('=');
    shape.push_str(ID);
    shape
}

fn push_segment(shape: &mut String, segment: &str) {
    let segment = segment.split_once(';').map_or(segment, |(before, _)| before);
    match segment.as_bytes() {
        b"" | b"." | b".." => shape.push_str(segment),
        _ if segment == MORE => shape.push_str(MORE),
        bytes if is_value(bytes) => shape.push_str(ID),
        _ if is_version(segment) => shape.push_str(segment),
        _ => push_pieces(shape, segment),
    }
}

/// Whether a whole segment is somebody's data.
fn is_value(bytes: &[u8]) -> bool {
    let is_template = match bytes[0] {
        b'{' => {
            let inside = &bytes[1..];
            inside.iter().position(|&b| b == b'{' || b == b'}') == inside.len().checked_sub(1)
                && inside.ends_with(b"}")
        }
        first => matches!(first, b'<' | b':'),
    };
    let is_written_by_hand = bytes.len() <= SEGMENT_BYTES_MAX
        && bytes.iter().all(|b| b.is_ascii_graphic() && !b"%@\"'`,|^".contains(b));
    let is_jwt = bytes.starts_with(b"eyJ");
    let has_digit = bytes.iter().any(u8::is_ascii_digit);
    let is_numeric =
        has_digit && bytes.iter().all(|b| b.is_ascii_digit() || b"-_.:+TZ~".contains(b));
    is_template || !is_written_by_hand || is_jwt || is_numeric || is_uuid_start(bytes)
}

/// Whether the segment is `v1`, `v2.1` or `v1beta1`.
fn is_version(segment: &str) -> bool {
    let Some(number) = segment.strip_prefix(['v', 'V']) else {
        return false;
    };
    let number = number.as_bytes();
    number.len() <= 10
        && number.first().is_some_and(u8::is_ascii_digit)
        && number.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'.')
        && number.iter().filter(|b| b.is_ascii_digit()).count() <= 4
}

/// Writes the parts of a segment between its separators, each as it is or as `{}`.
fn push_pieces(shape: &mut String, segment: &str) {
    let start = shape.len();
    let mut rest = segment;
    let mut separator = None;
    loop {
        let end = rest.find(is_separator).unwrap_or(rest.len());
        let (piece, tail) = rest.split_at(end);
        if separator == Some('(') && !piece.is_empty() || separator == Some('=') {
            shape.push_str(ID);
        } else {
            push_piece(shape, piece, separator);
        }
        // `42-some-title`: what follows an id is its title.
        let is_title = separator.is_none() && shape[start..] == *ID && tail.starts_with(['-', '_']);
        let mut chars = tail.chars();
        separator = chars.next();
        let Some(separator) = separator else {
            return;
        };
        if is_title {
            return;
        }
        shape.push(separator);
        rest = chars.as_str();
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.' | ':' | '~' | '=' | '(' | ')' | '[' | ']' | '+' | '!' | '*')
}

fn push_piece(shape: &mut String, piece: &str, separator: Option<char>) {
    let bytes = piece.as_bytes();
    let starts_with_digit = bytes.first().is_some_and(u8::is_ascii_digit);
    let is_number = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    if is_number || separator.is_some() && starts_with_digit || is_hex_id(bytes) || is_token(bytes)
    {
        shape.push_str(ID);
        return;
    }
    let digits = bytes.iter().rev().take_while(|b| b.is_ascii_digit()).count();
    if digits >= TRAILING_DIGITS_MIN {
        shape.push_str(&piece[..piece.len() - digits]);
        shape.push_str(ID);
    } else {
        shape.push_str(piece);
    }
}

/// Whether the letters and digits look drawn at random: they change class more often than words do.
fn is_token(bytes: &[u8]) -> bool {
    let class = |b: u8| (b.is_ascii_digit(), b.is_ascii_uppercase());
    let changes = bytes.windows(2).filter(|pair| class(pair[0]) != class(pair[1])).count();
    let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
    let is_short_token = bytes.len() >= 10 && changes * 2 >= bytes.len();
    let is_long_token = bytes.len() >= 20 && changes * 4 >= bytes.len();
    digits >= 2 && (is_short_token || bytes.len() >= 20) || digits == 1 && is_long_token
}

fn cut(mut shape: String) -> String {
    if shape.len() > URL_SHAPE_BYTES_MAX {
        let room = URL_SHAPE_BYTES_MAX - MORE.len();
        let end = (0..=room).rev().find(|&at| shape.is_char_boundary(at)).unwrap_or(0);
        // Half a part would be another part when it is shaped again.
        let part = shape[..end].rfind(['/', '?', '&']).map_or(end, |at| at + 1);
        shape.truncate(part);
        shape.push_str(MORE);
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: &str) {
        let shape = url_shape(url);
        assert_eq!(shape, expected, "{url}");
        assert_eq!(url_shape(&shape), shape, "{url} again");
    }

    #[test]
    fn ids_in_paths_go() {
        check("http://127.0.0.1:8190/quote/107?ms=2", "127.0.0.1:8190/quote/{}?ms={}");
        check("/users/6f9619ff-8b86-d011-b42d-00cf4fc964ff/cart", "/users/{}/cart");
        check("/t/4bf92f3577b34da6a3ce929d0e0e4736", "/t/{}");
        check("/c/deadbeef1", "/c/{}");
        check("/video/dQw4w9WgXcQ", "/video/{}");
        check("/k/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/k/{}");
        check("/a/eyJhbGciOi.eyJzdWIi.SflKxw", "/a/{}");
        check("/report/2026-11-23/2026-11-23T10:00:00Z", "/report/{}/{}");
        check("/by-mail/bob@example.org", "/by-mail/{}");
        check("/by-mail/bob%40example.org", "/by-mail/{}");
        check("/item-17/order_42/page.3", "/item-{}/order_{}/page.{}");
        check("/post/42-how-it-went", "/post/{}");
        check("/img/17.png", "/img/{}.png");
        check("/user1234567", "/user{}");
        check("/odata/Products(17)/Users('bob')", "/odata/Products({})/{}");
        check("/items/id=secret", "/items/id={}");
        check("/items/1,2,3", "/items/{}");
        check("/cart;jsessionid=0AAB6C8DE415/show", "/cart/show");
        check("/items/{item_id}/<int:part>", "/items/{}/{}");
    }

    #[test]
    fn names_in_paths_stay() {
        for path in [
            "/",
            "/v1/items",
            "/v2.1/items/",
            "/api/v1beta1/oauth2/token",
            "/shop.Inventory/Check",
            "/package.v1.Service2/GetV2Thing",
            "/static/s3/utf8/iso8601",
            "/deadbeef/facade",
            "/index/_search",
            "//double//slash",
            "/a/../b/./c",
            "/customer/getOrdersByCustomerName",
        ] {
            assert_eq!(url_shape(&format!("http://web{path}")), format!("web{path}"));
        }
        check("/v1/items", "/v1/items");
    }

    #[test]
    fn hosts_lose_what_is_secret_or_implied() {
        check("HTTPS://User:pa55@API.Example.org:443/x", "api.example.org/x");
        check("http://api:80", "api");
        check("http://api:8080", "api:8080");
        check("http://[::1]:8080/x", "[::1]:8080/x");
        check("http://[FE80::1]/x", "[fe80::1]/x");
        check("http://user:pa/ss@host/x", "user/{}/x");
        check("//cdn.example/lib.js", "cdn.example/lib.js");
        check("mailto:bob@example.org", "example.org");
        check("localhost:8000/items/1", "localhost:8000/items/{}");
        check("http://host:port/x", "host/x");
    }

    #[test]
    fn parameters_keep_their_names() {
        check("/q?b=1&a=2&b=3#f?c=4", "/q?a={}&b={}");
        check("/q?ids[0]=1&ids[1]=2", "/q?ids[{}]={}");
        check("/q?secret", "/q?{}");
        check("/q?", "/q");
        check("/q?=x&%41=1&bob@example.org=1", "/q?{}={}");
        let many: Vec<String> = ('a'..='k').map(|c| format!("{c}=1")).collect();
        let shape = url_shape(&format!("/q?{}", many.join("&")));
        assert_eq!(shape, "/q?a={}&b={}&c={}&d={}&e={}&f={}&g={}&h={}&…");
    }

    #[test]
    fn broken_urls_have_a_shape() {
        check("", "");
        check("   ", "");
        check("http://", "");
        check("http:///x", "/x");
        check("://x/1", "x/{}");
        check("http://[::1", "[");
        check("http://a b/c d", "ab/{}");
        check("\\\\server\\share\\17", "server/share/{}");
        check("http:////x/1", "/x/{}");
        let long = url_shape(&format!("http://h/{}", "a/".repeat(10_000)));
        assert!((URL_SHAPE_BYTES_MAX - 1..=URL_SHAPE_BYTES_MAX).contains(&long.len()));
        assert!(long.ends_with("/a/…"));
    }

    #[test]
    fn a_long_shape_is_its_own_shape() {
        let names: Vec<String> = (0..9).map(|at| format!("{}{at}=1", "n".repeat(39))).collect();
        for url in [
            format!("/{}", "a/".repeat(520)),
            format!("http://{}/x", "h".repeat(2000)),
            format!("/{}?{}", "ab/".repeat(300), names.join("&")),
            format!("/q?{}", names.join("&")),
            format!("/{}?a=1", "é".repeat(40)),
        ] {
            let shape = url_shape(&url);
            assert!(shape.len() <= URL_SHAPE_BYTES_MAX, "{shape}");
            assert_eq!(url_shape(&shape), shape, "{url}");
        }
    }
}
