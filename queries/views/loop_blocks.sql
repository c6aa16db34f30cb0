-- One row per stretch in which an event loop stood still by its own doing, as the process says
-- itself (`timesink-otel`).
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    entry_span_id,
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
    timesink_callee AS callee
FROM spans_with_facts
WHERE
    scope_name = 'timesink_otel'
    AND name = 'timesink.event_loop.blocked'
