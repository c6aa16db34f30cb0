-- One row for each request that waits for the better part of its time for another service's work.
WITH waits AS (
    -- How long each request waited for the work of each other recorded service: its spans' shares
    -- of the request's critical path, with what its event loop lost to others' stalls off.
    SELECT
        root.service_name,
        root.endpoint,
        root.kind,
        root.trace_id,
        root.span_id,
        root.duration_nanos AS root_nanos,
        span.service_name AS subject,
        TRUE AS is_recorded,
        sum(span.critical_nanos - least(span.critical_nanos, span.stalled_nanos)) AS waited_nanos,
        sum(span.critical_nanos - least(span.critical_nanos, span.stalled_nanos)) AS longest_nanos
    FROM entries AS root
    JOIN spans_with_facts AS span
        ON span.trace_id = root.trace_id AND span.tiling_span_id = root.span_id
    WHERE root.span_id = root.root_span_id AND span.service_name <> root.service_name
    GROUP BY root.service_name, root.endpoint, root.kind, root.trace_id, root.span_id,
        root.duration_nanos, span.service_name
), external_calls AS (
    -- How long each request waited for a service that records no spans, by its address. Failed
    -- calls are left to other rules.
    SELECT
        call.service_name,
        call.endpoint,
        call.entry_span_id,
        call.trace_id,
        max(call.entry_duration_nanos) AS root_nanos,
        CASE
            WHEN call.server_port IS NULL OR call.server_port IN (80, 443)
                THEN coalesce(call.server_address, split_part(call.query_shape, ' ', 2))
            ELSE concat(call.server_address, ':', CAST(call.server_port AS VARCHAR))
        END AS subject,
        sum(call.critical_nanos - least(call.critical_nanos, call.stalled_nanos)) AS waited_nanos,
        max(call.critical_nanos - least(call.critical_nanos, call.stalled_nanos)) AS longest_nanos
    FROM call_client_spans AS call
    WHERE call.server_service_name IS NULL AND NOT call.is_failed
    GROUP BY call.service_name, call.endpoint, call.entry_span_id, call.trace_id,
        call.server_address, call.server_port, split_part(call.query_shape, ' ', 2)
), dependencies AS (
    -- Both together: what a request waits for.
    SELECT service_name, endpoint, kind, trace_id, span_id, root_nanos, subject, is_recorded,
        waited_nanos, longest_nanos
    FROM waits
    UNION ALL
    SELECT entries.service_name, entries.endpoint, entries.kind, entries.trace_id, entries.span_id,
        root_nanos, subject, FALSE AS is_recorded, waited_nanos, longest_nanos
    FROM external_calls
    JOIN entries
        ON entries.trace_id = external_calls.trace_id
        AND entries.span_id = external_calls.entry_span_id
), slow AS (
    -- Slow in most requests: without a baseline, "slow" needs an absolute floor beside the share.
    SELECT
        service_name,
        endpoint,
        subject,
        is_recorded,
        count(*) AS calls
    FROM dependencies
    JOIN params USING (service_name, endpoint, kind)
    GROUP BY service_name, endpoint, subject, is_recorded
    HAVING
        median(longest_nanos) >= CASE
            WHEN is_recorded THEN max(service_millis_min)
            ELSE max(external_millis_min)
        END * 1000000
        AND median(waited_nanos) >= max(root_share_min) * median(root_nanos)
)
SELECT
    dependencies.service_name,
    dependencies.trace_id,
    dependencies.span_id,
    dependencies.subject,
    1 AS occurrences,
    dependencies.waited_nanos AS wasted_nanos,
    CASE WHEN dependencies.is_recorded THEN 'certain' ELSE 'likely' END AS confidence,
    CASE
        WHEN dependencies.is_recorded
            THEN 'its own spans cover the time that the request waited for'
        ELSE 'it records no spans: the time may be its own, or the way there and back'
    END AS confidence_reason,
    dependencies.waited_nanos,
    dependencies.root_nanos AS request_nanos,
    CAST(dependencies.waited_nanos AS DOUBLE) / dependencies.root_nanos AS waited_share
FROM dependencies
JOIN slow USING (service_name, endpoint, subject, is_recorded)
ORDER BY wasted_nanos DESC, dependencies.trace_id, dependencies.span_id, dependencies.subject
