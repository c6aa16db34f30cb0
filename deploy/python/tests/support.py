"""A collector in the test's own process, and real services in processes of their own."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SERVICES = Path(__file__).parent / "services"
BIN = Path(sys.executable).parent
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
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def named(self, name):
        return [span for span in self.spans if span["name"] == name]

    def settle(self):
        """Waits until a second has passed without a span: some servers exit without a flush."""
        seen = -1
        while seen != len(self.spans):
            seen = len(self.spans)
            time.sleep(1)


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


@contextlib.contextmanager
def service(collector, command, port, **environment):
    """Runs `opentelemetry-instrument command` until the block ends, then lets it flush and exit."""
    env = dict(
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
    command = [str(BIN / "opentelemetry-instrument"), *command]
    process = subprocess.Popen(
        command, cwd=SERVICES, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        _wait_until_up(process, port)
        yield process
        collector.settle()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.output, _ = process.communicate()


def _wait_until_up(process, port):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    process.kill()
    raise AssertionError("service did not come up: " + process.communicate()[0][-3000:])


def get(port, path):
    url = "http://127.0.0.1:%d%s" % (port, path)
    with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
        assert answer.status == 200
        return answer.read()


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
