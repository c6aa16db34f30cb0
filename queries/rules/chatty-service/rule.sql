-- One row for each request that makes many small calls of all kinds, one after the other.
WITH operations AS (
    -- What the request asks of databases, caches and services without failing; how long each takes,
    -- and how long the request waits for it. Of a call whose server is recorded the better part is
    -- the server's.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        query_shape,
        duration_nanos,
        stalled_nanos,
        critical_nanos,
        tiling_duration_nanos
    FROM db_client_spans
    WHERE status_code <> 'ERROR'
    UNION ALL
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        query_shape,
        duration_nanos,
        stalled_nanos,
        critical_nanos,
        tiling_duration_nanos
    FROM cache_client_spans
    WHERE status_code <> 'ERROR'
    UNION ALL
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        query_shape,
        duration_nanos,
        stalled_nanos,
        CASE
            WHEN server_service_name IS NULL OR critical_nanos = 0 THEN critical_nanos
            ELSE duration_nanos
        END AS critical_nanos,
        tiling_duration_nanos
    FROM call_client_spans
    WHERE NOT is_failed
), repeated AS (
    -- How often each is asked in its request; a task in the background counts for itself.
    SELECT
        operations.service_name,
        operations.endpoint,
        operations.kind,
        operations.trace_id,
        fact.tiling_span_id,
        operations.query_shape,
        operations.duration_nanos
            - least(operations.stalled_nanos, operations.duration_nanos) AS call_nanos,
        operations.critical_nanos
            - least(operations.stalled_nanos, operations.critical_nanos) AS waited_nanos,
        operations.tiling_duration_nanos,
        count(*) OVER (
            PARTITION BY
                operations.service_name,
                operations.trace_id,
                fact.tiling_span_id,
                operations.query_shape
        ) AS repeats
    FROM operations
    JOIN facts AS fact
        ON fact.trace_id = operations.trace_id AND fact.span_id = operations.span_id
), requests AS (
    -- The small ones that the request waits for. What runs beside another costs no time; what takes
    -- long is work, not a round trip; what repeats is a loop.
    SELECT
        repeated.service_name,
        trace_id,
        tiling_span_id,
        count(*) AS operations,
        count(DISTINCT query_shape) AS shapes,
        sum(call_nanos) / count(*) AS typical_nanos,
        least(sum(waited_nanos), max(tiling_duration_nanos)) AS calls_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        max(operations_min) AS operations_min,
        max(entry_share_min) AS entry_share_min
    FROM repeated
    JOIN params USING (service_name, endpoint, kind)
    WHERE
        waited_nanos > 0
        AND call_nanos <= call_millis_max * 1000000
        AND repeats <= repeats_max
    GROUP BY repeated.service_name, trace_id, tiling_span_id
)
SELECT
    service_name,
    trace_id,
    tiling_span_id AS span_id,
    'many small calls' AS subject,
    operations AS occurrences,
    -- Half of it, if calls were asked in pairs: what can be saved nobody knows.
    calls_nanos / 2 AS wasted_nanos,
    'possible' AS confidence,
    'they are many, and loops are not among them; which could be asked together, spans do not say'
        AS confidence_reason,
    operations,
    shapes,
    typical_nanos,
    calls_nanos,
    entry_nanos
FROM requests
WHERE operations >= operations_min AND calls_nanos >= entry_share_min * entry_nanos
ORDER BY wasted_nanos DESC, trace_id, span_id
