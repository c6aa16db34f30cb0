"""The span processor: attributes at the start of every span, and which spans are open on a loop.

It runs inside the service at every span, so each line here is paid for some thousand times a
second: one dictionary, one call of the SDK, nothing at the end but a look into a dictionary.
"""

from __future__ import annotations

import sys
from asyncio import _get_running_loop

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind

from timesink_otel.emitter import SCOPE

_ENTRIES = (SpanKind.SERVER, SpanKind.CONSUMER)
_CALLS = (SpanKind.CLIENT, SpanKind.PRODUCER)
# Two to four a request, on the thread of their server span, and no work of their own: an attribute
# costs several microseconds until it is exported, so they get none.
_ASGI_EVENTS = (" http send", " http receive", " websocket send", " websocket receive")


class Processor(SpanProcessor):
    def __init__(self, probes):
        self.on = True
        self._thread = probes["thread"]
        self._code = probes["code"]
        self._first_request = probes["first_request"]
        self._event_loop = probes["event_loop"]

    def on_start(self, span, parent_context=None):
        if not self.on or span.instrumentation_scope.name == SCOPE:
            return
        if span.name.endswith(_ASGI_EVENTS):
            return
        attributes = {}
        loop = _get_running_loop()
        kind = span.kind
        if self._thread.on:
            self._thread.describe(attributes, loop)
        if kind in _CALLS:
            if self._code.on:
                self._code.describe(attributes, sys._getframe(1))
        elif kind in _ENTRIES and self._first_request.on:
            self._first_request.describe(attributes)
        if loop is not None and self._event_loop.on:
            self._event_loop.opened(span, loop)
        if attributes:
            span.set_attributes(attributes)

    def on_end(self, span):
        if self._event_loop.on:
            self._event_loop.closed(span)

    def shutdown(self):
        self._event_loop.stop()

    def force_flush(self, timeout_millis=30000):
        return True
