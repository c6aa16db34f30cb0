//! `findings`: the product, ranked by the time wasted.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};

use super::{Column, TEXT, Table};

/// Returns the table's description.
pub fn table() -> Table {
    let int = DataType::Int64;
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, false)));
    let columns = vec![
        Column::required(
            "finding_id",
            TEXT,
            "A stable fingerprint of rule, service, endpoint and subject.",
        ),
        Column::required("rule", TEXT, "The rule that made it."),
        Column::required("severity", TEXT, "`info`, `warning` or `error`."),
        Column::required(
            "service_name",
            TEXT,
            "The service whose code or caller is to be changed.",
        ),
        Column::required("endpoint", TEXT, "The name of the service entry span."),
        Column::required(
            "subject",
            TEXT,
            "What it is about: a query shape, a call, an edge `a -> b`, a service, a gap.",
        ),
        Column::required("title", TEXT, "The thing to fix, in one line."),
        Column::required("message", TEXT, "Plain sentences with the numbers in them."),
        Column::required("window_start", time.clone(), "Start of the window looked at."),
        Column::required("window_end", time.clone(), "End of the window looked at."),
        Column::required("traces_affected", int.clone(), "Traces in which it was found."),
        Column::required("traces_seen", int.clone(), "Traces of the endpoint that were looked at."),
        Column::required("occurrences", int.clone(), "How often it happened, over all traces."),
        Column::required(
            "wasted_nanos",
            int.clone(),
            "Time that the traces seen would get back if it were fixed, ns.",
        ),
        Column::optional(
            "wasted_nanos_estimated",
            int.clone(),
            "The same times the adjusted count, ns; NULL when that is unknown.",
        ),
        Column::optional(
            "wasted_share",
            DataType::Float64,
            "Wasted time over the endpoint's whole time, 0 to 1.",
        ),
        Column::required("confidence", TEXT, "`certain`, `likely` or `possible`."),
        Column::required("confidence_reason", TEXT, "Why it is no more and no less sure."),
        Column::required("evidence", TEXT, "The numbers and spans behind it, as a JSON object."),
        Column::required("remediation", TEXT, "What to do, as a JSON object."),
        Column::optional("caused_by", TEXT, "The finding that causes this one."),
        Column::required("first_seen", time.clone(), "When it was first seen."),
        Column::required("last_seen", time, "When it was last seen."),
        Column::required("service_versions", texts, "Versions of the service it was seen in."),
        Column::required(
            "status",
            TEXT,
            "`new`, `ongoing`, `regressed`, `resolved`, `not_seen` or `muted`.",
        ),
    ];
    Table { name: "findings", doc: "One row a finding, ranked by `wasted_nanos`.", columns }
}
