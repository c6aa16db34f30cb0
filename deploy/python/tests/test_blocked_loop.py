"""Real services under `opentelemetry-instrument`, one client: every block certain, with its line."""

from __future__ import annotations

import pytest
from services.blocking import CULPRITS, TWINS
from support import BIN, SERVICES, free_port, get, line_of, service, wait_for

BLOCKED = "timesink.event_loop.blocked"
REQUESTS = 4

# uvicorn with each loop, and aiohttp's own server.
STARTS = {
    "fastapi-asyncio": lambda port: uvicorn(port, "asyncio"),
    "fastapi-uvloop": lambda port: uvicorn(port, "uvloop"),
    "aiohttp": lambda port: [str(BIN / "python"), "aiohttp_app.py", str(port)],
}


def uvicorn(port, loop):
    app = ["fastapi_app:app", "--port", str(port), "--loop", loop, "--log-level", "warning"]
    return [str(BIN / "uvicorn"), *app]


@pytest.mark.parametrize("start", STARTS)
def test_every_block_is_found_with_its_line_and_every_twin_is_silent(collector, start):
    port = free_port()
    with service(collector, STARTS[start](port), port):
        for path in [*CULPRITS, *TWINS]:
            # The first request to a place imports and connects, which does block.
            for _ in range(1 + REQUESTS):
                get(port, "/" + path)
    for path, mark in CULPRITS.items():
        check_culprit(collector, path, mark)
    for path in TWINS:
        assert not blocks_of(collector, path), path


def check_culprit(collector, path, mark):
    blocks = [b for b in blocks_of(collector, path) if "code.line.number" in b["attributes"]]
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
        assert 1 <= attributes["timesink.event_loop.samples"]
        assert attributes["timesink.event_loop.lag"] == pytest.approx(
            (block["end"] - block["start"]) / 1e9, abs=1e-3
        )


def blocks_of(collector, path):
    """The blocks that lie within a request for this path, by thread and by at least half their time."""
    found = []
    for request in requests_of(collector, path):
        for block in collector.named(BLOCKED):
            overlap = min(request["end"], block["end"]) - max(request["start"], block["start"])
            same = block["attributes"]["thread.id"] == request["attributes"]["thread.id"]
            if same and block["end"] - block["start"] <= 2 * overlap:
                assert not block["parent"] or block["trace_id"] == request["trace_id"]
                found.append(block)
    return found


def requests_of(collector, path):
    requests = [s for s in collector.spans if s["kind"] == 2 and s["name"].endswith("/" + path)]
    assert len(requests) == 1 + REQUESTS, (path, len(requests))
    assert all(r["attributes"]["timesink.event_loop"] is True for r in requests)
    return sorted(requests, key=lambda r: r["start"])[1:]


def test_sync_handler_of_fastapi_is_no_block(collector):
    port = free_port()
    with service(collector, uvicorn(port, "asyncio"), port):
        get(port, "/sync_twin")
        get(port, "/sleep")
        assert wait_for(lambda: collector.named(BLOCKED))
    # The import of AnyIO's backend in the first request blocks too, in nobody's code.
    functions = {b["attributes"].get("code.function.name") for b in collector.named(BLOCKED)}
    assert functions - {None} == {"blocking.sleep"}


def test_client_spans_name_the_line_that_calls(collector):
    port = free_port()
    with service(collector, uvicorn(port, "asyncio"), port):
        get(port, "/call")
        get(port, "/query")
    calls = {span["scope"]: span["attributes"] for span in collector.spans if span["kind"] == 3}
    for scope, mark in (("requests", "call"), ("sqlite3", "query")):
        attributes = calls["opentelemetry.instrumentation." + scope]
        assert attributes["code.file.path"] == "blocking.py"
        assert attributes["code.line.number"] == line_of(SERVICES / "blocking.py", mark)
        assert attributes["code.function.name"] == "blocking." + mark


def test_probes_that_are_switched_off_leave_no_trace(collector):
    port = free_port()
    with service(collector, uvicorn(port, "asyncio"), port, TIMESINK_PROBES="none"):
        get(port, "/sleep")
    requests = [s for s in collector.spans if s["kind"] == 2]
    assert requests
    assert not any(name.startswith(("thread.", "timesink.", "code.")) for s in requests for name in s["attributes"])
    assert not collector.named(BLOCKED)
