-- One row for each (entry, path of names, command shape) that repeats within one request.
WITH repeats AS (
    -- The commands of one shape under one entry and one path of names. A pipeline is one command,
    -- and one for several keys a batch already.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        name_path,
        query_shape,
        count(*) AS repeats,
        sum(critical_nanos) AS commands_nanos,
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
    FROM cache_client_spans
    WHERE status_code <> 'ERROR' AND NOT is_batch
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
            pauses_nanos >= 3 * commands_nanos
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
        greatest(0, commands_nanos + saved_pauses_nanos - stalled_nanos - one_nanos) AS wasted_nanos,
        is_concurrent
            AND commands_nanos + saved_pauses_nanos - stalled_nanos - one_nanos
            < entry_share_min * entry_nanos AS saves_little
    FROM paced
    WHERE
        repeats >= repeats_min
        AND commands_nanos + pauses_nanos - stalled_nanos >= entry_share_min * entry_nanos
), shapes AS (
    -- Whether the count changes from request to request.
    SELECT
        service_name,
        endpoint,
        query_shape,
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
    CASE WHEN loops.saves_little OR loops.is_spaced THEN 'possible' ELSE 'likely' END AS confidence,
    CASE
        WHEN loops.is_spaced
            THEN 'long pauses lie between quick repeats: polling, or work on each item, which asking once does not save'
        WHEN loops.saves_little
            THEN 'they run at the same time: asking once would take load off the other side, and hardly make the request faster'
        WHEN shapes.repeats_least < shapes.repeats_most
            THEN 'the count changes from request to request, as the number of items does; keys are not recorded'
        ELSE 'keys are not recorded and the count is always the same: it may as well be one key read again and again; both are cured by asking once'
    END AS confidence_reason,
    loops.repeats AS repeats,
    shapes.repeats_least,
    shapes.repeats_most,
    loops.commands_nanos,
    loops.pauses_nanos,
    loops.entry_nanos,
    loops.code_file_path,
    loops.code_line_number,
    loops.begin_unix_nano,
    loops.end_unix_nano
FROM loops
JOIN shapes USING (service_name, endpoint, query_shape)
ORDER BY loops.wasted_nanos DESC, loops.trace_id, loops.entry_span_id, loops.query_shape, loops.name_path
