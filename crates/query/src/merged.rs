//! `spans_with_facts`: each span with its facts in one row.
//!
//! The pass makes its columns row by row beside the spans, so that joining them costs nothing. Two
//! columns are never NULL here, so that rules can join and group by them: a service without a name
//! is `unknown_service` (semantic conventions), an endpoint whose span was lost is
//! [`UNKNOWN_ENDPOINT`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use timesink_facts::packed;
use timesink_model::{UNKNOWN_SERVICE, schema::facts, schema::spans};

/// The name of the table.
pub const SPANS_WITH_FACTS: &str = "spans_with_facts";

/// The endpoint of spans whose entry span was not recorded.
pub const UNKNOWN_ENDPOINT: &str = "(entry span not recorded)";

const SERVICE: &str = "service_name";
const ENDPOINT: &str = "endpoint";

/// Returns the schema: the columns of `spans`, then those of `facts` that these do not have.
pub fn schema() -> SchemaRef {
    schema_of(&spans::table().schema(), &facts::table().schema())
}

/// Returns the schema for spans and facts of which columns may be left out.
pub(crate) fn schema_of(spans: &Schema, facts: &Schema) -> SchemaRef {
    let mut fields = spans.fields().to_vec();
    fields.extend(facts.fields().iter().filter(|field| !is_shared(field)).cloned());
    let never_null = |field: Arc<Field>| match field.name().as_str() {
        SERVICE | ENDPOINT => Arc::new(field.as_ref().clone().with_nullable(false)),
        _ => field,
    };
    Arc::new(Schema::new(fields.into_iter().map(never_null).collect::<Vec<_>>()))
}

/// The columns of `facts` that `spans` has too.
const SHARED: [&str; 3] = ["trace_id", "span_id", "start_time_unix_nano"];

fn is_shared(field: &Field) -> bool {
    SHARED.contains(&field.name().as_str())
}

/// Returns the rows of one batch of spans with the facts beside them; what is packed stays so.
pub(crate) fn merge(
    spans: &RecordBatch,
    facts: &RecordBatch,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let facts_schema = facts.schema();
    let fact_columns = facts_schema.fields().iter().zip(facts.columns());
    let kept = fact_columns.filter(|(field, _)| !is_shared(field)).map(|(_, column)| column);
    let columns = spans.columns().iter().chain(kept);
    let filled =
        schema.fields().iter().zip(columns).map(|(field, column)| match field.name().as_str() {
            SERVICE => or_else(column, UNKNOWN_SERVICE),
            ENDPOINT => or_else(column, UNKNOWN_ENDPOINT),
            _ => Ok(Arc::clone(column)),
        });
    packed::with_types_of(schema, filled.collect::<Result<_, _>>()?, spans.num_rows())
}

fn or_else(column: &ArrayRef, unknown: &str) -> Result<ArrayRef, ArrowError> {
    if column.logical_null_count() == 0 {
        return Ok(Arc::clone(column));
    }
    let texts = packed::unpack(column, &DataType::Utf8View)?;
    let texts = texts.as_string_view().iter();
    let filled = texts.map(|text| Some(text.unwrap_or(unknown))).collect::<StringViewArray>();
    if column.data_type() == &DataType::Utf8View {
        return Ok(Arc::new(filled));
    }
    packed::pack(&(Arc::new(filled) as ArrayRef))
}
