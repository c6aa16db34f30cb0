"""Spans, marks and the watchdog go on in forked processes."""

from __future__ import annotations

import subprocess

from support import (
    BLOCKED,
    SERVICES,
    free_port,
    get,
    instrumented,
    listens,
    prefork_service,
    service_environment,
)


def test_watchdog_works_before_and_after_a_fork_in_both_processes(collector):
    command, env = instrumented("python", "forking.py"), service_environment(collector)
    subprocess.run(command, cwd=SERVICES, env=env, check=True, timeout=60)
    owners = {span["span_id"]: span["name"] for span in collector.spans}
    assert sorted(owners[b["parent"]] for b in collector.named(BLOCKED)) == [
        "child",
        "parent",
        "parent again",
    ]
    first = {
        s["name"] for s in collector.spans if s["attributes"].get("timesink.process.first_request")
    }
    assert first == {"parent", "child"}


def test_gunicorn_workers_have_spans_marks_and_blocks_of_their_own(collector):
    port = free_port()
    command = ["gunicorn", "--preload", "--workers", "2", "--bind"]
    command += ["127.0.0.1:%d" % port, "gunicorn_app:flask"]
    with prefork_service(collector, command, lambda: listens(port)) as process:
        pids = [get(port, "/pid").decode() for _ in range(12)]
    assert str(process.pid) not in pids
    requests = [s for s in collector.spans if s["kind"] == 2]
    assert len(requests) == len(pids)
    marked = [s for s in requests if s["attributes"].get("timesink.process.first_request")]
    assert len(marked) == len(set(pids))
    # Each worker's watchdog; a stalled machine may cost one.
    assert len(pids) - 1 <= len(collector.named(BLOCKED)) <= len(pids)
