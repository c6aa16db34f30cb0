//! The table `params`: a rule's thresholds, one row for each (service, endpoint, kind) seen, so
//! that they can differ between them and SQL still reads columns.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringViewArray,
};
use arrow::datatypes::{DataType, Field, Schema};
use hashbrown::HashSet;

use crate::Error;
use crate::config::{RuleSettings, Value};
use crate::rule::Rule;

/// The keys of `params`, in order.
#[derive(Debug, Clone)]
pub(crate) struct ParamKeys {
    keys: Vec<[String; 3]>,
}

pub(crate) const KEY_COLUMNS: [&str; 3] = ["service_name", "endpoint", "kind"];

impl ParamKeys {
    /// Finds every (service, endpoint, kind) of the spans.
    pub(crate) fn find(spans_with_facts: &[RecordBatch]) -> Self {
        let mut seen: HashSet<[&str; 3]> = HashSet::new();
        for batch in spans_with_facts {
            let columns =
                KEY_COLUMNS.map(|name| batch.column_by_name(name).map(AsArray::as_string_view));
            let [Some(service), Some(endpoint), Some(kind)] = columns else { continue };
            let mut last = None;
            for row in 0..batch.num_rows() {
                let views = [service, endpoint, kind].map(|column| column.views()[row]);
                if last.replace(views) != Some(views) {
                    seen.insert([service.value(row), endpoint.value(row), kind.value(row)]);
                }
            }
        }
        let mut keys: Vec<[String; 3]> =
            seen.into_iter().map(|key| key.map(str::to_owned)).collect();
        keys.sort_unstable();
        Self { keys }
    }

    /// Returns the `params` table of a rule under its settings.
    pub(crate) fn table(&self, rule: &Rule, settings: &RuleSettings) -> Result<RecordBatch, Error> {
        let mut fields: Vec<Field> = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for (at, name) in KEY_COLUMNS.into_iter().enumerate() {
            fields.push(Field::new(name, DataType::Utf8View, false));
            let texts = self.keys.iter().map(|key| Some(key[at].as_str()));
            columns.push(Arc::new(texts.collect::<StringViewArray>()));
        }
        for (name, param) in &rule.manifest.params {
            let values: Vec<&Value> = self
                .keys
                .iter()
                .map(|key| resolve(settings, key, name).unwrap_or(&param.default))
                .collect();
            let column = column(&values, param.default.is_integer());
            fields.push(Field::new(name, column.data_type().clone(), false));
            columns.push(column);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::Internal(error.to_string()))
    }
}

fn resolve<'a>(settings: &'a RuleSettings, key: &[String; 3], name: &str) -> Option<&'a Value> {
    let [service, endpoint, kind] = key;
    let special = settings.overrides.iter().rev();
    special
        .filter(|special| special.fits(service, endpoint, kind))
        .find_map(|special| special.params.get(name))
        .or_else(|| settings.params.get(name))
}

fn column(values: &[&Value], whole: bool) -> ArrayRef {
    let float = |value: &&Value| match value {
        Value::Integer(value) => *value as f64,
        Value::Float(value) => *value,
        _ => f64::NAN,
    };
    if whole {
        let ints = values.iter().map(|value| value.as_integer().unwrap_or_default());
        Arc::new(ints.collect::<Vec<i64>>().into_iter().collect::<Int64Array>())
    } else {
        Arc::new(values.iter().map(|value| Some(float(value))).collect::<Float64Array>())
    }
}
