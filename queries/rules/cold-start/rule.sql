-- One row for each first request of a process that takes far longer than all later ones.
WITH requests AS (
    -- Without the time of calls to recorded services, which may be cold themselves, and without
    -- what other requests held up.
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        span_id,
        process_id,
        has_process_identity,
        is_watched,
        status_code,
        start_time_unix_nano,
        end_time_unix_nano,
        greatest(0, own_nanos - stalled_nanos) AS nanos,
        -- The process says itself that it is its first (`timesink-otel`, or a function's runtime).
        coalesce(timesink_process_first_request, FALSE)
            OR coalesce(faas_coldstart, FALSE) AS is_told
    FROM spans_with_facts
    WHERE entry_span_id = span_id AND entry_kind IN ('SERVER', 'CONSUMER')
), numbered AS (
    SELECT
        requests.*,
        row_number() OVER (
            PARTITION BY process_id
            ORDER BY start_time_unix_nano, trace_id, span_id
        ) AS number,
        bool_or(is_told) OVER (PARTITION BY process_id) AS tells
    FROM requests
), firsts AS (
    -- Of a process that would say so, and does not, the first request is not on record.
    SELECT numbered.*
    FROM numbered
    WHERE status_code <> 'ERROR' AND (is_told OR (number = 1 AND NOT tells AND NOT is_watched))
), compared AS (
    -- A request that began while the first still ran may have waited for the same.
    SELECT
        first.service_name,
        first.trace_id,
        first.span_id,
        count(*) AS later,
        CAST(median(later.nanos) AS BIGINT) AS later_nanos,
        max(later.nanos) AS later_most_nanos
    FROM firsts AS first
    JOIN requests AS later
        ON later.process_id = first.process_id
        AND later.service_name = first.service_name
        AND later.endpoint = first.endpoint
        AND later.kind = first.kind
    WHERE
        later.start_time_unix_nano >= first.end_time_unix_nano
        AND NOT later.is_told
        AND later.status_code <> 'ERROR'
    GROUP BY first.service_name, first.trace_id, first.span_id
), judged AS (
    SELECT
        first.*,
        later,
        later_nanos,
        later_most_nanos,
        first.nanos - later_most_nanos >= excess_millis_min * 1000000
            AND first.nanos >= factor_min * later_nanos AS is_cold
    FROM firsts AS first
    JOIN params USING (service_name, endpoint, kind)
    JOIN compared USING (service_name, trace_id, span_id)
    WHERE later >= later_min
), counted AS (
    SELECT
        service_name,
        count(*) AS processes_seen,
        count(*) FILTER (WHERE is_cold) AS processes
    FROM judged
    GROUP BY service_name
), cold AS (
    SELECT judged.*, processes, processes_seen
    FROM judged
    JOIN counted USING (service_name)
    WHERE is_cold
), uncovered AS (
    SELECT gap.trace_id, gap.entry_span_id, sum(gap.critical_nanos) AS uncovered_nanos
    FROM gaps AS gap
    JOIN cold ON cold.trace_id = gap.trace_id AND cold.span_id = gap.entry_span_id
    GROUP BY gap.trace_id, gap.entry_span_id
), imports AS (
    -- Imports that the process measured itself (`timesink-otel`), the longest first.
    SELECT
        span.trace_id,
        span.entry_span_id,
        sum(span.duration_nanos) AS imports_nanos,
        first_value(
            span.timesink_import_module
            ORDER BY span.duration_nanos DESC, span.span_id
        ) AS imported,
        first_value(span.code_file_path ORDER BY span.duration_nanos DESC, span.span_id)
            AS code_file_path,
        first_value(span.code_line_number ORDER BY span.duration_nanos DESC, span.span_id)
            AS code_line_number
    FROM spans_with_facts AS span
    JOIN cold ON cold.trace_id = span.trace_id AND cold.span_id = span.entry_span_id
    WHERE span.scope_name = 'timesink_otel' AND span.name = 'timesink.import'
    GROUP BY span.trace_id, span.entry_span_id
)
SELECT
    cold.service_name,
    cold.trace_id,
    cold.span_id,
    'first request of a process' AS subject,
    1 AS occurrences,
    cold.nanos - cold.later_nanos AS wasted_nanos,
    CASE
        WHEN is_told THEN 'certain'
        WHEN NOT has_process_identity OR 2 * processes < processes_seen THEN 'possible'
        WHEN processes > 1 THEN 'certain'
        WHEN later < 10 THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN is_told THEN 'the process says itself that it is its first request'
        WHEN NOT has_process_identity
            THEN 'the spans do not tell one process from another (service.instance.id): it is the first on record'
        WHEN 2 * processes < processes_seen
            THEN 'the first requests of most other processes take no longer than their later ones: it may be a single slow request'
        WHEN processes > 1 THEN 'so it is with the first requests of several processes'
        WHEN later < 10
            THEN 'one process shows it, and few later requests are there to compare with: by chance a slow request may be the first on record'
        ELSE 'one process shows it: its first request on record takes longer than all later ones; that nothing came before it, spans do not say'
    END AS confidence_reason,
    cold.nanos AS first_nanos,
    cold.later_nanos,
    cold.later_most_nanos,
    cold.later,
    cold.processes,
    cold.processes_seen,
    coalesce(uncovered.uncovered_nanos, 0) AS uncovered_nanos,
    coalesce(imports.imports_nanos, 0) AS imports_nanos,
    imports.imported,
    imports.code_file_path,
    imports.code_line_number
FROM cold
LEFT JOIN uncovered
    ON uncovered.trace_id = cold.trace_id AND uncovered.entry_span_id = cold.span_id
LEFT JOIN imports
    ON imports.trace_id = cold.trace_id AND imports.entry_span_id = cold.span_id
ORDER BY wasted_nanos DESC, cold.trace_id, cold.span_id
