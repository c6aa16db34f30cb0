-- One row per request of which the process says that a part was in another thread than its event
-- loop's.
SELECT DISTINCT trace_id, entry_span_id, TRUE AS is_in_threads
FROM spans_with_facts
WHERE NOT coalesce(is_on_event_loop, timesink_event_loop)
