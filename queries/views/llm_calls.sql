-- One row per call of a language model for which its request waits: agents, workflows and tools
-- aside, one for each call that several instrumentations saw, failed ones left out.
WITH seen AS (
    -- Every span that says it is a call. Spans without a length are notes: Logfire writes one when
    -- a stream has ended.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        parent_span_id,
        entry_span_id,
        tiling_span_id,
        name_path,
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
        gen_ai_usage_cache_creation_input_tokens AS cache_written_tokens,
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
    JOIN seen AS outer_call USING (trace_id, parent_span_id, operation)
    JOIN seen AS inner_call USING (trace_id, parent_span_id, operation)
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
)
SELECT
    service_name,
    endpoint,
    kind,
    seen.trace_id,
    seen.span_id,
    entry_span_id,
    seen.tiling_span_id,
    name_path,
    start_time_unix_nano,
    end_time_unix_nano,
    duration_nanos,
    duration_nanos - least(stalled_nanos, duration_nanos) AS llm_nanos,
    seen.critical_nanos + coalesce(children.critical_nanos, 0) > 0 AS is_critical,
    tiling_duration_nanos,
    model,
    operation,
    input_tokens,
    cached_tokens,
    cache_written_tokens,
    output_tokens,
    code_file_path,
    code_line_number
FROM seen
LEFT JOIN doubles ON doubles.trace_id = seen.trace_id AND doubles.span_id = seen.span_id
LEFT JOIN children
    ON children.trace_id = seen.trace_id
    AND children.parent_span_id = seen.span_id
    AND children.tiling_span_id = seen.tiling_span_id
WHERE
    doubles.span_id IS NULL
    AND status_code <> 'ERROR'
    -- Nobody waits for a call that goes on after its parent, or has none.
    AND seen.tiling_span_id <> seen.span_id
