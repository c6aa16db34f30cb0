-- One row for each run of attempts: a request calls one thing again and again because it fails.
WITH failing AS (
    -- Only requests in which calls fail are looked into.
    SELECT DISTINCT service_name, trace_id, entry_span_id
    FROM call_client_spans
    WHERE is_failed
), attempts AS (
    -- Calls of one method and URL, or of one RPC, under one entry and one path of names: a manual
    -- span an attempt does not hide it. What stands behind `?` may be a time or a signature.
    SELECT
        call.service_name,
        call.endpoint,
        call.kind,
        call.trace_id,
        call.span_id,
        call.entry_span_id,
        call.name_path,
        call.query_shape,
        split_part(call.query_shape, ' ', 1) AS verb,
        coalesce(split_part(call.url_full, '?', 1), call.query_shape) AS target,
        call.url_full,
        call.start_time_unix_nano,
        call.start_time_unix_nano + call.duration_nanos AS end_time_unix_nano,
        call.duration_nanos,
        -- What the request waited for: the work of a recorded server lies in that server's spans.
        CASE
            WHEN call.critical_nanos <= 0 THEN 0
            WHEN call.server_service_name IS NULL THEN call.critical_nanos
            ELSE call.duration_nanos
        END AS waited_nanos,
        call.stalled_nanos,
        call.pause_nanos,
        call.tiling_duration_nanos,
        call.is_failed,
        -- An answer that another attempt does not change: not found, not allowed, not understood.
        call.is_failed AND (
            (
                call.http_response_status_code BETWEEN 400 AND 499
                AND call.http_response_status_code NOT IN (408, 409, 421, 423, 425, 429)
            )
            OR coalesce(call.rpc_response_status_code, '') IN (
                '3', '5', '6', '7', '9', '11', '12', '16', 'INVALID_ARGUMENT', 'NOT_FOUND',
                'ALREADY_EXISTS', 'PERMISSION_DENIED', 'FAILED_PRECONDITION', 'OUT_OF_RANGE',
                'UNIMPLEMENTED', 'UNAUTHENTICATED'
            )
        ) AS is_refused,
        call.code_file_path,
        call.code_line_number
    FROM call_client_spans AS call
    JOIN failing USING (service_name, trace_id, entry_span_id)
), counted AS (
    -- A success ends a run of attempts: the number of successes before is the number of the run,
    -- and what follows a failure is a further attempt of it.
    SELECT
        attempts.*,
        count(*) FILTER (WHERE NOT is_failed) OVER before AS run,
        coalesce(last_value(NOT is_failed) OVER before, TRUE) AS is_first,
        max(end_time_unix_nano) OVER before AS ended_before,
        count(*) OVER (
            PARTITION BY service_name, trace_id, entry_span_id, name_path, verb, target
            ORDER BY start_time_unix_nano, span_id
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) AS calls
    FROM attempts
    WINDOW before AS (
        PARTITION BY service_name, trace_id, entry_span_id, name_path, verb, target
        ORDER BY start_time_unix_nano, span_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
), runs AS (
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        min(span_id) FILTER (WHERE is_first) AS span_id,
        min(query_shape) AS query_shape,
        count(*) AS attempts,
        count(*) FILTER (WHERE is_failed) AS failed,
        bool_and(is_failed) AS is_given_up,
        max(calls) AS calls,
        bool_or(is_refused) AS is_refused,
        -- Calls at the same time are a fan-out.
        bool_or(NOT is_first AND ended_before > start_time_unix_nano + 1000000) AS is_concurrent,
        -- The same URL with the same parameters, by a method that carries no content.
        coalesce(min(url_full) = max(url_full), FALSE)
            AND verb IN ('GET', 'HEAD', 'OPTIONS', 'DELETE') AS is_same,
        -- What one call takes is no waste: the one that went well, or the first where all failed.
        coalesce(
            min(waited_nanos) FILTER (WHERE NOT is_failed),
            min(waited_nanos) FILTER (WHERE is_first)
        ) AS one_nanos,
        CAST(median(duration_nanos) FILTER (WHERE is_failed) AS BIGINT) AS attempt_nanos,
        sum(waited_nanos - least(stalled_nanos, waited_nanos)) AS waited_nanos,
        sum(CASE WHEN is_first THEN 0 ELSE pause_nanos END) AS pauses_nanos,
        max(end_time_unix_nano) - min(start_time_unix_nano) AS tries_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        min(code_file_path) AS code_file_path,
        min(code_line_number) AS code_line_number
    FROM counted
    GROUP BY service_name, trace_id, entry_span_id, name_path, verb, target, run
), storms AS (
    -- Where the answer is a refusal, the request may be polling: then the pauses are wanted.
    SELECT
        runs.*,
        least(
            waited_nanos + CASE WHEN is_refused THEN 0 ELSE pauses_nanos END,
            tries_nanos
        ) - least(waited_nanos, one_nanos) AS wasted_nanos,
        waited_nanos + pauses_nanos - least(waited_nanos, one_nanos) AS lost_nanos,
        entry_share_min
    FROM runs
    JOIN params USING (service_name, endpoint, kind)
    WHERE
        attempts >= attempts_min
        AND NOT is_concurrent
        -- Calls with content of their own, some of which fail, are a loop over items.
        AND (is_same OR attempts = calls)
)
SELECT
    service_name,
    trace_id,
    span_id,
    query_shape AS subject,
    attempts AS occurrences,
    greatest(0, wasted_nanos) AS wasted_nanos,
    CASE
        WHEN is_refused OR (is_given_up AND NOT is_same) THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN is_refused
            THEN 'the other side answers that it will not, as with 404: polling for what is not there yet, a loop over different content, or attempts that cannot succeed'
        WHEN is_given_up AND NOT is_same
            THEN 'the same URL or method is called one time after the other and fails each time; spans do not show content, so that it may as well be a loop over different items'
        WHEN is_given_up
            THEN 'the same URL is called again after each failure, one attempt after the other, and the last fails, too'
        WHEN is_same
            THEN 'the same URL is called again after each failure, one attempt after the other, until one succeeds'
        ELSE 'the same URL or method is called again after each failure, one attempt after the other, until one succeeds; spans do not show whether each attempt carries the same content'
    END AS confidence_reason,
    attempts,
    attempts AS attempts_most,
    failed,
    is_given_up,
    attempt_nanos,
    pauses_nanos,
    tries_nanos,
    entry_nanos,
    code_file_path,
    code_line_number
FROM storms
WHERE lost_nanos > 0 AND lost_nanos >= entry_share_min * entry_nanos
ORDER BY wasted_nanos DESC, trace_id, span_id
