"""The service never notices: not a failure of ours, not a patch, not our absence."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import subprocess
import sys
import time

import pytest

import timesink_otel
from support import BLOCKED, warnings_in
from timesink_otel.probes import PROBES


def failing(*args, **kwargs):
    raise ValueError("ours")


def test_watchdog_that_raises_is_told_once_and_the_loop_gets_its_selector_back(
    companion, monkeypatch, caplog
):
    probe = timesink_otel._companion.probes["event_loop"]
    monkeypatch.setattr(probe, "_judge_ended", failing)

    async def main():
        for _ in range(3):
            with companion.tracer.start_as_current_span("request"):
                time.sleep(0.06)
                await asyncio.sleep(0.01)
        return vars(asyncio.get_running_loop()._selector)

    assert "select" not in asyncio.run(main())
    assert len(warnings_in(caplog)) == 1
    assert len(companion.named("request")) == 3
    assert not companion.named(BLOCKED)


@pytest.mark.parametrize("wraps_ours", [True, False])
def test_selector_that_somebody_else_wrapped_keeps_that(recorded, wraps_ours):
    async def main():
        selector = asyncio.get_running_loop()._selector
        select = selector.select

        def other(timeout=None):
            return select(timeout)

        if not wraps_ours:
            selector.select = other
        timesink_otel.install(recorded.provider)
        recorded.tracer.start_span("s").end()
        assert selector.select is not other
        if wraps_ours:
            select, selector.select = selector.select, other
        timesink_otel.uninstall()
        assert vars(selector)["select"] is other
        await asyncio.sleep(0.001)

    asyncio.run(main())


def test_exceptions_and_results_pass_untouched(companion):
    with pytest.raises(TypeError, match="not JSON serializable"):
        json.dumps(object())
    assert json.dumps({1: 2}, indent=1, sort_keys=True) == '{\n "1": 2\n}'


def test_uninstall_leaves_nothing_behind(recorded):
    encode, find, callbacks = (
        json.JSONEncoder.encode,
        importlib._bootstrap._find_and_load,
        list(gc.callbacks),
    )
    timesink_otel.install(recorded.provider)
    assert json.JSONEncoder.encode is not encode
    timesink_otel.uninstall()
    assert json.JSONEncoder.encode is encode
    assert importlib._bootstrap._find_and_load is find
    assert gc.callbacks == callbacks
    recorded.tracer.start_span("after").end()
    assert not recorded.spans[0].attributes


EVERY_PATCH = """
import importlib, sys
sys.path.insert(0, %r)
from conftest import Recorded
from django.conf import settings
settings.configure(INSTALLED_APPS=["rest_framework"])
import django
django.setup()
for name in (
    "anyio._backends._asyncio", "asgiref.sync", "asyncpg.pool", "fastapi.routing", "orjson",
    "psycopg_pool.pool", "psycopg_pool.pool_async", "pydantic.main", "rest_framework.serializers",
    "sqlalchemy.pool.impl", "opentelemetry.instrumentation.asgi",
    "opentelemetry.instrumentation.dbapi", "opentelemetry.instrumentation.wsgi",
    "opentelemetry.instrumentation.django.middleware.otel_middleware",
    "opentelemetry.instrumentation.sqlalchemy.engine",
):
    importlib.import_module(name)
import timesink_otel
from timesink_otel.patches import Patches

replaced, before = {}, Patches.replace

def replace(self, owner, name, wrap):
    was = vars(owner).get(name)
    before(self, owner, name, wrap)
    if vars(owner).get(name) is not was:
        replaced.setdefault((owner, name), (self._probe.name, was))

Patches.replace = replace
for _ in range(2):
    timesink_otel.install(Recorded().provider)
    for (owner, name), (probe, was) in replaced.items():
        assert vars(owner)[name] is not was, (owner, name)
    timesink_otel.uninstall()
    for (owner, name), (probe, was) in replaced.items():
        assert vars(owner)[name] is was, (owner, name)
print(len(replaced), *sorted({probe for probe, was in replaced.values()}))
""" % os.path.dirname(__file__)

# Those that replace nothing, and what of the interpreter they change is looked at above.
WITHOUT_PATCHES = {"thread", "code", "first_request", "event_loop", "gc", "imports"}


def test_uninstall_undoes_every_patch_of_every_probe():
    output = subprocess.run(
        [sys.executable, "-c", EVERY_PATCH], capture_output=True, text=True, timeout=120
    )
    assert output.returncode == 0, output.stderr
    number, *probes = output.stdout.split()
    assert set(probes) == {kind.name for kind in PROBES} - WITHOUT_PATCHES
    assert 20 <= int(number)


def test_second_install_does_nothing(companion):
    timesink_otel.install(companion.provider)
    encode = json.JSONEncoder.encode
    assert not hasattr(encode.__wrapped__, "__wrapped__")


def test_probes_can_be_chosen_and_left_out(recorded, monkeypatch, caplog):
    monkeypatch.setenv("TIMESINK_PROBES", "thread, code,-code,typo")
    timesink_otel.install(recorded.provider)
    try:
        on = [name for name, probe in timesink_otel._companion.probes.items() if probe.on]
        assert on == ["thread"]
        assert "no timesink-otel probe `typo`" in warnings_in(caplog)[0]
    finally:
        timesink_otel.uninstall()


def test_floor_that_is_no_number_is_told_and_ignored(monkeypatch, caplog):
    monkeypatch.setenv("TIMESINK_BLOCKED_MILLIS_MIN", "nan")
    from timesink_otel.settings import Settings

    assert Settings.from_environment().blocked_nanos_min == 20_000_000
    assert "`TIMESINK_BLOCKED_MILLIS_MIN` must be a number above 0" in warnings_in(caplog)[0]


def test_provider_that_is_set_after_install_gets_the_processor():
    script = """
import sys
sys.path.insert(0, %r)
import timesink_otel
timesink_otel.install()
from conftest import Recorded
from opentelemetry.trace import set_tracer_provider
early = __import__("opentelemetry.trace", fromlist=["x"]).get_tracer("early")
recorded = Recorded()
set_tracer_provider(recorded.provider)
early.start_span("one").end()
assert recorded.spans[0].attributes["thread.name"] == "MainThread", recorded.spans
""" % os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_patches_wait_for_their_module(recorded):
    script = """
import sys
sys.path.insert(0, %r)
import timesink_otel
timesink_otel.install()
for module in ("orjson", "pydantic", "sqlalchemy", "anyio", "fastapi", "asyncpg", "django"):
    assert module not in sys.modules, module
from orjson import dumps
assert hasattr(dumps, "__wrapped__")
assert dumps({"a": 1}) == b'{"a":1}'
""" % os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
