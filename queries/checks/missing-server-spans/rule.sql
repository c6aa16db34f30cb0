-- One row for each service that makes calls outside of any request.
WITH services AS (
    -- Python alone: browsers and phones call, and serve nothing.
    SELECT service_name
    FROM spans_with_facts
    GROUP BY service_name
    HAVING
        bool_or(telemetry_sdk_language = 'python')
        AND count(*) FILTER (
            WHERE kind IN ('SERVER', 'CONSUMER') OR entry_kind IN ('SERVER', 'CONSUMER')
        ) = 0
), roots AS (
    SELECT
        root.service_name,
        count(*) AS all_roots,
        count(*) FILTER (WHERE root.kind IN ('CLIENT', 'PRODUCER')) AS roots,
        first_value(root.trace_id ORDER BY root.endpoint, root.trace_id, root.span_id)
            FILTER (WHERE root.kind IN ('CLIENT', 'PRODUCER')) AS trace_id,
        first_value(root.span_id ORDER BY root.endpoint, root.trace_id, root.span_id)
            FILTER (WHERE root.kind IN ('CLIENT', 'PRODUCER')) AS span_id,
        first_value(root.endpoint ORDER BY root.endpoint, root.trace_id, root.span_id)
            FILTER (WHERE root.kind IN ('CLIENT', 'PRODUCER')) AS endpoint,
        first_value(root.kind ORDER BY root.endpoint, root.trace_id, root.span_id)
            FILTER (WHERE root.kind IN ('CLIENT', 'PRODUCER')) AS kind
    FROM spans_with_facts AS root
    JOIN services USING (service_name)
    WHERE root.parent_span_id IS NULL
    GROUP BY root.service_name
)
SELECT
    roots.service_name,
    roots.trace_id,
    roots.span_id,
    'server spans' AS subject,
    roots.roots AS occurrences,
    0 AS wasted_nanos,
    'possible' AS confidence,
    'it may be a script or a load generator, which serve nobody' AS confidence_reason,
    roots.roots,
    CAST(roots.roots AS DOUBLE) / roots.all_roots AS roots_share
FROM roots
JOIN params
    ON params.service_name = roots.service_name
    AND params.endpoint = roots.endpoint
    AND params.kind = roots.kind
WHERE roots.roots >= roots_min AND roots.roots >= roots_share_min * roots.all_roots
ORDER BY roots.service_name
