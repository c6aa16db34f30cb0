WITH operations AS (
    -- What the request asks of databases, caches and services without failing; how long each takes,
    -- and how long the request waits for it. Of a call whose server is recorded the better part is
    -- the server's.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        tiling_span_id,
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
        tiling_span_id,
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
        tiling_span_id,
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
), measured AS (
    -- The small ones are those that the request waits for: what runs beside another costs no time,
    -- and what takes long is work, not a round trip.
    SELECT
        operations.service_name,
        trace_id,
        tiling_span_id,
        query_shape,
        duration_nanos - least(stalled_nanos, duration_nanos) AS call_nanos,
        critical_nanos - least(stalled_nanos, critical_nanos) AS waited_nanos,
        tiling_duration_nanos,
        call_millis_max * 1000000 AS call_nanos_max,
        repeats_max,
        operations_min,
        entry_share_min
    FROM operations
    JOIN params USING (service_name, endpoint, kind)
), shapes AS (
    -- How often each is asked in its request, and what the small ones of them take; a task in the
    -- background counts for itself. What repeats is a loop.
    SELECT
        service_name,
        trace_id,
        tiling_span_id,
        count(*) FILTER (WHERE waited_nanos > 0 AND call_nanos <= call_nanos_max) AS operations,
        sum(call_nanos) FILTER (WHERE waited_nanos > 0 AND call_nanos <= call_nanos_max)
            AS call_nanos,
        sum(waited_nanos) FILTER (WHERE waited_nanos > 0 AND call_nanos <= call_nanos_max)
            AS waited_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        max(operations_min) AS operations_min,
        max(entry_share_min) AS entry_share_min
    FROM measured
    GROUP BY service_name, trace_id, tiling_span_id, query_shape
    HAVING count(*) <= max(repeats_max)
), requests AS (
    SELECT
        service_name,
        trace_id,
        tiling_span_id,
        sum(operations) AS operations,
        count(*) FILTER (WHERE operations > 0) AS shapes,
        sum(call_nanos) / sum(operations) AS typical_nanos,
        least(sum(waited_nanos), max(entry_nanos)) AS calls_nanos,
        max(entry_nanos) AS entry_nanos,
        max(entry_share_min) AS entry_share_min
    FROM shapes
    GROUP BY service_name, trace_id, tiling_span_id
    HAVING sum(operations) >= max(operations_min)
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
WHERE calls_nanos >= entry_share_min * entry_nanos
ORDER BY wasted_nanos DESC, trace_id, span_id
