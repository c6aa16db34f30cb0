-- One row for each service and pair of instrumentations that record one thing twice.
WITH doubles AS (
    -- Queries that two instrumentations saw.
    SELECT
        inner_span.service_name,
        inner_span.endpoint,
        inner_span.kind,
        inner_span.trace_id,
        inner_span.span_id,
        'queries' AS what,
        regexp_replace(coalesce(outer_span.scope_name, 'the application'), '^.*\.', '') AS outer_scope,
        regexp_replace(coalesce(inner_span.scope_name, 'the application'), '^.*\.', '') AS inner_scope
    FROM spans_with_facts AS inner_span
    JOIN spans_with_facts AS outer_span
        ON outer_span.trace_id = inner_span.trace_id
        AND outer_span.span_id = inner_span.duplicate_of
    WHERE coalesce(outer_span.scope_name, '') <> coalesce(inner_span.scope_name, '')
    UNION ALL
    -- Requests that two layers of one process saw: a server span right below another.
    SELECT
        inner_span.service_name,
        inner_span.endpoint,
        inner_span.kind,
        inner_span.trace_id,
        inner_span.span_id,
        'requests' AS what,
        regexp_replace(coalesce(outer_span.scope_name, 'the application'), '^.*\.', '') AS outer_scope,
        regexp_replace(coalesce(inner_span.scope_name, 'the application'), '^.*\.', '') AS inner_scope
    FROM spans_with_facts AS inner_span
    JOIN spans_with_facts AS outer_span
        ON outer_span.trace_id = inner_span.trace_id
        AND outer_span.span_id = inner_span.parent_span_id
    WHERE
        inner_span.kind = 'SERVER'
        AND outer_span.kind = 'SERVER'
        AND inner_span.process_id = outer_span.process_id
        AND inner_span.http_request_method = outer_span.http_request_method
        AND coalesce(outer_span.scope_name, '') <> coalesce(inner_span.scope_name, '')
), pairs AS (
    SELECT
        service_name,
        what,
        outer_scope,
        inner_scope,
        count(*) AS twice,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM doubles
    GROUP BY service_name, what, outer_scope, inner_scope
), recorded AS (
    -- What each instrumentation records of queries and of requests.
    SELECT
        service_name,
        CASE WHEN kind = 'SERVER' THEN 'requests' ELSE 'queries' END AS what,
        regexp_replace(coalesce(scope_name, 'the application'), '^.*\.', '') AS scope,
        count(*) AS spans
    FROM spans_with_facts
    WHERE kind = 'SERVER' OR (kind = 'CLIENT' AND db_query_text IS NOT NULL)
    GROUP BY 1, 2, 3
)
SELECT
    pairs.service_name,
    pairs.trace_id,
    pairs.span_id,
    concat(pairs.outer_scope, ' and ', pairs.inner_scope) AS subject,
    pairs.twice AS occurrences,
    0 AS wasted_nanos,
    'likely' AS confidence,
    CASE pairs.what
        WHEN 'queries' THEN 'one lies within the other and has the same statement'
        ELSE 'one lies right below the other in the same process and has the same method'
    END AS confidence_reason,
    pairs.what,
    pairs.outer_scope AS outer,
    pairs.inner_scope AS inner,
    pairs.twice,
    CAST(pairs.twice AS DOUBLE) / recorded.spans AS inner_share
FROM pairs
JOIN recorded
    ON recorded.service_name = pairs.service_name
    AND recorded.what = pairs.what
    AND recorded.scope = pairs.inner_scope
JOIN params
    ON params.service_name = pairs.service_name
    AND params.endpoint = pairs.endpoint
    AND params.kind = pairs.kind
WHERE pairs.twice >= twice_min
ORDER BY pairs.service_name, subject
