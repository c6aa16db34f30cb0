//! The one table of attribute spellings: under which names the value of a column arrives.
//!
//! A column takes its current name first, whatever the order of arrival, then the older names in
//! the order of [`OLDER`]. Attributes stay in the `attributes` map under the name they came with.
//! Sources: the `deprecated` registries of the OpenTelemetry semantic conventions and, for HTTP and
//! networks, their migration guides; the older names were checked against real Python spans.

use std::ops::Range;
use std::sync::LazyLock;

use arrow::datatypes::DataType;
use timesink_model::schema::spans::{Level, PROMOTED};

/// On which spans an older name has that meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    /// On SERVER spans, where the peer is the client.
    Server,
    /// On all others, where the peer is the server.
    NotServer,
}

/// How the column's value comes out of the attribute's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Take {
    AsItIs,
    /// The text before `?` (or `#`), unless empty; of an absolute URL its path.
    Path,
    /// The text between `?` and `#`, unless empty.
    Query,
    /// The path of an absolute URL.
    UrlPath,
    /// The query of an absolute URL.
    UrlQuery,
    /// `host` of `host:port` or `[host]:port`.
    Host,
    /// `port` of `host:port`.
    Port,
    /// The first text of an array.
    First,
    /// An array as its JSON, a text as it is.
    Listed,
    /// Behind `code.namespace` and a dot, where there is one.
    InNamespace,
    /// The current name of a database system.
    DbSystem,
    /// The current name of an RPC system.
    RpcSystem,
    /// The current name of a model's provider.
    GenAiProvider,
    /// The current name of a kind of messaging operation.
    MessagingOperation,
    /// The name of a gRPC status by its number.
    GrpcStatus,
    /// The version of HTTP alone: `1.1` of `HTTP/1.1`, `2` of `2.0`.
    HttpVersion,
}

struct Older {
    name: &'static str,
    current: &'static str,
    when: When,
    take: Take,
}

const fn older(name: &'static str, current: &'static str) -> Older {
    Older { name, current, when: When::Always, take: Take::AsItIs }
}

const fn server(name: &'static str, current: &'static str) -> Older {
    Older { name, current, when: When::Server, take: Take::AsItIs }
}

const fn not_server(name: &'static str, current: &'static str) -> Older {
    Older { name, current, when: When::NotServer, take: Take::AsItIs }
}

impl Older {
    const fn take(mut self, take: Take) -> Self {
        self.take = take;
        self
    }
}

/// Older names, in order of preference for each current name. A name may stand on several lines.
const OLDER: &[Older] = &[
    // The resource.
    older("deployment.environment", "deployment.environment.name"),
    // HTTP, before 1.21.
    older("http.method", "http.request.method"),
    older("http.status_code", "http.response.status_code"),
    older("http.request_content_length_uncompressed", "http.request.body.size"),
    older("http.request_content_length", "http.request.body.size"),
    older("http.response_content_length_uncompressed", "http.response.body.size"),
    older("http.response_content_length", "http.response.body.size"),
    older("http.resend_count", "http.request.resend_count"),
    older("http.retry_count", "http.request.resend_count"),
    older("http.url", "url.full"),
    older("http.target", "url.path").take(Take::Path),
    server("http.url", "url.path").take(Take::UrlPath),
    older("http.target", "url.query").take(Take::Query),
    server("http.url", "url.query").take(Take::UrlQuery),
    older("http.scheme", "url.scheme"),
    older("http.user_agent", "user_agent.original"),
    older("net.protocol.version", "network.protocol.version"),
    older("http.flavor", "network.protocol.version").take(Take::HttpVersion),
    // Networks, before 1.21. WSGI writes the port into `net.host.name` too.
    server("net.host.name", "server.address").take(Take::Host),
    not_server("net.peer.name", "server.address").take(Take::Host),
    older("http.host", "server.address").take(Take::Host),
    not_server("net.sock.peer.name", "server.address"),
    not_server("net.peer.ip", "server.address"),
    server("http.server_name", "server.address").take(Take::Host),
    server("net.host.port", "server.port"),
    not_server("net.peer.port", "server.port"),
    older("http.host", "server.port").take(Take::Port),
    server("http.client_ip", "client.address"),
    server("net.peer.name", "client.address"),
    server("net.sock.peer.addr", "client.address"),
    server("net.peer.ip", "client.address"),
    older("net.sock.peer.addr", "network.peer.address"),
    older("net.peer.ip", "network.peer.address"),
    older("net.sock.peer.port", "network.peer.port"),
    // For a while, in 1.21, each side's own socket had a name.
    not_server("server.socket.address", "network.peer.address"),
    server("client.socket.address", "network.peer.address"),
    not_server("server.socket.port", "network.peer.port"),
    server("client.socket.port", "network.peer.port"),
    server("net.peer.port", "network.peer.port"),
    // Databases, before 1.26.
    older("db.system", "db.system.name").take(Take::DbSystem),
    older("db.name", "db.namespace"),
    older("db.redis.database_index", "db.namespace"),
    older("db.cassandra.keyspace", "db.namespace"),
    older("db.hbase.namespace", "db.namespace"),
    older("db.elasticsearch.cluster.name", "db.namespace"),
    older("db.sql.table", "db.collection.name"),
    older("db.mongodb.collection", "db.collection.name"),
    older("db.cassandra.table", "db.collection.name"),
    older("db.cosmosdb.container", "db.collection.name"),
    older("db.operation", "db.operation.name"),
    older("db.statement", "db.query.text"),
    older("db.redis.pipeline_length", "db.operation.batch.size"),
    older("db.cosmosdb.status_code", "db.response.status_code"),
    // RPC.
    older("rpc.system", "rpc.system.name").take(Take::RpcSystem),
    older("rpc.grpc.status_code", "rpc.response.status_code").take(Take::GrpcStatus),
    older("rpc.connect_rpc.error_code", "rpc.response.status_code"),
    older("rpc.jsonrpc.error_code", "rpc.response.status_code"),
    // Messaging, before 1.24 and 1.26.
    older("messaging.destination", "messaging.destination.name"),
    older("messaging.operation", "messaging.operation.type").take(Take::MessagingOperation),
    older("messaging.message_id", "messaging.message.id"),
    // Code, before 1.30.
    older("code.function", "code.function.name").take(Take::InNamespace),
    older("code.filepath", "code.file.path"),
    older("code.lineno", "code.line.number"),
    // Generative AI.
    older("gen_ai.system", "gen_ai.provider.name").take(Take::GenAiProvider),
    older("gen_ai.usage.prompt_tokens", "gen_ai.usage.input_tokens"),
    older("gen_ai.usage.completion_tokens", "gen_ai.usage.output_tokens"),
    older("gen_ai.usage.cache_read_input_tokens", "gen_ai.usage.cache_read.input_tokens"),
    older("gen_ai.usage.cache_creation_input_tokens", "gen_ai.usage.cache_creation.input_tokens"),
    // The called service.
    older("peer.service", "service.peer.name"),
    // Not deprecated: what the plugin pytest-opentelemetry writes on the span of a test.
    older("pytest.nodeid", "test.case.name"),
];

/// Text and summary of a query under their current names, and what the instrumentations of Zipkin
/// call the text.
const STATEMENTS: [&str; 3] = ["db.query.text", "db.query.summary", "sql.query"];

/// How the names begin of attributes that are the parameters of a query, one each, or all together
/// as the Python instrumentations with `capture_parameters` have them.
const QUERY_PARAMETERS: [&str; 3] =
    ["db.query.parameter.", "db.operation.parameter.", "db.statement.parameters"];

/// Returns the current names of an older name; several when it was split.
pub(crate) fn current(name: &[u8]) -> impl Iterator<Item = &'static [u8]> {
    let of_name = OLDER.iter().filter(move |older| older.name.as_bytes() == name);
    of_name.map(|older| older.current.as_bytes())
}

/// Whether an attribute of a current name is the text or the summary of a query.
pub(crate) fn is_statement(name: &[u8]) -> bool {
    STATEMENTS.iter().any(|statement| statement.as_bytes() == name)
}

/// Whether an attribute is a parameter of a query.
pub(crate) fn is_query_parameter(name: &[u8]) -> bool {
    QUERY_PARAMETERS.iter().any(|parameter| name.starts_with(parameter.as_bytes()))
}

/// Values that were renamed with their attribute. What is not listed stays as it is.
const DB_SYSTEMS: &[(&str, &str)] = &[
    ("adabas", "softwareag.adabas"),
    ("cache", "intersystems.cache"),
    ("cosmosdb", "azure.cosmosdb"),
    ("db2", "ibm.db2"),
    ("dynamodb", "aws.dynamodb"),
    ("firebird", "firebirdsql"),
    ("h2", "h2database"),
    ("hanadb", "sap.hana"),
    ("informix", "ibm.informix"),
    ("ingres", "actian.ingres"),
    ("intersystems_cache", "intersystems.cache"),
    ("maxdb", "sap.maxdb"),
    ("mssql", "microsoft.sql_server"),
    ("mssqlcompact", "microsoft.sql_server"),
    ("netezza", "ibm.netezza"),
    ("oracle", "oracle.db"),
    ("redshift", "aws.redshift"),
    ("spanner", "gcp.spanner"),
];

const RPC_SYSTEMS: &[(&str, &str)] = &[("apache_dubbo", "dubbo"), ("connect_rpc", "connectrpc")];

const GEN_AI_PROVIDERS: &[(&str, &str)] = &[
    ("az.ai.inference", "azure.ai.inference"),
    ("az.ai.openai", "azure.ai.openai"),
    ("gemini", "gcp.gemini"),
    ("vertex_ai", "gcp.vertex_ai"),
    ("xai", "x_ai"),
];

const MESSAGING_OPERATIONS: &[(&str, &str)] = &[("deliver", "process"), ("publish", "send")];

/// Status codes of gRPC (semantic conventions, `rpc.grpc.status_code`): the current attribute has
/// their names.
const GRPC_STATUSES: &[(&str, &str)] = &[
    ("0", "OK"),
    ("1", "CANCELLED"),
    ("2", "UNKNOWN"),
    ("3", "INVALID_ARGUMENT"),
    ("4", "DEADLINE_EXCEEDED"),
    ("5", "NOT_FOUND"),
    ("6", "ALREADY_EXISTS"),
    ("7", "PERMISSION_DENIED"),
    ("8", "RESOURCE_EXHAUSTED"),
    ("9", "FAILED_PRECONDITION"),
    ("10", "ABORTED"),
    ("11", "OUT_OF_RANGE"),
    ("12", "UNIMPLEMENTED"),
    ("13", "INTERNAL"),
    ("14", "UNAVAILABLE"),
    ("15", "DATA_LOSS"),
    ("16", "UNAUTHENTICATED"),
];

/// Returns the current name of an older value.
pub(crate) fn renamed(take: Take, value: &[u8]) -> Option<&'static str> {
    let table = match take {
        Take::DbSystem => DB_SYSTEMS,
        Take::RpcSystem => RPC_SYSTEMS,
        Take::GenAiProvider => GEN_AI_PROVIDERS,
        Take::MessagingOperation => MESSAGING_OPERATIONS,
        Take::GrpcStatus => GRPC_STATUSES,
        _ => return None,
    };
    let line = table.iter().find(|(old, _)| old.as_bytes() == value);
    line.map(|(_, current)| *current)
}

/// One meaning of one name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meaning {
    /// The column's number among those of its level, or [`NAMESPACE`].
    pub(crate) column: u8,
    /// 0 is the current name; of two names that arrived, the lower rank is believed.
    pub(crate) rank: u8,
    pub(crate) when: When,
    pub(crate) take: Take,
}

/// The type of a promoted column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Text,
    Int,
    Bool,
}

impl ColumnKind {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Int64 => Self::Int,
            DataType::Boolean => Self::Bool,
            _ => Self::Text,
        }
    }
}

/// Columns of one level, and one number for [`NAMESPACE`]: a number is a byte.
pub(crate) const COLUMNS_MAX: usize = 128;

/// `code.namespace` has no column of its own: it goes before `code.function`.
pub(crate) const NAMESPACE: u8 = COLUMNS_MAX as u8 - 1;

/// The spellings of one level, ready for lookup.
#[derive(Debug)]
pub(crate) struct Spellings {
    /// Open addressing: a name's number plus one, 0 is a free place.
    places: Vec<u8>,
    names: Vec<(&'static [u8], Vec<Meaning>)>,
    column_kinds: Vec<ColumnKind>,
}

/// The spellings of resource attributes.
pub(crate) static RESOURCE: LazyLock<Spellings> = LazyLock::new(|| Spellings::new(Level::Resource));

/// The spellings of span attributes.
pub(crate) static SPAN: LazyLock<Spellings> = LazyLock::new(|| Spellings::new(Level::Span));

const PLACES: usize = 1024;

impl Spellings {
    fn new(level: Level) -> Self {
        let columns: Vec<_> = PROMOTED.iter().filter(|p| p.level == level).collect();
        let column_kinds = columns.iter().map(|p| ColumnKind::of(&p.data_type)).collect();
        let mut spellings = Self { places: vec![0; PLACES], names: Vec::new(), column_kinds };
        assert!(columns.len() < COLUMNS_MAX, "a number a column, and one for the namespace");
        for (column, promoted) in columns.iter().enumerate() {
            let take = match promoted.attribute {
                "host.ip" => Take::First,
                "timesink.mute.rules" => Take::Listed,
                // The attribute kept its name while two of its values got others.
                "messaging.operation.type" => Take::MessagingOperation,
                _ => Take::AsItIs,
            };
            let column = column as u8;
            let current = Meaning { column, rank: 0, when: When::Always, take };
            spellings.add(promoted.attribute, current);
            let older = OLDER.iter().filter(|o| o.current == promoted.attribute);
            for (rank, older) in (1..).zip(older) {
                let Older { when, take, .. } = *older;
                spellings.add(older.name, Meaning { column, rank, when, take });
            }
        }
        if level == Level::Span {
            let (when, take) = (When::Always, Take::AsItIs);
            spellings.add("code.namespace", Meaning { column: NAMESPACE, rank: 0, when, take });
        }
        spellings
    }

    fn add(&mut self, name: &'static str, meaning: Meaning) {
        if let Some((_, meanings)) = self.names.iter_mut().find(|(n, _)| *n == name.as_bytes()) {
            meanings.push(meaning);
            return;
        }
        self.names.push((name.as_bytes(), vec![meaning]));
        let mut place = hash(name.as_bytes());
        while self.places[place] != 0 {
            place = (place + 1) % PLACES;
        }
        self.places[place] =
            u8::try_from(self.names.len()).expect("there are fewer than 255 spellings");
    }

    pub(crate) fn column_kind(&self, column: u8) -> ColumnKind {
        self.column_kinds[usize::from(column)]
    }

    /// Returns what `name` means, nothing for most names.
    pub(crate) fn meanings(&self, name: &[u8]) -> &[Meaning] {
        let mut place = hash(name);
        loop {
            let number = self.places[place];
            if number == 0 {
                return &[];
            }
            let (candidate, meanings) = &self.names[usize::from(number) - 1];
            if *candidate == name {
                return meanings;
            }
            place = (place + 1) % PLACES;
        }
    }
}

/// A hash of the length, the first and the last eight bytes: names differ there.
fn hash(name: &[u8]) -> usize {
    let (first, last) = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
        _ => (name.iter().fold(0, |h, b| h << 8 | u64::from(*b)), 0),
    };
    let mixed =
        (first ^ last.rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> (64 - PLACES.trailing_zeros())) as usize
}

/// Returns where in `value` the part lies that `take` names; `None` when it is not there.
pub(crate) fn cut(take: Take, value: &[u8]) -> Option<Range<usize>> {
    let part = match take {
        Take::Path => path(value, start_of_path(value)),
        Take::Query => query(value, 0)?,
        Take::UrlPath => path(value, end_of_authority(value)?),
        Take::UrlQuery => query(value, end_of_authority(value)?)?,
        Take::Host => return Some(host_and_port(value).0),
        Take::Port => host_and_port(value).1?,
        Take::HttpVersion => http_version(value),
        _ => return Some(0..value.len()),
    };
    (!part.is_empty()).then_some(part)
}

/// A request target is a path mostly, and an absolute URL in requests to a proxy (RFC 9112, section
/// 3.2.2).
fn start_of_path(target: &[u8]) -> usize {
    let scheme = memchr::memchr(b':', target).map_or(&[][..], |colon| &target[..colon]);
    let has_scheme = !scheme.is_empty() && scheme.iter().all(u8::is_ascii_alphanumeric);
    let absolute = if has_scheme { end_of_authority(target) } else { None };
    absolute.unwrap_or_default()
}

fn http_version(flavor: &[u8]) -> Range<usize> {
    const NAME: &[u8] = b"HTTP/";
    let named = flavor.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME));
    let start = if named { NAME.len() } else { 0 };
    let end = match &flavor[start..] {
        b"2.0" | b"3.0" => start + 1,
        version => start + version.len(),
    };
    start..end
}

fn path(target: &[u8], start: usize) -> Range<usize> {
    let rest = &target[start..];
    start..start + memchr::memchr2(b'?', b'#', rest).unwrap_or(rest.len())
}

fn query(target: &[u8], start: usize) -> Option<Range<usize>> {
    let end = memchr::memchr(b'#', target).unwrap_or(target.len());
    let mark = memchr::memchr(b'?', target.get(start..end)?)?;
    Some(start + mark + 1..end)
}

/// Where the authority of an absolute URL ends; `None` when there is no authority.
fn end_of_authority(url: &[u8]) -> Option<usize> {
    let authority = memchr::memmem::find(url, b"://")? + 3;
    let rest = &url[authority..];
    let length = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#'));
    Some(authority + length.unwrap_or(rest.len()))
}

/// Splits `host:port`. A bare IPv6 address has more than one colon and no port.
fn host_and_port(value: &[u8]) -> (Range<usize>, Option<Range<usize>>) {
    let end = value.len();
    if value.first() == Some(&b'[')
        && let Some(close) = memchr::memchr(b']', value)
    {
        let port = (value.get(close + 1) == Some(&b':')).then_some(close + 2..end);
        return (1..close, port);
    }
    match (memchr::memchr(b':', value), memchr::memrchr(b':', value)) {
        (Some(first), Some(last)) if first == last => (0..first, Some(first + 1..end)),
        _ => (0..end, None),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_older_name_leads_to_a_column() {
        for older in OLDER {
            let known = PROMOTED.iter().any(|p| p.attribute == older.current);
            assert!(known, "{} has no column", older.current);
            // One older name has a column besides: whether it is there tells WSGI from ASGI.
            let is_current = PROMOTED.iter().any(|p| p.attribute == older.name);
            assert!(!is_current || older.name == "http.target", "{} is a current name", older.name);
        }
    }

    #[test]
    fn no_line_of_the_table_is_said_twice() {
        let lines: BTreeSet<_> =
            OLDER.iter().map(|o| (o.name, o.current, format!("{:?}", o.when))).collect();
        assert_eq!(lines.len(), OLDER.len());
    }

    #[test]
    fn every_name_is_found_and_no_other() {
        for spellings in [&*RESOURCE, &*SPAN] {
            for (name, meanings) in &spellings.names {
                assert_eq!(spellings.meanings(name).len(), meanings.len());
                let longer = [name, &b"x"[..]].concat();
                assert!(spellings.meanings(&longer).is_empty());
                assert!(spellings.meanings(&name[1..]).is_empty());
            }
            assert!(spellings.meanings(b"").is_empty());
        }
    }

    #[test]
    fn values_are_renamed_with_their_attribute_only() {
        assert_eq!(renamed(Take::DbSystem, b"mssql"), Some("microsoft.sql_server"));
        assert_eq!(renamed(Take::DbSystem, b"postgresql"), None);
        assert_eq!(renamed(Take::AsItIs, b"mssql"), None);
    }

    #[test]
    fn cuts_targets_urls_and_hosts() {
        let check = |take, value: &str, expected: Option<&str>| {
            let part = cut(take, value.as_bytes()).map(|part| &value[part]);
            assert_eq!(part, expected, "{value}");
        };
        check(Take::Path, "/a/b?c=d#e", Some("/a/b"));
        check(Take::Path, "?c=d", None);
        check(Take::Path, "http://h:1/a?b=/c", Some("/a"));
        check(Take::Path, "http://h", None);
        check(Take::Path, "/go?to=http://h/x", Some("/go"));
        check(Take::Path, "go?to=http://h/x", Some("go"));
        check(Take::Path, "//a", Some("//a"));
        check(Take::Path, "*", Some("*"));
        check(Take::Query, "http://h:1/a?b=/c", Some("b=/c"));
        check(Take::HttpVersion, "1.1", Some("1.1"));
        check(Take::HttpVersion, "HTTP/1.1", Some("1.1"));
        check(Take::HttpVersion, "http/2.0", Some("2"));
        check(Take::HttpVersion, "3.0", Some("3"));
        check(Take::HttpVersion, "QUIC", Some("QUIC"));
        check(Take::HttpVersion, "HTTP/", None);
        check(Take::Query, "/a/b?c=d?#e", Some("c=d?"));
        check(Take::Query, "/a/b#e?f", None);
        check(Take::Query, "/a/b?", None);
        check(Take::UrlPath, "http://h:1/a?b", Some("/a"));
        check(Take::UrlPath, "http://h?b=/c", None);
        check(Take::UrlPath, "/a", None);
        check(Take::UrlQuery, "http://h?b=/c", Some("b=/c"));
        check(Take::Host, "127.0.0.1:80", Some("127.0.0.1"));
        check(Take::Host, "::1", Some("::1"));
        check(Take::Host, "[::1]:80", Some("::1"));
        check(Take::Port, "[::1]:80", Some("80"));
        check(Take::Port, "host", None);
        check(Take::Port, "host:", None);
    }
}
