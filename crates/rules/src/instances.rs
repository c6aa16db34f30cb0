//! The rows that a rule returns: the finding columns, then its evidence.

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::compute::{can_cast_types, cast, concat_batches};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use timesink_model::{Confidence, MeasureValue};
use timesink_query::QueryResult;

use crate::Error;

/// The columns that every rule returns first, by these names, in this order.
pub(crate) const FINDING_COLUMNS: [&str; 6] =
    ["service_name", "trace_id", "span_id", "subject", "occurrences", "wasted_nanos"];

/// Optional columns that are no evidence.
pub(crate) const CONFIDENCE: [&str; 2] = ["confidence", "confidence_reason"];
const CODE: [&str; 2] = ["code_file_path", "code_line_number"];

/// When a row is, ns since the epoch, where its span is the whole request and it is a part of that.
const EXTENT: [&str; 2] = ["begin_unix_nano", "end_unix_nano"];

/// One place in one trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    pub(crate) service: String,
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) subject: String,
    pub(crate) occurrences: i64,
    pub(crate) wasted_nanos: i64,
    pub(crate) confidence: Confidence,
    pub(crate) confidence_reason: String,
    pub(crate) code: Option<String>,
    pub(crate) extent: Option<(i64, i64)>,
    /// In the order of [`Instances::evidence`].
    pub(crate) evidence: Vec<Option<MeasureValue>>,
}

/// The word for `confidence` with which a rule says that the spans cannot tell; such a row is no
/// finding, and its `confidence_reason` says what is missing.
const UNDECIDED: &str = "unknown";

/// All rows of one rule.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    pub(crate) evidence: Vec<String>,
    pub(crate) rows: Vec<Instance>,
    /// Places of which the rule can say neither yes nor no.
    pub(crate) undecided: Vec<Instance>,
}

/// Reads a rule's rows; `rule` is for errors.
pub(crate) fn read(rule: &str, result: &QueryResult) -> Result<Instances, Error> {
    let refuse = |reason: String| Error::Rule { rule: rule.to_owned(), reason };
    check_columns(result).map_err(refuse)?;
    let evidence = evidence_columns(result);
    if result.batches.is_empty() {
        return Ok(Instances { evidence, ..Instances::default() });
    }
    let batch = concat_batches(&result.schema, &result.batches)
        .map_err(|error| Error::Internal(error.to_string()))?;
    let column = |name: &str| batch.column_by_name(name);
    let text = |name: &str| column(name).map(texts).transpose();
    let required = |at: usize, to: &DataType| {
        let column = converted(batch.column(at), to)?;
        match column.null_count() {
            0 => Ok(column),
            nulls => Err(refuse(format!(
                "column `{}` is NULL or out of range in {nulls} of {} rows",
                FINDING_COLUMNS[at],
                batch.num_rows()
            ))),
        }
    };
    let (service, trace_id, span_id, subject) = (
        required(0, &DataType::Utf8)?,
        required(1, &DataType::Utf8)?,
        required(2, &DataType::Utf8)?,
        required(3, &DataType::Utf8)?,
    );
    let own_text = |column: &ArrayRef, row: usize| column.as_string::<i32>().value(row).to_owned();
    let (occurrences, wasted) = (required(4, &DataType::Int64)?, required(5, &DataType::Int64)?);
    let number = |column: &ArrayRef, row: usize| column.as_primitive::<Int64Type>().value(row);
    let (words, reason) = (text(CONFIDENCE[0])?, text(CONFIDENCE[1])?);
    let (file, line) = (text(CODE[0])?, text(CODE[1])?);
    let measures = evidence
        .iter()
        .map(|name| column(name).map_or(Ok(Vec::new()), measures))
        .collect::<Result<Vec<_>, _>>()?;
    let times = |name: &str| column(name).map(|column| converted(column, &DataType::Int64));
    let (begin, end) = (times(EXTENT[0]).transpose()?, times(EXTENT[1]).transpose()?);
    let time = |column: &Option<ArrayRef>, row: usize| {
        column.as_ref().filter(|column| column.is_valid(row)).map(|column| number(column, row))
    };
    let value = |column: &Option<StringArray>, row: usize| match column {
        Some(texts) if texts.is_valid(row) => texts.value(row).to_owned(),
        _ => String::new(),
    };
    let (mut rows, mut undecided) = (Vec::new(), Vec::new());
    for row in 0..batch.num_rows() {
        let word = value(&words, row);
        let instance = Instance {
            service: own_text(&service, row),
            trace_id: own_text(&trace_id, row),
            span_id: own_text(&span_id, row),
            subject: own_text(&subject, row),
            occurrences: number(&occurrences, row),
            wasted_nanos: number(&wasted, row).max(0),
            confidence: confidence(&word).map_err(refuse)?,
            confidence_reason: value(&reason, row),
            code: code(&value(&file, row), &value(&line, row)),
            extent: time(&begin, row).zip(time(&end, row)),
            evidence: measures.iter().map(|column| column[row].clone()).collect(),
        };
        let kind = if word == UNDECIDED { &mut undecided } else { &mut rows };
        kind.push(instance);
    }
    Ok(Instances { evidence, rows, undecided })
}

/// Returns the confidence of a row; what is undecided is no finding.
pub(crate) fn confidence(word: &str) -> Result<Confidence, String> {
    match word {
        "" => Ok(Confidence::Likely),
        UNDECIDED => Ok(Confidence::Possible),
        word => Confidence::parse(word).ok_or_else(|| {
            format!(
                "`{word}` is no confidence: expected `certain`, `likely`, `possible` or \
                 `{UNDECIDED}`"
            )
        }),
    }
}

fn code(file: &str, line: &str) -> Option<String> {
    match (file, line) {
        ("", _) => None,
        (file, "") => Some(file.to_owned()),
        (file, line) => Some(format!("{file}:{line}")),
    }
}

/// Says which of the finding columns a result lacks or has in another type, if any.
pub(crate) fn check_columns(result: &QueryResult) -> Result<(), String> {
    let names: Vec<&str> = result.schema.fields().iter().map(|f| f.name().as_str()).collect();
    if names.len() < FINDING_COLUMNS.len() || names[..FINDING_COLUMNS.len()] != FINDING_COLUMNS {
        return Err(format!(
            "rule.sql returns {}: it has to begin with {}",
            names.join(", "),
            FINDING_COLUMNS.join(", ")
        ));
    }
    let typed = result.schema.fields().iter().map(|field| check_type(field));
    let wrong: Vec<String> = typed.filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Evidence is what can be told in a line; the other columns are texts, counts and nanoseconds.
fn check_type(field: &Field) -> Result<(), String> {
    let (name, kind) = (field.name().as_str(), field.data_type());
    let expected = if FINDING_COLUMNS[4..].contains(&name) || EXTENT.contains(&name) {
        ("an integer", kind.is_integer())
    } else if FINDING_COLUMNS.contains(&name) || CONFIDENCE.contains(&name) {
        ("text", kind.is_string())
    } else {
        ("a number, a truth value or text", can_cast_types(kind, &DataType::Utf8))
    };
    match expected {
        (_, true) => Ok(()),
        (expected, false) => Err(format!("column `{name}` is {kind}: expected {expected}")),
    }
}

/// Returns the columns that are evidence, in order.
pub(crate) fn evidence_columns(result: &QueryResult) -> Vec<String> {
    let fields = result.schema.fields().iter().skip(FINDING_COLUMNS.len());
    let names = fields.map(|field| field.name().clone());
    let others = [CONFIDENCE, CODE, EXTENT].concat();
    names.filter(|name| !others.contains(&name.as_str())).collect()
}

fn texts(column: &ArrayRef) -> Result<StringArray, Error> {
    let texts = converted(column, &DataType::Utf8)?;
    Ok(texts.as_string::<i32>().clone())
}

fn converted(column: &ArrayRef, to: &DataType) -> Result<ArrayRef, Error> {
    cast(column, to).map_err(|error| Error::Internal(error.to_string()))
}

fn measures(column: &ArrayRef) -> Result<Vec<Option<MeasureValue>>, Error> {
    let kind = column.data_type();
    if kind.is_integer() {
        let ints = converted(column, &DataType::Int64)?;
        let ints = ints.as_primitive::<Int64Type>();
        return Ok(ints.iter().map(|value| value.map(MeasureValue::Integer)).collect());
    }
    if kind.is_numeric() {
        let floats = converted(column, &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>();
        return Ok(floats.iter().map(|value| value.map(MeasureValue::Float)).collect());
    }
    if let Some(flags) = column.as_boolean_opt() {
        return Ok(flags.iter().map(|value| value.map(MeasureValue::Boolean)).collect());
    }
    let texts = texts(column)?;
    Ok(texts.iter().map(|value| value.map(|text| MeasureValue::Text(text.to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{IntervalUnit, Schema};
    use timesink_model::schema::spans;

    use super::*;

    /// Scenario: a rule returns a column that no line of a report can show, such as all attributes.
    /// Guarantee: it is told so, and not asked to report an error of ours.
    #[test]
    fn evidence_of_a_type_without_text_is_refused() {
        let check = |kind: DataType| {
            let text = |name: &str| Field::new(name, DataType::Utf8View, true);
            let integer = |name: &str| Field::new(name, DataType::Int64, true);
            let [service, trace, span, subject, occurrences, wasted] = FINDING_COLUMNS;
            let fields = vec![
                text(service),
                text(trace),
                text(span),
                text(subject),
                integer(occurrences),
                integer(wasted),
                Field::new("more", kind, true),
            ];
            let schema = Arc::new(Schema::new(fields));
            check_columns(&QueryResult { schema, batches: Vec::new() })
        };
        let table = spans::table();
        let attributes = table.columns.iter().find(|column| column.name == "attributes");
        let error = check(attributes.unwrap().data_type.clone()).unwrap_err();
        assert!(error.starts_with("column `more` is Map("), "{error}");
        assert!(error.ends_with("expected a number, a truth value or text"), "{error}");
        for kind in [
            DataType::Float64,
            DataType::Boolean,
            DataType::Utf8View,
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::new_list(DataType::Int64, true),
        ] {
            assert_eq!(check(kind), Ok(()));
        }
    }
}
