-- One row for each statement that a request reads with again and again, the same to the letter.
WITH texts AS (
    -- What can be told by each statement as it was written, however often it was sent. A query that
    -- calls a function and reads no table may do anything, so it is no read.
    SELECT
        db_query_text,
        query_shape,
        regexp_like(query_shape, '^(SELECT|WITH) ')
            AND regexp_like(query_shape, '\bFROM [^ (]+( |;|,|\)|$)')
            AND NOT regexp_like(
                query_shape, '\b(INTO|INSERT|UPDATE|DELETE|MERGE)\b|FOR (KEY )?SHARE'
            ) AS is_read,
        NOT regexp_like(
            upper(query_shape),
            'NEXTVAL|CURRVAL|LASTVAL|LAST_INSERT|\bRAND(OM)?\(|UUID[A-Z0-9_]*\(|GETDATE|SYSDATE'
                || '|\bNOW\(|CURRENT_(DATE|TIME)|LOCALTIME'
                || '|(CLOCK|STATEMENT|TRANSACTION)_TIMESTAMP\('
                || '|SLEEP\(|ADVISORY|GET_LOCK|\bPG_|FOUND_ROWS|ROW_COUNT|CHANGES\('
        ) AS is_steady,
        NOT regexp_like(
            regexp_replace(db_query_text, '''[^'']*''', '', 'g'),
            '\?|%[a-zA-Z(]|\$[a-zA-Z0-9]|@[a-zA-Z_]|\{|(^|[^:]):[a-zA-Z0-9_]'
        ) AS is_whole,
        has_parameters
    FROM (
        SELECT
            db_query_text,
            query_shape,
            bool_or(db_statement_parameters IS NOT NULL) AS has_parameters
        FROM db_client_spans
        GROUP BY db_query_text, query_shape
    ) AS distinct_texts
), steps AS (
    -- The reads, and what may have changed what they read: writes, and calls that do more than ask.
    SELECT
        query.service_name,
        query.endpoint,
        query.kind,
        query.trace_id,
        query.span_id,
        query.entry_span_id,
        query.query_shape,
        query.db_query_text,
        -- Which database is asked, and parameters, which instrumentations record when told to.
        concat_ws(' ', db_namespace, server_address, server_port) AS place,
        query.db_statement_parameters AS parameters,
        NOT texts.is_read AS is_write,
        query.start_time_unix_nano,
        query.duration_nanos,
        query.critical_nanos - least(query.stalled_nanos, query.critical_nanos) AS waited_nanos,
        query.pause_nanos,
        query.tiling_duration_nanos,
        query.code_file_path,
        query.code_line_number
    FROM texts
    JOIN db_client_spans AS query
        ON query.db_query_text = texts.db_query_text AND query.query_shape = texts.query_shape
    WHERE
        NOT texts.is_read
        OR (
            texts.is_steady
            AND (texts.is_whole OR texts.has_parameters)
            AND (texts.is_whole OR query.db_statement_parameters IS NOT NULL)
            AND query.status_code <> 'ERROR'
        )
    UNION ALL
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        entry_span_id,
        query_shape,
        CAST(NULL AS VARCHAR) AS db_query_text,
        CAST(NULL AS VARCHAR) AS place,
        CAST(NULL AS VARCHAR) AS parameters,
        TRUE AS is_write,
        start_time_unix_nano,
        duration_nanos,
        0 AS waited_nanos,
        0 AS pause_nanos,
        tiling_duration_nanos,
        code_file_path,
        code_line_number
    FROM call_client_spans
    WHERE NOT starts_with(query_shape, 'GET ') AND NOT starts_with(query_shape, 'HEAD ')
    UNION ALL
    -- A setting of the session, such as its schema: the same text may read something else.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        entry_span_id,
        query_shape,
        CAST(NULL AS VARCHAR) AS db_query_text,
        CAST(NULL AS VARCHAR) AS place,
        CAST(NULL AS VARCHAR) AS parameters,
        TRUE AS is_write,
        start_time_unix_nano,
        duration_nanos,
        0 AS waited_nanos,
        0 AS pause_nanos,
        tiling_duration_nanos,
        code_file_path,
        code_line_number
    FROM spans_with_facts
    WHERE
        kind = 'CLIENT'
        AND db_query_text IS NOT NULL
        AND (starts_with(query_shape, 'SET ') OR starts_with(query_shape, 'SELECT set_config'))
), reads AS (
    SELECT
        *,
        -- Comments differ from call to call: they may carry the trace.
        trim(regexp_replace(db_query_text, '/\*.*?\*/', '', 'gs')) AS statement,
        -- Longer ones may have been cut to a round length, and differ behind it.
        (character_length(db_query_text) >= 100
            AND (character_length(db_query_text) % 64 = 0 OR character_length(db_query_text) % 100 = 0))
            OR (character_length(coalesce(parameters, '')) >= 100
                AND (character_length(parameters) % 64 = 0 OR character_length(parameters) % 100 = 0))
            OR regexp_like(db_query_text, '(\.\.\.|…)$') AS may_be_cut
    FROM (
        SELECT
            *,
            sum(CASE WHEN is_write THEN 1 ELSE 0 END) OVER (
                PARTITION BY service_name, trace_id, entry_span_id
                ORDER BY start_time_unix_nano, span_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS writes_before
        FROM steps
    ) AS numbered
    WHERE NOT is_write
), unchanged AS (
    -- The repeats between two writes: the first of them is needed.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        query_shape,
        statement,
        place,
        parameters,
        count(*) AS repeats,
        sum(waited_nanos) AS queries_nanos,
        max(waited_nanos) AS longest_nanos,
        sum(pause_nanos) AS pauses_nanos,
        min(start_time_unix_nano) AS first_start,
        max(start_time_unix_nano + duration_nanos) AS last_end,
        max(tiling_duration_nanos) AS tiling_nanos,
        first_value(span_id ORDER BY start_time_unix_nano, span_id) AS span_id,
        first_value(pause_nanos ORDER BY start_time_unix_nano, span_id) AS first_pause_nanos,
        first_value(code_file_path ORDER BY start_time_unix_nano DESC, span_id) AS code_file_path,
        first_value(code_line_number ORDER BY start_time_unix_nano DESC, span_id) AS code_line_number,
        bool_or(may_be_cut) AS may_be_cut
    FROM reads
    GROUP BY
        service_name, trace_id, entry_span_id, query_shape, statement, place, parameters, writes_before
), repeats AS (
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        query_shape,
        sum(repeats) AS repeats,
        -- What once would do away with: after each write one is needed, or only the first is.
        sum(repeats - 1) + 1 AS unchanged_repeats,
        count(*) > 1 AS has_write,
        sum(queries_nanos - longest_nanos) AS unchanged_nanos,
        sum(queries_nanos) - max(longest_nanos) AS spare_nanos,
        sum(queries_nanos) AS queries_nanos,
        sum(pauses_nanos) - first_value(first_pause_nanos ORDER BY first_start) AS pauses_nanos,
        greatest(max(tiling_nanos), max(last_end) - min(first_start)) AS entry_nanos,
        first_value(span_id ORDER BY first_start, span_id) AS span_id,
        first_value(code_file_path ORDER BY repeats DESC, first_start) AS code_file_path,
        first_value(code_line_number ORDER BY repeats DESC, first_start) AS code_line_number,
        bool_or(may_be_cut) AS may_be_cut
    FROM unchanged
    GROUP BY service_name, trace_id, entry_span_id, query_shape, statement, place, parameters
), judged AS (
    SELECT
        repeats.*,
        unchanged_repeats >= repeats_min AND unchanged_nanos >= entry_share_min * entry_nanos
            AS is_unchanged,
        -- Polling: what it waits for comes from elsewhere.
        pauses_nanos >= 3 * queries_nanos
            AND pauses_nanos >= pause_millis_max * 1000000 * (repeats - 1) AS is_spaced
    FROM repeats
    JOIN params USING (service_name, endpoint, kind)
    WHERE repeats >= repeats_min AND spare_nanos >= entry_share_min * entry_nanos
)
SELECT
    service_name,
    trace_id,
    span_id,
    query_shape AS subject,
    repeats AS occurrences,
    CASE WHEN is_unchanged THEN unchanged_nanos ELSE spare_nanos END AS wasted_nanos,
    CASE
        WHEN is_spaced OR NOT is_unchanged THEN 'possible'
        WHEN may_be_cut THEN 'likely'
        ELSE 'certain'
    END AS confidence,
    CASE
        WHEN is_spaced
            THEN 'long pauses lie between the repeats: it may poll for what another changes'
        WHEN NOT is_unchanged
            THEN 'the statements are equal to the letter; the request writes between them, or calls what may write, which may have changed what they read'
        WHEN may_be_cut
            THEN 'the statements are equal as far as they are recorded; by their length they may have been cut'
        WHEN has_write
            THEN 'the statements and all that they ask for are equal to the letter; the first after each write of the request counts as needed'
        ELSE 'the statements and all that they ask for are equal to the letter, and the request writes nothing between them'
    END AS confidence_reason,
    repeats,
    repeats AS repeats_least,
    repeats AS repeats_most,
    queries_nanos,
    pauses_nanos,
    entry_nanos,
    code_file_path,
    code_line_number
FROM judged
ORDER BY wasted_nanos DESC, trace_id, span_id
