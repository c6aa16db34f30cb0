-- One row per stretch in which an event loop stood still by its own doing, as the process says
-- itself: by `timesink-otel`, or by Logfire, which warns of callbacks that take long.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    -- Of a block of no request NULL: Logfire never says whose it is.
    CASE WHEN depth > 0 THEN entry_span_id END AS entry_span_id,
    process_id,
    start_time_unix_nano,
    end_time_unix_nano,
    duration_nanos AS nanos,
    -- How long other requests of the process were open meanwhile, added up; NULL where nobody knows
    -- whose doing it was.
    waiting_nanos,
    -- Where the loop's thread was: the user's code, and the library's function that it called.
    code_function_name,
    code_file_path,
    code_line_number,
    timesink_callee AS callee,
    'timesink-otel' AS told_by
FROM spans_with_facts
WHERE
    scope_name = 'timesink_otel'
    AND name = 'timesink.event_loop.blocked'
UNION ALL
-- A warning comes at the end of the block. It knows the task, not the line: what it names is where
-- the task waits next.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    CASE WHEN depth > 0 THEN entry_span_id END AS entry_span_id,
    process_id,
    end_time_unix_nano - nanos AS start_time_unix_nano,
    end_time_unix_nano,
    nanos,
    CAST(NULL AS BIGINT) AS waiting_nanos,
    code_function_name,
    CAST(NULL AS VARCHAR) AS code_file_path,
    CAST(NULL AS BIGINT) AS code_line_number,
    CAST(NULL AS VARCHAR) AS callee,
    'Logfire' AS told_by
FROM (
    SELECT
        *,
        CAST(
            1000000000 * TRY_CAST(
                regexp_replace(logfire_msg, '^.* blocked for ([0-9.]+) seconds$', '\1') AS DOUBLE
            ) AS BIGINT
        ) AS nanos
    FROM spans_with_facts
    WHERE scope_name = 'logfire.asyncio'
) AS warnings
WHERE nanos > 0
