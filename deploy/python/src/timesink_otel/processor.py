"""The span processor: attributes at the start of spans, and which spans are open on a loop.

It runs inside the service at every span, so each line here is paid for some thousand times a
second. Most spans start where their parent does and tell nothing: they are noted as open, and that
is all.
"""

from __future__ import annotations

import logging
import sys
from asyncio import _get_running_loop
from threading import get_ident

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanContext, SpanKind, get_current_span

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
# Open spans of which is known where they started. Those that never end make it forget all of them:
# spans below them look at what their parent says.
OPEN_MAX = 2048
_SECOND_NANOS = 1_000_000_000


def _keeps_fields():
    """Tells whether spans have their fields where `on_start` looks: properties cost ten times that.

    They have since version 1.0. Where they do not, all spans are looked at in full.
    """
    try:
        above, own = SpanContext(1, 2, False), SpanContext(1, 3, False)
        span = ReadableSpan("x", context=own, parent=above, start_time=4)
        return (span._context[1], span._parent[1], span._start_time) == (3, 2, 4)
    except Exception:
        return False


KEEPS_FIELDS = _keeps_fields()


class Here:
    """Where a span started."""

    __slots__ = (
        "process",
        "thread_id",
        "loop",
        "watch",
        "loops",
        "tells_loop",
        "tells_detail",
        "until",
    )

    def __init__(self, process, loop, watch, event_loop):
        self.process = process
        self.thread_id = get_ident()
        self.loop = loop
        # What watches the loop and knows that the span is open there, if anything does.
        self.watch = watch
        # What was known of the process's loops, and whether that is to be said.
        self.loops = event_loop.loops
        self.tells_loop = event_loop.is_told(loop, watch)
        # Whether it and those below it are told in detail.
        self.tells_detail = False
        # Spans that start here below it tell nothing before this time, ns since the epoch.
        self.until = 0

    def is_as(self, other):
        """Tells whether spans of both would say the same of where they started."""
        return (
            self.thread_id == other.thread_id
            and (self.loop is None) is (other.loop is None)
            and self.tells_loop is other.tells_loop
        )


class Processor(SpanProcessor):
    def __init__(self, probes, detail_per_second_max):
        self.on = True
        self._thread = probes["thread"]
        self._code = probes["code"]
        self._first_request = probes["first_request"]
        self._event_loop = probes["event_loop"]
        self._gc = probes["gc"]
        # Pauses of the collector that the end of a span is to tell.
        self._untold = self._gc.untold
        self._detail_per_second_max = detail_per_second_max
        self._begin()

    def _begin(self):
        self._seconds = {}
        # Span id -> where it started.
        self._open = {}
        self._detail = Detail(self._detail_per_second_max)
        # Of another process than the one in which a span started, by whatever it was forked.
        self._process = object()

    def on_start(self, span, parent_context=None):
        if not self.on:
            return
        # The SDK lets what a processor raises through to the service.
        try:
            parent = span._parent if KEEPS_FIELDS else None
            above = None if parent is None else self._open.get(parent[1])
            if (
                above is None
                or parent[2]
                or not span._context[3] & 1
                or above.until <= span._start_time
                or above.thread_id != get_ident()
                or above.loop is not _get_running_loop()
                or above.loops is not self._event_loop.loops
                or OPEN_MAX <= len(self._open)
            ):
                return self._started(span, parent_context)
            # It starts where one above it did, which is open: there is nothing to tell.
            span._timesink_here = above
            span_id = span._context[1]
            self._open[span_id] = above
            if above.watch is not None:
                self._event_loop.noted(above.watch, span_id)
        except Exception as error:
            self.on = False
            _log.warning("timesink-otel is off: %r", error)

    def _started(self, span, parent_context):
        name = span.name if isinstance(span.name, str) else str(span.name)
        if name.endswith(_ASGI_EVENTS) or span.instrumentation_scope.name == SCOPE:
            return
        attributes = {}
        loop = _get_running_loop()
        kind = span.kind
        watch = None
        if loop is not None and self._event_loop.on:
            watch = self._event_loop.opened(span, loop)
        if not span.context.trace_flags.sampled:
            # Nobody gets to read it, but while it is open its loop is watched.
            return
        here = Here(self._process, loop, watch, self._event_loop)
        if len(self._open) >= OPEN_MAX:
            self._open.clear()
        self._open[span.context.span_id] = here
        second = span.start_time // _SECOND_NANOS
        is_first = self._seconds.get(here.thread_id) != second
        if is_first:
            self._told(here.thread_id, second)
        tells_loop = here.tells_loop
        parent, above = span.parent, None
        inherits = parent is not None and not parent.is_remote
        if inherits:
            above = self._open.get(parent.span_id)
            if above is None:
                # One that has ended, or of the process that this one was forked from.
                above = getattr(get_current_span(parent_context), "_timesink_here", None)
        span._timesink_here = here
        if above is None or above.process is not self._process:
            tells_detail = self._detail.admits(name, second)
            # Readers would take what a span says that is not known here, or of another process.
            tells_here = tells_detail or inherits or not self._event_loop.is_usual(loop, tells_loop)
        else:
            tells_detail = above.tells_detail
            tells_here = not above.is_as(here)
        here.tells_detail = tells_detail
        if not tells_detail:
            here.until = (second + 1) * _SECOND_NANOS
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

    def _told(self, thread_id, second):
        """Takes note that a span of a thread tells its name in this second."""
        if len(self._seconds) >= THREADS_MAX:
            self._seconds.clear()
        self._seconds[thread_id] = second

    def has_open_spans(self):
        return bool(self._open)

    def forget(self):
        """Forgets all spans that are open."""
        self._open.clear()

    def forget_closed_loops(self):
        """Forgets spans that never end, of loops that are closed: they would stay in memory."""
        # A copy is made at once: while one walks, other threads start spans.
        for span_id, here in self._open.copy().items():
            if here.loop is not None and here.loop.is_closed():
                self._open.pop(span_id, None)

    def forked(self):
        """The child's thread has the id of its parent's, and a process of its own to tell of."""
        self._begin()

    def on_end(self, span):
        try:
            span_id = span._context[1] if KEEPS_FIELDS else span.context.span_id
            here = self._open.pop(span_id, None)
            if self._event_loop.on:
                self._event_loop.closed(span_id, None if here is None else here.watch)
            if self._untold:
                self._gc.tell()
        except Exception as error:
            self.on = False
            _log.warning("timesink-otel is off: %r", error)

    def shutdown(self):
        self._event_loop.stop()

    def force_flush(self, timeout_millis=30000):
        return True
