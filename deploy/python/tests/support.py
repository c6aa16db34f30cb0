"""A collector in the test's own process, and real services in processes of their own."""

from __future__ import annotations

import contextlib
import functools
import gzip
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVICES = Path(__file__).parent / "services"
BIN = Path(sys.executable).parent
BLOCKED = "timesink.event_loop.blocked"
# Shared machines stall processes for seconds; waiting longer only costs a failing test time.
DEADLINE_SECONDS = 60


class Collector:
    """Takes OTLP over HTTP and keeps the spans, with attributes as plain Python values.

    A GET to any path is answered after 60 ms: the slow service that others call.
    """

    def __init__(self):
        self.spans = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.spans.extend(_decode(body))
                self._answer(b"")

            def do_GET(self):
                time.sleep(0.06)
                self._answer(b"{}")

            def _answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self._server.server_address[1]
        # `close` waits for the next poll, in every test.
        serve = functools.partial(self._server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def named(self, name):
        return [span for span in self.spans if span["name"] == name]

    def settle(self):
        """Waits until a second has passed without a span: some servers exit without a flush."""
        seen, since = len(self.spans), time.monotonic()
        while time.monotonic() < since + 1:
            time.sleep(0.05)
            if seen != len(self.spans):
                seen, since = len(self.spans), time.monotonic()


def _decode(body):
    request = ExportTraceServiceRequest.FromString(body)
    for resource in request.resource_spans:
        instance = _attributes(resource.resource.attributes).get("service.instance.id")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield {
                    "name": span.name,
                    "kind": span.kind,
                    "trace_id": span.trace_id.hex(),
                    "span_id": span.span_id.hex(),
                    "parent": span.parent_span_id.hex(),
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "scope": scope.scope.name,
                    "instance": instance,
                    "attributes": _attributes(span.attributes),
                }


def _attributes(pairs):
    return {p.key: getattr(p.value, p.value.WhichOneof("value") or "string_value") for p in pairs}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def service_environment(collector, **environment):
    """Returns the environment of a service that exports its spans to `collector`, and often."""
    return dict(
        os.environ,
        OTEL_SERVICE_NAME="tested",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_BSP_SCHEDULE_DELAY="200",
        UPSTREAM=collector.url,
        **environment,
    )


def instrumented(*command):
    """Returns the command line that runs a program of the environment as users are told to."""
    return [str(BIN / "opentelemetry-instrument"), str(BIN / command[0]), *command[1:]]


def uvicorn(app, port, loop="asyncio"):
    return ["uvicorn", app, "--port", str(port), "--loop", loop, "--log-level", "warning"]


@contextlib.contextmanager
def service(collector, command, port, **environment):
    """Runs a server of one process, instrumented, until the block ends: then all spans are there.

    Ctrl-C makes it exit as a program does, with a flush. SIGTERM does not: uvicorn dies of it.
    """
    with running(collector, command, lambda: listens(port), **environment) as process:
        yield process
        # The watchdog judges a block some 20 ms after its end.
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=DEADLINE_SECONDS)


@contextlib.contextmanager
def prefork_service(collector, command, is_up, **environment):
    """Like `service`, for what forks: its workers exit without a flush, some servers' at least."""
    with running(collector, command, is_up, **environment) as process:
        yield process
        collector.settle()


@contextlib.contextmanager
def running(collector, command, is_up, **environment):
    """Runs a program instrumented until the block ends; `is_up()` tells when it works.

    A probe that fails in the service says so there, and fails the test; TIMESINK_TESTED_BROKEN in
    the environment is for services whose probes are to fail.
    """
    env = service_environment(collector, **environment)
    output = tempfile.TemporaryFile("w+")
    process = subprocess.Popen(
        instrumented(*command), cwd=SERVICES, env=env, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        _wait_until_up(process, is_up, output)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.output = _text_of(output)
        output.close()
    if "TIMESINK_TESTED_BROKEN" not in environment:
        assert "timesink-otel" not in process.output, process.output


def _wait_until_up(process, is_up, output):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if is_up():
            return
        time.sleep(0.05)
    raise AssertionError("service did not come up: " + _text_of(output)[-3000:])


def listens(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def _text_of(output):
    # A file, not a pipe: a service that writes much must not wait for a test that does not read.
    output.seek(0)
    return output.read()


def get(port, path):
    url = "http://127.0.0.1:%d%s" % (port, path)
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
        assert answer.status == 200
        return answer.read()


def requests_of(collector, path, count):
    """Returns the `count` SERVER spans for this path, by their start."""
    requests = [
        s for s in collector.spans if s["kind"] == 2 and re.split("[ /]", s["name"])[-1] == path
    ]
    assert len(requests) == count, (path, len(requests))
    return sorted(requests, key=lambda request: request["start"])


def blocks_within(collector, request):
    """Returns the blocks of which at least half the time lies within the request."""
    found = []
    for block in collector.named(BLOCKED):
        overlap = min(request["end"], block["end"]) - max(request["start"], block["start"])
        if block["end"] - block["start"] <= 2 * overlap:
            assert not block["parent"] or block["trace_id"] == request["trace_id"]
            found.append(block)
    return found


def warnings_in(caplog):
    """Returns the warnings that the companion has logged in the test's process."""
    records = [r for r in caplog.records if r.name == "timesink_otel"]
    return [r.getMessage() for r in records if r.levelno == logging.WARNING]


def wait_for(condition):
    """Waits until the condition holds, for as long as the slowest machine may need."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return False


def line_of(path, mark):
    """Returns the number of the line that ends in `# mark`."""
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if line.rstrip().endswith("# " + mark):
            return number
    raise AssertionError("no line ends in `# %s`" % mark)
