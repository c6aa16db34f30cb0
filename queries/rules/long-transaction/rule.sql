-- One row for each transaction of a request that stays open while the request calls another service.
WITH calling AS (
    -- Requests that call others for long enough; only these are looked into.
    SELECT
        trace_id,
        entry_span_id,
        min(call_millis_min) AS call_millis_min,
        min(open_share_min) AS open_share_min
    FROM call_client_spans
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY trace_id, entry_span_id
    HAVING sum(duration_nanos) >= min(call_millis_min) * 1000000
), steps AS (
    -- What they do with their database, and whom else they call. A COMMIT that fails ends the
    -- transaction as well; other statements that fail show nothing. Others wait for what a `change`
    -- or a `lock` locks, but not for what an `insert` writes, which they cannot know yet, or what a
    -- `reserve` locks, which they are told to skip.
    SELECT
        service_name,
        trace_id,
        span_id,
        entry_span_id,
        start,
        start + duration_nanos AS "end",
        query_shape,
        CASE
            WHEN is_call THEN 'call'
            WHEN regexp_like(query_shape, '^(COMMIT|ROLLBACK|END|ABORT)( (WORK|TRAN|TRANSACTION))?;?$')
                THEN 'end'
            WHEN status_code = 'ERROR' THEN 'fail'
            WHEN regexp_like(
                query_shape,
                '^(BEGIN|START TRANSACTION)( (WORK|TRAN|TRANSACTION|ISOLATION|READ|DEFERRED|IMMEDIATE|EXCLUSIVE)\b.*)?;?$'
            )
                THEN 'begin'
            WHEN regexp_like(
                query_shape,
                '^((UPDATE|INSERT|DELETE|MERGE|REPLACE) |WITH .*\b(INSERT INTO|DELETE FROM|UPDATE [^ ]+ SET)\b)'
            )
                THEN CASE
                    WHEN regexp_like(query_shape, '\b(UPDATE|DELETE|MERGE|REPLACE)\b') THEN 'change'
                    ELSE 'insert'
                END
            WHEN regexp_like(
                query_shape,
                'FOR (NO KEY )?UPDATE|FOR (KEY )?SHARE|LOCK IN SHARE MODE|^LOCK |pg_advisory_xact_lock'
            )
                THEN CASE WHEN query_shape LIKE '%SKIP LOCKED%' THEN 'reserve' ELSE 'lock' END
            ELSE 'read'
        END AS step,
        call_millis_min,
        open_share_min
    FROM (
        SELECT
            service_name,
            trace_id,
            span_id,
            entry_span_id,
            start_time_unix_nano AS start,
            duration_nanos,
            query_shape,
            status_code,
            FALSE AS is_call
        FROM spans_with_facts
        WHERE
            kind = 'CLIENT'
            AND db_query_text IS NOT NULL
            AND query_shape IS NOT NULL
            AND duplicate_of IS NULL
            AND coalesce(db_system_name, '') NOT IN ('redis', 'memcached', 'valkey')
        UNION ALL
        SELECT
            service_name,
            trace_id,
            span_id,
            entry_span_id,
            start_time_unix_nano AS start,
            duration_nanos,
            query_shape,
            status_code,
            TRUE AS is_call
        FROM call_client_spans
    ) AS operations
    JOIN calling USING (trace_id, entry_span_id)
), around AS (
    -- What came last before each step, and what comes next behind it.
    SELECT
        steps.*,
        max(CASE WHEN step = 'begin' THEN start END) OVER before AS begun,
        last_value(CASE WHEN step = 'begin' THEN query_shape END) IGNORE NULLS OVER before
            AS begun_by,
        max(CASE WHEN step = 'end' THEN start END) OVER before AS ended,
        max(CASE WHEN step IN ('lock', 'reserve') THEN start END) OVER before AS locked,
        last_value(CASE WHEN step IN ('lock', 'reserve') THEN query_shape END) IGNORE NULLS
            OVER before AS locked_by,
        max(CASE WHEN step IN ('change', 'insert') THEN start END) OVER before AS wrote,
        max(CASE WHEN step IN ('change', 'lock') THEN start END) OVER before AS held,
        max(CASE WHEN step NOT IN ('call', 'fail') THEN "end" END) OVER before AS statement_ended,
        max(CASE WHEN step = 'call' THEN "end" END) OVER before AS call_ended,
        min(CASE WHEN step = 'end' THEN "end" END) OVER behind AS next_end,
        min(CASE WHEN step = 'begin' THEN start END) OVER behind AS next_begin,
        min(CASE WHEN step IN ('change', 'insert') THEN "end" END) OVER behind AS next_write,
        min(CASE WHEN step IN ('lock', 'reserve') THEN start END) OVER behind AS next_lock,
        min(CASE WHEN step NOT IN ('call', 'fail') THEN start END) OVER behind AS next_statement
    FROM steps
    WINDOW
        before AS (
            PARTITION BY trace_id, entry_span_id ORDER BY start, span_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ),
        behind AS (
            PARTITION BY trace_id, entry_span_id ORDER BY start, span_id
            ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
        )
), open AS (
    -- Calls between BEGIN and COMMIT; where the driver shows neither, between a lock of rows and the
    -- write that follows, with neither a write nor a lock in between that may belong to another
    -- transaction. No statement runs during the call: what runs beside it does not wait for it.
    SELECT
        around.*,
        coalesce(begun, ended, next_begin, next_end) IS NOT NULL AS has_ends,
        -- Of calls at the same time each counts from where the one before ended.
        greatest(0, "end" - greatest(start, coalesce(call_ended, start))) AS call_nanos
    FROM around
    WHERE
        step = 'call'
        AND statement_ended <= start
        AND next_statement >= "end"
        AND CASE
            WHEN coalesce(begun, ended, next_begin, next_end) IS NOT NULL
                THEN begun > coalesce(ended, 0) AND next_end IS NOT NULL
            ELSE locked > coalesce(wrote, 0)
                AND next_write IS NOT NULL
                AND (next_lock IS NULL OR next_lock > next_write)
        END
), transactions AS (
    SELECT
        service_name,
        trace_id,
        CASE WHEN has_ends THEN begun ELSE locked END AS open_from,
        CASE WHEN has_ends THEN next_end ELSE next_write END AS open_to,
        bool_or(has_ends) AS has_ends,
        max(held) AS held,
        count(*) AS calls,
        sum(call_nanos) AS calls_nanos,
        min(CASE WHEN has_ends THEN begun_by ELSE locked_by END) AS opened_by,
        first_value(span_id ORDER BY "end" - start DESC, span_id) AS span_id,
        first_value(query_shape ORDER BY "end" - start DESC, span_id) AS subject,
        max(call_millis_min) AS call_millis_min,
        max(open_share_min) AS open_share_min
    FROM open
    GROUP BY service_name, trace_id, entry_span_id, open_from, open_to
)
SELECT
    service_name,
    trace_id,
    span_id,
    subject,
    calls AS occurrences,
    calls_nanos AS wasted_nanos,
    CASE WHEN held >= open_from THEN 'likely' ELSE 'possible' END AS confidence,
    CASE
        WHEN held IS NULL OR held < open_from
            THEN 'nothing shows that it has locked rows by then that others wait for: it keeps its connection, and old rows from being cleaned up'
        WHEN has_ends
            THEN 'the call lies between BEGIN and COMMIT of the request, behind a statement that locks rows; that they are of one connection, spans do not say'
        ELSE 'the call lies between a statement that locks rows and the write that follows: the driver shows no BEGIN and COMMIT, and locks are held until the end of a transaction'
    END AS confidence_reason,
    open_to - open_from AS open_nanos,
    calls_nanos,
    opened_by,
    calls
FROM transactions
WHERE
    calls_nanos >= call_millis_min * 1000000
    AND calls_nanos >= open_share_min * (open_to - open_from)
ORDER BY wasted_nanos DESC, trace_id, span_id
