-- One row for each pair of services whose clocks differ.
WITH calls AS (
    -- How much more the server's times are moved than the caller's, so that they fit.
    SELECT
        client.service_name,
        client.endpoint,
        client.kind,
        client.trace_id,
        client.span_id,
        server.service_name AS server,
        server.skew_nanos - client.skew_nanos AS moved_nanos
    FROM spans_with_facts AS client
    JOIN spans_with_facts AS server
        ON server.trace_id = client.trace_id AND server.span_id = client.server_span_id
    WHERE client.kind = 'CLIENT' AND server.service_name <> client.service_name
), pairs AS (
    SELECT
        service_name,
        server,
        count(*) AS calls,
        CAST(median(moved_nanos) AS BIGINT) AS moved_nanos,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM calls
    GROUP BY service_name, server
)
SELECT
    pairs.service_name,
    pairs.trace_id,
    pairs.span_id,
    concat(pairs.service_name, ' -> ', pairs.server) AS subject,
    pairs.calls AS occurrences,
    0 AS wasted_nanos,
    'likely' AS confidence,
    'most of its requests begin before the call that they answer, or end after it' AS confidence_reason,
    pairs.server,
    abs(pairs.moved_nanos) AS skew_nanos,
    CASE WHEN pairs.moved_nanos < 0 THEN 'ahead of' ELSE 'behind' END AS direction,
    pairs.calls
FROM pairs
JOIN params
    ON params.service_name = pairs.service_name
    AND params.endpoint = pairs.endpoint
    AND params.kind = pairs.kind
WHERE pairs.calls >= calls_min AND abs(pairs.moved_nanos) >= skew_millis_min * 1000000
ORDER BY pairs.service_name, pairs.server
