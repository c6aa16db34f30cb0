-- One row for each service and thing that its spans lose to a limit.
WITH lost AS (
    -- What SDKs say that they dropped.
    SELECT
        service_name, endpoint, kind, trace_id, span_id,
        'attributes' AS what,
        dropped_attributes_count AS lost
    FROM spans_with_facts
    WHERE dropped_attributes_count > 0
    UNION ALL
    SELECT
        service_name, endpoint, kind, trace_id, span_id,
        'events' AS what,
        dropped_events_count AS lost
    FROM spans_with_facts
    WHERE dropped_events_count > 0
    UNION ALL
    SELECT
        service_name, endpoint, kind, trace_id, span_id,
        'links' AS what,
        dropped_links_count AS lost
    FROM spans_with_facts
    WHERE dropped_links_count > 0
    UNION ALL
    SELECT
        service_name, endpoint, kind, trace_id, span_id,
        'attributes of their resource' AS what,
        resource_dropped_attributes_count AS lost
    FROM spans_with_facts
    WHERE resource_dropped_attributes_count > 0
), services AS (
    SELECT service_name, count(*) AS spans
    FROM spans_with_facts
    GROUP BY service_name
), statements AS (
    -- Statements without literals, which are as long as they arrived.
    SELECT
        service_name, endpoint, kind, trace_id, span_id, query_shape,
        character_length(db_query_text) AS chars,
        max(character_length(db_query_text)) OVER (PARTITION BY service_name) AS chars_max
    FROM spans_with_facts
    WHERE kind = 'CLIENT' AND query_shape IS NOT NULL AND literals_hash IS NULL
), things AS (
    SELECT
        lost.service_name,
        lost.what,
        count(*) AS cut,
        max(services.spans) AS spans,
        sum(lost.lost) AS lost,
        2 AS statements,
        1000000 AS chars,
        first_value(lost.trace_id ORDER BY lost.endpoint, lost.trace_id, lost.span_id) AS trace_id,
        first_value(lost.span_id ORDER BY lost.endpoint, lost.trace_id, lost.span_id) AS span_id,
        first_value(lost.endpoint ORDER BY lost.endpoint, lost.trace_id, lost.span_id) AS endpoint,
        first_value(lost.kind ORDER BY lost.endpoint, lost.trace_id, lost.span_id) AS kind
    FROM lost
    JOIN services USING (service_name)
    GROUP BY lost.service_name, lost.what
    UNION ALL
    SELECT
        statements.service_name,
        'the end of their statements' AS what,
        count(*) AS cut,
        max(services.spans) AS spans,
        max(statements.chars) AS lost,
        count(DISTINCT statements.query_shape) AS statements,
        max(statements.chars) AS chars,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM statements
    JOIN services USING (service_name)
    WHERE statements.chars = statements.chars_max
    GROUP BY statements.service_name
)
SELECT
    things.service_name,
    things.trace_id,
    things.span_id,
    things.what AS subject,
    things.cut AS occurrences,
    0 AS wasted_nanos,
    CASE
        WHEN things.what = 'the end of their statements' THEN 'likely'
        ELSE 'certain'
    END AS confidence,
    CASE
        WHEN things.what = 'the end of their statements'
            THEN 'different statements end after the same number of characters, and none is longer'
        ELSE 'the SDK counts what it drops'
    END AS confidence_reason,
    things.what,
    CASE things.what
        WHEN 'attributes'
            THEN 'which ones is not said, and rules that ask for one that is lost say nothing of that span'
        WHEN 'events'
            THEN 'of a span with many events some are gone, exceptions perhaps among them'
        WHEN 'links'
            THEN 'messages of a batch are no longer connected to those who sent them'
        WHEN 'attributes of their resource'
            THEN 'the service, its version or its process may be among them'
        ELSE 'statements that differ in their end are one, and what is asked for at the end, LIMIT for example, is not seen'
    END AS hides,
    things.cut,
    things.spans,
    things.lost
FROM things
JOIN params
    ON params.service_name = things.service_name
    AND params.endpoint = things.endpoint
    AND params.kind = things.kind
WHERE
    things.cut >= cut_min
    AND (
        things.what <> 'the end of their statements'
        OR (things.statements >= statements_min AND things.chars >= statement_chars_min)
    )
ORDER BY things.service_name, things.what
