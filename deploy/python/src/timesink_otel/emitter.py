"""Makes the companion's own spans, at most so many a second."""

from __future__ import annotations

import threading
from time import monotonic_ns, time_ns

from opentelemetry import trace

SCOPE = "timesink_otel"


class Emitter:
    """The one place that starts a span. Times come in as `time.monotonic_ns`."""

    def __init__(self, spans_per_second_max):
        self._rate = spans_per_second_max
        self._tokens = spans_per_second_max
        self._refilled = monotonic_ns()
        self._rejected = 0
        self._tracer = None

    def use(self, provider):
        # Once: the SDK holds a lock while it looks for a tracer.
        self._tracer = provider.get_tracer(SCOPE)

    def emit(self, name, start, end, attributes, context=None):
        """Emits an INTERNAL span under the current one, or under the one in `context`."""
        if self._tracer is None or not self._admits():
            return
        if self._rejected:
            attributes["timesink.rejected_spans"] = self._rejected
            self._rejected = 0
        # The SDK's times are wall clock; the distance is taken now, so that a step of the wall
        # clock before this moment cannot move one end of the span and not the other.
        wall = time_ns() - monotonic_ns()
        span = self._tracer.start_span(
            name, context, trace.SpanKind.INTERNAL, attributes, start_time=wall + start
        )
        span.end(wall + end)

    def _admits(self):
        """Takes a token of a bucket that holds one second's worth; a lost race costs one span."""
        now = monotonic_ns()
        tokens = self._tokens + (now - self._refilled) * self._rate / 1e9
        self._refilled = now
        self._tokens = min(tokens, max(self._rate, 1.0))
        if self._tokens < 1.0:
            self._rejected += 1
            return False
        self._tokens -= 1.0
        return True


def thread_attributes():
    """Returns `thread.id` and `thread.name` of the thread that runs this."""
    return {
        "thread.id": threading.get_ident(),
        "thread.name": threading.current_thread().name,
    }
