-- One row for each (entry, path of names, URL or method shape) called again and again in one request.
WITH calls AS (
    -- The calls that did not fail: attempts that failed and were tried again are a retry. Pages of
    -- one list differ in a page, an offset or a cursor only.
    SELECT
        call.*,
        regexp_replace(
            url_full,
            '([?&](page|page_?(number|no|token)|offset|skip|cursor|start|after|marker|continuation|next_?token|part_?number|since_id|max_id)=|/page/)[^&/?]*',
            '\1',
            'gi'
        ) AS url_without_page
    FROM call_client_spans AS call
    WHERE NOT is_failed
), repeats AS (
    -- The calls of one shape under one entry and one path of names.
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        name_path,
        query_shape,
        count(*) AS repeats,
        min(url_full) <> max(url_full) AS urls_differ,
        bool_or(rpc_method IS NOT NULL) AS is_rpc,
        min(url_full) <> max(url_full) AND min(url_without_page) = max(url_without_page) AS asks_for_pages,
        sum(critical_nanos) AS calls_nanos,
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
    FROM calls
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
            pauses_nanos >= 3 * calls_nanos
                AND pauses_nanos >= params.pause_millis_max * 1000000 * (repeats - 1) AS is_spaced,
            params.repeats_min,
            params.entry_share_min
        FROM repeats
        JOIN params USING (service_name, endpoint, kind)
    ) AS repeats
), loops AS (
    -- Enough repeats to different addresses: one address asked again and again is polling. An RPC
    -- span does not show its arguments, so there the reading stays open.
    SELECT
        paced.*,
        greatest(0, calls_nanos + saved_pauses_nanos - stalled_nanos - one_nanos) AS wasted_nanos,
        is_concurrent
            AND calls_nanos + saved_pauses_nanos - stalled_nanos - one_nanos
            < entry_share_min * entry_nanos AS saves_little
    FROM paced
    WHERE
        repeats >= repeats_min
        AND (urls_differ OR is_rpc)
        AND calls_nanos + pauses_nanos - stalled_nanos >= entry_share_min * entry_nanos
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
    CASE
        WHEN loops.saves_little OR loops.is_spaced OR loops.asks_for_pages THEN 'possible'
        WHEN loops.is_rpc AND shapes.repeats_least = shapes.repeats_most THEN 'possible'
        WHEN loops.is_rpc THEN 'likely'
        ELSE 'certain'
    END AS confidence,
    CASE
        WHEN loops.asks_for_pages
            THEN 'the calls ask for one page after another: fewer, larger pages may help, one call for all may not be there'
        WHEN loops.is_spaced
            THEN 'long pauses lie between quick repeats: polling, or work on each item, which asking once does not save'
        WHEN loops.saves_little
            THEN 'they run at the same time: asking once would take load off the other side, and hardly make the request faster'
        WHEN loops.is_rpc AND shapes.repeats_least = shapes.repeats_most
            THEN 'RPC spans do not show arguments and the count is always the same: it may be polling'
        WHEN loops.is_rpc
            THEN 'the count changes from request to request; RPC spans do not show arguments'
        ELSE 'the URLs differ in their ids only'
    END AS confidence_reason,
    loops.repeats AS repeats,
    shapes.repeats_least,
    shapes.repeats_most,
    loops.urls_differ,
    loops.calls_nanos,
    loops.pauses_nanos,
    loops.entry_nanos,
    loops.code_file_path,
    loops.code_line_number,
    loops.begin_unix_nano,
    loops.end_unix_nano
FROM loops
JOIN shapes USING (service_name, endpoint, query_shape)
ORDER BY loops.wasted_nanos DESC, loops.trace_id, loops.entry_span_id, loops.query_shape, loops.name_path
