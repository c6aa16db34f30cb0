-- One row for each pair of services whose calls and requests do not know each other.
WITH calls AS (
    -- Calls, with whom they ask for what. An RPC names no host that its server would know.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        CASE
            WHEN url_full IS NULL THEN coalesce(rpc_method, query_shape)
            ELSE split_part(lower(peer), ':', 1)
        END AS host,
        CASE WHEN url_full IS NULL THEN '' ELSE split_part(peer, ':', 2) END AS port,
        request_target AS asked,
        url_full IS NULL AS is_rpc,
        server_service_name IS NULL AS is_unanswered
    FROM call_client_spans
    WHERE NOT is_failed
), calls_seen AS (
    SELECT service_name, host, port, count(*) AS calls
    FROM calls
    GROUP BY service_name, host, port
), requests AS (
    -- What was asked of a service by requests that begin a trace.
    SELECT
        service_name,
        CASE
            WHEN url_path IS NOT NULL AND http_request_method IS NOT NULL
                THEN concat(http_request_method, ' ', url_path)
            WHEN rpc_method IS NOT NULL AND coalesce(rpc_service, '') <> ''
                THEN concat(rpc_service, '/', rpc_method)
            ELSE rpc_method
        END AS asked,
        rpc_method IS NOT NULL AS is_rpc,
        lower(split_part(server_address, ':', 1)) AS host,
        coalesce(
            CAST(server_port AS VARCHAR), split_part(server_address, ':', 2), ''
        ) AS port,
        count(*) AS requests
    FROM spans_with_facts
    WHERE kind = 'SERVER' AND parent_span_id IS NULL AND entry_span_id = span_id
    GROUP BY 1, 2, 3, 4, 5
), pairs AS (
    -- A call of a host, and a request of the same at that host, or an RPC of one method.
    SELECT
        calls.service_name,
        calls.endpoint,
        calls.kind,
        calls.trace_id,
        calls.span_id,
        calls.host,
        calls.port,
        calls.asked,
        request.service_name AS server,
        max(request.requests) AS requests
    FROM calls
    JOIN requests AS request ON request.asked = calls.asked
    WHERE
        calls.is_unanswered
        AND request.service_name <> calls.service_name
        AND (
            (calls.is_rpc AND request.is_rpc)
            OR (
                request.host = calls.host
                AND (request.port = calls.port OR request.port = '' OR calls.port = '')
            )
        )
    GROUP BY calls.service_name, calls.endpoint, calls.kind, calls.trace_id, calls.span_id,
        calls.host, calls.port, calls.asked, request.service_name
), asked AS (
    SELECT service_name, server, host, port, asked, max(requests) AS requests
    FROM pairs
    GROUP BY service_name, server, host, port, asked
), requests_seen AS (
    SELECT service_name, server, host, port, sum(requests) AS requests
    FROM asked
    GROUP BY service_name, server, host, port
), edges AS (
    SELECT
        service_name,
        server,
        host,
        port,
        count(*) AS lost,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM pairs
    GROUP BY service_name, server, host, port
)
SELECT
    edges.service_name,
    edges.trace_id,
    edges.span_id,
    concat(edges.service_name, ' -> ', edges.server) AS subject,
    edges.lost AS occurrences,
    0 AS wasted_nanos,
    'likely' AS confidence,
    'calls without an answer on record, and requests for the same at the service called that begin traces' AS confidence_reason,
    edges.server,
    concat(edges.host, CASE WHEN edges.port = '' THEN '' ELSE ':' END, edges.port) AS host,
    edges.lost,
    calls_seen.calls,
    requests_seen.requests
FROM edges
JOIN calls_seen
    ON calls_seen.service_name = edges.service_name
    AND calls_seen.host = edges.host
    AND calls_seen.port = edges.port
JOIN requests_seen
    ON requests_seen.service_name = edges.service_name
    AND requests_seen.server = edges.server
    AND requests_seen.host = edges.host
    AND requests_seen.port = edges.port
JOIN params
    ON params.service_name = edges.service_name
    AND params.endpoint = edges.endpoint
    AND params.kind = edges.kind
WHERE
    edges.lost >= calls_min
    AND requests_seen.requests >= calls_min
    AND edges.lost >= lost_share_min * calls_seen.calls
ORDER BY edges.service_name, edges.server, host
