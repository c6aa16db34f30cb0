-- One row for each request that is answered with very much and spends time on making the answer.
WITH answers AS (
    -- Answers with a body. Where no size is told, the answer is small, streamed, or not measured:
    -- it counts as a request, and never as a large one.
    SELECT
        entry.service_name,
        entry.endpoint,
        entry.trace_id,
        entry.span_id,
        entry.tiling_span_id,
        entry.http_response_body_size AS bytes,
        coalesce(entry.http_response_body_size, 0) >= bytes_min AS is_large,
        entry.duration_nanos AS entry_nanos,
        entry.is_watched AND entry.is_event_loop AS tells_blocks,
        making_share_min,
        requests_min
    FROM (
        SELECT spans_with_facts.*, entry_kind AS params_kind
        FROM spans_with_facts
        WHERE
            entry_span_id = span_id
            AND entry_kind = 'SERVER'
            AND status_code <> 'ERROR'
            AND coalesce(http_response_status_code, 200) BETWEEN 200 AND 299
            -- HEAD tells the length of what it does not send.
            AND coalesce(http_request_method, '') <> 'HEAD'
    ) AS entry
    JOIN params
        ON params.service_name = entry.service_name
        AND params.endpoint = entry.endpoint
        AND params.kind = entry.params_kind
), phases AS (
    -- When a request's last call ended and when it began to send. To end a transaction and to give
    -- back a connection often comes after the answer was made.
    SELECT
        answers.trace_id,
        answers.span_id AS entry_span_id,
        max(span.end_time_unix_nano) FILTER (
            WHERE
                span.kind = 'CLIENT'
                AND span.tiling_span_id = answers.tiling_span_id
                AND coalesce(span.query_shape, '')
                NOT IN ('COMMIT', 'COMMIT;', 'ROLLBACK', 'ROLLBACK;')
                AND NOT starts_with(coalesce(span.query_shape, ''), 'SELECT pg_advisory_unlock_all')
        ) AS io_end,
        min(span.start_time_unix_nano) FILTER (
            WHERE span.asgi_event_type = 'http.response.start'
        ) AS sent_from,
        bool_or(span.is_orphan AND span.kind NOT IN ('SERVER', 'CONSUMER')) AS is_lost
    FROM answers
    JOIN spans_with_facts AS span
        ON span.trace_id = answers.trace_id AND span.entry_span_id = answers.span_id
    WHERE answers.is_large
    GROUP BY answers.trace_id, answers.span_id
), making AS (
    -- Uncovered time behind the last call and before the first byte is sent, and what a serializer
    -- does itself wherever it lies: it may ask for its data while it works. Time of a background
    -- task and of the sending is none of it; after a failed call it may be a backoff.
    SELECT
        answers.trace_id,
        answers.span_id AS entry_span_id,
        sum(gap.critical_nanos - least(gap.stalled_nanos, gap.critical_nanos)) AS making_nanos,
        sum(
            CASE
                WHEN serializations.span_id IS NULL THEN 0
                ELSE gap.critical_nanos - least(gap.stalled_nanos, gap.critical_nanos)
            END
        ) AS measured_nanos
    FROM answers
    JOIN phases ON phases.trace_id = answers.trace_id AND phases.entry_span_id = answers.span_id
    JOIN gaps AS gap ON gap.trace_id = answers.trace_id AND gap.entry_span_id = answers.span_id
    JOIN spans_with_facts AS span ON span.trace_id = gap.trace_id AND span.span_id = gap.span_id
    LEFT JOIN serializations
        ON serializations.trace_id = gap.trace_id AND serializations.span_id = gap.span_id
    WHERE
        span.tiling_span_id = answers.tiling_span_id
        AND span.asgi_event_type IS NULL
        -- Of what the process tells itself, serializations alone: the rest are waits.
        AND (coalesce(span.scope_name, '') <> 'timesink_otel' OR serializations.span_id IS NOT NULL)
        AND NOT gap.before_failed
        AND (phases.sent_from IS NULL OR gap.start_time_unix_nano < phases.sent_from)
        AND (
            phases.io_end IS NULL
            OR gap.start_time_unix_nano >= phases.io_end
            OR serializations.span_id IS NOT NULL
        )
    GROUP BY answers.trace_id, answers.span_id
), judged AS (
    SELECT
        answers.*,
        coalesce(making.making_nanos, 0) AS making_nanos,
        coalesce(making.measured_nanos, 0) AS measured_nanos,
        phases.io_end IS NULL AS has_no_call,
        is_large
            AND NOT coalesce(phases.is_lost, FALSE)
            AND coalesce(making.making_nanos, 0) >= making_share_min * entry_nanos AS is_affected
    FROM answers
    LEFT JOIN phases
        ON phases.trace_id = answers.trace_id AND phases.entry_span_id = answers.span_id
    LEFT JOIN making
        ON making.trace_id = answers.trace_id AND making.entry_span_id = answers.span_id
), endpoints AS (
    SELECT
        service_name,
        endpoint,
        count(*) AS requests,
        CAST(median(bytes) FILTER (WHERE is_affected) AS BIGINT) AS bytes_typical,
        max(bytes) FILTER (WHERE is_affected) AS bytes_most
    FROM judged
    GROUP BY service_name, endpoint
    HAVING
        count(*) FILTER (WHERE is_affected) >= max(requests_min)
        AND 2 * count(*) FILTER (WHERE is_affected) >= count(*)
), sizes AS (
    -- The same for people.
    SELECT
        service_name,
        endpoint,
        requests,
        CASE
            WHEN bytes_typical >= 1000000000 THEN concat(round(bytes_typical / 100000000.0) / 10, ' GB')
            WHEN bytes_typical >= 1000000 THEN concat(round(bytes_typical / 100000.0) / 10, ' MB')
            WHEN bytes_typical >= 1000 THEN concat(round(bytes_typical / 100.0) / 10, ' kB')
            ELSE concat(bytes_typical, ' bytes')
        END AS size,
        CASE
            WHEN bytes_most >= 1000000000 THEN concat(round(bytes_most / 100000000.0) / 10, ' GB')
            WHEN bytes_most >= 1000000 THEN concat(round(bytes_most / 100000.0) / 10, ' MB')
            WHEN bytes_most >= 1000 THEN concat(round(bytes_most / 100.0) / 10, ' kB')
            ELSE concat(bytes_most, ' bytes')
        END AS size_most
    FROM endpoints
)
SELECT
    judged.service_name,
    judged.trace_id,
    judged.span_id,
    'size of the response' AS subject,
    1 AS occurrences,
    judged.making_nanos AS wasted_nanos,
    CASE
        WHEN judged.measured_nanos >= making_share_min * entry_nanos THEN 'certain'
        WHEN judged.has_no_call OR judged.tells_blocks THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN judged.measured_nanos >= making_share_min * entry_nanos
            THEN 'the size was told, and the process measured the serialization itself (timesink-otel)'
        WHEN judged.has_no_call
            THEN 'the size was told; no call is on record behind which the answer is made, so the time may be any work, or the reading of a file'
        WHEN judged.tells_blocks
            THEN 'the size was told; of the time behind the last call too little was measured as serialization, and the rest may be a wait'
        ELSE 'the size was told; the time behind the last call is where answers are made, and may hold other work'
    END AS confidence_reason,
    judged.bytes,
    judged.bytes AS bytes_most,
    judged.making_nanos,
    judged.measured_nanos,
    judged.entry_nanos,
    sizes.size,
    sizes.size_most,
    sizes.requests
FROM judged
JOIN sizes USING (service_name, endpoint)
WHERE judged.is_affected
ORDER BY wasted_nanos DESC, judged.trace_id, judged.span_id
