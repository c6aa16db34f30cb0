-- One row per request that calls a database, cache or service: when its last call ended. Work that
-- goes on after the response, a background task, is none of it.
SELECT
    entries.trace_id,
    entries.span_id AS entry_span_id,
    max(call.end_time_unix_nano) AS io_end
FROM entries
JOIN spans_with_facts AS call
    ON call.trace_id = entries.trace_id AND call.entry_span_id = entries.span_id
WHERE
    entries.kind = 'SERVER'
    AND call.kind = 'CLIENT'
    AND call.start_time_unix_nano < entries.end_time_unix_nano
GROUP BY entries.trace_id, entries.span_id
