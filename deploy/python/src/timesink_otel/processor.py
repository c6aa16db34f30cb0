"""The span processor: attributes at the start of every span, and which spans are open on a loop.

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

from timesink_otel.emitter import SCOPE
from timesink_otel.probes.code import SECOND_NANOS

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
_THREADS_MAX = 4096


class Processor(SpanProcessor):
    def __init__(self, probes):
        self.on = True
        self._thread = probes["thread"]
        self._code = probes["code"]
        self._first_request = probes["first_request"]
        self._event_loop = probes["event_loop"]
        self._seconds = {}

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
        starts_elsewhere = _starts_elsewhere(span, loop, parent_context)
        is_first = starts_elsewhere and self._is_first_of_second(span)
        if starts_elsewhere and self._thread.on:
            self._thread.describe(attributes, is_first)
        if kind is _CLIENT or kind is _PRODUCER:
            if self._code.on:
                self._code.describe(attributes, span, sys._getframe(_SDK_FRAMES), loop)
        elif kind is _SERVER or kind is _CONSUMER:
            if self._first_request.on:
                self._first_request.describe(attributes)
            if loop is None and self._event_loop.on:
                self._event_loop.opened_in_thread(span)
        if self._event_loop.on:
            is_watched = loop is None or self._event_loop.opened(span, loop)
            if starts_elsewhere and is_watched:
                self._event_loop.describe(attributes, loop, is_first)
        if attributes:
            span.set_attributes(attributes)

    def _is_first_of_second(self, span):
        """Tells whether its thread has told nothing yet in the second in which the span starts."""
        ident, second = get_ident(), span.start_time // SECOND_NANOS
        if self._seconds.get(ident) == second:
            return False
        if len(self._seconds) >= _THREADS_MAX:
            self._seconds.clear()
        self._seconds[ident] = second
        return True

    def forked(self):
        """The child's thread has the id of its parent's, and a process of its own to tell of."""
        self._seconds = {}

    def on_end(self, span):
        if self._event_loop.on:
            self._event_loop.closed(span)

    def shutdown(self):
        self._event_loop.stop()

    def force_flush(self, timeout_millis=30000):
        return True


def _starts_elsewhere(span, loop, parent_context):
    """Tells whether the thread, or whether a loop runs on it, is not what the parent said.

    Most spans start where their parent does: to say it again would cost more than all else here.
    """
    here = (get_ident(), loop is not None)
    span._timesink_here = here
    return getattr(get_current_span(parent_context), "_timesink_here", None) != here
