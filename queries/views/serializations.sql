-- One row per serialization that a process measured itself (`timesink-otel`).
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
    thread_id,
    -- What serialized, and for which of the user's functions.
    CASE
        WHEN code_function_name IS NULL THEN coalesce(timesink_callee, 'a serializer')
        ELSE concat(coalesce(timesink_callee, 'a serializer'), ' in ', code_function_name)
    END AS place,
    code_function_name,
    code_file_path,
    code_line_number
FROM spans_with_facts
WHERE
    kind = 'INTERNAL'
    AND scope_name = 'timesink_otel'
    AND name = 'timesink.serialize'
