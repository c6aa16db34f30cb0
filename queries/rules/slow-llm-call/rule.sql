-- One row for each request that waits for a call of a language model for its better part: its
-- longest call of each model.
WITH sends AS (
    -- Parts of the response that were sent while the model answered: the user reads already.
    SELECT call.trace_id, call.span_id, count(*) AS sends
    FROM llm_calls AS call
    JOIN spans_with_facts AS send
        ON send.trace_id = call.trace_id AND send.entry_span_id = call.entry_span_id
    WHERE
        send.asgi_event_type = 'http.response.body'
        AND send.start_time_unix_nano > call.start_time_unix_nano
        AND send.start_time_unix_nano < call.end_time_unix_nano
    GROUP BY call.trace_id, call.span_id
), calls AS (
    SELECT
        call.*,
        -- Somebody waits for a request; for a task in the background, a worker's or a script's,
        -- spans do not say so.
        entry.kind = 'SERVER' AND entry.tiling_span_id = call.tiling_span_id AS is_waited_for,
        row_number() OVER (
            PARTITION BY
                call.service_name, call.trace_id, call.entry_span_id, call.tiling_span_id, model,
                operation
            ORDER BY call.duration_nanos DESC, call.start_time_unix_nano, call.span_id
        ) AS place
    FROM llm_calls AS call
    LEFT JOIN sends ON sends.trace_id = call.trace_id AND sends.span_id = call.span_id
    -- Of a request whose span was lost nobody knows how long it took.
    JOIN entries AS entry
        ON entry.trace_id = call.trace_id AND entry.span_id = call.entry_span_id
    WHERE is_critical AND coalesce(sends.sends, 0) < 2
), longest AS (
    SELECT
        calls.*,
        llm_nanos >= llm_millis_min * 1000000
            AND llm_nanos >= entry_share_min * tiling_duration_nanos AS is_slow,
        calls_min
    FROM calls
    JOIN params USING (service_name, endpoint, kind)
    WHERE place = 1
), models AS (
    SELECT service_name, endpoint, model, operation, is_waited_for, count(*) AS calls
    FROM longest
    GROUP BY service_name, endpoint, model, operation, is_waited_for
    HAVING
        count(*) FILTER (WHERE is_slow) >= max(calls_min)
        AND 2 * count(*) FILTER (WHERE is_slow) >= count(*)
)
SELECT
    longest.service_name,
    longest.trace_id,
    longest.span_id,
    concat(longest.operation, ' ', longest.model) AS subject,
    1 AS occurrences,
    longest.llm_nanos AS wasted_nanos,
    CASE WHEN longest.is_waited_for THEN 'likely' ELSE 'possible' END AS confidence,
    CASE
        WHEN NOT longest.is_waited_for
            THEN 'a task in the background, a worker''s or a script''s waits for it; whether anybody waits for that, spans do not say'
        WHEN longest.operation = 'embeddings'
            THEN 'the request waits for it; how much of it the provider could do without, spans do not say'
        WHEN longest.output_tokens IS NULL
            THEN 'the request waits for the model''s answer; how long that is, these spans do not say'
        ELSE 'the request waits for the model''s answer, whose tokens come one after the other'
    END AS confidence_reason,
    longest.llm_nanos,
    longest.tiling_duration_nanos AS entry_nanos,
    CAST(longest.llm_nanos AS DOUBLE) / longest.tiling_duration_nanos AS llm_share,
    longest.model,
    longest.input_tokens,
    longest.cached_tokens,
    longest.output_tokens,
    CASE WHEN longest.output_tokens > 0 THEN longest.llm_nanos / longest.output_tokens END
        AS token_nanos,
    models.calls,
    longest.code_file_path,
    longest.code_line_number
FROM longest
JOIN models USING (service_name, endpoint, model, operation, is_waited_for)
WHERE longest.is_slow
ORDER BY wasted_nanos DESC, longest.trace_id, longest.span_id
