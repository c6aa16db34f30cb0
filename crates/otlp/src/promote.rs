//! From the attributes of one span or resource to the columns of their own.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::buffer::Buffer;

use crate::attributes::{Attributes, KeySet, kind};
use crate::columns::{BoolColumn, IntColumn, TextColumn};
use crate::json::{Cursor, unescape};
use crate::semconv::{
    COLUMNS_MAX, ColumnKind, Meaning, NAMESPACE, Spellings, Take, When, cut, renamed,
};
use crate::values::parse_decimal;

/// The promoted columns of one level by number; made when first filled.
#[derive(Debug, Default)]
pub(crate) struct PromotedColumns {
    columns: Vec<Option<PromotedColumn>>,
}

#[derive(Debug)]
enum PromotedColumn {
    Text(TextColumn),
    Int(IntColumn),
    Bool(BoolColumn),
}

impl PromotedColumns {
    pub(crate) fn text(&mut self, column: u8) -> &mut TextColumn {
        let made = self.place(column);
        match made.get_or_insert_with(|| PromotedColumn::Text(TextColumn::default())) {
            PromotedColumn::Text(column) => column,
            _ => unreachable!("the column's type is fixed in PROMOTED"),
        }
    }

    pub(crate) fn int(&mut self, column: u8) -> &mut IntColumn {
        let made = self.place(column);
        match made.get_or_insert_with(|| PromotedColumn::Int(IntColumn::default())) {
            PromotedColumn::Int(column) => column,
            _ => unreachable!("the column's type is fixed in PROMOTED"),
        }
    }

    pub(crate) fn bool(&mut self, column: u8) -> &mut BoolColumn {
        let made = self.place(column);
        match made.get_or_insert_with(|| PromotedColumn::Bool(BoolColumn::default())) {
            PromotedColumn::Bool(column) => column,
            _ => unreachable!("the column's type is fixed in PROMOTED"),
        }
    }

    fn place(&mut self, column: u8) -> &mut Option<PromotedColumn> {
        if self.columns.is_empty() {
            self.columns.resize_with(COLUMNS_MAX, || None);
        }
        &mut self.columns[usize::from(column)]
    }

    /// Returns how many columns are filled.
    pub(crate) fn count(&self) -> usize {
        self.columns.iter().flatten().count()
    }

    /// Forgets every row from `rows` on.
    pub(crate) fn truncate(&mut self, rows: usize) {
        for column in self.columns.iter_mut().flatten() {
            match column {
                PromotedColumn::Text(column) => column.truncate(rows),
                PromotedColumn::Int(column) => column.truncate(rows),
                PromotedColumn::Bool(column) => column.truncate(rows),
            }
        }
    }

    /// Returns the arrays by column number, `None` for a column that nothing filled.
    pub(crate) fn finish(
        mut self,
        rows: usize,
        buffers: &[Buffer],
    ) -> impl Iterator<Item = Option<ArrayRef>> {
        self.columns.resize_with(COLUMNS_MAX, || None);
        self.columns.into_iter().map(move |column| match column? {
            PromotedColumn::Text(column) => column.finish(rows, buffers),
            PromotedColumn::Int(column) => column.finish(rows),
            PromotedColumn::Bool(column) => column.finish(rows),
        })
    }
}

/// A value for a promoted column.
#[derive(Debug, PartialEq)]
pub(crate) enum Promoted<'a> {
    /// Text that lies at `offset` of the attributes' values.
    Stored {
        offset: usize,
        text: &'a [u8],
    },
    Text(Vec<u8>),
    Int(i64),
    Bool(bool),
}

/// The attributes of one span or resource.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) attributes: &'a Attributes,
    pub(crate) entries: Range<usize>,
    /// Whether they belong to a span of kind SERVER.
    pub(crate) is_server: bool,
}

/// Which columns rows of the same keys fill, and from which of their attributes. Most rows find
/// their plan made.
#[derive(Debug)]
struct Plan {
    keys: KeySet,
    is_server: bool,
    repeats_a_key: bool,
    /// For each column the attributes that may fill it, the one to believe first.
    picks: Vec<Pick>,
    namespace: Option<usize>,
}

/// An attribute, by its number in the row, that a column takes unless one before it has a value.
#[derive(Debug, Clone, Copy)]
struct Pick {
    column: u8,
    rank: u8,
    take: Take,
    entry: usize,
}

/// A row has the same key twice: it fills no column before that is settled.
#[derive(Debug)]
pub(crate) struct RepeatedKey;

/// The plans that were used last.
#[derive(Debug)]
pub(crate) struct Plans {
    /// The columns that are filled, by number.
    kept: [bool; COLUMNS_MAX],
    used: Vec<Plan>,
    /// The plan that is replaced next.
    oldest: usize,
}

/// Plans kept: the spans that one instrumentation makes have two or three sets of keys.
const PLANS_MAX: usize = 8;

impl Plans {
    pub(crate) fn new(kept: [bool; COLUMNS_MAX]) -> Self {
        Self { kept, used: Vec::new(), oldest: 0 }
    }

    /// Returns the plan for a row, made now if there is none.
    fn plan(&mut self, source: &Source<'_>, spellings: &Spellings) -> &Plan {
        let number = self.used.iter().position(|plan| plan.is_for(source)).unwrap_or_else(|| {
            let plan = Plan::new(source, spellings, &self.kept);
            if self.used.len() < PLANS_MAX {
                self.used.push(plan);
                return self.used.len() - 1;
            }
            self.oldest = (self.oldest + 1) % PLANS_MAX;
            self.used[self.oldest] = plan;
            self.oldest
        });
        &self.used[number]
    }
}

impl Plan {
    fn new(source: &Source<'_>, spellings: &Spellings, kept: &[bool; COLUMNS_MAX]) -> Self {
        let mut picks = Vec::new();
        let mut namespace = None;
        let keys = &source.attributes.keys;
        for (entry, number) in source.entries.clone().enumerate() {
            for &Meaning { column, rank, when, take } in spellings.meanings(keys.get(number)) {
                if column == NAMESPACE {
                    namespace = Some(entry);
                } else if kept[usize::from(column)] && source.fits(when) {
                    picks.push(Pick { column, rank, take, entry });
                }
            }
        }
        picks.sort_unstable_by_key(|pick| (pick.column, pick.rank));
        Self {
            keys: KeySet::new(source.attributes, source.entries.clone()),
            is_server: source.is_server,
            repeats_a_key: source.attributes.repeat_a_key(source.entries.clone()),
            picks,
            namespace,
        }
    }

    #[inline]
    fn is_for(&self, source: &Source<'_>) -> bool {
        self.is_server == source.is_server
            && self.keys.is_of(source.attributes, source.entries.clone())
    }
}

impl<'a> Source<'a> {
    /// Calls `put` with each column that these attributes fill.
    #[inline]
    pub(crate) fn each(
        &self,
        spellings: &Spellings,
        plans: &mut Plans,
        mut put: impl FnMut(u8, Promoted<'a>),
    ) -> Result<(), RepeatedKey> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let plan = plans.plan(self, spellings);
        if plan.repeats_a_key {
            return Err(RepeatedKey);
        }
        let first = self.entries.start;
        let namespace = plan.namespace.map(|entry| first + entry);
        let mut filled = None;
        for Pick { column, take, entry, .. } in &plan.picks {
            if filled == Some(*column) {
                continue;
            }
            let value = match spellings.column_kind(*column) {
                ColumnKind::Text => self.text(first + entry, *take, namespace),
                ColumnKind::Int => self.int(first + entry, *take),
                ColumnKind::Bool => self.bool(first + entry),
            };
            if let Some(value) = value {
                filled = Some(*column);
                put(*column, value);
            }
        }
        Ok(())
    }

    fn fits(&self, when: When) -> bool {
        match when {
            When::Always => true,
            When::Server => self.is_server,
            When::NotServer => !self.is_server,
        }
    }

    /// Scalars have a text; arrays, lists and bytes do not.
    fn scalar(&self, entry: usize) -> Option<&'a [u8]> {
        match self.attributes.kinds()[entry] {
            kind::STRING | kind::INT | kind::DOUBLE | kind::BOOL => {
                Some(self.attributes.values.get(entry))
            }
            _ => None,
        }
    }

    fn text(&self, entry: usize, take: Take, namespace: Option<usize>) -> Option<Promoted<'a>> {
        if take == Take::First && self.attributes.kinds()[entry] == kind::ARRAY {
            return first_text(self.attributes.values.get(entry)).map(Promoted::Text);
        }
        if take == Take::Listed && self.attributes.kinds()[entry] == kind::ARRAY {
            let offset = self.attributes.values.start(entry);
            return Some(Promoted::Stored { offset, text: self.attributes.values.get(entry) });
        }
        let value = self.scalar(entry)?;
        if take == Take::InNamespace
            && let Some(namespace) = namespace.and_then(|namespace| self.scalar(namespace))
        {
            return Some(Promoted::Text([namespace, b".", value].concat()));
        }
        if let Some(renamed) = renamed(take, value) {
            return Some(Promoted::Text(renamed.as_bytes().to_vec()));
        }
        let part = cut(take, value)?;
        let offset = self.attributes.values.start(entry) + part.start;
        Some(Promoted::Stored { offset, text: &value[part] })
    }

    fn int(&self, entry: usize, take: Take) -> Option<Promoted<'a>> {
        match self.attributes.kinds()[entry] {
            kind::INT | kind::STRING => {}
            _ => return None,
        }
        let value = self.attributes.values.get(entry);
        parse_decimal(&value[cut(take, value)?]).map(Promoted::Int)
    }

    fn bool(&self, entry: usize) -> Option<Promoted<'a>> {
        match self.scalar(entry)? {
            b"true" => Some(Promoted::Bool(true)),
            b"false" => Some(Promoted::Bool(false)),
            _ => None,
        }
    }
}

/// Returns the first string of an array's text.
fn first_text(json: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(json);
    let mut items = cursor.array().ok()?;
    if !cursor.element(&mut items).ok()? {
        return None;
    }
    let mut text = Vec::new();
    unescape(cursor.string().ok()?, &mut text);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semconv::{RESOURCE, SPAN};
    use timesink_model::schema::spans::{Level, PROMOTED};

    /// Checks the columns that attributes, written `kind name=value`, fill on a span.
    fn check(is_server: bool, attributes: &[&str], expected: &[&str]) {
        assert_eq!(promoted(&SPAN, Level::Span, is_server, attributes), expected);
    }

    fn promoted(
        spellings: &Spellings,
        level: Level,
        is_server: bool,
        written: &[&str],
    ) -> Vec<String> {
        let mut attributes = Attributes::default();
        for attribute in written {
            let (kind, rest) = attribute.split_at(1);
            let (key, value) = rest.trim_start().split_once('=').expect("name=value");
            attributes.keys.bytes.extend_from_slice(key.as_bytes());
            attributes.values.bytes.extend_from_slice(value.as_bytes());
            attributes.close(kind.as_bytes()[0]);
        }
        let source = Source { attributes: &attributes, entries: 0..attributes.len(), is_server };
        let mut columns = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let each = source.each(spellings, &mut Plans::new([true; COLUMNS_MAX]), |column, value| {
            let of_level = PROMOTED.iter().filter(|p| p.level == level);
            let name = of_level.map(|p| p.attribute).nth(usize::from(column)).expect("a column");
            let value = match value {
                Promoted::Stored { offset, text: stored } => {
                    let end = offset + stored.len();
                    assert_eq!(&attributes.values.bytes[offset..end], stored);
                    text(stored)
                }
                Promoted::Text(made) => text(&made),
                Promoted::Int(value) => value.to_string(),
                Promoted::Bool(value) => value.to_string(),
            };
            columns.push(format!("{name}={value}"));
        });
        each.expect("no key comes twice");
        columns
    }

    #[test]
    fn the_current_name_wins_in_any_order() {
        let expected = ["db.system.name=postgresql", "db.query.text=new"];
        check(
            false,
            &["s db.statement=old", "s db.query.text=new", "s db.system=postgresql"],
            &expected,
        );
        check(
            false,
            &["s db.query.text=new", "s db.system=postgresql", "s db.statement=old"],
            &expected,
        );
    }

    #[test]
    fn rows_of_the_same_keys_share_a_plan() {
        let mut plans = Plans::new([true; COLUMNS_MAX]);
        let mut attributes = Attributes::default();
        // The keys of the third row are the same bytes, cut elsewhere.
        for keys in [["http.route", "x"], ["http.route", "x"], ["http.rout", "ex"]] {
            for key in keys {
                attributes.keys.bytes.extend_from_slice(key.as_bytes());
                attributes.values.bytes.push(b'v');
                attributes.close(kind::STRING);
            }
        }
        let mut filled = Vec::new();
        for (start, is_server) in [(0, false), (2, false), (2, true), (4, false)] {
            let entries = start..start + 2;
            let source = Source { attributes: &attributes, entries, is_server };
            let each = source.each(&SPAN, &mut plans, |column, _| filled.push((start, column)));
            each.expect("no key comes twice");
        }
        assert_eq!(plans.used.len(), 3);
        assert_eq!(filled, [(0, 2), (2, 2), (2, 2)]);
    }

    #[test]
    fn a_plan_is_replaced_when_there_are_too_many() {
        let mut plans = Plans::new([true; COLUMNS_MAX]);
        for number in 0..100 {
            let mut attributes = Attributes::default();
            let width = number % 20;
            attributes.keys.bytes.extend(std::iter::repeat_n(b'x', width));
            attributes.close(kind::NONE);
            attributes.keys.bytes.extend_from_slice(b"http.route");
            attributes.close(kind::STRING);
            let source = Source { attributes: &attributes, entries: 0..2, is_server: false };
            let mut filled = 0;
            source.each(&SPAN, &mut plans, |_, _| filled += 1).expect("no key comes twice");
            assert_eq!(filled, 1);
        }
        assert_eq!(plans.used.len(), PLANS_MAX);
    }

    #[test]
    fn a_value_that_a_column_cannot_take_does_not_hide_an_older_one() {
        let check = |written: &[&str], expected: &[&str]| check(false, written, expected);
        check(&["s server.port=", "i net.peer.port=5432"], &["server.port=5432"]);
        check(&["i net.peer.port=5432", "s server.port=none"], &["server.port=5432"]);
        let method = ["http.request.method=GET"];
        check(&["a http.request.method=[]", "s http.method=GET"], &method);
        check(&["n http.request.method=", "s http.method=GET"], &method);
        check(&["a http.request.method=[]", "a http.method=[]"], &[]);
        let rules = r#"timesink.mute.rules=["a-rule","another"]"#;
        check(&[&format!("a {rules}")], &[rules]);
        check(&["s timesink.mute.rules=a-rule"], &["timesink.mute.rules=a-rule"]);
        // An empty text is a text.
        check(&["s http.request.method=", "s http.method=GET"], &["http.request.method="]);
    }

    #[test]
    fn the_peer_of_a_server_is_the_client() {
        let written = ["s net.peer.name=h", "i net.peer.port=5432", "s net.peer.ip=10.0.0.1"];
        let client = ["server.address=h", "server.port=5432", "network.peer.address=10.0.0.1"];
        check(false, &written, &client);
        let server =
            ["client.address=h", "network.peer.address=10.0.0.1", "network.peer.port=5432"];
        check(true, &written, &server);
    }

    #[test]
    fn a_wsgi_server_span_gets_its_host_and_target_split() {
        let written = [
            "s http.method=GET",
            "s http.server_name=127.0.0.1",
            "s net.host.name=127.0.0.1:8102",
            "s http.host=127.0.0.1:8102",
            "i net.host.port=8102",
            "s http.target=/enqueue?n=1",
        ];
        let expected = [
            "http.request.method=GET",
            "url.path=/enqueue",
            "url.query=n=1",
            "server.address=127.0.0.1",
            "server.port=8102",
            "http.target=/enqueue?n=1",
        ];
        check(true, &written, &expected);
    }

    #[test]
    fn a_target_does_not_replace_the_path_that_came() {
        let expected = ["url.path=/new", "http.target=/old"];
        check(true, &["s url.path=/new", "s http.target=/old"], &expected);
    }

    #[test]
    fn an_integer_column_takes_integers_and_their_digits() {
        for (written, expected) in [
            ("i http.status_code=200", vec!["http.response.status_code=200"]),
            ("s http.status_code=-200", vec!["http.response.status_code=-200"]),
            ("s http.status_code=200 OK", vec![]),
            ("s http.status_code=", vec![]),
            ("s http.status_code=99999999999999999999", vec![]),
            ("d http.status_code=200.0", vec![]),
            ("b http.status_code=true", vec![]),
        ] {
            check(false, &[written], &expected);
        }
    }

    #[test]
    fn a_text_column_takes_scalars() {
        check(false, &["i rpc.jsonrpc.error_code=14"], &["rpc.response.status_code=14"]);
        check(false, &["b error.type=true"], &["error.type=true"]);
        check(false, &["a error.type=[\"x\"]"], &[]);
        check(false, &["y error.type=AA=="], &[]);
        check(false, &["n error.type="], &[]);
    }

    #[test]
    fn a_boolean_column_takes_booleans_and_their_words() {
        check(false, &["b faas.coldstart=true"], &["faas.coldstart=true"]);
        check(false, &["s faas.coldstart=false"], &["faas.coldstart=false"]);
        check(false, &["s faas.coldstart=yes"], &[]);
    }

    #[test]
    fn a_function_goes_behind_its_namespace() {
        let expected = ["code.function.name=a.b.f"];
        check(false, &["s code.function=f", "s code.namespace=a.b"], &expected);
        check(false, &["s code.function=f"], &["code.function.name=f"]);
        check(false, &["s code.namespace=a.b"], &[]);
    }

    #[test]
    fn renamed_values_take_their_current_name() {
        let expected = ["db.system.name=microsoft.sql_server", "messaging.operation.type=send"];
        check(false, &["s db.system=mssql", "s messaging.operation=publish"], &expected);
        check(false, &["s messaging.operation.type=publish"], &expected[1..]);
        let process = ["messaging.operation.type=process"];
        check(false, &["s messaging.operation.type=deliver"], &process);
        check(false, &["s messaging.operation.type=process"], &process);
    }

    #[test]
    fn a_grpc_status_has_its_name() {
        let check = |written: &str, expected: &str| check(false, &[written], &[expected]);
        check("i rpc.grpc.status_code=14", "rpc.response.status_code=UNAVAILABLE");
        check("s rpc.grpc.status_code=0", "rpc.response.status_code=OK");
        check("i rpc.grpc.status_code=17", "rpc.response.status_code=17");
        check("s rpc.response.status_code=14", "rpc.response.status_code=14");
    }

    #[test]
    fn the_socket_of_the_other_side_is_the_peer() {
        let written = [
            "s server.socket.address=10.0.0.1",
            "i server.socket.port=80",
            "s client.socket.address=10.0.0.2",
            "i client.socket.port=4711",
        ];
        let peer = ["network.peer.address=10.0.0.1", "network.peer.port=80"];
        check(false, &written, &peer);
        let peer = ["network.peer.address=10.0.0.2", "network.peer.port=4711"];
        check(true, &written, &peer);
    }

    #[test]
    fn a_resource_has_columns_of_its_own() {
        let written = ["s service.name=shop", "i process.pid=7", "a host.ip=[\"::1\",\"1.2.3.4\"]"];
        let expected = ["service.name=shop", "process.pid=7", "host.ip=::1"];
        assert_eq!(promoted(&RESOURCE, Level::Resource, false, &written), expected);
        check(false, &written, &[]);
        let old = ["s deployment.environment=staging", "s host.ip=1.2.3.4"];
        let expected = ["deployment.environment.name=staging", "host.ip=1.2.3.4"];
        assert_eq!(promoted(&RESOURCE, Level::Resource, false, &old), expected);
        assert!(promoted(&RESOURCE, Level::Resource, false, &["a host.ip=[]"]).is_empty());
    }
}
