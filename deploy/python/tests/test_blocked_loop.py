"""Real services under `opentelemetry-instrument`, one client: every block and its line."""

from __future__ import annotations

import itertools
import json
import time

import pytest

from services.blocking import CULPRITS, TWINS
from support import (
    BLOCKED,
    DEADLINE_SECONDS,
    SERVICES,
    blocks_within,
    free_port,
    get,
    line_of,
    requests_of,
    service,
    uvicorn,
)

REQUESTS = 4
# More than the half from which on a block is the loop's own doing.
FAIR_SHARE = 0.6
# The function of a library in which the user's line waits: none where it waits in C.
CALLEES = {"call": "requests.api.get", "sleep": None}

# uvicorn with each loop, and aiohttp's own server.
STARTS = {
    "fastapi-asyncio": lambda port: uvicorn("fastapi_app:app", port, "asyncio"),
    "fastapi-uvloop": lambda port: uvicorn("fastapi_app:app", port, "uvloop"),
    "aiohttp": lambda port: ["python", "aiohttp_app.py", str(port)],
}


@pytest.mark.parametrize("start", STARTS)
def test_every_block_is_found_with_its_line_and_every_twin_is_silent(collector, start):
    port = free_port()
    with service(collector, STARTS[start](port), port):
        fair = {path: ask(port, path) for path in [*CULPRITS, *TWINS]}
    for path, mark in CULPRITS.items():
        check_culprit(blocks_of(collector, path, fair[path]), path, mark)
    for path in TWINS:
        blocks = blocks_of(collector, path, fair[path])
        assert not blocks, (path, [block["attributes"] for block in blocks])


def ask(port, path):
    """Asks until enough requests had the processor; returns of each whether it had.

    C code that keeps the interpreter is judged by processor time. A machine that gives the loop
    less than half of its time is to blame for more than half of the block: nothing is told then.
    """
    # The first request to a place imports and connects, which does block.
    fair, deadline = [False], time.monotonic() + DEADLINE_SECONDS
    get(port, "/" + path)
    while sum(fair) < REQUESTS:
        assert time.monotonic() < deadline, "this machine is too busy for the tests"
        share = json.loads(get(port, "/" + path))["share"]
        fair.append(share is None or FAIR_SHARE <= share)
    return fair


def check_culprit(blocks, path, mark):
    blocks = [b for b in blocks if "code.line.number" in b["attributes"]]
    # Where C code keeps the interpreter, a busy machine lets the one sample come too late now and
    # then: no location then, but never a wrong one. A probe that does not work costs all.
    assert REQUESTS - 2 <= len(blocks), (path, len(blocks))
    for block in blocks:
        attributes = block["attributes"]
        assert attributes["code.file.path"] == "blocking.py", (path, block)
        lines = {line_of(SERVICES / "blocking.py", mark)}
        if mark == "spin":
            lines.add(min(lines) - 1)
        assert attributes["code.line.number"] in lines, path
        if path in CALLEES:
            assert attributes.get("timesink.callee") == CALLEES[path]
        # A serializer keeps the interpreter, and tells its line where no sample came in time.
        assert path == "encode" or 1 <= attributes["timesink.event_loop.samples"], (path, block)
        assert attributes["timesink.event_loop.lag"] == pytest.approx(
            (block["end"] - block["start"]) / 1e9, abs=1e-3
        )


def blocks_of(collector, path, fair):
    """Returns the blocks of the fair requests for this path, which are on their thread."""
    requests = requests_of(collector, path, len(fair))
    # Some say it; the others start where all do.
    told = [r["attributes"] for r in requests if "thread.id" in r["attributes"]]
    assert all(attributes["timesink.event_loop"] is True for attributes in told)
    (thread,) = {attributes["thread.id"] for attributes in told}
    found = []
    for request in itertools.compress(requests, fair):
        blocks = blocks_within(collector, request)
        assert {block["attributes"]["thread.id"] for block in blocks} <= {thread}
        found += blocks
    return found


def test_sync_handler_is_no_block_and_client_spans_name_the_line_that_calls(collector):
    port = free_port()
    with service(collector, uvicorn("fastapi_app:app", port), port):
        for path in ("sync_twin", "sleep", "call", "query"):
            get(port, "/" + path)
    # The import of AnyIO's backend in the first request blocks too, in nobody's code.
    functions = {b["attributes"].get("code.function.name") for b in collector.named(BLOCKED)}
    assert functions - {None} == {"blocking.sleep", "blocking.call", "blocking.query"}
    calls = {span["scope"]: span["attributes"] for span in collector.spans if span["kind"] == 3}
    for scope, mark in (("requests", "call"), ("sqlite3", "query")):
        attributes = calls["opentelemetry.instrumentation." + scope]
        assert attributes["code.file.path"] == "blocking.py"
        assert attributes["code.line.number"] == line_of(SERVICES / "blocking.py", mark)
        assert attributes["code.function.name"] == "blocking." + mark


def test_probes_that_are_switched_off_leave_no_trace(collector):
    port = free_port()
    with service(collector, uvicorn("fastapi_app:app", port), port, TIMESINK_PROBES="none"):
        get(port, "/sleep")
    requests_of(collector, "sleep", 1)
    names = {name for span in collector.spans for name in span["attributes"]}
    assert not [n for n in names if n.startswith(("thread.", "timesink.", "code."))]
    assert "timesink_otel" not in {span["scope"] for span in collector.spans}
