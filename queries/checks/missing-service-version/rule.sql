-- One row for each service whose requests do not say which release served them.
WITH requests AS (
    -- What is served: a script is what it is on the day it runs.
    SELECT
        service_name,
        count(*) AS requests,
        count(*) FILTER (WHERE service_version IS NULL) AS without,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE service_version IS NULL) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE service_version IS NULL) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE service_version IS NULL) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE service_version IS NULL) AS kind
    FROM spans_with_facts
    WHERE entry_span_id = span_id AND kind IN ('SERVER', 'CONSUMER')
    GROUP BY service_name
)
SELECT
    requests.service_name,
    requests.trace_id,
    requests.span_id,
    'service.version' AS subject,
    requests.without AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'their resources have no service.version' AS confidence_reason,
    requests.without,
    requests.requests,
    CAST(requests.without AS DOUBLE) / requests.requests AS without_share
FROM requests
JOIN params
    ON params.service_name = requests.service_name
    AND params.endpoint = requests.endpoint
    AND params.kind = requests.kind
WHERE requests.without > 0 AND requests.without >= without_share_min * requests.requests
ORDER BY requests.service_name
