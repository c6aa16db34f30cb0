-- One row for each request that makes many calls of one service at the same time, which take long.
WITH calls AS (
    -- The calls that did not fail, without stalls that others caused, by how long they take; with
    -- the server's time where the service called is recorded.
    SELECT
        call.service_name,
        call.endpoint,
        call.kind,
        call.trace_id,
        call.span_id,
        call.tiling_span_id,
        call.peer,
        call.start_time_unix_nano,
        call.start_time_unix_nano + call.duration_nanos AS end_time_unix_nano,
        call.duration_nanos - least(call.stalled_nanos, call.duration_nanos) AS call_nanos,
        call.critical_nanos,
        call.tiling_duration_nanos,
        edge.server_duration_nanos,
        call.code_file_path,
        call.code_line_number,
        row_number() OVER (
            PARTITION BY call.service_name, call.trace_id, call.tiling_span_id, call.peer
            ORDER BY
                call.duration_nanos - least(call.stalled_nanos, call.duration_nanos),
                call.span_id
        ) AS place,
        count(*) OVER (
            PARTITION BY call.service_name, call.trace_id, call.tiling_span_id, call.peer
        ) AS calls
    FROM call_client_spans AS call
    LEFT JOIN service_edges AS edge
        ON edge.trace_id = call.trace_id AND edge.span_id = call.span_id
    WHERE NOT call.is_failed
), fanouts AS (
    -- The quickest tenth stands for calls that do not wait: one alone may come from a cache.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        tiling_span_id,
        peer,
        first_value(span_id ORDER BY start_time_unix_nano, span_id) AS span_id,
        count(*) AS calls,
        sum(call_nanos) AS calls_nanos,
        CAST(median(call_nanos) AS BIGINT) AS typical_nanos,
        max(call_nanos) FILTER (WHERE place <= greatest(1, calls / 10)) AS quick_nanos,
        max(end_time_unix_nano) - min(start_time_unix_nano) AS extent_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        sum(critical_nanos) AS critical_nanos,
        count(server_duration_nanos) AS served,
        sum(least(call_nanos, server_duration_nanos)) AS server_nanos,
        min(code_file_path) AS code_file_path,
        min(code_line_number) AS code_line_number
    FROM calls
    GROUP BY service_name, trace_id, tiling_span_id, peer
)
SELECT
    fanouts.service_name,
    trace_id,
    span_id,
    concat('calls of ', peer, ' at the same time') AS subject,
    calls AS occurrences,
    -- What would be saved if all of them together took as long as one of the quickest.
    greatest(0, least(extent_nanos, entry_nanos) - quick_nanos) AS wasted_nanos,
    'possible' AS confidence,
    CASE
        WHEN served < calls
            THEN 'a typical call takes several times as long as the quickest: they may wait for each other on the other side, on the way, or in this process; or ask for more'
        WHEN 2 * server_nanos < calls_nanos
            THEN 'most of the calls'' time is not the service''s that is called: they wait in front of it, on the way, or in this process'
        ELSE 'the service called takes several times as long for a typical call as for the quickest: they may hold each other up there, or ask for more'
    END AS confidence_reason,
    calls,
    CAST(calls_nanos AS DOUBLE) / greatest(1, extent_nanos) AS at_once,
    typical_nanos,
    quick_nanos,
    extent_nanos,
    peer,
    code_file_path,
    code_line_number
FROM fanouts
JOIN params USING (service_name, endpoint, kind)
WHERE
    calls >= calls_min
    -- At the same time: one after the other is a loop.
    AND calls_nanos >= at_once_min * extent_nanos
    AND typical_nanos >= slower_factor_min * quick_nanos
    AND extent_nanos >= entry_share_min * entry_nanos
    -- The request waits for one of them at least, not for something beside them.
    AND critical_nanos > 0
ORDER BY wasted_nanos DESC, trace_id, span_id
