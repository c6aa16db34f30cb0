-- One row for each service whose requests do not say which process served them.
WITH requests AS (
    -- What services of Python serve, and of those that do not say their language: a browser, a
    -- script or a test has no neighbours in its process.
    SELECT
        service_name,
        count(*) AS requests,
        count(*) FILTER (WHERE NOT has_process_identity) AS without,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE NOT has_process_identity) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE NOT has_process_identity) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE NOT has_process_identity) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id)
            FILTER (WHERE NOT has_process_identity) AS kind
    FROM spans_with_facts
    WHERE
        entry_span_id = span_id
        AND kind IN ('SERVER', 'CONSUMER')
        AND coalesce(telemetry_sdk_language, 'python') = 'python'
    GROUP BY service_name
)
SELECT
    requests.service_name,
    requests.trace_id,
    requests.span_id,
    'service.instance.id' AS subject,
    requests.without AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'their resources have neither service.instance.id nor process.pid with a host' AS confidence_reason,
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
