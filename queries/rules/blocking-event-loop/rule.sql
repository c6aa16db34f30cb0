-- One row for each stretch in which a place blocked the event loop of its process, and for each of a
-- place that cannot be told.
WITH instances AS (
    -- Every leaf span and gap long enough to hold a silence, judged alone. Blocked: no concurrent
    -- request of the process started or ended a span although several were to be expected; a span
    -- must be silent over its whole length. Unknown: too little else went on to tell.
    SELECT
        candidate.*,
        decidable_min,
        decidable_share_min,
        blocked_share_min,
        endpoint_share_min,
        CASE
            WHEN silence_nanos >= silence_millis_min * 1000000 AND expected_edges >= expected_edges_min
                THEN CASE WHEN is_gap OR foreign_edges = 0 THEN 'blocked' ELSE 'clear' END
            WHEN expected_edges * nanos < expected_edges_min * silence_nanos THEN 'unknown'
            ELSE 'clear'
        END AS verdict
    FROM loop_candidates AS candidate
    JOIN params USING (service_name, endpoint, kind)
    WHERE nanos >= silence_millis_min * 1000000
), requests AS (
    -- How many requests each endpoint of a process served.
    SELECT process_id, endpoint, count(DISTINCT trace_id) AS requests
    FROM entries
    GROUP BY process_id, endpoint
), places AS (
    -- One place of the code over all its requests: one interval proves little, many prove a lot.
    SELECT
        process_id,
        endpoint,
        place,
        is_gap,
        count(*) AS instances,
        sum(CASE verdict WHEN 'blocked' THEN 1 ELSE 0 END) AS blocked,
        sum(CASE verdict WHEN 'unknown' THEN 0 ELSE 1 END) AS decidable,
        max(decidable_min) AS decidable_min,
        max(decidable_share_min) AS decidable_share_min,
        max(blocked_share_min) AS blocked_share_min,
        max(endpoint_share_min) AS endpoint_share_min
    FROM instances
    GROUP BY process_id, endpoint, place, is_gap
), verdicts AS (
    -- What each place comes to, and why.
    SELECT
        process_id,
        endpoint,
        place,
        is_gap,
        places.instances,
        places.blocked,
        places.decidable,
        requests,
        CASE
            WHEN places.instances < places.endpoint_share_min * requests
                THEN 'clear: it happens in too few of the requests to be the code of this endpoint'
            WHEN places.decidable < places.decidable_min
                OR places.decidable < places.decidable_share_min * places.instances
                THEN 'unknown: too few requests ran beside these to tell; one client alone can never tell'
            WHEN places.blocked < places.blocked_share_min * places.decidable
                THEN 'clear: other requests went on meanwhile'
            ELSE 'blocked'
        END AS verdict
    FROM places
    JOIN requests USING (process_id, endpoint)
)
SELECT
    instances.service_name,
    instances.trace_id,
    instances.span_id,
    instances.place AS subject,
    1 AS occurrences,
    CASE WHEN verdicts.verdict = 'blocked' THEN instances.waiting_nanos ELSE 0 END AS wasted_nanos,
    CASE
        WHEN verdicts.verdict <> 'blocked' THEN 'unknown'
        WHEN instances.has_process_identity THEN 'likely'
        ELSE 'possible'
    END AS confidence,
    CASE
        WHEN verdicts.verdict <> 'blocked'
            THEN 'too few requests ran side by side to tell whether the event loop stood still; record it with several clients at a time'
        WHEN instances.has_process_identity
            THEN 'while it ran no other request of the process started or ended a span, in most of the requests that can be told; threads that hold the GIL look alike'
        ELSE 'the resource names no process (service.instance.id, process.pid or a host): several processes may look like one'
    END AS confidence_reason,
    instances.silence_nanos AS blocked_nanos,
    instances.concurrent_traces,
    instances.expected_edges,
    verdicts.blocked AS instances_blocked,
    verdicts.decidable AS instances_decidable,
    verdicts.instances,
    instances.code_file_path,
    instances.code_line_number
FROM instances
JOIN verdicts USING (process_id, endpoint, place, is_gap)
WHERE
    (verdicts.verdict = 'blocked' AND instances.verdict = 'blocked')
    OR (verdicts.verdict LIKE 'unknown%' AND verdicts.instances >= instances.decidable_min)
ORDER BY wasted_nanos DESC, instances.trace_id, instances.span_id, instances.place
