//! What a span does, in words that hold for all like it: query shapes and operations.

use hashbrown::HashMap;

use crate::intern::{Interner, Sym};
use crate::rows::{Kind, Rows};
use crate::shape::{Statement, read_statement, url_shape};
use crate::sparse::Sparse;

/// The scopes of the standard instrumentations; the last segment names the library.
const INSTRUMENTATION_PREFIX: &str = "opentelemetry.instrumentation.";

/// The longest operation in bytes; a finding's first line should fit a terminal.
const OPERATION_BYTES_MAX: usize = 160;

/// What asyncpg sends when a connection goes back to its pool; as the neighbour of a gap nobody
/// knows it by its statement.
// tidy-allow(sql): asyncpg's own statement, told by how it begins.
const POOL_RESET: (&str, &str) = ("SELECT pg_advisory_unlock_all", "pool reset");

#[derive(Debug)]
pub(crate) struct Meaning {
    /// Query shape, or method and URL shape of a call; the empty text for other spans.
    pub(crate) shape: Vec<Sym>,
    /// Of the statement's literals; none without a statement or without a literal in it.
    pub(crate) literals_hash: Sparse<i64>,
    /// The statement asks for many rows at once.
    pub(crate) is_batch: Vec<bool>,
    /// What a person calls it.
    pub(crate) operation: Vec<Sym>,
    pub(crate) texts: Interner,
}

impl Meaning {
    pub(crate) fn read(rows: &Rows) -> Self {
        let mut reader = Reader { rows, texts: Interner::new(), shapes: HashMap::new() };
        let mut literals_hash = Sparse::new(rows.len());
        let mut is_batch = Vec::with_capacity(rows.len());
        let mut shape = Vec::with_capacity(rows.len());
        for at in 0..rows.len() {
            let known = reader.shape(at);
            shape.push(known.text);
            if let Some(hash) = known.literals_hash {
                literals_hash.set(at, hash);
            }
            is_batch.push(known.is_batch);
        }
        let mut operations = HashMap::new();
        let operation = (0..rows.len())
            .map(|at| {
                let key = (rows.scope[at], rows.name[at], shape[at], says_itself(rows.kind[at]));
                *operations.entry(key).or_insert_with(|| reader.operation(at, shape[at]))
            })
            .collect();
        Self { shape, literals_hash, is_batch, operation, texts: reader.texts }
    }
}

struct Reader<'r> {
    rows: &'r Rows,
    texts: Interner,
    /// By what a shape is made of: the kind of statement and its two texts.
    shapes: HashMap<(Source, Sym, Sym), Shape>,
}

/// What is known of all spans with one text.
#[derive(Debug, Clone, Copy)]
struct Shape {
    text: Sym,
    literals_hash: Option<i64>,
    is_batch: bool,
}

impl Shape {
    const NONE: Self = Self { text: Sym(0), literals_hash: None, is_batch: false };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Query,
    Rpc,
    Http,
}

impl Reader<'_> {
    fn shape(&mut self, at: usize) -> Shape {
        let rows = self.rows;
        let texts = &mut self.texts;
        let mut known = |key, make: &dyn Fn() -> Statement| {
            *self.shapes.entry(key).or_insert_with(|| {
                let Statement { shape, literals_hash, is_batch } = make();
                Shape { text: texts.intern(&shape), literals_hash, is_batch }
            })
        };
        if rows.db_query[at] != Sym(0) {
            let key = (Source::Query, rows.db_system[at], rows.db_query[at]);
            let system = rows.text(rows.db_system[at]);
            let system = (!system.is_empty()).then_some(system);
            return known(key, &|| read_statement(system, rows.text(rows.db_query[at])));
        }
        if rows.rpc_method[at] != Sym(0) {
            let key = (Source::Rpc, rows.rpc_service[at], rows.rpc_method[at]);
            let call = || rpc_call(rows.text(rows.rpc_service[at]), rows.text(rows.rpc_method[at]));
            return known(key, &|| Statement::call(call()));
        }
        if rows.kind[at] == Kind::Client && rows.url[at] != Sym(0) {
            let key = (Source::Http, rows.http_method[at], rows.url[at]);
            let method = rows.text(rows.http_method[at]);
            let call = || http_call(method, rows.text(rows.url[at]));
            return known(key, &|| Statement::call(call()));
        }
        Shape::NONE
    }

    fn operation(&mut self, at: usize, shape: Sym) -> Sym {
        let rows = self.rows;
        let library = rows.text(rows.scope[at]).strip_prefix(INSTRUMENTATION_PREFIX);
        let name = rows.text(rows.name[at]);
        let what = match self.texts.text(shape) {
            "" => name,
            shape if shape.starts_with(POOL_RESET.0) => POOL_RESET.1,
            shape => shape,
        };
        let text = match library {
            Some(library) if !says_itself(rows.kind[at]) => format!("{library} {what}"),
            _ => what.to_owned(),
        };
        self.texts.intern(&cut(text))
    }
}

/// Whether the names of such spans say what runs; a client span's is just `GET` or `SELECT`.
fn says_itself(kind: Kind) -> bool {
    matches!(kind, Kind::Internal | Kind::Server | Kind::Other)
}

fn rpc_call(service: &str, method: &str) -> String {
    if service.is_empty() { method.to_owned() } else { format!("{service}/{method}") }
}

fn http_call(method: &str, url: &str) -> String {
    let shape = url_shape(url);
    if method.is_empty() { shape } else { format!("{method} {shape}") }
}

fn cut(mut text: String) -> String {
    if text.len() > OPERATION_BYTES_MAX {
        let end = (0..=OPERATION_BYTES_MAX).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::query_shape;
    use crate::test_support::{Pass, Span, span};

    fn check(span: Span, shape: Option<&str>, operation: &str) {
        let spans = [Span { id: 1, ..span }];
        let pass = Pass::over(&spans);
        assert_eq!(pass.text(1, "query_shape"), shape, "{spans:?}");
        assert_eq!(pass.text(1, "operation"), Some(operation), "{spans:?}");
    }

    fn client(library: &str) -> Span {
        span(1, 0, 0, 1).client().scope(library).named("GET")
    }

    #[test]
    fn a_query_is_told_by_its_shape() {
        let query = span(1, 0, 0, 1).query("SELECT a FROM b WHERE c = 7");
        check(query, Some("SELECT a FROM b WHERE c = ?"), "psycopg SELECT a FROM b WHERE c = ?");
    }

    #[test]
    fn the_reset_of_a_pooled_connection_has_a_name() {
        let text = "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;";
        let reset = span(1, 0, 0, 1).query(text).scope("asyncpg");
        check(reset, Some(&query_shape(None, text)), "asyncpg pool reset");
    }

    #[test]
    fn a_call_is_told_by_its_method_and_the_shape_of_its_url() {
        let url = "http://orders/items/17?page=3";
        let call = || client("httpx").with("url_full", url);
        let shape = url_shape(url);
        check(call(), Some(&shape), &format!("httpx {shape}"));
        let get = format!("GET {shape}");
        check(call().with("http_request_method", "GET"), Some(&get), &format!("httpx {get}"));
        // A server's URL is its own address: no call.
        check(call().server().named("GET /items"), None, "GET /items");
    }

    #[test]
    fn a_remote_procedure_is_told_by_service_and_method() {
        let call = client("grpc").with("rpc_method", "Price");
        check(call.clone(), Some("Price"), "grpc Price");
        check(
            call.with("rpc_service", "shop.Pricing"),
            Some("shop.Pricing/Price"),
            "grpc shop.Pricing/Price",
        );
    }

    #[test]
    fn other_spans_are_told_by_their_names() {
        check(span(1, 0, 0, 1).named("serialize"), None, "serialize");
        check(client("redis").kind("PRODUCER").named("send"), None, "redis send");
        check(span(1, 0, 0, 1).client().with("scope_name", "my.tracer").named("x"), None, "x");
    }

    #[test]
    fn statements_are_told_apart_by_their_literals() {
        let query = |id, text| span(id, 0, 0, 1).query(text);
        let pass = Pass::over(&[
            query(1, "SELECT a FROM b WHERE c = 7"),
            query(2, "SELECT a FROM b WHERE c = 7 /* again */"),
            query(3, "SELECT a FROM b WHERE c = 8"),
            query(4, "SELECT a FROM b WHERE c IN ($1, $2)"),
            span(5, 0, 0, 1).client().with("url_full", "http://orders/items/17"),
            span(6, 0, 0, 1),
        ]);
        let hashes = [1, 2, 3, 4, 5, 6].map(|id| pass.int(id, "literals_hash"));
        assert_eq!(hashes[0], hashes[1]);
        assert_ne!(hashes[0], hashes[2]);
        assert_eq!(hashes.map(|hash| hash.is_some()), [true, true, true, false, false, false]);
        let is_batch = [1, 2, 3, 4, 5, 6].map(|id| pass.flag(id, "is_batch"));
        assert_eq!(is_batch, [false, false, false, true, false, false]);
    }

    /// Spans of one scope and name, whichever comes first.
    #[test]
    fn the_kind_decides_whether_a_name_needs_its_library() {
        for (first, second) in [(1, 2), (2, 1)] {
            let client = client("celery").named("apply").kind("PRODUCER");
            let internal = client.clone().kind("INTERNAL");
            let pass = Pass::over(&[
                Span { id: 1, trace: first, ..client },
                Span { id: 2, trace: second, ..internal },
            ]);
            assert_eq!(pass.text(1, "operation"), Some("celery apply"));
            assert_eq!(pass.text(2, "operation"), Some("apply"));
        }
    }

    /// A statement, a method and a URL that are one text have each their own shape.
    #[test]
    fn texts_of_different_columns_do_not_meet() {
        let text = "HTTP://a/7";
        let spans = [
            span(1, 0, 0, 1).with("rpc_method", text),
            span(2, 0, 0, 1).client().with("url_full", text),
            span(3, 0, 0, 1).with("db_query_text", text),
        ];
        let pass = Pass::over(&spans);
        let shapes = [1, 2, 3].map(|id| pass.text(id, "query_shape").expect("a shape"));
        assert_eq!(shapes, [text.to_owned(), url_shape(text), query_shape(None, text)]);
    }

    #[test]
    fn a_long_operation_is_cut_between_characters() {
        assert_eq!(cut("a".repeat(OPERATION_BYTES_MAX)).len(), OPERATION_BYTES_MAX);
        let long = cut("é".repeat(OPERATION_BYTES_MAX));
        assert_eq!(long, "é".repeat(OPERATION_BYTES_MAX / 2) + "…");
    }
}
