-- One row for each service of which spans within a process are missing.
WITH orphans AS (
    -- Flag 512 says that the parent lies in another process; where nobody says so, the kind tells.
    -- Notes of a process are no part of a request.
    SELECT service_name, endpoint, kind, trace_id, span_id, parent_span_id
    FROM spans_with_facts
    WHERE
        is_orphan
        AND NOT CASE
            WHEN flags % 512 >= 256 THEN flags % 1024 >= 512
            ELSE kind IN ('SERVER', 'CONSUMER')
        END
        AND coalesce(scope_name, '') NOT IN ('timesink_otel', 'logfire.asyncio')
), torn AS (
    SELECT
        service_name,
        count(DISTINCT trace_id) AS torn,
        count(DISTINCT concat(trace_id, parent_span_id)) AS lost,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM orphans
    GROUP BY service_name
), services AS (
    SELECT service_name, count(DISTINCT trace_id) AS traces
    FROM spans_with_facts
    GROUP BY service_name
)
SELECT
    torn.service_name,
    torn.trace_id,
    torn.span_id,
    'spans within the service' AS subject,
    torn.lost AS occurrences,
    0 AS wasted_nanos,
    'likely' AS confidence,
    'the parents named are not on record: dropped or sampled away, not ended, or still to come' AS confidence_reason,
    torn.torn,
    services.traces,
    CAST(torn.torn AS DOUBLE) / services.traces AS torn_share,
    torn.lost
FROM torn
JOIN services USING (service_name)
JOIN params
    ON params.service_name = torn.service_name
    AND params.endpoint = torn.endpoint
    AND params.kind = torn.kind
WHERE torn.torn >= torn_min AND torn.torn >= torn_share_min * services.traces
ORDER BY torn.service_name
