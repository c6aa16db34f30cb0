//! [`Told`]: what the table's log says of a file.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::Int64Type;
use serde_json::{Map, Value};

use crate::LiveFile;
use crate::snapshot;
use crate::table::Layout;

/// Bytes of a value that the table's log says of a file; it says nothing of a column with longer
/// ones.
const BOUND_BYTES_MAX: usize = 256;

/// How many rows a file has, and where they lie.
pub(super) struct Told<'l> {
    layout: &'l Layout,
    pub(super) rows: usize,
    bounds: Vec<Bounds>,
}

/// Where the values of a column lie.
#[derive(Debug, Clone, Default)]
struct Bounds {
    least: Option<Bound>,
    greatest: Option<Bound>,
    nulls: usize,
    /// Whether values are among them of which nobody knows where they lie.
    is_unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    Number(i64),
    Text(String),
}

impl<'l> Told<'l> {
    pub(super) fn new(layout: &'l Layout) -> Self {
        Self { layout, rows: 0, bounds: vec![Bounds::default(); layout.bounded.len()] }
    }

    /// Looks at values of a column.
    pub(super) fn widen(&mut self, name: &str, column: &ArrayRef) {
        let bounded = self.layout.bounded.iter().zip(&mut self.bounds);
        for (_, bounds) in bounded.filter(|(bounded, _)| **bounded == name) {
            bounds.widen(column);
        }
    }

    /// Adds what the table's log says of a file of so many rows.
    pub(super) fn add(&mut self, file: &LiveFile, rows: usize) {
        self.rows += rows;
        for (column, bounds) in self.layout.bounded.iter().zip(&mut self.bounds) {
            let of_file = file.bounds.get(*column);
            let bound =
                |of: fn(&snapshot::Bounds) -> &Value| of_file.and_then(|b| Bound::of(of(b)));
            let (least, greatest) =
                (bound(|bounds| &bounds.least), bound(|bounds| &bounds.greatest));
            bounds.is_unknown |= least.is_none() || greatest.is_none();
            bounds.nulls += of_file.map_or(0, |bounds| bounds.nulls as usize);
            bounds.reach(least, greatest);
        }
    }

    /// Returns it as Delta's protocol has it (Per-file Statistics).
    pub(super) fn statistics(&self) -> String {
        let (mut least, mut greatest, mut nulls) = (Map::new(), Map::new(), Map::new());
        for (column, bounds) in self.layout.bounded.iter().zip(&self.bounds) {
            let (Some(low), Some(high)) = (&bounds.least, &bounds.greatest) else { continue };
            if bounds.is_unknown || low.bytes().max(high.bytes()) > BOUND_BYTES_MAX {
                continue;
            }
            least.insert((*column).to_owned(), low.value());
            greatest.insert((*column).to_owned(), high.value());
            nulls.insert((*column).to_owned(), bounds.nulls.into());
        }
        let statistics = serde_json::json!({
            "numRecords": self.rows,
            "minValues": least,
            "maxValues": greatest,
            "nullCount": nulls,
        });
        statistics.to_string()
    }
}

impl Bounds {
    fn widen(&mut self, column: &ArrayRef) {
        self.nulls += column.null_count();
        let (least, greatest) = bounds(column);
        self.reach(least, greatest);
    }

    fn reach(&mut self, least: Option<Bound>, greatest: Option<Bound>) {
        let of = |old: Option<Bound>, new: Option<Bound>| [old, new].into_iter().flatten();
        self.least = of(self.least.take(), least).min();
        self.greatest = of(self.greatest.take(), greatest).max();
    }
}

impl Bound {
    fn of(value: &Value) -> Option<Self> {
        let number = value.as_i64().map(Self::Number);
        number.or_else(|| value.as_str().map(|text| Self::Text(text.to_owned())))
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Number(_) => size_of::<i64>(),
            Self::Text(text) => text.len(),
        }
    }

    fn value(&self) -> Value {
        match self {
            Self::Number(number) => (*number).into(),
            Self::Text(text) => text.as_str().into(),
        }
    }
}

fn bounds(column: &ArrayRef) -> (Option<Bound>, Option<Bound>) {
    if let Some(numbers) = column.as_primitive_opt::<Int64Type>() {
        let (low, high) = (arrow::compute::min(numbers), arrow::compute::max(numbers));
        (low.map(Bound::Number), high.map(Bound::Number))
    } else if let Some(texts) = column.as_string_view_opt() {
        let (low, high) =
            (arrow::compute::min_string_view(texts), arrow::compute::max_string_view(texts));
        let bound = |text: &str| Bound::Text(text.to_owned());
        (low.map(bound), high.map(bound))
    } else {
        (None, None)
    }
}
