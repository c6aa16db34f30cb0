"""Each probe raises once: the call that it watched ends as ever, and it is off and says so."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import threading
import time

import anyio
import asgiref.sync
import asyncpg
import django.conf
import fastapi
import flask
import orjson
import psycopg_pool
import pydantic
import pytest
import sqlalchemy
from fastapi.testclient import TestClient
from opentelemetry.instrumentation import dbapi
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.trace import SpanKind
from test_postgres import url_of

import timesink_otel
from support import free_port, get, requests_of, service, uvicorn, warnings_in
from timesink_otel.probes import PROBES

FLOORS = ("BLOCKED", "WAIT", "SERIALIZE", "GC", "IMPORT")


class Broken:
    """Stands for what a probe needs; nothing of it works."""

    def __getattr__(self, name):
        raise RuntimeError("broken on purpose")

    def __call__(self, *args, **kwargs):
        raise RuntimeError("broken on purpose")


class Service:
    """What a probe watches, one method for each: it works as if there were no probe."""

    def __init__(self, recorded, dsn, folder):
        self.recorded = recorded
        self.dsn = dsn
        self.folder = folder

    def thread(self):
        self.recorded.tracer.start_span("thread").end()

    def code(self):
        self.recorded.tracer.start_span("code", kind=SpanKind.CLIENT).end()

    def event_loop(self):
        async def main():
            with self.recorded.tracer.start_as_current_span("request"):
                await asyncio.sleep(0)
            return "done"

        assert asyncio.run(main()) == "done"

    def gc(self):
        kept = [[number] for number in range(300_000)]
        with self.recorded.tracer.start_as_current_span("request"):
            gc.collect()
        assert len(kept) == 300_000

    def http_body(self):
        app = flask.Flask("app")
        app.route("/", methods=["POST"])(lambda: "x" * 1000)
        FlaskInstrumentor().instrument_app(app, tracer_provider=self.recorded.provider)
        assert app.test_client().post("/", data=b"z").data == b"x" * 1000

    def db_rows(self):
        class Cursor:
            description = (("id",),)
            rowcount = property(Broken())

            def execute(self, statement):
                return "executed"

        class Connection:
            cursor = Cursor

        provider = self.recorded.provider
        connection = dbapi.instrument_connection("t", Connection(), "db", tracer_provider=provider)
        assert connection.cursor().execute("SELECT 1") == "executed"

    def sqlalchemy_pool(self):
        engine = sqlalchemy.create_engine(
            url_of(self.dsn, "postgresql+psycopg2"), pool_size=1, max_overflow=0
        )
        taken = engine.connect()
        threading.Timer(0.02, taken.close).start()
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT 1")).scalar() == 1
        engine.dispose()

    def asyncpg_pool(self):
        async def main():
            async with asyncpg.create_pool(url_of(self.dsn), min_size=1, max_size=1) as pool:
                taken = await pool.acquire()
                waiting = asyncio.ensure_future(pool.fetchval("SELECT 1"))
                await asyncio.sleep(0.02)
                await pool.release(taken)
                assert await waiting == 1

        asyncio.run(main())

    def psycopg_pool(self):
        with psycopg_pool.ConnectionPool(self.dsn, min_size=1, max_size=1) as pool:
            taken = pool.getconn()
            threading.Timer(0.02, pool.putconn, [taken]).start()
            with pool.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)

    def anyio_threads(self):
        async def main():
            limiter = anyio.CapacityLimiter(1)
            async with anyio.create_task_group() as group:
                for number in range(2):
                    group.start_soon(one, number, limiter)

        async def one(number, limiter):
            await anyio.to_thread.run_sync(time.sleep, 0.02, limiter=limiter)
            done.append(number)

        done = []
        anyio.run(main)
        assert sorted(done) == [0, 1]

    def asgiref_threads(self):
        async def main():
            return await asyncio.gather(*(slow(number) for number in range(2)))

        slow = asgiref.sync.sync_to_async(lambda number: time.sleep(0.02) or number)
        assert asyncio.run(main()) == [0, 1]

    def json(self):
        assert json.dumps({"a": 1}) == '{"a": 1}'

    def orjson(self):
        assert orjson.dumps({"a": 1}) == b'{"a":1}'

    def pydantic(self):
        assert pydantic.create_model("Model", a=(int, 1))().model_dump() == {"a": 1}

    def rest_framework(self):
        if not django.conf.settings.configured:
            django.conf.settings.configure(INSTALLED_APPS=["rest_framework"])
            django.setup()
        from rest_framework import serializers

        class Item(serializers.Serializer):
            a = serializers.IntegerField()

        assert Item({"a": 1}).data == {"a": 1}

    def fastapi(self):
        app = fastapi.FastAPI()
        app.get("/", response_model=dict)(lambda: {"a": 1})
        assert TestClient(app).get("/").json() == {"a": 1}

    def imports(self):
        (self.folder / "imported_in_a_request.py").write_text("value = 7\n")
        with self.recorded.tracer.start_as_current_span("request"):
            try:
                assert importlib.import_module("imported_in_a_request").value == 7
            finally:
                sys.modules.pop("imported_in_a_request", None)


# What of a probe is broken, for those that need neither emitter nor user code.
PARTS = {
    "thread": "timesink_otel.probes.thread.get_ident",
    "event_loop": "timesink_otel.probes.event_loop.watch_of",
    "http_body": "timesink_otel.probes.http_body._parse_size",
}
# Two lines that look at one attribute, or fall back on what they replace: nothing could raise.
CANNOT_FAIL = {"first_request", "resource_hash"}
NAMES = [kind.name for kind in PROBES if kind.name not in CANNOT_FAIL]


@pytest.mark.parametrize("name", NAMES)
def test_probe_that_raises_is_off_and_says_so_once(
    recorded, postgres, monkeypatch, caplog, tmp_path, name
):
    for floor in FLOORS:
        monkeypatch.setenv("TIMESINK_%s_MILLIS_MIN" % floor, "0.000001")
    monkeypatch.setenv("TIMESINK_PROBES", name)
    monkeypatch.syspath_prepend(tmp_path)
    timesink_otel.install(recorded.provider)
    try:
        probe = timesink_otel._companion.probes[name]
        service = Service(recorded, postgres, tmp_path)
        probe.emitter = probe.user_code = Broken()
        if name in PARTS:
            monkeypatch.setattr(PARTS[name], Broken())
        for _ in range(2):
            with recorded.tracer.start_as_current_span("request"):
                getattr(service, name)()
        assert not probe.on
        (warning,) = warnings_in(caplog)
        assert "`%s` failed and is off" % name in warning
    finally:
        timesink_otel.uninstall()


def test_processor_that_raises_is_off_and_says_so_once(companion, monkeypatch, caplog):
    monkeypatch.setattr("timesink_otel.processor._get_running_loop", Broken())
    for _ in range(2):
        companion.tracer.start_span("kept").end()
    assert len(companion.named("kept")) == 2
    (warning,) = warnings_in(caplog)
    assert "timesink-otel is off" in warning


def test_service_whose_probes_all_raise_keeps_serving_and_keeps_its_spans(collector):
    port = free_port()
    broken = uvicorn("broken_app:app", port, "uvloop")
    with service(collector, broken, port, TIMESINK_TESTED_BROKEN="1") as process:
        for path in ("sleep", "call", "encode", "sync_twin"):
            for _ in range(2):
                get(port, "/" + path)
    for path in ("sleep", "call", "encode", "sync_twin"):
        requests_of(collector, path, 2)
    for probe in ("event_loop", "code", "json"):
        assert process.output.count("`%s` failed and is off" % probe) == 1, process.output
    assert "timesink_otel" not in {span["scope"] for span in collector.spans}
