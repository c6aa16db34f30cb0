-- One row per leaf span or gap of a process that serves, or may serve, requests on an event loop:
-- what may have blocked the loop, with the stall test's raw measures. What the process tells itself is
-- none of it.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    entry_span_id,
    process_id,
    has_process_identity,
    is_event_loop,
    operation AS place,
    FALSE AS is_gap,
    end_time_unix_nano,
    duration_nanos AS nanos,
    silence_nanos,
    expected_edges,
    foreign_edges,
    concurrent_traces,
    waiting_nanos,
    request_silence_nanos,
    request_edges,
    expected_request_edges,
    critical_nanos,
    code_file_path,
    code_line_number,
    start_time_unix_nano,
    -- A thread of its own, as the asyncio instrumentation says, or the process itself.
    (
        coalesce(scope_name, '') = 'opentelemetry.instrumentation.asyncio'
        AND strpos(name, 'asyncio to_thread-') = 1
    )
        OR strpos(name_path, 'asyncio to_thread-') > 0
        OR NOT coalesce(is_on_event_loop, timesink_event_loop, TRUE) AS is_in_thread,
    coalesce(starting_thread_id, thread_id) AS thread_id,
    code_function_name,
    is_watched
FROM spans_with_facts
WHERE
    is_leaf
    AND NOT (entry_span_id = span_id AND entry_kind IN ('SERVER', 'CONSUMER'))
    AND asgi_event_type IS NULL
    AND coalesce(scope_name, '') <> 'timesink_otel'
    AND (silence_nanos IS NOT NULL OR request_silence_nanos IS NOT NULL)
UNION ALL
SELECT
    span.service_name,
    span.endpoint,
    span.kind,
    gap.trace_id,
    gap.span_id,
    gap.entry_span_id,
    span.process_id,
    span.has_process_identity,
    span.is_event_loop,
    CASE gap.position
        WHEN 'lead' THEN concat('gap before ', gap.after)
        WHEN 'tail' THEN concat('gap after ', gap.before)
        WHEN 'between' THEN concat('gap between ', gap.before, ' and ', gap.after)
        ELSE 'gap over the whole span'
    END AS place,
    TRUE AS is_gap,
    gap.start_time_unix_nano + gap.nanos AS end_time_unix_nano,
    gap.nanos,
    gap.silence_nanos,
    gap.expected_edges,
    gap.foreign_edges,
    gap.concurrent_traces,
    gap.waiting_nanos,
    gap.request_silence_nanos,
    gap.request_edges,
    gap.expected_request_edges,
    gap.critical_nanos,
    span.code_file_path,
    span.code_line_number,
    gap.start_time_unix_nano,
    (
        coalesce(span.scope_name, '') = 'opentelemetry.instrumentation.asyncio'
        AND strpos(span.name, 'asyncio to_thread-') = 1
    )
        OR strpos(span.name_path, 'asyncio to_thread-') > 0
        OR NOT coalesce(span.is_on_event_loop, span.timesink_event_loop, TRUE) AS is_in_thread,
    coalesce(span.starting_thread_id, span.thread_id) AS thread_id,
    span.code_function_name,
    span.is_watched
FROM gaps AS gap
INNER JOIN spans_with_facts AS span
    ON gap.trace_id = span.trace_id AND gap.span_id = span.span_id
WHERE
    (gap.silence_nanos IS NOT NULL OR gap.request_silence_nanos IS NOT NULL)
    -- The whole gap of a leaf is the leaf itself.
    AND NOT (
        span.is_leaf
        AND NOT (span.entry_span_id = span.span_id AND span.entry_kind IN ('SERVER', 'CONSUMER'))
    )
