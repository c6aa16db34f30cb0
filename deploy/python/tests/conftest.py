from __future__ import annotations

import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

sys.path.insert(0, str(Path(__file__).parent))

from postgres import running_postgres

import timesink_otel
from support import Collector


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def postgres():
    """The connection string of a real server, which the tests that need it share."""
    with running_postgres() as dsn:
        yield dsn


class Recorded:
    """A provider of the test's own, with its finished spans at hand."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    def named(self, name):
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def recorded():
    return Recorded()


@pytest.fixture
def companion(recorded):
    """The companion as a service would have it, on the test's own provider."""
    timesink_otel.install(recorded.provider)
    yield recorded
    timesink_otel.uninstall()
