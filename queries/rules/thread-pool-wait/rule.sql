-- One row for each request, or task in its background, that waits for threads: the process measured
-- the waits itself (`timesink-otel`).
WITH waits AS (
    -- What is on the critical path counts, so waits at the same time do once. A wait that nobody's
    -- request contains is none.
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        first_value(span_id ORDER BY critical_nanos DESC, start_time_unix_nano, span_id) AS span_id,
        coalesce(timesink_thread_pool_library, 'a pool') AS library,
        count(*) AS waits,
        sum(critical_nanos - least(stalled_nanos, critical_nanos)) AS wait_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        max(timesink_thread_pool_max) AS threads,
        max(timesink_thread_pool_waiting) AS waiting,
        first_value(code_file_path ORDER BY critical_nanos DESC, start_time_unix_nano, span_id)
            AS code_file_path,
        first_value(code_line_number ORDER BY critical_nanos DESC, start_time_unix_nano, span_id)
            AS code_line_number
    FROM spans_with_facts
    WHERE
        kind = 'INTERNAL'
        AND scope_name = 'timesink_otel'
        AND name = 'timesink.thread_pool.wait'
        AND entry_kind <> 'UNSPECIFIED'
        AND tiling_span_id <> span_id
    GROUP BY
        service_name, endpoint, entry_kind, trace_id, entry_span_id, tiling_span_id,
        coalesce(timesink_thread_pool_library, 'a pool')
), endpoints AS (
    SELECT
        service_name,
        endpoint,
        library,
        count(*) AS requests,
        max(threads) AS threads,
        CAST(round(median(waiting)) AS BIGINT) AS waiting
    FROM waits
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY service_name, endpoint, library
    HAVING
        count(*) >= max(requests_min)
        AND median(wait_nanos) >= max(wait_millis_min) * 1000000
        AND median(wait_nanos) >= max(entry_share_min) * median(entry_nanos)
)
SELECT
    waits.service_name,
    waits.trace_id,
    waits.span_id,
    concat(
        'a thread of ',
        CASE WHEN waits.library = 'anyio' THEN 'AnyIO' ELSE waits.library END
    ) AS subject,
    waits.waits AS occurrences,
    waits.wait_nanos AS wasted_nanos,
    CASE WHEN waits.library = 'asgiref' THEN 'likely' ELSE 'certain' END AS confidence,
    CASE
        WHEN waits.library = 'asgiref'
            THEN 'the process measured how long the thread took to begin (timesink-otel); a busy interpreter delays that, too'
        ELSE 'the process measured the waits itself (timesink-otel), at a limiter that was full'
    END AS confidence_reason,
    waits.wait_nanos,
    waits.entry_nanos,
    CASE WHEN waits.library = 'anyio' THEN 'AnyIO' ELSE waits.library END AS library,
    CASE
        WHEN waits.library = 'asgiref'
            THEN 'whose sync_to_async runs calls one after the other unless told otherwise'
        WHEN endpoints.threads IS NULL THEN 'whose limit is not known'
        WHEN endpoints.waiting IS NULL
            THEN concat('of which ', CAST(endpoints.threads AS VARCHAR), ' may run at once')
        WHEN endpoints.waiting = 1
            THEN concat(
                'of which ', CAST(endpoints.threads AS VARCHAR),
                ' may run at once, with 1 other still in line behind it'
            )
        ELSE concat(
            'of which ', CAST(endpoints.threads AS VARCHAR), ' may run at once, with ',
            CAST(endpoints.waiting AS VARCHAR), ' others still in line behind it'
        )
    END AS situation,
    endpoints.threads,
    endpoints.waiting,
    endpoints.requests,
    waits.code_file_path,
    waits.code_line_number
FROM waits
JOIN endpoints USING (service_name, endpoint, library)
WHERE waits.wait_nanos > 0
ORDER BY wasted_nanos DESC, waits.trace_id, waits.span_id
