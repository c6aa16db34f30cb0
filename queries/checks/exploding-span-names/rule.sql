-- One row for each service, for its entries and for its other spans, whose names hold ids.
WITH named AS (
    -- Spans and what is left of their names without paths and ids. A test's name is its own, and an
    -- ASGI message has that of its request.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        name,
        entry_span_id = span_id AS is_entry,
        CASE
            WHEN entry_span_id = span_id
                AND http_route IS NULL
                AND length(url_path) > 1
                AND ends_with(name, url_path)
                THEN concat(left(name, length(name) - length(url_path)), '{path}')
            ELSE regexp_replace(
                name,
                '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{17,}|[0-9a-fA-F]{8,}|[0-9]+',
                '{}',
                'g'
            )
        END AS shape
    FROM spans_with_facts
    WHERE test_case_name IS NULL AND asgi_event_type IS NULL
), shapes AS (
    -- One name alone explodes nothing.
    SELECT
        service_name,
        is_entry,
        shape,
        count(DISTINCT name) AS names,
        count(*) AS spans,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind,
        first_value(name ORDER BY endpoint, trace_id, span_id) AS example
    FROM named
    GROUP BY service_name, is_entry, shape
    HAVING count(DISTINCT name) > 1
), judged AS (
    SELECT
        shapes.service_name,
        shapes.is_entry,
        shapes.shape,
        shapes.names,
        shapes.spans,
        shapes.trace_id,
        shapes.span_id,
        shapes.example
    FROM shapes
    JOIN params
        ON params.service_name = shapes.service_name
        AND params.endpoint = shapes.endpoint
        AND params.kind = shapes.kind
    WHERE
        shapes.names >= names_max
        OR (shapes.names >= names_min AND shapes.names >= names_share_min * shapes.spans)
)
SELECT
    service_name,
    first_value(trace_id ORDER BY names DESC, shape) AS trace_id,
    first_value(span_id ORDER BY names DESC, shape) AS span_id,
    CASE WHEN is_entry THEN 'names of requests and tasks' ELSE 'names of other spans' END AS subject,
    sum(spans) AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'the names differ in a number, an id or the path of the URL and in nothing else' AS confidence_reason,
    CASE WHEN is_entry THEN 'requests and tasks' ELSE 'spans within requests' END AS what,
    sum(names) AS names,
    sum(spans) AS spans,
    first_value(example ORDER BY names DESC, shape) AS example
FROM judged
GROUP BY service_name, is_entry
ORDER BY service_name, subject
