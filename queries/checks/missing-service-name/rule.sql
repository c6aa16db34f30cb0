-- One row for each name that SDKs give to a service without one.
WITH nameless AS (
    -- The specification's name, and with it the name of the program.
    SELECT
        service_name,
        count(*) AS spans,
        count(DISTINCT process_id) AS processes,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id
    FROM spans_with_facts
    WHERE service_name = 'unknown_service' OR starts_with(service_name, 'unknown_service:')
    GROUP BY service_name
)
SELECT
    service_name,
    trace_id,
    span_id,
    'service.name' AS subject,
    spans AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'their resource has no service.name, or the one that SDKs write where none is set' AS confidence_reason,
    spans,
    processes
FROM nameless
ORDER BY service_name
