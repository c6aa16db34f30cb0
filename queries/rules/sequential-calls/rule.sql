-- One row for each sequence of calls that a request makes one after the other.
WITH several AS (
    -- Requests, and tasks in their background, that make more than one call.
    SELECT trace_id, entry_span_id, tiling_span_id
    FROM call_client_spans
    WHERE NOT is_failed AND critical_nanos > 0
    GROUP BY trace_id, entry_span_id, tiling_span_id
    HAVING count(*) > 1
), calls AS (
    -- Only calls on the critical path: each of them begins when the one before has ended, and a
    -- call beside a longer one costs nothing. What changes something has its place in the order, so
    -- what comes before it and what comes after are two sequences.
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        span_id,
        entry_span_id,
        tiling_span_id,
        query_shape,
        peer,
        coalesce(url_full, query_shape) AS target,
        start_time_unix_nano,
        split_part(query_shape, ' ', 1) IN ('PUT', 'PATCH', 'DELETE') AS is_change,
        sum(
            CASE split_part(query_shape, ' ', 1)
                WHEN 'PUT' THEN 1 WHEN 'PATCH' THEN 1 WHEN 'DELETE' THEN 1 ELSE 0
            END
        ) OVER (
            PARTITION BY trace_id, entry_span_id, tiling_span_id
            ORDER BY start_time_unix_nano, span_id
        ) AS changes,
        -- With the time of the servers called.
        duration_nanos - least(stalled_nanos, duration_nanos) AS waited_nanos,
        tiling_duration_nanos,
        code_file_path,
        code_line_number
    FROM call_client_spans
    JOIN several USING (trace_id, entry_span_id, tiling_span_id)
    WHERE
        NOT is_failed
        AND critical_nanos > 0
        AND entry_kind <> 'UNSPECIFIED'
        -- The same call by two instrumentations, one around the other.
        AND coalesce(parent_kind, '') <> 'CLIENT'
), targets AS (
    -- One thing asked for again and again is polling, or one answer that should be kept: it counts
    -- once, by its longest call.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        tiling_span_id,
        changes,
        target,
        min(query_shape) AS query_shape,
        min(peer) AS peer,
        first_value(span_id ORDER BY start_time_unix_nano, span_id) AS span_id,
        min(start_time_unix_nano) AS start_time_unix_nano,
        max(waited_nanos) AS waited_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        first_value(code_file_path ORDER BY start_time_unix_nano, span_id) AS code_file_path,
        first_value(code_line_number ORDER BY start_time_unix_nano, span_id) AS code_line_number
    FROM calls
    WHERE NOT is_change
    GROUP BY service_name, trace_id, entry_span_id, tiling_span_id, changes, target
), alike AS (
    -- How many calls of a sequence have one shape: many are a loop over items.
    SELECT
        targets.*,
        count(*) OVER (
            PARTITION BY
                service_name, trace_id, entry_span_id, tiling_span_id, changes, query_shape
        ) AS alike
    FROM targets
), sequences AS (
    -- n-plus-one-call tells of loops.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        trace_id,
        first_value(span_id ORDER BY start_time_unix_nano, span_id) AS span_id,
        array_sort(array_agg(DISTINCT peer)) AS peers,
        count(*) AS calls,
        sum(waited_nanos) AS calls_nanos,
        max(waited_nanos) AS longest_nanos,
        sum(waited_nanos) - max(waited_nanos) AS saved_nanos,
        max(entry_nanos) AS entry_nanos,
        max(saved_millis_min) AS saved_millis_min,
        max(entry_share_min) AS entry_share_min,
        first_value(
            code_file_path ORDER BY code_file_path IS NULL, start_time_unix_nano, span_id
        ) AS code_file_path,
        first_value(
            code_line_number ORDER BY code_file_path IS NULL, start_time_unix_nano, span_id
        ) AS code_line_number
    FROM alike
    JOIN params USING (service_name, endpoint, kind)
    WHERE alike < loop_calls_min
    GROUP BY service_name, trace_id, entry_span_id, tiling_span_id, changes
    HAVING count(*) > 1
), named AS (
    SELECT
        sequences.*,
        concat(
            'calls of ',
            array_to_string(array_slice(peers, 1, 3), ', '),
            CASE
                WHEN array_length(peers) > 3
                    THEN concat(' and ', CAST(array_length(peers) - 3 AS VARCHAR), ' more')
                ELSE ''
            END,
            ' one after the other'
        ) AS subject
    FROM sequences
), places AS (
    -- The same sequence over all requests: one slow request is none.
    SELECT service_name, endpoint, subject
    FROM named
    GROUP BY service_name, endpoint, subject
    HAVING
        median(saved_nanos) >= max(saved_millis_min) * 1000000
        AND median(saved_nanos) >= max(entry_share_min) * median(entry_nanos)
)
SELECT
    named.service_name,
    named.trace_id,
    named.span_id,
    named.subject,
    named.calls AS occurrences,
    named.saved_nanos AS wasted_nanos,
    'possible' AS confidence,
    'each begins when the one before it has ended; whether it needs that one''s answer, spans do not say' AS confidence_reason,
    named.calls,
    named.calls_nanos,
    named.longest_nanos,
    named.saved_nanos,
    named.entry_nanos,
    named.code_file_path,
    named.code_line_number
FROM named
JOIN places USING (service_name, endpoint, subject)
WHERE named.saved_nanos > 0
ORDER BY wasted_nanos DESC, named.trace_id, named.span_id
