-- One row for each service whose requests of many paths have one name.
WITH requests AS (
    -- Requests over HTTP that were let in: what no route matches has none.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        name,
        http_route IS NULL
            AND name IN (http_request_method, concat('HTTP ', http_request_method), 'HTTP')
            AS is_nameless,
        regexp_replace(url_path, '[0-9a-fA-F]{8,}|[0-9]+', '{}', 'g') AS path
    FROM spans_with_facts
    WHERE
        kind = 'SERVER'
        AND entry_span_id = span_id
        AND http_request_method IS NOT NULL
        AND coalesce(http_response_status_code, 0) NOT IN (301, 302, 307, 308, 400, 401, 403, 404, 405)
), services AS (
    SELECT
        service_name,
        count(*) AS all_requests,
        count(*) FILTER (WHERE is_nameless) AS requests,
        count(DISTINCT path) FILTER (WHERE is_nameless) AS paths,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_nameless) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_nameless) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_nameless) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_nameless) AS kind,
        first_value(name ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_nameless) AS example
    FROM requests
    GROUP BY service_name
)
SELECT
    services.service_name,
    services.trace_id,
    services.span_id,
    'http.route' AS subject,
    services.requests AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'they have no http.route, and their name is the method' AS confidence_reason,
    services.requests,
    services.paths,
    CAST(services.requests AS DOUBLE) / services.all_requests AS without_share,
    services.example
FROM services
JOIN params
    ON params.service_name = services.service_name
    AND params.endpoint = services.endpoint
    AND params.kind = services.kind
WHERE
    services.requests >= requests_min
    AND services.paths >= paths_min
    AND services.requests >= without_share_min * services.all_requests
ORDER BY services.service_name
