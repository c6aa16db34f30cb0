-- One row per SQL statement that the application sent: doubles of a second instrumentation, fetches
-- of a cursor (one span a row), pool resets, session settings, transaction control, connection
-- health checks, and what a message producer does inside itself are left out.
SELECT
    service_name,
    endpoint,
    kind,
    trace_id,
    span_id,
    entry_span_id,
    entry_duration_nanos,
    tiling_duration_nanos,
    name_path,
    scope_name,
    db_system_name,
    db_query_text,
    query_shape,
    literals_hash,
    is_batch,
    code_file_path,
    code_line_number,
    start_time_unix_nano,
    duration_nanos,
    critical_nanos,
    pause_nanos,
    stalled_nanos,
    status_code,
    sequence_id,
    db_namespace,
    server_address,
    server_port,
    db_statement_parameters,
    tiling_span_id
FROM spans_with_facts
WHERE
    kind = 'CLIENT'
    AND query_shape IS NOT NULL
    AND db_query_text IS NOT NULL
    AND duplicate_of IS NULL
    AND coalesce(db_system_name, '') NOT IN ('redis', 'memcached', 'valkey')
    AND coalesce(parent_kind, '') <> 'PRODUCER'
    AND name NOT LIKE 'CURSOR:%'
    AND NOT starts_with(query_shape, 'SELECT pg_advisory_unlock_all')
    AND NOT starts_with(query_shape, 'SELECT set_config')
    AND query_shape NOT LIKE 'FETCH %'
    AND query_shape NOT LIKE 'SET %'
    AND query_shape NOT IN (
        'SELECT ?', 'BEGIN', 'BEGIN;', 'COMMIT', 'COMMIT;', 'ROLLBACK', 'ROLLBACK;', 'START TRANSACTION'
    )
    AND query_shape NOT LIKE 'SAVEPOINT %'
    AND query_shape NOT LIKE 'RELEASE SAVEPOINT %'
    AND query_shape NOT LIKE 'ROLLBACK TO %'
