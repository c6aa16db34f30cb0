-- One row for each trace and place at which it is torn apart.
WITH requests AS (
    -- Requests that begin a trace of their own.
    SELECT
        service_name,
        trace_id,
        CASE
            WHEN url_path IS NOT NULL AND http_request_method IS NOT NULL
                THEN concat(http_request_method, ' ', url_path)
            WHEN rpc_method IS NOT NULL AND coalesce(rpc_service, '') <> ''
                THEN concat(rpc_service, '/', rpc_method)
            ELSE rpc_method
        END AS asked,
        lower(coalesce(server_address, '')) AS server_address,
        server_port,
        start_time_unix_nano,
        end_time_unix_nano
    FROM spans_with_facts
    WHERE kind = 'SERVER' AND parent_span_id IS NULL AND entry_span_id = span_id
), calls AS (
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        peer,
        request_target AS asked,
        url_full IS NULL AS is_rpc,
        server_service_name IS NOT NULL AS is_answered,
        start_time_unix_nano,
        start_time_unix_nano + duration_nanos AS end_time_unix_nano
    FROM call_client_spans
    WHERE NOT is_failed
), moments AS (
    SELECT
        asked,
        start_time_unix_nano AS at,
        start_time_unix_nano AS call_start,
        CAST(NULL AS VARCHAR) AS request_trace_id,
        CAST(NULL AS VARCHAR) AS server_name,
        CAST(NULL AS VARCHAR) AS server_address,
        CAST(NULL AS BIGINT) AS server_port,
        CAST(NULL AS BIGINT) AS request_end
    FROM calls
    WHERE NOT is_answered AND asked IS NOT NULL
    UNION ALL
    SELECT
        asked,
        start_time_unix_nano AS at,
        CAST(NULL AS BIGINT) AS call_start,
        trace_id AS request_trace_id,
        service_name AS server_name,
        server_address,
        server_port,
        end_time_unix_nano AS request_end
    FROM requests
    WHERE asked IS NOT NULL
), asked_before AS (
    -- For each such request the latest call without an answer that asked for the same.
    SELECT
        moments.*,
        max(call_start) OVER (
            PARTITION BY asked
            ORDER BY at, request_trace_id NULLS FIRST
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS latest_start
    FROM moments
), torn_calls AS (
    -- Within such a call another service took the request, in a trace of its own.
    SELECT
        calls.service_name,
        calls.endpoint,
        calls.kind,
        calls.trace_id,
        calls.span_id,
        calls.peer,
        min(concat(calls.service_name, ' -> ', request.server_name)) AS subject,
        -- Of the host that was called.
        calls.is_rpc OR coalesce(
            bool_or(
                lower(calls.peer) IN (
                    request.server_address,
                    concat(request.server_address, ':', CAST(request.server_port AS VARCHAR))
                )
            ),
            FALSE
        ) AS is_same_host
    FROM asked_before AS request
    JOIN calls
        ON calls.asked = request.asked
        AND calls.start_time_unix_nano = request.latest_start
    WHERE
        request.request_trace_id IS NOT NULL
        AND NOT calls.is_answered
        AND request.request_trace_id <> calls.trace_id
        AND request.server_name <> calls.service_name
        AND request.request_end <= calls.end_time_unix_nano
    GROUP BY calls.service_name, calls.endpoint, calls.kind, calls.trace_id, calls.span_id,
        calls.peer, calls.is_rpc
), calls_seen AS (
    SELECT service_name, endpoint, peer, count(*) AS seen
    FROM calls
    GROUP BY service_name, endpoint, peer
), messages AS (
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        span_id,
        messaging_message_id
    FROM spans_with_facts
    -- A short id is a number within its queue.
    WHERE kind = 'PRODUCER' AND length(messaging_message_id) >= 16
), torn_messages AS (
    -- A message is consumed in a trace of its own, which does not link to where it was sent.
    SELECT
        messages.service_name,
        messages.endpoint,
        messages.kind,
        messages.trace_id,
        messages.span_id,
        min(concat(messages.service_name, ' -> ', consumer.service_name)) AS subject
    FROM messages
    JOIN spans_with_facts AS consumer
        ON consumer.messaging_message_id = messages.messaging_message_id
    WHERE
        consumer.kind = 'CONSUMER'
        AND consumer.parent_span_id IS NULL
        AND consumer.links IS NULL
        AND consumer.trace_id <> messages.trace_id
    GROUP BY messages.service_name, messages.endpoint, messages.kind, messages.trace_id,
        messages.span_id
), messages_seen AS (
    SELECT service_name, endpoint, count(*) AS seen
    FROM messages
    GROUP BY service_name, endpoint
), orphans AS (
    -- Spans that name a parent which is not there: flag 512 says that it lies in another process.
    -- Where nobody says so, the kind tells. Notes of a process are no requests.
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        span_id,
        CASE
            WHEN flags % 512 >= 256 THEN flags % 1024 >= 512
            ELSE kind IN ('SERVER', 'CONSUMER')
        END AS is_remote
    FROM spans_with_facts
    WHERE is_orphan AND coalesce(scope_name, '') NOT IN ('timesink_otel', 'logfire.asyncio')
), entries_seen AS (
    SELECT service_name, endpoint, count(DISTINCT trace_id) AS seen
    FROM spans_with_facts
    GROUP BY service_name, endpoint
), services_seen AS (
    SELECT service_name, count(DISTINCT trace_id) AS seen
    FROM spans_with_facts
    GROUP BY service_name
), broken AS (
    SELECT
        torn.service_name,
        torn.endpoint,
        torn.kind,
        torn.trace_id,
        torn.span_id,
        torn.subject,
        1 AS cases,
        calls_seen.seen,
        'calls and the requests that answer them are in different traces' AS what,
        CASE WHEN torn.is_same_host THEN 'likely' ELSE 'possible' END AS confidence,
        CASE
            WHEN torn.is_same_host
                THEN 'calls without an answer on record, and meanwhile requests for the same at the service called, each beginning a trace'
            ELSE 'calls without an answer on record, and meanwhile requests for the same path at another service, each beginning a trace; whether it is the host that was called is not recorded, or a proxy lies between'
        END AS confidence_reason
    FROM torn_calls AS torn
    JOIN calls_seen USING (service_name, endpoint, peer)
    UNION ALL
    SELECT
        torn.service_name,
        torn.endpoint,
        torn.kind,
        torn.trace_id,
        torn.span_id,
        torn.subject,
        1 AS cases,
        messages_seen.seen,
        'messages are consumed in traces that do not know where they were sent' AS what,
        'certain' AS confidence,
        'the same message id is sent in one trace and consumed in another, without a link' AS confidence_reason
    FROM torn_messages AS torn
    JOIN messages_seen USING (service_name, endpoint)
    UNION ALL
    SELECT
        orphans.service_name,
        orphans.endpoint,
        min(orphans.kind) AS kind,
        orphans.trace_id,
        min(orphans.span_id) AS span_id,
        'the caller of its requests is missing' AS subject,
        1 AS cases,
        max(entries_seen.seen) AS seen,
        'the caller of its requests is missing' AS what,
        'likely' AS confidence,
        'they name a parent in another process that is not on record: that process sends its spans elsewhere or not at all, samples by itself, or they are still to come' AS confidence_reason
    FROM orphans
    JOIN entries_seen USING (service_name, endpoint)
    WHERE orphans.is_remote
    GROUP BY orphans.service_name, orphans.endpoint, orphans.trace_id
    UNION ALL
    SELECT
        orphans.service_name,
        orphans.endpoint,
        min(orphans.kind) AS kind,
        orphans.trace_id,
        min(orphans.span_id) AS span_id,
        'parents within the service are missing' AS subject,
        1 AS cases,
        max(services_seen.seen) AS seen,
        'parents within the service are missing' AS what,
        'likely' AS confidence,
        'spans name a parent in their own process that is not on record: it was dropped or sampled away, has not ended, or is still to come' AS confidence_reason
    FROM orphans
    JOIN services_seen USING (service_name)
    WHERE NOT orphans.is_remote
    GROUP BY orphans.service_name, orphans.endpoint, orphans.trace_id
), places AS (
    SELECT service_name, endpoint, subject, what, sum(cases) AS broken, max(seen) AS seen
    FROM broken
    GROUP BY service_name, endpoint, subject, what
)
SELECT
    broken.service_name,
    broken.trace_id,
    broken.span_id,
    broken.subject,
    broken.cases AS occurrences,
    0 AS wasted_nanos,
    broken.confidence,
    broken.confidence_reason,
    broken.what,
    places.broken,
    places.seen
FROM broken
JOIN places USING (service_name, endpoint, subject, what)
JOIN params
    ON params.service_name = broken.service_name
    AND params.endpoint = broken.endpoint
    AND params.kind = broken.kind
WHERE places.broken >= broken_min AND places.broken >= broken_share_min * places.seen
ORDER BY broken.trace_id, broken.span_id, broken.what
