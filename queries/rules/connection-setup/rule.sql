-- One row for each request, or task in its background, that opens a connection of its own.
WITH statements AS (
    -- What a driver or framework asks of each new connection, before it asks for anything else; and
    -- SQLAlchemy's `connect` span, the checkout from its pool.
    SELECT
        service_name,
        endpoint,
        entry_kind AS kind,
        trace_id,
        span_id,
        parent_span_id,
        entry_span_id,
        tiling_span_id,
        coalesce(db_system_name, 'the database') AS system,
        db_query_text IS NULL AS is_checkout,
        CASE
            WHEN db_query_text IS NULL THEN FALSE
            WHEN regexp_like(
                query_shape,
                '(?i)^(SELECT PG_CATALOG\.VERSION\(\)|SHOW STANDARD_CONFORMING_STRINGS$|SHOW TRANSACTION ISOLATION LEVEL$|SET NAMES|SET SQL_AUTO_IS_NULL|SELECT @@VERSION|(HELLO|AUTH)( |$))'
            )
                THEN TRUE
            -- Only the time zone is set for a whole connection; a text may be masked (`serve`).
            WHEN starts_with(upper(query_shape), 'SELECT SET_CONFIG')
                THEN regexp_like(
                    db_query_text,
                    '(?i)set_config\s*\(\s*(''timezone''|''~[0-9a-f]{16}''|\?)\s*,'
                )
            ELSE FALSE
        END AS is_setup,
        open_entries,
        duration_nanos - least(stalled_nanos, duration_nanos) AS taken_nanos,
        critical_nanos - least(stalled_nanos, critical_nanos) AS critical_nanos,
        pause_nanos,
        tiling_duration_nanos,
        start_time_unix_nano,
        code_file_path,
        code_line_number
    FROM spans_with_facts
    WHERE
        kind = 'CLIENT'
        AND (
            db_query_text IS NOT NULL
            OR (name = 'connect' AND scope_name = 'opentelemetry.instrumentation.sqlalchemy')
        )
        AND duplicate_of IS NULL
        AND status_code <> 'ERROR'
        AND coalesce(parent_kind, '') <> 'PRODUCER'
        AND entry_kind <> 'UNSPECIFIED'
        AND tiling_span_id <> span_id
), measured AS (
    -- Requests that waited for a connection of a full pool, as the process says itself
    -- (`timesink-otel`).
    SELECT DISTINCT trace_id, entry_span_id, TRUE AS is_measured
    FROM spans_with_facts
    WHERE scope_name = 'timesink_otel' AND name = 'timesink.pool.wait'
), openings AS (
    -- Where no other request is open nobody is waited for, so a long checkout opens a connection;
    -- where others are it may be a wait for the pool. The time before the first statement, in which
    -- the connection is made, counts up to what a connection may take; between them all of it. A
    -- checkout has none: it is that time.
    SELECT
        statements.service_name,
        statements.endpoint,
        statements.trace_id,
        statements.span_id,
        statements.entry_span_id,
        statements.tiling_span_id,
        statements.system,
        is_setup,
        is_checkout AND (open_entries > 1 OR is_measured IS NOT NULL) AS is_undecided,
        critical_nanos + CASE
            WHEN is_checkout THEN 0
            ELSE least(greatest(pause_nanos, coalesce(lead_nanos, 0)), before_millis_max * 1000000)
        END AS setup_nanos,
        tiling_duration_nanos,
        statements.start_time_unix_nano,
        code_file_path,
        code_line_number,
        setup_millis_min,
        entry_share_min,
        requests_min,
        opening_share_min
    FROM statements
    JOIN params USING (service_name, endpoint, kind)
    LEFT JOIN measured USING (trace_id, entry_span_id)
    LEFT JOIN (
        -- The uncovered time before the first operation of a request or of a span within it.
        SELECT
            trace_id,
            span_id AS parent_span_id,
            start_time_unix_nano + nanos AS start_time_unix_nano,
            critical_nanos - least(stalled_nanos, critical_nanos) AS lead_nanos
        FROM gaps
        WHERE position = 'lead'
    ) AS leads USING (trace_id, parent_span_id, start_time_unix_nano)
    WHERE
        (is_setup OR is_checkout)
        AND (is_setup OR taken_nanos >= setup_millis_min * 1000000)
), requests AS (
    SELECT
        service_name,
        min(endpoint) AS endpoint,
        trace_id,
        system,
        bool_and(is_undecided) AS is_undecided,
        bool_or(is_setup) AS is_by_statement,
        first_value(span_id ORDER BY is_undecided, start_time_unix_nano, span_id) AS span_id,
        first_value(code_file_path ORDER BY is_undecided, start_time_unix_nano, span_id)
            AS code_file_path,
        first_value(code_line_number ORDER BY is_undecided, start_time_unix_nano, span_id)
            AS code_line_number,
        sum(CASE WHEN is_undecided THEN 0 ELSE setup_nanos END) AS setup_nanos,
        max(tiling_duration_nanos) AS entry_nanos,
        max(setup_millis_min) AS setup_millis_min,
        max(entry_share_min) AS entry_share_min,
        max(requests_min) AS requests_min,
        max(opening_share_min) AS opening_share_min
    FROM openings
    GROUP BY service_name, trace_id, entry_span_id, tiling_span_id, system
), endpoints AS (
    SELECT
        service_name,
        endpoint,
        system,
        count(*) FILTER (WHERE is_undecided) AS undecided,
        count(*) FILTER (WHERE NOT is_undecided) AS opening,
        max(opening_share_min) AS opening_share_min
    FROM requests
    GROUP BY service_name, endpoint, system
    HAVING
        count(*) FILTER (WHERE NOT is_undecided) >= max(requests_min)
        AND median(setup_nanos) FILTER (WHERE NOT is_undecided) >= max(setup_millis_min) * 1000000
        AND median(setup_nanos) FILTER (WHERE NOT is_undecided)
            >= max(entry_share_min) * median(entry_nanos) FILTER (WHERE NOT is_undecided)
), places AS (
    -- The endpoints where it is the rule.
    SELECT
        service_name,
        endpoint,
        system,
        max(opening) AS opening,
        count(DISTINCT concat(trace_id, entry_span_id, tiling_span_id)) - max(undecided) AS seen
    FROM statements
    JOIN endpoints USING (service_name, endpoint, system)
    GROUP BY service_name, endpoint, system
    HAVING
        max(opening) >= max(opening_share_min)
            * (count(DISTINCT concat(trace_id, entry_span_id, tiling_span_id)) - max(undecided))
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
    places.opening,
    places.seen,
    requests.code_file_path,
    requests.code_line_number
FROM requests
JOIN places USING (service_name, endpoint, system)
WHERE NOT requests.is_undecided AND requests.setup_nanos > 0
ORDER BY wasted_nanos DESC, requests.trace_id, requests.span_id
