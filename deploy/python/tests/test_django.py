"""Django under ASGI, in a real server: its middleware makes the request's span in a thread."""

from __future__ import annotations

import pytest

from support import (
    SERVICES,
    blocks_within,
    free_port,
    get,
    line_of,
    requests_of,
    service,
    uvicorn,
)

REQUESTS = 3
TWINS = ("waiting", "in_thread", "sync")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_view_that_blocks_the_loop_is_told_and_one_in_a_thread_is_not(collector, loop):
    port = free_port()
    settings = {"DJANGO_SETTINGS_MODULE": "django_settings"}
    with service(collector, uvicorn("django_app:application", port, loop), port, **settings):
        for path in ("blocking", *TWINS) * (1 + REQUESTS):
            assert get(port, "/" + path).decode() == path
    line = line_of(SERVICES / "django_app.py", "blocking")
    assert places_of_blocks(collector, "blocking") == REQUESTS * [("django_app.py", line)]
    for path in TWINS:
        assert not places_of_blocks(collector, path), path


def places_of_blocks(collector, path):
    """Leaves out the first request, which imports and resolves for the first time."""
    blocks = []
    for request in requests_of(collector, path, 1 + REQUESTS)[1:]:
        found = blocks_within(collector, request)
        assert {block["parent"] for block in found} <= {request["span_id"]}
        blocks += [block["attributes"] for block in found]
    return [(b.get("code.file.path"), b.get("code.line.number")) for b in blocks]
