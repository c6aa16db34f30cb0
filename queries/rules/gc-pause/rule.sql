-- One row for each long pause of the garbage collector that a process measured itself
-- (`timesink-otel`). Of a process that does not, one for each time that all of it stood still,
-- where that happens again and again and no one place explains it.
WITH pauses AS (
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        process_id,
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
), runs AS (
    -- How often the requests of an endpoint make each call, and what it takes. Of what lies between
    -- calls, only how many requests there are is known.
    SELECT
        process_id,
        endpoint,
        CASE WHEN span_id = entry_span_id THEN '' ELSE operation END AS call,
        count(*) AS runs,
        avg(duration_nanos) AS mean_nanos
    FROM spans_with_facts
    WHERE
        is_event_loop
        AND NOT is_watched
        AND (is_leaf OR span_id = entry_span_id)
    GROUP BY process_id, endpoint, CASE WHEN span_id = entry_span_id THEN '' ELSE operation END
), longs AS (
    -- What takes long, and whether all of the process stood still meanwhile: nothing of other
    -- requests started or ended, though several were open and much was to be expected.
    SELECT
        candidate.service_name,
        candidate.endpoint,
        candidate.trace_id,
        candidate.span_id,
        candidate.process_id,
        place,
        is_gap,
        end_time_unix_nano,
        nanos,
        silence_nanos,
        waiting_nanos,
        critical_nanos,
        expected_edges,
        has_process_identity,
        silences_min,
        places_min,
        own_share_max,
        place_share_max,
        library_share_max,
        long_factor_max,
        silence_nanos >= silence_millis_min * 1000000
            AND expected_edges >= expected_edges_min
            AND waiting_nanos >= open_min * silence_nanos
            -- What takes much longer than the silence may just outlast the others.
            AND 2 * silence_nanos >= nanos AS is_silent
    FROM loop_candidates AS candidate
    JOIN params USING (service_name, endpoint, kind)
    LEFT JOIN (SELECT DISTINCT process_id FROM pauses) AS told
        ON told.process_id = candidate.process_id
    WHERE
        -- The least that the parameter can be: most spans are left out early.
        nanos >= 10000000
        AND nanos >= silence_millis_min * 1000000
        AND silence_nanos IS NOT NULL
        AND is_event_loop
        AND NOT is_watched
        AND told.process_id IS NULL
), silences AS (
    -- The first to end after a stop shows it. What is silent at the same time, of the same request
    -- or ended with it, shows the same stop.
    SELECT
        longs.*,
        CASE WHEN is_gap THEN '' ELSE place END AS call,
        sum(nanos) OVER (PARTITION BY process_id, endpoint, place) AS long_nanos,
        end_time_unix_nano - silence_nanos < lag(end_time_unix_nano) OVER (
            PARTITION BY process_id, is_silent
            ORDER BY end_time_unix_nano, silence_nanos DESC, trace_id, span_id
        ) - 2000000 AS is_same_stop
    FROM longs
), stops AS (
    -- Each stop once. The place that shows it did not cause it where it mostly runs without.
    SELECT
        silences.*,
        count(*) OVER (PARTITION BY process_id) AS stops,
        count(*) OVER (PARTITION BY process_id, endpoint, place) AS stops_here,
        -- Calls by one library may wait for one server. Gaps wait for none.
        CASE
            WHEN is_gap THEN 0
            ELSE count(*) OVER (PARTITION BY process_id, split_part(place, ' ', 1))
        END AS stops_of_library,
        count(*) OVER (PARTITION BY process_id, endpoint, place) <= own_share_max * runs
            -- Were it all that the process did in its stops, it would not take longer in sum.
            AND long_nanos <= sum(silence_nanos + waiting_nanos) OVER (PARTITION BY process_id)
            AS is_bystander
    FROM silences
    JOIN runs USING (process_id, endpoint, call)
    WHERE
        is_silent
        AND NOT coalesce(is_same_stop, FALSE)
        -- A call that takes about so long anyhow was not held up.
        AND (is_gap OR 2 * mean_nanos <= silence_nanos)
), processes AS (
    -- Many stops at many places. Where the bystanders take long at other times as well, it is
    -- chance that now and then all that is open does at once.
    SELECT process_id, count(DISTINCT place) AS places
    FROM stops
    WHERE is_bystander
    GROUP BY process_id
    HAVING
        count(*) >= max(silences_min)
        AND 2 * count(*) >= max(stops)
        AND count(DISTINCT place) >= max(places_min)
        AND max(stops_here) <= max(place_share_max) * max(stops)
        AND max(stops_of_library) <= max(library_share_max) * max(stops)
        AND sum(long_nanos / stops_here)
            <= max(long_factor_max) * sum(silence_nanos + waiting_nanos)
), found AS (
    SELECT
        service_name,
        endpoint,
        trace_id,
        span_id,
        'the garbage collector' AS subject,
        pause_nanos AS wasted_nanos,
        'certain' AS confidence,
        'the process measured the pauses itself (timesink-otel)' AS confidence_reason,
        pause_nanos,
        is_in_request,
        pauses_min,
        generation,
        collected,
        open_entries AS open_requests,
        CAST(NULL AS BIGINT) AS places,
        CAST(NULL AS DOUBLE) AS expected_edges
    FROM pauses
    JOIN params USING (service_name, endpoint, kind)
    WHERE pause_nanos >= pause_millis_min * 1000000
    UNION ALL
    SELECT
        service_name,
        endpoint,
        trace_id,
        span_id,
        'pauses of the whole process' AS subject,
        least(silence_nanos, critical_nanos) AS wasted_nanos,
        'possible' AS confidence,
        concat(
            'nothing of the process moves, whatever it is at: garbage collection, a container at ',
            'its CPU quota, a host without CPU, a thread that holds the interpreter''s lock, and ',
            'work on the event loop that no span shows look alike; timesink-otel tells the ',
            'collector and the loop from the rest',
            CASE
                WHEN has_process_identity THEN ''
                ELSE concat(
                    '; the resource names no process (service.instance.id, or process.pid with a ',
                    'host): several processes may look like one'
                )
            END
        ) AS confidence_reason,
        silence_nanos AS pause_nanos,
        TRUE AS is_in_request,
        1 AS pauses_min,
        NULL AS generation,
        NULL AS collected,
        1 + CAST(round(CAST(waiting_nanos AS DOUBLE) / silence_nanos) AS BIGINT) AS open_requests,
        places,
        expected_edges
    FROM stops
    JOIN processes USING (process_id)
    WHERE is_bystander
), endpoints AS (
    -- A stop is of all of a process, wherever it happens to run. Where no endpoint has enough
    -- pauses of its own, the one with most of them stands for its service.
    SELECT
        service_name,
        endpoint,
        subject,
        count(*) AS pauses,
        max(pauses_min) AS pauses_min,
        CAST(median(generation) AS BIGINT) AS generation,
        CAST(median(collected) AS BIGINT) AS collected,
        sum(count(*)) OVER (PARTITION BY service_name, subject) AS service_pauses,
        count(*) OVER (PARTITION BY service_name, subject) AS endpoints,
        max(count(*)) OVER (PARTITION BY service_name, subject) AS pauses_most,
        row_number() OVER (
            PARTITION BY service_name, subject
            ORDER BY bool_or(is_in_request) DESC, sum(pause_nanos) DESC, endpoint
        ) AS place
    FROM found
    GROUP BY service_name, endpoint, subject
)
SELECT
    found.service_name,
    found.trace_id,
    found.span_id,
    found.subject,
    1 AS occurrences,
    found.wasted_nanos,
    found.confidence,
    found.confidence_reason,
    found.pause_nanos,
    found.pause_nanos AS longest_nanos,
    endpoints.pauses,
    endpoints.service_pauses,
    endpoints.endpoints,
    found.generation,
    found.collected,
    found.open_requests,
    found.places,
    found.expected_edges,
    CASE
        WHEN found.confidence = 'possible'
            THEN concat(
                'No one place explains it: it hit ', found.places,
                ' different ones, which mostly run without.'
            )
        ELSE concat(
            'A typical one is of generation ', endpoints.generation,
            ' and frees ', endpoints.collected, ' objects.'
        )
    END AS cause
FROM found
JOIN endpoints USING (service_name, endpoint, subject)
WHERE
    CASE
        -- A stop that spans alone show is no endpoint's doing: one of them tells of it.
        WHEN found.confidence = 'possible' THEN endpoints.place = 1
        ELSE endpoints.pauses >= endpoints.pauses_min
            OR (
                endpoints.place = 1
                AND endpoints.service_pauses >= endpoints.pauses_min
                AND endpoints.pauses_most < endpoints.pauses_min
            )
    END
ORDER BY wasted_nanos DESC, found.trace_id, found.span_id
