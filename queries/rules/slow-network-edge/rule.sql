-- One row for each call over a slow edge: time between two services that neither of them explains.
WITH calls AS (
    -- Calls that succeeded, with the time that the server's span does not explain. It is a
    -- difference of durations, so skewed clocks do not touch it. A caller whose own event loop
    -- stood still notices its answers late: that is taken off.
    SELECT
        edge.service_name,
        edge.endpoint,
        edge.kind,
        edge.trace_id,
        edge.span_id,
        edge.duration_nanos,
        concat(edge.service_name, ' -> ', edge.server_service_name) AS subject,
        greatest(0, edge.wire_nanos - edge.stalled_nanos) AS wire_nanos,
        edge.wire_before_nanos,
        edge.wire_after_nanos,
        edge.wire_critical_nanos,
        edge.server_busy_nanos,
        edge.server_open_entries,
        calls_min,
        wire_millis_min,
        wire_share_min,
        busy_share_max,
        even_share_min,
        queue_share_min
    FROM service_edges AS edge
    JOIN params USING (service_name, endpoint, kind)
    WHERE edge.status_code <> 'ERROR' AND edge.wire_nanos IS NOT NULL
), edges AS (
    -- Each edge by its medians: a single slow call is no slow network.
    SELECT
        service_name,
        endpoint,
        subject,
        count(*) AS calls,
        median(wire_nanos) AS wire_median,
        median(duration_nanos) AS call_median,
        median(wire_before_nanos) AS before_median,
        median(wire_after_nanos) AS after_median,
        sum(greatest(0, wire_before_nanos)) AS before_sum,
        sum(server_busy_nanos) AS busy_sum,
        max(server_open_entries) AS open_most,
        max(calls_min) AS calls_min,
        max(wire_millis_min) AS wire_millis_min,
        max(wire_share_min) AS wire_share_min,
        max(busy_share_max) AS busy_share_max,
        max(even_share_min) AS even_share_min,
        max(queue_share_min) AS queue_share_min
    FROM calls
    GROUP BY service_name, endpoint, subject
), spreads AS (
    -- In which share of its calls the way there takes about as long as the median: what a queue
    -- costs changes from call to call, a connection or a distance does not.
    SELECT
        calls.service_name,
        calls.endpoint,
        calls.subject,
        avg(
            CASE
                WHEN calls.wire_before_nanos BETWEEN before_median / 1.5 AND before_median * 1.5 THEN 1.0
                ELSE 0.0
            END
        ) AS even_share
    FROM calls
    JOIN edges USING (service_name, endpoint, subject)
    GROUP BY calls.service_name, calls.endpoint, calls.subject
), slow_edges AS (
    -- Slow, a large part of the call, and not waiting for a server that was busy with others: that
    -- only happens on the way there.
    SELECT
        service_name,
        endpoint,
        subject,
        calls,
        call_median,
        before_median,
        after_median,
        before_median >= 4 * greatest(after_median, 0) AS is_before,
        after_median >= 4 * greatest(before_median, 0) AS is_after,
        -- A server that never has two requests open makes them queue; one of which other requests
        -- are in the way for a part of the wait was sampled, or serves what is not recorded.
        even_share < even_share_min
            OR (open_most <= 1 AND busy_sum >= queue_share_min * greatest(before_sum, 1)) AS is_queue
    FROM edges
    JOIN spreads USING (service_name, endpoint, subject)
    WHERE
        calls >= calls_min
        AND wire_median >= wire_millis_min * 1000000
        AND wire_median >= wire_share_min * call_median
        AND (
            busy_sum < busy_share_max * greatest(before_sum, 1)
            OR after_median >= wire_millis_min * 1000000
        )
)
SELECT
    calls.service_name,
    calls.trace_id,
    calls.span_id,
    calls.subject,
    1 AS occurrences,
    least(coalesce(calls.wire_critical_nanos, 0), calls.wire_nanos) AS wasted_nanos,
    CASE WHEN slow_edges.is_before AND slow_edges.is_queue THEN 'possible' ELSE 'likely' END AS confidence,
    CASE
        WHEN slow_edges.is_before AND slow_edges.is_queue
            THEN 'client and server spans differ before the server begins, as a queue in front of the server makes them do; these spans show no more of it'
        WHEN slow_edges.is_before
            THEN 'client and server spans differ, mostly before the server begins: a new connection for each call, delay on the way there, or a queue in front of the server; spans do not tell these apart'
        WHEN slow_edges.is_after
            THEN 'client and server spans differ after the server ended: a large body on the way back, or a caller that reads late'
        ELSE 'client and server spans differ on both ways: the network or a proxy between them'
    END AS confidence_reason,
    calls.wire_nanos,
    calls.duration_nanos AS call_nanos,
    slow_edges.before_median AS before_nanos,
    slow_edges.after_median AS after_nanos,
    slow_edges.calls
FROM calls
JOIN slow_edges USING (service_name, endpoint, subject)
-- Only what the request waited for is worth a finding.
WHERE calls.wire_critical_nanos > 0
ORDER BY wasted_nanos DESC, calls.trace_id, calls.span_id
