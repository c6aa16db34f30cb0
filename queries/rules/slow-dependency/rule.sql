-- One row for each request that waits for the better part of its time for another service's work.
WITH unrecorded AS (
    -- What each service calls without ever a recorded answer: where others of the kind are answered
    -- on record, a call has only lost its spans.
    SELECT service_name, peer, query_shape
    FROM call_client_spans
    GROUP BY service_name, peer, query_shape
    HAVING NOT bool_or(server_service_name IS NOT NULL)
), calls AS (
    -- The calls to services that record no spans, on the way of the request: a background task
    -- makes nobody wait. Failed calls are left to other rules.
    SELECT
        call.service_name,
        call.endpoint,
        call.entry_span_id,
        call.trace_id,
        call.span_id,
        call.peer,
        call.entry_duration_nanos,
        call.duration_nanos,
        call.critical_nanos,
        call.critical_nanos - least(call.critical_nanos, call.stalled_nanos) AS waited_nanos
    FROM call_client_spans AS call
    JOIN unrecorded USING (service_name, peer, query_shape)
    JOIN entries
        ON entries.trace_id = call.trace_id AND entries.span_id = call.entry_span_id
    WHERE NOT call.is_failed AND call.tiling_span_id = entries.tiling_span_id
), trees AS (
    -- Traces in one piece: where several spans have no parent on record, others are missing.
    SELECT trace_id, count(*) = 1 AS is_whole
    FROM spans_with_facts
    WHERE root_span_id = span_id
    GROUP BY trace_id
), waits AS (
    -- How long each request waited for the work of each other recorded service: its spans' shares
    -- of the request's critical path, with what its event loop lost to others' stalls off, and
    -- without what it waited itself for services that record nothing.
    SELECT
        root.service_name,
        root.endpoint,
        root.kind,
        root.trace_id,
        root.span_id,
        root.duration_nanos AS root_nanos,
        trees.is_whole,
        span.service_name AS subject,
        TRUE AS is_recorded,
        sum(span.critical_nanos - least(span.critical_nanos, span.stalled_nanos)) AS waited_nanos,
        sum(span.critical_nanos - least(span.critical_nanos, span.stalled_nanos)) AS longest_nanos
    FROM entries AS root
    JOIN spans_with_facts AS span
        ON span.trace_id = root.trace_id AND span.tiling_span_id = root.span_id
    JOIN trees ON trees.trace_id = root.trace_id
    LEFT JOIN calls ON calls.trace_id = span.trace_id AND calls.span_id = span.span_id
    WHERE
        -- Nobody on record waits for it: the root, or a request that a test makes in its own process.
        (root.span_id = root.root_span_id OR (root.kind = 'SERVER' AND root.tiling_span_id = root.span_id))
        AND span.service_name <> root.service_name
        AND calls.span_id IS NULL
    GROUP BY root.service_name, root.endpoint, root.kind, root.trace_id, root.span_id,
        root.duration_nanos, trees.is_whole, span.service_name
), external_calls AS (
    -- How long each request waited for a service that records no spans. Many calls at the same time
    -- hold each other up: that may be no fault of the other side.
    SELECT
        service_name,
        endpoint,
        entry_span_id,
        trace_id,
        max(entry_duration_nanos) AS root_nanos,
        peer AS subject,
        sum(waited_nanos) AS waited_nanos,
        max(waited_nanos) AS longest_nanos,
        count(*) >= 5 AND 2 * sum(critical_nanos) < sum(duration_nanos) AS is_crowded
    FROM calls
    GROUP BY service_name, endpoint, entry_span_id, trace_id, peer
), silent_places AS (
    -- Calls during which no other request of an event loop ever moved, although some were open.
    SELECT process_id, endpoint, place
    FROM loop_candidates
    WHERE NOT is_gap AND nanos >= 10000000
    GROUP BY process_id, endpoint, place
    HAVING sum(foreign_edges) = 0 AND max(concurrent_traces) > 0
), silent_loops AS (
    -- Event loops that were silent so for the better part of the time: they may have stood still,
    -- and answers that were there waited for them.
    SELECT process_id, TRUE AS is_silent
    FROM loop_candidates
    JOIN silent_places USING (process_id, endpoint, place)
    WHERE NOT is_gap AND nanos >= 10000000
    GROUP BY process_id
    HAVING 2 * sum(nanos) >= max(end_time_unix_nano) - min(end_time_unix_nano - nanos)
), dependencies AS (
    -- Both together: what a request waits for. A call that nothing called is no request.
    SELECT service_name, endpoint, kind, trace_id, span_id, root_nanos, is_whole,
        FALSE AS is_crowded, FALSE AS is_silent, subject, is_recorded, waited_nanos, longest_nanos
    FROM waits
    WHERE kind NOT IN ('CLIENT', 'PRODUCER')
    UNION ALL
    SELECT entries.service_name, entries.endpoint, entries.kind, entries.trace_id, entries.span_id,
        root_nanos, FALSE AS is_whole, is_crowded, coalesce(is_silent, FALSE) AS is_silent, subject, FALSE AS is_recorded, waited_nanos, longest_nanos
    FROM external_calls
    JOIN entries
        ON entries.trace_id = external_calls.trace_id
        AND entries.span_id = external_calls.entry_span_id
    LEFT JOIN silent_loops ON silent_loops.process_id = entries.process_id
    WHERE entries.kind NOT IN ('CLIENT', 'PRODUCER')
), slow AS (
    -- Slow in most requests: without a baseline, "slow" needs an absolute floor beside the share.
    SELECT
        service_name,
        endpoint,
        subject,
        is_recorded,
        count(*) AS calls
    FROM dependencies
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY service_name, endpoint, subject, is_recorded
    HAVING
        median(longest_nanos) >= CASE
            WHEN is_recorded THEN max(service_millis_min)
            ELSE max(external_millis_min)
        END * 1000000
        AND median(waited_nanos) >= max(root_share_min) * median(root_nanos)
)
SELECT
    dependencies.service_name,
    dependencies.trace_id,
    dependencies.span_id,
    dependencies.subject,
    1 AS occurrences,
    dependencies.waited_nanos AS wasted_nanos,
    CASE
        WHEN dependencies.is_crowded OR dependencies.is_silent THEN 'possible'
        WHEN dependencies.is_recorded AND dependencies.is_whole THEN 'certain'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN dependencies.is_crowded
            THEN 'many calls at the same time hold each other up: on the other side, or in this process'
        WHEN dependencies.is_silent
            THEN 'the event loop of this process may have stood still meanwhile, so that answers that were there waited for it'
        WHEN NOT dependencies.is_recorded
            THEN 'it records no spans: the time may be its own, or the way there and back'
        WHEN NOT dependencies.is_whole
            THEN 'its spans cover the time that the request waited for, but spans of the trace are missing: some of the time may be theirs'
        ELSE 'its own spans cover the time that the request waited for'
    END AS confidence_reason,
    dependencies.waited_nanos,
    dependencies.root_nanos AS request_nanos,
    CAST(dependencies.waited_nanos AS DOUBLE) / dependencies.root_nanos AS waited_share
FROM dependencies
JOIN slow USING (service_name, endpoint, subject, is_recorded)
ORDER BY wasted_nanos DESC, dependencies.trace_id, dependencies.span_id, dependencies.subject
