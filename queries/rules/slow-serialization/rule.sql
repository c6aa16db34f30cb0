-- One row for each request that spends its time after its last I/O, as building a response does.
WITH explicit AS (
    -- Spans without calls of their own that begin after the last I/O, serializations above all that
    -- the process measured itself (`timesink-otel`), and template renderings: a template loads
    -- those that it extends or includes while it renders, so its own time counts.
    SELECT
        span.service_name,
        span.endpoint,
        'SERVER' AS kind,
        span.trace_id,
        span.entry_span_id,
        span.has_process_identity,
        span.entry_duration_nanos,
        CASE
            WHEN span.timesink_callee IS NOT NULL AND span.code_function_name IS NULL THEN span.timesink_callee
            WHEN span.timesink_callee IS NOT NULL
                THEN concat(span.timesink_callee, ' in ', span.code_function_name)
            WHEN span.jinja2_template_name IS NULL THEN span.operation
            ELSE concat(span.operation, ' ', span.jinja2_template_name)
        END AS subject,
        CASE
            WHEN span.timesink_callee IS NOT NULL THEN 'measured'
            WHEN span.jinja2_template_name IS NOT NULL THEN 'template'
            -- The words for what this rule looks for, as libraries and people name such spans.
            WHEN regexp_like(lower(span.operation), 'seriali[sz]|render|encod|dump|marshal|template')
                AND NOT regexp_like(lower(span.operation), 'wait|fetch|upload|send|post|call')
                THEN 'span'
            ELSE 'work'
        END AS shown_by,
        span.self_nanos AS nanos,
        -- A serializer may have asked for its data itself: what comes behind that counts.
        CASE
            WHEN span.timesink_callee IS NULL THEN least(span.critical_nanos, span.self_nanos)
            ELSE least(
                span.critical_nanos,
                span.end_time_unix_nano - greatest(span.start_time_unix_nano, coalesce(last_calls.io_end, 0))
            )
        END AS critical_nanos,
        span.stalled_nanos,
        span.silence_nanos,
        span.expected_edges,
        span.foreign_edges,
        FALSE AS is_gap,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.code_file_path,
        span.code_line_number,
        span.is_watched,
        span.is_event_loop
    FROM spans_with_facts AS span
    LEFT JOIN last_calls USING (trace_id, entry_span_id)
    WHERE
        span.kind = 'INTERNAL'
        AND span.entry_kind = 'SERVER'
        AND (span.is_leaf OR span.jinja2_template_name IS NOT NULL)
        AND span.asgi_event_type IS NULL
        AND span.tiling_span_id <> span.span_id
        -- Work that the asyncio instrumentation shows in a thread or task of its own.
        AND coalesce(span.scope_name, '') <> 'opentelemetry.instrumentation.asyncio'
        -- Of what the process tells itself, serializations alone.
        AND (coalesce(span.scope_name, '') <> 'timesink_otel' OR span.name = 'timesink.serialize')
        AND (
            span.start_time_unix_nano >= last_calls.io_end
            OR span.jinja2_template_name IS NOT NULL
            OR (
                span.timesink_callee IS NOT NULL
                AND (last_calls.io_end IS NULL OR span.end_time_unix_nano > last_calls.io_end)
            )
        )
), tails AS (
    -- The uncovered time from the last I/O to the first byte of the response, or to the end of the
    -- request where the framework does not show that byte; in the request's own span or in one of
    -- the application around its work. After a failed call it may be a backoff. An RPC's answer
    -- is small as a rule: there it is rather work of another kind.
    SELECT
        span.service_name,
        span.endpoint,
        'SERVER' AS kind,
        gap.trace_id,
        gap.entry_span_id,
        span.has_process_identity,
        span.entry_duration_nanos,
        concat('gap after ', gap.before) AS subject,
        CASE WHEN span.rpc_method IS NULL THEN 'gap' ELSE 'work' END AS shown_by,
        gap.nanos,
        gap.critical_nanos,
        gap.stalled_nanos,
        gap.silence_nanos,
        gap.expected_edges,
        gap.foreign_edges,
        TRUE AS is_gap,
        gap.start_time_unix_nano,
        gap.start_time_unix_nano + gap.nanos AS end_time_unix_nano,
        span.code_file_path,
        span.code_line_number,
        span.is_watched,
        span.is_event_loop
    FROM gaps AS gap
    JOIN spans_with_facts AS span ON gap.trace_id = span.trace_id AND gap.span_id = span.span_id
    JOIN last_calls ON last_calls.trace_id = gap.trace_id AND last_calls.entry_span_id = gap.entry_span_id
    LEFT JOIN lossy_traces AS lost ON lost.trace_id = gap.trace_id AND lost.service_name = span.service_name
    WHERE
        gap.position = 'tail'
        AND span.entry_kind = 'SERVER'
        AND (span.kind = 'SERVER' OR span.tiling_span_id = gap.entry_span_id)
        AND span.jinja2_template_name IS NULL
        AND NOT gap.before_failed
        AND lost.is_lost IS NULL
        AND gap.start_time_unix_nano >= last_calls.io_end
), work AS (
    -- Both together: what a request does once it has its data.
    SELECT service_name, endpoint, kind, trace_id, entry_span_id, has_process_identity, entry_duration_nanos,
        subject, shown_by, nanos, critical_nanos, stalled_nanos, silence_nanos,
        expected_edges, foreign_edges, is_gap, start_time_unix_nano, end_time_unix_nano, code_file_path, code_line_number, is_watched, is_event_loop
    FROM explicit
    UNION ALL
    SELECT service_name, endpoint, kind, trace_id, entry_span_id, has_process_identity, entry_duration_nanos,
        subject, shown_by, nanos, critical_nanos, stalled_nanos, silence_nanos,
        expected_edges, foreign_edges, is_gap, start_time_unix_nano, end_time_unix_nano, code_file_path, code_line_number, is_watched, is_event_loop
    FROM tails
), collections AS (
    -- Pauses of the garbage collector meanwhile, which the process measured: part of what the
    -- request takes behind its last call, and in the price gc-pause's.
    SELECT
        work.trace_id,
        work.entry_span_id,
        work.subject,
        work.start_time_unix_nano,
        sum(
            least(work.end_time_unix_nano, pause.end_time_unix_nano)
                - greatest(work.start_time_unix_nano, pause.start_time_unix_nano)
        ) AS collected_nanos
    FROM work
    JOIN spans_with_facts AS pause
        ON pause.trace_id = work.trace_id AND pause.entry_span_id = work.entry_span_id
    WHERE
        pause.scope_name = 'timesink_otel'
        AND pause.name = 'timesink.gc.pause'
        AND pause.end_time_unix_nano > work.start_time_unix_nano
        AND pause.start_time_unix_nano < work.end_time_unix_nano
    GROUP BY work.trace_id, work.entry_span_id, work.subject, work.start_time_unix_nano
), without_pauses AS (
    SELECT
        work.*,
        coalesce(collected_nanos, 0) AS collected_nanos
    FROM work
    LEFT JOIN collections USING (trace_id, entry_span_id, subject, start_time_unix_nano)
), candidates AS (
    -- Long enough, and a large enough part of the request: what counts is the part on its critical
    -- path, once stalls that others caused are off. On an event loop half the shortest tail is long
    -- enough a silence to say something, if the process is known.
    SELECT
        candidate.*,
        CASE WHEN is_watched AND shown_by = 'gap' THEN 'work' ELSE shown_by END AS shown_as,
        greatest(0, critical_nanos - stalled_nanos - collected_nanos) AS wasted_nanos,
        trace_share_min,
        requests_min,
        clear_share_max,
        CASE
            WHEN silence_nanos IS NULL OR NOT has_process_identity THEN 'unknown'
            WHEN silence_nanos >= tail_millis_min * 500000 AND expected_edges >= expected_edges_min
                THEN CASE WHEN is_gap OR foreign_edges = 0 THEN 'blocked' ELSE 'clear' END
            WHEN expected_edges * nanos < expected_edges_min * silence_nanos THEN 'unknown'
            ELSE 'clear'
        END AS loop_verdict
    FROM without_pauses AS candidate
    JOIN params USING (service_name, endpoint, kind)
    LEFT JOIN threaded_requests USING (trace_id, entry_span_id)
    WHERE
        -- Where the process says itself what blocks its loop, that is told: what does not is a wait,
        -- or the work of a thread.
        NOT (
            is_watched
            AND is_event_loop
            AND is_in_threads IS NULL
            AND shown_by IN ('gap', 'work')
        )
        AND critical_nanos - stalled_nanos >= tail_millis_min * 1000000
        AND critical_nanos - stalled_nanos >= entry_share_min * entry_duration_nanos
), requests AS (
    -- How many requests each endpoint served.
    SELECT service_name, endpoint, count(*) AS requests
    FROM entries
    GROUP BY service_name, endpoint
), places AS (
    -- One place over all its requests. On an event loop such work blocks the loop: where other
    -- requests went on meanwhile it was waiting, not work.
    SELECT
        service_name,
        endpoint,
        subject,
        count(DISTINCT concat(trace_id, entry_span_id)) AS slow_requests,
        sum(CASE WHEN loop_verdict = 'clear' AND shown_as <> 'measured' THEN 1 ELSE 0 END) AS clear,
        sum(CASE loop_verdict WHEN 'blocked' THEN 1 ELSE 0 END) AS blocked,
        sum(CASE loop_verdict WHEN 'unknown' THEN 0 ELSE 1 END) AS decidable,
        max(trace_share_min) AS trace_share_min,
        max(requests_min) AS requests_min,
        max(clear_share_max) AS clear_share_max
    FROM candidates
    GROUP BY service_name, endpoint, subject
)
SELECT
    candidates.service_name,
    candidates.trace_id,
    candidates.entry_span_id AS span_id,
    candidates.subject,
    1 AS occurrences,
    candidates.wasted_nanos,
    CASE
        WHEN places.slow_requests < places.requests_min THEN 'possible'
        WHEN candidates.shown_as IN ('template', 'measured') THEN 'certain'
        WHEN candidates.shown_as = 'work' AND 2 * places.blocked <= places.slow_requests THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN places.slow_requests < places.requests_min
            THEN 'too few requests to tell it from a cold start or an outlier'
        WHEN candidates.shown_as = 'template' THEN 'the template engine recorded the rendering itself'
        WHEN candidates.shown_as = 'measured' THEN 'the process measured the serialization itself (timesink-otel)'
        WHEN candidates.shown_as = 'work' AND 2 * places.blocked <= places.slow_requests
            THEN 'it lies where responses are built, but nothing shows that it is computing, or what'
        WHEN candidates.shown_as <> 'gap'
            THEN 'a span of the application covers the work after the last I/O; spans do not say what it computes'
        ELSE 'no span covers the time between the last I/O and the response: building the response is the likely reason, a sleep would look the same'
    END AS confidence_reason,
    candidates.wasted_nanos AS tail_nanos,
    candidates.entry_duration_nanos AS entry_nanos,
    CAST(candidates.wasted_nanos AS DOUBLE) / candidates.entry_duration_nanos AS tail_share,
    candidates.stalled_nanos,
    candidates.code_file_path,
    candidates.code_line_number
FROM candidates
JOIN places USING (service_name, endpoint, subject)
JOIN requests USING (service_name, endpoint)
WHERE
    places.slow_requests >= places.trace_share_min * requests.requests
    AND places.clear <= places.clear_share_max * places.decidable
ORDER BY wasted_nanos DESC, candidates.trace_id, candidates.entry_span_id, candidates.subject
