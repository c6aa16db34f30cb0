-- One row for each request and place where it spends its better part and no span says with what.
WITH requests AS (
    -- How many requests each endpoint served.
    SELECT service_name, endpoint, count(*) AS requests
    FROM entries
    GROUP BY service_name, endpoint
), notes AS (
    -- What a process tells of its requests itself: when they blocked its event loop, and pauses of
    -- the garbage collector.
    SELECT trace_id, entry_span_id, process_id, start_time_unix_nano, end_time_unix_nano
    FROM loop_blocks
    WHERE entry_span_id IS NOT NULL
    UNION ALL
    SELECT trace_id, entry_span_id, process_id, start_time_unix_nano, end_time_unix_nano
    FROM spans_with_facts
    WHERE scope_name = 'timesink_otel' AND name = 'timesink.gc.pause'
), open_gaps AS (
    -- The gaps of requests and of spans within them. A span of the application without any child
    -- says by its name what it does, and so does a template; after a failed call the gap may be a
    -- backoff; the first request of a process imports and connects.
    SELECT
        span.service_name,
        span.endpoint,
        span.entry_kind AS kind,
        span.process_id,
        gap.trace_id,
        gap.span_id,
        gap.entry_span_id,
        span.tiling_span_id,
        CASE gap.position
            WHEN 'lead' THEN concat('before ', gap.after)
            WHEN 'tail' THEN concat('after ', gap.before)
            WHEN 'between' THEN concat('between ', gap.before, ' and ', gap.after)
            ELSE concat('in ', span.operation)
        END AS place,
        gap.start_time_unix_nano,
        gap.nanos,
        gap.critical_nanos,
        gap.stalled_nanos,
        span.tiling_duration_nanos AS entry_nanos,
        -- Where slow-serialization looks.
        gap.position = 'tail'
            AND span.entry_kind = 'SERVER'
            AND (span.kind = 'SERVER' OR span.tiling_span_id = gap.entry_span_id)
            AND coalesce(gap.start_time_unix_nano >= last_calls.io_end, FALSE) AS is_after_io,
        -- What pool-wait takes for a wait in line.
        coalesce(
            gap.position IN ('lead', 'between')
                AND gap.after_running + 1 >= 0.75 * gap.after_running_max
                AND gap.after_ended_nanos <= 5000000,
            FALSE
        ) AS is_in_line,
        -- The stall test of blocking-event-loop.
        CASE
            WHEN gap.nanos < 10000000 OR gap.silence_nanos IS NULL THEN 'untested'
            WHEN gap.silence_nanos >= 10000000 AND gap.expected_edges >= 5 THEN 'blocked'
            WHEN gap.expected_edges * gap.nanos < 5 * gap.silence_nanos THEN 'unknown'
            ELSE 'clear'
        END AS verdict,
        span.has_process_identity,
        span.is_watched AND span.is_event_loop AND threaded_requests.is_in_threads IS NULL AS is_watched,
        span.code_file_path,
        span.code_line_number
    FROM gaps AS gap
    JOIN spans_with_facts AS span
        ON span.trace_id = gap.trace_id AND span.span_id = gap.span_id
    LEFT JOIN last_calls
        ON last_calls.trace_id = gap.trace_id AND last_calls.entry_span_id = gap.entry_span_id
    LEFT JOIN threaded_requests
        ON threaded_requests.trace_id = gap.trace_id AND threaded_requests.entry_span_id = gap.entry_span_id
    LEFT JOIN lossy_traces AS lost ON lost.trace_id = gap.trace_id AND lost.service_name = span.service_name
    WHERE
        span.entry_kind IN ('SERVER', 'CONSUMER')
        AND NOT gap.before_failed
        AND lost.is_lost IS NULL
        AND coalesce(span.entry_number, 0) <> 1
        AND coalesce(span.scope_name, '') <> 'timesink_otel'
        AND span.jinja2_template_name IS NULL
        AND (gap.position <> 'whole' OR gap.span_id = gap.entry_span_id)
), told AS (
    -- How much of a gap such notes explain.
    SELECT
        gap.trace_id,
        gap.span_id,
        gap.start_time_unix_nano,
        sum(
            greatest(
                0,
                least(gap.start_time_unix_nano + gap.nanos, note.end_time_unix_nano)
                    - greatest(gap.start_time_unix_nano, note.start_time_unix_nano)
            )
        ) AS told_nanos
    FROM open_gaps AS gap
    JOIN notes AS note
        ON note.trace_id = gap.trace_id
        AND note.entry_span_id = gap.entry_span_id
        AND note.process_id = gap.process_id
    GROUP BY gap.trace_id, gap.span_id, gap.start_time_unix_nano
), strays AS (
    -- Calls of no request, as a thread makes them that does not know for whom it works.
    SELECT
        process_id,
        trace_id,
        span_id,
        operation,
        start_time_unix_nano,
        end_time_unix_nano,
        duration_nanos,
        end_time_unix_nano / 1000000000 AS second,
        count(*) OVER (PARTITION BY process_id, operation) AS calls
    FROM spans_with_facts
    WHERE kind = 'CLIENT' AND parent_span_id IS NULL AND duration_nanos >= 1000000
), gap_seconds AS (
    SELECT
        process_id,
        endpoint,
        place,
        trace_id,
        span_id,
        start_time_unix_nano,
        nanos,
        unnest(
            range(
                start_time_unix_nano / 1000000000,
                (start_time_unix_nano + least(nanos, 600000000000)) / 1000000000 + 1
            )
        ) AS second
    FROM open_gaps
    WHERE
        nanos >= 10000000
        AND process_id IN (SELECT process_id FROM strays)
), stray_places AS (
    -- Places of which one such call at a time takes the better part, and where most of these calls
    -- are made.
    SELECT process_id, endpoint, place, operation
    FROM (
        SELECT
            gap.process_id,
            gap.endpoint,
            gap.place,
            stray.operation,
            count(DISTINCT stray.span_id) AS calls_here,
            max(stray.calls) AS calls
        FROM gap_seconds AS gap
        JOIN strays AS stray
            ON stray.process_id = gap.process_id
            AND stray.second = gap.second
        WHERE
            stray.start_time_unix_nano >= gap.start_time_unix_nano
            AND stray.end_time_unix_nano <= gap.start_time_unix_nano + gap.nanos
            AND 2 * stray.duration_nanos > gap.nanos
        GROUP BY gap.process_id, gap.endpoint, gap.place, stray.operation
    ) AS found
    JOIN (
        SELECT process_id, endpoint, place, count(DISTINCT trace_id) AS served
        FROM open_gaps
        WHERE nanos >= 10000000
        GROUP BY process_id, endpoint, place
    ) AS gaps_here USING (process_id, endpoint, place)
    WHERE 2 * calls_here > calls AND 2 * calls_here > served
), uncovered AS (
    SELECT
        gap.*,
        gap.critical_nanos
            - least(gap.critical_nanos, gap.stalled_nanos + coalesce(told.told_nanos, 0))
            AS gap_nanos
    FROM open_gaps AS gap
    LEFT JOIN told USING (trace_id, span_id, start_time_unix_nano)
), blocking AS (
    -- Places that blocking-event-loop names: most of those that can be told block the loop.
    SELECT process_id, uncovered.endpoint, place, TRUE AS is_blocking
    FROM uncovered
    JOIN (
        SELECT process_id, endpoint, count(*) AS served
        FROM entries
        GROUP BY process_id, endpoint
    ) AS served USING (process_id, endpoint)
    WHERE nanos >= 10000000 AND NOT is_watched
    GROUP BY process_id, uncovered.endpoint, place
    HAVING
        count(*) >= 0.2 * max(served)
        AND count(*) FILTER (WHERE verdict IN ('blocked', 'clear')) >= greatest(5, 0.3 * count(*))
        AND count(*) FILTER (WHERE verdict = 'blocked')
            >= 0.7 * count(*) FILTER (WHERE verdict IN ('blocked', 'clear'))
), places_of_requests AS (
    -- The long gaps of one request at one place, added up: a loop that waits at each turn. What an
    -- application works between two calls is short.
    SELECT
        uncovered.service_name,
        uncovered.endpoint,
        uncovered.kind,
        trace_id,
        tiling_span_id,
        uncovered.place,
        first_value(span_id ORDER BY uncovered.gap_nanos DESC, span_id) AS span_id,
        count(*) FILTER (WHERE uncovered.gap_nanos >= gap_millis_min * 1000000) AS gaps,
        coalesce(
            sum(uncovered.gap_nanos) FILTER (WHERE uncovered.gap_nanos >= gap_millis_min * 1000000),
            0
        ) AS gap_nanos,
        max(entry_nanos) AS entry_nanos,
        bool_or(is_after_io AND NOT is_watched) AS is_after_io,
        bool_or(is_in_line) AS is_in_line,
        -- On an event loop that went on meanwhile, as the process itself or the stall test says.
        bool_or(has_process_identity AND verdict = 'clear' OR is_watched) AS is_clear,
        bool_or(
            has_process_identity AND verdict IN ('blocked', 'clear') OR is_watched
        ) AS is_decidable,
        bool_or(blocking.is_blocking IS NOT NULL) AS is_blocking,
        min(stray_places.operation) AS stray,
        min(code_file_path) AS code_file_path,
        min(code_line_number) AS code_line_number
    FROM uncovered
    JOIN params
        ON params.service_name = uncovered.service_name
        AND params.endpoint = uncovered.endpoint
        AND params.kind = uncovered.kind
    LEFT JOIN blocking
        ON blocking.process_id = uncovered.process_id
        AND blocking.endpoint = uncovered.endpoint
        AND blocking.place = uncovered.place
    LEFT JOIN stray_places
        ON stray_places.process_id = uncovered.process_id
        AND stray_places.endpoint = uncovered.endpoint
        AND stray_places.place = uncovered.place
    GROUP BY
        uncovered.service_name,
        uncovered.endpoint,
        uncovered.kind,
        trace_id,
        tiling_span_id,
        uncovered.place
), places AS (
    -- Places where most requests that come by spend a good part, unless another rule says why.
    SELECT
        found.service_name,
        found.endpoint,
        found.place,
        count(*) FILTER (WHERE gap_nanos > 0) AS requests,
        2 * count(*) FILTER (WHERE is_clear) > count(*) FILTER (WHERE is_decidable) AS is_clear
    FROM places_of_requests AS found
    JOIN params
        ON params.service_name = found.service_name
        AND params.endpoint = found.endpoint
        AND params.kind = found.kind
    JOIN requests
        ON requests.service_name = found.service_name AND requests.endpoint = found.endpoint
    WHERE NOT is_blocking
    GROUP BY found.service_name, found.endpoint, found.place
    HAVING
        count(*) FILTER (WHERE gap_nanos > 0) >= max(requests_min)
        AND median(gap_nanos) >= max(gap_millis_min) * 1000000
        AND median(gap_nanos) >= max(entry_share_min) * median(entry_nanos)
        -- slow-serialization says it, unless the loop went on, or it is in few of the requests.
        AND NOT (
            2 * count(*) FILTER (WHERE is_after_io) > count(*)
            AND count(*) FILTER (WHERE gap_nanos > 0) >= 0.3 * max(requests.requests)
            AND 2 * count(*) FILTER (WHERE is_clear) <= count(*) FILTER (WHERE is_decidable)
        )
        -- pool-wait says it.
        AND count(*) FILTER (WHERE is_in_line) < 0.7 * count(*)
)
SELECT
    found.service_name,
    found.trace_id,
    found.span_id,
    concat('no span ', found.place) AS subject,
    found.gaps AS occurrences,
    found.gap_nanos AS wasted_nanos,
    'possible' AS confidence,
    CASE
        WHEN found.stray IS NOT NULL
            THEN concat(
                'most of them have a call of no request beside them, of about that length (',
                found.stray,
                '): it seems to be made for them, in a thread that did not get their context'
            )
        WHEN places.is_clear
            THEN 'the event loop went on meanwhile: a wait, or the work of a thread; for what, spans do not say'
        ELSE 'what it is, spans do not say: work of the application, a wait, or a library without instrumentation'
    END AS confidence_reason,
    found.gap_nanos,
    found.place,
    found.entry_nanos,
    places.requests,
    found.code_file_path,
    found.code_line_number
FROM places_of_requests AS found
JOIN places USING (service_name, endpoint, place)
WHERE found.gap_nanos > 0 AND NOT found.is_blocking
ORDER BY wasted_nanos DESC, found.trace_id, found.span_id, found.place
