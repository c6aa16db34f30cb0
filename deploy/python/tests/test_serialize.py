"""Serialization above the floor is one span, whoever calls whom."""

from __future__ import annotations

import asyncio
import copy
import inspect
import io
import json
import pickle
import subprocess
import sys
import threading
import time

import fastapi
import fastapi.testclient
import orjson
import pydantic
import pytest

import timesink_otel
from timesink_otel.probes.serialize import async_serializer

ROWS = [{"id": i, "name": "x" * 20} for i in range(60_000)]


@pytest.fixture
def sensitive(recorded, monkeypatch):
    """A floor of a microsecond: everything that is recorded at all is recorded."""
    monkeypatch.setenv("TIMESINK_SERIALIZE_MILLIS_MIN", "0.001")
    timesink_otel.install(recorded.provider)
    with recorded.tracer.start_as_current_span("request"):
        yield recorded
    timesink_otel.uninstall()


def serializers(recorded):
    return [s.attributes["timesink.callee"] for s in recorded.named("timesink.serialize")]


@pytest.fixture
def insensitive(recorded, monkeypatch):
    """A floor above what a busy machine makes of a microsecond's work."""
    monkeypatch.setenv("TIMESINK_SERIALIZE_MILLIS_MIN", "50")
    timesink_otel.install(recorded.provider)
    with recorded.tracer.start_as_current_span("request"):
        yield recorded
    timesink_otel.uninstall()


def test_serialization_outside_of_a_request_is_not_told(companion):
    """*Scenario*: an exporter writes JSON in its own thread; it would be the root of a trace."""
    json.dumps(ROWS)
    assert not companion.named("timesink.serialize")


def test_json_is_told_above_the_floor_and_not_below(insensitive):
    json.dumps({"a": 1})
    json.dumps(4 * ROWS)
    assert serializers(insensitive) == ["json.dumps"]
    (span,) = insensitive.named("timesink.serialize")
    assert span.attributes["code.function.name"].endswith(
        "test_json_is_told_above_the_floor_and_not_below"
    )


def test_json_dump_and_encoders_of_ones_own_count(sensitive):
    json.dump({"a": 1}, io.StringIO())
    json.dumps({"a": 1}, cls=type("Own", (json.JSONEncoder,), {}))
    assert serializers(sensitive) == ["json.dump", "json.dumps"]


def test_orjson(sensitive):
    orjson.dumps({"a": list(range(1000))})
    assert serializers(sensitive) == ["orjson.dumps"]


def test_orjson_stays_no_method_where_it_is_a_classs_attribute(sensitive):
    """*Scenario*: the JSON provider of a framework, `dumps = orjson.dumps` in its class body."""

    class Coder:
        dumps = orjson.dumps

    rows = list(range(1000))
    assert Coder().dumps(rows) == Coder.dumps(rows) == json.dumps(rows).replace(" ", "").encode()
    assert serializers(sensitive)[:2] == ["orjson.dumps"] * 2


def test_orjson_is_copied_pickled_and_inspected_as_ever(sensitive):
    for dumps in (
        copy.copy(orjson.dumps),
        copy.deepcopy(orjson.dumps),
        pickle.loads(pickle.dumps(orjson.dumps)),
    ):
        assert dumps({"a": 1}) == b'{"a":1}'
    assert orjson.dumps.__name__ == "dumps"
    assert inspect.signature(orjson.dumps) == inspect.signature(orjson.dumps.__wrapped__)


def test_pydantic(sensitive):
    model = pydantic.create_model("Model", a=(int, 1))()
    assert model.model_dump() == {"a": 1}
    assert model.model_dump_json() == '{"a":1}'
    assert serializers(sensitive) == ["pydantic.model_dump", "pydantic.model_dump_json"]


def test_fastapi_is_one_span_with_pydantic_inside(sensitive):
    class Item(pydantic.BaseModel):
        a: int

        @pydantic.model_serializer(mode="wrap")
        def dump(self, handler):
            Other().model_dump()
            return handler(self)

    class Other(pydantic.BaseModel):
        b: int = 2

    async def endpoint():
        return {"a": 1}

    app = fastapi.FastAPI()
    app.get("/", response_model=Item)(endpoint)
    assert fastapi.testclient.TestClient(app).get("/").json() == {"a": 1}
    assert [s for s in serializers(sensitive) if s != "json.dumps"] == ["fastapi"]


def test_fastapis_work_in_a_thread_is_told_from_there_and_nothing_inside_of_it(sensitive):
    class Other(pydantic.BaseModel):
        b: int = 2

    class Item(pydantic.BaseModel):
        a: int

        @pydantic.model_validator(mode="before")
        @classmethod
        def validate(cls, value):
            threads.append(threading.get_ident())
            time.sleep(0.05)
            Other().model_dump()
            return value

    threads = []
    app = fastapi.FastAPI()
    app.get("/", response_model=Item)(lambda: {"a": 1})
    assert fastapi.testclient.TestClient(app).get("/").json() == {"a": 1}
    spans = sensitive.named("timesink.serialize")
    in_thread, on_loop = [s for s in spans if s.attributes["timesink.callee"] != "json.dumps"]
    for span in in_thread, on_loop:
        assert span.attributes["timesink.callee"] == "fastapi"
    assert [in_thread.attributes["thread.id"]] == threads != [on_loop.attributes["thread.id"]]
    assert 50e6 <= in_thread.end_time - in_thread.start_time
    assert in_thread.end_time <= on_loop.start_time


def run_timed(work):
    """Runs a coroutine function as one that serializes, as FastAPI's is run."""
    probe = timesink_otel._companion.probes["fastapi"]
    return asyncio.run(async_serializer(probe, "fastapi")(work)())


def test_wait_of_a_coroutine_that_serializes_is_not_counted(insensitive):
    async def waits():
        await asyncio.sleep(0.2)
        return "done"

    async def waits_and_works():
        await asyncio.sleep(0.2)
        time.sleep(0.1)

    assert run_timed(waits) == "done"
    assert not insensitive.named("timesink.serialize")
    run_timed(waits_and_works)
    (span,) = insensitive.named("timesink.serialize")
    assert span.end_time - span.start_time < 200e6


def test_coroutine_that_serializes_raises_and_is_cancelled_as_ever(sensitive):
    async def raises():
        await asyncio.sleep(0)
        raise KeyError("own")

    async def is_cancelled():
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return "cleaned up"

    async def waits():
        try:
            await asyncio.sleep(60)
        finally:
            closed.append(True)

    with pytest.raises(KeyError, match="own"):
        run_timed(raises)
    assert run_timed(is_cancelled) == "cleaned up"
    closed = []
    probe = timesink_otel._companion.probes["fastapi"]
    coroutine = async_serializer(probe, "fastapi")(waits)()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(step(coroutine))
    coroutine.close()
    loop.close()
    assert closed == [True]


async def step(coroutine):
    coroutine.send(None)


def test_rest_framework_lists_are_one_span():
    """In a process of its own: Django is configured once."""
    script = """
import os, sys
sys.path.insert(0, %r)
os.environ["TIMESINK_SERIALIZE_MILLIS_MIN"] = "0.001"
from conftest import Recorded
import timesink_otel
recorded = Recorded()
timesink_otel.install(recorded.provider)
from django.conf import settings
settings.configure(INSTALLED_APPS=["rest_framework"])
import django
django.setup()
from rest_framework import serializers
class Item(serializers.Serializer):
    a = serializers.IntegerField()
with recorded.tracer.start_as_current_span("request"):
    assert Item([{"a": 1}, {"a": 2}], many=True).data == [{"a": 1}, {"a": 2}]
    assert Item({"a": 1}).data == {"a": 1}
print([s.attributes["timesink.callee"] for s in recorded.named("timesink.serialize")])
""" % __file__.rsplit("/", 1)[0]
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert output.stdout.strip() == "['rest_framework', 'rest_framework']"


def test_import_during_a_request_is_told_and_outside_is_not(recorded, monkeypatch, tmp_path):
    monkeypatch.setenv("TIMESINK_IMPORT_MILLIS_MIN", "10")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("slow_outside", "slow_inside"):
        (tmp_path / (name + ".py")).write_text("import time\ntime.sleep(0.05)\n")
    timesink_otel.install(recorded.provider)
    try:
        import slow_outside  # noqa: F401

        with recorded.tracer.start_as_current_span("request"):
            import slow_inside  # noqa: F401
    finally:
        timesink_otel.uninstall()
    modules = [s.attributes["timesink.import.module"] for s in recorded.named("timesink.import")]
    assert modules == ["slow_inside"]
