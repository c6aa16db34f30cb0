-- One row for each service on an event loop that does not watch it.
WITH services AS (
    -- Marks are written by timesink-otel, warnings of slow callbacks by Logfire.
    SELECT
        service_name,
        count(*) FILTER (WHERE is_event_loop AND entry_span_id = span_id AND kind = 'SERVER')
            AS requests,
        bool_or(
            is_watched
            OR timesink_event_loop IS NOT NULL
            OR coalesce(scope_name, '') IN ('timesink_otel', 'logfire.asyncio')
        ) AS is_watched,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_event_loop AND entry_span_id = span_id AND kind = 'SERVER') AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_event_loop AND entry_span_id = span_id AND kind = 'SERVER') AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_event_loop AND entry_span_id = span_id AND kind = 'SERVER') AS endpoint
    FROM spans_with_facts
    WHERE coalesce(telemetry_sdk_language, 'python') = 'python'
    GROUP BY service_name
)
SELECT
    services.service_name,
    services.trace_id,
    services.span_id,
    'timesink-otel' AS subject,
    services.requests AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'its instrumentation is one of an event loop, and no span of it is by timesink-otel or of Logfire''s warnings' AS confidence_reason,
    services.requests
FROM services
JOIN params
    ON params.service_name = services.service_name
    AND params.endpoint = services.endpoint
    AND params.kind = 'SERVER'
WHERE NOT services.is_watched AND services.requests >= requests_min
ORDER BY services.service_name
