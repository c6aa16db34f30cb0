-- One row for each service whose requests never overlap.
WITH watched AS (
    -- Services that say themselves when they block, by timesink-otel or Logfire: they need no second
    -- client.
    SELECT DISTINCT service_name, TRUE AS is_watched
    FROM spans_with_facts
    WHERE
        is_watched
        OR timesink_event_loop IS NOT NULL
        OR scope_name IN ('timesink_otel', 'logfire.asyncio')
), requests AS (
    -- Each request, and when the last of those before it ended, in whatever process: workers that
    -- serve one request at a time have no second one, and had the load.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        start_time_unix_nano,
        max(end_time_unix_nano) OVER (
            PARTITION BY service_name
            ORDER BY start_time_unix_nano, trace_id, span_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS last_end
    FROM spans_with_facts
    WHERE
        entry_span_id = span_id
        AND entry_kind = 'SERVER'
        AND coalesce(telemetry_sdk_language, 'python') = 'python'
), services AS (
    SELECT
        service_name,
        count(*) AS requests,
        count(*) FILTER (WHERE start_time_unix_nano < last_end) AS overlapping,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM requests
    GROUP BY service_name
)
SELECT
    services.service_name,
    services.trace_id,
    services.span_id,
    'requests at once' AS subject,
    services.requests AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'the times of its requests say so' AS confidence_reason,
    services.requests,
    services.overlapping
FROM services
LEFT JOIN watched USING (service_name)
JOIN params
    ON params.service_name = services.service_name
    AND params.endpoint = services.endpoint
    AND params.kind = services.kind
WHERE
    watched.is_watched IS NULL
    AND services.requests >= requests_min
    AND services.overlapping <= overlap_share_max * services.requests
ORDER BY services.service_name
