-- One row per HTTP or RPC call to another service, failed ones too. A call that waits for messages
-- on purpose is none.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    parent_span_id,
    entry_span_id,
    entry_duration_nanos,
    tiling_duration_nanos,
    name_path,
    scope_name,
    query_shape,
    url_full,
    rpc_method,
    server_address,
    server_port,
    server_service_name,
    -- Whom it calls: host and port of an HTTP call, else the address or the service called.
    CASE
        WHEN url_full IS NOT NULL
            THEN split_part(split_part(query_shape, ' ', -1), '/', 1)
        WHEN server_address IS NOT NULL AND server_port IS NOT NULL
            THEN concat(server_address, ':', CAST(server_port AS VARCHAR))
        ELSE coalesce(server_address, rpc_service, query_shape)
    END AS peer,
    -- What it asks for, as the server's span has it: method and path, or service and method.
    CASE
        WHEN url_full IS NULL THEN query_shape
        ELSE concat(
            split_part(query_shape, ' ', 1),
            ' /',
            regexp_replace(
                split_part(split_part(url_full, '#', 1), '?', 1), '^[A-Za-z]+://[^/]*/?', ''
            )
        )
    END AS request_target,
    code_file_path,
    code_line_number,
    start_time_unix_nano,
    duration_nanos,
    critical_nanos + coalesce(wire_critical_nanos, 0) AS critical_nanos,
    tiling_span_id,
    pause_nanos,
    stalled_nanos,
    status_code,
    status_code = 'ERROR' OR coalesce(http_response_status_code, 0) >= 500 AS is_failed,
    entry_kind,
    parent_kind,
    http_response_status_code,
    rpc_response_status_code
FROM spans_with_facts
WHERE
    kind = 'CLIENT'
    AND query_shape IS NOT NULL
    AND db_query_text IS NULL
    -- A database behind an API, DynamoDB for example, is called.
    AND (db_system_name IS NULL OR rpc_method IS NOT NULL)
    AND coalesce(messaging_operation_type, '') <> 'receive'
    AND coalesce(rpc_method, '') <> 'ReceiveMessage'
    AND (http_request_method IS NOT NULL OR rpc_method IS NOT NULL OR url_full IS NOT NULL)
    AND coalesce(parent_kind, '') <> 'PRODUCER'
