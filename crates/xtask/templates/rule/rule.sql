-- One row for each
SELECT
    service_name,
    trace_id,
    span_id,
    operation AS subject,
    1 AS occurrences,
    0 AS wasted_nanos
FROM spans_with_facts
WHERE FALSE
ORDER BY wasted_nanos DESC, trace_id, span_id
