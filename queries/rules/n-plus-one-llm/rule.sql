-- One row for each request that calls one model again and again, one call after the other.
WITH calls AS (
    SELECT
        llm_calls.*,
        -- With what came from the provider's cache, which some instrumentations leave out.
        input_tokens + coalesce(cached_tokens, 0) + coalesce(cache_written_tokens, 0)
            AS prompt_tokens
    FROM llm_calls
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
    JOIN spans_with_facts AS tool
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
