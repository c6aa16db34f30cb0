"""Serialization above the floor is one span, whoever calls whom."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import fastapi
import fastapi.testclient
import orjson
import pydantic
import pytest

import timesink_otel

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

    app = fastapi.FastAPI()
    app.get("/", response_model=Item)(lambda: {"a": 1})
    assert fastapi.testclient.TestClient(app).get("/").json() == {"a": 1}
    assert [s for s in serializers(sensitive) if s != "json.dumps"] == ["fastapi"]


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
