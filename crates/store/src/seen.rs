//! [`Seen`]: which spans were taken already.
//!
//! An exporter that got no answer sends its spans again, and they may have been taken. A span is
//! the same by its ids, its kind and its start: a client and a server may share their ids (Zipkin).

use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;
use hashbrown::HashSet;
use siphasher::sip128::{Hasher128, SipHasher13};

/// A span, by a hash whose key nobody outside knows: two spans have the same by no accident.
pub(crate) type SpanKey = (u64, u64);

/// Keys that are kept at most, twice, unless it is said otherwise: what 4 million places take.
const KEYS_MAX: usize = keys_in(1 << 22);

/// Bytes of a place in a set of keys (`hashbrown`: the key, and a byte that says what is there).
const PLACE_BYTES: u64 = size_of::<SpanKey>() as u64 + 1;

/// The columns that tell a span.
pub(crate) const KEY_COLUMNS: [&str; 4] = ["trace_id", "span_id", "kind", START];
const START: &str = "start_time_unix_nano";

/// Makes keys of spans.
#[derive(Clone)]
pub(crate) struct Hashers(SipHasher13);

/// Its key is secret.
impl fmt::Debug for Hashers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hashers").finish_non_exhaustive()
    }
}

impl Default for Hashers {
    fn default() -> Self {
        let random = RandomState::new();
        Self(SipHasher13::new_with_keys(random.hash_one(0), random.hash_one(1)))
    }
}

/// The spans of the last while: one that comes again later than that is taken again.
#[derive(Debug)]
pub(crate) struct Seen {
    young: HashSet<SpanKey>,
    old: HashSet<SpanKey>,
    keys_max: usize,
    hashers: Hashers,
}

impl Default for Seen {
    fn default() -> Self {
        let (young, old) = (HashSet::new(), HashSet::new());
        Self { young, old, keys_max: KEYS_MAX, hashers: Hashers::default() }
    }
}

/// Returns how many keys a set holds in so many places before it doubles them.
const fn keys_in(places: usize) -> usize {
    places / 8 * 7
}

impl Hashers {
    /// Returns the key of each row.
    pub(crate) fn keys(&self, batch: &RecordBatch) -> impl Iterator<Item = SpanKey> {
        let text = |name: &str| {
            batch.column_by_name(name).and_then(|column| column.as_string_view_opt()).cloned()
        };
        let starts = batch.column_by_name(START);
        let starts = starts.and_then(|column| column.as_primitive_opt::<Int64Type>()).cloned();
        let [trace_id, span_id, kind, _] = KEY_COLUMNS;
        let texts = [trace_id, span_id, kind].map(text);
        (0..batch.num_rows()).map(move |row| {
            let start = starts.as_ref().map(|starts| starts.value(row));
            let texts = texts.each_ref().map(|texts| {
                texts.as_ref().filter(|texts| texts.is_valid(row)).map(|texts| texts.value(row))
            });
            let mut hasher = self.0;
            (texts, start).hash(&mut hasher);
            hasher.finish128().as_u64()
        })
    }
}

impl Seen {
    pub(crate) fn hashers(&self) -> Hashers {
        self.hashers.clone()
    }

    /// Keeps as many keys as so many bytes hold.
    pub(crate) fn limit(&mut self, bytes: u64) {
        let places = (bytes / 2 / PLACE_BYTES).max(1 << 10);
        self.keys_max = keys_in(1 << places.ilog2());
        self.age_if_many();
    }

    /// Returns the rows that were not seen, and adds their keys to `keys`, which were not seen
    /// either.
    pub(crate) fn unseen(
        &self,
        batch: &RecordBatch,
        keys: &mut HashSet<SpanKey>,
    ) -> Result<RecordBatch, ArrowError> {
        let of_rows = self.hashers.keys(batch);
        let is_new: Vec<bool> = of_rows.map(|key| !self.has(&key) && keys.insert(key)).collect();
        if is_new.iter().all(|is_new| *is_new) {
            return Ok(batch.clone());
        }
        filter_record_batch(batch, &BooleanArray::from(is_new))
    }

    /// Notes spans that are taken, and says of each whether it had not been seen.
    pub(crate) fn mark(&mut self, keys: &[SpanKey]) -> Vec<bool> {
        let is_new = keys.iter().map(|key| !self.old.contains(key) && self.young.insert(*key));
        let is_new = is_new.collect();
        self.age_if_many();
        is_new
    }

    /// Notes spans that are taken.
    pub(crate) fn add(&mut self, keys: HashSet<SpanKey>) {
        self.young.extend(keys);
        self.age_if_many();
    }

    fn has(&self, key: &SpanKey) -> bool {
        self.young.contains(key) || self.old.contains(key)
    }

    fn age_if_many(&mut self) {
        if self.young.len() >= self.keys_max {
            self.age();
        }
    }

    /// Forgets what was noted before the last call.
    pub(crate) fn age(&mut self) {
        self.old = std::mem::take(&mut self.young);
    }
}

#[cfg(test)]
mod tests {
    use timesink_testkit::notation;

    use super::*;

    fn rows(seen: &Seen, batch: &RecordBatch, keys: &mut HashSet<SpanKey>) -> usize {
        seen.unseen(batch, keys).unwrap().num_rows()
    }

    #[test]
    fn a_client_and_a_server_may_share_their_ids() {
        let client = notation::spans("shop CLIENT GET 0ms 10ms\n").remove(0);
        let server = notation::spans("shop SERVER GET 0ms 10ms\n").remove(0);
        let mut keys = HashSet::new();
        let seen = Seen::default();
        assert_eq!(client.column_by_name("span_id"), server.column_by_name("span_id"));
        assert_eq!(rows(&seen, &client, &mut keys) + rows(&seen, &server, &mut keys), 2);
    }

    #[test]
    fn what_comes_again_is_known_for_a_while() {
        let batch = notation::spans("shop SERVER GET/a 0ms 10ms x3\n").remove(0);
        let mut seen = Seen::default();
        let mut keys = HashSet::new();
        assert_eq!(rows(&seen, &batch.slice(0, 2), &mut keys), 2);
        assert_eq!(rows(&seen, &batch, &mut keys), 1, "the first two are of this group");
        // A group that failed is forgotten.
        keys.clear();
        assert_eq!(rows(&seen, &batch.slice(1, 1), &mut keys), 1);
        seen.add(keys);
        assert_eq!(rows(&seen, &batch, &mut HashSet::new()), 2);
        seen.age();
        assert_eq!(rows(&seen, &batch, &mut HashSet::new()), 2);
        seen.age();
        assert_eq!(rows(&seen, &batch, &mut HashSet::new()), 3);
    }
}
