-- One row per stretch in which an event loop stood still by its own doing, as the process says
-- itself: by `timesink-otel`, or by Logfire, which warns of callbacks that take long. What is told of
-- more than ten minutes is not believed.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    -- NULL where nobody knows whose doing it was.
    CASE WHEN entry_kind <> 'UNSPECIFIED' THEN entry_span_id END AS entry_span_id,
    process_id,
    start_time_unix_nano,
    end_time_unix_nano,
    duration_nanos AS nanos,
    -- How long other requests of the process were open meanwhile, added up; NULL where nobody knows
    -- whose doing it was.
    waiting_nanos,
    thread_id,
    -- Where the loop's thread was: the user's code, and the library's function that it called.
    code_function_name,
    code_file_path,
    code_line_number,
    timesink_callee AS callee,
    'timesink-otel' AS told_by,
    is_watched
FROM spans_with_facts
WHERE
    kind = 'INTERNAL'
    AND scope_name = 'timesink_otel'
    AND name = 'timesink.event_loop.blocked'
    AND duration_nanos BETWEEN 1 AND 600000000000
UNION ALL
-- A warning comes at the end of the callback. It knows the task by its outermost coroutine, and a
-- line, in which the task waits next.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    CASE WHEN entry_kind <> 'UNSPECIFIED' THEN entry_span_id END AS entry_span_id,
    process_id,
    end_time_unix_nano - CAST(seconds * 1000000000 AS BIGINT) AS start_time_unix_nano,
    end_time_unix_nano,
    CAST(seconds * 1000000000 AS BIGINT) AS nanos,
    CAST(NULL AS BIGINT) AS waiting_nanos,
    CAST(NULL AS BIGINT) AS thread_id,
    concat('a task of ', code_function_name) AS code_function_name,
    CAST(NULL AS VARCHAR) AS code_file_path,
    CAST(NULL AS BIGINT) AS code_line_number,
    CAST(NULL AS VARCHAR) AS callee,
    'Logfire' AS told_by,
    is_watched
FROM (
    SELECT
        *,
        TRY_CAST(regexp_match(logfire_msg, ' blocked for ([0-9.]{1,12}) seconds$')[1] AS DOUBLE) AS seconds
    FROM spans_with_facts
    WHERE kind = 'INTERNAL' AND scope_name = 'logfire.asyncio'
) AS warnings
WHERE seconds BETWEEN 0.001 AND 600 AND end_time_unix_nano > 600000000000
