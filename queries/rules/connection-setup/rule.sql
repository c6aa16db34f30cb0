-- One row for each request, or task in its background, that opens a connection of its own.
WITH measured AS (
    -- Requests that waited for a connection of a full pool, as the process says itself
    -- (`timesink-otel`).
    SELECT DISTINCT trace_id, entry_span_id, TRUE AS is_measured
    FROM spans_with_facts
    WHERE scope_name = 'timesink_otel' AND name = 'timesink.pool.wait'
), leads AS (
    -- The uncovered time before the first operation of a request or of a span within it.
    SELECT
        trace_id,
        span_id AS parent_span_id,
        start_time_unix_nano + nanos AS start_time_unix_nano,
        max(critical_nanos - least(stalled_nanos, critical_nanos)) AS lead_nanos
    FROM gaps
    WHERE position = 'lead'
    GROUP BY trace_id, span_id, start_time_unix_nano + nanos
), statements AS (
    -- What a driver or framework asks of each new connection, before it asks for anything else; and
    -- SQLAlchemy's `connect` span, the checkout from its pool: where no other request is open
    -- nobody is waited for, so a long one opens a connection.
    SELECT
        span.service_name,
        span.endpoint,
        span.entry_kind AS kind,
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.entry_span_id,
        span.tiling_span_id,
        coalesce(span.db_system_name, 'the database') AS system,
        span.db_query_text IS NULL AS is_checkout,
        span.open_entries > 1 OR measured.is_measured IS NOT NULL AS is_in_line,
        CASE
            WHEN span.db_query_text IS NULL THEN FALSE
            -- Only the time zone is set for a whole connection; a text may be masked (`serve`).
            WHEN starts_with(upper(span.query_shape), 'SELECT SET_CONFIG')
                THEN regexp_like(
                    span.db_query_text,
                    '(?i)set_config\s*\(\s*(''timezone''|''~[0-9a-f]{16}''|\?)\s*,'
                )
            ELSE starts_with(upper(span.query_shape), 'SELECT PG_CATALOG.VERSION()')
                OR upper(span.query_shape) IN (
                    'SHOW STANDARD_CONFORMING_STRINGS', 'SHOW TRANSACTION ISOLATION LEVEL'
                )
                OR starts_with(upper(span.query_shape), 'SET NAMES')
                OR starts_with(upper(span.query_shape), 'SET SQL_AUTO_IS_NULL')
                OR starts_with(upper(span.query_shape), 'SELECT @@VERSION')
                OR upper(split_part(span.query_shape, ' ', 1)) IN ('HELLO', 'AUTH')
        END AS is_setup,
        span.duration_nanos - least(span.stalled_nanos, span.duration_nanos) AS taken_nanos,
        span.critical_nanos - least(span.stalled_nanos, span.critical_nanos) AS critical_nanos,
        span.pause_nanos,
        span.tiling_duration_nanos,
        span.start_time_unix_nano,
        span.code_file_path,
        span.code_line_number
    FROM spans_with_facts AS span
    LEFT JOIN measured
        ON measured.trace_id = span.trace_id AND measured.entry_span_id = span.entry_span_id
    WHERE
        span.kind = 'CLIENT'
        AND (
            span.db_query_text IS NOT NULL
            OR (
                span.name = 'connect'
                AND span.scope_name = 'opentelemetry.instrumentation.sqlalchemy'
            )
        )
        AND span.duplicate_of IS NULL
        AND span.status_code <> 'ERROR'
        AND coalesce(span.parent_kind, '') <> 'PRODUCER'
        AND span.entry_kind <> 'UNSPECIFIED'
        AND span.tiling_span_id <> span.span_id
), told AS (
    -- The time before the first of these statements, in which the connection is made, up to what a
    -- connection may take; between them all of it. A checkout has none: it is that time.
    SELECT
        statement.*,
        CASE
            WHEN is_setup THEN TRUE
            WHEN is_checkout
                THEN NOT is_in_line AND taken_nanos >= params.setup_millis_min * 1000000
            ELSE FALSE
        END AS is_opening,
        is_checkout
            AND is_in_line
            AND taken_nanos >= params.setup_millis_min * 1000000 AS is_undecided,
        critical_nanos + CASE
            WHEN is_checkout THEN 0
            ELSE least(
                greatest(pause_nanos, coalesce(leads.lead_nanos, 0)),
                params.before_millis_max * 1000000
            )
        END AS setup_nanos
    FROM statements AS statement
    LEFT JOIN leads USING (trace_id, parent_span_id, start_time_unix_nano)
    JOIN params USING (service_name, endpoint, kind)
), requests AS (
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        min(kind) AS kind,
        trace_id,
        entry_span_id,
        system,
        bool_or(is_opening) AS is_opening,
        bool_or(is_setup) AS is_by_statement,
        bool_or(is_undecided) AND NOT bool_or(is_opening) AS is_undecided,
        first_value(span_id ORDER BY is_opening DESC, start_time_unix_nano, span_id) AS span_id,
        first_value(code_file_path ORDER BY is_opening DESC, start_time_unix_nano, span_id)
            AS code_file_path,
        first_value(code_line_number ORDER BY is_opening DESC, start_time_unix_nano, span_id)
            AS code_line_number,
        sum(CASE WHEN is_opening THEN setup_nanos ELSE 0 END) AS setup_nanos,
        max(tiling_duration_nanos) AS entry_nanos
    FROM told
    GROUP BY service_name, trace_id, entry_span_id, tiling_span_id, system
), endpoints AS (
    SELECT
        service_name,
        endpoint,
        system,
        count(*) AS seen,
        count(*) FILTER (WHERE is_opening) AS opening
    FROM requests
    JOIN params USING (service_name, endpoint, kind)
    -- A long checkout while others are open may be a wait for the pool.
    WHERE NOT is_undecided
    GROUP BY service_name, endpoint, system
    HAVING
        count(*) FILTER (WHERE is_opening) >= max(requests_min)
        AND count(*) FILTER (WHERE is_opening) >= max(opening_share_min) * count(*)
        AND median(setup_nanos) FILTER (WHERE is_opening) >= max(setup_millis_min) * 1000000
        AND median(setup_nanos) FILTER (WHERE is_opening)
            >= max(entry_share_min) * median(entry_nanos) FILTER (WHERE is_opening)
)
SELECT
    requests.service_name,
    requests.trace_id,
    requests.span_id,
    concat('new connections to ', requests.system) AS subject,
    1 AS occurrences,
    requests.setup_nanos AS wasted_nanos,
    'likely' AS confidence,
    CASE
        WHEN requests.is_by_statement
            THEN 'these requests begin with what is asked of a new connection only; the time before it, in which the connection is made, has no span and may hold other work'
        ELSE 'SQLAlchemy''s checkout takes long while no other request is open: it opens a connection, or asks whether the one that it has still lives (pool_pre_ping)'
    END AS confidence_reason,
    requests.system,
    requests.setup_nanos,
    requests.entry_nanos,
    endpoints.opening,
    endpoints.seen,
    requests.code_file_path,
    requests.code_line_number
FROM requests
JOIN endpoints USING (service_name, endpoint, system)
WHERE requests.is_opening AND requests.setup_nanos > 0
ORDER BY wasted_nanos DESC, requests.trace_id, requests.span_id
