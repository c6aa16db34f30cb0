-- One row for each request that spends its better part in statements of one shape that take long.
WITH slow_shapes AS (
    -- Statements that take long at least once. The rest, most by far, is not looked at.
    SELECT DISTINCT shapes.service_name, query_shape
    FROM (
        SELECT service_name, endpoint, kind, query_shape, max(duration_nanos) AS longest_nanos
        FROM db_client_spans
        WHERE status_code <> 'ERROR'
        GROUP BY service_name, endpoint, kind, query_shape
    ) AS shapes
    JOIN params USING (service_name, endpoint, kind)
    WHERE longest_nanos >= query_millis_min * 1000000
), queries AS (
    -- What a stall of the caller's own event loop added is not the database's.
    SELECT
        *,
        query_nanos >= query_millis_min * 1000000 AS is_long
    FROM (
        SELECT
            service_name,
            endpoint,
            kind,
            trace_id,
            span_id,
            entry_span_id,
            query_shape,
            tiling_duration_nanos,
            -- No span around it waits for it: it is a root, its parent is lost, or it outlives it.
            tiling_duration_nanos = duration_nanos AS is_alone,
            duration_nanos - least(stalled_nanos, duration_nanos) AS query_nanos,
            critical_nanos - least(stalled_nanos, critical_nanos) AS waited_nanos,
            code_file_path,
            code_line_number
        FROM db_client_spans
        JOIN slow_shapes USING (service_name, query_shape)
        WHERE status_code <> 'ERROR'
    ) AS statements
    JOIN params USING (service_name, endpoint, kind)
), usual AS (
    -- What the statement takes wherever the service sends it.
    SELECT service_name, query_shape, median(query_nanos) AS usual_nanos, count(*) AS calls
    FROM queries
    GROUP BY service_name, query_shape
), requests AS (
    -- What runs in the background of a request is judged for itself: it has a duration of its own.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        trace_id,
        entry_span_id,
        query_shape,
        count(*) FILTER (WHERE is_long) AS queries,
        first_value(span_id ORDER BY query_nanos DESC, span_id) AS span_id,
        max(query_nanos) AS query_nanos,
        coalesce(sum(waited_nanos) FILTER (WHERE is_long), 0) AS waited_nanos,
        tiling_duration_nanos AS entry_nanos,
        bool_and(is_alone) AS is_alone,
        max(requests_min) AS requests_min,
        max(usual_factor_min) AS usual_factor_min,
        max(entry_share_min) AS entry_share_min,
        first_value(code_file_path ORDER BY query_nanos DESC, span_id) AS code_file_path,
        first_value(code_line_number ORDER BY query_nanos DESC, span_id) AS code_line_number
    FROM queries
    GROUP BY service_name, trace_id, entry_span_id, query_shape, tiling_duration_nanos
), judged AS (
    SELECT
        *,
        queries > 0 AND waited_nanos >= entry_share_min * entry_nanos AS is_slow
    FROM requests
    JOIN usual USING (service_name, query_shape)
), endpoints AS (
    SELECT
        service_name,
        endpoint,
        query_shape,
        count(DISTINCT concat(trace_id, entry_span_id)) AS requests,
        count(DISTINCT CASE WHEN is_slow THEN concat(trace_id, entry_span_id) END) AS slow_requests
    FROM judged
    GROUP BY service_name, endpoint, query_shape
)
SELECT
    judged.service_name,
    judged.trace_id,
    judged.span_id,
    judged.query_shape AS subject,
    judged.queries AS occurrences,
    judged.waited_nanos AS wasted_nanos,
    CASE
        WHEN judged.is_alone OR requests < requests_min OR 2 * slow_requests < requests THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN judged.is_alone
            THEN 'no request on record waits for it: it runs by itself or in the background, or the spans around it are missing'
        WHEN requests < requests_min
            THEN 'only few requests with it are on record: a first statement pays for a cold cache and a new plan'
        WHEN 2 * slow_requests < requests
            THEN 'it is slow now and then only: a lock, a cold cache or another plan, or another request that takes all there is'
        WHEN regexp_like(
            judged.query_shape,
            '^(UPDATE|DELETE|INSERT|MERGE|REPLACE) |FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE'
        )
            THEN 'most requests spend their better part in it, stalls of the event loop taken off; it locks rows, so it may wait for other transactions rather than work'
        ELSE 'most requests spend their better part in it, stalls of the event loop taken off; how much of it the database could do without, its plan says'
    END AS confidence_reason,
    judged.query_nanos,
    judged.queries,
    judged.waited_nanos,
    CAST(judged.waited_nanos AS DOUBLE) / greatest(1, judged.entry_nanos) AS waited_share,
    judged.entry_nanos,
    CAST(judged.usual_nanos AS BIGINT) AS usual_nanos,
    judged.calls,
    judged.code_file_path,
    judged.code_line_number
FROM judged
JOIN endpoints USING (service_name, endpoint, query_shape)
WHERE
    judged.is_slow
    AND (2 * slow_requests >= requests OR judged.query_nanos >= usual_factor_min * usual_nanos)
    -- These wait on purpose, or are maintenance, which no index makes faster.
    AND NOT regexp_like(
        upper(judged.query_shape),
        '^(SELECT (PG_ADVISORY|PG_TRY_ADVISORY|GET_LOCK)|LISTEN|WAITFOR|LOCK|BEGIN|GETMORE)'
    )
    AND NOT regexp_like(
        upper(judged.query_shape),
        '^(CREATE|ALTER|DROP|TRUNCATE|VACUUM|ANALYZE|REINDEX|CLUSTER|REFRESH|OPTIMIZE) '
    )
ORDER BY wasted_nanos DESC, judged.trace_id, judged.span_id
