-- One row for each service and sign that its requests are a sample of unknown size.
WITH requests AS (
    SELECT
        service_name,
        endpoint,
        kind,
        trace_id,
        span_id,
        adjusted_count,
        CASE
            WHEN adjusted_count IS NOT NULL THEN NULL
            -- The tail sampling processor says which of its policies kept the trace.
            WHEN attributes['tailsampling.policy'] IS NOT NULL
                OR scope_attributes['tailsampling.policy'] IS NOT NULL
                THEN 'tail sampling'
            WHEN regexp_like(coalesce(trace_state, ''), '(^|[,;])[ ]*ot=[^,]*th:')
                THEN 'a threshold that is not allowed'
            -- Jaeger's clients say how they drew lots.
            WHEN attributes['sampler.type'] IN ('probabilistic', 'ratelimiting', 'lowerbound')
                THEN 'a sampler without a threshold'
            WHEN regexp_like(coalesce(trace_state, ''), '(^|,)[ ]*ot=')
                THEN 'a trace state without a threshold'
        END AS sign
    FROM spans_with_facts
    WHERE entry_span_id = span_id
), mixed AS (
    -- A part of the requests says what it stands for: then the others have to, as well.
    SELECT
        service_name,
        count(*) AS requests,
        coalesce(max(adjusted_count), 1) > 1 AS is_sampled
    FROM requests
    GROUP BY service_name
), signs AS (
    SELECT
        requests.service_name,
        requests.endpoint,
        requests.kind,
        requests.trace_id,
        requests.span_id,
        mixed.requests,
        CASE
            WHEN requests.sign IS NOT NULL THEN requests.sign
            WHEN mixed.is_sampled AND requests.adjusted_count IS NULL
                THEN 'a threshold in some of the requests only'
        END AS sign
    FROM requests
    JOIN mixed USING (service_name)
), services AS (
    SELECT
        service_name,
        sign,
        max(requests) AS requests,
        count(*) AS unweighted,
        first_value(trace_id ORDER BY endpoint, trace_id, span_id) AS trace_id,
        first_value(span_id ORDER BY endpoint, trace_id, span_id) AS span_id,
        first_value(endpoint ORDER BY endpoint, trace_id, span_id) AS endpoint,
        first_value(kind ORDER BY endpoint, trace_id, span_id) AS kind
    FROM signs
    WHERE sign IS NOT NULL
    GROUP BY service_name, sign
)
SELECT
    services.service_name,
    services.trace_id,
    services.span_id,
    services.sign AS subject,
    services.unweighted AS occurrences,
    0 AS wasted_nanos,
    'certain' AS confidence,
    'the spans say so themselves' AS confidence_reason,
    CASE services.sign
        WHEN 'tail sampling'
            THEN 'A policy of the tail sampling processor kept these traces, by what happened in them'
        WHEN 'a threshold that is not allowed'
            THEN 'The trace state has ot=th: with a threshold that is not of 1 to 14 hexadecimal digits'
        WHEN 'a sampler without a threshold'
            THEN 'The attribute sampler.type says that lots were drawn, and no trace state says with what probability'
        WHEN 'a trace state without a threshold'
            THEN 'The trace state has an entry ot= of a sampler, and no th: in it'
        ELSE 'Some requests say in their trace state what they stand for, and others do not'
    END AS what,
    services.unweighted,
    services.requests
FROM services
JOIN params
    ON params.service_name = services.service_name
    AND params.endpoint = services.endpoint
    AND params.kind = services.kind
WHERE services.unweighted >= unweighted_min
ORDER BY services.service_name, services.sign
