-- One row per process that says itself when its event loops stand still (`timesink-otel`), for 20 ms
-- or more.
SELECT DISTINCT process_id
FROM spans_with_facts
WHERE timesink_event_loop IS NOT NULL
