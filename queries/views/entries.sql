-- One row per entry span: where the work of a service begins (SERVER, CONSUMER or a local root). A
-- request that a test makes in its own process is SERVER, whatever its instrumentation called it.
SELECT
    service_name,
    endpoint,
    entry_kind AS kind,
    trace_id,
    span_id,
    process_id,
    is_event_loop,
    entry_number,
    open_entries,
    start_time_unix_nano,
    end_time_unix_nano,
    duration_nanos,
    own_nanos,
    stalled_nanos,
    status_code,
    root_span_id,
    tiling_span_id
FROM spans_with_facts
WHERE entry_span_id = span_id
