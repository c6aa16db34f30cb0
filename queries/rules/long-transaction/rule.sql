-- One row for each transaction of a request that stays open while the request calls another service.
WITH steps AS (
    -- What a request does with its database, and whom else it calls. A COMMIT that fails ends the
    -- transaction as well; other statements that fail show nothing.
    SELECT
        *,
        -- Others wait for what it locks, unless they are told to skip it or cannot know it yet.
        (is_write AND regexp_like(query_shape, '\b(UPDATE|DELETE|MERGE|REPLACE)\b'))
            OR (is_lock AND query_shape NOT LIKE '%SKIP LOCKED%') AS is_holding
    FROM (
        SELECT
            *,
            regexp_like(
                query_shape,
                'FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE|LOCK IN SHARE MODE|^LOCK |pg_advisory_xact_lock'
            )
                AND NOT is_write AS is_lock
        FROM (
            SELECT
                service_name,
                endpoint,
                kind,
                trace_id,
                span_id,
                entry_span_id,
                start_time_unix_nano AS start,
                start_time_unix_nano + duration_nanos AS "end",
                query_shape,
                status_code,
                regexp_like(
                    query_shape,
                    '^(BEGIN|START TRANSACTION)( (WORK|TRAN|TRANSACTION|ISOLATION|READ|DEFERRED|IMMEDIATE|EXCLUSIVE)\b.*)?;?$'
                ) AS is_begin,
                regexp_like(query_shape, '^(COMMIT|ROLLBACK|END|ABORT)( (WORK|TRAN|TRANSACTION))?;?$') AS is_end,
                regexp_like(query_shape, '^(UPDATE|INSERT|DELETE|MERGE|REPLACE) ')
                    OR regexp_like(query_shape, '^WITH .*\b(INSERT INTO|DELETE FROM|UPDATE [^ ]+ SET)\b')
                    AS is_write,
                FALSE AS is_call
            FROM spans_with_facts
            WHERE
                kind = 'CLIENT'
                AND db_query_text IS NOT NULL
                AND query_shape IS NOT NULL
                AND duplicate_of IS NULL
                AND coalesce(db_system_name, '') NOT IN ('redis', 'memcached', 'valkey')
        ) AS told
    ) AS statements
    WHERE status_code <> 'ERROR' OR is_end
    UNION ALL
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        entry_span_id,
        start_time_unix_nano AS start,
        start_time_unix_nano + duration_nanos AS "end",
        query_shape,
        status_code,
        FALSE AS is_begin,
        FALSE AS is_end,
        FALSE AS is_write,
        TRUE AS is_call,
        FALSE AS is_lock,
        FALSE AS is_holding
    FROM call_client_spans
), around AS (
    -- What came last before each step, and what comes next behind it.
    SELECT
        steps.*,
        max(CASE WHEN is_begin THEN start END) OVER before AS begun,
        max(CASE WHEN is_end THEN start END) OVER before AS ended,
        max(CASE WHEN is_lock THEN start END) OVER before AS locked,
        max(CASE WHEN is_write THEN start END) OVER before AS wrote,
        max(CASE WHEN is_holding THEN start END) OVER before AS held,
        max(CASE WHEN NOT is_call THEN "end" END) OVER before AS statement_ended,
        min(CASE WHEN is_end THEN "end" END) OVER behind AS next_end,
        min(CASE WHEN is_write THEN "end" END) OVER behind AS next_write,
        min(CASE WHEN is_lock THEN start END) OVER behind AS next_lock,
        min(CASE WHEN NOT is_call THEN start END) OVER behind AS next_statement,
        max(CASE WHEN is_call THEN "end" END) OVER (
            PARTITION BY service_name, trace_id, entry_span_id ORDER BY start, span_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS call_ended,
        max(CASE WHEN is_begin OR is_end THEN 1 ELSE 0 END) OVER (
            PARTITION BY service_name, trace_id, entry_span_id
        ) = 1 AS has_ends
    FROM steps
    WINDOW
        before AS (
            PARTITION BY service_name, trace_id, entry_span_id ORDER BY start, span_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ),
        behind AS (
            PARTITION BY service_name, trace_id, entry_span_id ORDER BY start, span_id
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        )
), open AS (
    -- Calls between BEGIN and COMMIT; where the driver shows neither, between a lock of rows and the
    -- write that follows, with neither a write nor a lock in between that may belong to another
    -- transaction. No statement runs during the call: what runs beside it does not wait for it.
    SELECT
        around.*,
        CASE WHEN has_ends THEN begun ELSE locked END AS open_from,
        CASE WHEN has_ends THEN next_end ELSE next_write END AS open_to,
        -- Of calls at the same time each counts from where the one before ended.
        greatest(0, "end" - greatest(start, coalesce(call_ended, start))) AS call_nanos
    FROM around
    WHERE
        is_call
        AND statement_ended <= start
        AND next_statement >= "end"
        AND CASE
            WHEN has_ends THEN begun > coalesce(ended, 0) AND next_end IS NOT NULL
            ELSE locked > coalesce(wrote, 0)
                AND next_write IS NOT NULL
                AND (next_lock IS NULL OR next_lock > next_write)
        END
), transactions AS (
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        open_from,
        open_to - open_from AS open_nanos,
        bool_or(has_ends) AS has_ends,
        bool_or(coalesce(held >= open_from, FALSE)) AS is_holding,
        count(*) AS calls,
        sum(call_nanos) AS calls_nanos,
        first_value(span_id ORDER BY "end" - start DESC, span_id) AS span_id,
        first_value(query_shape ORDER BY "end" - start DESC, span_id) AS subject
    FROM open
    GROUP BY service_name, trace_id, entry_span_id, open_from, open_to
), openings AS (
    SELECT service_name, trace_id, entry_span_id, start AS open_from, min(query_shape) AS opened_by
    FROM steps
    WHERE is_begin OR is_lock
    GROUP BY service_name, trace_id, entry_span_id, start
)
SELECT
    transactions.service_name,
    transactions.trace_id,
    transactions.span_id,
    transactions.subject,
    transactions.calls AS occurrences,
    transactions.calls_nanos AS wasted_nanos,
    CASE WHEN transactions.is_holding THEN 'likely' ELSE 'possible' END AS confidence,
    CASE
        WHEN NOT transactions.is_holding
            THEN 'nothing shows that it has locked rows by then that others wait for: it keeps its connection, and old rows from being cleaned up'
        WHEN transactions.has_ends
            THEN 'the call lies between BEGIN and COMMIT of the request, behind a statement that locks rows; that they are of one connection, spans do not say'
        ELSE 'the call lies between a statement that locks rows and the write that follows: the driver shows no BEGIN and COMMIT, and locks are held until the end of a transaction'
    END AS confidence_reason,
    transactions.open_nanos,
    transactions.calls_nanos,
    openings.opened_by,
    transactions.calls
FROM transactions
JOIN params USING (service_name, endpoint, kind)
JOIN openings USING (service_name, trace_id, entry_span_id, open_from)
WHERE
    transactions.calls_nanos >= call_millis_min * 1000000
    AND transactions.calls_nanos >= open_share_min * transactions.open_nanos
ORDER BY wasted_nanos DESC, transactions.trace_id, transactions.span_id
