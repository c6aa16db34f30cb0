//! What a span does, in words that hold for all like it: query shapes and operations.

use hashbrown::HashMap;

use crate::intern::{Interner, Sym};
use crate::rows::{Kind, Rows};
use crate::shape::{query_shape, url_shape};

/// The scopes of the standard instrumentations; the last segment names the library.
const INSTRUMENTATION_PREFIX: &str = "opentelemetry.instrumentation.";

/// The longest operation in bytes; a finding's first line should fit a terminal.
const OPERATION_BYTES_MAX: usize = 160;

#[derive(Debug)]
pub(crate) struct Meaning {
    /// Query shape, or method and URL shape of a call; the empty text for other spans.
    pub(crate) shape: Vec<Sym>,
    /// What a person calls it.
    pub(crate) operation: Vec<Sym>,
    pub(crate) texts: Interner<'static>,
}

impl Meaning {
    pub(crate) fn read(rows: &Rows<'_>) -> Self {
        let mut reader = Reader { rows, texts: Interner::new(), shapes: HashMap::new() };
        let shape: Vec<Sym> = (0..rows.len()).map(|at| reader.shape(at)).collect();
        let mut operations = HashMap::new();
        let operation = (0..rows.len())
            .map(|at| {
                let key = (rows.scope[at], rows.name[at], shape[at], says_itself(rows.kind[at]));
                *operations.entry(key).or_insert_with(|| reader.operation(at, shape[at]))
            })
            .collect();
        Self { shape, operation, texts: reader.texts }
    }
}

struct Reader<'r, 'a> {
    rows: &'r Rows<'a>,
    texts: Interner<'static>,
    /// By what a shape is made of: the kind of statement and its two texts.
    shapes: HashMap<(Source, Sym, Sym), Sym>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Query,
    Rpc,
    Http,
}

impl Reader<'_, '_> {
    fn shape(&mut self, at: usize) -> Sym {
        let rows = self.rows;
        let texts = &mut self.texts;
        let mut known = |key, make: &dyn Fn() -> String| {
            *self.shapes.entry(key).or_insert_with(|| texts.intern_owned(make()))
        };
        if rows.db_query[at] != Sym(0) {
            let key = (Source::Query, rows.db_system[at], rows.db_query[at]);
            let system = rows.text(rows.db_system[at]);
            let system = (!system.is_empty()).then_some(system);
            return known(key, &|| query_shape(system, rows.text(rows.db_query[at])));
        }
        if rows.rpc_method[at] != Sym(0) {
            let key = (Source::Rpc, rows.rpc_service[at], rows.rpc_method[at]);
            let call = || rpc_call(rows.text(rows.rpc_service[at]), rows.text(rows.rpc_method[at]));
            return known(key, &call);
        }
        if rows.kind[at] == Kind::Client && rows.url[at] != Sym(0) {
            let key = (Source::Http, rows.http_method[at], rows.url[at]);
            let method = rows.text(rows.http_method[at]);
            return known(key, &|| http_call(method, rows.text(rows.url[at])));
        }
        Sym(0)
    }

    fn operation(&mut self, at: usize, shape: Sym) -> Sym {
        let rows = self.rows;
        let library = rows.text(rows.scope[at]).strip_prefix(INSTRUMENTATION_PREFIX);
        let name = rows.text(rows.name[at]);
        let what = if shape == Sym(0) { name } else { self.texts.text(shape) };
        let text = match library {
            Some(library) if !says_itself(rows.kind[at]) => format!("{library} {what}"),
            _ => what.to_owned(),
        };
        self.texts.intern_owned(cut(text))
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
