"""The span processor: attributes at the start of spans, and which spans are open on a loop.

It runs inside the service at every span, so each line here is paid for some thousand times a
second: one dictionary, one call of the SDK, nothing at the end but a look into a dictionary.
"""

from __future__ import annotations

import logging
import sys
from asyncio import _get_running_loop
from threading import get_ident

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from timesink_otel.detail import Detail
from timesink_otel.emitter import SCOPE

_log = logging.getLogger("timesink_otel")
_SERVER, _CONSUMER = SpanKind.SERVER, SpanKind.CONSUMER
_CLIENT, _PRODUCER = SpanKind.CLIENT, SpanKind.PRODUCER
# This module's two, the multi-processor's `on_start`, `Span.start` and `Tracer.start_span`: to skip
# a frame costs nothing, to look at one more than to look it up.
_SDK_FRAMES = 5
# Two to four a request, on the thread of their server span, and no work of their own: an attribute
# costs several microseconds until it is exported, so they get none.
_ASGI_EVENTS = (" http send", " http receive", " websocket send", " websocket receive")
# Threads of which it is known in which second they last told what they always are. Their ids come
# again; a process that makes new ones for ever forgets them all.
THREADS_MAX = 4096
_SECOND_NANOS = 1_000_000_000


class Processor(SpanProcessor):
    def __init__(self, probes, detail_per_second_max):
        self.on = True
        self._thread = probes["thread"]
        self._code = probes["code"]
        self._first_request = probes["first_request"]
        self._event_loop = probes["event_loop"]
        self._detail_per_second_max = detail_per_second_max
        self._begin()

    def _begin(self):
        self._seconds = {}
        self._detail = Detail(self._detail_per_second_max)
        # Of another process than the one in which a span started, by whatever it was forked.
        self._process = object()

    def on_start(self, span, parent_context=None):
        if self.on:
            # The SDK lets what a processor raises through to the service.
            try:
                self._started(span, parent_context)
            except Exception as error:
                self.on = False
                _log.warning("timesink-otel is off: %r", error)

    def _started(self, span, parent_context):
        if span.name.endswith(_ASGI_EVENTS) or span.instrumentation_scope.name == SCOPE:
            return
        attributes = {}
        loop = _get_running_loop()
        kind = span.kind
        if not span.context.trace_flags.sampled:
            # Nobody gets to read it, but while it is open its loop is watched.
            if self._event_loop.on and loop is not None:
                self._event_loop.opened(span, loop)
            return
        second = span.start_time // _SECOND_NANOS
        is_first = self._is_first_of_second(second)
        parent = get_current_span(parent_context)
        tells_loop = self._event_loop.on and self._event_loop.watches(span, loop)
        here = (self._process, get_ident(), loop is not None, tells_loop)
        above = getattr(parent, "_timesink_here", None)
        span._timesink_here = here
        if above is None or above[0] is not self._process:
            tells_detail = self._detail.admits(span.name, second)
            # Below a span of the process that this one was forked from, readers would take its.
            inherits = above is not None
            is_usual = self._event_loop.is_usual(loop, tells_loop)
            tells_here = tells_detail or inherits or not is_usual
        else:
            tells_detail = parent._timesink_detail
            tells_here = above != here
        span._timesink_detail = tells_detail
        # Most spans start where their parent does, or where all requests do: to say it again would
        # cost more than all else here. The first of each second says it all the same, lest it hang
        # on one span.
        if is_first or tells_here:
            if self._thread.on:
                self._thread.describe(attributes, is_first)
            if tells_loop or (is_first and loop is None and self._event_loop.on):
                self._event_loop.describe(attributes, loop)
        if kind is _CLIENT or kind is _PRODUCER:
            if tells_detail and self._code.on:
                self._code.describe(attributes, sys._getframe(_SDK_FRAMES), loop)
        elif kind is _SERVER or kind is _CONSUMER:
            if self._first_request.on:
                self._first_request.describe(attributes)
            if loop is None and self._event_loop.on:
                self._event_loop.opened_in_thread(span)
        if attributes:
            span.set_attributes(attributes)

    def _is_first_of_second(self, second):
        """Tells whether no span of this thread has told its name in this second."""
        ident = get_ident()
        if self._seconds.get(ident) == second:
            return False
        if len(self._seconds) >= THREADS_MAX:
            self._seconds.clear()
        self._seconds[ident] = second
        return True

    def forked(self):
        """The child's thread has the id of its parent's, and a process of its own to tell of."""
        self._begin()

    def on_end(self, span):
        if self._event_loop.on:
            self._event_loop.closed(span)

    def shutdown(self):
        self._event_loop.stop()

    def force_flush(self, timeout_millis=30000):
        return True
