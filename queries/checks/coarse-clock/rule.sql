-- One row for each service that writes times in whole milliseconds.
WITH services AS (
    SELECT
        service_name,
        count(*) AS spans,
        count(*) FILTER (
            WHERE start_time_unix_nano % 1000000 = 0 AND end_time_unix_nano % 1000000 = 0
        ) AS coarse,
        count(*) FILTER (
            WHERE start_time_unix_nano % 1000000 = 0
                AND end_time_unix_nano = start_time_unix_nano
        ) AS empty,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM spans_with_facts
    -- A browser has no finer clock.
    WHERE coalesce(telemetry_sdk_language, '') <> 'webjs'
    GROUP BY service_name
)
SELECT
    services.service_name,
    services.trace_id,
    services.span_id,
    'times in milliseconds' AS subject,
    services.coarse AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'their starts and ends are all divisible by a million nanoseconds' AS confidence_reason,
    services.coarse,
    services.spans,
    services.empty
FROM services
JOIN params
    ON params.service_name = services.service_name
    AND params.endpoint = services.endpoint
    AND params.kind = services.kind
WHERE
    services.spans >= spans_min
    AND services.coarse >= coarse_share_min * services.spans
ORDER BY services.service_name
