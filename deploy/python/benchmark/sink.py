"""Takes OTLP over HTTP and drops it. `GET /seen` tells what came since the last time, as JSON."""

import gzip
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

# The first bodies alone are kept and read: to decode each would cost the processor that the
# client measures on.
KEPT_MAX = 4
SERVER = Span.SpanKind.SPAN_KIND_SERVER
kept = []


def spans_of(body):
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            yield from scope.spans


class Sink(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if len(kept) < KEPT_MAX:
            kept.append(gzip.decompress(body) if "Content-Encoding" in self.headers else body)
        self._answer(b"")

    def do_GET(self):
        spans = [span for body in kept for span in spans_of(body)]
        kept.clear()
        seen = {
            "requests": sum(span.kind == SERVER for span in spans),
            "spans": len(spans),
            "attributes": sum(len(span.attributes) for span in spans),
        }
        self._answer(json.dumps(seen).encode())

    def _answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
