-- One row for each wait of a request for a connection of its pool, or for a lock.
WITH measured AS (
    -- Waits that the process measured itself (`timesink-otel`), a row for each request, or task in
    -- its background, and library. What is on the critical path counts, so waits at the same time
    -- do once. A wait that nobody's request contains is none.
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        first_value(span_id ORDER BY critical_nanos DESC, start_time_unix_nano, span_id) AS span_id,
        entry_span_id,
        sum(critical_nanos - least(stalled_nanos, critical_nanos)) AS wait_nanos,
        sum(critical_nanos - least(stalled_nanos, critical_nanos)) AS critical_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        max(open_entries) AS open_entries,
        CAST(NULL AS BIGINT) AS running,
        max(timesink_pool_max) AS pool_max,
        -- A pool of psycopg that is not full opens a connection in the background meanwhile.
        bool_and(
            timesink_pool_library = 'psycopg_pool'
            AND (
                coalesce(timesink_pool_max, 1) = 0
                OR coalesce(
                    timesink_pool_size < timesink_pool_max,
                    FALSE
                )
            )
        ) AS is_growing,
        concat(
            'a connection of ',
            CASE timesink_pool_library
                WHEN 'sqlalchemy' THEN 'SQLAlchemy'
                WHEN 'psycopg_pool' THEN 'psycopg'
                ELSE coalesce(timesink_pool_library, 'a library')
            END,
            '''s pool'
        ) AS what,
        TRUE AS is_in_line,
        'measured' AS shown_by,
        bool_and(has_process_identity) AS has_process_identity,
        first_value(code_file_path ORDER BY critical_nanos DESC, start_time_unix_nano, span_id)
            AS code_file_path,
        first_value(code_line_number ORDER BY critical_nanos DESC, start_time_unix_nano, span_id)
            AS code_line_number
    FROM spans_with_facts
    WHERE
        kind = 'INTERNAL'
        AND scope_name = 'timesink_otel'
        AND name = 'timesink.pool.wait'
        AND entry_kind <> 'UNSPECIFIED'
        AND tiling_span_id <> span_id
    GROUP BY
        service_name, endpoint, entry_kind, trace_id, entry_span_id, tiling_span_id,
        timesink_pool_library
), checkouts AS (
    -- SQLAlchemy's `connect` span is the checkout from its pool, each time. In a process that has
    -- no other request open nobody can be waited for: then it opens a connection. One that fails
    -- counts where SQLAlchemy says that the pool's limit was the reason.
    SELECT
        span.service_name,
        span.endpoint,
        span.entry_kind AS kind,
        span.trace_id,
        span.span_id,
        span.entry_span_id,
        span.duration_nanos - least(span.stalled_nanos, span.duration_nanos) AS wait_nanos,
        span.critical_nanos - least(span.stalled_nanos, span.critical_nanos) AS critical_nanos,
        span.tiling_duration_nanos AS entry_nanos,
        span.open_entries,
        CAST(NULL AS BIGINT) AS running,
        CAST(NULL AS BIGINT) AS pool_max,
        FALSE AS is_growing,
        'a connection of SQLAlchemy''s pool' AS what,
        span.open_entries > 1 OR span.status_code = 'ERROR' AS is_in_line,
        CASE WHEN span.status_code = 'ERROR' THEN 'limit' ELSE 'checkout' END AS shown_by,
        span.has_process_identity,
        span.code_file_path,
        span.code_line_number
    FROM spans_with_facts AS span
    WHERE
        span.kind = 'CLIENT'
        AND span.name = 'connect'
        AND span.scope_name = 'opentelemetry.instrumentation.sqlalchemy'
        AND span.entry_kind <> 'UNSPECIFIED'
        AND span.tiling_span_id <> span.span_id
        AND (
            span.status_code <> 'ERROR'
            OR strpos(coalesce(span.status_message, ''), 'QueuePool limit of size') > 0
        )
), gaps_in_line AS (
    -- A gap that ends just when another request has ended what this one does next, with about as
    -- many of those running as ever run.
    SELECT
        span.service_name,
        span.endpoint,
        span.entry_kind AS kind,
        gap.trace_id,
        gap.span_id,
        gap.entry_span_id,
        gap.nanos - least(gap.stalled_nanos, gap.nanos) AS wait_nanos,
        gap.critical_nanos - least(gap.stalled_nanos, gap.critical_nanos) AS critical_nanos,
        span.tiling_duration_nanos AS entry_nanos,
        span.open_entries,
        gap.after_running_max AS running,
        CAST(NULL AS BIGINT) AS pool_max,
        FALSE AS is_growing,
        concat('its turn before ', gap.after) AS what,
        coalesce(
            gap.after_running + 1 >= params.running_share_min * gap.after_running_max
            AND gap.after_ended_nanos <= params.handover_millis_max * 1000000,
            FALSE
        ) AS is_in_line,
        'gap' AS shown_by,
        span.has_process_identity,
        span.code_file_path,
        span.code_line_number
    FROM gaps AS gap
    JOIN spans_with_facts AS span
        ON span.trace_id = gap.trace_id AND span.span_id = gap.span_id
    JOIN params
        ON params.service_name = span.service_name
        AND params.endpoint = span.endpoint
        AND params.kind = span.entry_kind
    WHERE
        gap.position IN ('lead', 'between')
        AND gap.after_running_max IS NOT NULL
        -- What the process measures itself is no operation.
        AND NOT starts_with(gap.after, 'timesink.')
        AND span.entry_kind <> 'UNSPECIFIED'
), waits AS (
    -- Where the process measured the waits of a request, they are what counts.
    SELECT measured.* FROM measured
    UNION ALL
    SELECT seen.*
    FROM (
        SELECT checkouts.* FROM checkouts
        UNION ALL
        SELECT gaps_in_line.* FROM gaps_in_line
    ) AS seen
    LEFT JOIN (SELECT DISTINCT trace_id, entry_span_id FROM measured) AS known
        ON known.trace_id = seen.trace_id AND known.entry_span_id = seen.entry_span_id
    WHERE known.trace_id IS NULL
), places AS (
    -- A place where most requests wait, and in line. Checkouts that take as long while no other
    -- request is open open connections.
    SELECT
        service_name,
        endpoint,
        what,
        shown_by,
        count(*) AS requests,
        max(running) AS running,
        max(pool_max) AS pool_max,
        CAST(round(median(open_entries)) AS BIGINT) AS open_requests,
        avg(CASE WHEN is_growing THEN 1.0 ELSE 0.0 END) > 0.5 AS is_growing
    FROM waits
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY service_name, endpoint, what, shown_by
    HAVING
        count(*) >= max(requests_min)
        AND median(wait_nanos) >= max(wait_millis_min) * 1000000
        AND median(critical_nanos) >= max(entry_share_min) * median(entry_nanos)
        AND avg(CASE WHEN is_in_line THEN 1.0 ELSE 0.0 END) >= max(in_line_share_min)
        AND NOT coalesce(
            shown_by = 'checkout'
            AND count(CASE WHEN is_in_line THEN NULL ELSE 1 END) >= max(requests_min)
            AND 2 * median(CASE WHEN is_in_line THEN NULL ELSE wait_nanos END)
                >= median(wait_nanos),
            FALSE
        )
)
SELECT
    waits.service_name,
    waits.trace_id,
    waits.span_id,
    CASE
        WHEN waits.shown_by = 'gap' THEN replace(waits.what, 'its turn before ', 'gap before ')
        ELSE waits.what
    END AS subject,
    1 AS occurrences,
    waits.critical_nanos AS wasted_nanos,
    CASE
        WHEN waits.shown_by IN ('measured', 'limit') THEN 'certain'
        WHEN NOT waits.has_process_identity THEN 'possible'
        WHEN waits.shown_by = 'checkout' OR places.running > 1 THEN 'likely'
        ELSE 'possible'
    END AS confidence,
    CASE
        WHEN waits.shown_by = 'measured' AND places.is_growing
            THEN 'the process measured the wait itself (timesink-otel); the pool was not full: it opened a connection meanwhile'
        WHEN waits.shown_by = 'measured' THEN 'the process measured the wait itself (timesink-otel)'
        WHEN waits.shown_by = 'limit'
            THEN 'SQLAlchemy says itself that the limit of its pool was reached, and gave up'
        WHEN NOT waits.has_process_identity
            THEN 'the resource names no process (service.instance.id, or process.pid with a host): several processes may look like one'
        WHEN waits.shown_by = 'checkout'
            THEN 'the span of the checkout itself is long while other requests of the process are open; opening new connections looks alike where each is opened anew'
        WHEN places.running > 1
            THEN 'the wait ends when another request ends the same operation, and never more of them run at once; locks and semaphores look alike'
        ELSE 'the wait ends when another request ends the same operation, one at a time: a lock, or a pool of one'
    END AS confidence_reason,
    waits.wait_nanos,
    waits.entry_nanos,
    waits.what,
    CASE
        WHEN places.is_growing THEN 'while the pool grows'
        WHEN places.pool_max = 1 THEN 'from a pool of 1 connection'
        WHEN places.pool_max > 1
            THEN concat('from a pool of ', CAST(places.pool_max AS VARCHAR), ' connections at most')
        WHEN places.running IS NOT NULL
            THEN concat('of which never more than ', CAST(places.running AS VARCHAR), ' run at once')
        ELSE concat('with ', CAST(places.open_requests AS VARCHAR), ' requests open in the process')
    END AS situation,
    places.requests,
    places.running,
    places.pool_max,
    places.open_requests,
    waits.code_file_path,
    waits.code_line_number
FROM waits
JOIN places USING (service_name, endpoint, what, shown_by)
WHERE waits.is_in_line AND waits.critical_nanos > 0
ORDER BY wasted_nanos DESC, waits.trace_id, waits.span_id
