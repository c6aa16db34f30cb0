-- One row for each task that waited in its queue, where tasks of its kind do.
WITH sendings AS (
    -- From the end of sending to the beginning of the work. A task that was sent for later waits on
    -- purpose.
    SELECT
        task.service_name,
        task.endpoint,
        task.kind,
        task.trace_id,
        task.span_id,
        task.duration_nanos,
        task.start_time_unix_nano + task.skew_nanos
            - sent.end_time_unix_nano - sent.skew_nanos AS lag_nanos,
        coalesce(task.messaging_destination_name, sent.messaging_destination_name, '') AS queue,
        coalesce(task.host_name = sent.host_name, FALSE)
            OR (task.has_process_identity AND task.process_id = sent.process_id) AS is_one_clock,
        -- A message that comes again was handed out before, and to others as well: only the first
        -- says how long it lay in the queue.
        row_number() OVER (
            PARTITION BY
                task.service_name,
                task.endpoint,
                task.trace_id,
                task.parent_span_id,
                coalesce(task.messaging_message_id, task.span_id)
            ORDER BY task.start_time_unix_nano, task.span_id
        ) AS delivery
    FROM spans_with_facts AS task
    JOIN spans_with_facts AS sent
        ON sent.trace_id = task.trace_id AND sent.span_id = task.parent_span_id
    WHERE
        task.kind = 'CONSUMER'
        AND sent.kind = 'PRODUCER'
        AND task.celery_eta IS NULL
        AND sent.celery_eta IS NULL
        AND task.celery_countdown IS NULL
        AND sent.celery_countdown IS NULL
), tasks AS (
    SELECT sendings.*, lag_millis_min, task_factor_min, tasks_min
    FROM sendings
    JOIN params USING (service_name, endpoint, kind)
    WHERE delivery = 1
), queues AS (
    SELECT
        service_name,
        endpoint,
        queue,
        count(*) AS tasks,
        CAST(median(lag_nanos) AS BIGINT) AS lag_nanos,
        min(lag_nanos) AS lag_least_nanos,
        CAST(median(duration_nanos) AS BIGINT) AS task_nanos,
        bool_and(is_one_clock) AS is_one_clock
    FROM tasks
    GROUP BY service_name, endpoint, queue
    HAVING
        count(*) >= max(tasks_min)
        AND median(lag_nanos) >= max(lag_millis_min) * 1000000
        AND median(lag_nanos) >= max(task_factor_min) * median(duration_nanos)
)
SELECT
    tasks.service_name,
    tasks.trace_id,
    tasks.span_id,
    CASE
        WHEN tasks.queue = '' THEN tasks.endpoint
        ELSE concat(tasks.endpoint, ' in the queue ', tasks.queue)
    END AS subject,
    1 AS occurrences,
    tasks.lag_nanos AS wasted_nanos,
    CASE
        WHEN queues.is_one_clock THEN 'certain'
        WHEN
            -- What is the same in all of them may be the difference of two clocks.
            queues.lag_nanos - queues.lag_least_nanos < tasks.lag_millis_min * 1000000
            OR (
                queues.lag_least_nanos < -50000000
                AND queues.lag_nanos < -10 * queues.lag_least_nanos
            )
            THEN 'possible'
        ELSE 'likely'
    END AS confidence,
    CASE
        WHEN queues.is_one_clock THEN 'sender and worker run on one host and read one clock'
        WHEN
            queues.lag_least_nanos < -50000000
            AND queues.lag_nanos < -10 * queues.lag_least_nanos
            THEN 'some tasks begin before they were sent: the clocks of sender and worker differ'
        WHEN queues.lag_nanos - queues.lag_least_nanos < tasks.lag_millis_min * 1000000
            THEN 'all tasks begin about equally late: if sender and worker run on two hosts, it may as well be the difference of their clocks'
        ELSE 'some tasks begin far later than others, which a difference between two clocks does not explain; it may make the times too long or too short'
    END AS confidence_reason,
    queues.lag_nanos,
    queues.lag_least_nanos,
    tasks.lag_nanos AS lag_most_nanos,
    queues.task_nanos,
    queues.tasks,
    CASE WHEN tasks.queue <> '' THEN tasks.queue END AS queue
FROM tasks
JOIN queues USING (service_name, endpoint, queue)
WHERE tasks.lag_nanos >= tasks.lag_millis_min * 1000000
ORDER BY wasted_nanos DESC, tasks.trace_id, tasks.span_id
