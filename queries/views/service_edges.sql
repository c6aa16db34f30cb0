-- One row per call from one recorded service to another: a client span and its server child.
SELECT
    client.service_name,
    client.endpoint,
    client.kind,
    client.trace_id,
    client.span_id,
    client.entry_span_id,
    client.root_span_id,
    client.start_time_unix_nano,
    client.duration_nanos,
    client.stalled_nanos,
    client.status_code,
    client.wire_nanos,
    client.wire_before_nanos,
    client.wire_after_nanos,
    client.wire_critical_nanos,
    client.server_busy_nanos,
    client.server_service_name,
    server.span_id AS server_span_id,
    server.endpoint AS server_endpoint,
    server.duration_nanos AS server_duration_nanos,
    server.own_nanos AS server_own_nanos,
    server.stalled_nanos AS server_stalled_nanos,
    server.process_id AS server_process_id,
    server.open_entries AS server_open_entries
FROM spans_with_facts AS client
INNER JOIN entries AS server
    ON client.trace_id = server.trace_id AND client.server_span_id = server.span_id
WHERE client.kind = 'CLIENT'
