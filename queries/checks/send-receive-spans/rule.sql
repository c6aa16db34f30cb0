-- One row for each service whose spans are mostly of ASGI messages.
WITH requests AS (
    SELECT
        service_name,
        trace_id,
        entry_span_id,
        count(*) AS spans,
        count(asgi_event_type) AS messages,
        min(endpoint) AS endpoint,
        min(span_id) FILTER (WHERE asgi_event_type IS NOT NULL) AS span_id
    FROM spans_with_facts
    GROUP BY service_name, trace_id, entry_span_id
), services AS (
    SELECT
        service_name,
        sum(spans) AS spans,
        sum(messages) AS messages,
        max(messages) AS messages_most,
        first_value(trace_id ORDER BY messages DESC, endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY messages DESC, endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY messages DESC, endpoint, trace_id, span_id) AS endpoint
    FROM requests
    GROUP BY service_name
)
SELECT
    services.service_name,
    services.trace_id,
    services.span_id,
    'http send and http receive' AS subject,
    services.messages AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'they carry the attribute asgi.event.type' AS confidence_reason,
    services.messages,
    services.spans,
    CAST(services.messages AS DOUBLE) / services.spans AS messages_share,
    services.messages_most
FROM services
JOIN params
    ON params.service_name = services.service_name
    AND params.endpoint = services.endpoint
    AND params.kind = 'INTERNAL'
WHERE
    services.spans >= spans_min
    AND services.messages > 0
    AND services.messages >= messages_share_min * services.spans
ORDER BY services.service_name
