-- One row per trace and service that lost spans of it: what they would have covered looks uncovered.
SELECT DISTINCT trace_id, service_name, TRUE AS is_lost
FROM spans_with_facts
WHERE is_orphan AND kind NOT IN ('SERVER', 'CONSUMER')
