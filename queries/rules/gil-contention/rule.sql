-- One row for each request in which the application's own work takes longer while others run.
WITH stretches AS (
    -- Uncovered time after the first operation of a span, which began when a connection or a lock
    -- was had, and in which no operation failed before. On an event loop requests take turns; there
    -- only spans count of which the process says that they run in a thread.
    SELECT
        span.service_name,
        span.endpoint,
        span.entry_kind AS kind,
        gap.trace_id,
        gap.entry_span_id,
        gap.span_id,
        CASE gap.position
            WHEN 'tail' THEN concat('after ', gap.before)
            WHEN 'between' THEN concat('between ', gap.before, ' and ', gap.after)
            ELSE concat('in ', span.operation)
        END AS place,
        gap.nanos,
        gap.critical_nanos,
        gap.start_time_unix_nano,
        span.tiling_duration_nanos,
        span.open_entries,
        span.code_file_path,
        span.code_line_number
    FROM gaps AS gap
    JOIN spans_with_facts AS span ON span.trace_id = gap.trace_id AND span.span_id = gap.span_id
    WHERE
        gap.position IN ('tail', 'between', 'whole')
        AND NOT gap.before_failed
        AND (
            NOT span.is_event_loop
            OR (span.kind = 'INTERNAL' AND NOT coalesce(span.is_on_event_loop, TRUE))
        )
        AND span.has_process_identity
        AND span.entry_kind IN ('SERVER', 'CONSUMER')
), work AS (
    -- A request's work at one place, however many stretches it has.
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        entry_span_id,
        place,
        first_value(span_id ORDER BY start_time_unix_nano, span_id) AS span_id,
        first_value(open_entries ORDER BY start_time_unix_nano, span_id) AS open_entries,
        sum(nanos) AS work_nanos,
        sum(critical_nanos) AS critical_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        first_value(code_file_path ORDER BY start_time_unix_nano, span_id) AS code_file_path,
        first_value(code_line_number ORDER BY start_time_unix_nano, span_id) AS code_line_number
    FROM stretches
    GROUP BY service_name, endpoint, kind, trace_id, entry_span_id, place
), crowds AS (
    -- The most crowded quarter of each place.
    SELECT
        service_name,
        endpoint,
        kind,
        place,
        greatest(3, CAST(approx_percentile_cont(open_entries, 0.75) AS BIGINT)) AS open_many
    FROM work
    GROUP BY service_name, endpoint, kind, place
), places AS (
    SELECT
        service_name,
        endpoint,
        kind,
        place,
        max(open_many) AS open_many,
        count(*) FILTER (WHERE open_entries <= 2) AS alone,
        count(*) FILTER (WHERE open_entries >= open_many) AS crowded,
        CAST(median(work_nanos) FILTER (WHERE open_entries <= 2) AS BIGINT) AS alone_nanos,
        CAST(median(work_nanos) FILTER (WHERE open_entries >= open_many) AS BIGINT) AS crowded_nanos,
        median(critical_nanos) FILTER (WHERE open_entries >= open_many) AS crowded_critical_nanos,
        median(entry_nanos) FILTER (WHERE open_entries >= open_many) AS crowded_entry_nanos
    FROM work
    JOIN crowds USING (service_name, endpoint, kind, place)
    GROUP BY service_name, endpoint, kind, place
), contended AS (
    SELECT places.*
    FROM places
    JOIN params USING (service_name, endpoint, kind)
    WHERE
        alone >= requests_min
        AND crowded >= requests_min
        AND crowded_nanos >= crowded_millis_min * 1000000
        AND crowded_nanos >= factor_min * alone_nanos
        AND crowded_critical_nanos >= entry_share_min * crowded_entry_nanos
)
SELECT
    work.service_name,
    work.trace_id,
    work.span_id,
    concat('work ', work.place) AS subject,
    1 AS occurrences,
    least(work.critical_nanos, work.work_nanos - contended.alone_nanos) AS wasted_nanos,
    'possible' AS confidence,
    'the same work takes longer the more requests are open: threads that wait for the interpreter''s lock, for processors, for a lock of the application, or for something that no span shows, look alike' AS confidence_reason,
    contended.alone_nanos,
    contended.crowded_nanos,
    contended.open_many,
    contended.alone,
    contended.crowded,
    contended.place,
    work.code_file_path,
    work.code_line_number
FROM work
JOIN contended USING (service_name, endpoint, kind, place)
WHERE
    work.open_entries >= contended.open_many
    AND work.work_nanos > contended.alone_nanos
ORDER BY wasted_nanos DESC, work.trace_id, work.span_id, work.place
