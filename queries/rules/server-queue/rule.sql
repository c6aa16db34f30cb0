-- One row for each call that waits in front of a service which is busy with others.
WITH moments AS (
    -- Starts and ends of the requests of each process, by its own clock.
    SELECT process_id, trace_id, span_id, start_time_unix_nano AS at, CAST(NULL AS BIGINT) AS ended_at
    FROM entries
    WHERE kind = 'SERVER'
    UNION ALL
    SELECT process_id, trace_id, NULL AS span_id, end_time_unix_nano AS at, end_time_unix_nano AS ended_at
    FROM entries
    WHERE kind = 'SERVER'
), turns AS (
    -- When the request before ended: who waits for a worker gets it as soon as that is free.
    SELECT
        trace_id,
        span_id,
        at - max(ended_at) OVER (
            PARTITION BY process_id
            ORDER BY at, span_id NULLS FIRST
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS since_nanos
    FROM moments
), processes AS (
    SELECT
        process_id,
        max(open_entries) AS open_most,
        bool_or(is_event_loop) AS is_event_loop
    FROM entries
    WHERE kind = 'SERVER'
    GROUP BY process_id
), calls AS (
    SELECT
        edge.service_name,
        edge.endpoint,
        edge.kind,
        edge.trace_id,
        edge.span_id,
        edge.duration_nanos,
        edge.server_service_name,
        concat(edge.service_name, ' -> ', edge.server_service_name) AS subject,
        greatest(0, edge.wire_before_nanos) AS way_nanos,
        -- A caller whose own event loop stood still sends late.
        greatest(0, edge.wire_before_nanos - edge.stalled_nanos) AS before_nanos,
        edge.wire_after_nanos,
        edge.wire_critical_nanos,
        least(coalesce(edge.server_busy_nanos, 0), greatest(0, edge.wire_before_nanos)) AS busy_nanos,
        processes.open_most,
        processes.is_event_loop,
        -- It begins in the moment in which another request ends, at a server that has hardly ever
        -- more of them open.
        coalesce(turns.since_nanos <= 5000000, FALSE)
            AND (
                edge.server_open_entries >= processes.open_most - 1
                OR edge.server_open_entries >= 0.75 * processes.open_most
            ) AS is_next,
        wait_millis_min,
        wait_share_min,
        calls_min,
        busy_share_min
    FROM service_edges AS edge
    JOIN params USING (service_name, endpoint, kind)
    JOIN processes ON processes.process_id = edge.server_process_id
    LEFT JOIN turns ON turns.trace_id = edge.trace_id AND turns.span_id = edge.server_span_id
    WHERE edge.status_code <> 'ERROR' AND edge.wire_before_nanos IS NOT NULL
), edges AS (
    -- The wait lies before the server's span, and the server is never without other work meanwhile.
    SELECT
        service_name,
        endpoint,
        subject,
        count(*) AS calls,
        max(open_most) AS open_most,
        bool_or(is_event_loop) AS is_event_loop,
        avg(CASE WHEN is_next THEN 1.0 ELSE 0.0 END)
            FILTER (WHERE before_nanos >= wait_millis_min * 1000000) AS next_share,
        CAST(sum(busy_nanos) AS DOUBLE) / greatest(1, sum(way_nanos)) AS busy_share
    FROM calls
    GROUP BY service_name, endpoint, subject
    HAVING
        count(*) >= max(calls_min)
        AND median(before_nanos) >= max(wait_millis_min) * 1000000
        AND median(before_nanos) >= max(wait_share_min) * median(duration_nanos)
        AND median(before_nanos) >= 4 * median(greatest(0, wire_after_nanos))
        AND sum(busy_nanos) >= max(busy_share_min) * sum(way_nanos)
)
SELECT
    calls.service_name,
    calls.trace_id,
    calls.span_id,
    calls.subject,
    1 AS occurrences,
    least(calls.wire_critical_nanos, calls.before_nanos) AS wasted_nanos,
    CASE
        WHEN edges.is_event_loop OR edges.next_share < 0.5 THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN edges.is_event_loop
            THEN 'the time lies before the server begins, which works on other requests all the while, but its event loop takes up new ones at any time unless it stands still: a new connection for each call, or delay on the way there, looks alike'
        WHEN edges.next_share < 0.5
            THEN 'the time lies before the server begins, which has other requests open all the while, but it does not begin when one of them ends, or often has more of them open: a new connection for each call, or delay on the way there, looks alike'
        WHEN edges.open_most <= 1
            THEN 'the time lies before the server begins, which never has two requests open, works on others all the while, and begins when one of them ends'
        ELSE 'the time lies before the server begins, which works on others all the while, hardly ever has more of them open, and begins when one of them ends'
    END AS confidence_reason,
    calls.before_nanos,
    calls.duration_nanos AS call_nanos,
    calls.server_service_name AS server,
    least(1.0, edges.busy_share) AS busy_share,
    edges.open_most,
    edges.calls
FROM calls
JOIN edges USING (service_name, endpoint, subject)
-- Only what the request waited for is worth a finding.
WHERE calls.wire_critical_nanos > 0 AND calls.before_nanos > 0
ORDER BY wasted_nanos DESC, calls.trace_id, calls.span_id
