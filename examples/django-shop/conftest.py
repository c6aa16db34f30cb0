"""Sends the spans of the tests to wherever the environment says; without it, nothing is set up."""

import os

from opentelemetry import trace
from opentelemetry.instrumentation.auto_instrumentation import initialize
from opentelemetry.sdk.trace import SpanProcessor


class TestCaseName(SpanProcessor):
    """Writes on each span which test it ran in, whatever thread or task started it."""

    def on_start(self, span, parent_context=None):
        if test := os.environ.get("PYTEST_CURRENT_TEST"):  # "tests/test_a.py::test_b (call)"
            span.set_attribute("test.case.name", test.rpartition(" ")[0])


if "OTEL_EXPORTER_OTLP_ENDPOINT" in os.environ:
    os.environ.setdefault("OTEL_SERVICE_NAME", "django-shop")
    # What `opentelemetry-instrument` does: the SDK, its exporter, every instrumentation installed.
    initialize(swallow_exceptions=False)
    trace.get_tracer_provider().add_span_processor(TestCaseName())
