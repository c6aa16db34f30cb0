//! The table `params`: a rule's thresholds, one row for each (service, endpoint, kind) seen, kinds
//! of spans and of their entries, so that they can differ between them and SQL still reads columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use hashbrown::HashSet;
use timesink_facts::packed::Text;

use crate::Error;
use crate::config::{RuleSettings, Value};
use crate::rule::Rule;

/// The name of the table.
pub(crate) const TABLE: &str = "params";

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
        // Texts are looked at once for each set of views, which are numbers.
        let mut seen_views = HashSet::new();
        for batch in spans_with_facts {
            for kind in ["kind", "entry_kind"] {
                let columns = ["service_name", "endpoint", kind]
                    .map(|name| batch.column_by_name(name).and_then(Text::of));
                let [Some(service), Some(endpoint), Some(kind)] = columns else { continue };
                seen_views.clear();
                for row in 0..batch.num_rows() {
                    let views = [service, endpoint, kind].map(|column| column.view(row));
                    if seen_views.insert(views) {
                        seen.insert([service.value(row), endpoint.value(row), kind.value(row)]);
                    }
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
        let mut columns: Vec<ArrayRef> = Vec::new();
        for at in 0..KEY_COLUMNS.len() {
            let texts = self.keys.iter().map(|key| Some(key[at].as_str()));
            columns.push(Arc::new(texts.collect::<StringViewArray>()));
        }
        for (name, param) in &rule.manifest.params {
            let values: Vec<&Value> = self
                .keys
                .iter()
                .map(|key| resolve(settings, key, name).unwrap_or(&param.default))
                .collect();
            columns.push(column(&values, param.default.is_integer()));
        }
        RecordBatch::try_new(schema(rule), columns)
            .map_err(|error| Error::Internal(error.to_string()))
    }
}

/// Returns the schema of the `params` table of a rule.
pub(crate) fn schema(rule: &Rule) -> SchemaRef {
    let keys = KEY_COLUMNS.into_iter().map(|name| Field::new(name, DataType::Utf8View, false));
    let params = rule.manifest.params.iter().map(|(name, param)| {
        let is_whole = param.default.is_integer();
        Field::new(name, if is_whole { DataType::Int64 } else { DataType::Float64 }, false)
    });
    Arc::new(Schema::new(keys.chain(params).collect::<Vec<_>>()))
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
