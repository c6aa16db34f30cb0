-- One row per command sent to a cache: blocking pops wait on purpose, connection commands and what
-- a message producer does inside itself are no work of the application, so they are left out.
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
    query_shape,
    is_batch,
    code_file_path,
    code_line_number,
    start_time_unix_nano,
    duration_nanos,
    critical_nanos,
    pause_nanos,
    stalled_nanos,
    status_code,
    tiling_span_id
FROM spans_with_facts
WHERE
    kind = 'CLIENT'
    AND query_shape IS NOT NULL
    AND db_system_name IN ('redis', 'memcached', 'valkey')
    AND duplicate_of IS NULL
    AND coalesce(parent_kind, '') <> 'PRODUCER'
    AND upper(split_part(query_shape, ' ', 1)) NOT IN (
        'BLPOP', 'BRPOP', 'BLMOVE', 'BRPOPLPUSH', 'BLMPOP', 'BZPOPMIN', 'BZPOPMAX', 'XREAD',
        'XREADGROUP', 'SUBSCRIBE', 'PSUBSCRIBE', 'WAIT', 'PING', 'AUTH', 'HELLO', 'CLIENT', 'SELECT'
    )
