-- One row for each long pause of the garbage collector that a process measured itself
-- (`timesink-otel`).
WITH pauses AS (
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        duration_nanos AS pause_nanos,
        open_entries,
        -- A note of no request has no endpoint of its own: the collector ran on a thread without.
        entry_kind <> 'UNSPECIFIED' AS is_in_request,
        timesink_gc_generation AS generation,
        timesink_gc_collected AS collected
    FROM spans_with_facts
    WHERE
        kind = 'INTERNAL'
        AND scope_name = 'timesink_otel'
        AND name = 'timesink.gc.pause'
        AND duration_nanos BETWEEN 1 AND 600000000000
), long AS (
    SELECT pauses.*, pauses_min
    FROM pauses
    JOIN params USING (service_name, endpoint, kind)
    WHERE pause_nanos >= pause_millis_min * 1000000
), endpoints AS (
    -- The collector stops all of a process, wherever it happens to run. Where no endpoint has
    -- enough pauses of its own, the one with most of them stands for its service.
    SELECT
        service_name,
        endpoint,
        count(*) AS pauses,
        max(pauses_min) AS pauses_min,
        sum(count(*)) OVER (PARTITION BY service_name) AS service_pauses,
        count(*) OVER (PARTITION BY service_name) AS endpoints,
        max(count(*)) OVER (PARTITION BY service_name) AS pauses_most,
        row_number() OVER (
            PARTITION BY service_name
            ORDER BY bool_or(is_in_request) DESC, sum(pause_nanos) DESC, endpoint
        ) AS place
    FROM long
    GROUP BY service_name, endpoint
)
SELECT
    long.service_name,
    long.trace_id,
    long.span_id,
    'the garbage collector' AS subject,
    1 AS occurrences,
    long.pause_nanos AS wasted_nanos,
    'certain' AS confidence,
    'the process measured the pauses itself (timesink-otel)' AS confidence_reason,
    long.pause_nanos,
    long.pause_nanos AS longest_nanos,
    endpoints.pauses,
    endpoints.service_pauses,
    endpoints.endpoints,
    long.generation,
    long.collected,
    long.open_entries AS open_requests
FROM long
JOIN endpoints USING (service_name, endpoint)
WHERE
    endpoints.pauses >= endpoints.pauses_min
    OR (
        endpoints.place = 1
        AND endpoints.service_pauses >= endpoints.pauses_min
        AND endpoints.pauses_most < endpoints.pauses_min
    )
ORDER BY wasted_nanos DESC, long.trace_id, long.span_id
