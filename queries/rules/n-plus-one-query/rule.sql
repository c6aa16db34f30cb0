-- One row for each (entry, path of names, query shape) that repeats within one request.
WITH repeats AS (
    -- The statements of one shape under one entry and one path of names; a manual span an item
    -- does not hide a loop. A statement for many rows at once is a batch already. The pause before the first repeat lies outside the loop.
    -- Asking once costs what the longest repeat does; where repeats run at the same time and hold
    -- each other up, what the shortest does.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        name_path,
        query_shape,
        count(*) AS repeats,
        coalesce(min(literals_hash) <> max(literals_hash), FALSE) AS statements_differ,
        bool_or(is_batch) AS is_batch,
        sum(critical_nanos) AS queries_nanos,
        2 * sum(critical_nanos) < sum(duration_nanos) AS is_concurrent,
        CASE
            WHEN 2 * sum(critical_nanos) < sum(duration_nanos) THEN min(duration_nanos)
            ELSE max(critical_nanos - least(stalled_nanos, critical_nanos))
        END AS one_nanos,
        sum(pause_nanos) - first_value(pause_nanos ORDER BY start_time_unix_nano, span_id) AS pauses_nanos,
        sum(least(stalled_nanos, critical_nanos)) AS stalled_nanos,
        greatest(
            max(tiling_duration_nanos),
            max(start_time_unix_nano + duration_nanos) - min(start_time_unix_nano)
        ) AS entry_nanos,
        min(start_time_unix_nano) AS begin_unix_nano,
        max(start_time_unix_nano + duration_nanos) AS end_unix_nano,
        min(code_file_path) AS code_file_path,
        min(code_line_number) AS code_line_number
    FROM db_client_spans
    WHERE
        status_code <> 'ERROR'
        AND (NOT is_batch OR regexp_like(query_shape, '(=|<|>|LIKE|BETWEEN) \?|\? ='))
    GROUP BY service_name, trace_id, entry_span_id, name_path, query_shape
), paced AS (
    -- Long pauses between quick repeats are polling, or work on each item: asking once saves the
    -- repeats, not the pauses.
    SELECT
        repeats.*,
        CASE WHEN is_spaced THEN 0 ELSE pauses_nanos END AS saved_pauses_nanos
    FROM (
        SELECT
            repeats.*,
            pauses_nanos >= 3 * queries_nanos
                AND pauses_nanos >= params.pause_millis_max * 1000000 * (repeats - 1) AS is_spaced,
            params.repeats_min,
            params.entry_share_min
        FROM repeats
        JOIN params USING (service_name, endpoint, kind)
    ) AS repeats
), loops AS (
    -- Enough repeats, and the loop is worth a look beside the request's whole time.
    SELECT
        paced.*,
        greatest(0, queries_nanos + saved_pauses_nanos - stalled_nanos - one_nanos) AS wasted_nanos,
        is_concurrent
            AND queries_nanos + saved_pauses_nanos - stalled_nanos - one_nanos
            < entry_share_min * entry_nanos AS saves_little
    FROM paced
    WHERE
        repeats >= repeats_min
        AND queries_nanos + pauses_nanos - stalled_nanos >= entry_share_min * entry_nanos
), shapes AS (
    -- Whether the count changes from request to request: that of a duplicate does not.
    SELECT
        service_name,
        endpoint,
        query_shape,
        count(*) AS requests,
        min(repeats) AS repeats_least,
        max(repeats) AS repeats_most
    FROM repeats
    GROUP BY service_name, endpoint, query_shape
)
SELECT
    loops.service_name,
    loops.trace_id,
    loops.entry_span_id AS span_id,
    loops.query_shape AS subject,
    loops.repeats AS occurrences,
    loops.wasted_nanos,
    CASE
        WHEN loops.saves_little OR loops.is_spaced OR loops.query_shape LIKE '%OFFSET ?%' THEN 'possible'
        WHEN loops.is_batch THEN 'likely'
        WHEN loops.statements_differ THEN 'certain'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN loops.query_shape LIKE '%OFFSET ?%'
            THEN 'the statements ask for one page after another: fewer, larger pages may help'
        WHEN loops.is_batch
            THEN 'each asks for many rows at once and compares one value besides: parts of one batch, or one batch an item'
        WHEN loops.is_spaced
            THEN 'long pauses lie between quick repeats: polling, or work on each item, which asking once does not save'
        WHEN loops.saves_little
            THEN 'they run at the same time: asking once would take load off the other side, and hardly make the request faster'
        WHEN loops.statements_differ
            THEN 'the statements differ in their literals: the loop asks for one thing after another'
        WHEN shapes.repeats_least < shapes.repeats_most
            THEN 'the count changes from request to request, as the number of rows does; parameters are not recorded'
        ELSE 'parameters are not recorded and the count is always the same: it may as well be one query repeated with the same parameters (duplicate-query); both are cured by asking once'
    END AS confidence_reason,
    loops.repeats AS repeats,
    shapes.repeats_least,
    shapes.repeats_most,
    loops.statements_differ,
    loops.queries_nanos,
    loops.pauses_nanos,
    loops.entry_nanos,
    loops.code_file_path,
    loops.code_line_number,
    loops.begin_unix_nano,
    loops.end_unix_nano
FROM loops
JOIN shapes USING (service_name, endpoint, query_shape)
ORDER BY loops.wasted_nanos DESC, loops.trace_id, loops.entry_span_id, loops.query_shape, loops.name_path
