"""An OTLP receiver that keeps what it gets as OTLP JSON lines, for recordings and for checks.

It listens for OTLP/HTTP (protobuf) and OTLP/gRPC on free loopback ports. Read `Sink` first.
"""

import base64
import gzip
import json
import threading
import zlib
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class Sink(TraceServiceServicer):
    """Collects requests; `http` and `grpc` are its two base URLs, `messages` what arrived."""

    def __init__(self):
        self.messages = []
        self._lock = threading.Lock()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self.http = f"http://127.0.0.1:{self._http.server_port}"

        options = [("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        self._grpc = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        add_TraceServiceServicer_to_server(self, self._grpc)
        self.grpc = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()

    def Export(self, request, context):  # the name is gRPC's
        self.keep(request)
        return ExportTraceServiceResponse()

    def keep(self, request):
        with self._lock:
            self.messages.append(otlp_json(request))

    def take(self):
        """Returns what arrived since the last call."""
        with self._lock:
            messages, self.messages = self.messages, []
        return messages

    def close(self):
        self._http.shutdown()
        self._grpc.stop(grace=1).wait()


def write_lines(path, messages):
    """Writes one message a line, gzipped without a time: equal input gives equal files."""
    lines = "".join(json.dumps(message, separators=(",", ":")) + "\n" for message in messages)
    with open(path, "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped:
        zipped.write(lines.encode())


def otlp_json(request):
    """Returns the request as OTLP JSON: enums are numbers, ids hex and not base64 (OTLP 1.11)."""
    message = MessageToDict(request, use_integers_for_enums=True)
    for resource_spans in message.get("resourceSpans", []):
        for scope_spans in resource_spans.get("scopeSpans", []):
            for span in scope_spans.get("spans", []):
                for owner in [span, *span.get("links", [])]:
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if key in owner:
                            owner[key] = base64.b64decode(owner[key]).hex()
    return message


def _handler(sink):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # the name is http.server's
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            elif self.headers.get("Content-Encoding") == "deflate":
                body = zlib.decompress(body)
            if self.path == "/v1/traces":
                sink.keep(ExportTraceServiceRequest.FromString(body))
                self._answer(200, ExportTraceServiceResponse().SerializeToString())
            else:
                self._answer(404, b"")

        def _answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler
