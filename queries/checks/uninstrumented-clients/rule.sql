-- One row for each service that calls nothing and whose requests are mostly without a span.
WITH services AS (
    -- Services of Python alone, without any call: proxies of other languages call nothing either.
    SELECT service_name
    FROM spans_with_facts
    GROUP BY service_name
    HAVING
        bool_or(telemetry_sdk_language = 'python')
        AND count(*) FILTER (WHERE kind IN ('CLIENT', 'PRODUCER')) = 0
), requests AS (
    SELECT
        span.service_name,
        count(*) AS requests,
        CAST(median(span.self_nanos - span.stalled_nanos) AS BIGINT) AS uncovered_nanos,
        median(
            CAST(span.self_nanos - span.stalled_nanos AS DOUBLE) / greatest(span.duration_nanos, 1)
        ) AS uncovered_share,
        first_value(span.trace_id ORDER BY span.endpoint, span.trace_id, span.span_id) AS trace_id,
        first_value(span.span_id ORDER BY span.endpoint, span.trace_id, span.span_id) AS span_id,
        first_value(span.endpoint ORDER BY span.endpoint, span.trace_id, span.span_id) AS endpoint,
        first_value(span.kind ORDER BY span.endpoint, span.trace_id, span.span_id) AS kind
    FROM spans_with_facts AS span
    JOIN services USING (service_name)
    WHERE
        span.entry_span_id = span.span_id
        AND span.kind IN ('SERVER', 'CONSUMER')
    GROUP BY span.service_name
)
SELECT
    requests.service_name,
    requests.trace_id,
    requests.span_id,
    'client libraries' AS subject,
    requests.requests AS occurrences,
    0 AS wasted_nanos,
    'possible' AS confidence,
    'it may compute all the time: that no span calls anything is certain, and why is not said' AS confidence_reason,
    requests.requests,
    requests.uncovered_nanos,
    requests.uncovered_share
FROM requests
JOIN params
    ON params.service_name = requests.service_name
    AND params.endpoint = requests.endpoint
    AND params.kind = requests.kind
WHERE
    requests.requests >= requests_min
    AND requests.uncovered_nanos >= uncovered_millis_min * 1000000
    AND requests.uncovered_share >= uncovered_share_min
ORDER BY requests.service_name
