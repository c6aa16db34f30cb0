//! Other names for services, routes and hosts, the same wherever they stand.
//!
//! A name's letters become others, one for one, so that no two names become one and each keeps its
//! shape: method, segments, placeholders, ids and queries of a route stay where they are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::labels::Label;
use super::spans::{
    SERVER, attribute, each_resource, each_span, field, is_kind, put_texts, services, spans, text,
};

/// Attributes that name a peer or a host, with or without a port.
const ADDRESSES: [&str; 10] = [
    "peer.service",
    "service.peer.name",
    "server.address",
    "net.peer.name",
    "net.sock.peer.name",
    "net.host.name",
    "network.peer.address",
    "net.peer.ip",
    "http.host",
    "http.server_name",
];

/// Attributes that are URLs.
const URLS: [&str; 2] = ["url.full", "http.url"];

/// Attributes that are paths, with or without a query.
const PATHS: [&str; 4] = ["url.path", "http.target", "http.route", "url.template"];

/// What a span's name begins with that is behind it a route.
const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

/// On these the name is that of a statement.
const DATABASES: [&str; 2] = ["db.system.name", "db.system"];

const LOOPBACK: &str = "127.0.0.1";
const OTHER_LOOPBACK: &str = "127.0.0.2";

/// Gives services other names, in their resources and wherever they are a peer or a host.
pub(super) fn rename_services(messages: &mut [Value], other: impl Fn(&str) -> String) {
    let services = services(messages);
    let host = |host: &str| {
        let (first, rest) = host.split_at(host.find(['.', ':']).unwrap_or(host.len()));
        if services.contains(first) { other(first) + rest } else { host.to_owned() }
    };
    rename_hosts(messages, host);
    each_resource(messages, |resource| {
        put_texts(resource, |key, name| (key == "service.name").then(|| other(name)));
    });
}

/// Gives hosts names that no other recording has.
pub(super) fn other_hosts(messages: &mut [Value]) {
    rename_hosts(messages, |host| match host.strip_prefix(LOOPBACK) {
        Some(port) => format!("{OTHER_LOOPBACK}{port}"),
        None => format!("other-{host}"),
    });
}

fn rename_hosts(messages: &mut [Value], other: impl Fn(&str) -> String) {
    each_span(messages, |_, span| {
        put_texts(span, |key, text| {
            let is_url = URLS.contains(&key);
            let url = is_url.then(|| map_url(text, &other, str::to_owned));
            url.or_else(|| ADDRESSES.contains(&key).then(|| other(text)))
        });
    });
}

/// Gives services and routes other names; returns the words that became others.
pub(super) fn rename(messages: &mut [Value]) -> BTreeSet<String> {
    let words = words(messages);
    rename_services(messages, other_word);
    each_span(messages, |_, span| {
        if let Some(name) = other_span_name(span) {
            span["name"] = Value::String(name);
        }
        put_texts(span, |key, text| {
            let is_url = URLS.contains(&key);
            let url = is_url.then(|| map_url(text, str::to_owned, other_path));
            url.or_else(|| PATHS.contains(&key).then(|| other_path(text)))
        });
    });
    words
}

/// Gives a label the names that its recording has now.
pub(super) fn rename_label(label: &mut Label, words: &BTreeSet<String>) {
    label.put("root_span", other_name(label.get("root_span")));
    label.put("service", other_word(label.get("service")));
    let pattern = label.get("subject_like").to_owned();
    let other = other_pattern(&pattern, words);
    if other != pattern {
        // A word may be that of a table, too, which keeps its name.
        label.put("subject_like", format!("{pattern}|{other}"));
    }
}

/// Returns all words that name services and segments of paths.
fn words(messages: &[Value]) -> BTreeSet<String> {
    let mut words = services(messages);
    for (_, span) in spans(messages) {
        let urls = URLS.map(|key| path_of(text(span, key)));
        let paths = PATHS.map(|key| text(span, key));
        let segments = urls.into_iter().chain(paths).flat_map(segments);
        words.extend(segments.filter(|segment| is_word(segment)).map(str::to_owned));
    }
    words
}

fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("", |begin| &rest[begin..])
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split(['?', '#']).next().unwrap_or_default().split('/')
}

/// Returns the other name of a span that is named after a route.
fn other_span_name(span: &Value) -> Option<String> {
    if DATABASES.iter().any(|key| attribute(span, key).is_some()) {
        return None;
    }
    let name = field(span, "name");
    // A route of Django has no slash before it, and need not have one in it.
    (name.contains('/') || is_kind(span, SERVER)).then(|| other_name(name))
}

/// Returns `GET /beqref/{id} http send` of `GET /orders/{id} http send`, and other names as they
/// are.
fn other_name(name: &str) -> String {
    match name.split_once(' ') {
        Some((method, rest)) if METHODS.contains(&method) => {
            let (path, rest) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
            format!("{method} {}{rest}", other_path(path))
        }
        _ => name.to_owned(),
    }
}

fn other_path(target: &str) -> String {
    let (path, query) = target.split_at(target.find(['?', '#']).unwrap_or(target.len()));
    path.split('/').map(other_segment).collect::<Vec<_>>().join("/") + query
}

fn other_segment(segment: &str) -> String {
    if is_word(segment) { other_word(segment) } else { segment.to_owned() }
}

/// Returns whether a segment is a word: not an id, a placeholder or a pattern, which stay. What a
/// word becomes is a word, so that none becomes what another stays.
fn is_word(segment: &str) -> bool {
    let is_of_words = |char: char| char.is_ascii_alphabetic() || "-_.~".contains(char);
    segment.chars().all(is_of_words) && segment.chars().any(|char| char.is_ascii_alphabetic())
}

/// Returns a word with each letter 13 places further in the alphabet.
fn other_word(word: &str) -> String {
    let turned = |byte: u8, first: u8| char::from(first + (byte - first + 13) % 26);
    let other = |char: char| match char {
        'a'..='z' => turned(char as u8, b'a'),
        'A'..='Z' => turned(char as u8, b'A'),
        _ => char,
    };
    word.chars().map(other).collect()
}

/// Returns a regular expression that looks for other words.
fn other_pattern(pattern: &str, words: &BTreeSet<String>) -> String {
    let (mut other, mut rest) = (String::new(), pattern);
    while let Some(char) = rest.chars().next() {
        let is_of_word = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
        let length = if char == '\\' {
            // An escape is no word.
            char.len_utf8() + rest.chars().nth(1).map_or(0, char::len_utf8)
        } else {
            let length = rest.find(|char: char| !is_of_word(char)).unwrap_or(rest.len());
            length.max(char.len_utf8())
        };
        let (part, behind) = rest.split_at(length);
        let is_known = char != '\\' && words.contains(part);
        other += &if is_known { other_word(part) } else { part.to_owned() };
        rest = behind;
    }
    other
}

/// Returns a URL with another host, which may have a port, and another path; what has no host is a
/// path.
fn map_url(url: &str, host: impl Fn(&str) -> String, path: impl Fn(&str) -> String) -> String {
    let is_scheme = |text: &str| text.chars().all(|char| char.is_ascii_alphanumeric());
    match url.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, target) = rest.split_at(end);
            format!("{scheme}://{}{}", host(authority), path(target))
        }
        _ => path(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metamorphic::spans::service;
    use crate::metamorphic::spans::tests::tiny;

    #[test]
    fn services_and_routes_get_other_names_everywhere() {
        let mut messages = tiny();
        let words = rename(&mut messages);
        assert_eq!(words.into_iter().collect::<Vec<_>>(), ["items", "shop", "stock"]);
        let seen: Vec<[&str; 3]> = spans(&messages)
            .map(|(resource, span)| {
                [service(resource), field(span, "name"), text(span, "http.url")]
            })
            .collect();
        let url = "http://fgbpx/vgrzf/7?a=b";
        assert_eq!(seen[0], ["fubc", "GET /pnegf/{id}", url]);
        assert_eq!(seen[1], ["fubc", "GET", url]);
        assert_eq!(seen[3], ["fgbpx", "GET /vgrzf/{i}", url]);
    }

    #[test]
    fn renaming_is_injective() {
        let names = [
            "orders",
            "beqref",
            "Orders",
            "order-items",
            "order_items",
            "v1",
            "i1",
            "{id}",
            "{vq}",
            "<int:oid>",
            "7",
            "a",
            "n",
            "n1",
            "report.html",
            "",
            "*",
        ];
        let paths: BTreeSet<String> = names.iter().map(|name| other_segment(name)).collect();
        assert_eq!(paths.len(), names.len());
        let services: BTreeSet<String> = names.iter().map(|name| other_word(name)).collect();
        assert_eq!(services.len(), names.len());
        for name in names {
            assert_eq!(other_word(&other_word(name)), name);
        }
    }

    #[test]
    fn a_route_keeps_its_shape() {
        let check = |name: &str, expected: &str| assert_eq!(other_name(name), expected);
        check("GET api/orders/<int:oid>", "GET ncv/beqref/<int:oid>");
        check("GET /items/{i} http send", "GET /vgrzf/{i} http send");
        check("SELECT shop", "SELECT shop");
        check("run/billing.send_invoice", "run/billing.send_invoice");
        assert_eq!(other_path("/quote/1?ms=50"), "/dhbgr/1?ms=50");
        assert_eq!(path_of("http://127.0.0.1:81/quote/1"), "/quote/1");
        assert_eq!(map_url("/a?u=http://x", str::to_owned, other_path), "/n?u=http://x");
    }

    #[test]
    fn a_pattern_looks_for_the_other_words() {
        let words = BTreeSet::from(["orders", "pricing", "b", "quote"].map(str::to_owned));
        let check = |pattern: &str, expected: &str| {
            assert_eq!(other_pattern(pattern, &words), expected);
        };
        check("orders.*pricing", "beqref.*cevpvat");
        check(r"\bGET\b", r"\bGET\b");
        check("requests|/quote", "requests|/dhbgr");
        check("order_items|\u{fc}", "order_items|\u{fc}");
    }

    #[test]
    fn hosts_that_are_services_go_with_them() {
        let mut messages = tiny();
        rename_services(&mut messages, |name| format!("{name}-2"));
        let url = |messages: &[Value]| {
            spans(messages).map(|(_, span)| text(span, "http.url").to_owned()).next()
        };
        assert_eq!(url(&messages).as_deref(), Some("http://stock-2/items/7?a=b"));
        other_hosts(&mut messages);
        assert_eq!(url(&messages).as_deref(), Some("http://other-stock-2/items/7?a=b"));
    }
}
