"""Sends a span to a receiver with TLS that asks for certificates.

`send_encrypted.py GRPC HTTP FOLDER` takes two addresses and a folder with `root.pem`, `client.pem`
and `client.key`, and prints one line of JSON: whether each way was let in, and the certificate.
"""

import http.client
import json
import os
import pathlib
import ssl
import sys
import urllib.request

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

# Roots of this machine, which `requests` would take in place of those it is given.
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(name, None)

grpc_address, http_address, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
root, certificate, key = (folder / name for name in ("root.pem", "client.pem", "client.key"))

memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
provider.get_tracer("test").start_span("encrypted").end()
spans = memory.get_finished_spans()

by_grpc = GrpcExporter(
    endpoint=f"https://{grpc_address}",
    credentials=grpc.ssl_channel_credentials(
        root.read_bytes(), key.read_bytes(), certificate.read_bytes()
    ),
    timeout=10,
)
by_http = HttpExporter(
    endpoint=f"https://{http_address}/v1/traces",
    certificate_file=str(root),
    client_certificate_file=str(certificate),
    client_key_file=str(key),
    timeout=10,
)


def post(scheme, context=None):
    request = urllib.request.Request(
        f"{scheme}://{http_address}/v1/traces",
        data=b'{"resourceSpans":[]}',
        headers={"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False


with_root = ssl.create_default_context(cafile=str(root))
with_certificate = ssl.create_default_context(cafile=str(root))
with_certificate.load_cert_chain(certificate, key)
host, port = http_address.rsplit(":", 1)
with ssl.create_connection((host, int(port)), timeout=10) as plain:
    with with_certificate.wrap_socket(plain, server_hostname=host) as encrypted:
        shown = encrypted.getpeercert(binary_form=True).hex()
print(
    json.dumps(
        {
            "grpc": by_grpc.export(spans) is SpanExportResult.SUCCESS,
            "http": by_http.export(spans) is SpanExportResult.SUCCESS,
            "without_certificate": post("https", with_root),
            "in_the_clear": post("http"),
            "certificate": shown,
        }
    )
)
