-- One row for each service and database product whose repeated statements hide their parameters.
WITH repeated AS (
    -- One statement several times in one request, with placeholders, and with the same literals each
    -- time, such as a LIMIT.
    SELECT
        service_name,
        db_system_name AS system,
        query_shape,
        trace_id,
        entry_span_id,
        count(*) AS repeats,
        min(span_id) AS span_id,
        min(endpoint) AS endpoint
    FROM db_client_spans
    WHERE
        db_system_name IS NOT NULL
        AND NOT is_batch
        AND db_statement_parameters IS NULL
        AND regexp_like(db_query_text, '%s|%\([A-Za-z_]|\$[0-9]|\?|[ (=,]:[A-Za-z_]|@[A-Za-z_]')
    GROUP BY service_name, db_system_name, query_shape, trace_id, entry_span_id
    -- All without literals, or all with the same ones.
    HAVING count(DISTINCT literals_hash) + count(DISTINCT literals_hash IS NULL) <= 2
), judged AS (
    SELECT
        repeated.service_name,
        repeated.system,
        repeated.query_shape,
        repeated.trace_id,
        repeated.entry_span_id,
        repeated.span_id,
        repeated.repeats,
        repeated.endpoint
    FROM repeated
    JOIN params
        ON params.service_name = repeated.service_name
        AND params.endpoint = repeated.endpoint
        AND params.kind = 'CLIENT'
    WHERE repeated.repeats >= repeats_min
)
SELECT
    service_name,
    first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
    first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
    concat(system, ' parameters') AS subject,
    sum(repeats) AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'the statements have placeholders, and differ in nothing' AS confidence_reason,
    system,
    count(DISTINCT query_shape) AS statements,
    max(repeats) AS repeats_most,
    count(DISTINCT concat(trace_id, entry_span_id)) AS requests
FROM judged
GROUP BY service_name, system
ORDER BY service_name, system
