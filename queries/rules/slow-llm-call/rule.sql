-- One row for each request that waits for a call of a language model for its better part: its
-- longest call of each model.
WITH seen AS (
    -- Every span that says it is a call, agents, workflows and tools aside. Spans without a length
    -- are notes: Logfire writes one when a stream has ended.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        parent_span_id,
        entry_span_id,
        tiling_span_id,
        scope_name,
        start_time_unix_nano,
        end_time_unix_nano,
        duration_nanos,
        critical_nanos + coalesce(wire_critical_nanos, 0) AS critical_nanos,
        stalled_nanos,
        status_code,
        tiling_duration_nanos,
        coalesce(gen_ai_request_model, gen_ai_response_model, gen_ai_provider_name, 'a model')
            AS model,
        CASE gen_ai_operation_name
            WHEN 'completion' THEN 'text_completion'
            WHEN 'embedding' THEN 'embeddings'
            ELSE gen_ai_operation_name
        END AS operation,
        gen_ai_usage_input_tokens AS input_tokens,
        gen_ai_usage_cache_read_input_tokens AS cached_tokens,
        gen_ai_usage_output_tokens AS output_tokens,
        code_file_path,
        code_line_number
    FROM spans_with_facts
    WHERE
        gen_ai_operation_name IN (
            'chat', 'text_completion', 'completion', 'generate_content', 'embeddings', 'embedding'
        )
        AND kind IN ('CLIENT', 'INTERNAL')
        AND duration_nanos > 0
), near AS (
    -- The spans of their traces.
    SELECT
        trace_id,
        span_id,
        parent_span_id,
        tiling_span_id,
        entry_span_id,
        start_time_unix_nano,
        asgi_event_type,
        critical_nanos + coalesce(wire_critical_nanos, 0) AS critical_nanos
    FROM spans_with_facts
    WHERE trace_id IN (SELECT trace_id FROM seen)
), nested AS (
    -- Calls and what lies around them, up to four levels apart.
    SELECT
        seen.trace_id,
        seen.span_id,
        seen.entry_span_id,
        unnest(
            [
                seen.parent_span_id, above_1.parent_span_id, above_2.parent_span_id,
                above_3.parent_span_id
            ]
        ) AS outer_id
    FROM seen
    LEFT JOIN near AS above_1
        ON above_1.trace_id = seen.trace_id AND above_1.span_id = seen.parent_span_id
    LEFT JOIN near AS above_2
        ON above_2.trace_id = seen.trace_id AND above_2.span_id = above_1.parent_span_id
    LEFT JOIN near AS above_3
        ON above_3.trace_id = seen.trace_id AND above_3.span_id = above_2.parent_span_id
), mixed AS (
    -- Parents under which more than one instrumentation saw calls; there are few.
    SELECT trace_id, parent_span_id, operation
    FROM seen
    WHERE parent_span_id IS NOT NULL
    GROUP BY trace_id, parent_span_id, operation
    HAVING count(DISTINCT coalesce(scope_name, '')) > 1
), doubles AS (
    -- A call that lies around another of the same request is the same call, a framework's span
    -- around its client's: the innermost counts. Of a gateway's own call and that of the service
    -- which asked the gateway, the latter counts.
    SELECT
        nested.trace_id,
        CASE
            WHEN nested.entry_span_id = outer_call.entry_span_id THEN outer_call.span_id
            ELSE nested.span_id
        END AS span_id
    FROM nested
    JOIN seen AS outer_call
        ON outer_call.trace_id = nested.trace_id AND outer_call.span_id = nested.outer_id
    UNION
    -- Two instrumentations of one client may write siblings, one in time within the other: there
    -- the critical path is in the longer one.
    SELECT inner_call.trace_id, inner_call.span_id
    FROM mixed
    JOIN seen AS outer_call
        ON outer_call.trace_id = mixed.trace_id
        AND outer_call.parent_span_id = mixed.parent_span_id
        AND outer_call.operation = mixed.operation
    JOIN seen AS inner_call
        ON inner_call.trace_id = mixed.trace_id
        AND inner_call.parent_span_id = mixed.parent_span_id
        AND inner_call.operation = mixed.operation
    WHERE
        coalesce(inner_call.scope_name, '') <> coalesce(outer_call.scope_name, '')
        AND inner_call.start_time_unix_nano >= outer_call.start_time_unix_nano
        AND inner_call.end_time_unix_nano <= outer_call.end_time_unix_nano
        AND (
            inner_call.duration_nanos < outer_call.duration_nanos
            OR inner_call.span_id > outer_call.span_id
        )
), children AS (
    -- The HTTP client's span below the call has its share of the critical path.
    SELECT trace_id, parent_span_id, tiling_span_id, sum(critical_nanos) AS critical_nanos
    FROM near
    GROUP BY trace_id, parent_span_id, tiling_span_id
), sends AS (
    -- Parts of the response that were sent while the model answered: the user reads already.
    SELECT seen.trace_id, seen.span_id, count(*) AS sends
    FROM seen
    JOIN near AS send
        ON send.trace_id = seen.trace_id AND send.entry_span_id = seen.entry_span_id
    WHERE
        send.asgi_event_type = 'http.response.body'
        AND send.start_time_unix_nano > seen.start_time_unix_nano
        AND send.start_time_unix_nano < seen.end_time_unix_nano
    GROUP BY seen.trace_id, seen.span_id
), calls AS (
    SELECT
        seen.*,
        seen.duration_nanos - least(seen.stalled_nanos, seen.duration_nanos) AS llm_nanos,
        -- Somebody waits for a request; for a task in the background, a worker's or a script's,
        -- spans do not say so.
        entry.kind = 'SERVER' AND entry.tiling_span_id = seen.tiling_span_id AS is_waited_for,
        row_number() OVER (
            PARTITION BY
                seen.service_name, seen.trace_id, seen.entry_span_id, seen.tiling_span_id, model,
                operation
            ORDER BY seen.duration_nanos DESC, seen.start_time_unix_nano, seen.span_id
        ) AS place
    FROM seen
    LEFT JOIN doubles ON doubles.trace_id = seen.trace_id AND doubles.span_id = seen.span_id
    LEFT JOIN children
        ON children.trace_id = seen.trace_id
        AND children.parent_span_id = seen.span_id
        AND children.tiling_span_id = seen.tiling_span_id
    LEFT JOIN sends ON sends.trace_id = seen.trace_id AND sends.span_id = seen.span_id
    -- Of a request whose span was lost nobody knows how long it took.
    JOIN entries AS entry
        ON entry.trace_id = seen.trace_id AND entry.span_id = seen.entry_span_id
    WHERE
        doubles.span_id IS NULL
        AND seen.status_code <> 'ERROR'
        -- Nobody waits for a call that goes on after its parent, or has none.
        AND seen.tiling_span_id <> seen.span_id
        AND seen.critical_nanos + coalesce(children.critical_nanos, 0) > 0
        AND coalesce(sends.sends, 0) < 2
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
