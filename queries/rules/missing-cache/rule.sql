-- One row for each request that reads and waits for what other requests have read before it.
WITH all_reads AS (
    -- What says all that it asks for: a URL, or a statement without parameters. A statement that
    -- locks, waits, counts on or takes the time is no read of data. What a masked URL asks for
    -- nobody knows. Of a call whose server is recorded the better part is the server's.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        entry_span_id,
        query_shape,
        url_full AS target,
        start_time_unix_nano,
        start_time_unix_nano + duration_nanos AS end_time_unix_nano,
        duration_nanos - least(stalled_nanos, duration_nanos) AS read_nanos,
        CASE
            WHEN server_service_name IS NULL OR critical_nanos = 0
                THEN critical_nanos - least(stalled_nanos, critical_nanos)
            ELSE duration_nanos - least(stalled_nanos, duration_nanos)
        END AS waited_nanos,
        tiling_duration_nanos,
        code_file_path,
        code_line_number
    FROM call_client_spans
    WHERE
        NOT is_failed
        AND starts_with(query_shape, 'GET ')
        AND url_full IS NOT NULL
        AND strpos(url_full, '***') = 0
    UNION ALL
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        entry_span_id,
        query_shape,
        concat(query_shape, ' ', CAST(coalesce(literals_hash, 0) AS VARCHAR)) AS target,
        start_time_unix_nano,
        start_time_unix_nano + duration_nanos AS end_time_unix_nano,
        duration_nanos - least(stalled_nanos, duration_nanos) AS read_nanos,
        critical_nanos - least(stalled_nanos, critical_nanos) AS waited_nanos,
        tiling_duration_nanos,
        code_file_path,
        code_line_number
    FROM db_client_spans
    WHERE
        status_code <> 'ERROR'
        AND starts_with(upper(query_shape), 'SELECT')
        AND NOT regexp_like(
            replace(db_query_text, '::', ' '),
            '%s|%\(|\$[0-9]|\?|:[a-zA-Z_0-9]|@[a-zA-Z_]|\*\*\*'
        )
        AND NOT regexp_like(
            upper(query_shape),
            'FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE|NEXTVAL|CURRVAL|LAST_INSERT|FOUND_ROWS'
        )
        AND NOT regexp_like(
            upper(query_shape),
            'RAND(OM)?\(|NOW\(|CLOCK_TIMESTAMP|UUID|PG_|SLEEP|WAITFOR|GET_LOCK'
        )
), first_reads AS (
    -- Once a request: what it reads again itself is a loop, or duplicate-query's.
    SELECT
        all_reads.*,
        row_number() OVER (
            PARTITION BY service_name, trace_id, entry_span_id, target
            ORDER BY start_time_unix_nano, span_id
        ) AS time_in_request
    FROM all_reads
), rehearsals AS (
    -- Endpoints whose route has a parameter, and whose requests on record all ask for one and the
    -- same URL: that repeats itself, and reads what it reads for that.
    SELECT service_name, endpoint, TRUE AS is_rehearsed
    FROM spans_with_facts
    WHERE
        span_id = entry_span_id
        AND entry_kind = 'SERVER'
        AND regexp_like(coalesce(http_route, endpoint), '[{<]')
    GROUP BY service_name, endpoint
    HAVING
        count(coalesce(url_path, http_target, url_full)) = count(*)
        AND count(
            DISTINCT concat(coalesce(url_path, http_target, url_full), '?', coalesce(url_query, ''))
        ) = 1
), repeated AS (
    -- What is asked for often and takes long at least once, if most reads of its shape repeat an
    -- earlier one to the letter: the rest is not looked at.
    SELECT shapes.service_name, shapes.endpoint, target
    FROM (
        SELECT
            service_name,
            endpoint,
            kind,
            target,
            count(*) AS reads,
            max(read_nanos) AS longest_nanos,
            1.0 - CAST(count(*) OVER shape AS DOUBLE) / sum(count(*)) OVER shape AS same_share
        FROM first_reads
        WHERE time_in_request = 1
        GROUP BY service_name, endpoint, kind, query_shape, target
        WINDOW shape AS (PARTITION BY service_name, endpoint, query_shape)
    ) AS shapes
    JOIN params USING (service_name, endpoint, kind)
    LEFT JOIN rehearsals USING (service_name, endpoint)
    WHERE
        reads >= requests_min
        AND rehearsals.is_rehearsed IS NULL
        AND longest_nanos >= read_millis_min * 1000000
        AND same_share >= same_share_min
), writers AS (
    -- Requests that also write, here or elsewhere.
    SELECT trace_id, entry_span_id, TRUE AS writes
    FROM db_client_spans
    WHERE
        NOT starts_with(query_shape, 'SELECT')
        AND regexp_like(upper(query_shape), '^(INSERT|UPDATE|DELETE|MERGE|REPLACE|UPSERT)')
    UNION
    SELECT trace_id, entry_span_id, TRUE AS writes
    FROM call_client_spans
    WHERE regexp_like(query_shape, '^(POST|PUT|PATCH|DELETE) ')
), reads AS (
    SELECT
        first_reads.*,
        first_reads.start_time_unix_nano - lag(first_reads.start_time_unix_nano) OVER (
            PARTITION BY first_reads.service_name, first_reads.endpoint, first_reads.target
            ORDER BY first_reads.start_time_unix_nano, first_reads.span_id
        ) AS between_nanos,
        coalesce(entries.entry_number, 0) = 1 AS is_first_of_process,
        coalesce(writers.writes, FALSE) AS writes
    FROM first_reads
    JOIN repeated
        ON repeated.service_name = first_reads.service_name
        AND repeated.endpoint = first_reads.endpoint
        AND repeated.target = first_reads.target
    LEFT JOIN entries
        ON entries.trace_id = first_reads.trace_id AND entries.span_id = first_reads.entry_span_id
    LEFT JOIN writers
        ON writers.trace_id = first_reads.trace_id
        AND writers.entry_span_id = first_reads.entry_span_id
    WHERE time_in_request = 1
), edges AS (
    -- Where a read begins and ends: how many are under way at a time.
    SELECT service_name, endpoint, target, start_time_unix_nano AS at_nanos, 1 AS step
    FROM reads
    UNION ALL
    SELECT service_name, endpoint, target, end_time_unix_nano AS at_nanos, -1 AS step
    FROM reads
), crowds AS (
    SELECT service_name, endpoint, target, max(running) AS at_once
    FROM (
        SELECT
            service_name,
            endpoint,
            target,
            sum(step) OVER (
                PARTITION BY service_name, endpoint, target
                ORDER BY at_nanos, step
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS running
        FROM edges
    ) AS steps
    GROUP BY service_name, endpoint, target
), targets AS (
    -- What many requests ask for soon after one another and wait for. What each process asks for
    -- in its first request only, it keeps already.
    SELECT
        reads.service_name,
        reads.endpoint,
        query_shape,
        target,
        count(DISTINCT trace_id) AS requests,
        CAST(median(between_nanos) AS BIGINT) AS between_nanos,
        2 * count(*) FILTER (WHERE writes) > count(*) AS writes,
        max(between_seconds_max) AS between_seconds_max
    FROM reads
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY reads.service_name, reads.endpoint, query_shape, target
    HAVING
        count(DISTINCT trace_id) >= max(requests_min)
        AND median(between_nanos) <= max(between_seconds_max) * 1000000000
        AND median(read_nanos) >= max(read_millis_min) * 1000000
        AND median(waited_nanos) >= max(entry_share_min) * median(tiling_duration_nanos)
        AND 2 * count(*) FILTER (WHERE NOT is_first_of_process) >= count(*)
)
SELECT
    reads.service_name,
    reads.trace_id,
    reads.span_id,
    reads.query_shape AS subject,
    1 AS occurrences,
    CASE
        WHEN reads.between_nanos <= targets.between_seconds_max * 1000000000
            THEN reads.waited_nanos
        ELSE 0
    END AS wasted_nanos,
    'possible' AS confidence,
    CASE
        WHEN targets.writes
            THEN 'the very same thing is asked for again and again, by requests that also write: whether they may act on an older answer, and whether it is the same for all users, spans do not say'
        ELSE 'the very same thing is asked for again and again; whether its answer is the same, for all users too, and how old it may be, spans do not say'
    END AS confidence_reason,
    targets.requests,
    reads.read_nanos,
    reads.tiling_duration_nanos AS entry_nanos,
    targets.between_nanos,
    crowds.at_once,
    reads.code_file_path,
    reads.code_line_number
FROM reads
JOIN targets
    ON targets.service_name = reads.service_name
    AND targets.endpoint = reads.endpoint
    AND targets.query_shape = reads.query_shape
    AND targets.target = reads.target
JOIN crowds
    ON crowds.service_name = reads.service_name
    AND crowds.endpoint = reads.endpoint
    AND crowds.target = reads.target
ORDER BY wasted_nanos DESC, reads.trace_id, reads.span_id
