-- One row for each call whose server went on after its caller had given up.
WITH edges AS (
    SELECT
        edge.service_name,
        edge.endpoint,
        edge.kind,
        edge.trace_id,
        edge.span_id,
        edge.duration_nanos,
        edge.status_code,
        edge.server_service_name,
        edge.server_endpoint,
        concat(edge.service_name, ' -> ', edge.server_service_name) AS subject,
        -- A difference of durations: skewed clocks do not touch it. The server began after the call,
        -- so it went on for at least so long. A caller whose event loop stood still notices late,
        -- never early.
        edge.server_duration_nanos - edge.duration_nanos AS beyond_nanos,
        client.http_request_method,
        client.http_response_status_code,
        client.rpc_response_status_code,
        server.http_response_status_code AS server_status_code
    FROM service_edges AS edge
    JOIN spans_with_facts AS client
        ON client.trace_id = edge.trace_id AND client.span_id = edge.span_id
    JOIN spans_with_facts AS server
        ON server.trace_id = edge.trace_id AND server.span_id = edge.server_span_id
), calls AS (
    SELECT
        edges.*,
        CASE
            WHEN beyond_nanos < params.beyond_millis_min * 1000000 THEN NULL
            -- No answer came: what the server does after one, it does for somebody.
            WHEN
                status_code = 'ERROR'
                AND http_response_status_code IS NULL
                AND coalesce(rpc_response_status_code, '4') IN (
                    '1', '4', '14', 'CANCELLED', 'DEADLINE_EXCEEDED', 'UNAVAILABLE'
                )
                THEN 'failed'
            -- Somebody between them answered: the server says otherwise, and later.
            WHEN http_response_status_code = 504 AND server_status_code <> 504 THEN 'proxy'
            -- A task that is cancelled leaves its span without a status, where others have one.
            WHEN
                status_code <> 'ERROR'
                AND http_request_method IS NOT NULL
                AND http_response_status_code IS NULL
                AND bool_or(http_response_status_code IS NOT NULL) OVER (
                    PARTITION BY service_name, subject
                )
                THEN 'cancelled'
        END AS ending,
        params.abandoned_min
    FROM edges
    JOIN params USING (service_name, endpoint, kind)
), counts AS (
    SELECT
        service_name,
        endpoint,
        subject,
        count(*) AS calls,
        count(ending) AS abandoned
    FROM calls
    GROUP BY service_name, endpoint, subject
    HAVING count(ending) >= max(abandoned_min)
)
SELECT
    calls.service_name,
    calls.trace_id,
    calls.span_id,
    calls.subject,
    1 AS occurrences,
    calls.beyond_nanos AS wasted_nanos,
    CASE WHEN calls.ending = 'failed' THEN 'certain' ELSE 'likely' END AS confidence,
    CASE calls.ending
        WHEN 'failed'
            THEN 'the call failed without an answer, and the span of its server is longer than the call: it went on when nobody waited any more'
        WHEN 'proxy'
            THEN 'the call was answered with 504, the server answers otherwise and later: something between them gave up'
        ELSE 'the call ends without an answer and without an error, as a cancelled task does, and the span of its server is longer'
    END AS confidence_reason,
    calls.duration_nanos AS call_nanos,
    calls.beyond_nanos,
    calls.server_service_name AS server,
    calls.server_endpoint,
    counts.abandoned,
    counts.calls
FROM calls
JOIN counts USING (service_name, endpoint, subject)
WHERE calls.ending IS NOT NULL
ORDER BY wasted_nanos DESC, calls.trace_id, calls.span_id
