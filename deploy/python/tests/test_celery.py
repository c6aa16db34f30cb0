"""A real Celery worker that forks its processes, and a real producer."""

from __future__ import annotations

import json
import os
import subprocess

from support import (
    BLOCKED,
    DEADLINE_SECONDS,
    SERVICES,
    instrumented,
    line_of,
    prefork_service,
    service_environment,
)

COUNT = 4
WORKER = "celery -A celery_app worker --pool prefork --concurrency 2 --without-gossip".split()
PRODUCER, CONSUMER = 4, 5


def test_prefork_worker_does_all_its_tasks_and_keeps_its_spans(collector, tmp_path):
    known = {"TESTED_FOLDER": str(tmp_path), "TIMESINK_DETAIL_PER_SECOND_MAX": "100"}
    with prefork_service(collector, WORKER, (tmp_path / "ready").exists, **known) as worker:
        results = results_of_producer(collector, known)
    pids = {pid for pid, _ in results}
    assert [number for _, number in results] == [*range(COUNT), *range(COUNT), 0]
    assert worker.pid not in pids and os.getpid() not in pids
    check_tasks(collector, pids)
    check_own_spans(collector)


def results_of_producer(collector, known):
    done = subprocess.run(
        instrumented("python", "celery_app.py", str(COUNT)),
        cwd=SERVICES,
        env=service_environment(collector, **known),
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_tasks(collector, pids):
    sent = {s["span_id"]: s["attributes"] for s in collector.spans if s["kind"] == PRODUCER}
    run = [s for s in collector.spans if s["kind"] == CONSUMER]
    assert sorted(s["parent"] for s in run) == sorted(sent)
    assert sorted(s["name"] for s in run) == (
        COUNT * ["run/block"] + COUNT * ["run/encode"] + ["run/fail"]
    )
    first = [s for s in run if s["attributes"].get("timesink.process.first_request")]
    assert len(first) == len(pids)
    assert {s["attributes"].get("thread.name") for s in run} - {None} == {"MainThread"}
    lines = [attributes["code.line.number"] for attributes in sent.values()]
    assert lines.count(line_of(SERVICES / "celery_app.py", "send")) == 2 * COUNT


def check_own_spans(collector):
    """Each forked process has probes and a watchdog that work."""
    names = {span["span_id"]: span["name"] for span in collector.spans}
    blocks = collector.named(BLOCKED)
    # A stalled machine may cost one.
    assert COUNT - 1 <= len(blocks) <= COUNT
    encoded = collector.named("timesink.serialize")
    # Celery's own serialization of a result may take long on a busy machine: that has no line.
    encoded = [s for s in encoded if "code.line.number" in s["attributes"]]
    assert len(encoded) == COUNT
    assert {names[s["parent"]] for s in encoded} == {"run/encode"}
    assert {names[s["parent"]] for s in blocks} == {"on loop"}
    for spans, mark in ((blocks, "block"), (encoded, "encode")):
        lines = {s["attributes"]["code.line.number"] for s in spans}
        assert lines == {line_of(SERVICES / "celery_app.py", mark)}
