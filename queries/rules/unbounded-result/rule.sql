-- One row for each statement that returns very many rows, where it usually does and nothing limits it.
WITH queries AS (
    SELECT
        span.service_name,
        span.endpoint,
        span.kind,
        span.trace_id,
        span.span_id,
        span.entry_span_id,
        span.query_shape,
        span.is_batch,
        -- The entry waits for it, and somebody waits for the entry.
        span.entry_kind = 'SERVER' AND span.tiling_span_id = coalesce(entries.tiling_span_id, '')
            AS is_waited_for,
        span.db_response_returned_rows AS rows,
        span.duration_nanos AS query_nanos,
        -- With the uncovered time right behind it, in which rows become objects.
        span.critical_nanos - least(span.stalled_nanos, span.critical_nanos)
            + coalesce(gap.critical_nanos - least(gap.stalled_nanos, gap.critical_nanos), 0)
            AS cost_nanos,
        span.tiling_duration_nanos AS entry_nanos,
        ntile(2) OVER (
            PARTITION BY span.service_name, span.endpoint, span.query_shape
            ORDER BY span.start_time_unix_nano, span.span_id
        ) AS half,
        span.code_file_path,
        span.code_line_number
    FROM spans_with_facts AS span
    LEFT JOIN entries
        ON entries.trace_id = span.trace_id AND entries.span_id = span.entry_span_id
    LEFT JOIN gaps AS gap
        ON gap.trace_id = span.trace_id
        AND gap.entry_span_id = span.entry_span_id
        AND gap.span_id = span.parent_span_id
        AND gap.before = span.operation
        AND gap.start_time_unix_nano = span.start_time_unix_nano + span.duration_nanos
    WHERE
        span.kind = 'CLIENT'
        AND span.db_response_returned_rows IS NOT NULL
        AND span.duplicate_of IS NULL
        AND span.status_code <> 'ERROR'
        AND span.name NOT LIKE 'CURSOR:%'
        AND NOT regexp_like(
            upper(span.query_shape),
            '\bLIMIT\b|FETCH FIRST|FETCH NEXT|\bTOP ?\(?\?|\bROWNUM\b|^FETCH '
        )
        -- What RETURNING gives back was sent before.
        AND NOT regexp_like(span.query_shape, '^(INSERT|UPDATE|DELETE|MERGE|REPLACE)\b|\bRETURNING\b')
), statements AS (
    SELECT
        service_name,
        endpoint,
        query_shape,
        min(rows_min) AS rows_min,
        avg(rows) FILTER (WHERE half = 2) / greatest(1.0, avg(rows) FILTER (WHERE half = 1)) AS growth,
        -- Every later one returns more than every earlier one: no chance of eight.
        count(*) >= 8 AND coalesce(
            min(rows) FILTER (WHERE half = 2) > max(rows) FILTER (WHERE half = 1), FALSE
        ) AS is_growing
    FROM queries
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY service_name, endpoint, query_shape
    HAVING
        count(DISTINCT concat(trace_id, entry_span_id)) >= max(requests_min)
        AND median(rows) >= max(rows_min)
        AND median(cost_nanos) >= max(cost_share_min) * median(entry_nanos)
)
SELECT
    queries.service_name,
    queries.trace_id,
    queries.span_id,
    queries.query_shape AS subject,
    1 AS occurrences,
    queries.cost_nanos AS wasted_nanos,
    CASE WHEN queries.is_batch OR NOT queries.is_waited_for THEN 'possible' ELSE 'likely' END AS confidence,
    CASE
        WHEN NOT queries.is_waited_for
            THEN 'the rows were counted, and the statement has no limit; no request waits for it, and a task may need all of them'
        WHEN queries.is_batch
            THEN 'the rows were counted; a list of keys bounds them: it is long, or many rows belong to each'
        WHEN statements.is_growing AND statements.growth >= 1.2
            THEN 'the rows were counted, the statement has no limit, and they became more while this was recorded'
        ELSE 'the rows were counted, and the statement has no limit; whether the request needs all of them, spans do not say'
    END AS confidence_reason,
    queries.rows,
    queries.rows AS rows_most,
    queries.query_nanos,
    queries.cost_nanos,
    queries.entry_nanos,
    statements.growth,
    queries.code_file_path,
    queries.code_line_number
FROM queries
JOIN statements USING (service_name, endpoint, query_shape)
WHERE queries.rows >= statements.rows_min
ORDER BY wasted_nanos DESC, queries.trace_id, queries.span_id
