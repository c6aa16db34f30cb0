//! Findings as rows of the `findings` table, and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, ListBuilder, RecordBatch,
    StringBuilder, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Float64Type, Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use serde_json::{Map, Value};
use timesink_model::schema::findings;
use timesink_model::{
    Confidence, Evidence, Finding, Measure, MeasureValue, Muted, Remediation, Severity, Status,
};

use crate::columns::{MUTED, evidence_json, remediation_json};

const NANOS_PER_MICRO: i64 = 1000;

/// The zone of the table's times.
const UTC: &str = "UTC";

/// Returns findings as rows of the table `findings`, their times cut to microseconds.
///
/// # Errors
///
/// Arrow's: a defect of ours.
pub fn findings_batch(all: &[Finding]) -> Result<RecordBatch, ArrowError> {
    let text = |value: fn(&Finding) -> &str| -> ArrayRef {
        Arc::new(all.iter().map(|f| Some(value(f))).collect::<StringViewArray>())
    };
    let json = |value: fn(&Finding) -> Value| -> ArrayRef {
        Arc::new(all.iter().map(|f| Some(value(f).to_string())).collect::<StringViewArray>())
    };
    let int = |value: fn(&Finding) -> Option<i64>| -> ArrayRef {
        Arc::new(all.iter().map(value).collect::<Int64Array>())
    };
    let time = |value: fn(&Finding) -> i64| -> ArrayRef {
        let micros = all.iter().map(|f| value(f).div_euclid(NANOS_PER_MICRO));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone(UTC))
    };
    let columns = vec![
        text(|f| &f.finding_id),
        text(|f| &f.rule),
        text(|f| f.severity.as_str()),
        text(|f| &f.service_name),
        text(|f| &f.endpoint),
        text(|f| &f.subject),
        text(|f| &f.title),
        text(|f| &f.message),
        time(|f| f.window_start_unix_nano),
        time(|f| f.window_end_unix_nano),
        int(|f| Some(f.traces_affected)),
        int(|f| Some(f.traces_seen)),
        int(|f| Some(f.occurrences)),
        int(|f| Some(f.wasted_nanos)),
        int(|f| f.wasted_nanos_estimated),
        Arc::new(all.iter().map(|f| f.wasted_share).collect::<Float64Array>()),
        text(|f| f.confidence.as_str()),
        text(|f| &f.confidence_reason),
        json(|f| Value::Object(evidence_json(&f.evidence))),
        json(|f| remediation_json(&f.remediation)),
        Arc::new(all.iter().map(|f| f.caused_by.as_deref()).collect::<StringViewArray>()),
        time(|f| f.first_seen_unix_nano),
        time(|f| f.last_seen_unix_nano),
        Arc::new(versions(all)),
        text(|f| f.status.as_str()),
    ];
    RecordBatch::try_new(Arc::new(findings::table().schema()), columns)
}

fn versions(all: &[Finding]) -> ListArray {
    let item = Field::new("item", DataType::Utf8, false);
    let mut lists = ListBuilder::new(StringBuilder::new()).with_field(item);
    for finding in all {
        lists.append_value(finding.service_versions.iter().map(Some));
    }
    lists.finish()
}

/// Reads rows of the table `findings`. Of evidence the words are not kept that say what a measure
/// is: they are empty.
///
/// # Errors
///
/// [`ArrowError::SchemaError`] when the rows are of another table, [`ArrowError::ParseError`] when
/// they hold what no finding does.
pub fn findings_of(rows: &RecordBatch) -> Result<Vec<Finding>, ArrowError> {
    let rows = Rows(rows);
    (0..rows.0.num_rows()).map(|row| rows.finding(row)).collect()
}

struct Rows<'r>(&'r RecordBatch);

impl Rows<'_> {
    fn finding(&self, row: usize) -> Result<Finding, ArrowError> {
        let text = |name| self.text(name, row);
        let time = |name| self.number::<TimestampMicrosecondType>(name, row).map(nanos);
        let int = |name| self.number::<Int64Type>(name, row);
        let needed = |name| int(name).map(Option::unwrap_or_default);
        Ok(Finding {
            finding_id: text("finding_id")?,
            rule: text("rule")?,
            severity: self.word("severity", row, Severity::parse)?,
            service_name: text("service_name")?,
            endpoint: text("endpoint")?,
            subject: text("subject")?,
            title: text("title")?,
            message: text("message")?,
            window_start_unix_nano: time("window_start")?,
            window_end_unix_nano: time("window_end")?,
            traces_affected: needed("traces_affected")?,
            traces_seen: needed("traces_seen")?,
            occurrences: needed("occurrences")?,
            wasted_nanos: needed("wasted_nanos")?,
            wasted_nanos_estimated: int("wasted_nanos_estimated")?,
            wasted_share: self.number::<Float64Type>("wasted_share", row)?,
            confidence: self.word("confidence", row, Confidence::parse)?,
            confidence_reason: text("confidence_reason")?,
            evidence: evidence(self.object("evidence", row)?),
            remediation: remediation(&self.object("remediation", row)?),
            caused_by: self.optional_text("caused_by", row)?,
            first_seen_unix_nano: time("first_seen")?,
            last_seen_unix_nano: time("last_seen")?,
            service_versions: self.texts("service_versions", row)?,
            status: self.word("status", row, Status::parse)?,
        })
    }

    fn column(&self, name: &str) -> Result<&ArrayRef, ArrowError> {
        let column = self.0.column_by_name(name);
        column.ok_or_else(|| ArrowError::SchemaError(format!("there is no column `{name}`")))
    }

    fn optional_text(&self, name: &str, row: usize) -> Result<Option<String>, ArrowError> {
        let texts = self.column(name)?.as_string_view_opt().ok_or_else(|| other_type(name))?;
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    }

    fn text(&self, name: &str, row: usize) -> Result<String, ArrowError> {
        self.optional_text(name, row).map(Option::unwrap_or_default)
    }

    fn number<T: ArrowPrimitiveType>(
        &self,
        name: &str,
        row: usize,
    ) -> Result<Option<T::Native>, ArrowError> {
        let numbers = self.column(name)?.as_primitive_opt::<T>();
        let numbers = numbers.ok_or_else(|| other_type(name))?;
        Ok(numbers.is_valid(row).then(|| numbers.value(row)))
    }

    fn texts(&self, name: &str, row: usize) -> Result<Vec<String>, ArrowError> {
        let lists = self.column(name)?.as_list_opt::<i32>().ok_or_else(|| other_type(name))?;
        let list = lists.value(row);
        let texts = list.as_string_opt::<i32>().ok_or_else(|| other_type(name))?;
        Ok(texts.iter().flatten().map(str::to_owned).collect())
    }

    fn word<T>(
        &self,
        name: &str,
        row: usize,
        parse: fn(&str) -> Option<T>,
    ) -> Result<T, ArrowError> {
        let word = self.text(name, row)?;
        parse(&word).ok_or_else(|| ArrowError::ParseError(format!("`{word}` is no {name}")))
    }

    fn object(&self, name: &str, row: usize) -> Result<Map<String, Value>, ArrowError> {
        let text = self.text(name, row)?;
        serde_json::from_str(&text)
            .map_err(|cause| ArrowError::ParseError(format!("`{name}` is no object: {cause}")))
    }
}

fn other_type(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("`{name}` is of another type"))
}

fn nanos(micros: Option<i64>) -> i64 {
    micros.unwrap_or_default().saturating_mul(NANOS_PER_MICRO)
}

fn evidence(mut object: Map<String, Value>) -> Evidence {
    let mut take = |name: &str| object.remove(name).unwrap_or_default();
    let (trace_ids, span_ids) = (texts(&take("trace_ids")), texts(&take("span_ids")));
    let code_location = take("code_location").as_str().map(str::to_owned);
    let test_cases = texts(&take("test_cases"));
    let muted = muted(&take(MUTED));
    let measures = object.into_iter().filter_map(|(name, value)| {
        let value = measure(value)?;
        Some(Measure { name, summary: String::new(), value })
    });
    Evidence { measures: measures.collect(), trace_ids, span_ids, code_location, test_cases, muted }
}

fn muted(value: &Value) -> Option<Muted> {
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    match text("by")?.as_str() {
        "configuration" => {
            Some(Muted::ByConfiguration { reason: text("reason")?, until: text("until")? })
        }
        "spans" => Some(Muted::BySpans),
        _ => None,
    }
}

fn measure(value: Value) -> Option<MeasureValue> {
    match value {
        Value::Bool(value) => Some(MeasureValue::Boolean(value)),
        Value::String(value) => Some(MeasureValue::Text(value)),
        Value::Number(value) => match value.as_i64() {
            Some(value) => Some(MeasureValue::Integer(value)),
            None => value.as_f64().map(MeasureValue::Float),
        },
        _ => None,
    }
}

fn texts(value: &Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn remediation(object: &Map<String, Value>) -> Remediation {
    let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
    Remediation {
        summary: text("summary").unwrap_or_default(),
        guide: text("guide").unwrap_or_default(),
        references: object.get("references").map(texts).unwrap_or_default(),
        next_step: text("next_step"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{finding, hostile};

    /// Returns a finding as it comes back: without words, its times in microseconds.
    fn kept(mut finding: Finding) -> Finding {
        for time in [
            &mut finding.window_start_unix_nano,
            &mut finding.window_end_unix_nano,
            &mut finding.first_seen_unix_nano,
            &mut finding.last_seen_unix_nano,
        ] {
            *time -= time.rem_euclid(NANOS_PER_MICRO);
        }
        for measure in &mut finding.evidence.measures {
            measure.summary.clear();
        }
        finding
    }

    #[test]
    fn findings_come_back() {
        let mut resolved = finding();
        resolved.status = Status::Resolved;
        resolved.service_versions = vec!["1.0".to_owned(), "1.1".to_owned()];
        resolved.wasted_nanos_estimated = None;
        let mut muted = finding();
        muted.status = Status::Muted;
        let (reason, until) = ("of no interest".to_owned(), "2027-01-31".to_owned());
        muted.evidence.muted = Some(Muted::ByConfiguration { reason, until });
        let mut marked = muted.clone();
        marked.evidence.muted = Some(Muted::BySpans);
        let all = [finding(), hostile(), resolved, muted, marked];
        let rows = findings_batch(&all).unwrap();
        assert_eq!(findings_of(&rows).unwrap(), all.map(kept));
        assert_eq!(findings_of(&findings_batch(&[]).unwrap()).unwrap(), []);
    }

    #[test]
    fn rows_of_another_table_are_named() {
        let rows = findings_batch(&[finding()]).unwrap();
        let refused = findings_of(&rows.project(&[0, 1]).unwrap()).unwrap_err().to_string();
        assert!(refused.contains("no column `severity`"), "{refused}");
    }
}
