"""Sizes of bodies, through the real instrumentations of ASGI and WSGI frameworks."""

from __future__ import annotations

import subprocess
import sys

import fastapi
import flask
import pytest
import werkzeug.test
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from opentelemetry.instrumentation import dbapi
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

from timesink_otel.probes.http_body import SMALL_BYTES_MAX, _parse_size, _set_response

REQUEST, RESPONSE = "http.request.body.size", "http.response.body.size"


def server_span(recorded):
    (span,) = [s for s in recorded.spans if s.kind.name == "SERVER"]
    return span


def test_fastapi_counts_what_it_streams(companion):
    app = fastapi.FastAPI()

    async def stream(request):
        await request.body()
        return StreamingResponse(iter([b"x" * 700, b"y" * 300]))

    app.router.add_route("/", stream, methods=["POST"])
    FastAPIInstrumentor.instrument_app(app, tracer_provider=companion.provider)
    assert len(TestClient(app).post("/", content=b"z" * 123).content) == 1000
    attributes = server_span(companion).attributes
    assert attributes[REQUEST] == 123
    assert attributes[RESPONSE] == 1000
    # Many, and without any work of their own.
    events = [s for s in companion.spans if s.name.endswith((" http send", " http receive"))]
    assert events
    assert not any("thread.id" in event.attributes for event in events)


def test_plain_wsgi_says_what_the_headers_say(companion):
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "1000")])
        return [b"x" * 1000]

    middleware = OpenTelemetryMiddleware(application, tracer_provider=companion.provider)
    client = werkzeug.test.Client(middleware)
    assert len(client.post("/", data=b"z" * 123).data) == 1000
    attributes = server_span(companion).attributes
    assert attributes[REQUEST] == 123
    assert attributes[RESPONSE] == 1000


def test_request_without_a_length_has_no_size(companion):
    app = fastapi.FastAPI()
    app.post("/")(lambda: "done")
    FastAPIInstrumentor.instrument_app(app, tracer_provider=companion.provider)
    assert TestClient(app).post("/", content=iter([b"x"])).json() == "done"
    attributes = server_span(companion).attributes
    assert REQUEST not in attributes
    assert attributes[RESPONSE] == len('"done"')


def test_flask_says_what_the_headers_say(companion):
    app = flask.Flask("app")
    app.route("/", methods=["POST"])(lambda: "x" * 1000)
    FlaskInstrumentor().instrument_app(app, tracer_provider=companion.provider)
    assert len(app.test_client().post("/", data=b"z" * 123).data) == 1000
    attributes = server_span(companion).attributes
    assert attributes[REQUEST] == 123
    assert attributes[RESPONSE] == 1000


@pytest.mark.parametrize(
    "size, detail, told",
    [
        (SMALL_BYTES_MAX, True, True),
        (SMALL_BYTES_MAX, False, False),
        (SMALL_BYTES_MAX + 1, False, True),
        (SMALL_BYTES_MAX, None, True),
    ],
)
def test_small_response_is_told_by_requests_in_detail(companion, size, detail, told):
    span = companion.tracer.start_span("s")
    if detail is None:
        # As of a provider without the companion.
        del span._timesink_here
    else:
        span._timesink_here.tells_detail = detail
    _set_response(span, size)
    assert (RESPONSE in span.attributes) == told
    assert SMALL_BYTES_MAX == 14_600


@pytest.mark.parametrize("length", ["", "many", "-"])
def test_length_that_is_no_number_is_no_size(length):
    assert _parse_size(length) is None


def test_django_says_what_the_headers_say():
    script = """
import sys
sys.path.insert(0, %r)
from conftest import Recorded
import timesink_otel
recorded = Recorded()
timesink_otel.install(recorded.provider)
from django.conf import settings
settings.configure(ROOT_URLCONF="__main__", ALLOWED_HOSTS=["*"], SECRET_KEY="x",
                   MIDDLEWARE=["django.middleware.common.CommonMiddleware"])
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse("x" * 1000))]
from opentelemetry.instrumentation.django import DjangoInstrumentor
DjangoInstrumentor().instrument(tracer_provider=recorded.provider)
import django
django.setup()
from django.test import Client
Client().post("/", data=b"z" * 123, content_type="text/plain")
(span,) = [s for s in recorded.spans if s.kind.name == "SERVER"]
print(span.attributes["http.request.body.size"], span.attributes["http.response.body.size"])
""" % __file__.rsplit("/", 1)[0]
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert output.stdout.strip() == "123 1000", output.stderr


class Cursor:
    """A driver's cursor that knows its rows, as psycopg's do."""

    description = (("id",),)
    rowcount = 7

    def execute(self, statement):
        return None


@pytest.mark.parametrize(
    "description, rowcount, rows", [((("id",),), 7, 7), ((("id",),), -1, None), (None, 3, None)]
)
def test_rows_are_told_where_the_driver_knows_them(companion, description, rowcount, rows):
    class Connection:
        def cursor(self):
            cursor = Cursor()
            cursor.description, cursor.rowcount = description, rowcount
            return cursor

    connection = dbapi.instrument_connection(
        "test", Connection(), "db", tracer_provider=companion.provider
    )
    connection.cursor().execute("SELECT id FROM item")
    (span,) = companion.spans
    assert span.attributes.get("db.response.returned_rows") == rows
