-- One row for each service and database product whose calls do not say what was asked.
WITH calls AS (
    -- Calls that have a statement to tell: neither connecting nor an API over HTTP or RPC.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        db_system_name AS system,
        db_system_name = 'mongodb' AND db_query_text IS NOT NULL AS is_command,
        CASE
            WHEN db_query_text IS NULL THEN TRUE
            -- The Python instrumentation of MongoDB writes the command's name alone.
            ELSE db_system_name = 'mongodb'
                AND db_query_text IN (
                    'find', 'aggregate', 'count', 'distinct', 'update', 'delete', 'findAndModify'
                )
        END AS is_silent
    FROM spans_with_facts
    WHERE
        kind = 'CLIENT'
        AND db_system_name IS NOT NULL
        AND duplicate_of IS NULL
        AND rpc_method IS NULL
        AND http_request_method IS NULL
        AND url_full IS NULL
        AND name <> 'connect'
        AND coalesce(parent_kind, '') <> 'PRODUCER'
        -- Inserts and what a driver does on its own have no filter.
        AND NOT (
            db_system_name = 'mongodb'
            AND coalesce(db_query_text, '') IN (
                'insert', 'getMore', 'hello', 'isMaster', 'ismaster', 'ping', 'endSessions',
                'killCursors', 'commitTransaction', 'abortTransaction', 'createIndexes'
            )
        )
), systems AS (
    SELECT
        service_name,
        system,
        count(*) AS calls,
        count(*) FILTER (WHERE is_silent) AS without,
        CASE
            WHEN 2 * count(*) FILTER (WHERE is_silent AND is_command)
                > count(*) FILTER (WHERE is_silent)
                THEN 'filter'
            ELSE 'statement'
        END AS what,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_silent) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_silent) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_silent) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE is_silent) AS kind
    FROM calls
    GROUP BY service_name, system
)
SELECT
    systems.service_name,
    systems.trace_id,
    systems.span_id,
    concat(systems.system, ' ', systems.what) AS subject,
    systems.without AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    CASE
        WHEN systems.what = 'filter'
            THEN 'their db.query.text is the name of the command and no more'
        ELSE 'they have neither db.query.text nor db.statement'
    END AS confidence_reason,
    systems.system,
    systems.what,
    systems.without,
    systems.calls,
    CAST(systems.without AS DOUBLE) / systems.calls AS without_share
FROM systems
JOIN params
    ON params.service_name = systems.service_name
    AND params.endpoint = systems.endpoint
    AND params.kind = systems.kind
WHERE
    systems.without > 0
    AND systems.calls >= calls_min
    AND systems.without >= without_share_min * systems.calls
ORDER BY systems.service_name, systems.system
