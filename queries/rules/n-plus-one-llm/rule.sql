-- One row for each request that calls one model again and again, one call after the other.
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
        start_time_unix_nano,
        gen_ai_operation_name,
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
), calls AS (
    SELECT
        seen.*,
        seen.duration_nanos - least(seen.stalled_nanos, seen.duration_nanos) AS llm_nanos,
        seen.critical_nanos + coalesce(children.critical_nanos, 0) > 0 AS is_critical,
        -- With what came from the provider's cache, which some instrumentations leave out.
        seen.input_tokens + coalesce(seen.cached_tokens, 0) + coalesce(seen.cache_written_tokens, 0)
            AS prompt_tokens
    FROM seen
    LEFT JOIN doubles ON doubles.trace_id = seen.trace_id AND doubles.span_id = seen.span_id
    LEFT JOIN children
        ON children.trace_id = seen.trace_id
        AND children.parent_span_id = seen.span_id
        AND children.tiling_span_id = seen.tiling_span_id
    WHERE
        doubles.span_id IS NULL
        AND seen.status_code <> 'ERROR'
        -- Nobody waits for a call that goes on after its parent.
        AND seen.tiling_span_id <> seen.span_id
), in_order AS (
    SELECT
        calls.*,
        max(end_time_unix_nano) OVER before AS ended_before,
        lag(prompt_tokens) OVER turn AS prompt_tokens_before
    FROM calls
    WINDOW
        turn AS (
            PARTITION BY
                service_name, trace_id, entry_span_id, tiling_span_id, name_path, model, operation
            ORDER BY start_time_unix_nano, span_id
        ),
        before AS (
            PARTITION BY
                service_name, trace_id, entry_span_id, tiling_span_id, name_path, model, operation
            ORDER BY start_time_unix_nano, span_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        )
), loops AS (
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        tiling_span_id,
        name_path,
        model,
        operation,
        first_value(span_id ORDER BY start_time_unix_nano, span_id) AS span_id,
        count(*) AS calls,
        sum(llm_nanos) FILTER (WHERE is_critical) AS llm_nanos,
        max(llm_nanos) FILTER (WHERE is_critical) AS longest_nanos,
        sum(duration_nanos) AS all_nanos,
        -- How long calls ran beside one that had started before.
        sum(greatest(0, least(coalesce(ended_before, 0), end_time_unix_nano) - start_time_unix_nano))
            AS overlap_nanos,
        min(start_time_unix_nano) AS first_start,
        max(start_time_unix_nano) AS last_start,
        max(tiling_duration_nanos) AS entry_nanos,
        sum(input_tokens) AS input_tokens,
        sum(cached_tokens) AS cached_tokens,
        sum(output_tokens) AS output_tokens,
        -- A conversation grows with nearly each turn; items of a list do not. NULL where most
        -- prompts' tokens are not recorded.
        CASE
            WHEN operation = 'embeddings' THEN FALSE
            WHEN 10 * count(*) FILTER (WHERE prompt_tokens + prompt_tokens_before IS NOT NULL)
                >= 8 * (count(*) - 1)
                THEN 10 * count(*) FILTER (WHERE prompt_tokens > prompt_tokens_before)
                >= 8 * (count(*) - 1)
        END AS is_growing,
        first_value(code_file_path ORDER BY start_time_unix_nano, span_id) AS code_file_path,
        first_value(code_line_number ORDER BY start_time_unix_nano, span_id) AS code_line_number
    FROM in_order
    GROUP BY
        service_name, trace_id, entry_span_id, tiling_span_id, name_path, model, operation
), tools AS (
    -- Tools that ran between the calls: an agent's steps.
    SELECT loops.trace_id, loops.span_id, count(*) AS tools
    FROM loops
    JOIN near AS tool
        ON tool.trace_id = loops.trace_id AND tool.tiling_span_id = loops.tiling_span_id
    WHERE
        tool.gen_ai_operation_name = 'execute_tool'
        AND tool.start_time_unix_nano BETWEEN loops.first_start AND loops.last_start
    GROUP BY loops.trace_id, loops.span_id
), counts AS (
    SELECT
        service_name,
        endpoint,
        model,
        operation,
        min(calls) AS calls_least,
        max(calls) AS calls_most
    FROM loops
    GROUP BY service_name, endpoint, model, operation
)
SELECT
    loops.service_name,
    loops.trace_id,
    loops.span_id,
    concat(loops.operation, ' ', loops.model, ' in a loop') AS subject,
    loops.calls AS occurrences,
    loops.llm_nanos - loops.longest_nanos AS wasted_nanos,
    CASE
        WHEN loops.operation = 'embeddings' THEN 'likely'
        WHEN tools.tools > 0 OR coalesce(loops.is_growing, TRUE) THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN loops.operation = 'embeddings'
            THEN 'the calls follow one after the other, and many texts fit into one call; whether a text comes of an answer before, spans do not say'
        WHEN tools.tools > 0
            THEN 'tools run between the calls, as in an agent''s steps, which need each other'
        WHEN loops.is_growing
            THEN 'nearly each prompt is longer than the one before, as in a conversation or an agent''s steps, which need each other'
        WHEN loops.is_growing IS NULL
            THEN 'the calls follow one after the other; without the tokens of their prompts a loop over items looks like a conversation'
        ELSE 'the calls follow one after the other, and their prompts do not grow as those of a conversation do; whether one needs the answer of another, spans do not say'
    END AS confidence_reason,
    loops.calls,
    counts.calls_least,
    counts.calls_most,
    loops.model,
    loops.llm_nanos,
    loops.entry_nanos,
    loops.input_tokens,
    loops.cached_tokens,
    loops.output_tokens,
    loops.is_growing,
    loops.code_file_path,
    loops.code_line_number
FROM loops
JOIN counts USING (service_name, endpoint, model, operation)
JOIN params
    ON params.service_name = loops.service_name
    AND params.endpoint = loops.endpoint
    AND params.kind = loops.kind
LEFT JOIN tools ON tools.trace_id = loops.trace_id AND tools.span_id = loops.span_id
WHERE
    loops.calls >= calls_min
    -- One after the other.
    AND loops.overlap_nanos <= 0.05 * loops.all_nanos
    AND loops.llm_nanos >= entry_share_min * loops.entry_nanos
ORDER BY wasted_nanos DESC, loops.trace_id, loops.span_id
