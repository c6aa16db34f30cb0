"""Sends recorded spans through the real OTLP exporter of the Python SDK.

A recording is OTLP JSON, one `ExportTraceServiceRequest` a line, plain or gzipped. Each span
becomes the `ReadableSpan` that the SDK would hand to its exporter, in the order of the file,
`--batch` spans an export; the exporter groups them by resource and scope as it does for everybody.

    send_recording.py --protocol grpc --endpoint http://127.0.0.1:4317 FILE...
    send_recording.py --protocol http --compression gzip --job FILE=URL --job FILE=URL

Prints one JSON object a job: file, endpoint, spans, batches, failed. Exits with 1 if an export
failed.

What the exporter cannot say is lost, whoever uses it: the trace state of a link, flags other than
"the parent is remote", dropped counts of a resource or scope, a kind of UNSPECIFIED (sent as
INTERNAL), a message on a status that is not ERROR, a key that stands twice in one list (the last
value stays) and an empty key.
"""

import argparse
import base64
import gzip
import itertools
import json
import os
import sys

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

FLAG_IS_REMOTE = 512  # SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK of trace.proto
KINDS = [
    SpanKind.INTERNAL,  # UNSPECIFIED
    SpanKind.INTERNAL,
    SpanKind.SERVER,
    SpanKind.CLIENT,
    SpanKind.PRODUCER,
    SpanKind.CONSUMER,
]


def main():
    options = parse_options()
    failed = 0
    for file, endpoint in options.jobs:
        exporter = make_exporter(options, endpoint)
        sent = batches = failures = 0
        for batch in batched(read_spans(file), options.batch):
            batches += 1
            if exporter.export(batch) is SpanExportResult.SUCCESS:
                sent += len(batch)
            else:
                failures += 1
        exporter.shutdown()
        failed += failures
        report = {"file": file, "endpoint": endpoint, "spans": sent}
        print(json.dumps(report | {"batches": batches, "failed": failures}), flush=True)
    return 1 if failed else 0


def parse_options():
    parser = argparse.ArgumentParser(description="sends recorded spans through the SDK's exporter")
    parser.add_argument("--protocol", choices=["grpc", "http"], default="grpc")
    parser.add_argument("--compression", choices=["none", "gzip"], default="none")
    parser.add_argument(
        "--batch", type=int, default=512, help="spans an export (the SDK's default)"
    )
    parser.add_argument("--timeout", type=float, default=10, help="seconds an export, with retries")
    parser.add_argument("--endpoint", default="http://127.0.0.1:4317", help="base URL")
    parser.add_argument("--job", action="append", default=[], metavar="FILE=ENDPOINT")
    parser.add_argument("files", nargs="*", metavar="FILE")
    options = parser.parse_args()
    options.jobs = [tuple(job.rsplit("=", 1)) for job in options.job]
    options.jobs += [(file, options.endpoint) for file in options.files]
    if not options.jobs or any(len(job) != 2 for job in options.jobs):
        parser.error("name at least one FILE or --job FILE=ENDPOINT")
    return options


def make_exporter(options, endpoint):
    """Returns the exporter, told its endpoint as a user tells it: by the environment."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = str(options.timeout)
    if options.compression != "none":  # gRPC's exporter refuses "none" (SDK 1.45)
        os.environ["OTEL_EXPORTER_OTLP_COMPRESSION"] = options.compression
    if options.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    else:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    return OTLPSpanExporter()


def batched(items, size):
    items = iter(items)
    while batch := list(itertools.islice(items, size)):
        yield batch


def read_messages(file):
    """Yields the messages of a recording, one a line."""
    with (gzip.open if file.endswith(".gz") else open)(file, "rt") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def read_spans(file):
    for message in read_messages(file):
        for resource_spans in message.get("resourceSpans", []):
            resource = Resource(
                attributes(resource_spans.get("resource", {})), resource_spans.get("schemaUrl")
            )
            for scope_spans in resource_spans.get("scopeSpans", []):
                scope = make_scope(scope_spans)
                for span in scope_spans.get("spans", []):
                    yield make_span(span, resource, scope)


def make_scope(scope_spans):
    scope = scope_spans.get("scope")
    if scope is None:
        return None
    return InstrumentationScope(
        scope.get("name", ""), scope.get("version"), scope_spans.get("schemaUrl"), attributes(scope)
    )


def make_span(span, resource, scope):
    trace_id = int(span["traceId"], 16)
    parent = None
    if span.get("parentSpanId"):
        is_remote = bool(span.get("flags", 0) & FLAG_IS_REMOTE)
        parent = SpanContext(trace_id, int(span["parentSpanId"], 16), is_remote)
    status = span.get("status", {})
    return ReadableSpan(
        name=span.get("name", ""),
        context=make_context(span),
        parent=parent,
        resource=resource,
        attributes=attributes(span),
        events=bounded(
            [make_event(event) for event in span.get("events", [])], span, "droppedEventsCount"
        ),
        links=bounded(
            [make_link(link) for link in span.get("links", [])], span, "droppedLinksCount"
        ),
        kind=KINDS[span.get("kind", 0)],
        status=Status(StatusCode(status.get("code", 0)), status.get("message")),
        start_time=int(span.get("startTimeUnixNano", 0)),
        end_time=int(span.get("endTimeUnixNano", 0)),
        instrumentation_scope=scope,
    )


def make_context(span):
    state = TraceState.from_header([span["traceState"]]) if span.get("traceState") else None
    is_remote = bool(span.get("flags", 0) & FLAG_IS_REMOTE)
    return SpanContext(
        int(span["traceId"], 16),
        int(span["spanId"], 16),
        is_remote,
        TraceFlags(TraceFlags.SAMPLED),
        state,
    )


def make_event(event):
    return Event(event.get("name", ""), attributes(event), int(event.get("timeUnixNano", 0)))


def make_link(link):
    return Link(make_context(link), attributes(link))


def attributes(owner):
    """Returns the attributes of a span, event, link, scope or resource, and the dropped count."""
    items = {item["key"]: value(item.get("value", {})) for item in owner.get("attributes", [])}
    bounded_items = BoundedAttributes(attributes=items)
    bounded_items.dropped += owner.get("droppedAttributesCount", 0)
    return bounded_items


def bounded(items, span, dropped):
    bounded_items = BoundedList(len(items))
    bounded_items.extend(items)
    bounded_items.dropped = span.get(dropped, 0)
    return bounded_items


def value(any_value):
    """Returns the Python value of an `AnyValue`; an empty one is None."""
    for kind, content in any_value.items():
        match kind:
            case "stringValue" | "boolValue":
                return content
            case "intValue":
                return int(content)
            case "doubleValue":
                return float(content)
            case "bytesValue":
                return base64.b64decode(content)
            case "arrayValue":
                return tuple(value(item) for item in content.get("values", []))
            case "kvlistValue":
                return {
                    item["key"]: value(item.get("value", {})) for item in content.get("values", [])
                }
    return None


if __name__ == "__main__":
    sys.exit(main())
