-- One row for each stretch in which a place blocked the event loop of its process, and for each of a
-- place that cannot be told. Where the process says itself when its loop stood still, that is what
-- counts; else what the spans of its requests show.
WITH requests AS (
    -- How many requests each endpoint of a process served.
    SELECT process_id, endpoint, count(*) AS requests
    FROM entries
    GROUP BY process_id, endpoint
), blocks AS (
    SELECT
        block.*,
        blocked_share_min,
        endpoint_share_min,
        slow_callback_millis_min,
        told_min
    FROM loop_blocks AS block
    JOIN params USING (service_name, endpoint, kind)
    WHERE
        nanos >= silence_millis_min * 1000000
        -- Where both tell, one of them is enough.
        AND (told_by <> 'Logfire' OR NOT is_watched)
), block_seconds AS (
    -- The seconds in which ends what takes half of a block: it covers its middle.
    SELECT
        process_id,
        trace_id,
        span_id,
        entry_span_id,
        start_time_unix_nano,
        end_time_unix_nano,
        nanos,
        thread_id,
        code_function_name,
        code_file_path,
        told_by,
        blocked_share_min,
        unnest(
            range(
                (end_time_unix_nano - nanos / 2 - 1000000) / 1000000000,
                (end_time_unix_nano + 20000) / 1000000000 + 1
            )
        ) AS second
    FROM blocks
), doings AS (
    -- What requests did in no thread of its own while processes told of blocks: calls, which end in
    -- one second, gaps, and the serializations that the process measured. What blocks lies within
    -- its block, if it is a call; the others may be longer than the block.
    SELECT
        process_id,
        service_name,
        endpoint,
        trace_id,
        span_id,
        entry_span_id,
        place,
        is_gap,
        NOT is_gap AS is_call,
        waiting_nanos,
        nanos,
        thread_id,
        code_function_name,
        code_file_path,
        start_time_unix_nano,
        end_time_unix_nano,
        unnest(
            range(
                CASE
                    WHEN NOT is_gap THEN end_time_unix_nano / 1000000000
                    ELSE greatest(
                        start_time_unix_nano / 1000000000,
                        end_time_unix_nano / 1000000000 - 600
                    )
                END,
                end_time_unix_nano / 1000000000 + 1
            )
        ) AS second
    FROM loop_candidates
    WHERE NOT is_in_thread AND process_id IN (SELECT process_id FROM blocks)
    UNION ALL
    SELECT
        process_id,
        service_name,
        endpoint,
        trace_id,
        span_id,
        entry_span_id,
        place,
        FALSE AS is_gap,
        FALSE AS is_call,
        CAST(NULL AS BIGINT) AS waiting_nanos,
        nanos,
        thread_id,
        code_function_name,
        code_file_path,
        start_time_unix_nano,
        end_time_unix_nano,
        unnest(
            range(
                greatest(start_time_unix_nano / 1000000000, end_time_unix_nano / 1000000000 - 600),
                end_time_unix_nano / 1000000000 + 1
            )
        ) AS second
    FROM serializations
), calls_beside AS (
    -- Of blocks of which nobody said whose doing they are: the calls that started and ended
    -- meanwhile. On the loop that is one at most; in threads there may be more.
    SELECT
        block.trace_id AS block_trace_id,
        block.span_id AS block_span_id,
        block.blocked_share_min,
        call.process_id,
        call.service_name,
        call.endpoint,
        call.trace_id,
        call.span_id,
        call.entry_span_id,
        call.place,
        call.waiting_nanos,
        count(*) OVER (PARTITION BY block.trace_id, block.span_id) AS calls
    FROM block_seconds AS block
    JOIN doings AS call ON call.process_id = block.process_id AND call.second = block.second
    WHERE
        call.is_call
        AND block.entry_span_id IS NULL
        AND (block.told_by = 'Logfire' OR block.code_function_name IS NULL)
        AND 2 * call.nanos >= block.nanos
        AND call.start_time_unix_nano >= block.start_time_unix_nano - 1000000
        AND call.end_time_unix_nano <= block.end_time_unix_nano + 20000
), blocking_places AS (
    -- A call that blocks does so each time that it takes as long; one in a thread does not.
    SELECT seen.process_id, seen.endpoint, seen.place
    FROM (
        SELECT process_id, endpoint, place, max(blocked_share_min) AS share_min, count(*) AS blocked
        FROM calls_beside
        WHERE calls = 1
        GROUP BY process_id, endpoint, place
    ) AS seen
    JOIN (SELECT process_id, min(nanos) AS nanos_min FROM blocks GROUP BY process_id) AS told
        ON told.process_id = seen.process_id
    LEFT JOIN doings AS call
        ON call.process_id = seen.process_id
            AND call.endpoint = seen.endpoint
            AND call.place = seen.place
            AND call.nanos >= told.nanos_min
            AND call.is_call
    GROUP BY seen.process_id, seen.endpoint, seen.place, seen.share_min, seen.blocked
    HAVING seen.blocked >= seen.share_min * count(call.span_id)
), found AS (
    SELECT beside.*
    FROM calls_beside AS beside
    JOIN blocking_places USING (process_id, endpoint, place)
    WHERE calls = 1
), functions AS (
    -- The functions that make each call: of a busy process only some requests tell.
    SELECT DISTINCT process_id, place, code_file_path, code_function_name
    FROM doings
    WHERE NOT is_gap AND code_function_name IS NOT NULL
), covering AS (
    -- What the blocking request did for half of the block or longer. While a call holds the loop no
    -- other starts on it: of several the last to start is the one, and the others wait.
    SELECT
        block.trace_id,
        block.span_id,
        doing.place,
        doing.is_gap,
        doing.is_call,
        least(block.end_time_unix_nano, doing.end_time_unix_nano)
            - greatest(block.start_time_unix_nano, doing.start_time_unix_nano) AS overlap_nanos,
        row_number() OVER (
            PARTITION BY block.trace_id, block.span_id, doing.is_call
            ORDER BY doing.start_time_unix_nano DESC, doing.nanos, doing.place
        ) AS start_number
    FROM block_seconds AS block
    JOIN doings AS doing
        ON doing.trace_id = block.trace_id
            AND doing.entry_span_id = block.entry_span_id
            AND doing.process_id = block.process_id
            AND doing.second = block.second
    LEFT JOIN (SELECT DISTINCT process_id, place, TRUE AS is_known FROM functions) AS known
        ON known.process_id = doing.process_id AND known.place = doing.place AND NOT doing.is_gap
    LEFT JOIN functions
        ON functions.process_id = doing.process_id
            AND functions.place = doing.place
            AND coalesce(functions.code_file_path = block.code_file_path, TRUE)
            AND functions.code_function_name = block.code_function_name
    WHERE
        2 * (
            least(block.end_time_unix_nano, doing.end_time_unix_nano)
            - greatest(block.start_time_unix_nano, doing.start_time_unix_nano)
        ) >= block.nanos
        -- What only waits ends after the loop turned again. A block's beginning may be told a
        -- watchdog's beat of 20 ms too late.
        AND (
            NOT doing.is_call
            OR doing.end_time_unix_nano <= block.end_time_unix_nano + 20000
                AND doing.start_time_unix_nano >= block.start_time_unix_nano - 20000000
        )
        -- Where both know thread and code, they agree; who does not say whose code it is has that of
        -- the same calls that do.
        AND (doing.is_gap OR coalesce(doing.thread_id = block.thread_id, TRUE))
        AND (
            doing.is_gap
            OR block.told_by = 'Logfire'
            OR block.code_function_name IS NULL
            OR doing.code_function_name = block.code_function_name
                AND coalesce(doing.code_file_path = block.code_file_path, TRUE)
            OR doing.code_function_name IS NULL
                AND (known.is_known IS NULL OR functions.place IS NOT NULL)
        )
), overlaps AS (
    -- The longest overlap first.
    SELECT
        trace_id,
        span_id,
        place,
        is_gap,
        row_number() OVER (
            PARTITION BY trace_id, span_id
            ORDER BY overlap_nanos DESC, is_gap, place
        ) AS place_number
    FROM covering
    WHERE NOT is_call OR start_number = 1
), named_blocks AS (
    -- A function that takes a lambda or is a comprehension is what its author knows by a name:
    -- stacks taken at different times see the one or the other.
    SELECT
        blocks.*,
        regexp_replace(
            code_function_name, '([.]<locals>)?[.]<(lambda|listcomp|setcomp|dictcomp|genexpr)>', '', 'g'
        ) AS function_name
    FROM blocks
), told AS (
    -- Named by the operation that took most of it, else by the code, else by the gap that it left.
    SELECT
        coalesce(found.service_name, named_blocks.service_name) AS service_name,
        coalesce(found.endpoint, named_blocks.endpoint) AS endpoint,
        coalesce(found.trace_id, named_blocks.trace_id) AS trace_id,
        coalesce(found.span_id, named_blocks.span_id) AS span_id,
        coalesce(found.entry_span_id, named_blocks.entry_span_id) AS entry_span_id,
        named_blocks.process_id,
        nanos,
        coalesce(named_blocks.waiting_nanos, found.waiting_nanos) AS waiting_nanos,
        code_file_path,
        code_line_number,
        told_by,
        told_min,
        endpoint_share_min,
        slow_callback_millis_min,
        found.place IS NOT NULL
            OR NOT coalesce(overlaps.is_gap, TRUE)
            OR code_function_name IS NOT NULL AS is_seen,
        CASE
            WHEN found.place IS NOT NULL THEN found.place
            WHEN NOT overlaps.is_gap THEN overlaps.place
            WHEN code_function_name IS NULL THEN coalesce(overlaps.place, 'code that was not seen')
            WHEN callee IS NULL THEN function_name
            ELSE concat(callee, ' in ', function_name)
        END AS place
    FROM named_blocks
    LEFT JOIN overlaps
        ON overlaps.trace_id = named_blocks.trace_id
            AND overlaps.span_id = named_blocks.span_id
            AND overlaps.place_number = 1
    LEFT JOIN found
        ON found.block_trace_id = named_blocks.trace_id AND found.block_span_id = named_blocks.span_id
), told_places AS (
    SELECT
        process_id,
        service_name,
        endpoint,
        place,
        bool_or(is_seen) AS is_seen,
        -- Whether others of its endpoint could be seen, or of its process if it has no endpoint.
        max(CASE WHEN bool_or(is_seen) AND count(*) >= max(told_min) THEN 1 ELSE 0 END) OVER (
            PARTITION BY process_id, endpoint
        ) AS others_seen,
        max(CASE WHEN bool_or(is_seen) AND count(*) >= max(told_min) THEN 1 ELSE 0 END) OVER (
            PARTITION BY process_id
        ) AS any_seen,
        bool_or(entry_span_id IS NULL) AS is_of_nobody,
        count(*) AS blocks,
        count(DISTINCT concat(trace_id, coalesce(entry_span_id, ''))) AS blocked_requests,
        avg(nanos) AS mean_nanos
    FROM told
    GROUP BY process_id, service_name, endpoint, place
), direct AS (
    -- What happens again: the first time may be an import or a connection. It is in a good part of
    -- the endpoint's requests, or long.
    SELECT
        told.*,
        blocked_requests,
        coalesce(requests, blocked_requests) AS requests
    FROM told
    JOIN told_places USING (process_id, service_name, endpoint, place)
    LEFT JOIN requests USING (process_id, endpoint)
    WHERE
        told_places.blocks >= told_min
        -- What could not be seen is the same as what was, more likely than not: it is left out.
        AND (told_places.is_seen OR (CASE WHEN is_of_nobody THEN any_seen ELSE others_seen END) = 0)
        AND (
            requests IS NULL
            OR blocked_requests >= endpoint_share_min * requests
            OR mean_nanos >= slow_callback_millis_min * 1000000
        )
), instances AS (
    -- Every leaf span and gap long enough to hold a silence, judged alone. Blocked: no concurrent
    -- request of the process started or ended a span although several were to be expected; a span
    -- must be silent over its whole length. Unknown: too little else went on to tell.
    SELECT
        service_name,
        endpoint,
        trace_id,
        span_id,
        process_id,
        has_process_identity,
        is_event_loop,
        place,
        is_gap,
        end_time_unix_nano,
        silence_nanos,
        expected_edges,
        foreign_edges,
        concurrent_traces,
        waiting_nanos,
        request_silence_nanos,
        request_edges,
        expected_request_edges,
        code_file_path,
        code_line_number,
        decidable_min,
        decidable_share_min,
        blocked_share_min,
        endpoint_share_min,
        together_expected_min,
        request_expected_min,
        request_seen_share_max,
        request_endpoint_share_min,
        request_distinct_share_min,
        CASE
            WHEN silence_nanos IS NULL THEN 'untested'
            WHEN silence_nanos >= silence_millis_min * 1000000 AND expected_edges >= expected_edges_min
                THEN CASE WHEN is_gap OR foreign_edges = 0 THEN 'blocked' ELSE 'clear' END
            WHEN expected_edges * nanos < expected_edges_min * silence_nanos THEN 'unknown'
            ELSE 'clear'
        END AS verdict,
        coalesce(request_silence_nanos >= silence_millis_min * 1000000, FALSE) AS is_quiet
    FROM loop_candidates
    JOIN params USING (service_name, endpoint, kind)
    WHERE
        nanos >= silence_millis_min * 1000000
        AND NOT is_watched
        AND NOT is_in_thread
), distinct_instances AS (
    -- Two blocks of one loop never overlap, by 2 ms at most in what spans show of them; requests that
    -- wait for the loop wait together.
    SELECT
        instances.*,
        is_quiet AND coalesce(
            end_time_unix_nano - request_silence_nanos >= max(
                CASE WHEN is_quiet THEN end_time_unix_nano END
            ) OVER (
                PARTITION BY process_id, endpoint, place, is_gap
                ORDER BY end_time_unix_nano, request_silence_nanos DESC, trace_id, span_id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) - 2000000,
            TRUE
        ) AS is_distinct
    FROM instances
), places AS (
    -- One place of the code over all its requests: one interval proves little, many prove a lot.
    SELECT
        process_id,
        endpoint,
        place,
        is_gap,
        count(*) AS instances,
        sum(CASE verdict WHEN 'blocked' THEN 1 ELSE 0 END) AS blocked,
        sum(CASE WHEN verdict IN ('blocked', 'clear') THEN 1 ELSE 0 END) AS decidable,
        sum(expected_edges) AS expected_edges,
        sum(foreign_edges) AS foreign_edges,
        sum(CASE WHEN concurrent_traces > 0 THEN 1 ELSE 0 END) AS accompanied,
        count(request_edges) AS request_instances,
        sum(CASE WHEN is_quiet THEN 1 ELSE 0 END) AS quiet,
        sum(CASE WHEN is_distinct THEN 1 ELSE 0 END) AS distinct_quiet,
        sum(request_edges) AS request_edges,
        sum(expected_request_edges) AS expected_request_edges,
        bool_or(is_event_loop) AS is_event_loop,
        max(decidable_min) AS decidable_min,
        -- Whether enough of them can be told.
        sum(CASE WHEN verdict IN ('blocked', 'clear') THEN 1 ELSE 0 END)
            >= greatest(max(decidable_min), max(decidable_share_min) * count(*)) AS is_decided,
        max(blocked_share_min) AS blocked_share_min,
        max(endpoint_share_min) AS endpoint_share_min,
        max(together_expected_min) AS together_expected_min,
        max(request_expected_min) AS request_expected_min,
        max(request_seen_share_max) AS request_seen_share_max,
        max(request_endpoint_share_min) AS request_endpoint_share_min,
        max(request_distinct_share_min) AS request_distinct_share_min
    FROM distinct_instances
    GROUP BY process_id, endpoint, place, is_gap
), verdicts AS (
    -- What each place comes to, and why. Where threads make spans of their own beside the loop, as
    -- in Django, only the requests that are taken and answered meanwhile tell, all added up.
    SELECT
        process_id,
        endpoint,
        place,
        is_gap,
        places.instances,
        places.blocked,
        places.decidable,
        places.request_instances,
        places.quiet,
        requests,
        CASE
            WHEN places.request_instances >= places.decidable_min
                AND places.request_instances >= places.request_endpoint_share_min * requests
                AND places.expected_request_edges >= places.request_expected_min
                AND places.request_edges <= places.request_seen_share_max * places.expected_request_edges
                AND places.distinct_quiet >= places.decidable_min
                AND places.distinct_quiet >= places.request_distinct_share_min * places.quiet
                THEN 'blocked: no request was taken or answered'
            WHEN NOT places.is_event_loop THEN 'clear: requests were taken or answered'
            WHEN places.instances < places.endpoint_share_min * requests
                THEN 'clear: it happens in too few of the requests to be the code of this endpoint'
            -- Each alone is too short to tell, but not one of them heard the requests beside it.
            WHEN NOT is_gap
                AND NOT is_decided
                AND places.foreign_edges = 0
                AND places.accompanied >= places.decidable_min
                AND places.accompanied >= places.request_endpoint_share_min * requests
                AND places.expected_edges >= places.together_expected_min
                THEN 'blocked together'
            WHEN places.accompanied > 0
                AND NOT is_decided
                THEN 'unknown: other requests were open, but too little of them started or ended'
            WHEN NOT is_decided
                THEN 'unknown: too few requests ran beside these to tell; one client alone can never tell'
            WHEN places.blocked < places.blocked_share_min * places.decidable
                THEN 'clear: other requests went on meanwhile'
            ELSE 'blocked'
        END AS verdict
    FROM places
    JOIN requests USING (process_id, endpoint)
), stretches AS (
    -- The instances that count, each with what it was judged by.
    SELECT
        instances.service_name,
        instances.trace_id,
        instances.span_id,
        instances.place,
        instances.is_gap,
        is_event_loop,
        has_process_identity,
        silence_nanos,
        request_silence_nanos,
        waiting_nanos,
        expected_edges,
        expected_request_edges,
        code_file_path,
        code_line_number,
        verdicts.verdict,
        verdicts.verdict LIKE 'blocked:%' AS is_by_requests,
        CASE
            WHEN verdicts.verdict LIKE 'blocked:%' THEN verdicts.quiet
            WHEN verdicts.verdict = 'blocked together' THEN verdicts.instances
            ELSE verdicts.blocked
        END AS instances_blocked,
        CASE
            WHEN verdicts.verdict LIKE 'blocked:%' THEN verdicts.request_instances
            WHEN verdicts.verdict = 'blocked together' THEN verdicts.instances
            ELSE verdicts.decidable
        END AS instances_decidable,
        verdicts.instances
    FROM instances
    JOIN verdicts USING (process_id, endpoint, place, is_gap)
    LEFT JOIN (SELECT DISTINCT process_id, endpoint, place FROM direct) AS known
        ON known.process_id = verdicts.process_id
            AND known.endpoint = verdicts.endpoint
            AND known.place = verdicts.place
    WHERE
        known.place IS NULL
        AND (
            (verdicts.verdict = 'blocked' AND instances.verdict = 'blocked')
            OR verdicts.verdict = 'blocked together'
            OR (verdicts.verdict LIKE 'blocked:%' AND is_quiet)
            OR (verdicts.verdict LIKE 'unknown%' AND verdicts.instances >= instances.decidable_min)
            -- Other processes that look like this one go on: the test is blind to a stall of one.
            OR (
                verdicts.verdict = 'clear: other requests went on meanwhile'
                AND NOT has_process_identity
                AND verdicts.instances >= instances.decidable_min
            )
        )
)
SELECT
    service_name,
    trace_id,
    span_id,
    place AS subject,
    1 AS occurrences,
    CASE WHEN verdict LIKE 'blocked%' THEN waiting_nanos ELSE 0 END AS wasted_nanos,
    CASE
        WHEN verdict NOT LIKE 'blocked%' THEN 'unknown'
        WHEN has_process_identity THEN 'likely'
        ELSE 'possible'
    END AS confidence,
    CASE
        WHEN verdict LIKE 'clear%'
            THEN 'the resource names no process (service.instance.id, or process.pid with a host): if there are several, a stall of one hides behind the others'
        WHEN verdict LIKE 'unknown: other%'
            THEN 'other requests of the process were open meanwhile, but too little of them started or ended to tell whether the event loop stood still; record more requests, among them some that wait for several short things'
        WHEN verdict NOT LIKE 'blocked%'
            THEN 'too few requests ran side by side to tell whether the event loop stood still; record it with several clients at a time'
        WHEN NOT has_process_identity
            THEN 'the resource names no process (service.instance.id, or process.pid with a host): several processes may look like one'
        WHEN is_by_requests AND NOT is_event_loop
            THEN 'while it ran hardly any other request of the process was taken or answered; spans do not show whether this Django runs on an event loop, threads that hold the GIL, and requests that queue for one lock, look alike'
        WHEN is_by_requests
            THEN 'while it ran hardly any other request of the process was taken or answered; threads that hold the GIL, and requests that queue for one lock, look alike'
        WHEN verdict = 'blocked together'
            THEN 'while it ran no other request of the process ever started or ended a span: each time is too short to tell, all of them together are not; threads that hold the GIL look alike'
        ELSE 'while it ran no other request of the process started or ended a span, in most of the requests that can be told; threads that hold the GIL look alike'
    END AS confidence_reason,
    CASE WHEN is_by_requests THEN request_silence_nanos ELSE silence_nanos END AS blocked_nanos,
    CAST(
        round(
            CAST(waiting_nanos AS DOUBLE)
            / greatest(1, CASE WHEN is_by_requests THEN request_silence_nanos ELSE silence_nanos END)
        ) AS BIGINT
    ) AS requests_waiting,
    CASE WHEN is_by_requests THEN expected_request_edges ELSE expected_edges END AS expected_edges,
    instances_blocked,
    instances_decidable,
    instances,
    code_file_path,
    code_line_number
FROM stretches
UNION ALL
SELECT
    service_name,
    trace_id,
    span_id,
    place AS subject,
    1 AS occurrences,
    -- The loop's own time at least: whoever comes meanwhile waits for it.
    greatest(coalesce(waiting_nanos, 0), nanos) AS wasted_nanos,
    'certain' AS confidence,
    CASE
        WHEN told_by = 'Logfire'
            THEN 'Logfire timed the callback of the event loop itself; it knows the task, and not the line'
        WHEN code_file_path IS NULL
            THEN 'the process itself says that its event loop stood still (timesink-otel); it could not be seen in which line'
        ELSE 'the process itself says that its event loop stood still, and in which line (timesink-otel)'
    END AS confidence_reason,
    nanos AS blocked_nanos,
    CAST(round(CAST(coalesce(waiting_nanos, 0) AS DOUBLE) / greatest(1, nanos)) AS BIGINT) AS requests_waiting,
    NULL AS expected_edges,
    blocked_requests AS instances_blocked,
    requests AS instances_decidable,
    requests AS instances,
    code_file_path,
    code_line_number
FROM direct
ORDER BY wasted_nanos DESC, trace_id, span_id, subject
